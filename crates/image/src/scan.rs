//! Responsible for reading names and attributes from a file system into a tree.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{DirEntry, Metadata};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::source::{DiskFile, Source, Stamp};
use crate::tree::{self, Child, Entry, EntryId, Kind};
use crate::xattr::Xattr;
use crate::{Error, Tree};

mod xattrs;

/// Source of the modification times of a scanned tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mtime {
    /// Times on disk, in whole seconds.
    #[default]
    Keep,
    /// One time for all entries, in seconds since 1970.
    Set(u32),
}

/// Options of scanning a file system.
#[derive(Debug, Clone, Default)]
pub struct ScanOptions {
    /// Source of the modification times.
    pub mtime: Mtime,
    /// Paths relative to the root that are left out, with everything below them.
    pub exclude: Vec<PathBuf>,
    /// Number of directories that are read at the same time. By default twice the number of cores,
    /// but at least 4 and at most 32, because on a network file system most of the time is spent
    /// waiting.
    pub threads: Option<NonZeroUsize>,
    /// Source of the permissions.
    pub modes: Modes,
    /// Whether to read the extended attributes that have the same meaning on every file system:
    /// `user.*` and `security.capability`. Attributes for the internal use of a file system
    /// (`lustre.*`, `trusted.*`, labels) are never read.
    pub xattrs: bool,
}

/// Source of the permissions of a scanned tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Modes {
    /// 0755 for directories and for files that any user may execute, 0644 for the rest. Files that
    /// an unprivileged user created under any umask then give the same image.
    #[default]
    Uniform,
    /// Permissions that the entries have on disk.
    Keep,
}

impl Tree {
    /// Reads the names and attributes of everything below a directory. Contents are read when the
    /// tree is packed. Owner and group become 0.
    pub fn scan(root: &Path, options: &ScanOptions) -> Result<Tree, Error> {
        let metadata = fs_err::metadata(root).map_err(Error::io("read the attributes of", root))?;
        if !metadata.is_dir() {
            return Err(Error::io("scan", root)(rustix::io::Errno::NOTDIR.into()));
        }
        let exclude: HashSet<&Path> = options.exclude.iter().map(PathBuf::as_path).collect();
        let queue = Queue::new(root);
        let threads = options
            .threads
            .map_or_else(default_threads, NonZeroUsize::get);
        condense_threads::all(threads, || queue.work(root, &exclude, options));
        let state = queue
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        // The threads decide which of several errors happens first. The error with the smallest
        // path is returned.
        if let Some(error) = state.errors.into_iter().min_by(|a, b| a.0.cmp(&b.0)) {
            return Err(error.1);
        }
        let root_attributes = RootAttributes {
            mode: if options.modes == Modes::Keep {
                (metadata.mode() & 0o7777) as u16
            } else {
                0o755
            },
            mtime: mtime(&metadata, options.mtime),
            xattrs: if options.xattrs {
                xattrs::read(root)?
            } else {
                None
            },
        };
        Ok(assemble(state.listings, root_attributes, options.mtime))
    }
}

fn default_threads() -> usize {
    (2 * std::thread::available_parallelism().map_or(1, NonZeroUsize::get)).clamp(4, 32)
}

/// Entries of a directory, sorted by name.
#[derive(Default)]
struct Listing {
    found: Vec<ScannedEntry>,
}

/// Entry found in a directory.
struct ScannedEntry {
    name: Box<[u8]>,
    mode: u16,
    mtime: u32,
    /// Device and inode number of an entry with several names.
    shared: Option<(u64, u64)>,
    xattrs: Option<Arc<[Xattr]>>,
    kind: ScannedKind,
}

/// Attributes of the root directory.
struct RootAttributes {
    mode: u16,
    mtime: u32,
    xattrs: Option<Arc<[Xattr]>>,
}

enum ScannedKind {
    /// Directory, with the index of its listing.
    Directory(usize),
    Other(Kind),
}

/// Queue of the directories that are still to be read, shared by all threads.
struct Queue {
    state: Mutex<QueueState>,
    more: Condvar,
}

struct QueueState {
    pending: Vec<(usize, Arc<Path>)>,
    /// Number of directories that threads are reading. While it is not zero, more directories may
    /// become pending.
    active: usize,
    listings: Vec<Listing>,
    errors: Vec<(PathBuf, Error)>,
}

impl Queue {
    fn new(root: &Path) -> Queue {
        let state = QueueState {
            pending: vec![(0, root.into())],
            active: 0,
            listings: vec![Listing::default()],
            errors: Vec::new(),
        };
        Queue {
            state: Mutex::new(state),
            more: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, root: &Path, exclude: &HashSet<&Path>, options: &ScanOptions) {
        while let Some((index, directory)) = self.next() {
            let listed = list(root, &directory, exclude, options);
            let mut state = self.lock();
            state.active -= 1;
            match listed {
                Ok((mut found, directories)) => {
                    for (position, path) in directories {
                        let listing = state.listings.len();
                        state.listings.push(Listing::default());
                        state.pending.push((listing, path));
                        found[position].kind = ScannedKind::Directory(listing);
                    }
                    state.listings[index].found = found;
                }
                Err(error) => {
                    state.errors.push((directory.to_path_buf(), error));
                    state.pending.clear();
                }
            }
            drop(state);
            self.more.notify_all();
        }
    }

    /// Returns the next directory to read, or `None` if all are read or one could not be read.
    fn next(&self) -> Option<(usize, Arc<Path>)> {
        let mut state = self.lock();
        loop {
            if !state.errors.is_empty() {
                return None;
            }
            if let Some(next) = state.pending.pop() {
                state.active += 1;
                return Some(next);
            }
            if state.active == 0 {
                return None;
            }
            state = self
                .more
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

type Listed = (Vec<ScannedEntry>, Vec<(usize, Arc<Path>)>);

/// Reads one directory. Returns its entries, sorted, and the positions and paths of the directories
/// among them.
fn list(
    root: &Path,
    directory: &Arc<Path>,
    exclude: &HashSet<&Path>,
    options: &ScanOptions,
) -> Result<Listed, Error> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(Error::io("list", directory))? {
        let entry = entry.map_err(Error::io("list", directory))?;
        if !exclude.is_empty() {
            let path = entry.path();
            if path
                .strip_prefix(root)
                .is_ok_and(|relative| exclude.contains(relative))
            {
                continue;
            }
        }
        found.push(describe(directory, &entry, options)?);
    }
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let directories = found
        .iter()
        .enumerate()
        .filter(|(_, entry)| matches!(entry.kind, ScannedKind::Directory(_)));
    let directories = directories
        .map(|(position, entry)| {
            (
                position,
                directory
                    .join(OsString::from_vec(entry.name.to_vec()))
                    .into(),
            )
        })
        .collect();
    Ok((found, directories))
}

fn describe(
    directory: &Arc<Path>,
    entry: &DirEntry,
    options: &ScanOptions,
) -> Result<ScannedEntry, Error> {
    let name = entry.file_name();
    // This call is relative to the open directory, so the kernel does not walk a path.
    let metadata = entry
        .metadata()
        .map_err(|source| Error::io("read the attributes of", entry.path())(source))?;
    let file_type = metadata.file_type();
    let mode = if file_type.is_symlink() {
        0o777
    } else if options.modes == Modes::Keep {
        (metadata.mode() & 0o7777) as u16
    } else if file_type.is_dir() || (file_type.is_file() && metadata.mode() & 0o111 != 0) {
        0o755
    } else {
        0o644
    };
    let kind = if file_type.is_dir() {
        ScannedKind::Directory(0)
    } else if file_type.is_file() {
        let stamp = Stamp::from_metadata(&metadata);
        let source = Source::Disk(DiskFile::new(directory.clone(), name.clone(), stamp));
        ScannedKind::Other(Kind::File {
            size: metadata.len(),
            source,
        })
    } else if file_type.is_symlink() {
        let path = entry.path();
        let target = std::fs::read_link(&path).map_err(Error::io("read the symlink", &path))?;
        let target = target.into_os_string().into_vec().into_boxed_slice();
        tree::check_target(&path, &target)?;
        ScannedKind::Other(Kind::Symlink(target))
    } else if file_type.is_block_device() {
        ScannedKind::Other(Kind::BlockDevice(device_number(
            &entry.path(),
            metadata.rdev(),
        )?))
    } else if file_type.is_char_device() {
        ScannedKind::Other(Kind::CharacterDevice(device_number(
            &entry.path(),
            metadata.rdev(),
        )?))
    } else if file_type.is_fifo() {
        ScannedKind::Other(Kind::Fifo)
    } else {
        ScannedKind::Other(Kind::Socket)
    };
    let shared =
        (metadata.nlink() > 1 && !file_type.is_dir()).then(|| (metadata.dev(), metadata.ino()));
    let xattrs = if options.xattrs {
        xattrs::read(&entry.path())?
    } else {
        None
    };
    let name = name.into_vec().into_boxed_slice();
    Ok(ScannedEntry {
        name,
        mode,
        mtime: mtime(&metadata, options.mtime),
        shared,
        xattrs,
        kind,
    })
}

/// Converts a device number to the form of the format: 12 bits of the major and 20 bits of the
/// minor number, interleaved.
fn device_number(path: &Path, number: u64) -> Result<u32, Error> {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    if major >= 1 << 12 || minor >= 1 << 20 {
        let problem = format!("device number {major}:{minor} is too large for the format");
        return Err(Error::InvalidEntry {
            path: path.to_path_buf(),
            problem,
        });
    }
    Ok((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

/// Returns a modification time in the range of the format. Times before 1970 become the first
/// second and times after 2106 the last second of the range.
fn mtime(metadata: &Metadata, keep: Mtime) -> u32 {
    match keep {
        Mtime::Keep => u32::try_from(metadata.mtime().max(0)).unwrap_or(u32::MAX),
        Mtime::Set(mtime) => mtime,
    }
}

/// Builds a tree from the listings, walking from the root, so that the order of entries does not
/// depend on the threads.
fn assemble(mut listings: Vec<Listing>, root: RootAttributes, keep: Mtime) -> Tree {
    let count = 1 + listings
        .iter()
        .map(|listing| listing.found.len())
        .sum::<usize>();
    let mut entries = Vec::with_capacity(count);
    let mut shared: HashMap<(u64, u64), EntryId> = HashMap::new();
    let directory = |mode, mtime| Entry {
        mode,
        uid: 0,
        gid: 0,
        mtime,
        links: 2,
        kind: Kind::Directory(Vec::new()),
    };
    entries.push(directory(root.mode, root.mtime));
    let mut xattrs: BTreeMap<_, _> = root
        .xattrs
        .map(|xattrs| (EntryId::ROOT, xattrs))
        .into_iter()
        .collect();
    let mut pending = vec![(EntryId::ROOT, 0)];
    while let Some((parent, listing)) = pending.pop() {
        let found = std::mem::take(&mut listings[listing].found);
        let mut children = Vec::with_capacity(found.len());
        let mut subdirectories = 0;
        for ScannedEntry {
            name,
            mode,
            mtime,
            shared: link,
            xattrs: attributes,
            kind,
        } in found
        {
            let known = link.and_then(|link| shared.get(&link).copied());
            let id = known.unwrap_or(EntryId(entries.len() as u32));
            if let Some(attributes) = attributes {
                xattrs.insert(id, attributes);
            }
            match kind {
                _ if known.is_some() => entries[id.index()].links += 1,
                ScannedKind::Directory(listing) => {
                    subdirectories += 1;
                    entries.push(directory(mode, mtime));
                    pending.push((id, listing));
                }
                ScannedKind::Other(kind) => {
                    entries.push(Entry {
                        mode,
                        uid: 0,
                        gid: 0,
                        mtime,
                        links: 1,
                        kind,
                    });
                    if let Some(link) = link {
                        shared.insert(link, id);
                    }
                }
            }
            children.push(Child { name, id });
        }
        let entry = &mut entries[parent.index()];
        entry.links += subdirectories;
        entry.kind = Kind::Directory(children);
    }
    entries.shrink_to_fit();
    Tree::from_entries(
        entries,
        xattrs,
        if let Mtime::Set(mtime) = keep {
            mtime
        } else {
            0
        },
    )
}
