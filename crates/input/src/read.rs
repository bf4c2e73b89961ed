//! Responsible for opening without waiting, looking at what was opened, and reading so much and no more.

use std::{
    io::{self, ErrorKind, IsTerminal, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::OFlags;

/// Why something is not read. It is inside of the [`io::Error`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// What never ends, or only when somebody else wants it to.
    #[error("`{}` is {found}, not a file", path.display())]
    NotAFile {
        /// What was to be read.
        path: PathBuf,
        /// What it is: `a pipe`, `a device`.
        found: &'static str,
    },
    /// Longer than anything of its kind.
    #[error("`{}` has more than {} MiB", path.display(), most >> 20)]
    TooLong {
        /// What was to be read.
        path: PathBuf,
        /// Bytes that it may have.
        most: u64,
    },
    /// A pipe that nobody writes to.
    #[error("nobody writes to `{}`: nothing came in {} s", path.display(), waited.as_secs_f32())]
    Silent {
        /// What was to be read.
        path: PathBuf,
        /// Time without a byte.
        waited: Duration,
    },
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        let kind = match &refused {
            Refused::NotAFile { .. } => ErrorKind::InvalidInput,
            Refused::TooLong { .. } => ErrorKind::FileTooLarge,
            Refused::Silent { .. } => ErrorKind::TimedOut,
        };
        io::Error::new(kind, refused)
    }
}

/// How long a pipe may be silent.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Until somebody opens it to write: a shell does that in the same moment.
    writer: Duration,
    /// Between bytes: what is behind `<(…)` may have to be computed.
    bytes: Duration,
}

const PATIENCE: Patience = Patience {
    writer: Duration::from_secs(5),
    bytes: Duration::from_secs(120),
};

/// How often a silent pipe is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What may stand at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A file, a directory (reading it says so), or nothing in the form of /dev/null.
    File,
    Block,
    Pipe,
    Terminal,
    Other(&'static str),
}

fn kind(file: &fs_err::File) -> io::Result<(Kind, u64)> {
    let metadata = file.metadata()?;
    let found = metadata.file_type();
    let kind = if found.is_file() || found.is_dir() {
        Kind::File
    } else if found.is_fifo() {
        Kind::Pipe
    } else if found.is_block_device() {
        Kind::Block
    } else if found.is_char_device() && is_null(metadata.rdev()) {
        Kind::File
    } else if found.is_char_device() && file.file().is_terminal() {
        Kind::Terminal
    } else if found.is_char_device() {
        Kind::Other("a device")
    } else {
        Kind::Other("a socket")
    };
    Ok((kind, metadata.len()))
}

/// What many programs are told in order to have no settings; the kernel's number for it never changes.
fn is_null(device: u64) -> bool {
    (rustix::fs::major(device), rustix::fs::minor(device)) == (1, 3)
}

/// Opens it as it is, without waiting for whoever may be at the other end.
fn open_any(path: &Path) -> io::Result<fs_err::File> {
    fs_err::OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
        .open(path)
}

fn refuse(path: &Path, kind: Kind) -> io::Error {
    let found = match kind {
        Kind::File => "a directory",
        Kind::Pipe => "a pipe",
        Kind::Terminal => "a terminal",
        Kind::Block => "a device",
        Kind::Other(found) => found,
    };
    let path = path.to_owned();
    Refused::NotAFile { path, found }.into()
}

/// Opens a file, or a block device that holds an image.
///
/// # Errors
/// Those of the system, and [`Refused::NotAFile`].
pub fn open(path: impl AsRef<Path>) -> io::Result<fs_err::File> {
    let path = path.as_ref();
    let file = open_any(path)?;
    match kind(&file)?.0 {
        Kind::File | Kind::Block => Ok(file),
        other => Err(refuse(path, other)),
    }
}

/// Looks at what another library is going to open and read whole.
///
/// # Errors
/// As [`read`].
pub fn check(path: impl AsRef<Path>, most: u64) -> io::Result<()> {
    open_bounded(path.as_ref(), most).map(drop)
}

fn open_bounded(path: &Path, most: u64) -> io::Result<fs_err::File> {
    let file = open_any(path)?;
    match kind(&file)? {
        (Kind::File, len) if len > most => Err(too_long(path, most)),
        (Kind::File, _) => Ok(file),
        (other, _) => Err(refuse(path, other)),
    }
}

fn too_long(path: &Path, most: u64) -> io::Error {
    let path = path.to_owned();
    Refused::TooLong { path, most }.into()
}

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// Those of the system, [`Refused::NotAFile`], [`Refused::TooLong`].
pub fn read(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    read_opened(open_bounded(path, most)?, path, most)
}

/// Reads at most `most` bytes of a file that is open already; `path` is its name in messages.
///
/// # Errors
/// Those of the system, [`Refused::TooLong`].
pub fn read_opened(file: impl Read, path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One more tells a file that has grown meanwhile, or lies about its length as those of /proc do.
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(too_long(path.as_ref(), most));
    }
    Ok(bytes)
}

/// The same of text.
///
/// # Errors
/// As [`read`], and [`ErrorKind::InvalidData`] for what is not UTF-8.
pub fn read_to_string(path: impl AsRef<Path>, most: u64) -> io::Result<String> {
    text(path.as_ref(), read(path.as_ref(), most)?)
}

/// Reads a file, a pipe or a terminal of at most `most` bytes: what the user has named.
///
/// # Errors
/// As [`read`]; of pipes also [`Refused::Silent`] when nobody opens it within 5 s, or its writer says nothing for 2 minutes.
pub fn read_named(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    read_patiently(path.as_ref(), most, PATIENCE)
}

/// The same of text.
///
/// # Errors
/// As [`read_named`], and [`ErrorKind::InvalidData`] for what is not UTF-8.
pub fn read_named_to_string(path: impl AsRef<Path>, most: u64) -> io::Result<String> {
    text(path.as_ref(), read_named(path.as_ref(), most)?)
}

fn text(path: &Path, bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| {
        let path = path.display();
        let problem =
            format!("failed to read from file `{path}`: stream did not contain valid UTF-8");
        io::Error::new(ErrorKind::InvalidData, problem)
    })
}

fn read_patiently(path: &Path, most: u64, patience: Patience) -> io::Result<Vec<u8>> {
    let mut file = open_any(path)?;
    match kind(&file)?.0 {
        Kind::File => return read(path, most),
        Kind::Pipe | Kind::Terminal => {}
        other => return Err(refuse(path, other)),
    }
    let has_end = is_of_a_shell(&file)?;
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    let mut since = Instant::now();
    loop {
        let longest = match file.read(&mut chunk) {
            // Nobody has opened a pipe with a name yet, or whoever had has gone without a word.
            Ok(0) if bytes.is_empty() && !has_end => patience.writer,
            Ok(0) => return Ok(bytes),
            Ok(len) => {
                bytes.extend_from_slice(&chunk[..len]);
                if bytes.len() as u64 > most {
                    return Err(too_long(path, most));
                }
                since = Instant::now();
                continue;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => patience.bytes,
            Err(error) => return Err(error),
        };
        if since.elapsed() > longest {
            let (path, waited) = (path.to_owned(), longest);
            return Err(Refused::Silent { path, waited }.into());
        }
        std::thread::sleep(LOOK);
    }
}

/// True for a pipe that has no name: its writer was there before it could be read, so nothing to read is its end.
fn is_of_a_shell(file: &fs_err::File) -> io::Result<bool> {
    // The kernel's number for the file system of such pipes, which never changes.
    const PIPEFS_MAGIC: u64 = 0x5049_5045;
    let found = rustix::fs::fstatfs(file.file())?;
    Ok(found.f_type.cast_unsigned() as u64 == PIPEFS_MAGIC)
}

#[cfg(test)]
mod tests;
