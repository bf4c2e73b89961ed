//! Responsible for reading an image back and comparing it with the packed tree.

use std::{
    num::NonZeroUsize,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crate::{
    Error, Image, Reader, Tree,
    digest::{BlockDigest, ContentDigest, ContentFingerprint},
    donor_blocks::{Extent, ReusedBlocks},
    reader::{Node, NodeKind},
    threads,
    tree::{EntryId, Kind},
};
use known::VerifiedBlocks;

mod known;

/// Number of bytes of blocks compared at a time.
const COMPARE_BYTES: usize = 1 << 20;
/// Number of files that one worker takes at a time. Neighbouring files share fragments.
const FILES_AT_A_TIME: usize = 64;

/// Reads `image` back and compares every name, type, mode, time, link count, extended attribute,
/// size, target and content with `tree`. For files whose blocks come from a donor, the compressed
/// blocks are compared with the donor's. Blocks that were decompressed and compared before
/// ([`KnownBlock::Verified`](crate::KnownBlock::Verified)) are compared in their compressed form,
/// and the files that they belong to by the places of their blocks.
///
/// # Errors
/// Returns [`Error::Mismatch`] with the entry and the difference, [`Error::Corrupt`] for an image
/// that cannot be read, or [`Error::Io`].
pub fn verify(image: &Image, tree: &Tree, threads: Option<NonZeroUsize>) -> Result<(), Error> {
    ReadBack::open(image)?.compare(tree, threads)
}

/// Image that is open for reading it back. Its file may get another name meanwhile.
#[derive(Debug)]
pub struct ReadBack<'i> {
    image: &'i Image,
    file: fs_err::File,
}

impl<'i> ReadBack<'i> {
    /// Opens the file of an image.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the file cannot be opened.
    pub fn open(image: &'i Image) -> Result<ReadBack<'i>, Error> {
        let file = condense_input::open(&image.path).map_err(Error::io("open", &image.path))?;
        Ok(ReadBack { image, file })
    }

    /// Reads the image and compares it with `tree`, see [`verify()`].
    ///
    /// # Errors
    /// Returns the errors of [`verify()`].
    pub fn compare(&self, tree: &Tree, threads: Option<NonZeroUsize>) -> Result<(), Error> {
        let image = self.image;
        check_with_backhand(image, &self.file)?;
        let reader = Reader::of_file(self.reopened()?, image.offset_bytes, image.size_bytes)?;
        let known = VerifiedBlocks::new(image, self.reopened()?);
        let reused = match image.reused.as_deref() {
            Some(reused) => Some(BlockComparer::new(image, self.reopened()?, reused)),
            None => None,
        };
        let compare_blocks = || match &reused {
            Some(reused) => reused.compare().and_then(|()| known.compare()),
            None => known.compare(),
        };
        let stop = || {
            known.stop();
            if let Some(reused) = &reused {
                reused.stop();
            }
        };
        let files = std::thread::scope(|scope| {
            // One thread is enough for the names, so the other threads begin with the blocks.
            let others: Vec<_> = (1..threads::count(threads).get())
                .map_while(|_| condense_threads::scoped(scope, compare_blocks).ok())
                .collect();
            let files = compare_names(image, &reader, tree);
            let compared = compare_blocks().inspect_err(|_| stop());
            let files = files.inspect_err(|_| stop())?;
            for other in others {
                threads::join(other)?;
            }
            compared.map(|()| files)
        })?;
        compare_contents(image, &reader, (&files, &known), threads)
    }

    /// Returns the SHA-256 digest of the image, see [`Image::sha256`].
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the file cannot be read or has become shorter.
    pub fn sha256(&self) -> Result<[u8; 32], Error> {
        self.image.sha256_of(self.file.file())
    }

    /// Returns another handle of the open file.
    fn reopened(&self) -> Result<fs_err::File, Error> {
        let file = self.file.try_clone();
        file.map_err(Error::io("open", &self.image.path))
    }
}

fn differs(image: &Image, entry: &Path, problem: String) -> Error {
    Error::Mismatch {
        image: image.path.clone(),
        entry: entry.to_owned(),
        problem,
    }
}

/// File of the tree that has content.
struct Packed {
    path: PathBuf,
    id: EntryId,
    node: Node,
}

/// Compares everything except contents. Returns the files that have content.
fn compare_names(image: &Image, reader: &Reader, tree: &Tree) -> Result<Vec<Packed>, Error> {
    let differs = |entry: &Path, problem: String| differs(image, entry, problem);
    let mut files = Vec::new();
    let mut seen = vec![false; tree.capacity()];
    let mut found = reader.walk()?;
    for (path, id) in tree.walk_ids().skip(1) {
        let (found_path, node) = match found.next() {
            Some(next) => next?,
            None => return Err(differs(&path, "it is missing".to_owned())),
        };
        if found_path != path {
            return Err(differs(
                &path,
                format!("`{}` is in its place", found_path.display()),
            ));
        }
        let entry = tree.entry(id);
        compare(reader, &node, &entry.kind).map_err(|problem| differs(&path, problem))?;
        let found = (
            node.mode & 0o7777,
            node.uid,
            node.gid,
            node.mtime,
            node.nlink,
        );
        let packed = (entry.mode, entry.uid, entry.gid, entry.mtime, entry.links);
        if found != packed {
            return Err(differs(
                &path,
                format!("mode, owner, group, time, links are {found:?}, not {packed:?}"),
            ));
        }
        if node.has_xattrs || !tree.xattrs_of(id).is_empty() {
            let found = reader.xattrs(&node)?;
            if found != tree.xattrs_of(id) {
                return Err(differs(
                    &path,
                    format!("its extended attributes are {found:?}"),
                ));
            }
        }
        if matches!(entry.kind, Kind::File { size, .. } if size > 0)
            && !std::mem::replace(&mut seen[id.index()], true)
        {
            files.push(Packed { path, id, node });
        }
    }
    if let Some(extra) = found.next() {
        return Err(differs(
            &extra?.0,
            "nothing of that name was packed".to_owned(),
        ));
    }

    Ok(files)
}

fn compare_contents(
    image: &Image,
    reader: &Reader,
    (files, known): (&[Packed], &VerifiedBlocks<'_>),
    threads: Option<NonZeroUsize>,
) -> Result<(), Error> {
    let (next, failed, failure) = (
        AtomicUsize::new(0),
        AtomicBool::new(false),
        Mutex::new(None),
    );
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let from = next.fetch_add(FILES_AT_A_TIME, Ordering::Relaxed);
            let Some(part) = files
                .get(from..files.len().min(from + FILES_AT_A_TIME))
                .filter(|part| !part.is_empty())
            else {
                break;
            };
            for file in part {
                let is_same = compare_content(image, reader, known, file);
                let problem = match is_same {
                    Ok(true) => continue,
                    Ok(false) => differs(image, &file.path, "its content is another".to_owned()),
                    Err(error) => error,
                };
                failed.store(true, Ordering::Relaxed);
                failure
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .get_or_insert(problem);
                return;
            }
        }
    };
    threads::all(threads, work);
    match failure
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
    {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn compare_content(
    image: &Image,
    reader: &Reader,
    known: &VerifiedBlocks<'_>,
    file: &Packed,
) -> Result<bool, Error> {
    match image.fingerprints.0[file.id.index()] {
        ContentFingerprint::Digest(_) if known.are_all_of(file.id, &file.node, reader)? => Ok(true),
        ContentFingerprint::Digest(digest) => {
            content_digest(reader, &file.node).map(|found| found == digest)
        }
        ContentFingerprint::Donor(reference) => {
            has_donor_blocks(image, reader, &file.node, reference)
        }
    }
}

/// Checks the superblock with the reader of the backhand crate. Our reader and our writer could
/// have the same bug, but backhand's bugs would be different.
fn check_with_backhand(image: &Image, file: &fs_err::File) -> Result<(), Error> {
    let differs = |problem: String| Error::Mismatch {
        image: image.path.clone(),
        entry: "the superblock".into(),
        problem,
    };
    let mut file = std::io::BufReader::new(file);
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(image.offset_bytes))
        .map_err(Error::io("read", &image.path))?;
    let kind = backhand::kind::Kind::from_const(backhand::kind::LE_V4_0).map_err(differs)?;
    let (found, options) = backhand::Squashfs::superblock_and_compression_options(&mut file, &kind)
        .map_err(|error| differs(error.to_string()))?;
    if (found.inode_count, found.block_size) != (image.inodes, image.block_size.bytes()) {
        let (inodes, block) = (found.inode_count, found.block_size);
        return Err(differs(format!(
            "it tells of {inodes} inodes in blocks of {block} bytes"
        )));
    }
    if found.bytes_used > image.size_bytes || image.size_bytes - found.bytes_used >= 4096 {
        return Err(differs(format!("it tells of {} bytes", found.bytes_used)));
    }
    let level = match options {
        Some(backhand::compression::CompressionOptions::Zstd(zstd)) => Some(zstd.compression_level),
        _ => None,
    };
    match image.compression {
        crate::Compression::Zstd { level: packed }
            if image.reused.is_none() && level.is_some_and(|level| level != u32::from(packed)) =>
        {
            Err(differs(format!("it tells of zstd at level {level:?}")))
        }
        _ => Ok(()),
    }
}

fn compare(reader: &Reader, node: &Node, kind: &Kind) -> Result<(), String> {
    let same = match (kind, node.kind) {
        (Kind::File { size, .. }, NodeKind::File) => {
            if node.size != *size {
                return Err(format!("it has {} bytes, not {size}", node.size));
            }
            true
        }
        (Kind::Symlink(target), NodeKind::Symlink) => {
            use std::os::unix::ffi::OsStrExt;
            let found = reader.read_link(node).map_err(|error| error.to_string())?;
            if found.as_os_str().as_bytes() != &**target {
                return Err(format!("it leads to `{}`", found.display()));
            }
            true
        }
        (Kind::BlockDevice(number), NodeKind::BlockDevice)
        | (Kind::CharacterDevice(number), NodeKind::CharacterDevice) => {
            if node.device != *number {
                return Err(format!(
                    "its device number is {}, not {number}",
                    node.device
                ));
            }
            true
        }
        (Kind::Directory(_), NodeKind::Directory)
        | (Kind::Fifo, NodeKind::Fifo)
        | (Kind::Socket, NodeKind::Socket) => true,
        _ => false,
    };
    if same {
        Ok(())
    } else {
        Err("it is of another type".to_owned())
    }
}

/// Returns whether the blocks of a file are those copied from the donor's file.
fn has_donor_blocks(
    image: &Image,
    reader: &Reader,
    node: &Node,
    reference: u64,
) -> Result<bool, Error> {
    let Some(reused) = &image.reused else {
        return Ok(false);
    };
    let donor = reused.donor();
    let old = donor.layout(&donor.load_node(reference)?)?;
    let new = reader.layout(node)?;
    let is_start = old.stored_bytes() == 0 || new.start == reused.relocated(old.start);
    let is_fragment = match (old.fragment, new.fragment) {
        (None, None) => true,
        (Some((old, old_offset)), Some((new, new_offset))) => {
            let (at, size) = donor.fragment_place(old)?;
            old_offset == new_offset && reader.fragment_place(new)? == (reused.relocated(at), size)
        }
        _ => false,
    };
    Ok(is_start && is_fragment && old.sizes == new.sizes && old.size == new.size)
}

/// Blocks that were copied from the donor, which any number of threads compare with the donor's.
struct BlockComparer<'i> {
    image: &'i Image,
    new: fs_err::File,
    reused: &'i ReusedBlocks,
    /// Runs of blocks of at most [`COMPARE_BYTES`] each.
    parts: Vec<Extent>,
    next: AtomicUsize,
}

impl<'i> BlockComparer<'i> {
    fn new(image: &'i Image, new: fs_err::File, reused: &'i ReusedBlocks) -> BlockComparer<'i> {
        BlockComparer {
            image,
            new,
            reused,
            parts: reused.parts(COMPARE_BYTES as u64).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// Compares parts until there are none left.
    fn compare(&self) -> Result<(), Error> {
        let donor = self.reused.donor();
        let (old, old_offset) = donor.window().file();
        let mut buffers = (vec![0; COMPARE_BYTES], vec![0; COMPARE_BYTES]);
        while let Some(part) = self.parts.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let length = part.length as usize;
            let (one, other) = (&mut buffers.0[..length], &mut buffers.1[..length]);
            old.file()
                .read_exact_at(one, old_offset + part.from)
                .map_err(Error::io("read", old.path()))?;
            self.new
                .file()
                .read_exact_at(other, self.image.offset_bytes + part.to)
                .map_err(Error::io("read", &self.image.path))?;
            if one != other {
                self.stop();
                let problem = "its blocks are not in the image as they are".to_owned();
                return Err(differs(self.image, donor.path(), problem));
            }
        }
        Ok(())
    }

    /// Stops all threads from beginning another part.
    fn stop(&self) {
        self.next.store(self.parts.len(), Ordering::Relaxed);
    }
}

fn content_digest(reader: &Reader, node: &Node) -> Result<ContentDigest, Error> {
    let mut digest = ContentDigest::default();
    let mut contents = reader.contents(node)?;
    while let Some(block) = contents.next_block()? {
        digest.push(BlockDigest::compute(block));
    }
    Ok(digest)
}
