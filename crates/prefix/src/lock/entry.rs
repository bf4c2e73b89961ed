//! Responsible for one package of a conda-lock.yml. Programs other than conda-lock leave fields of
//! it empty or write them differently.

use rattler_conda_types::{PackageName, VersionWithSource, package::DistArchiveIdentifier};
use serde_yaml::{Mapping, Value};
use url::Url;

use super::requirement::parse_requirement;
use crate::spec::needed;

/// Names of digests, each with its number of hexadecimal digits.
const DIGESTS: [(&str, usize); 2] = [("md5", 32), ("sha256", 64)];

/// Returns the name of a package for messages, or else its location, or else
/// the first line of its YAML.
pub(super) fn name(package: &Value) -> String {
    let text = |key: &str| package.get(key).and_then(Value::as_str);
    let keys = ["name", "conda", "pypi", "url", "path"];
    let found = keys.iter().find_map(|key| text(key)).map(str::to_owned);
    found.unwrap_or_else(|| first_line(package))
}

/// Returns the first line of a value's YAML, for messages about a value of unexpected form.
pub(super) fn first_line(value: &Value) -> String {
    let text = serde_yaml::to_string(value).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

/// Returns the package in the form that rattler reads, or `None` for a virtual package, which is
/// not installed.
pub(super) fn to_rattler(name: &str, mut package: Value) -> Result<Option<Value>, String> {
    let Value::Mapping(fields) = &mut package else {
        return Err(format!("`{name}` is no package: expected keys and values"));
    };
    let is_of_conda = match fields.get("manager").and_then(Value::as_str) {
        // Locks of conda-lock 1 contain virtual packages.
        Some("conda") if name.starts_with("__") => return Ok(None),
        Some("conda") => true,
        Some("pip" | "pypi") => false,
        Some(other) => {
            return Err(format!(
                "`{name}` is a package of `{other}`, expected `manager: conda` or `manager: pip`"
            ));
        }
        None => return Err(format!("`{name}` has no `manager:`")),
    };
    match digests(name, fields.get("hash"))? {
        Some(digests) => drop(fields.insert("hash".into(), digests)),
        None if is_of_conda => {
            return Err(format!(
                "`{name}` has neither sha256 nor md5, so nobody could tell whether it is still the same"
            ));
        }
        None => drop(fields.remove("hash")),
    }
    let url = fields.get("url").and_then(Value::as_str);
    let url = url.ok_or_else(|| format!("`{name}` has no `url:`"))?;
    let parsed = Url::parse(url).map_err(|error| format!("`{name}` comes from no URL: {error}"))?;
    let file = parsed.path().rsplit('/').next().unwrap_or_default();
    if is_of_conda && name.parse::<PackageName>().is_err() {
        return Err(format!("`{name}` is no name of a conda package"));
    }
    if is_of_conda && !names_package(file) {
        return Err(format!(
            "`{name}` comes from `{file}`, expected a file NAME-VERSION-BUILD.conda or .tar.bz2"
        ));
    }
    let dependencies = fields.remove("dependencies").unwrap_or_default();
    let dependencies = dependencies_of(&dependencies, is_of_conda);
    fields.insert("dependencies".into(), dependencies.into());
    // The `source` that a package was built from is not needed for an installation.
    fields.remove("source");
    Ok(Some(package))
}

/// Returns true if the file name of an archive can be parsed, and needs no escapes in a URL.
fn names_package(file: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+!=~%".contains(c);
    let parts = DistArchiveIdentifier::try_from_filename(file);
    file.chars().all(is_plain)
        && parts.is_some_and(|parts| {
            let parts = parts.identifier;
            parts.name.parse::<PackageName>().is_ok()
                && parts.version.parse::<VersionWithSource>().is_ok()
        })
}

/// Returns the digests of a package. Empty texts and nulls count as missing.
fn digests(name: &str, hash: Option<&Value>) -> Result<Option<Value>, String> {
    let mut found = Mapping::new();
    for (algorithm, digits) in DIGESTS {
        match hash.and_then(|hash| hash.get(algorithm)) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if text.is_empty() => {}
            Some(Value::String(text))
                if text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
            {
                found.insert(algorithm.into(), text.as_str().into());
            }
            Some(_) => {
                return Err(format!(
                    "the {algorithm} of `{name}` is none: expected {digits} hexadecimal digits in quotes"
                ));
            }
        }
    }
    Ok((!found.is_empty()).then_some(Value::Mapping(found)))
}

/// Returns the dependencies of the package, one text each, without those that cannot be parsed. The
/// dependencies of pip packages are not used by installations.
fn dependencies_of(dependencies: &Value, is_of_conda: bool) -> Vec<Value> {
    let lines: Vec<String> = match dependencies {
        Value::Mapping(pairs) => pairs
            .iter()
            .filter_map(|(name, version)| {
                let (name, version) = (name.as_str()?, scalar(version)?);
                Some(if is_of_conda {
                    of_conda(name, version.trim())
                } else {
                    of_pip(name, version.trim())
                })
            })
            .collect(),
        Value::Sequence(lines) => lines.iter().filter_map(scalar).collect(),
        _ => Vec::new(),
    };
    let is_understood = |line: &String| {
        if is_of_conda {
            needed(line).is_ok()
        } else {
            parse_requirement(line).is_some()
        }
    };
    let lines = lines.into_iter().filter(is_understood);
    lines.map(Value::from).collect()
}

/// Returns a conda dependency, without its version if that cannot be parsed: the order of packages
/// depends on names only.
fn of_conda(name: &str, version: &str) -> String {
    let whole = format!("{name} {version}");
    match needed(&whole) {
        Ok(_) if !version.is_empty() => whole,
        _ => name.to_owned(),
    }
}

/// Returns a dependency in pip's syntax. conda-lock writes versions of PyPI
/// packages in conda's syntax.
fn of_pip(name: &str, version: &str) -> String {
    match version {
        "" | "*" => name.to_owned(),
        _ if version.starts_with(|c: char| c.is_ascii_digit()) => format!("{name}=={version}"),
        _ => format!("{name}{version}"),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}
