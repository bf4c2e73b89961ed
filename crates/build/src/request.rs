//! Responsible for the environment that is asked for by a file, by names of packages, or by both.

use std::path::Path;

use anyhow::{Context, bail};
use condense_diagnostics::UserError;
use condense_prefix::{EnvironmentSpec, Kind, SpecContext};
use serde_yaml::{Mapping, Value};

use crate::plan::{PackageRequest, PackageSettings};

/// Channel of packages if none is named.
const CHANNEL: &str = "conda-forge";

/// Reads the packages that are asked for. With `with_pip`, requirements for pip come later: without
/// a file, a Python and a pip are added for them.
///
/// # Errors
/// Returns an error if the file cannot be read, or if no packages can be added to it.
pub(crate) fn read(
    request: &PackageRequest,
    with_pip: bool,
    spec_context: &SpecContext,
) -> anyhow::Result<EnvironmentSpec> {
    let PackageRequest {
        file,
        packages,
        channels,
    } = request;
    let (mut document, name) = match file {
        Some(file) if packages.is_empty() && channels.is_empty() => {
            return load_conda_spec(file, spec_context);
        }
        Some(file) => (load_document(file, channels, spec_context)?, file.as_path()),
        None => (with_channels(channels), Path::new("environment.yml")),
    };
    add(&mut document, packages, with_pip && file.is_none())?;
    let text =
        serde_yaml::to_string(&document).context("failed to put the environment together")?;
    let folder = name.parent().unwrap_or(Path::new("/"));
    Ok(EnvironmentSpec::parse_in(
        &text,
        name,
        folder,
        spec_context,
    )?)
}

/// Reads channels, for questions about them; without any, the default one and those of conda's
/// configuration.
///
/// # Errors
/// Returns an error if a text is no channel.
pub(crate) fn read_channels(
    channels: &[String],
    folder: &Path,
    packages: &PackageSettings,
) -> anyhow::Result<EnvironmentSpec> {
    let default = [CHANNEL.to_owned()];
    let channels = if channels.is_empty() {
        &default
    } else {
        channels
    };
    let mut spec = EnvironmentSpec::of_channels(channels, folder, &packages.spec_context)?;
    if let Some(condarc) = &packages.condarc {
        condarc.apply(&mut spec)?;
    }
    Ok(spec)
}

/// Loads an environment file. A requirements file is refused: it does not name a Python.
///
/// # Errors
/// Returns an error if the file cannot be read, or is a requirements file.
pub(crate) fn load_conda_spec(
    file: &Path,
    spec_context: &SpecContext,
) -> anyhow::Result<EnvironmentSpec> {
    let spec = EnvironmentSpec::load(file, spec_context)?;
    if spec.kind() == Kind::Requirements {
        bail!(refuse_requirements(file));
    }
    Ok(spec)
}

fn refuse_requirements(file: &Path) -> UserError {
    let name = file.display();
    UserError::new(
        format!("`{name}` is a requirements file for pip, not a list of conda packages"),
        format!(
            "`condense new NAME {name}` installs it with a Python of conda's, `pip-containerize new --prefix DIR {name}` on a Python of this machine"
        ),
    )
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

/// Loads an environment file or a list of packages as a document to which packages can be added.
/// `channels` come before those of the file.
fn load_document(
    file: &Path,
    channels: &[String],
    spec_context: &SpecContext,
) -> anyhow::Result<Mapping> {
    let text = condense_input::read_named_to_string(file, condense_input::TEXT_MOST)?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let spec = EnvironmentSpec::parse_in(&text, file, folder, spec_context)?;
    let mut document = match spec.kind() {
        Kind::Environment => match serde_yaml::from_str(&text) {
            Ok(Value::Mapping(document)) => document,
            _ => bail!(refuse_additions(file, "it is not an environment.yml")),
        },
        Kind::List => of_list(&spec),
        Kind::Explicit => bail!(refuse_additions(file, "an `@EXPLICIT` file is exact")),
        Kind::Requirements => bail!(refuse_requirements(file)),
    };
    if !channels.is_empty() {
        let known = document.remove("channels");
        let known = match known {
            Some(Value::Sequence(known)) => known,
            _ => Vec::new(),
        };
        let given = channels.iter().map(|channel| channel.as_str().into());
        let mut all: Vec<Value> = given.collect();
        all.extend(known);
        document.insert("channels".into(), all.into());
    }
    Ok(document)
}

/// Returns the packages of a list as the document of an environment file.
fn of_list(spec: &EnvironmentSpec) -> Mapping {
    let mut document = Mapping::new();
    let packages = spec.conda_specs().map(Value::from);
    let mut dependencies: Vec<Value> = packages.collect();
    if !spec.pip().is_empty() {
        let lines: Vec<Value> = spec.pip().iter().map(|line| line.as_str().into()).collect();
        let pip = Mapping::from_iter([(Value::from("pip"), Value::from(lines))]);
        dependencies.push(pip.into());
    }
    document.insert("dependencies".into(), dependencies.into());
    document
}

fn refuse_additions(file: &Path, reason: &str) -> UserError {
    UserError::new(
        format!("nothing can be added to `{}`: {reason}", file.display()),
        "write an environment.yml, or leave out the further packages and channels",
    )
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

/// Returns whether a conda requirement names this package, in any version and from any channel.
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

    fn check(request: &PackageRequest, with_pip: bool, conda: &[&str], pip: &[&str]) {
        let spec = read(request, with_pip, &SpecContext::default());
        let spec = spec.unwrap();
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
        let packages = PackageRequest {
            packages: names(&["numpy <2", "h5py"]),
            ..PackageRequest::default()
        };
        check(&packages, false, &["numpy <2", "h5py"], &[]);
        check(&packages, true, &["numpy <2", "h5py", "python", "pip"], &[]);
        check(&PackageRequest::default(), true, &["python", "pip"], &[]);
        let file = PackageRequest {
            file: write(
                "env.yml",
                "channels: [x]\ndependencies: [x::python=3.11, pip, pip: [flask]]\n",
            ),
            packages: names(&["python-dateutil"]),
            channels: vec![],
        };
        let conda = ["x::python=3.11", "pip", "python-dateutil"];
        check(&file, true, &conda, &["flask"]);
        let with_channel = PackageRequest {
            channels: names(&["https://first.org/y"]),
            ..file.clone()
        };
        let spec = read(&with_channel, false, &SpecContext::default()).unwrap();
        assert_eq!(
            spec.channels()[0].trim_end_matches('/'),
            "https://first.org/y"
        );
        let list = PackageRequest {
            file: write("list.txt", "numpy\n"),
            packages: names(&["h5py"]),
            channels: names(&["y"]),
        };
        check(&list, false, &["numpy", "h5py"], &[]);
        let exact = "@EXPLICIT\nhttps://c.org/noarch/a-1-0.conda\n";
        for (name, text) in [("exact.txt", exact), ("requirements.txt", "a==1 ; b\n")] {
            let refused = PackageRequest {
                file: write(name, text),
                ..packages.clone()
            };
            let error = read(&refused, false, &SpecContext::default()).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        assert!(PackageRequest::default().is_empty());
        assert!(!file.is_empty() && !packages.is_empty());
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
