//! Responsible for the contents of files: what the workers do.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::Receiver;

use super::Work;
use crate::reader::{Contents, Node, Piece};
use crate::{Error, Reader};

/// What a worker takes at a time.
pub(super) enum Job<'r> {
    /// Files of a few blocks, to be made.
    Small(Vec<(PathBuf, Node)>),
    /// A part of a larger file, which is there with its whole length.
    Part {
        large: Arc<Large>,
        part: Contents<'r>,
        /// Where in the file it goes.
        at: u64,
    },
}

/// A file that several workers fill. Whoever ends the last part sets its attributes.
pub(super) struct Large {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) node: Node,
    pub(super) parts_left: AtomicUsize,
}

/// Works until there are no more jobs. After a failure they are taken and dropped, so that nobody
/// waits for room.
pub(super) fn serve(work: &Work<'_>, reader: &Reader, jobs: Receiver<Job<'_>>) {
    for job in jobs {
        if let Err(error) = work.check().and_then(|()| run(work, reader, job)) {
            work.fail(error);
        }
    }
}

fn run(work: &Work<'_>, reader: &Reader, job: Job<'_>) -> Result<(), Error> {
    match job {
        Job::Small(files) => {
            for (path, node) in files {
                work.check()?;
                let file = work.staging.create_file(&path)?;
                let mut contents = reader.contents(&node)?;
                let ends_in_hole = fill(work, &file, &path, &mut contents, 0)?;
                if ends_in_hole {
                    file.set_len(node.size)
                        .map_err(Error::io("write", work.staging.full(&path)))?;
                }
                let whole = (&file, &*path, &node);
                work.attributes.of_file(work, reader, whole)?;
            }
        }
        Job::Part {
            large,
            mut part,
            at,
        } => {
            fill(work, &large.file, &large.path, &mut part, at)?;
            if large.parts_left.fetch_sub(1, Ordering::AcqRel) == 1 {
                let whole = (&large.file, &*large.path, &large.node);
                work.attributes.of_file(work, reader, whole)?;
            }
        }
    }
    Ok(())
}

/// Writes all pieces from `at` on, and says whether the last was a hole, which writes nothing.
fn fill(
    work: &Work<'_>,
    file: &File,
    path: &std::path::Path,
    contents: &mut Contents<'_>,
    mut at: u64,
) -> Result<bool, Error> {
    let mut ends_in_hole = false;
    while let Some(piece) = contents.next_piece()? {
        work.check()?;
        let len = match piece {
            Piece::Hole(len) => {
                ends_in_hole = true;
                len
            }
            Piece::Bytes(bytes) => {
                ends_in_hole = false;
                file.write_all_at(bytes, at)
                    .map_err(Error::io("write", work.staging.full(path)))?;
                bytes.len()
            }
        };
        at += len as u64;
        if let Some(progress) = &work.options.progress {
            progress(len as u64);
        }
    }
    Ok(ends_in_hole)
}
