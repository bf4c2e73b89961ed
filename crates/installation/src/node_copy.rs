//! Responsible for copies of images on a node. A copy is a file in a directory of its own, which
//! has the digest of the image as its name and gets this name when the copy is whole.

mod record;
mod uses;

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use condense_publish::{Existing, Lock, Locking, Staging, discard, sync_tree, try_lock};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use record::{Record, Stamp};

/// Part of the name of the directory of copies that comes before the number of the user. The
/// wrappers look for this name as well.
const OWN_DIR: &str = "condense-stage-";
/// File that is locked while copies are made or removed.
const LOCK_FILE: &str = "lock";
/// Part of the name of a file that another program puts beside the copies, before its digest.
const INCOMING: &str = "incoming-";
/// Age from which on such a file counts as left over.
const INCOMING_AGE: Duration = Duration::from_secs(3600);
/// Time between two attempts to take the lock.
const PAUSE: Duration = Duration::from_millis(20);
/// Bit of the mode of a directory in which only owners may rename and remove files.
const STICKY: u32 = 0o1000;
/// Number of bytes that are copied at once.
const CHUNK_LEN: usize = 4 << 20;

/// File of an installation that nodes may have a copy of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeFile {
    /// The image with the environment.
    Image,
    /// The base, or a whole container image.
    Container,
}

impl NodeFile {
    /// Returns the name of the file in the directory of its copy.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "img.sqfs",
            Self::Container => "container.sif",
        }
    }
}

/// Image that is copied to nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSource {
    /// Kind of the file.
    pub file: NodeFile,
    /// Path of the original, with links resolved.
    pub path: PathBuf,
    /// Size of the original in bytes.
    pub size_bytes: u64,
    /// Digest that was recorded when the image was made. Without one, the copy is compared with the
    /// original.
    pub sha256: Option<String>,
    /// Directory of the installation, or the file itself.
    pub owner: PathBuf,
}

/// Functions that a copy calls while it runs.
#[derive(Clone, Copy)]
pub struct CopyProgress<'a> {
    /// Takes the number of bytes that were copied since the last call.
    pub advance: &'a dyn Fn(u64),
    /// Returns whether the user has asked to stop.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for CopyProgress<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyProgress").finish_non_exhaustive()
    }
}

/// A whole copy on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCopy {
    /// Path of the copy.
    pub path: PathBuf,
    /// Digest of the copy in hexadecimal.
    pub sha256: String,
    /// Size of the copy in bytes.
    pub size_bytes: u64,
}

/// A copy that was removed, or that stays because a program uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldCopy {
    /// Copy of an image.
    pub copy: NodeCopy,
    /// Whether a program has the copy open.
    pub is_in_use: bool,
}

/// The user's own directory of copies on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDir {
    path: PathBuf,
}

impl NodeDir {
    /// Returns the path of the user's directory of copies below `parent`.
    pub fn path_below(parent: &Path) -> PathBuf {
        let user = rustix::process::geteuid().as_raw();
        parent.join(format!("{OWN_DIR}{user}"))
    }

    /// Opens the user's directory of copies below `parent`. Returns `None` if there is none.
    ///
    /// # Errors
    /// Returns [`Error::NodeDir`] if it is not private to this user, and [`Error::NodeParent`] if
    /// others can replace it.
    pub fn find(parent: &Path) -> Result<Option<NodeDir>> {
        let parent = match parent.canonicalize() {
            Ok(parent) => parent,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::at("look at", parent, error)),
        };
        let path = Self::path_below(&parent);
        match path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::at("look at", &path, error)),
            Ok(found) => {
                let own = found.uid() == rustix::process::geteuid().as_raw();
                if !found.is_dir() || !own || found.mode() & 0o022 != 0 {
                    return Err(Error::NodeDir { path });
                }
                Self::check_parent(&parent)?;
                Ok(Some(NodeDir { path }))
            }
        }
    }

    /// Checks that other users cannot replace what is below `parent`: that they can write into
    /// neither it nor a directory above, or only with the sticky bit. The owner of a directory, and
    /// a directory that does not exist, are trusted.
    ///
    /// # Errors
    /// Returns [`Error::NodeParent`] with the directory that others can write into.
    pub fn check_parent(parent: &Path) -> Result<()> {
        let Ok(parent) = parent.canonicalize() else {
            return Ok(());
        };
        for dir in parent.ancestors() {
            let found = fs_err::metadata(dir).map_err(Error::Io)?;
            if found.mode() & 0o022 != 0 && found.mode() & STICKY == 0 {
                return Err(Error::NodeParent { path: dir.into() });
            }
        }
        Ok(())
    }

    /// Opens the user's directory of copies below `parent`. Both are made if they do not exist.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if a directory cannot be made, and the errors of [`NodeDir::find`].
    pub fn create(parent: &Path) -> Result<NodeDir> {
        // The umask may let a group write into what is made.
        let mut parents = DirBuilder::new();
        let made = parents.recursive(true).mode(0o755).create(parent);
        made.map_err(|error| Error::at("create", parent, error))?;
        Self::check_parent(parent)?;
        let path = Self::path_below(parent);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(Error::at("create", &path, error));
            }
            _ => {}
        }
        // The directory that exists may have been made by another user.
        Self::find(parent)?.ok_or(Error::NodeDir { path })
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path at which another program puts the bytes of an image for
    /// [`NodeDir::adopt`].
    pub fn incoming(&self, sha256: &str, job: &str) -> PathBuf {
        self.path.join(Self::incoming_name(sha256, job))
    }

    /// Returns the last part of [`NodeDir::incoming`], which is the same on all nodes.
    pub fn incoming_name(sha256: &str, job: &str) -> String {
        format!("{INCOMING}{sha256}-{job}")
    }

    /// Returns the whole copy of an image, if there is one.
    pub fn find_copy(&self, source: &NodeSource) -> Option<NodeCopy> {
        let sha256 = match &source.sha256 {
            Some(sha256) => sha256.clone(),
            None => self.known_digest(source)?,
        };
        let path = self.path.join(&sha256).join(source.file.as_str());
        let found = path.symlink_metadata().ok()?;
        let is_whole = found.is_file() && found.len() == source.size_bytes;
        is_whole.then_some(NodeCopy {
            path,
            sha256,
            size_bytes: source.size_bytes,
        })
    }

    /// Returns the digest of an original without a recorded digest, by its path, size and time.
    fn known_digest(&self, source: &NodeSource) -> Option<String> {
        let stamp = Stamp::of(&source.path).ok()?;
        let mut names = self.digests().into_iter();
        names.find(|name| {
            let record = Record::load(&self.path.join(name));
            record.is_some_and(|record| record.has_source(&stamp))
        })
    }

    /// Returns the names of all copies.
    fn digests(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let is_digest =
            |name: &String| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut names: Vec<String> = names.filter(is_digest).collect();
        names.sort();
        names
    }

    /// Waits for other processes of this node that make or remove copies. Where the file system has
    /// no locks, two processes may make the same copy, of which one stays.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the lock cannot be created, or if the user asks to stop.
    pub fn lock(&self, cancelled: &dyn Fn() -> bool) -> Result<Lock> {
        let path = self.path.join(LOCK_FILE);
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(|error| Error::at("open", &path, error))?;
        while try_lock(&file) == Locking::Held {
            if cancelled() {
                return Err(Error::at("lock", &path, ErrorKind::Interrupted));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(Lock::from_file(file))
    }

    /// Copies an image and checks the copy by its digest. The caller holds the lock.
    ///
    /// # Errors
    /// Returns [`Error::NodeCopyDiffers`] if the original is not what was recorded, or changes
    /// meanwhile, and [`Error::Io`] if a file cannot be read or written, or if the user asks to
    /// stop. No copy is left then.
    pub fn copy(&self, source: &NodeSource, progress: CopyProgress<'_>) -> Result<NodeCopy> {
        let staging = Staging::create(&self.path)?;
        let made = staging.path().join("copy");
        fs_err::create_dir(&made).map_err(Error::Io)?;
        let target = made.join(source.file.as_str());
        let before =
            Stamp::of(&source.path).map_err(|error| Error::at("read", &source.path, error))?;
        let read = copy_hashed(&source.path, &target, progress)?;
        let after =
            Stamp::of(&source.path).map_err(|error| Error::at("read", &source.path, error))?;
        let expected = source.sha256.as_deref().unwrap_or(&read);
        let is_unchanged = before.has_contents_of(&after);
        if read != expected || source.sha256.is_none() && !is_unchanged {
            return Err(Error::NodeCopyDiffers {
                path: source.path.clone(),
                found: read,
                expected: source.sha256.clone(),
            });
        }
        let written = sha256(&target, progress.cancelled)?;
        if written != *expected {
            return Err(Error::NodeCopyDiffers {
                path: target,
                found: written,
                expected: Some(expected.to_owned()),
            });
        }
        let stamp = if is_unchanged { after } else { before };
        self.publish(&made, source, expected, stamp)
    }

    /// Takes the bytes of an image that another program has put beside the copies. Returns `None`
    /// if they are not whole; they are removed in each case. The caller holds the lock.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if a file cannot be read or written.
    pub fn adopt(
        &self,
        source: &NodeSource,
        sha256: &str,
        incoming: &Path,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<NodeCopy>> {
        let found = incoming.symlink_metadata();
        let is_whole = found.is_ok_and(|found| {
            found.is_file()
                && found.len() == source.size_bytes
                && found.uid() == rustix::process::geteuid().as_raw()
        });
        if !is_whole || self::sha256(incoming, cancelled)? != sha256 {
            let _ = std::fs::remove_file(incoming);
            return Ok(None);
        }
        let staging = Staging::create(&self.path)?;
        let made = staging.path().join("copy");
        fs_err::create_dir(&made).map_err(Error::Io)?;
        fs_err::rename(incoming, made.join(source.file.as_str())).map_err(Error::Io)?;
        let stamp =
            Stamp::of(&source.path).map_err(|error| Error::at("read", &source.path, error))?;
        let copy = self.publish(&made, source, sha256, stamp)?;
        Ok(Some(copy))
    }

    fn publish(
        &self,
        made: &Path,
        source: &NodeSource,
        sha256: &str,
        stamp: Stamp,
    ) -> Result<NodeCopy> {
        let file = made.join(source.file.as_str());
        let original = fs_err::metadata(&source.path).map_err(Error::Io)?;
        let permissions = std::fs::Permissions::from_mode(original.mode() & 0o555 | 0o400);
        fs_err::set_permissions(&file, permissions).map_err(Error::Io)?;
        Record::new(stamp.clone(), &source.owner).store(made)?;
        sync_tree(made)?;
        let target = self.path.join(sha256);
        match condense_publish::give_name(made, &target, Existing::Refuse) {
            Ok(()) => {}
            // Another process was faster, or the directory has a file of another size.
            Err(error) if error.source_kind() == ErrorKind::AlreadyExists => {
                if self.find_copy(&with_digest(source, sha256)).is_some() {
                    note(&target, Some(stamp), &source.owner)?;
                } else {
                    discard(&target, None)?;
                    condense_publish::give_name(made, &target, Existing::Refuse)?;
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(NodeCopy {
            path: target.join(source.file.as_str()),
            sha256: sha256.to_owned(),
            size_bytes: source.size_bytes,
        })
    }

    /// Notes that an owner uses the copy of an image, which stays until none does. The caller holds
    /// the lock.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the note cannot be written.
    pub fn note_owner(&self, copy: &NodeCopy, source: &NodeSource) -> Result<()> {
        // The digest of a whole container image was read from the file a moment ago. The one of a
        // part of an installation is as old as the installation. Without a digest, the file was
        // recognised or copied, and is in the record.
        let is_whole = source.owner == source.path && source.sha256.is_some();
        let stamp = if is_whole {
            Stamp::of(&source.path).ok()
        } else {
            None
        };
        note(&self.path.join(&copy.sha256), stamp, &source.owner)
    }

    /// Removes copies that no program uses: those that only `owner` has, but not those whose
    /// digests are in `kept`; without an owner, all. Files that other programs left are removed as
    /// well. The caller holds the lock.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if a copy cannot be removed.
    pub fn clean(&self, owner: Option<&Path>, kept: &[String]) -> Result<Vec<OldCopy>> {
        condense_publish::sweep(&self.path);
        self.remove_incoming();
        let mut old = Vec::new();
        for name in self.digests() {
            let dir = self.path.join(&name);
            if kept.contains(&name) {
                continue;
            }
            let record = Record::load(&dir);
            if let (Some(owner), Some(mut record)) = (owner, record) {
                if !record.remove(owner) {
                    continue;
                }
                if !record.is_free() {
                    record.store(&dir)?;
                    continue;
                }
            } else if owner.is_some() {
                continue;
            }
            let Some(copy) = copy_in(&dir, &name) else {
                discard(&dir, None)?;
                continue;
            };
            let is_in_use = uses::is_in_use(&copy.path, Path::new("/"));
            if !is_in_use {
                discard(&dir, None)?;
            }
            old.push(OldCopy { copy, is_in_use });
        }
        Ok(old)
    }

    /// Removes files that another program has left beside the copies.
    fn remove_incoming(&self) {
        for entry in std::fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten()
        {
            let is_incoming = entry.file_name().to_string_lossy().starts_with(INCOMING);
            let age = entry
                .metadata()
                .ok()
                .and_then(|found| found.modified().ok());
            let age = age.and_then(|time| time.elapsed().ok());
            if is_incoming && age.is_some_and(|age| age > INCOMING_AGE) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// Adds an original and an owner to the record of a copy.
fn note(dir: &Path, stamp: Option<Stamp>, owner: &Path) -> Result<()> {
    let record = match (Record::load(dir), stamp) {
        (Some(mut record), stamp) => {
            let is_new = stamp.is_some_and(|stamp| record.add_source(stamp));
            (record.add(owner) || is_new).then_some(record)
        }
        (None, Some(stamp)) => Some(Record::new(stamp, owner)),
        (None, None) => None,
    };
    record.map_or(Ok(()), |record| record.store(dir))
}

fn with_digest(source: &NodeSource, sha256: &str) -> NodeSource {
    NodeSource {
        sha256: Some(sha256.to_owned()),
        ..source.clone()
    }
}

/// Returns the copy in a directory.
fn copy_in(dir: &Path, name: &str) -> Option<NodeCopy> {
    [NodeFile::Image, NodeFile::Container]
        .iter()
        .find_map(|file| {
            let path = dir.join(file.as_str());
            let size_bytes = path.metadata().ok()?.len();
            Some(NodeCopy {
                path,
                sha256: name.to_owned(),
                size_bytes,
            })
        })
}

/// Copies a file and returns the digest of what was read.
fn copy_hashed(from: &Path, to: &Path, progress: CopyProgress<'_>) -> Result<String> {
    let mut source = condense_input::open(from).map_err(Error::Io)?;
    let mut target = fs_err::File::create_new(to).map_err(Error::Io)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        if (progress.cancelled)() {
            return Err(Error::at("copy", from, ErrorKind::Interrupted));
        }
        let length = source
            .read(&mut chunk)
            .map_err(|error| Error::at("read", from, error))?;
        if length == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&chunk[..length]);
        target.write_all(&chunk[..length]).map_err(Error::Io)?;
        (progress.advance)(length as u64);
    }
}

/// Returns the digest of a file.
///
/// # Errors
/// Returns [`Error::Io`] if the file cannot be read, or if the user asks to stop.
fn sha256(path: &Path, cancelled: &dyn Fn() -> bool) -> Result<String> {
    let mut file = File::options()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(|error| Error::at("open", path, error))?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        if cancelled() {
            return Err(Error::at("read", path, ErrorKind::Interrupted));
        }
        match file
            .read(&mut chunk)
            .map_err(|error| Error::at("read", path, error))?
        {
            0 => return Ok(hex::encode(hasher.finalize())),
            length => hasher.update(&chunk[..length]),
        }
    }
}

/// Returns the digest of an original, which is read for it.
///
/// # Errors
/// Returns [`Error::Io`] if the file cannot be read, or if the user asks to stop.
pub fn digest_of_source(source: &NodeSource, cancelled: &dyn Fn() -> bool) -> Result<String> {
    sha256(&source.path, cancelled)
}

#[cfg(test)]
mod tests;
