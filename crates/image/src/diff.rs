//! Responsible for comparing two images, name by name.

use std::cmp::Ordering as Order;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::reader::{Contents, Node, NodeKind, Xattr};
use crate::{Error, Reader, threads};

/// Number of file pairs that a worker takes at once.
const PAIRS_AT_A_TIME: usize = 16;

/// Options of a comparison.
#[derive(Debug, Clone, Default)]
pub struct DiffOptions {
    /// Whether to ignore modification times.
    pub ignore_times: bool,
    /// Whether to ignore owners and groups.
    pub ignore_owners: bool,
    /// Number of workers. `None` means one for each core.
    pub threads: Option<NonZeroUsize>,
    /// Cancel flag. Once it is true, the comparison ends with [`Error::Cancelled`].
    pub cancel: Option<Arc<AtomicBool>>,
}

/// Difference between two images at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// Path in the images.
    pub path: PathBuf,
    /// Kind of the difference.
    pub change: Change,
}

/// Kind of a difference between two images at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The path exists in the first image only.
    Removed,
    /// The path exists in the second image only.
    Added,
    /// The path exists in both images, and these aspects of it differ.
    Changed(Vec<Aspect>),
}

/// Aspect in which two entries of the same path differ, with the value in the first and in the
/// second image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Aspect {
    /// Kind of the file, such as directory or symbolic link.
    Kind(NodeKind, NodeKind),
    /// Permission bits of the entry.
    Mode(u16, u16),
    /// User and group that own the entry.
    Owner((u32, u32), (u32, u32)),
    /// Modification time, in seconds since 1970.
    Time(u32, u32),
    /// Number of names. Not compared for directories.
    Links(u32, u32),
    /// Size of a file in bytes.
    Size(u64, u64),
    /// Content of a file. The sizes are equal.
    Content,
    /// Target of a symbolic link.
    Target(PathBuf, PathBuf),
    /// Number of a device.
    Device(u32, u32),
    /// Extended attributes of the entry.
    Xattrs,
}

/// Compares what programs see in two images. The codec, the block size and the order of blocks may
/// differ.
///
/// # Errors
/// Returns [`Error::Corrupt`] or [`Error::Io`] if an image cannot be read, or [`Error::Cancelled`].
///
/// # Examples
/// ```no_run
/// # fn main() -> Result<(), condense_image::Error> {
/// let old = condense_image::Reader::open("old.sqfs")?;
/// let new = condense_image::Reader::open("new.sqfs")?;
/// for difference in condense_image::diff(&old, &new, &Default::default())? {
///     assert!(!difference.path.as_os_str().is_empty());
/// }
/// # Ok(())
/// # }
/// ```
pub fn diff(one: &Reader, other: &Reader, options: &DiffOptions) -> Result<Vec<Difference>, Error> {
    let mut differences = Vec::new();
    let mut pairs = Vec::new();
    let mut compare = |path: PathBuf, a: Node, b: Node| -> Result<(), Error> {
        let aspects = aspects(one, other, &a, &b, options)?;
        let compare_content = a.is_file() && b.is_file() && a.size == b.size && a.size > 0;
        if compare_content {
            pairs.push((differences.len(), a, b));
        }
        if compare_content || !aspects.is_empty() {
            differences.push(Difference {
                path,
                change: Change::Changed(aspects),
            });
        }
        Ok(())
    };
    compare(PathBuf::from("."), one.root()?, other.root()?)?;
    let mut only = Vec::new();
    let (mut ones, mut others) = (one.walk()?, other.walk()?);
    let (mut left, mut right) = (ones.next().transpose()?, others.next().transpose()?);
    loop {
        stop_if_cancelled(options)?;
        let order = match (&left, &right) {
            (None, None) => break,
            (Some(_), None) => Order::Less,
            (None, Some(_)) => Order::Greater,
            // Paths are compared by component, which is the order of a walk.
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let (mut from_left, mut from_right) = (None, None);
        if order.is_le() {
            from_left = std::mem::replace(&mut left, ones.next().transpose()?);
        }
        if order.is_ge() {
            from_right = std::mem::replace(&mut right, others.next().transpose()?);
        }
        match (from_left, from_right) {
            (Some((path, a)), Some((_, b))) => compare(path, a, b)?,
            (Some((path, _)), None) => only.push((path, Change::Removed)),
            (None, Some((path, _))) => only.push((path, Change::Added)),
            (None, None) => {}
        }
    }
    for (index, differ) in compare_contents(one, other, &pairs, options)? {
        if let Change::Changed(aspects) = &mut differences[index].change
            && differ
        {
            aspects.push(Aspect::Content);
        }
    }
    differences.retain(|difference| difference.change != Change::Changed(Vec::new()));
    differences.extend(
        only.into_iter()
            .map(|(path, change)| Difference { path, change }),
    );
    differences.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(differences)
}

fn stop_if_cancelled(options: &DiffOptions) -> Result<(), Error> {
    match &options.cancel {
        Some(cancel) if cancel.load(Ordering::Relaxed) => Err(Error::Cancelled),
        _ => Ok(()),
    }
}

/// Returns all aspects that differ, except the content of files.
fn aspects(
    one: &Reader,
    other: &Reader,
    a: &Node,
    b: &Node,
    options: &DiffOptions,
) -> Result<Vec<Aspect>, Error> {
    if a.kind != b.kind {
        return Ok(vec![Aspect::Kind(a.kind, b.kind)]);
    }
    let mut aspects = Vec::new();
    if a.mode != b.mode && !a.is_symlink() {
        aspects.push(Aspect::Mode(a.mode, b.mode));
    }
    let (owner_a, owner_b) = ((a.uid, a.gid), (b.uid, b.gid));
    if owner_a != owner_b && !options.ignore_owners {
        aspects.push(Aspect::Owner(owner_a, owner_b));
    }
    if a.mtime != b.mtime && !options.ignore_times {
        aspects.push(Aspect::Time(a.mtime, b.mtime));
    }
    if a.nlink != b.nlink && !a.is_directory() {
        aspects.push(Aspect::Links(a.nlink, b.nlink));
    }
    if a.is_file() && a.size != b.size {
        aspects.push(Aspect::Size(a.size, b.size));
    }
    if a.device != b.device {
        aspects.push(Aspect::Device(a.device, b.device));
    }
    if a.is_symlink() {
        let (to_a, to_b) = (one.read_link(a)?, other.read_link(b)?);
        // Targets are compared as bytes, not as components: `a//b` is another target than `a/b`.
        if to_a.as_os_str() != to_b.as_os_str() {
            aspects.push(Aspect::Target(to_a, to_b));
        }
    }
    if sorted_xattrs(one, a)? != sorted_xattrs(other, b)? {
        aspects.push(Aspect::Xattrs);
    }
    Ok(aspects)
}

fn sorted_xattrs(reader: &Reader, node: &Node) -> Result<Vec<Xattr>, Error> {
    let mut xattrs = reader.xattrs(node)?;
    xattrs.sort();
    Ok(xattrs)
}

/// Compares the content of file pairs. Returns the index of each pair with whether the two contents
/// differ.
fn compare_contents(
    one: &Reader,
    other: &Reader,
    pairs: &[(usize, Node, Node)],
    options: &DiffOptions,
) -> Result<Vec<(usize, bool)>, Error> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results = Mutex::new(Ok(Vec::with_capacity(pairs.len())));
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let from = next.fetch_add(PAIRS_AT_A_TIME, Ordering::Relaxed);
            let to = pairs.len().min(from.saturating_add(PAIRS_AT_A_TIME));
            let Some(part) = pairs.get(from..to).filter(|part| !part.is_empty()) else {
                return;
            };
            let compared: Result<Vec<(usize, bool)>, Error> = part
                .iter()
                .map(|(index, a, b)| {
                    let (one, other) = (one.contents(a)?, other.contents(b)?);
                    Ok((*index, contents_differ(one, other, options)?))
                })
                .collect();
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            match (compared, &mut *results) {
                (Ok(compared), Ok(all)) => all.extend(compared),
                (Err(error), Ok(_)) => {
                    failed.store(true, Ordering::Relaxed);
                    *results = Err(error);
                }
                (_, Err(_)) => {}
            }
        }
    };
    threads::all(options.threads, work);
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn contents_differ(
    mut one: Contents<'_>,
    mut other: Contents<'_>,
    options: &DiffOptions,
) -> Result<bool, Error> {
    // These buffers hold the rest of the larger block if the images have different block sizes.
    let (mut left, mut right): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    loop {
        stop_if_cancelled(options)?;
        if left.is_empty() {
            left.extend_from_slice(one.next_block()?.unwrap_or_default());
        }
        if right.is_empty() {
            right.extend_from_slice(other.next_block()?.unwrap_or_default());
        }
        let len = left.len().min(right.len());
        if left[..len] != right[..len] {
            return Ok(true);
        }
        if len == 0 {
            return Ok(left.len() != right.len());
        }
        left.drain(..len);
        right.drain(..len);
    }
}

#[cfg(test)]
mod tests;
