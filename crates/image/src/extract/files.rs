//! Responsible for writing the content of files, which is the work of the worker threads.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::Receiver;

use super::ExtractContext;
use crate::reader::{Contents, Node, Piece};
use crate::{Error, Reader};

/// Unit of work of a worker.
pub(super) enum Job<'r> {
    /// Small files, which the worker creates and fills.
    Small(Vec<(PathBuf, Node)>),
    /// Part of a larger file, which already exists with its full length.
    Part {
        large: Arc<LargeFile>,
        part: Contents<'r>,
        /// Position of the part in the file, in bytes.
        at: u64,
    },
}

/// File that several workers fill. The worker that finishes the last part sets the attributes.
pub(super) struct LargeFile {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) node: Node,
    pub(super) parts_left: AtomicUsize,
}

/// Works until there are no more jobs. After a failure the remaining jobs are taken and dropped, so
/// that the sender never blocks on a full queue.
pub(super) fn run_jobs(context: &ExtractContext<'_>, reader: &Reader, jobs: Receiver<Job<'_>>) {
    for job in jobs {
        if let Err(error) = context.check().and_then(|()| run(context, reader, job)) {
            context.fail(error);
        }
    }
}

fn run(context: &ExtractContext<'_>, reader: &Reader, job: Job<'_>) -> Result<(), Error> {
    match job {
        Job::Small(files) => {
            for (path, node) in files {
                context.check()?;
                let file = context.staging.create_file(&path)?;
                let mut contents = reader.contents(&node)?;
                let ends_in_hole = fill(context, &file, &path, &mut contents, 0)?;
                if ends_in_hole {
                    file.set_len(node.size)
                        .map_err(Error::io("write", context.staging.full(&path)))?;
                }
                let attributes = &context.attributes;
                attributes.set_on_file(context, reader, &file, &path, &node)?;
            }
        }
        Job::Part {
            large,
            mut part,
            at,
        } => {
            fill(context, &large.file, &large.path, &mut part, at)?;
            if large.parts_left.fetch_sub(1, Ordering::AcqRel) == 1 {
                let LargeFile {
                    file, path, node, ..
                } = &*large;
                let attributes = &context.attributes;
                attributes.set_on_file(context, reader, file, path, node)?;
            }
        }
    }
    Ok(())
}

/// Writes all pieces from position `at` on. Nothing is written for a hole. Returns whether the last
/// piece was a hole.
fn fill(
    context: &ExtractContext<'_>,
    file: &File,
    path: &std::path::Path,
    contents: &mut Contents<'_>,
    mut at: u64,
) -> Result<bool, Error> {
    let mut ends_in_hole = false;
    while let Some(piece) = contents.next_piece()? {
        context.check()?;
        let len = match piece {
            Piece::Hole(len) => {
                ends_in_hole = true;
                len
            }
            Piece::Bytes(bytes) => {
                ends_in_hole = false;
                file.write_all_at(bytes, at)
                    .map_err(Error::io("write", context.staging.full(path)))?;
                bytes.len()
            }
        };
        at += len as u64;
        if let Some(progress) = &context.options.progress {
            progress(len as u64);
        }
    }
    Ok(ends_in_hole)
}
