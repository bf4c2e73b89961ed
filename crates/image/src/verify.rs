//! Responsible for reading an image back and holding it against what was packed.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crate::{
    Error, Image, Reader, Tree,
    digest::{BlockDigest, ContentDigest},
    reader::{Node, NodeKind},
    tree::Kind,
};

/// Files that one worker takes at a time: neighbours share fragment blocks.
const FILES_AT_A_TIME: usize = 64;

/// Reads `image` back and compares every name, type, mode, time, link count, size, target and content with `tree`.
///
/// # Errors
/// [`Error::Mismatch`] names the entry and what differs; [`Error::Corrupt`] for what cannot be read at all.
pub fn verify(image: &Image, tree: &Tree, threads: Option<NonZeroUsize>) -> Result<(), Error> {
    second_opinion(image)?;
    let reader = Reader::open_at(&image.path, image.offset_bytes, image.size_bytes)?;
    let differs = |entry: &Path, problem: String| Error::Mismatch {
        image: image.path.clone(),
        entry: entry.to_owned(),
        problem,
    };
    let mut files: Vec<(PathBuf, Node, ContentDigest)> = Vec::new();
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
        compare(&reader, &node, &entry.kind).map_err(|problem| differs(&path, problem))?;
        let told = (
            node.mode & 0o7777,
            node.uid,
            node.gid,
            node.mtime,
            node.nlink,
        );
        let packed = (entry.mode, entry.uid, entry.gid, entry.mtime, entry.links);
        if told != packed {
            return Err(differs(
                &path,
                format!("mode, owner, group, time, links are {told:?}, not {packed:?}"),
            ));
        }
        if matches!(entry.kind, Kind::File { size, .. } if size > 0)
            && !std::mem::replace(&mut seen[id.index()], true)
        {
            files.push((path, node, image.digests.0[id.index()]));
        }
    }
    if let Some(extra) = found.next() {
        return Err(differs(
            &extra?.0,
            "nothing of that name was packed".to_owned(),
        ));
    }

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
            for (path, node, digest) in part {
                let problem = match content_digest(&reader, node) {
                    Ok(found) if found == *digest => continue,
                    Ok(_) => differs(path, "its content is another".to_owned()),
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
    let threads = threads
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    match failure
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
    {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Our reader and our writer could share a mistake about the superblock; backhand's would be another one.
fn second_opinion(image: &Image) -> Result<(), Error> {
    let differs = |problem: String| Error::Mismatch {
        image: image.path.clone(),
        entry: "the superblock".into(),
        problem,
    };
    let file = std::fs::File::open(&image.path).map_err(Error::io("open", &image.path))?;
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
            if level.is_some_and(|level| level != u32::from(packed)) =>
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
        (Kind::Directory(_), NodeKind::Directory)
        | (Kind::BlockDevice(_), NodeKind::BlockDevice)
        | (Kind::CharacterDevice(_), NodeKind::CharacterDevice)
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

fn content_digest(reader: &Reader, node: &Node) -> Result<ContentDigest, Error> {
    let mut digest = ContentDigest::default();
    let mut contents = reader.contents(node)?;
    while let Some(block) = contents.next_block()? {
        digest.push(BlockDigest::of(block));
    }
    Ok(digest)
}
