//! Responsible for the directory of one test, for builds in it, and for the installations that were
//! built.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::{Account, CommandOutput, Run, names, parts};
use crate::support::files::assert_nothing_left;

/// Directory of one test, removed when dropped.
pub(crate) struct TestDir {
    account: Account,
    dir: PathBuf,
    scratch: PathBuf,
}

impl TestDir {
    pub(crate) fn new(account: Account, name: &str) -> Self {
        let name = parts().new_name(name);
        Self {
            account,
            dir: parts().make_dir(account, &name),
            scratch: parts().make_dir(account, Path::new("scratch").join(&name)),
        }
    }

    /// Returns the scratch directory of this test's builds.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes the leftovers of killed builds from the scratch directory. A container of such a
    /// build may still be about to end.
    pub(crate) fn empty_scratch(&self) {
        for name in names(&self.scratch) {
            let _ = std::fs::remove_dir_all(self.scratch.join(name));
        }
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    /// Returns the paths of this test, each with the word that snapshots have instead.
    pub(crate) fn paths(&self) -> [(String, &'static str); 4] {
        [
            (self.scratch.clone(), "[SCRATCH]"),
            (self.dir.clone(), "[WORK]"),
            (cache(self.account), "[CACHE]"),
            (parts().dir().to_owned(), "[PARTS]"),
        ]
        .map(|(path, word)| (path.display().to_string(), word))
    }

    /// Returns the installation that most tests build, at its usual place.
    pub(crate) fn installation(&self) -> Installation {
        Installation {
            dir: self.path("installation"),
        }
    }

    pub(crate) fn make_dir(&self, name: &str) -> PathBuf {
        let dir = self.path(name);
        fs_err::create_dir(&dir).unwrap();
        self.account.own(&dir);
        dir
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs_err::write(&path, text).unwrap();
        self.account.own(&path);
        path
    }

    /// Writes an environment file with these packages, followed by the lines of `more`.
    pub(crate) fn environment_with(&self, packages: &str, more: &str) -> PathBuf {
        let channel = parts().channel();
        self.write(
            "env.yml",
            &format!("channels: ['{channel}']\ndependencies: [{packages}]\n{more}"),
        )
    }

    pub(crate) fn environment(&self, packages: &str) -> PathBuf {
        self.environment_with(packages, "")
    }

    /// Returns the command `conda-containerize` with these arguments. Its scratch directory is that
    /// of this test; the archive cache is shared by all tests of the account.
    pub(crate) fn program<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = self
            .account
            .command(parts().path("programs/conda-containerize"));
        command
            .args(arguments)
            .env("TMPDIR", &self.scratch)
            .env("CONDENSE_CACHE_DIR", cache(self.account))
            .current_dir(&self.dir);
        command
    }

    /// Returns the command `conda-containerize new` that builds into `dir` on the usual base.
    pub(crate) fn new_command(&self, dir: &Path, environment: &Path) -> Command {
        let mut command = self.program(["new", "--prefix"]);
        command
            .arg(dir)
            .arg("--base-image")
            .arg(parts().base())
            .arg(environment);
        command
    }

    /// Builds an installation of these packages at the usual place.
    #[track_caller]
    pub(crate) fn build(&self, packages: &str) -> Installation {
        let installation = self.installation();
        self.new_command(&installation.dir, &self.environment(packages))
            .run()
            .succeeded();
        installation
    }

    /// Writes a module of an image, and returns the directory of its commands' `bin`.
    #[track_caller]
    pub(crate) fn module(&self, image: impl AsRef<Path>) -> PathBuf {
        let options = "--name m --version 1 --to mods --root root".split(' ');
        self.command(parts().path("programs/condense"))
            .arg("module")
            .args(options)
            .arg(image.as_ref())
            .run()
            .succeeded();
        self.path("root")
    }

    /// Returns a command of this test's account, with the test's directory as working directory.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.account.command(program);
        command.current_dir(&self.dir);
        command
    }

    /// Checks that neither the scratch directory nor the test's directory holds files of a build.
    #[track_caller]
    pub(crate) fn left_nothing(&self) {
        assert_nothing_left(&self.scratch, &self.dir);
    }

    /// Checks that a build failed with status 1, an error in Tykky's form and these words, and left
    /// no files.
    #[track_caller]
    pub(crate) fn refused(&self, output: CommandOutput, words: &[&str]) {
        let output = output
            .failed_on_either_stream(1, words)
            .failed_on_either_stream(1, &["[ ERROR ] "]);
        assert!(
            !self.installation().dir.exists(),
            "something is at the destination after {output:?}"
        );
        self.left_nothing();
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        // Files that cannot be removed now are removed together with the parts.
        let _ = std::fs::remove_dir_all(&self.scratch);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn cache(account: Account) -> PathBuf {
    static CACHES: OnceLock<[PathBuf; 2]> = OnceLock::new();
    let caches = CACHES.get_or_init(|| {
        [Account::Root, Account::Ordinary]
            .map(|account| parts().make_dir(account, format!("cache-of-{}", account.name())))
    });
    caches[usize::from(account == Account::Ordinary)].clone()
}

/// Installation that a test has built.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    pub(crate) dir: PathBuf,
}

impl Installation {
    /// Returns the path of the wrapper with this name.
    pub(crate) fn bin(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.dir.join("img.sqfs")
    }

    pub(crate) fn receipt(&self) -> serde_json::Value {
        serde_json::from_slice(&fs_err::read(self.dir.join("share/receipt.json")).unwrap()).unwrap()
    }

    pub(crate) fn mount_point(&self) -> String {
        self.receipt()["mount_point"].as_str().unwrap().to_owned()
    }

    /// Returns the path of the environment in the container.
    pub(crate) fn env_prefix(&self) -> String {
        self.receipt()["env_prefix"].as_str().unwrap().to_owned()
    }

    /// Returns the command that runs a wrapper with these arguments as `account`.
    pub(crate) fn command<S: AsRef<OsStr>>(
        &self,
        account: Account,
        name: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = account.command(self.bin(name));
        command.args(arguments);
        command
    }

    /// Returns the command that runs this program text with the installation's Python.
    pub(crate) fn python(&self, account: Account, text: &str) -> Command {
        self.command(account, "python", ["-c", text])
    }
}

/// Returns the installation that the tests of wrappers share, built as root by the first call.
pub(crate) fn shared() -> &'static Installation {
    static SHARED: OnceLock<(TestDir, Installation)> = OnceLock::new();
    let (_, installation) = SHARED.get_or_init(|| {
        let test = TestDir::new(Account::Root, "shared");
        let packages = "python=3.11, numpy, edge-argv, edge-python, edge-activate, edge-post-link, edge-post-link-tool";
        let variables = "variables:\n  GREETING: it's \"quoted\" $HOME `id` \\\n  PYTHONNOUSERSITE: '1'\n";
        let environment = test.environment_with(packages, variables);
        let installation = test.installation();
        let said = test.new_command(&installation.dir, &environment).run().succeeded();
        test.left_nothing();
        fs_err::write(test.path("said"), said.text()).unwrap();
        (test, installation)
    });
    installation
}

/// Returns the standard output of the build of the shared installation.
pub(crate) fn said_by_shared_build() -> String {
    fs_err::read_to_string(shared().dir.with_file_name("said")).unwrap()
}
