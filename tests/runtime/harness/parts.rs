//! Responsible for the real parts: copies in one directory that both accounts can read, removed
//! when the tests end.

use std::{
    fs::Permissions,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use super::account::{Account, need_account};

/// Shell script that waits for the end of the test process, however it ends, and then removes its
/// mounts and files.
const CARETAKER: &str = r#"cat
awk -v dir="$1/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | while read -r mounted; do umount -l "$mounted"; done
rm -rf -- "$1""#;

/// Copies of the real parts below /tmp. The ordinary account may have no access to the working
/// tree.
pub(crate) struct TestParts {
    dir: PathBuf,
    /// Directory that `scripts/setup-tests` has made. Only root may have access to it.
    source: PathBuf,
    runtime: PathBuf,
    search_path: String,
    test_dirs: AtomicU32,
    /// Process that runs [`CARETAKER`]. It lives as long as the pipe to it is open, which is as
    /// long as this process lives.
    _caretaker: Child,
}

const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

fn which(program: &str) -> Option<PathBuf> {
    let output = Command::new("which")
        .arg(program)
        .env("PATH", SEARCH_PATH)
        .output()
        .ok()?;
    let found = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| found.trim().into())
}

pub(crate) fn need(holds: bool, what: &str) {
    assert!(holds, "{what}: run scripts/setup-tests as root first");
}

/// Returns the parts of this run of the tests, which the first call copies.
pub(crate) fn parts() -> &'static TestParts {
    static PARTS: OnceLock<TestParts> = OnceLock::new();
    PARTS.get_or_init(TestParts::create)
}

impl TestParts {
    fn create() -> Self {
        need(
            rustix::process::geteuid().is_root(),
            "these tests run as root and as another account",
        );
        need_account();
        for program in ["unsquashfs", "setpriv", "taskset"] {
            let found = which(program).is_some();
            need(found, &format!("`{program}` is not on PATH"));
        }
        let named = std::env::var_os("CONDENSE_TEST_RUNTIME").map(PathBuf::from);
        let runtime = named.clone().or_else(|| which("apptainer"));
        need(
            runtime.as_deref().is_some_and(Path::exists),
            &format!("no runtime: neither {named:?} nor `apptainer` on PATH"),
        );
        let parts = std::env::var_os("CONDENSE_TEST_PARTS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-parts"),
            PathBuf::from,
        );
        for part in [
            "channel/noarch/repodata.json",
            "old-channel/noarch/repodata.json",
            "base.sif",
            "base-other-glibc.sif",
            "uv",
        ] {
            need(
                parts.join(part).exists(),
                &format!("`{}` is missing", parts.join(part).display()),
            );
        }
        let dir = tempfile::Builder::new()
            .prefix("condense-runtime-")
            .tempdir_in("/tmp")
            .unwrap()
            .keep();
        let caretaker = Command::new("/bin/sh")
            .args(["-c", CARETAKER, "caretaker"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C must reach the tests only.
            .process_group(0)
            .spawn()
            .unwrap();
        open_to_all(&dir);
        let mut made = Self {
            runtime: runtime.unwrap_or_default(),
            search_path: SEARCH_PATH.to_owned(),
            dir,
            source: parts.clone(),
            test_dirs: AtomicU32::new(0),
            _caretaker: caretaker,
        };
        if let Some(named) = named {
            made.put_first(&named);
        }
        for channel in ["channel", "old-channel"] {
            replicate(&parts.join(channel), &made.path(channel));
        }
        for part in ["sdists", "modules", "desktop", "base-apt.sqfs", "proot"] {
            if parts.join(part).exists() {
                replicate(&parts.join(part), &made.path(part));
            }
        }
        for base in ["base.sif", "base-other-glibc.sif"] {
            replicate(&parts.join(base), &made.path(base));
        }
        fs_err::create_dir(made.path("uv")).unwrap();
        replicate(&parts.join("uv"), &made.path("uv/uv"));
        open_to_all(&made.path("uv"));
        // Builds create and remove many thousand files, which is fast in memory on every machine.
        // The image then crosses file systems on its way to the destination; tests with a scratch
        // directory of their own have both on one file system.
        std::mem::forget(Tmpfs::mount(&made.path("scratch"), "75%"));
        fs_err::create_dir(made.path("programs")).unwrap();
        fs_err::copy(
            env!("CARGO_BIN_EXE_condense"),
            made.path("programs/condense"),
        )
        .unwrap();
        open_to_all(&made.path("programs/condense"));
        symlink("condense", made.path("programs/conda-containerize")).unwrap();
        made
    }

    /// Puts this runtime first on the PATH of all tests, under both names.
    fn put_first(&mut self, runtime: &Path) {
        let dir = self.path("runtime");
        fs_err::create_dir(&dir).unwrap();
        open_to_all(&dir);
        for name in ["apptainer", "singularity"] {
            symlink(runtime, dir.join(name)).unwrap();
        }
        self.search_path = format!("{}:{SEARCH_PATH}", dir.display());
        self.runtime = dir.join("apptainer");
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the runtime of all tests: the one that `CONDENSE_TEST_RUNTIME` names, else the
    /// apptainer of the machine.
    pub(crate) fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// Returns whether the runtime reads zstd, which SingularityCE does not.
    pub(crate) fn reads_zstd(&self) -> bool {
        condense_installation::Runtime::find(Some(&self.runtime), "".as_ref())
            .unwrap()
            .reads_zstd()
    }

    /// Returns the PATH of a login, with the runtime of the tests first.
    pub(crate) fn search_path(&self) -> &str {
        &self.search_path
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    /// Returns the path of a part as `scripts/setup-tests` has made it, to be copied.
    pub(crate) fn made(&self, name: &str) -> PathBuf {
        self.source.join(name)
    }

    pub(crate) fn base(&self) -> PathBuf {
        self.path("base.sif")
    }

    /// Returns a base image whose glibc has another version than the machine's.
    pub(crate) fn other_base(&self) -> PathBuf {
        self.path("base-other-glibc.sif")
    }

    /// Returns a base image with apt and the packages `hello` and `tree` in a repository.
    pub(crate) fn apt_base(&self) -> PathBuf {
        let base = self.path("base-apt.sqfs");
        need(base.exists(), "the part `base-apt.sqfs` is missing");
        base
    }

    /// Returns the directory of a proot that works.
    pub(crate) fn proot(&self) -> PathBuf {
        let dir = self.path("proot");
        need(dir.exists(), "the part `proot` is missing");
        dir
    }

    /// Returns the URL of the channel with Python 2.7 and old pips, for an environment file.
    pub(crate) fn old_channel(&self) -> String {
        format!("file://{}", self.path("old-channel").display())
    }

    /// Returns the URL of the channel for an environment file.
    pub(crate) fn channel(&self) -> String {
        format!("file://{}", self.path("channel").display())
    }

    /// Returns the directory of hand-made wheels, for pip's `--find-links`.
    pub(crate) fn wheels(&self) -> PathBuf {
        self.path("channel/wheels")
    }

    /// Returns the directory of source packages and of the packages that build them, for pip's
    /// `--find-links`.
    pub(crate) fn sdists(&self) -> PathBuf {
        let dir = self.path("sdists");
        need(dir.exists(), "the part `sdists` is missing");
        for program in ["mpicc.mpich", "mpiexec.mpich"] {
            let found = which(program).is_some();
            need(found, &format!("`{program}` is not on PATH"));
        }
        dir
    }

    /// Returns the directory of another MPICH than Debian's, as a wheel brings it.
    pub(crate) fn other_mpich(&self) -> PathBuf {
        let dir = self.source.join("mpi/wheel");
        need(dir.exists(), "the part `mpi/wheel` is missing");
        dir
    }

    /// Returns the root of the tree with torch and its libraries, for the machine's Python.
    pub(crate) fn torch(&self) -> PathBuf {
        let dir = self.source.join("torch");
        need(dir.exists(), "the part `torch` is missing");
        dir
    }

    /// Returns a name that no other test has.
    pub(super) fn new_name(&self, name: &str) -> String {
        format!("{name}-{}", self.test_dirs.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a directory that belongs to one of the accounts and that all users may enter.
    pub(super) fn make_dir(&self, account: Account, name: impl AsRef<Path>) -> PathBuf {
        let dir = self.path(name);
        fs_err::create_dir(&dir).unwrap();
        open_to_all(&dir);
        account.own(&dir);
        dir
    }
}

/// Copies a file or directory. Files that all users may read become hard links, as no test writes
/// to the parts.
fn replicate(source: &Path, target: &Path) {
    let Ok(metadata) = fs_err::metadata(source) else {
        // Unpacked packages have links to files of packages that they need.
        assert!(source.is_symlink(), "{} cannot be read", source.display());
        return;
    };
    if metadata.is_dir() {
        fs_err::create_dir(target).unwrap();
        open_to_all(target);
        for entry in fs_err::read_dir(source).unwrap() {
            let entry = entry.unwrap();
            replicate(&entry.path(), &target.join(entry.file_name()));
        }
        return;
    }
    let is_open = metadata.mode() & 0o444 == 0o444 && metadata.uid() == 0;
    if is_open && std::fs::hard_link(source, target).is_ok() {
        return;
    }
    fs_err::copy(source, target).unwrap();
    open_to_all(target);
}

fn open_to_all(path: &Path) {
    let executable = fs_err::metadata(path).unwrap().mode() & 0o111 != 0;
    let mode = if executable { 0o755 } else { 0o644 };
    fs_err::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// File system in memory, unmounted when dropped.
pub(crate) struct Tmpfs(PathBuf);

impl Tmpfs {
    pub(crate) fn mount(dir: &Path, size: &str) -> Self {
        fs_err::create_dir(dir).unwrap();
        let options = format!("size={size},mode=1777");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(dir)
            .status()
            .unwrap();
        assert!(status.success(), "cannot mount a tmpfs");
        Self(dir.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
