//! Responsible for running a command as root and as an ordinary user.

use std::{
    ffi::OsStr,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::parts::{need, parts};

/// Name of the ordinary account, which `scripts/setup-tests` makes.
const ORDINARY: &str = "condense-test";

/// Account with whose rights a command runs: the runtime mounts images differently for root and for
/// an ordinary user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    Root,
    Ordinary,
}

/// Runs a test under both accounts. A failing test prints the account.
pub(crate) fn as_both(test: impl Fn(Account)) {
    for account in [Account::Root, Account::Ordinary] {
        println!("as {account:?}");
        test(account);
    }
}

impl Account {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Ordinary => ORDINARY,
        }
    }

    pub(crate) fn home(self) -> PathBuf {
        match self {
            Self::Root => "/root".into(),
            Self::Ordinary => Path::new("/home").join(ORDINARY),
        }
    }

    /// Returns a command with the rights of this account and the environment of a login. The
    /// process executes `program` directly, without a parent process of its own.
    pub(crate) fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match self {
            Self::Root => Command::new(program),
            Self::Ordinary => {
                let mut command = Command::new("/usr/bin/setpriv");
                command
                    .arg(format!("--reuid={ORDINARY}"))
                    .arg(format!("--regid={ORDINARY}"))
                    .args(["--init-groups", "--"])
                    .arg(program);
                command
            }
        };
        command
            .env_clear()
            .env("PATH", parts().search_path())
            .env("HOME", self.home())
            .env("USER", self.name())
            .env("LANG", "C.UTF-8")
            .current_dir(parts().dir());
        command
    }

    /// Changes the owner of a file or directory to this account.
    pub(crate) fn own(self, path: &Path) {
        let id = self.id();
        chown(path, Some(id), Some(id)).unwrap();
    }

    /// Returns the user ID of the account.
    pub(crate) fn id(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::Ordinary => ordinary_id(),
        }
    }
}

fn ordinary_id() -> u32 {
    static ID: OnceLock<u32> = OnceLock::new();
    *ID.get_or_init(|| find_id().unwrap())
}

fn find_id() -> Option<u32> {
    let output = Command::new("id").args(["-u", ORDINARY]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

pub(super) fn need_account() {
    need(
        find_id().is_some(),
        &format!("the account `{ORDINARY}` is missing"),
    );
}
