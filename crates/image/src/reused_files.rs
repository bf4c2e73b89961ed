//! Responsible for finding the files of a tree that are already in the donor, at the same path and
//! with the same bytes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::content::Content;
use crate::reader::LastBlock;
use crate::source::{ImageFile, LastDirectory, Source};
use crate::tree::{EntryId, Kind};
use crate::{Donor, Error, PackOptions, ScanOptions, Tree, threads};

/// Number of files that one worker takes at a time. Neighbouring files share blocks.
const FILES_AT_A_TIME: usize = 64;
/// Number of bytes compared at a time.
const COMPARE_BYTES: u64 = 128 << 10;

/// Counts of the files that a tree has in common with the donor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReusedFiles {
    /// Number of files at the same path with the same content.
    pub files: u64,
    /// Size of these files in bytes.
    pub bytes: u64,
}

/// File, with the donor's file of the same size at the same path.
struct Candidate {
    id: EntryId,
    size: u64,
    /// Fragment and position of the donor's file, for sorting the files that are to be read:
    /// neighbouring files share blocks, which are then decompressed once.
    place: (Option<u32>, u64),
    old: ImageFile,
    /// Whether the times of the file already show that it is unchanged.
    is_trusted: bool,
}

impl Tree {
    /// Finds the files that the donor of `options` has at the same path, and compares their
    /// contents (or their times, see [`PackOptions::trust_times`]). Equal files will reuse the
    /// blocks of the donor. Names, modes, owners and times stay those of this tree.
    ///
    /// # Errors
    /// Returns [`Error::Changed`] for a file that is no longer the one that the scan saw,
    /// [`Error::Corrupt`] for a damaged donor, [`Error::Io`] or [`Error::Cancelled`].
    pub fn keep_unchanged(&mut self, options: &PackOptions) -> Result<ReusedFiles, Error> {
        match &options.donor {
            Some(donor) => self.keep_unchanged_since(donor.tree()?, donor, options),
            None => Ok(ReusedFiles::default()),
        }
    }

    /// Scans a directory, while another thread reads the tree of the donor, and then does the same
    /// as [`Tree::keep_unchanged`].
    ///
    /// # Errors
    /// Returns the errors of [`Tree::scan`] and [`Tree::keep_unchanged`], or [`Error::Thread`].
    pub fn scan_changes(
        root: &Path,
        scan: &ScanOptions,
        options: &PackOptions,
    ) -> Result<(Tree, ReusedFiles), Error> {
        let Some(donor) = &options.donor else {
            return Ok((Tree::scan(root, scan)?, ReusedFiles::default()));
        };
        let (tree, old) = std::thread::scope(|scope| {
            let old = condense_threads::scoped(scope, || donor.tree())?;
            let tree = Tree::scan(root, scan);
            Ok::<_, Error>((tree, threads::join(old)))
        })?;
        let mut tree = tree?;
        let kept = tree.keep_unchanged_since(old?, donor, options)?;
        Ok((tree, kept))
    }

    fn keep_unchanged_since(
        &mut self,
        old: Tree,
        donor: &Donor,
        options: &PackOptions,
    ) -> Result<ReusedFiles, Error> {
        let since = options.trust_times.then(|| written(donor)).transpose()?;
        let mut candidates = self.candidates(&old, since)?;
        drop(old);
        candidates.sort_by_key(|candidate| candidate.place);
        let equal = compare_all(self, &candidates, options)?;
        let mut kept = ReusedFiles::default();
        for (candidate, is_equal) in candidates.into_iter().zip(equal) {
            if is_equal.into_inner() {
                kept.files += 1;
                kept.bytes += candidate.size;
                self.set_source(candidate.id, Source::Image(candidate.old));
            }
        }
        Ok(kept)
    }

    /// Returns the files of both trees with the same path and size. From the second `since` on,
    /// times are not trusted; `None` means that no times are trusted.
    fn candidates(&self, old_tree: &Tree, since: Option<i64>) -> Result<Vec<Candidate>, Error> {
        let mut candidates = Vec::new();
        let mut seen = vec![false; self.capacity()];
        let mut pending = vec![(EntryId::ROOT, EntryId::ROOT)];
        while let Some((new_id, old_id)) = pending.pop() {
            let old_entry = old_tree.entry(old_id);
            match (&self.entry(new_id).kind, &old_entry.kind) {
                (Kind::Directory(new), Kind::Directory(old)) => {
                    let mut old = old.iter().peekable();
                    for child in new {
                        while old.next_if(|other| other.name < child.name).is_some() {}
                        if let Some(same) = old.next_if(|other| other.name == child.name) {
                            pending.push((child.id, same.id));
                        }
                    }
                }
                (
                    Kind::File { size, source },
                    Kind::File {
                        size: old_size,
                        source: Source::Image(old),
                    },
                ) if size == old_size
                    && *size > 0
                    && !matches!(source, Source::Image(_))
                    && !std::mem::replace(&mut seen[new_id.index()], true) =>
                {
                    let is_trusted = since.is_some_and(|since| match source {
                        Source::Disk(disk) => disk.is_untouched(old_entry.mtime, since),
                        _ => false,
                    });
                    let place = if is_trusted {
                        (None, 0)
                    } else {
                        let layout = old.layout()?;
                        (layout.fragment.map(|(number, _)| number), layout.start)
                    };
                    candidates.push(Candidate {
                        id: new_id,
                        size: *size,
                        place,
                        old: old.clone(),
                        is_trusted,
                    });
                }
                _ => {}
            }
        }
        Ok(candidates)
    }
}

/// Returns the time in seconds since 1970 when the donor's file was written.
fn written(donor: &Donor) -> Result<i64, Error> {
    let path = donor.reader().path();
    let metadata = path
        .metadata()
        .map_err(Error::io("read the attributes of", path))?;
    Ok(metadata.mtime())
}

fn compare_all(
    tree: &Tree,
    candidates: &[Candidate],
    options: &PackOptions,
) -> Result<Vec<AtomicBool>, Error> {
    let equal: Vec<AtomicBool> = candidates.iter().map(|_| AtomicBool::new(false)).collect();
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<(usize, Error)>> = Mutex::new(None);
    let is_over = AtomicBool::new(false);
    let fail = |number: usize, error: Error| {
        is_over.store(true, Ordering::Relaxed);
        let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
        // The threads decide which of several errors happens first. Of the errors that have
        // happened, the one of the first file in order is returned.
        if failure.as_ref().is_none_or(|(known, _)| number < *known) {
            *failure = Some((number, error));
        }
    };
    let work = || {
        let mut comparer = Comparer::default();
        while !is_over.load(Ordering::Relaxed) {
            let from = next.fetch_add(FILES_AT_A_TIME, Ordering::Relaxed);
            let end = candidates.len().min(from + FILES_AT_A_TIME);
            for number in from..end {
                let cancelled = options.cancel.as_deref();
                if cancelled.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
                    return fail(0, Error::Cancelled);
                }
                match comparer.is_equal(tree, &candidates[number]) {
                    Ok(is_equal) => equal[number].store(is_equal, Ordering::Relaxed),
                    Err(error) => return fail(number, error),
                }
            }
            if end <= from {
                return;
            }
        }
    };
    threads::all(options.threads, work);
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => Ok(equal),
    }
}

/// Comparer of files, which reuses its buffers.
#[derive(Default)]
struct Comparer {
    last_directory: LastDirectory,
    last_block: LastBlock,
    new: Vec<u8>,
    old: Vec<u8>,
}

impl Comparer {
    fn is_equal(&mut self, tree: &Tree, candidate: &Candidate) -> Result<bool, Error> {
        if candidate.is_trusted {
            return Ok(true);
        }
        let (size, source) = tree.file(candidate.id);
        let content = Content::open(source, &mut self.last_directory)?;
        let layout = candidate.old.layout()?;
        self.last_block.forget();
        let mut at = 0;
        while at < size {
            let length = (size - at).min(COMPARE_BYTES) as usize;
            self.new.resize(length, 0);
            self.old.resize(length, 0);
            let new = content.read(&mut self.new, at)?;
            let reader = candidate.old.reader();
            reader.read_at(&layout, &mut self.last_block, &mut self.old, at)?;
            if *new != *self.old {
                return Ok(false);
            }
            at += length as u64;
        }
        content.check_unchanged(size)?;
        Ok(true)
    }
}
