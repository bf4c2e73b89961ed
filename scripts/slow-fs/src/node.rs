//! Responsible for the file system of one node, which passes all requests through the common queue.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::{self, File, Metadata},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, Request,
};
use serde_json::Value;

use crate::{counts::Counts, queue::Queue};

/// Most bytes of one read.
pub(crate) const MOST_BYTES: u32 = 1 << 20;
/// Readahead of the kernel that a file system can ask for; more is set after the mount.
pub(crate) const KERNEL_READAHEAD: u32 = 128 << 10;
/// Time for which a node keeps names and attributes, as a client of Lustre does by its locks.
const KEPT: Duration = Duration::from_secs(3600);

/// An open file with its path below the served directory.
struct Open {
    file: File,
    path: PathBuf,
    size: u64,
}

#[derive(Default)]
struct Table {
    paths: Vec<PathBuf>,
    inodes: HashMap<PathBuf, u64>,
    open: HashMap<u64, Arc<Open>>,
    last_handle: u64,
}

/// One mount, which counts its requests.
pub(crate) struct Node {
    root: PathBuf,
    queue: Arc<Queue>,
    counts: Arc<Mutex<Counts>>,
    readahead: u32,
    table: Mutex<Table>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the counts of a node as JSON.
pub(crate) fn counts_of(counts: &Mutex<Counts>, mount_point: &Path) -> Value {
    locked(counts).to_json(mount_point)
}

impl Node {
    /// Serves `root` through `queue`.
    pub(crate) fn new(
        root: PathBuf,
        queue: Arc<Queue>,
        counts: Arc<Mutex<Counts>>,
        readahead: u32,
    ) -> Self {
        let mut table = Table::default();
        // Number 1 is the root; number 0 is none.
        table.paths.extend([PathBuf::new(), PathBuf::new()]);
        table.inodes.insert(PathBuf::new(), 1);
        Self {
            root,
            queue,
            counts,
            readahead,
            table: Mutex::new(table),
        }
    }

    fn path_of(&self, inode: INodeNo) -> Result<PathBuf, Errno> {
        let table = locked(&self.table);
        table
            .paths
            .get(inode.0 as usize)
            .cloned()
            .ok_or(Errno::ENOENT)
    }

    fn inode_of(&self, path: PathBuf) -> INodeNo {
        let mut table = locked(&self.table);
        let next = table.paths.len() as u64;
        let inode = *table.inodes.entry(path.clone()).or_insert(next);
        if inode == next {
            table.paths.push(path);
        }
        INodeNo(inode)
    }

    fn attributes(&self, path: PathBuf) -> Result<FileAttr, Errno> {
        let found = fs::symlink_metadata(self.root.join(&path))?;
        Ok(attributes(self.inode_of(path), &found))
    }

    /// Passes a request without contents through the queue.
    fn metadata(&self, answer: impl FnOnce() + Send + 'static) {
        locked(&self.counts).add_metadata();
        self.queue.pass(0, answer);
    }

    fn open_file(&self, inode: INodeNo) -> Result<u64, Errno> {
        let path = self.path_of(inode)?;
        let file = File::open(self.root.join(&path))?;
        let size = file.metadata()?.len();
        let mut table = locked(&self.table);
        table.last_handle += 1;
        let handle = table.last_handle;
        table
            .open
            .insert(handle, Arc::new(Open { file, path, size }));
        Ok(handle)
    }

    fn entries(&self, inode: INodeNo) -> Result<Vec<(INodeNo, FileType, OsString)>, Errno> {
        let path = self.path_of(inode)?;
        let parent = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut found = vec![
            (inode, FileType::Directory, ".".into()),
            (self.inode_of(parent), FileType::Directory, "..".into()),
        ];
        for entry in fs::read_dir(self.root.join(&path))? {
            let entry = entry?;
            let kind = FileType::from_std(entry.file_type()?).unwrap_or(FileType::RegularFile);
            found.push((
                self.inode_of(path.join(entry.file_name())),
                kind,
                entry.file_name(),
            ));
        }
        Ok(found)
    }
}

impl Filesystem for Node {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // The nearest values that the kernel accepts are taken.
        let _ = config.set_max_write(MOST_BYTES);
        let _ = config.set_max_readahead(self.readahead.clamp(1, KERNEL_READAHEAD));
        let _ = config.set_max_background(64);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self
            .path_of(parent)
            .and_then(|parent| self.attributes(parent.join(name)));
        self.metadata(move || match found {
            Ok(found) => reply.entry(&KEPT, &found, Generation(0)),
            Err(error) => reply.error(error),
        });
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = self.path_of(inode).and_then(|path| self.attributes(path));
        self.metadata(move || match found {
            Ok(found) => reply.attr(&KEPT, &found),
            Err(error) => reply.error(error),
        });
    }

    fn readlink(&self, _: &Request, inode: INodeNo, reply: ReplyData) {
        let found = self
            .path_of(inode)
            .and_then(|path| Ok(fs::read_link(self.root.join(path))?));
        self.metadata(move || match found {
            Ok(target) => reply.data(target.as_os_str().as_bytes()),
            Err(error) => reply.error(error),
        });
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = self.open_file(inode);
        self.metadata(move || match opened {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(error),
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(open) = locked(&self.table).open.get(&handle.0).cloned() else {
            return reply.error(Errno::EBADF);
        };
        match read_at(&open.file, offset, size) {
            Ok(data) => {
                let bytes = data.len() as u64;
                locked(&self.counts).add_read(&open.path, open.size, offset, bytes);
                self.queue.pass(bytes, move || reply.data(&data));
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        locked(&self.table).open.remove(&handle.0);
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let entries = self.entries(inode);
        self.metadata(move || match entries {
            Ok(entries) => {
                for (number, (inode, kind, name)) in
                    entries.iter().enumerate().skip(offset as usize)
                {
                    if reply.add(*inode, number as u64 + 1, *kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(error),
        });
    }
}

fn read_at(file: &File, offset: u64, size: u32) -> io::Result<Vec<u8>> {
    let mut data = vec![0; size as usize];
    let mut filled = 0;
    while filled < data.len() {
        match file.read_at(&mut data[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    data.truncate(filled);
    Ok(data)
}

fn attributes(inode: INodeNo, found: &Metadata) -> FileAttr {
    let time = |seconds: i64| {
        UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds.max(0).cast_unsigned()))
            .unwrap_or(SystemTime::UNIX_EPOCH)
    };
    FileAttr {
        ino: inode,
        size: found.len(),
        blocks: found.blocks(),
        atime: time(found.atime()),
        mtime: time(found.mtime()),
        ctime: time(found.ctime()),
        crtime: UNIX_EPOCH,
        kind: FileType::from_std(found.file_type()).unwrap_or(FileType::RegularFile),
        perm: (found.permissions().mode() & 0o7777) as u16,
        nlink: found.nlink() as u32,
        uid: found.uid(),
        gid: found.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
