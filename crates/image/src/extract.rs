//! Responsible for unpacking an image into a directory. A walk creates the names, workers write the
//! content of files, and the attributes of directories are set last.

mod attributes;
mod files;
mod staging;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Sender;
use rustix::fs::{AtFlags, Dev, FileType, Mode};

use crate::error::SpaceUnit;
use crate::reader::{Node, NodeKind};
use crate::{Error, Reader, threads};
use attributes::Attributes;
use files::{Job, LargeFile};
use staging::Staging;

/// Number of blocks in one part of a large file. Files with more blocks are split into such parts,
/// so that all workers can fill one file together.
const PART_BLOCKS: u64 = 32;
/// Number of small files that a worker takes at once. Neighbouring files share fragments.
const FILES_AT_A_TIME: usize = 32;
/// Maximum number of jobs that wait for a worker.
const JOBS_WAITING: usize = 64;
/// Maximum number of skipped items that are listed one by one.
const SKIPPED_MAX: usize = 100;

/// Options of unpacking an image.
#[derive(Clone)]
pub struct ExtractOptions {
    /// Number of workers. `None` means one for each core.
    pub threads: Option<NonZeroUsize>,
    /// Whether to set the owners that the image records, create devices, and set extended
    /// attributes of all namespaces. The default is true if the process runs as root.
    pub as_root: bool,
    /// Whether to set extended attributes. Without `as_root`, only those of the `user.` namespace
    /// are set.
    pub xattrs: bool,
    /// Whether to wait until all files are on disk before the directory gets its final name, so
    /// that the directory survives a power failure. The default is true. Directories that are
    /// needed only for a short time do not need it.
    pub durable: bool,
    /// Progress callback. It receives the number of bytes of files that were written since its last
    /// call.
    pub progress: Option<Arc<dyn Fn(u64) + Send + Sync>>,
    /// Cancel flag. Once it is true, unpacking ends with [`Error::Cancelled`].
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Default for ExtractOptions {
    fn default() -> ExtractOptions {
        ExtractOptions {
            threads: None,
            as_root: rustix::process::geteuid().is_root(),
            xattrs: true,
            durable: true,
            progress: None,
            cancel: None,
        }
    }
}

impl std::fmt::Debug for ExtractOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExtractOptions")
            .field("threads", &self.threads)
            .field("as_root", &self.as_root)
            .field("xattrs", &self.xattrs)
            .finish_non_exhaustive()
    }
}

/// Counts of what was unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extracted {
    /// Number of regular files. A file with several names counts once.
    pub files: u64,
    /// Number of directories, including the root.
    pub directories: u64,
    /// Number of symbolic links.
    pub symlinks: u64,
    /// Number of devices, named pipes and sockets.
    pub others: u64,
    /// Number of further names of files, beyond the first name of each file.
    pub hard_links: u64,
    /// Size of all regular files in bytes.
    pub bytes: u64,
    /// Items that this user or this file system cannot have. At most one hundred are listed.
    pub skipped: Vec<Skipped>,
    /// Number of all such items, including those that are not listed.
    pub skipped_count: u64,
}

/// Item of an image that is missing in the unpacked copy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// Path in the image.
    pub path: PathBuf,
    /// Description of the missing item and the reason.
    pub what: String,
}

/// Unpacks an image into `target`, which must not exist yet. The directory gets its name when
/// everything is unpacked.
///
/// Nothing is ever written outside the directory: names are single components, and symbolic links
/// of the image are created but never followed.
///
/// # Errors
/// Returns [`Error::Corrupt`] for an inconsistency in the image, [`Error::NoSpace`] before any file
/// is written, [`Error::Io`], [`Error::Thread`] or [`Error::Cancelled`]. After an error no file is
/// left.
///
/// # Examples
/// ```
/// # fn main() -> Result<(), condense_image::Error> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// # let mut tree = condense_image::Tree::new();
/// # tree.add_bytes("hello.txt", *b"hello", 0o644)?;
/// # condense_image::pack(&tree, &dir.path().join("hello.sqfs"), &Default::default())?;
/// let reader = condense_image::Reader::open(dir.path().join("hello.sqfs"))?;
/// let target = dir.path().join("hello");
/// let extracted = condense_image::extract(&reader, &target, &Default::default())?;
/// assert_eq!(extracted.files, 1);
/// # Ok(())
/// # }
/// ```
pub fn extract(
    reader: &Reader,
    target: &Path,
    options: &ExtractOptions,
) -> Result<Extracted, Error> {
    let staging = Staging::create(target)?;
    check_space(reader, target, staging.path())?;
    let context = ExtractContext {
        staging: &staging,
        attributes: Attributes::new(&staging, options)?,
        options,
        failure: Mutex::new(None),
        failed: AtomicBool::new(false),
        counts: Mutex::new(Extracted::default()),
    };
    let (jobs, waiting) = crossbeam_channel::bounded(JOBS_WAITING);
    let created = std::thread::scope(|scope| {
        let count = threads::count(options.threads).get();
        let (context, worker_jobs) = (&context, waiting.clone());
        let started = condense_threads::several(scope, count, move || {
            files::run_jobs(context, reader, worker_jobs.clone());
        });
        drop(waiting);
        started?;
        let created = NameCreator::new(context, jobs).create_all(reader);
        if created.is_err() {
            context.failed.store(true, Ordering::Relaxed);
        }
        created
    });
    // The error of the worker is returned if there is one: the walk may have failed only because a
    // worker had failed.
    let failure = context.lock_failure().take();
    let created = match (failure, created) {
        (Some(error), _) | (None, Err(error)) => return Err(error),
        (None, Ok(created)) => created,
    };
    finish(&context, reader, &created)?;
    let counts = context.counts.into_inner();
    staging.publish(target, options.durable)?;
    Ok(counts.unwrap_or_else(PoisonError::into_inner))
}

/// Checks the free space before anything is written, so that an image that is too large does not
/// fill a file system that others use as well. The walk also finds inconsistent names and
/// directories.
fn check_space(reader: &Reader, target: &Path, staging: &Path) -> Result<(), Error> {
    let (mut needed, mut inodes) = (0_u64, 1_u64);
    let mut linked = std::collections::HashSet::new();
    for item in reader.walk()? {
        let (_, node) = item?;
        if node.nlink <= 1 || node.is_directory() || linked.insert(node.reference) {
            needed = needed.saturating_add(node.allocated_bytes());
            inodes += 1;
        }
    }
    let stat = rustix::fs::statvfs(staging)
        .map_err(|error| Error::io("read the free space of", staging)(error.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if needed > free {
        return Err(Error::NoSpace {
            path: target.to_owned(),
            needed,
            free,
            unit: SpaceUnit::Bytes,
        });
    }
    // A file system without a fixed number of inodes reports zero.
    if stat.f_files > 0 && inodes > stat.f_favail {
        return Err(Error::NoSpace {
            path: target.to_owned(),
            needed: inodes,
            free: stat.f_favail,
            unit: SpaceUnit::Files,
        });
    }
    Ok(())
}

/// State that all threads of one extraction share.
struct ExtractContext<'w> {
    staging: &'w Staging,
    attributes: Attributes<'w>,
    options: &'w ExtractOptions,
    failure: Mutex<Option<Error>>,
    failed: AtomicBool,
    counts: Mutex<Extracted>,
}

impl ExtractContext<'_> {
    fn lock_failure(&self) -> std::sync::MutexGuard<'_, Option<Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: Error) {
        self.failed.store(true, Ordering::Relaxed);
        self.lock_failure().get_or_insert(error);
    }

    /// Returns an error if another thread has failed or the caller has cancelled.
    fn check(&self) -> Result<(), Error> {
        let cancelled = |flag: &Arc<AtomicBool>| flag.load(Ordering::Relaxed);
        if self.failed.load(Ordering::Relaxed)
            || self.options.cancel.as_ref().is_some_and(cancelled)
        {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    fn count(&self, change: impl FnOnce(&mut Extracted)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn skip(&self, path: &Path, what: impl Into<String>) {
        self.count(|counts| {
            counts.skipped_count += 1;
            if counts.skipped.len() < SKIPPED_MAX {
                counts.skipped.push(Skipped {
                    path: path.to_owned(),
                    what: what.into(),
                });
            }
        });
    }
}

/// Names that are created, and the work on them that requires all files to exist.
struct CreatedNames {
    /// Directories with their attributes, parents first.
    directories: Vec<(PathBuf, Node)>,
    /// Hard links to be created: the first name of a file with each further name.
    links: Vec<(PathBuf, PathBuf)>,
}

/// Creates all names, and makes jobs for the content of files.
struct NameCreator<'w, 'r> {
    context: &'w ExtractContext<'w>,
    jobs: Sender<Job<'r>>,
    small: Vec<(PathBuf, Node)>,
    directories: Vec<(PathBuf, Node)>,
    first_names: HashMap<u64, PathBuf>,
    links: Vec<(PathBuf, PathBuf)>,
}

impl<'w, 'r> NameCreator<'w, 'r> {
    fn new(context: &'w ExtractContext<'w>, jobs: Sender<Job<'r>>) -> NameCreator<'w, 'r> {
        NameCreator {
            context,
            jobs,
            small: Vec::new(),
            directories: Vec::new(),
            first_names: HashMap::new(),
            links: Vec::new(),
        }
    }

    fn create_all(mut self, reader: &'r Reader) -> Result<CreatedNames, Error> {
        self.directories.push((PathBuf::new(), reader.root()?));
        for item in reader.walk()? {
            self.context.check()?;
            let (path, node) = item?;
            if node.is_directory() {
                self.context.staging.make_directory(&path)?;
                self.directories.push((path, node));
                continue;
            }
            if node.nlink > 1 {
                if let Some(first) = self.first_names.get(&node.reference) {
                    self.links.push((first.clone(), path));
                    continue;
                }
                self.first_names.insert(node.reference, path.clone());
            }
            if node.is_file() {
                self.file(reader, path, node)?;
            } else {
                self.other(reader, &path, &node)?;
            }
        }
        self.send_small()?;
        let (directories, links) = (self.directories.len() as u64, self.links.len() as u64);
        self.context.count(|counts| {
            counts.directories = directories;
            counts.hard_links = links;
        });
        Ok(CreatedNames {
            directories: self.directories,
            links: self.links,
        })
    }

    fn file(&mut self, reader: &'r Reader, path: PathBuf, node: Node) -> Result<(), Error> {
        self.context.count(|counts| {
            counts.files += 1;
            counts.bytes += node.size;
        });
        let part_bytes = PART_BLOCKS * u64::from(reader.superblock().block_size.bytes());
        if node.size <= part_bytes {
            self.small.push((path, node));
            if self.small.len() == FILES_AT_A_TIME {
                self.send_small()?;
            }
            return Ok(());
        }
        let mut contents = reader.contents(&node)?;
        let file = self.context.staging.create_file(&path)?;
        file.set_len(node.size)
            .map_err(Error::io("write", self.context.staging.full(&path)))?;
        let large = Arc::new(LargeFile {
            file,
            path,
            parts_left: AtomicUsize::new(node.size.div_ceil(part_bytes) as usize),
            node,
        });
        let mut at = 0;
        while contents.bytes_left() > 0 {
            self.context.check()?;
            let before = contents.bytes_left();
            let part = contents.split_front(PART_BLOCKS)?;
            self.send(Job::Part {
                large: large.clone(),
                part,
                at,
            })?;
            at += before - contents.bytes_left();
        }
        Ok(())
    }

    fn send_small(&mut self) -> Result<(), Error> {
        let files = std::mem::take(&mut self.small);
        if files.is_empty() {
            return Ok(());
        }
        self.send(Job::Small(files))
    }

    fn send(&self, job: Job<'r>) -> Result<(), Error> {
        // Workers end before the last job only if they panic, and the panic then ends the
        // extraction.
        self.jobs.send(job).map_err(|_| Error::Cancelled)
    }

    fn other(&mut self, reader: &Reader, path: &Path, node: &Node) -> Result<(), Error> {
        let staging = self.context.staging;
        let failed =
            |error: rustix::io::Errno| Error::io("create", staging.full(path))(error.into());
        let file_type = match node.kind {
            NodeKind::Symlink => {
                let target = reader.read_link(node)?;
                rustix::fs::symlinkat(&target, staging.root(), path).map_err(failed)?;
                self.context.count(|counts| counts.symlinks += 1);
                return self
                    .context
                    .attributes
                    .set_on_path(self.context, reader, path, node);
            }
            NodeKind::BlockDevice => FileType::BlockDevice,
            NodeKind::CharacterDevice => FileType::CharacterDevice,
            NodeKind::Fifo => FileType::Fifo,
            NodeKind::Socket | NodeKind::Directory | NodeKind::File => FileType::Socket,
        };
        let mode = Mode::from_raw_mode(0o600);
        let (major, minor) = device_numbers(node.device);
        let device: Dev = rustix::fs::makedev(major, minor);
        match rustix::fs::mknodat(staging.root(), path, file_type, mode, device) {
            Ok(()) => {
                self.context.count(|counts| counts.others += 1);
                self.context
                    .attributes
                    .set_on_path(self.context, reader, path, node)
            }
            Err(rustix::io::Errno::PERM) => {
                self.context.skip(path, "a device: only root may make one");
                // The other names of the device would be hard links to a missing file.
                self.first_names.remove(&node.reference);
                Ok(())
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// Returns the major and minor number of a device number, which the kernel packs into 32 bits.
fn device_numbers(device: u32) -> (u32, u32) {
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | (device >> 12) & 0xfff00;
    (major, minor)
}

/// Does the work that requires all files to exist: creates hard links, and sets the attributes of
/// directories, children first.
fn finish(
    context: &ExtractContext<'_>,
    reader: &Reader,
    created: &CreatedNames,
) -> Result<(), Error> {
    let root = context.staging.root();
    for (first, path) in &created.links {
        context.check()?;
        rustix::fs::linkat(root, first, root, path, AtFlags::empty())
            .map_err(|error| Error::io("link", context.staging.full(path))(error.into()))?;
    }
    for (path, node) in created.directories.iter().rev() {
        context.check()?;
        context
            .attributes
            .set_on_path(context, reader, path, node)?;
    }
    Ok(())
}
