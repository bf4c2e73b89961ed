//! Responsible for the dependencies of installed wheels: the lines `Requires-Dist` of their
//! metadata, for the Python and the machine of an environment.

use pep508_rs::{ExtraName, MarkerEnvironment, MarkerEnvironmentBuilder, VersionOrUrl};

pub use crate::pip_package::normalized as normalized_name;
use crate::{lock::parse_requirement, secrets::without_secrets};

/// Dependency of an installed wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelDependency {
    /// Name, normalised as pip compares names: lower case, with hyphens.
    pub name: String,
    /// Extras of the dependency that are required.
    pub extras: Vec<String>,
    /// Versions that fit, such as `>=1.19,<3`, or the URL of the only one. Empty if all fit.
    pub versions: String,
}

/// Returns the dependencies of a wheel whose markers hold on Linux for Python `python`, such as
/// `3.12.4`, and the machine `machine`, such as `x86_64`. Lines for other systems, for extras that
/// are not in `extras`, and lines that are not valid by PEP 508 are left out.
pub fn wheel_dependencies(
    requires_dist: &[String],
    python: &str,
    machine: &str,
    extras: &[String],
) -> Vec<WheelDependency> {
    let environment = environment(python, machine);
    let extras: Vec<ExtraName> = extras
        .iter()
        .filter_map(|extra| extra.parse().ok())
        .collect();
    let mut found = Vec::new();
    for line in requires_dist {
        let Some(requirement) = parse_requirement(line) else {
            continue;
        };
        let holds = environment
            .as_ref()
            .is_none_or(|environment| requirement.evaluate_markers(environment, &extras));
        if !holds {
            continue;
        }
        found.push(WheelDependency {
            name: normalized_name(requirement.name.as_ref()),
            extras: requirement.extras.iter().map(ToString::to_string).collect(),
            versions: match &requirement.version_or_url {
                Some(VersionOrUrl::VersionSpecifier(versions)) => {
                    versions.to_string().replace(", ", ",")
                }
                Some(VersionOrUrl::Url(url)) => without_secrets(&url.to_string()).into_owned(),
                None => String::new(),
            },
        });
    }
    found
}

/// Returns whether a version is among those of a [`WheelDependency`]. Versions that cannot be
/// understood are allowed.
pub fn is_allowed(version: &str, versions: &str) -> bool {
    let requirement = parse_requirement(&format!("x {versions}"));
    let wanted = requirement.and_then(|requirement| requirement.version_or_url);
    match (wanted, version.parse()) {
        (Some(VersionOrUrl::VersionSpecifier(wanted)), Ok(version)) => wanted.contains(&version),
        _ => true,
    }
}

/// Returns the values of markers, or `None` if the version of Python cannot be understood.
fn environment(python: &str, machine: &str) -> Option<MarkerEnvironment> {
    let numbers: Vec<&str> = python.split('.').take(2).collect();
    let builder = MarkerEnvironmentBuilder {
        implementation_name: "cpython",
        implementation_version: python,
        os_name: "posix",
        platform_machine: machine,
        platform_python_implementation: "CPython",
        platform_release: "",
        platform_system: "Linux",
        platform_version: "",
        python_full_version: python,
        python_version: &numbers.join("."),
        sys_platform: "linux",
    };
    builder.try_into().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(lines: &[&str], python: &str, extras: &[&str]) -> Vec<String> {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let extras: Vec<String> = extras.iter().map(|extra| (*extra).to_owned()).collect();
        let found = wheel_dependencies(&lines, python, "x86_64", &extras);
        let shown = found.into_iter().map(|found| {
            let extras = if found.extras.is_empty() {
                String::new()
            } else {
                format!("[{}]", found.extras.join(","))
            };
            format!("{}{extras}{}", found.name, found.versions)
        });
        shown.collect()
    }

    #[test]
    fn versions_are_compared_as_pip_does() {
        for (version, versions, expected) in [
            ("2.0", ">=1.19,<3", true),
            ("3.0", ">=1.19,<3", false),
            ("1.2", "", true),
            ("1.2c_d", "==1", true),
            ("1.2", "https://h.org/a-1-py3-none-any.whl", true),
        ] {
            assert_eq!(
                is_allowed(version, versions),
                expected,
                "{version} {versions}"
            );
        }
    }

    #[test]
    fn markers_hold_for_the_python_of_the_environment() {
        let lines = [
            "Typing_Extensions>=4.0; python_version < \"3.11\"",
            "tomli (>=1,<3) ; python_full_version<'3.11.0a7'",
            "pywin32 ; sys_platform == 'win32'",
            "nvidia-cublas-cu12==12.1.3.1; platform_system == 'Linux' and platform_machine == 'x86_64'",
            "uvicorn[standard]>=0.12 ; extra == 'all'",
            "broken >>> line",
            "plain",
        ];
        assert_eq!(
            names(&lines, "3.10.4", &[]),
            [
                "typing-extensions>=4.0",
                "tomli>=1,<3",
                "nvidia-cublas-cu12==12.1.3.1",
                "plain"
            ]
        );
        assert_eq!(
            names(&lines, "3.12.1", &["all"]),
            [
                "nvidia-cublas-cu12==12.1.3.1",
                "uvicorn[standard]>=0.12",
                "plain"
            ]
        );
    }
}
