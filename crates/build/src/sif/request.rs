//! Responsible for the environment that is asked for in pieces: a file, packages by name, or
//! whatever pip needs.

use std::path::Path;

use anyhow::{Context, bail};
use condense_prefix::{EnvironmentSpec, SpecContext};
use serde_yaml::{Mapping, Value};

use super::super::load_conda_spec;
use crate::plan::Request;
use condense_diagnostics::UserError;

/// Where packages come from if nobody says.
const CHANNEL: &str = "conda-forge";

/// Reads what is asked for; nothing if only a lock says. pip's requirements come later, and need a
/// Python that conda brings.
///
/// # Errors
/// What cannot be read, or has no place for more.
pub(super) fn read(
    request: &Request,
    with_pip: bool,
    context: &SpecContext,
) -> anyhow::Result<Option<EnvironmentSpec>> {
    let Request {
        file,
        packages,
        channels,
    } = request;
    let (mut document, name) = match file {
        Some(file) if packages.is_empty() => return Ok(Some(load_conda_spec(file, context)?)),
        None if packages.is_empty() && !with_pip => return Ok(None),
        Some(file) => (load_yaml(file)?, file.as_path()),
        None => (with_channels(channels), Path::new("environment.yml")),
    };
    add(&mut document, packages, with_pip && file.is_none())?;
    let text =
        serde_yaml::to_string(&document).context("failed to put the environment together")?;
    let folder = name.parent().unwrap_or(Path::new("/"));
    Ok(Some(EnvironmentSpec::parse_in(
        &text, name, folder, context,
    )?))
}

fn with_channels(channels: &[String]) -> Mapping {
    let mut document = Mapping::new();
    let channels = match channels {
        [] => vec![Value::from(CHANNEL)],
        some => some.iter().map(|channel| channel.as_str().into()).collect(),
    };
    document.insert("channels".into(), channels.into());
    document
}

fn load_yaml(file: &Path) -> anyhow::Result<Mapping> {
    let text = condense_input::read_named_to_string(file, condense_input::TEXT_MOST)?;
    match serde_yaml::from_str(&text) {
        Ok(Value::Mapping(document)) => Ok(document),
        _ => bail!(UserError::new(
            format!(
                "nothing can be added to `{}`: it is not an environment.yml",
                file.display()
            ),
            "leave out `--packages`, or write an environment.yml",
        )),
    }
}

fn add(document: &mut Mapping, packages: &[String], with_pip: bool) -> anyhow::Result<()> {
    let dependencies = document
        .entry("dependencies".into())
        .or_insert_with(|| Value::Sequence(Vec::new()));
    if dependencies.is_null() {
        *dependencies = Value::Sequence(Vec::new());
    }
    let Some(dependencies) = dependencies.as_sequence_mut() else {
        bail!("`dependencies:` of the environment file is not a list");
    };
    dependencies.extend(packages.iter().map(|package| package.as_str().into()));
    for name in ["python", "pip"] {
        if with_pip && !dependencies.iter().any(|line| is_of(line, name)) {
            dependencies.push(name.into());
        }
    }
    Ok(())
}

/// Whether a line of conda's asks for this package, in whatever version and from whatever channel.
fn is_of(line: &Value, name: &str) -> bool {
    let Some(text) = line.as_str() else {
        return false;
    };
    let text = text.rsplit("::").next().unwrap_or(text).trim_start();
    text.strip_prefix(name).is_some_and(|rest| {
        !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || "-_.".contains(c))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(request: &Request, with_pip: bool, conda: &[&str], pip: &[&str]) {
        let spec = read(request, with_pip, &SpecContext::default());
        let spec = spec.unwrap().unwrap();
        assert_eq!(spec.conda_specs().collect::<Vec<_>>(), conda);
        assert_eq!(spec.pip(), pip);
    }

    #[test]
    fn pieces_are_put_together() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs_err::write(&path, text).unwrap();
            Some(path)
        };
        let names = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let packages = Request {
            packages: names(&["numpy <2", "h5py"]),
            ..Request::default()
        };
        check(&packages, false, &["numpy <2", "h5py"], &[]);
        check(&packages, true, &["numpy <2", "h5py", "python", "pip"], &[]);
        check(&Request::default(), true, &["python", "pip"], &[]);
        let file = Request {
            file: write(
                "env.yml",
                "channels: [x]\ndependencies: [x::python=3.11, pip, pip: [flask]]\n",
            ),
            packages: names(&["python-dateutil"]),
            channels: vec![],
        };
        let conda = ["x::python=3.11", "pip", "python-dateutil"];
        check(&file, true, &conda, &["flask"]);
        let list = Request {
            file: write("list.txt", "numpy\n"),
            packages: names(&["h5py"]),
            ..Request::default()
        };
        let error = read(&list, false, &SpecContext::default()).unwrap_err();
        assert!(error.to_string().contains("list.txt"), "{error}");
        let nothing = read(&Request::default(), false, &SpecContext::default());
        assert!(nothing.unwrap().is_none());
    }

    #[test]
    fn names_are_told_from_longer_ones() {
        for (line, expected) in [
            ("python", true),
            ("python=3.11", true),
            ("python >=3", true),
            ("c::python", true),
            ("python-dateutil", false),
            ("python_abi", false),
            ("ipython", false),
        ] {
            assert_eq!(is_of(&line.into(), "python"), expected, "{line}");
        }
    }
}
