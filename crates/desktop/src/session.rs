//! Responsible for the directory of a desktop, which has its secrets, its logs and its lock, and
//! for finding and ending the user's desktops on this machine.

use std::{
    fs::{File, Permissions, TryLockError},
    net::Ipv4Addr,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Facts, Password, Result,
    processes::{POLL, end_marked},
    secrets::xauthority,
};

/// Variable that all programs of a desktop have. Its value is the directory of the desktop.
pub const MARK: &str = "CONDENSE_DESKTOP";
/// Time in which a desktop has to end.
const END: Duration = Duration::from_secs(20);
/// Number of names that the directory of the user's desktops may have.
const NAMES: u32 = 8;

/// Description of a running desktop, for `--list` and `--stop`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Record {
    /// Installation or image whose programs run.
    pub subject: PathBuf,
    /// Process that keeps the desktop.
    pub process: u32,
    /// Number of the display.
    pub display: u32,
    /// Address at which the servers listen.
    pub address: Ipv4Addr,
    /// Port of the VNC server.
    pub vnc_port: u16,
    /// Port of noVNC, if it is served.
    pub web_port: Option<u16>,
    /// Directory of the desktop.
    #[serde(skip)]
    pub dir: PathBuf,
}

/// Directory of a desktop of this process. It is removed when the value is dropped.
#[derive(Debug)]
pub struct Session {
    dir: PathBuf,
    password: Password,
    _lock: File,
}

impl Session {
    /// Makes the directory of a new desktop below `parent`, with its secrets. Directories of
    /// desktops that have ended without removing them are removed.
    ///
    /// # Errors
    /// Returns an error if the directory is not the user's own, or if it cannot be written.
    pub fn create(parent: &Path) -> Result<Self> {
        let home = own_directory(parent)?;
        let _all = lock_all(&home)?;
        sweep(&home);
        let made = tempfile::Builder::new()
            .prefix("x")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&home);
        // The directory must be kept: it is removed after its processes have ended.
        let dir = made.map_err(Error::io("write into", &home))?.keep();
        let lock = create(&dir.join("lock"))?;
        lock.lock().map_err(Error::io("lock", &dir))?;
        let password = Password::random()?;
        let session = Self {
            dir,
            password,
            _lock: lock,
        };
        session.write("passwd", &session.password.as_file())?;
        session.write("Xauthority", &xauthority()?)?;
        session.write("events", b"")?;
        session.write("start.sh", include_bytes!("start.sh"))?;
        Ok(session)
    }

    /// Returns the directory of this desktop.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the directory of all desktops of the user, which the container has to show at the
    /// same path.
    pub fn home(&self) -> &Path {
        self.dir.parent().unwrap_or(&self.dir)
    }

    /// Returns the password of the VNC server.
    pub fn password(&self) -> &Password {
        &self.password
    }

    /// Returns the file with the cookie, for XAUTHORITY.
    pub fn xauthority(&self) -> PathBuf {
        self.dir.join("Xauthority")
    }

    /// Writes the password into a file that only the user can read, and returns the file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn write_password(&self) -> Result<PathBuf> {
        let text = format!("{}\n", self.password.reveal());
        self.write("password", text.as_bytes())
    }

    /// Writes down what runs, so that `running` finds it.
    pub(crate) fn write_record(
        &self,
        subject: &Path,
        address: Ipv4Addr,
        facts: &Facts,
    ) -> Result<Record> {
        let record = Record {
            subject: subject.to_owned(),
            process: std::process::id(),
            display: facts.display,
            address,
            vnc_port: facts.vnc_port,
            web_port: facts.web_port,
            dir: self.dir.clone(),
        };
        let text = serde_json::to_vec(&record).unwrap_or_default();
        self.write("record.json", &text)?;
        Ok(record)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        use std::io::Write;
        let path = self.dir.join(name);
        let mut file = create(&path)?;
        file.write_all(bytes).map_err(Error::io("write", &path))?;
        Ok(path)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

/// Returns the user's desktops below `parent` that run on this machine, by their displays.
/// Directories of those that have ended are removed.
///
/// # Errors
/// Returns an error if a directory of desktops cannot be locked.
pub fn running(parent: &Path) -> Result<Vec<Record>> {
    let mut found = Vec::new();
    for home in directory_names().map(|name| parent.join(name)) {
        if !is_own(&home) {
            continue;
        }
        let _all = lock_all(&home)?;
        sweep(&home);
        found.extend(directories(&home).filter_map(|dir| record(&dir)));
    }
    found.sort_by_key(|record| record.display);
    Ok(found)
}

/// Asks the process of a desktop to end it, and waits for the end.
///
/// # Errors
/// Returns [`Error::DoesNotEnd`] if the desktop still runs after a while.
pub fn stop(record: &Record) -> Result<()> {
    let process = i32::try_from(record.process).ok().and_then(Pid::from_raw);
    let until = Instant::now() + END;
    // As long as the lock is held, the process with this number is the one that has written it.
    if is_held(&record.dir)
        && let Some(process) = process
    {
        let _ = kill_process(process, Signal::TERM);
    }
    while is_held(&record.dir) {
        if Instant::now() >= until {
            return Err(Error::DoesNotEnd {
                display: format!(":{}", record.display),
                process: record.process,
                seconds: END.as_secs(),
            });
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Returns the names that the directory of the user's desktops may have. In /tmp, another user may
/// have made something of the first names.
fn directory_names() -> impl Iterator<Item = String> {
    let first = format!("condense-desktop-{}", geteuid().as_raw());
    (0..NAMES).map(move |number| match number {
        0 => first.clone(),
        number => format!("{first}.{number}"),
    })
}

/// Returns the directory of the user's desktops, which nobody else can read. It is made if it is
/// absent.
fn own_directory(parent: &Path) -> Result<PathBuf> {
    for home in directory_names().map(|name| parent.join(name)) {
        match std::fs::DirBuilder::new().mode(0o700).create(&home) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io("create", &home)(error));
            }
            _ if is_own(&home) => return Ok(home),
            _ => {}
        }
    }
    Err(Error::NotPrivate {
        path: parent.join(directory_names().next().unwrap_or_default()),
    })
}

/// Returns whether a directory exists that belongs to the user and that nobody else can read.
fn is_own(home: &Path) -> bool {
    home.symlink_metadata().is_ok_and(|metadata| {
        metadata.is_dir()
            && metadata.uid() == geteuid().as_raw()
            && metadata.mode() & 0o777 == 0o700
    })
}

/// Waits until no other process makes or removes directories of desktops.
fn lock_all(home: &Path) -> Result<File> {
    let path = home.join("lock");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    file.lock().map_err(Error::io("lock", &path))?;
    Ok(file)
}

fn create(path: &Path) -> Result<File> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("create", path))
}

fn directories(home: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(home).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
}

fn record(dir: &Path) -> Option<Record> {
    let bytes = std::fs::read(dir.join("record.json")).ok()?;
    let record = serde_json::from_slice::<Record>(&bytes).ok()?;
    Some(Record {
        dir: dir.to_owned(),
        ..record
    })
}

/// Returns whether the process of the desktop still runs.
fn is_held(dir: &Path) -> bool {
    File::open(dir.join("lock"))
        .is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Removes the directories of desktops whose process was killed.
fn sweep(home: &Path) {
    for dir in directories(home) {
        if !is_held(&dir) {
            remove(&dir);
        }
    }
}

/// Ends the processes of a desktop, and removes its directory and the files of its display.
fn remove(dir: &Path) {
    end_marked(dir);
    let facts = Facts::read(dir);
    if facts.vnc_port != 0 {
        remove_socket(facts.display);
    }
    // A directory that cannot be removed now is removed by the next start.
    let _ = std::fs::remove_dir_all(dir);
}

/// Removes the socket of a display whose server was killed: nobody listens there any more.
fn remove_socket(display: u32) {
    let socket = format!("/tmp/.X11-unix/X{display}");
    let is_own = Path::new(&socket)
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.uid() == geteuid().as_raw());
    let sockets = std::fs::read_to_string("/proc/net/unix");
    if is_own && sockets.is_ok_and(|all| !all.lines().any(|line| line.ends_with(&socket))) {
        let _ = std::fs::remove_file(socket);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn secrets_are_for_the_user_alone_and_go_with_the_session() {
        let parent = tempfile::tempdir().unwrap();
        let session = Session::create(parent.path()).unwrap();
        let dir = session.dir().to_owned();
        for name in ["passwd", "Xauthority", "lock", "start.sh"] {
            let mode = dir.join(name).metadata().unwrap().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert_eq!(dir.metadata().unwrap().mode() & 0o777, 0o700);
        let file = session.write_password().unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        let text = fs_err::read_to_string(file).unwrap();
        assert_eq!(text.trim(), session.password().reveal());
        drop(session);
        assert!(!dir.exists());
    }

    #[test]
    fn sessions_are_found_while_they_live_and_swept_when_their_process_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        assert_eq!(running(parent.path()).unwrap(), []);
        let session = Session::create(parent.path()).unwrap();
        let facts = Facts {
            display: 7,
            vnc_port: 5907,
            ..Facts::default()
        };
        let local = Ipv4Addr::LOCALHOST;
        session
            .write_record("x.sif".as_ref(), local, &facts)
            .unwrap();
        let found = running(parent.path()).unwrap();
        assert_eq!((found.len(), found[0].display), (1, 7));
        assert_eq!(found[0].process, std::process::id());
        // A directory without a held lock is what SIGKILL leaves.
        let left = session.dir().with_file_name("xleft");
        fs_err::create_dir(&left).unwrap();
        fs_err::write(left.join("passwd"), "x").unwrap();
        assert_eq!(running(parent.path()).unwrap().len(), 1);
        assert!(!left.exists() && session.dir().exists());
    }

    #[test]
    fn a_directory_that_others_can_read_gets_no_password() {
        let parent = tempfile::tempdir().unwrap();
        let names: Vec<_> = directory_names().map(|it| parent.path().join(it)).collect();
        fs_err::create_dir(&names[0]).unwrap();
        fs_err::set_permissions(&names[0], Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink(parent.path(), &names[1]).unwrap();
        let session = Session::create(parent.path()).unwrap();
        assert_eq!(session.home(), names[2]);
        assert_eq!(fs_err::read_dir(&names[0]).unwrap().count(), 0);
        drop(session);
        fs_err::remove_dir_all(&names[2]).unwrap();
        for name in &names[2..] {
            fs_err::write(name, "").unwrap();
        }
        let error = Session::create(parent.path()).unwrap_err();
        assert!(matches!(error, Error::NotPrivate { .. }), "{error:?}");
        assert!(running(parent.path()).unwrap().is_empty());
    }
}
