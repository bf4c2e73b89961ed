//! Responsible for hiding the user's own files and variables from build steps, which run code of
//! packages (`setup.py`, post-link scripts). Steps see neither the home directory nor variables
//! that look like credentials. They see everything that pip and uv need to reach their indices.

use std::{
    path::{Component, Path, PathBuf},
    process::Command,
};

use condense_installation::Bind;
use condense_prefix::BUILD_DIR;
use condense_within::Within;

use crate::plan::BuildEnv;

/// The home directory of build steps, in [`BUILD_DIR`]. The scripts of the steps use the same name.
const HOME: &str = "home";
/// The name by which the user lets in the home directory itself.
const HOME_VARIABLE: &str = "HOME";
/// The host's configuration of pip for all users.
const HOST_CONFIGURATION: &str = "/etc/pip.conf";
/// Files of a build that name the places where pip looks for packages.
const REQUIREMENTS: [&str; 4] = [
    "requirements.txt",
    "locked.txt",
    "locked-direct.txt",
    "options.txt",
];
/// Variables that give pip and uv a cache directory. The directory is made first, since only a
/// directory that exists can be shown.
const CACHES: [&str; 2] = ["PIP_CACHE_DIR", "UV_CACHE_DIR"];
/// Words in the names of variables that hold a credential.
const TELLING: [&str; 11] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "API_KEY",
    "APIKEY",
    "ACCESS_KEY",
    "PRIVATE_KEY",
    "WEBHOOK",
];
/// Ends of the names of variables that hold a credential.
const TELLING_ENDS: [&str; 7] = ["_KEY", "_PAT", "_PASS", "_PWD", "_JWT", "_AUTH", "_DSN"];
/// Beginnings of names that all programs of one service use.
const TELLING_STARTS: [&str; 10] = [
    "AWS_",
    "AZURE_",
    "GITHUB_",
    "GITLAB_",
    "CI_JOB_",
    "GOOGLE_APPLICATION_",
    "SSH_",
    "GPG_",
    "VAULT_",
    "TWINE_",
];
/// Names of variables that lead to files, sockets and directories with credentials, or to other
/// directories of the user.
const TELLING_NAMES: [&str; 14] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "DOCKER_CONFIG",
    "KRB5CCNAME",
    "KUBECONFIG",
    "NETRC",
    "PGPASSFILE",
    "RATTLER_AUTH_FILE",
    "REGISTRY_AUTH_FILE",
    "XAUTHORITY",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
];
/// Top-level directories that every container has from the host.
const OF_EACH_CONTAINER: [&str; 4] = ["dev", "proc", "sys", "tmp"];
/// Prefixes of variables that the runtimes set inside of a container, without the prefix.
const OF_RUNTIMES: [&str; 2] = ["APPTAINERENV_", "SINGULARITYENV_"];

/// Returns whether a variable looks like a credential. Variables that tell pip and uv about their
/// indices never do, whatever they hold.
fn is_private(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let is_installers = upper.starts_with("PIP_")
        || (upper.starts_with("UV_") && !upper.starts_with("UV_PUBLISH_"));
    if is_installers || upper.contains("TOKENIZER") {
        return false;
    }
    TELLING.iter().any(|word| upper.contains(word))
        || TELLING_ENDS.iter().any(|end| upper.ends_with(end))
        || TELLING_STARTS.iter().any(|start| upper.starts_with(start))
        || TELLING_NAMES.contains(&upper.as_str())
}

impl BuildEnv {
    /// Returns whether steps see the user's own home directory.
    pub(super) fn has_own_home(&self) -> bool {
        self.lets_in(HOME_VARIABLE)
    }

    /// Removes variables that look like credentials from the environment of a process. The prefixes
    /// of the runtimes do not protect a variable from that.
    pub(super) fn screen(&self, command: &mut Command) {
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy();
            let prefix = OF_RUNTIMES.iter().find(|prefix| text.starts_with(**prefix));
            let name = &text[prefix.map_or(0, |prefix| prefix.len())..];
            let of_own_home = self.has_own_home() && name.starts_with("XDG_");
            if is_private(name) && !self.lets_in(name) && !of_own_home {
                command.env_remove(&variable);
            }
        }
    }

    /// Makes the home directory of the steps, with the configuration and passwords that pip and uv
    /// have in the user's. Returns its path on this machine, or `None` if the user's own home
    /// directory is let in.
    ///
    /// # Errors
    /// Returns an error if a file or directory of the build cannot be read or written.
    pub(super) fn make_home(&self, build_dir: &Path) -> anyhow::Result<Option<PathBuf>> {
        if self.has_own_home() {
            return Ok(None);
        }
        let root = build_dir.parent().unwrap_or(Path::new("/"));
        let build_dir = Within::open(root)?.make_own_dir(BUILD_DIR)?;
        let home = build_dir.make_own_dir(HOME)?;
        for (name, value) in &self.installers {
            if CACHES.contains(&name.as_str()) {
                // pip itself complains about a directory that cannot be made.
                let _ = std::fs::create_dir_all(value);
            }
        }
        let mut told = String::new();
        for (path, text) in self.configuration() {
            if let Some(dir) = Path::new(path).parent() {
                home.make_dir(dir)?;
            }
            told.push_str(&text);
            home.write(path, text)?;
        }
        told.push_str(&std::fs::read_to_string(HOST_CONFIGURATION).unwrap_or_default());
        for (_, value) in &self.installers {
            told.push_str(value);
            told.push('\n');
        }
        for name in REQUIREMENTS {
            told.push_str(&build_dir.read_text(name)?.unwrap_or_default());
        }
        let passwords = self.netrc.as_ref().map(std::fs::read_to_string);
        if let Some(Ok(text)) = passwords {
            home.write(".netrc", passwords_for(&text, &told))?;
        }
        Ok(Some(home.path("")))
    }

    /// Returns the text of the user's configuration files for pip and uv, each with its place in a
    /// home directory.
    fn configuration(&self) -> Vec<(&'static str, String)> {
        let below = |dir: &Option<PathBuf>, name: &str| Some(dir.as_ref()?.join(name));
        let files = [
            (
                ".config/pip/pip.conf",
                below(&self.config_dir, "pip/pip.conf"),
            ),
            (".pip/pip.conf", below(&self.home, ".pip/pip.conf")),
            (".config/uv/uv.toml", below(&self.config_dir, "uv/uv.toml")),
        ];
        let read = |path: Option<PathBuf>| std::fs::read_to_string(path?).ok();
        files
            .into_iter()
            .filter_map(|(name, path)| Some((name, read(path)?)))
            .collect()
    }

    /// Returns the existing paths in the configuration of pip and uv: certificates, wheels, caches.
    /// Only those below the home directory have to be shown.
    fn named_below_home(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let configured = self.configuration();
        let texts = configured.iter().map(|(_, text)| text);
        let values = self.installers.iter().map(|(_, value)| value);
        for text in texts.chain(values) {
            let is_between = |c: char| c.is_whitespace() || ",=\"'[]".contains(c);
            for word in text.split(is_between) {
                let path = Path::new(word.strip_prefix("file://").unwrap_or(word));
                if path.is_absolute() && path.exists() {
                    found.push(path.to_owned());
                }
            }
        }
        found
    }

    /// Returns binds that put `home` in the place of the user's own home directory, if the host's
    /// directories show that. Further binds show what would be hidden and is needed: paths in the
    /// configuration of pip and uv, and those of `shown`.
    ///
    /// # Errors
    /// Returns an error if a path cannot be bound.
    pub(super) fn binds(
        &self,
        home: Option<&Path>,
        is_shown: impl Fn(&std::ffi::OsStr) -> bool,
        shown: &[PathBuf],
    ) -> condense_installation::Result<Vec<Bind>> {
        let (Some(home), Some(own)) = (home, &self.home) else {
            return Ok(Vec::new());
        };
        let Ok(own) = std::fs::canonicalize(own) else {
            return Ok(Vec::new());
        };
        let top = own.components().find_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        });
        // The runtime shows the host's /tmp in every view, so a home directory there must be
        // hidden, too. A home directory that is `/` cannot be hidden.
        let Some(top) = top else {
            return Ok(Vec::new());
        };
        let mut binds = Vec::new();
        let mut paths = self.named_below_home();
        if top == "tmp" || is_shown(top) {
            binds.push(Bind::path(home, &own)?);
            paths.extend_from_slice(shown);
        }
        for path in &paths {
            let Ok(path) = std::fs::canonicalize(path) else {
                continue;
            };
            let bind = Bind::path(&path, &path)?;
            if path.starts_with(&own) && !binds.contains(&bind) {
                binds.push(bind);
            }
        }
        Ok(binds)
    }
}

/// Binds of the files that the user's variables name, and the variables whose files cannot be
/// bound.
#[derive(Debug, Default)]
pub(super) struct HostFileBinds {
    pub(super) binds: Vec<Bind>,
    /// Names of variables whose paths the runtime cannot express.
    pub(super) odd: Vec<String>,
}

impl BuildEnv {
    /// Returns read-only binds of files that variables name and that the container would not show.
    /// Files of variables that steps do not see are left out.
    pub(super) fn host_file_binds(
        &self,
        has_own_home: bool,
        is_shown: impl Fn(&std::ffi::OsStr) -> bool,
    ) -> HostFileBinds {
        let home = self.home.as_ref().filter(|_| !has_own_home);
        let home = home.and_then(|home| std::fs::canonicalize(home).ok());
        let is_hidden = |path: &Path| {
            let top = path.components().find_map(|part| match part {
                Component::Normal(name) => Some(name),
                _ => None,
            });
            let in_view = top.is_some_and(|top| {
                OF_EACH_CONTAINER.iter().any(|name| top == *name) || is_shown(top)
            });
            !in_view || home.as_ref().is_some_and(|home| path.starts_with(home))
        };
        let mut found = HostFileBinds::default();
        for (name, path) in &self.host_files {
            if is_private(name) && !self.lets_in(name) {
                continue;
            }
            let Ok(real) = std::fs::canonicalize(path) else {
                continue;
            };
            let mut pairs = vec![(real.clone(), path.clone()), (real.clone(), real.clone())];
            pairs.extend(
                linked_directories(&real)
                    .into_iter()
                    .map(|dir| (dir.clone(), dir)),
            );
            for (source, destination) in pairs {
                let is_there = |bind: &Bind| bind.destination() == destination;
                if !is_hidden(&destination) || found.binds.iter().any(is_there) {
                    continue;
                }
                match Bind::path(&source, &destination) {
                    Ok(bind) => found.binds.push(bind.read_only()),
                    Err(_) => found.odd.push(name.clone()),
                }
            }
        }
        found.odd.dedup();
        found
    }
}

/// Returns the directories to which links in a directory of certificates lead.
fn linked_directories(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let mut found: Vec<PathBuf> = targets
        .filter(|target| target.is_absolute())
        .filter_map(|target| Some(target.parent()?.to_owned()))
        .filter(|parent| parent.is_dir() && parent != Path::new("/"))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Returns the entries of a netrc file whose hosts are named in a text.
fn passwords_for(netrc: &str, named: &str) -> String {
    let mut kept = String::new();
    let mut keep = false;
    let mut words = netrc.split_whitespace().peekable();
    while let Some(word) = words.next() {
        match word {
            "machine" => {
                let host = words.next().unwrap_or_default();
                keep = !host.is_empty() && names_host(named, host);
                if keep {
                    kept.push_str(&format!("machine {host}\n"));
                }
            }
            // The entry `default` has a password for hosts of any name, so it is left out.
            "default" => keep = false,
            // A macro of ftp ends at an empty line, which is lost among words. Nothing after it is
            // read.
            "macdef" => break,
            _ if keep => {
                let value = words.next().unwrap_or_default();
                kept.push_str(&format!("  {word} {value}\n"));
            }
            _ => {}
        }
    }
    kept
}

/// Returns whether the text names the host, and not only as a part of another name.
fn names_host(text: &str, host: &str) -> bool {
    let is_of_name = |c: char| c.is_alphanumeric() || c == '-' || c == '.';
    text.match_indices(host).any(|(at, _)| {
        !text[..at].ends_with(is_of_name) && !text[at + host.len()..].starts_with(is_of_name)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn credentials_are_known_by_their_names() {
        for name in [
            "GITHUB_TOKEN",
            "my_token",
            "AWS_PROFILE",
            "SSH_AUTH_SOCK",
            "DB_PASSWORD",
            "MYSQL_PWD",
            "OPENAI_API_KEY",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "UV_PUBLISH_TOKEN",
            "XDG_RUNTIME_DIR",
            "RSYNC_PASSWORD",
            "BORG_PASSPHRASE",
        ] {
            assert!(is_private(name), "{name}");
        }
        for name in [
            "PATH",
            "PWD",
            "OLDPWD",
            "HOME",
            "LANG",
            "PIP_INDEX_URL",
            "PIP_EXTRA_INDEX_URL",
            "PIP_CERT",
            "UV_INDEX_MINE_PASSWORD",
            "https_proxy",
            "TOKENIZERS_PARALLELISM",
            "SLURM_JOB_ID",
            "CC",
            "KEYBOARD",
        ] {
            assert!(!is_private(name), "{name}");
        }
    }

    /// Usability row A7: certificates that the container would not show are bound read-only.
    #[test]
    fn files_that_variables_name_are_bound_where_they_are_hidden() {
        let room = tempfile::tempdir_in("/var/tmp").unwrap();
        let at = |name: &str| room.path().join(name);
        for dir in ["certs", "store", "odd"] {
            fs_err::create_dir(at(dir)).unwrap();
        }
        fs_err::write(at("store/a.pem"), "a").unwrap();
        fs_err::write(at("odd/b,c.pem"), "b").unwrap();
        std::os::unix::fs::symlink(at("store/a.pem"), at("certs/a.pem")).unwrap();
        let named = |name: &str, path: PathBuf| (name.to_owned(), path);
        let build_env = BuildEnv {
            host_files: vec![
                named("SSL_CERT_FILE", at("certs/a.pem")),
                named("SSL_CERT_DIR", at("certs")),
                named("PIP_CERT", at("odd/b,c.pem")),
                named("NETRC", at("store/a.pem")),
            ],
            ..BuildEnv::default()
        };
        let found = build_env.host_file_binds(false, |_| false);
        let shown = |bind: &Bind| (bind.source().to_owned(), bind.destination().to_owned());
        let binds: Vec<_> = found.binds.iter().map(shown).collect();
        let same = |name: &str| (at(name), at(name));
        assert_eq!(
            binds,
            [
                (at("store/a.pem"), at("certs/a.pem")),
                same("store/a.pem"),
                same("certs"),
                same("store"),
            ]
        );
        assert_eq!(found.odd, ["PIP_CERT"]);
        assert!(build_env.host_file_binds(false, |_| true).binds.is_empty());
    }

    #[test]
    fn only_passwords_of_named_indices_stay() {
        let netrc = "machine index.site login me password a\n# x\nmachine github.com login me password b\n\
            default login me password c\nmachine other.site\n  login you\n  password d\nmacdef init\nmachine index.site";
        assert_eq!(
            passwords_for(netrc, "--index-url https://index.site/simple\n"),
            "machine index.site\n  login me\n  password a\n  # x\n"
        );
        assert_eq!(passwords_for(netrc, ""), "");
    }

    #[test]
    fn the_home_of_steps_has_what_installers_need_and_nothing_else() {
        let room = tempfile::tempdir().unwrap();
        let at = |name: &str| room.path().join(name);
        for (name, text) in [
            (
                "me/.config/pip/pip.conf",
                format!(
                    "[global]\nindex-url = https://index.site/simple\ncert = {}\n",
                    at("me/ca.pem").display()
                ),
            ),
            (
                "me/.netrc",
                "machine index.site login me password good\nmachine x login me password bad\n"
                    .to_owned(),
            ),
            ("me/ca.pem", "certificate".to_owned()),
            ("me/.ssh/id", "key".to_owned()),
            ("root/x", String::new()),
        ] {
            fs_err::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs_err::write(at(name), text).unwrap();
        }
        let mut build_env = BuildEnv {
            names: Vec::new(),
            home: Some(at("me")),
            config_dir: Some(at("me/.config")),
            netrc: Some(at("me/.netrc")),
            host_files: Vec::new(),
            installers: vec![(
                "PIP_CACHE_DIR".to_owned(),
                at("me/.ssh").display().to_string(),
            )],
        };
        let build_dir = at("root").join(BUILD_DIR);
        let home = build_env.make_home(&build_dir).unwrap().unwrap();
        assert_eq!(home, build_dir.join("home"));
        let text = |name: &str| fs_err::read_to_string(home.join(name)).unwrap();
        assert!(text(".config/pip/pip.conf").contains("index.site"));
        assert!(text(".netrc").contains("good") && !text(".netrc").contains("bad"));
        assert!(!home.join(".ssh").exists());
        let binds = |shows: bool, shown: &[PathBuf]| -> Vec<PathBuf> {
            let binds = build_env.binds(Some(&home), |_| shows, shown).unwrap();
            binds
                .iter()
                .map(|bind| bind.destination().to_owned())
                .collect()
        };
        let own = fs_err::canonicalize(at("me")).unwrap();
        let expected = [own.clone(), own.join("ca.pem"), own.join(".ssh")];
        let mut found = binds(true, &[at("root")]);
        found.sort();
        let mut sorted = expected.to_vec();
        sorted.sort();
        assert_eq!(found, sorted);
        found = binds(true, &[at("me"), at("me/.ssh")]);
        assert_eq!(found.last(), Some(&own));
        build_env.names.push("HOME".to_owned());
        assert_eq!(build_env.make_home(&build_dir).unwrap(), None);
    }
}
