//! Responsible for the package managers of distributions: how they are found, their scripts, and
//! what their messages mean.

use condense_base::BaseImage;

/// Package manager of a distribution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manager {
    pub(super) name: &'static str,
    /// Paths of its program.
    paths: &'static [&'static str],
    script: &'static str,
    /// Texts around the name of a package that there is not, each before and behind it.
    unknown: &'static [(&'static str, &'static str)],
}

/// Package managers in the order in which they are looked for.
const MANAGERS: [Manager; 6] = [
    Manager {
        name: "apt",
        paths: &["/usr/bin/apt-get"],
        script: include_str!("apt.sh"),
        unknown: &[
            ("Unable to locate package ", ""),
            ("Package '", "' has no installation candidate"),
            ("Version '", "' for"),
        ],
    },
    Manager {
        name: "zypper",
        paths: &["/usr/bin/zypper"],
        script: include_str!("zypper.sh"),
        unknown: &[
            ("No provider of '", "' found"),
            ("Package '", "' not found"),
        ],
    },
    Manager {
        name: "dnf",
        paths: &["/usr/bin/dnf"],
        script: include_str!("dnf.sh"),
        unknown: &[("No match for argument: ", "")],
    },
    Manager {
        name: "microdnf",
        paths: &["/usr/bin/microdnf"],
        script: include_str!("microdnf.sh"),
        unknown: &[("No package matches '", "'")],
    },
    Manager {
        name: "yum",
        paths: &["/usr/bin/yum"],
        script: include_str!("yum.sh"),
        unknown: &[("No package ", " available")],
    },
    Manager {
        name: "apk",
        paths: &["/sbin/apk", "/usr/sbin/apk"],
        script: include_str!("apk.sh"),
        unknown: &[("  ", " (no such package)")],
    },
];

/// Messages of programs that reach no server.
const NO_NETWORK: [&str; 14] = [
    "Temporary failure resolving",
    "Temporary failure in name resolution",
    "Could not resolve",
    "Couldn't resolve",
    "Could not connect",
    "Couldn't connect",
    "Connection timed out",
    "Connection refused",
    "Network is unreachable",
    "network error (check Internet connection",
    "DNS lookup error",
    "Download (curl) error",
    "Timeout exceeded when accessing",
    "temporary error (try again later)",
];

impl Manager {
    /// Finds the package manager of a base.
    ///
    /// # Errors
    /// Returns an error if the base cannot be read.
    pub(super) fn of(base: &BaseImage) -> Result<Option<Self>, condense_base::Error> {
        for manager in MANAGERS {
            for path in manager.paths {
                if base.exists(path)? {
                    return Ok(Some(manager));
                }
            }
        }
        Ok(None)
    }

    /// Returns the names of all package managers.
    pub(super) fn names() -> String {
        MANAGERS.map(|manager| manager.name).join(", ")
    }

    /// Returns the text of the script, whose arguments are packages.
    pub(super) fn script(self) -> String {
        format!("{}{}", include_str!("begin.sh"), self.script)
    }

    /// Returns the reason of a failure with this output, if it is one of the usual ones.
    pub(super) fn reason(self, output: &str) -> Option<Reason> {
        // Without a network, no package is known.
        if NO_NETWORK.iter().any(|text| output.contains(text)) {
            return Some(Reason::Network);
        }
        output.lines().find_map(|line| {
            self.unknown.iter().find_map(|(before, behind)| {
                let (_, rest) = line.split_once(before)?;
                let name = if behind.is_empty() {
                    rest.split_whitespace().next()?
                } else {
                    rest.split_once(behind)?.0
                };
                Some(Reason::Unknown(name.trim().to_owned()))
            })
        })
    }
}

/// Usual reason of a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The servers cannot be reached.
    Network,
    /// There is no package of this name.
    Unknown(String),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn reason(name: &str, output: &str) -> Option<Reason> {
        let manager = MANAGERS.iter().find(|manager| manager.name == name);
        manager.unwrap().reason(output)
    }

    #[test]
    fn usual_failures_of_each_package_manager_are_understood() {
        for (manager, output, package) in [
            ("apt", "E: Unable to locate package nopack", "nopack"),
            (
                "apt",
                "E: Package 'mesa' has no installation candidate",
                "mesa",
            ),
            ("zypper", "No provider of 'nopack' found.", "nopack"),
            ("zypper", "Package 'nopack' not found.", "nopack"),
            ("dnf", "No match for argument: nopack", "nopack"),
            ("microdnf", "error: No package matches 'nopack'", "nopack"),
            ("yum", "No package nopack available.", "nopack"),
            ("apk", "  nopack (no such package):", "nopack"),
        ] {
            let expected = Reason::Unknown(package.to_owned());
            assert_eq!(reason(manager, output), Some(expected), "{output}");
        }
        for (manager, output) in [
            (
                "apt",
                "E: Failed to fetch http://x  Temporary failure resolving 'x'\nE: Unable to locate package a",
            ),
            (
                "apk",
                "WARNING: fetching x: temporary error (try again later)",
            ),
            ("dnf", "Curl error (6): Couldn't resolve host name"),
        ] {
            assert_eq!(reason(manager, output), Some(Reason::Network), "{output}");
        }
        assert_eq!(reason("apt", "E: Sub-process /usr/bin/dpkg returned"), None);
    }

    /// The manuals of the package managers have these options. Those of apt were run for real.
    #[test]
    fn the_command_lines_are_those_of_the_manuals() {
        for (manager, lines) in [
            (
                "apt",
                &[
                    "apt-get -q -o APT::Update::Error-Mode=any update\n",
                    "apt-get -q -y --no-install-recommends -o Dpkg::Use-Pty=0 \\\n    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \\\n    install -- \"$@\"\n",
                    "apt-get clean\n",
                ][..],
            ),
            (
                "zypper",
                &[
                    "zypper --non-interactive --gpg-auto-import-keys refresh\n",
                    "zypper --non-interactive install --no-recommends --auto-agree-with-licenses -- \"$@\" ||",
                    "zypper --non-interactive clean --all\n",
                ],
            ),
            (
                "dnf",
                &[
                    "dnf -y --setopt=install_weak_deps=False --setopt=tsflags=nodocs install \"$@\"\n",
                    "dnf clean all\n",
                ],
            ),
            (
                "microdnf",
                &[
                    "microdnf -y --nodocs --setopt=install_weak_deps=0 install \"$@\"\n",
                    "microdnf clean all\n",
                ],
            ),
            (
                "yum",
                &[
                    "yum -y --setopt=tsflags=nodocs install \"$@\"\n",
                    "yum clean all\n",
                ],
            ),
            ("apk", &["apk add --no-cache \"$@\"\n"]),
        ] {
            let found = MANAGERS.iter().find(|found| found.name == manager);
            let script = found.unwrap().script();
            for line in lines {
                let line = format!("\n{line}");
                assert!(script.contains(&line), "{manager}: {line}");
            }
        }
    }

    #[test]
    fn every_script_names_what_it_has_installed() {
        for manager in MANAGERS {
            let script = manager.script();
            for line in [
                "list >\"$notes/before\"",
                "list >\"$notes/after\"",
                "\nrestore\n",
            ] {
                assert!(script.contains(line), "{}: {line}", manager.name);
            }
            assert!(script.contains("\"$@\""), "{}", manager.name);
        }
    }
}
