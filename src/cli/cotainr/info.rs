//! Responsible for `cotainr info`, which shows the container runtime and the known systems.

use std::{ffi::OsStr, io::IsTerminal};

use condense_installation::Runtime;

use super::systems::Systems;

const LINE: &str =
    "-------------------------------------------------------------------------------";
/// Oldest version of apptainer that can run the images.
const APPTAINER_MINIMUM: &str = "1.3.4";
/// Oldest version of SingularityCE that can run the images.
const SINGULARITY_MINIMUM: &str = "3.9.2";

/// Returns the report. `search_path` is the user's PATH.
pub(super) fn render(search_path: &OsStr, systems: &Systems, colour: bool) -> String {
    let colour = colour && std::io::stdout().is_terminal();
    let verdict = |good: bool| match (good, colour) {
        (true, true) => "\x1b[38;5;2mOK\x1b[0m",
        (true, false) => "OK",
        (false, true) => "\x1b[38;5;1mERROR\x1b[0m",
        (false, false) => "ERROR",
    };
    let provider = Runtime::provider(search_path);
    let (said, good) = describe(
        provider
            .as_ref()
            .map(|(name, version)| (name.as_str(), version.as_str())),
    );
    let mut text = format!(
        "Dependency report\n{LINE}\n    - Running condense {}, which needs no python, {}\n    - {said}{}\n\nSystem info\n{LINE}\n",
        env!("CARGO_PKG_VERSION"),
        verdict(true),
        good.map_or(String::new(), |good| format!(", {}", verdict(good))),
    );
    let names: Vec<&str> = systems.names().collect();
    if names.is_empty() {
        text.push_str("No system configurations available");
        return text;
    }
    text.push_str("Available system configurations:");
    for name in names {
        text.push_str(&format!("\n    - {name}"));
    }
    text
}

/// Returns a description of the runtime, and whether its version is new enough. The second value is
/// `None` for an unknown provider.
fn describe(found: Option<(&str, &str)>) -> (String, Option<bool>) {
    let Some((name, version)) = found else {
        return ("apptainer/singularity not found".to_owned(), Some(false));
    };
    let minimum = match name {
        "apptainer" => Some(APPTAINER_MINIMUM),
        "singularity-ce" => Some(SINGULARITY_MINIMUM),
        _ => None,
    };
    match (numbers(version), minimum) {
        (Some(found), Some(minimum)) if Some(found) >= numbers(minimum) => {
            (format!("Found {name} {version} >= {minimum}"), Some(true))
        }
        (Some(_), Some(minimum)) => (format!("Found {name} {version} < {minimum}"), Some(false)),
        _ => (
            format!("Found unknown singularity provider: {name} {version}"),
            None,
        ),
    }
}

/// Returns the first three numbers of a version, as in `1.2.3`.
fn numbers(version: &str) -> Option<[u64; 3]> {
    let start = version.find(|c: char| c.is_ascii_digit())?;
    let mut parts = version[start..].splitn(3, '.');
    let first = parts.next()?.parse().ok()?;
    let second = parts.next()?.parse().ok()?;
    let third = parts.next()?;
    let end = third
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(third.len());
    Some([first, second, third[..end].parse().ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b33_to_b36_providers_and_versions() {
        let (apptainer, singularity) = ("apptainer", "singularity-ce");
        for (found, said, good) in [
            (
                Some((apptainer, "1.3.4")),
                "Found apptainer 1.3.4 >= 1.3.4",
                Some(true),
            ),
            (
                Some((apptainer, "1.10.0-dev")),
                "Found apptainer 1.10.0-dev >= 1.3.4",
                Some(true),
            ),
            (
                Some((apptainer, "1.2.9")),
                "Found apptainer 1.2.9 < 1.3.4",
                Some(false),
            ),
            (
                Some((singularity, "3.11.4-1")),
                "Found singularity-ce 3.11.4-1 >= 3.9.2",
                Some(true),
            ),
            (
                Some((singularity, "odd")),
                "Found unknown singularity provider: singularity-ce odd",
                None,
            ),
            (
                Some(("singularity", "3.8.7")),
                "Found unknown singularity provider: singularity 3.8.7",
                None,
            ),
            (None, "apptainer/singularity not found", Some(false)),
        ] {
            assert_eq!(describe(found), (said.to_owned(), good));
        }
    }

    #[test]
    fn b37_versions_are_compared_as_numbers() {
        assert!(numbers("1.10.0") > numbers("1.9.9"));
        assert_eq!(numbers("v3.11.4-1"), Some([3, 11, 4]));
        assert_eq!(numbers("none"), None);
    }
}
