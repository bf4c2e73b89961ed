//! Responsible for creating large files on Lustre with a layout that grows with the file, so that
//! many nodes that read an image do not wait for one server.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::paths::parent_of;

/// `f_type` of Lustre.
const LUSTRE: i64 = 0x0BD0_0BD0;

/// Layout by size that CSCS advises for images: one stripe up to 4 MiB, four up to 64 MiB, 32 for
/// the rest, in pieces of 4 MiB.
const LAYOUT: [&str; 15] = [
    "setstripe",
    "-E",
    "4M",
    "-c",
    "1",
    "-E",
    "64M",
    "-c",
    "4",
    "-E",
    "-1",
    "-c",
    "32",
    "-S",
    "4M",
];

/// Time that `lfs` gets. A server that does not answer must not hold up a build.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Time that a killed `lfs` gets to end.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// Pause between two looks at a running `lfs`.
const PAUSE: Duration = Duration::from_millis(5);

/// Condition under which new images get a layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StripeMode {
    /// The file system says that it is Lustre.
    #[default]
    OnLustre,
    /// Each file system counts as Lustre.
    Always,
    /// No file gets a layout.
    Never,
}

/// Settings for the layouts of new images.
pub struct Striping {
    /// Condition under which images get a layout.
    pub mode: StripeMode,
    /// Value of PATH, in which `lfs` is searched.
    pub search_path: OsString,
    /// Function that takes a message about a layout that could not be set.
    pub tell: Box<dyn Fn(&str) + Send + Sync>,
}

impl std::fmt::Debug for Striping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Striping")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// Settings of the process. Without them, no image gets a layout.
static STRIPING: OnceLock<Striping> = OnceLock::new();

/// Sets the settings for all images of this process. Only the first call counts.
pub fn set_striping(striping: Striping) {
    let _ = STRIPING.set(striping);
}

/// Creates an image file for reading and writing. On Lustre, the file gets a layout by size, if the
/// program `lfs` can set one. The file must not exist before.
///
/// # Errors
/// Returns the operating system's error if the file cannot be created. A layout that cannot be set
/// is no error.
pub fn create_image(path: &Path, mode: u32) -> std::io::Result<File> {
    match STRIPING.get() {
        Some(striping) => striping.create(path, mode),
        None => create_plain(path, mode),
    }
}

/// Copies a file into a new image file, with the same permissions. The file system shares the
/// blocks of both if it can.
///
/// # Errors
/// Returns the operating system's error if a file cannot be read or written.
pub fn copy_image(from: &Path, to: &Path) -> std::io::Result<u64> {
    let mut source = File::open(from)?;
    let mode = source.metadata()?.permissions().mode();
    let mut target = create_image(to, mode & 0o777)?;
    let length = std::io::copy(&mut source, &mut target)?;
    target.set_permissions(Permissions::from_mode(mode & 0o777))?;
    Ok(length)
}

/// Returns whether a file or directory lies on Lustre, by its file system and by the settings of
/// the process.
pub fn is_on_lustre(path: &Path) -> bool {
    match STRIPING.get().map_or(StripeMode::OnLustre, |set| set.mode) {
        StripeMode::Always => true,
        StripeMode::OnLustre => has_magic_of_lustre(path),
        StripeMode::Never => false,
    }
}

/// Runs `lfs` of PATH for a bounded time and returns its standard output. Returns `None` if there
/// is no such program, or if it fails.
pub fn ask_lfs(search_path: &OsStr, words: &[&OsStr]) -> Option<String> {
    let program = find_lfs(search_path)?;
    let mut command = Command::new(program);
    command.args(words).stdout(Stdio::piped());
    let mut child = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let output = child.stdout.take();
    // The output of these questions fits into the buffer of a pipe.
    let ended = wait(&mut child).ok()?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut output?, &mut text).ok()?;
    ended.success().then_some(text)
}

impl Striping {
    fn create(&self, path: &Path, mode: u32) -> std::io::Result<File> {
        let wanted = match self.mode {
            StripeMode::Never => false,
            StripeMode::Always => true,
            StripeMode::OnLustre => has_magic_of_lustre(parent_of(path)),
        };
        if !wanted || path.symlink_metadata().is_ok() {
            return create_plain(path, mode);
        }
        let Some(program) = find_lfs(&self.search_path) else {
            (self.tell)("the image gets no layout for Lustre: lfs is not on PATH");
            return create_plain(path, mode);
        };
        // A new file shows the mode that the umask, or the directory's access list, lets through.
        let mode_here = create_plain(path, mode)?.metadata()?.permissions().mode();
        std::fs::remove_file(path)?;
        match run(&program, path) {
            Ok(()) => match open_empty(path, mode_here & 0o777) {
                Ok(file) => return Ok(file),
                Err(error) => self.tell_failure(path, &error.to_string()),
            },
            Err(reason) => self.tell_failure(path, &reason),
        }
        // `lfs` may have created the file before it failed.
        let _ = std::fs::remove_file(path);
        create_plain(path, mode)
    }

    fn tell_failure(&self, path: &Path, reason: &str) {
        let path = path.display();
        (self.tell)(&format!("`{path}` gets no layout for Lustre: {reason}"));
    }
}

fn create_plain(path: &Path, mode: u32) -> std::io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

/// Opens the file that `lfs` has created, and sets its permissions.
fn open_empty(path: &Path, mode: u32) -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.len() > 0 {
        return Err(std::io::Error::other("lfs has made something else"));
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

fn has_magic_of_lustre(path: &Path) -> bool {
    #[allow(clippy::unnecessary_cast, reason = "its type differs between machines")]
    rustix::fs::statfs(path).is_ok_and(|system| system.f_type as i64 == LUSTRE)
}

/// Searches `lfs` in the absolute directories of PATH.
fn find_lfs(search_path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(search_path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("lfs"))
        .find(|program| {
            let found = program.metadata();
            found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
}

/// Has `lfs` create the file with the layout. Returns the reason if that fails.
fn run(program: &Path, path: &Path) -> Result<(), String> {
    // A path that begins with a hyphen would be an option.
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .args(LAYOUT)
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let ended = wait(&mut child)?;
    if ended.success() {
        return Ok(());
    }
    Err(format!("lfs ended with {ended}"))
}

/// Waits for a program, but ends it when its time is over. A program that waits for a server in the
/// kernel does not end even then, and is left behind.
fn wait(child: &mut Child) -> Result<ExitStatus, String> {
    let begin = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if begin.elapsed() < TIME_LIMIT => std::thread::sleep(PAUSE),
            Ok(None) => {
                let _ = child.kill();
                settle(|| !matches!(child.try_wait(), Ok(None)));
                return Err(format!(
                    "lfs does not answer within {} s",
                    TIME_LIMIT.as_secs()
                ));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Looks for a moment whether a killed program has ended, and takes its status.
fn settle(mut has_ended: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !has_ended() && begin.elapsed() < AFTERWARDS {
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Writes a stand-in for `lfs`, which notes its arguments in `calls`.
    fn stand_in(dir: &Path, script: &str) {
        let path = dir.join("lfs");
        let text = format!(
            "#!/bin/sh\nfor word; do file=$word; done\nprintf '%s\\n' \"$*\" >>'{}/calls'\n{script}\n",
            dir.display()
        );
        fs_err::write(&path, text).unwrap();
        fs_err::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    fn striping(dir: &Path, mode: StripeMode) -> (Striping, Arc<Mutex<Vec<String>>>) {
        let said = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&said);
        let striping = Striping {
            mode,
            search_path: dir.into(),
            tell: Box::new(move |text| told.lock().unwrap().push(text.to_owned())),
        };
        (striping, said)
    }

    #[test]
    fn an_image_gets_the_layout_before_its_first_byte() {
        let scratch = tempfile::tempdir().unwrap();
        stand_in(scratch.path(), ": >\"$file\"");
        let (striping, said) = striping(scratch.path(), StripeMode::Always);
        let path = scratch.path().join("an image\nwith a line.sqfs");
        let file = striping.create(&path, 0o755).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o700, 0o700);
        let calls = fs_err::read_to_string(scratch.path().join("calls")).unwrap();
        let expected = "setstripe -E 4M -c 1 -E 64M -c 4 -E -1 -c 32 -S 4M /";
        assert!(calls.starts_with(expected), "{calls}");
        assert!(calls.trim_end().ends_with("with a line.sqfs"), "{calls}");
        assert!(said.lock().unwrap().is_empty());
        // A file that is there already is refused, and `lfs` never sees it.
        let error = striping.create(&path, 0o644).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
        let again = fs_err::read_to_string(scratch.path().join("calls")).unwrap();
        assert_eq!(calls, again);
    }

    #[test]
    fn a_program_that_fails_or_is_missing_harms_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("image");
        let (striping, said) = striping(scratch.path(), StripeMode::Always);
        let mut expected = 0;
        for script in [
            None,
            Some("exit 1"),
            Some(": >\"$file\"; exit 1"),
            Some("echo half >\"$file\""),
            Some("exit 0"),
            Some("kill -9 $$"),
        ] {
            if let Some(script) = script {
                stand_in(scratch.path(), script);
            }
            let file = striping.create(&path, 0o644).unwrap();
            assert_eq!(file.metadata().unwrap().len(), 0);
            expected += 1;
            assert_eq!(said.lock().unwrap().len(), expected, "{script:?}");
            fs_err::remove_file(&path).unwrap();
        }
    }

    /// A killed program that the kernel keeps does not hold up the build.
    #[test]
    fn a_program_that_cannot_be_killed_is_left_behind() {
        let begin = Instant::now();
        settle(|| false);
        let waited = begin.elapsed();
        assert!(waited >= AFTERWARDS && waited < TIME_LIMIT, "{waited:?}");
        let mut looks = 0;
        settle(|| {
            looks += 1;
            looks == 2
        });
        assert_eq!(looks, 2);
    }

    #[test]
    fn no_process_starts_where_the_file_system_is_another() {
        let scratch = tempfile::tempdir().unwrap();
        stand_in(scratch.path(), ": >\"$file\"");
        for (number, mode) in [StripeMode::OnLustre, StripeMode::Never].iter().enumerate() {
            let (striping, said) = striping(scratch.path(), *mode);
            let path = scratch.path().join(number.to_string());
            striping.create(&path, 0o644).unwrap();
            assert!(said.lock().unwrap().is_empty());
        }
        assert!(!scratch.path().join("calls").exists());
    }

    #[test]
    fn answers_are_read_and_failures_have_none() {
        let scratch = tempfile::tempdir().unwrap();
        let ask = || ask_lfs(scratch.path().as_os_str(), &["getstripe".as_ref()]);
        assert_eq!(ask(), None);
        stand_in(scratch.path(), "echo 4");
        assert_eq!(ask().as_deref(), Some("4\n"));
        stand_in(scratch.path(), "echo 4; exit 1");
        assert_eq!(ask(), None);
    }

    #[test]
    fn copies_have_the_bytes_and_the_permissions() {
        let scratch = tempfile::tempdir().unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        fs_err::write(&from, "bytes").unwrap();
        fs_err::set_permissions(&from, Permissions::from_mode(0o751)).unwrap();
        assert_eq!(copy_image(&from, &to).unwrap(), 5);
        assert_eq!(fs_err::read_to_string(&to).unwrap(), "bytes");
        let mode = fs_err::metadata(&to).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o751);
        assert!(copy_image(&from, &to).is_err());
    }
}
