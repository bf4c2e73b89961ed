//! Responsible for images around contents that are in one file already: nothing of the contents is
//! copied or compressed. Such an image is made to be mounted once, not to be kept.

use std::sync::Arc;

use crate::compression::Compression;
use crate::content::Content;
use crate::format::{Format, STORED};
use crate::output::Output;
use crate::placement::{PackedContents, Placement};
use crate::plan::{HotFiles, Plan};
use crate::source::{LastDirectory, Source};
use crate::{BlockSize, Error, Tree, tables};

/// Makes an image of `file`, which has the contents of most files of `tree` already: those whose
/// source is a part of this open file. They stay where they are, without compression. Behind
/// `end_bytes` come all other contents and the tables, and the superblock comes to the front. So no
/// part may be in the first 96 bytes of the file, or behind `end_bytes`. Afterwards, the same tree
/// can still be packed.
///
/// # Errors
/// Returns [`Error::Changed`] for a file that is no longer the one that the scan saw,
/// [`Error::InvalidEntry`] for a part where the image needs room, or [`Error::Io`].
///
/// # Examples
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::{os::unix::fs::FileExt, sync::Arc};
/// use condense_image::{Entry, FileRange, Kind, Reader, Source, Tree, frame};
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("contents");
/// let mut options = fs_err::OpenOptions::new();
/// let file = options.create_new(true).read(true).write(true).open(&path)?;
/// file.file().write_all_at(b"hello", 96)?;
///
/// let file = Arc::new(file);
/// let source = Source::Range(FileRange::new(file.clone(), 96));
/// let kind = Kind::File { size: 5, source };
/// let entry = Entry { mode: 0o644, uid: 0, gid: 0, mtime: 0, links: 1, kind };
/// let mut tree = Tree::new();
/// tree.add_entry("hello.txt", entry)?;
/// frame(&tree, &file, 101)?;
/// assert_eq!(Reader::open_raw(&path)?.superblock().inode_count, 2);
/// # Ok(())
/// # }
/// ```
pub fn frame(tree: &Tree, file: &Arc<fs_err::File>, end_bytes: u64) -> Result<(), Error> {
    let format = Format::new(Compression::None, BlockSize::default());
    let head_bytes = tables::head_bytes(&format);
    let mut output = Output::behind(file, end_bytes.max(head_bytes))?;
    let plan = Plan::new(tree, format.block_size, None, &HotFiles::default());
    let mut contents = PackedContents::new(tree);
    let (mut last_directory, mut buffer) = (LastDirectory::default(), Vec::new());
    for id in plan.large.iter().chain(&plan.small) {
        let (size, source) = tree.file(*id);
        let start = match source {
            Source::Range(range) if range.is_of(file) => {
                let offset = range.offset_bytes();
                let end = offset.checked_add(size);
                if offset < head_bytes || end.is_none_or(|end| end > end_bytes) {
                    return Err(Error::InvalidEntry {
                        path: file.path().to_owned(),
                        problem: format!("{size} bytes at {offset} are in the image's own room"),
                    });
                }
                offset
            }
            _ => {
                let start = output.position();
                let content = Content::open(source, &mut last_directory)?;
                for at in (0..size).step_by(format.block_size.bytes() as usize) {
                    let length = (size - at).min(format.block_size.bytes().into());
                    buffer.resize(length as usize, 0);
                    output.write(content.read(&mut buffer, at)?)?;
                }
                content.check_unchanged(size)?;
                start
            }
        };
        contents.placements[id.index()] = Placement {
            start,
            sizes: stored_sizes(size, format.block_size),
            ..Placement::default()
        };
    }
    let superblock = tables::write_tables(tree, &plan, &contents, &mut output, &format)?;
    output.finish(&superblock)?;
    Ok(())
}

/// Returns the size fields of blocks that are stored without compression. The last one is shorter.
fn stored_sizes(size: u64, block_size: BlockSize) -> Box<[u32]> {
    let block_bytes = u64::from(block_size.bytes());
    let starts = (0..size).step_by(block_bytes as usize);
    let sizes = starts.map(|at| STORED | (size - at).min(block_bytes) as u32);
    sizes.collect()
}
