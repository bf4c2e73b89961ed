//! One installation, and one account that uses it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use condense_installation::{
    Assembly, BaseMode, Claim, Destination, HostView, Launch, Program, Runtime, Staged,
};

use crate::{parts, shared};

/// Account that calls the wrappers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    Root,
    Ordinary,
}

impl Account {
    pub(crate) fn ids(self) -> (u32, u32) {
        if self == Self::Root {
            return (0, 0);
        }
        let id = |flag: &str| {
            let output = Command::new("id")
                .args([flag, "condense-test"])
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            text.trim()
                .parse()
                .expect("no account `condense-test`: run scripts/setup-tests")
        };
        (id("-u"), id("-g"))
    }

    /// Returns a command that runs under this account with a small environment.
    pub(crate) fn command(self, program: impl AsRef<OsStr>) -> Command {
        assert!(
            rustix_is_root(),
            "these tests act as two accounts: run them as root"
        );
        let mut command = Command::new(program);
        let home = if self == Self::Root {
            "/root"
        } else {
            "/home/condense-test"
        };
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", home)
            .current_dir("/");
        command.stdin(Stdio::null());
        let (user, group) = self.ids();
        if user != 0 {
            command.uid(user).gid(group);
        }
        command
    }
}

fn rustix_is_root() -> bool {
    fs::metadata("/proc/self")
        .is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

/// A directory below a chosen one that both accounts can use. It is removed at the end.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new(parent: &str) -> Self {
        Self::named("condense test-", parent)
    }

    /// Creates a directory without a blank in its name, for scripts whose first line the kernel
    /// reads.
    pub(crate) fn plain(parent: &str) -> Self {
        Self::named("condense-test-", parent)
    }

    fn named(prefix: &str, parent: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in(parent)
            .unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

pub(crate) struct Scene {
    pub(crate) account: Account,
    pub(crate) view: HostView,
    pub(crate) place: Place,
    /// Directory of the installation.
    pub(crate) dir: PathBuf,
}

impl Scene {
    pub(crate) fn new(account: Account, view: HostView, parent: &str) -> Self {
        Self::with(account, view, parent, |_| {})
    }

    pub(crate) fn with(
        account: Account,
        view: HostView,
        parent: &str,
        change: impl FnOnce(&mut Launch),
    ) -> Self {
        let place = Place::new(parent);
        let dir = place.path().join("inst");
        let mut launch = self::launch(view);
        change(&mut launch);
        stage(
            Destination::inspect(&dir).unwrap().claim(false).unwrap(),
            &launch,
        )
        .publish()
        .unwrap();
        Self {
            account,
            view,
            place,
            dir,
        }
    }

    pub(crate) fn bin(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    pub(crate) fn command(&self, name: &str) -> Command {
        self.account.command(self.bin(name))
    }

    /// Runs Python code with the wrapper and returns its output.
    pub(crate) fn python(&self, code: &str) -> String {
        stdout(self.command("python3").args(["-c", code]))
    }
}

pub(crate) fn launch(view: HostView) -> Launch {
    shared::launch(
        parts::MOUNT_POINT,
        parts::ENV_PREFIX,
        Some(runtime().program()),
        view,
    )
}

pub(crate) fn runtime() -> Runtime {
    // CONDENSE_TEST_RUNTIME names a runtime that replaces the machine's own, as in the tests of the
    // whole program.
    let named = std::env::var_os("CONDENSE_TEST_RUNTIME").map(PathBuf::from);
    Runtime::find(named.as_deref(), OsStr::new("/usr/local/bin:/usr/bin:/bin"))
        .expect("run scripts/setup-tests")
}

pub(crate) fn stage(claim: Claim, launch: &Launch) -> Staged {
    let scratch = tempfile::tempdir_in(claim.dir().parent().unwrap()).unwrap();
    let image = scratch.path().join("img.sqfs");
    fs::copy(parts::image(), &image).unwrap();
    let programs: Vec<Program> = ["python", "python3", "report", "a tool"]
        .iter()
        .map(|name| Program {
            name: name.into(),
            target: Path::new(parts::ENV_PREFIX)
                .join("bin")
                .join(if name.starts_with("python") {
                    "python3.11"
                } else {
                    name
                }),
        })
        .collect();
    let base = parts::base();
    claim
        .stage(&Assembly {
            image: Some(&image),
            base: &base,
            base_mode: BaseMode::Copy,
            launch,
            programs: &programs,
            landmarks: &[],
            share: &[],
            receipt: &shared::receipt(launch),
        })
        .unwrap()
}

/// Arguments, paths and variables of a program in the container, as the program reports them.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Report {
    argv: Vec<String>,
    pub(crate) prefix: String,
    pub(crate) cwd: String,
    pub(crate) environment: BTreeMap<String, String>,
}

impl Report {
    pub(crate) fn of(command: &mut Command) -> Self {
        let text = stdout(command);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{command:?}: {error}: {text}"))
    }

    pub(crate) fn arguments(&self) -> Vec<Vec<u8>> {
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        self.argv[1..]
            .iter()
            .map(|word| word.as_bytes().chunks(2).map(byte).collect())
            .collect()
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str)
    }
}

/// Runs a command that must succeed with an empty stderr, and returns its output.
pub(crate) fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stderr.is_empty(),
        "{command:?}: {}: {stderr}",
        output.status
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end_matches('\n')
        .to_owned()
}

/// Runs a command whose wrapper must fail with status 125, and returns the one line that the
/// wrapper prints.
pub(crate) fn refusal(command: &mut Command) -> String {
    let output: Output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125), "{command:?}: {stderr}");
    assert!(
        output.stdout.is_empty() && stderr.trim_end().lines().count() == 1,
        "{stderr}"
    );
    stderr.trim_end().to_owned()
}

/// Runs the check for every account with every host view, in a directory that both views mount.
pub(crate) fn each(check: impl Fn(&Scene)) {
    for account in [Account::Root, Account::Ordinary] {
        for view in [HostView::Host, HostView::Base] {
            check(&Scene::new(account, view, "/srv"));
        }
    }
}
