//! Responsible for finding Python packages of the user's account and shell that programs would take
//! instead of those of the environment.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    path::{Path, PathBuf},
};

use crate::{
    code::{self, Code},
    finding::Finding,
    inventory::Inventory,
    packages::PipPackage,
};

/// Number of packages that one finding names.
const NAMED: usize = 5;

/// Directories of the user's account and shell in which Python looks for packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostPython {
    /// Directory of packages that `pip install --user` has installed: `PYTHONUSERBASE`, else
    /// `~/.local`. `None` if programs do not see it.
    pub user_base: Option<PathBuf>,
    /// Directories of the variable `PYTHONPATH`.
    pub python_path: Vec<PathBuf>,
}

/// Finds packages on the host that come before packages of the same name in the environment.
pub fn check_host_python(inventory: &Inventory, host: &HostPython) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for (dir, packages) in &inventory.sites {
        let is_alone = inventory
            .venvs
            .iter()
            .any(|venv| dir.starts_with(&venv.dir) && !venv.system_site_packages);
        let version = dir.ancestors().find_map(python_version);
        let user_site = host.user_base.as_ref().zip(version).map(|(base, version)| {
            let lib = base.join("lib").join(format!("python{version}"));
            lib.join("site-packages")
        });
        let user_site = user_site.filter(|_| !is_alone);
        let of_user = user_site.map(|dir| (&code::USER_SITE, dir));
        let of_shell = host.python_path.iter();
        let of_shell = of_shell.map(|dir| (&code::PYTHONPATH, dir.clone()));
        for (code, host_dir) in of_user.into_iter().chain(of_shell) {
            if host_dir != *dir && seen.insert((code.name, host_dir.clone())) {
                findings.extend(shadows(code, &host_dir, packages));
            }
        }
    }
    findings
}

/// Returns the finding about a directory of the host, if it has packages of the environment.
fn shadows(code: &'static Code, dir: &Path, packages: &[PipPackage]) -> Option<Finding> {
    let own: BTreeMap<&str, &str> = packages
        .iter()
        .map(|package| (package.name.as_str(), package.version.as_str()))
        .collect();
    let mut pairs: Vec<String> = Vec::new();
    for found in packages_in(dir) {
        if let Some(version) = own.get(found.name.as_str()) {
            pairs.push(format!("{} {} (not {version})", found.name, found.version));
        }
    }
    if pairs.is_empty() {
        return None;
    }
    let more = pairs.len().saturating_sub(NAMED);
    let mut list = pairs[..pairs.len() - more].join(", ");
    if more > 0 {
        list.push_str(&format!(" and {more} more"));
    }
    let whose = if code == &code::USER_SITE {
        "the user's own packages"
    } else {
        "packages on PYTHONPATH"
    };
    let what = format!("{whose} come before those of the environment: {list}");
    Some(Finding::new(code, what, dir.display().to_string()))
}

/// Lists the packages in a directory of the host by the names of their metadata. A directory that
/// cannot be read has none.
fn packages_in(dir: &Path) -> Vec<PipPackage> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PipPackage> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let name = name.to_str()?;
            PipPackage::from_metadata_dir(name).or_else(|| PipPackage::from_egg_info(name))
        })
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// Returns `3.12` of a directory `python3.12`.
fn python_version(dir: &Path) -> Option<&str> {
    let version = dir.file_name()?.to_str()?.strip_prefix("python")?;
    version.contains('.').then_some(version)
}

/// Returns the directory of packages that holds this metadata directory.
pub(crate) fn site_of(metadata_dir: &Path) -> Option<&Path> {
    let parent = metadata_dir.parent()?;
    let is_site = ["site-packages", "dist-packages"]
        .iter()
        .any(|name| parent.file_name() == Some(OsStr::new(name)));
    is_site.then_some(parent)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Makes metadata directories below a directory.
    fn make(dir: &Path, names: &[&str]) {
        for name in names {
            fs_err::create_dir_all(dir.join(name)).unwrap();
        }
    }

    fn inventory(dir: &Path) -> Inventory {
        Inventory::from_dir(dir, "/mnt/env".as_ref(), None).unwrap()
    }

    fn lines(inventory: &Inventory, host: &HostPython) -> Vec<String> {
        let findings = check_host_python(inventory, host);
        findings.iter().map(ToString::to_string).collect()
    }

    /// Usability row A6: packages of the user's site directory are found, with both versions.
    #[test]
    fn packages_of_the_user_come_before_those_of_the_environment() {
        let room = tempfile::tempdir().unwrap();
        let (env, user) = (room.path().join("env"), room.path().join("user"));
        let site = "lib/python3.12/site-packages";
        make(
            &env.join(site),
            &["emoji-2.2.0.dist-info", "Foo_Bar-1.0.dist-info", "x"],
        );
        make(
            &user.join(site),
            &[
                "emoji-2.14.dist-info",
                "foo.bar-3.0-py3.12.egg-info",
                "other-1.dist-info",
            ],
        );
        make(
            &user.join("lib/python3.11/site-packages"),
            &["emoji-9.dist-info"],
        );
        let host = HostPython {
            user_base: Some(user.clone()),
            python_path: vec![user.join("lib/python3.11/site-packages")],
        };
        let findings = check_host_python(&inventory(&env), &host);
        let codes: Vec<&str> = findings.iter().map(|finding| finding.code.name).collect();
        assert_eq!(codes, ["user-site", "pythonpath"]);
        let shown = |dir: &str| user.join(dir).display().to_string();
        assert_eq!(
            lines(&inventory(&env), &host),
            [
                format!(
                    "[user-site] the user's own packages come before those of the environment: \
                     emoji 2.14 (not 2.2.0), foo-bar 3.0 (not 1.0) ({})",
                    shown(site)
                ),
                format!(
                    "[pythonpath] packages on PYTHONPATH come before those of the environment: \
                     emoji 9 (not 2.2.0) ({})",
                    shown("lib/python3.11/site-packages")
                ),
            ]
        );
        let hidden = HostPython::default();
        assert_eq!(lines(&inventory(&env), &hidden), Vec::<String>::new());
    }

    #[test]
    fn a_virtual_environment_does_not_see_the_user_s_packages() {
        let room = tempfile::tempdir().unwrap();
        let (env, user) = (room.path().join("env"), room.path().join("user"));
        let site = "lib/python3.12/site-packages";
        make(&env.join(site), &["emoji-2.2.0.dist-info"]);
        make(&user.join(site), &["emoji-2.14.dist-info"]);
        let host = HostPython {
            user_base: Some(user),
            python_path: Vec::new(),
        };
        for (setting, findings) in [("false", 0), ("true", 1)] {
            let text = format!("home = /usr/bin\ninclude-system-site-packages = {setting}\n");
            fs_err::write(env.join("pyvenv.cfg"), text).unwrap();
            assert_eq!(lines(&inventory(&env), &host).len(), findings, "{setting}");
        }
    }

    #[test]
    fn a_long_list_is_shortened() {
        let room = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..8).map(|i| format!("p{i}-1.dist-info")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let site = room.path().join("env/lib/python3.12/site-packages");
        let host = room.path().join("host");
        make(&site, &names);
        make(&host, &names);
        let host = HostPython {
            user_base: None,
            python_path: vec![host],
        };
        let lines = lines(&inventory(&room.path().join("env")), &host);
        assert!(lines[0].contains("p4 1 (not 1) and 3 more"), "{lines:?}");
    }
}
