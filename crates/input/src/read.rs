//! Responsible for opening files without blocking, checking their kind, and reading a limited
//! number of bytes.

use std::{
    io::{self, ErrorKind, IsTerminal, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::OFlags;

/// The reason why a file is not read. It is the inner error of the [`io::Error`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The path is not a file, so reading it might never end.
    #[error("`{}` is {found}, not a file", path.display())]
    NotAFile {
        /// The path that was to be read.
        path: PathBuf,
        /// The kind of file that was found: `a pipe`, `a device`.
        found: &'static str,
    },
    /// The file is longer than any valid one.
    #[error("`{}` has more than {} MiB", path.display(), most >> 20)]
    TooLong {
        /// The path that was to be read.
        path: PathBuf,
        /// The maximum size in bytes.
        most: u64,
    },
    /// The path is a pipe to which no program writes.
    #[error("nobody writes to `{}`: nothing came in {} s", path.display(), waited.as_secs_f32())]
    Silent {
        /// The path that was to be read.
        path: PathBuf,
        /// The time in which no byte arrived.
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

/// The time limits for a silent pipe.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// The time until a program opens the pipe for writing. A shell does so immediately.
    writer: Duration,
    /// The time between two bytes. The program behind `<(…)` may have to compute them.
    bytes: Duration,
}

const PATIENCE: Patience = Patience {
    writer: Duration::from_secs(5),
    bytes: Duration::from_secs(120),
};

/// The interval at which a silent pipe is checked.
const LOOK: Duration = Duration::from_millis(5);

/// The kinds of files that a path can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A regular file, a directory (reading it reports that), or /dev/null.
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

/// Returns whether the device is /dev/null, which is often given to programs to mean “no settings”.
/// The kernel's number for it never changes.
fn is_null(device: u64) -> bool {
    (rustix::fs::major(device), rustix::fs::minor(device)) == (1, 3)
}

/// Opens a path of any kind, without waiting for a program at the other end.
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
/// Returns an error of the operating system, or [`Refused::NotAFile`].
pub fn open(path: impl AsRef<Path>) -> io::Result<fs_err::File> {
    let path = path.as_ref();
    let file = open_any(path)?;
    match kind(&file)?.0 {
        Kind::File | Kind::Block => Ok(file),
        other => Err(refuse(path, other)),
    }
}

/// Checks a file that another library is going to open and read completely.
///
/// # Errors
/// Returns any error of [`read`].
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
/// Returns an error of the operating system, [`Refused::NotAFile`] or [`Refused::TooLong`].
pub fn read(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    read_opened(open_bounded(path, most)?, path, most)
}

/// Reads at most `most` bytes of a file that is open already; `path` is its name in messages.
///
/// # Errors
/// Returns an error of the operating system, or [`Refused::TooLong`].
pub fn read_opened(file: impl Read, path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Reading one byte more than allowed detects files that have grown meanwhile or that report a
    // wrong length, as those in /proc do.
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(too_long(path.as_ref(), most));
    }
    Ok(bytes)
}

/// Reads a text file of at most `most` bytes.
///
/// # Errors
/// Returns any error of [`read`], or [`ErrorKind::InvalidData`] if the contents are not UTF-8.
pub fn read_to_string(path: impl AsRef<Path>, most: u64) -> io::Result<String> {
    text(path.as_ref(), read(path.as_ref(), most)?)
}

/// Reads a file, a pipe or a terminal that the user has named, of at most `most` bytes.
///
/// # Errors
/// Returns any error of [`read`]. For pipes returns [`Refused::Silent`] if no program opens the
/// pipe for writing within 5 s, or if the writer sends nothing for 2 minutes.
pub fn read_named(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    read_patiently(path.as_ref(), most, PATIENCE)
}

/// Reads text of at most `most` bytes from a file, a pipe or a terminal that the user has named.
///
/// # Errors
/// Returns any error of [`read_named`], or [`ErrorKind::InvalidData`] if the contents are not
/// UTF-8.
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
            // No program has opened the named pipe for writing yet, or one has closed it without
            // writing.
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

/// Returns whether this is a pipe without a name. Its writer existed before the pipe could be
/// opened here, so an empty read is the end of the data.
fn is_of_a_shell(file: &fs_err::File) -> io::Result<bool> {
    // The kernel's magic number for the file system of such pipes. It never changes.
    const PIPEFS_MAGIC: u64 = 0x5049_5045;
    let found = rustix::fs::fstatfs(file.file())?;
    Ok(found.f_type.cast_unsigned() as u64 == PIPEFS_MAGIC)
}

#[cfg(test)]
mod tests;
