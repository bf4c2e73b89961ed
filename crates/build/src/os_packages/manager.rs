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
    /// Texts in lines about what was fetched. The scripts of packages print lines of other kinds.
    fetching: &'static [&'static str],
}

/// Text before the name of a package that a script of this program has missed.
const MISSED: (&str, &str) = ("condense: no package ", "");

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
        fetching: &["E: Failed to fetch", "W: Failed to fetch"],
    },
    Manager {
        name: "zypper",
        paths: &["/usr/bin/zypper"],
        script: include_str!("zypper.sh"),
        unknown: &[
            ("No provider of '", "' found"),
            ("Package '", "' not found"),
        ],
        fetching: &[
            "Error message:",
            "Download (curl) error",
            "Timeout exceeded",
        ],
    },
    Manager {
        name: "dnf",
        paths: &["/usr/bin/dnf"],
        script: include_str!("dnf.sh"),
        unknown: &[("No match for argument: ", "")],
        fetching: &["Curl error", "Cannot download"],
    },
    Manager {
        name: "microdnf",
        paths: &["/usr/bin/microdnf"],
        script: include_str!("microdnf.sh"),
        unknown: &[("No package matches '", "'")],
        fetching: &["Curl error", "Cannot download"],
    },
    Manager {
        name: "yum",
        paths: &["/usr/bin/yum"],
        script: include_str!("yum.sh"),
        unknown: &[("No package ", " available")],
        fetching: &["[Errno", "curl#"],
    },
    Manager {
        name: "apk",
        paths: &["/sbin/apk", "/usr/sbin/apk"],
        script: include_str!("apk.sh"),
        unknown: &[("  ", " (no such package)")],
        fetching: &["fetching ", "ERROR: "],
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
        let has = |line: &str, texts: &[&str]| texts.iter().any(|text| line.contains(text));
        if output
            .lines()
            .any(|line| has(line, self.fetching) && has(line, &NO_NETWORK))
        {
            return Some(Reason::Network);
        }
        output.lines().find_map(|line| {
            let unknown = self.unknown.iter().chain([&MISSED]);
            unknown.into_iter().find_map(|(before, behind)| {
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
    use std::{os::unix::fs::PermissionsExt, path::Path, process::Command};

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
        for output in [
            "E: Sub-process /usr/bin/dpkg returned",
            "Setting up thing: Connection refused by its daemon\nE: Sub-process /usr/bin/dpkg returned",
            "E: Failed to fetch http://x/thing.deb  404  Not Found",
        ] {
            assert_eq!(reason("apt", output), None, "{output}");
        }
        let missed = Some(Reason::Unknown("thing-1.".to_owned()));
        assert_eq!(reason("apt", "condense: no package thing-1."), missed);
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

    /// Runs a script of a package manager whose programs are shell scripts. Returns its status and
    /// the lines that it has printed.
    fn run(dir: &Path, manager: &str, programs: &[(&str, &str)], names: &[&str]) -> (i32, String) {
        let (bin, top) = (dir.join("bin"), dir.join("top"));
        fs_err::create_dir_all(&bin).unwrap();
        fs_err::create_dir_all(&top).unwrap();
        for (name, text) in programs {
            let program = bin.join(name);
            let text = format!("#!/bin/sh\ntop={}\n{text}\n", top.display());
            fs_err::write(&program, text).unwrap();
            let mode = std::fs::Permissions::from_mode(0o755);
            fs_err::set_permissions(&program, mode).unwrap();
        }
        let notes = dir.join("notes");
        let _ = fs_err::remove_dir_all(&notes);
        let found = MANAGERS.iter().find(|found| found.name == manager);
        let script = found.unwrap().script();
        let script = script
            .replacen("\ntop=\n", &format!("\ntop={}\n", top.display()), 1)
            .replacen(
                "=/tmp/condense-os-packages",
                &format!("={}", notes.display()),
                1,
            );
        let output = Command::new("/bin/sh")
            .args(["-c", &script, "sh"])
            .args(names)
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.code().unwrap_or(-1), said)
    }

    #[test]
    fn apt_gets_only_names_that_it_knows() {
        let dir = tempfile::tempdir().unwrap();
        let programs = [
            ("dpkg-query", "echo base 1 install ok installed"),
            (
                "apt-cache",
                "[ \"$1 $2\" = '--all-names pkgnames' ]; echo thing; echo python3.11",
            ),
            (
                "apt-get",
                "for word; do last=$word; done; [ \"$last\" = update ] || echo \"asked $*\" >>\"$top/asked\"",
            ),
        ];
        let (status, said) = run(dir.path(), "apt", &programs, &["thing=2:1", "thing:amd64"]);
        assert_eq!(status, 0, "{said}");
        let asked = fs_err::read_to_string(dir.path().join("top/asked")).unwrap();
        assert!(
            asked.contains("install -- thing=2:1 thing:amd64"),
            "{asked}"
        );
        fs_err::remove_file(dir.path().join("top/asked")).unwrap();
        let (status, said) = run(dir.path(), "apt", &programs, &["thing", "python3.1"]);
        assert_eq!(status, 1, "{said}");
        let missed = Some(Reason::Unknown("python3.1".to_owned()));
        assert_eq!(reason("apt", &said), missed);
        assert!(!dir.path().join("top/asked").exists());
    }

    #[test]
    fn statuses_that_inform_are_no_failures_and_missing_packages_are() {
        let rpm = "case $* in -qa*) echo base 1 ;; *thing) ;; *) exit 1 ;; esac";
        for (manager, status, names, expected) in [
            ("zypper", 0, &["thing"][..], 0),
            ("zypper", 107, &["thing"], 0),
            ("zypper", 103, &["thing=2"], 0),
            ("zypper", 106, &["thing", "other"], 1),
            ("zypper", 104, &["thing"], 104),
            ("yum", 0, &["thing", "other"], 1),
            ("yum", 0, &["thing"], 0),
            ("dnf", 0, &["other"], 1),
            ("microdnf", 0, &["other"], 1),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let program = format!("case $* in *install*) exit {status} ;; esac");
            let programs = [("rpm", rpm), (manager, &*program)];
            let (found, said) = run(dir.path(), manager, &programs, names);
            assert_eq!(found, expected, "{manager} {names:?}: {said}");
            let missed = (expected == 1).then(|| Reason::Unknown("other".to_owned()));
            assert_eq!(reason(manager, &said), missed, "{said}");
        }
    }

    #[test]
    fn directories_of_packages_stay_and_logs_and_caches_are_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join("top").join(path);
        for path in ["var/log/old", "var/cache/dnf/old"] {
            fs_err::create_dir_all(at(path)).unwrap();
        }
        fs_err::write(at("var/log/old/log"), "old").unwrap();
        fs_err::write(at("var/cache/dnf/old/index"), "old").unwrap();
        let install = "case $* in *install*) ;; clean*) rm -rf \"$top/var/cache/dnf\"; exit ;; esac
            mkdir -m 750 \"$top/var/log/nginx\"
            echo new >\"$top/var/log/nginx/.log\"; echo new >\"$top/var/log/dnf.log\"
            echo new >>\"$top/var/log/old/log\"; ln -s / \"$top/var/log/old/link\"
            mkdir -p \"$top/var/cache/dnf/new\" \"$top/var/lib/dnf/repos/x\"";
        let programs = [("rpm", "echo thing 1"), ("dnf", install)];
        let (status, said) = run(dir.path(), "dnf", &programs, &["thing"]);
        assert_eq!(status, 0, "{said}");
        let nginx = fs_err::metadata(at("var/log/nginx")).unwrap();
        assert_eq!(nginx.permissions().mode() & 0o777, 0o750);
        assert_eq!(fs_err::read_dir(at("var/log/nginx")).unwrap().count(), 0);
        for path in ["var/log/old/log", "var/cache/dnf/old/index"] {
            assert_eq!(fs_err::read_to_string(at(path)).unwrap(), "old", "{path}");
        }
        for path in [
            "var/log/dnf.log",
            "var/log/old/link",
            "var/cache/dnf/new",
            "var/lib/dnf/repos",
        ] {
            assert!(at(path).symlink_metadata().is_err(), "{path}");
        }
    }
}
