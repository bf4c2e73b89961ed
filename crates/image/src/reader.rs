//! Responsible for reading images, including damaged ones and those of other programs. Every size
//! and position that an image claims is checked before it costs memory or time.

mod cache;
mod contents;
mod directory;
mod export;
mod layout;
mod metadata;
mod node;
mod resolve;
mod stored;
mod superblock;
mod walk;
mod window;
mod xattrs;
mod zone;

#[cfg(test)]
pub(crate) mod test_image;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use contents::{Contents, Piece};
pub use directory::{Entries, Entry};
pub(crate) use layout::{LastBlock, Layout};
pub use node::{Node, NodeKind};
pub use stored::Stored;
pub use superblock::Superblock;
pub use walk::Walk;

pub use crate::xattr::Xattr;

use crate::Error;
use cache::Cache;
use metadata::{Blocks, Cursor, METADATA_LEN, Position};
use node::Body;
pub(crate) use window::Window;

/// Size of the cache for decompressed fragments, in bytes. The small files of a directory share
/// fragments, so each fragment is needed again soon.
const FRAGMENT_CACHE_BYTES: usize = 8 << 20;

/// Open SquashFS image.
///
/// Nothing is read ahead: opening an image costs a few reads, however large the image is. All
/// methods take `&self` and may be called from many threads at once.
///
/// ```no_run
/// # fn main() -> Result<(), condense_image::Error> {
/// let reader = condense_image::Reader::open("base.sqfs")?;
/// if let Some(node) = reader.resolve("/etc/os-release")? {
///     let text = reader.read(&node, 1 << 16)?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reader {
    blocks: Blocks,
    superblock: Superblock,
    ids: Vec<u32>,
    fragments: Cache<Vec<u8>>,
    /// Positions of the blocks of the fragment table, loaded when the first of them is needed.
    fragment_tables: OnceLock<Vec<u64>>,
}

impl Reader {
    /// Opens an image file. A SIF file is an error.
    pub fn open_raw(path: impl AsRef<Path>) -> Result<Reader, Error> {
        Self::load(Window::open(path.as_ref(), 0, None)?)
    }

    /// Opens an image that is a part of a file, as in a SIF file.
    pub fn open_at(
        path: impl AsRef<Path>,
        offset_bytes: u64,
        length_bytes: u64,
    ) -> Result<Reader, Error> {
        Self::load(Window::open(
            path.as_ref(),
            offset_bytes,
            Some(length_bytes),
        )?)
    }

    /// Opens the image of this length at an offset in an open file.
    pub(crate) fn of_file(
        file: fs_err::File,
        offset_bytes: u64,
        length_bytes: u64,
    ) -> Result<Reader, Error> {
        let path = file.path().to_owned();
        Self::load(Window::of(file, &path, offset_bytes, Some(length_bytes))?)
    }

    fn load(mut window: Window) -> Result<Reader, Error> {
        let superblock = Superblock::load(&window)?;
        window.shorten(superblock.bytes_used)?;
        let blocks = Blocks::new(window, superblock.codec);
        let ids = load_ids(&blocks, &superblock)?;
        let reader = Reader {
            blocks,
            superblock,
            ids,
            fragments: Cache::new(FRAGMENT_CACHE_BYTES),
            fragment_tables: OnceLock::new(),
        };
        if !reader.root()?.is_directory() {
            return Err(reader.corrupt("its root is not a directory"));
        }
        Ok(reader)
    }

    /// Returns the superblock of the image.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Returns the path of the file that was opened.
    pub fn path(&self) -> &Path {
        self.blocks.window.path()
    }

    /// Returns the start of the image in the file, in bytes.
    pub fn offset(&self) -> u64 {
        self.blocks.window.offset()
    }

    /// Returns the root directory.
    pub fn root(&self) -> Result<Node, Error> {
        self.load_node(self.superblock.root)
    }

    /// Returns the node that an entry of a directory refers to.
    pub fn node(&self, entry: &Entry) -> Result<Node, Error> {
        let node = self.load_node(entry.reference)?;
        if node.kind == entry.kind {
            Ok(node)
        } else {
            Err(self.corrupt(format!(
                "`{}` is {:?} by its directory and {:?} by its inode",
                entry.name.display(),
                entry.kind,
                node.kind
            )))
        }
    }

    /// Returns an iterator over the entries of a directory. It is empty for any other node.
    pub fn entries(&self, directory: &Node) -> Entries<'_> {
        Entries::new(self, directory)
    }

    /// Returns all entries of a directory at once.
    pub fn list(&self, directory: &Node) -> Result<Vec<Entry>, Error> {
        self.entries(directory).collect()
    }

    /// Returns an iterator over everything below the root.
    pub fn walk(&self) -> Result<Walk<'_>, Error> {
        Walk::new(self)
    }

    /// Returns a reader of a regular file's content, block by block.
    pub fn contents(&self, file: &Node) -> Result<Contents<'_>, Error> {
        Contents::new(self, file)
    }

    /// Returns the content of a regular file of at most `limit_bytes`.
    pub fn read(&self, file: &Node, limit_bytes: u64) -> Result<Vec<u8>, Error> {
        let mut contents = self.contents(file)?;
        if file.size > limit_bytes {
            return Err(Error::Unsupported {
                path: self.path().to_owned(),
                problem: format!(
                    "inode {} has {} bytes, and at most {limit_bytes} were expected",
                    file.inode, file.size
                ),
            });
        }
        // The buffer grows with the data that is read, not to the claimed size.
        let mut bytes = Vec::new();
        while let Some(block) = contents.next_block()? {
            bytes.extend_from_slice(block);
        }
        Ok(bytes)
    }

    /// Writes the content of a regular file to `output`.
    pub fn read_to(&self, file: &Node, output: &mut dyn Write) -> Result<(), Error> {
        let mut contents = self.contents(file)?;
        while let Some(block) = contents.next_block()? {
            output
                .write_all(block)
                .map_err(Error::io("copy a file out of", self.path()))?;
        }
        Ok(())
    }

    /// Returns the target of a symbolic link.
    pub fn read_link(&self, link: &Node) -> Result<PathBuf, Error> {
        let Body::Symlink { target } = link.body else {
            return Err(self.corrupt(format!("inode {} is not a symbolic link", link.inode)));
        };
        // The size is at most 64 KiB, which is checked when a node is loaded.
        let mut bytes = vec![0; link.size as usize];
        Cursor::new(&self.blocks, target, self.superblock.directory_table).read(&mut bytes)?;
        if bytes.contains(&0) {
            return Err(self.corrupt(format!(
                "the target of symbolic link {} is not a path",
                link.inode
            )));
        }
        Ok(PathBuf::from(OsString::from_vec(bytes)))
    }

    fn id(&self, index: u16) -> Result<u32, Error> {
        self.ids
            .get(usize::from(index))
            .copied()
            .ok_or_else(|| self.corrupt(format!("there is no owner {index}")))
    }

    fn root_position(&self) -> Position {
        Position {
            block: self.superblock.directory_table,
            offset: 0,
        }
    }

    pub(crate) fn corrupt(&self, problem: impl Into<String>) -> Error {
        self.blocks.window.corrupt(problem)
    }
}

/// Returns the list of owners and groups. It has at most 65,535 elements, so all of them are kept
/// in memory.
fn load_ids(blocks: &Blocks, superblock: &Superblock) -> Result<Vec<u32>, Error> {
    let per_block = METADATA_LEN / 4;
    let mut ids = Vec::new();
    for first in (0..usize::from(superblock.id_count)).step_by(per_block) {
        let list_at = superblock.id_table + (first / per_block * 8) as u64;
        let position = Position {
            block: blocks.u64_at(list_at)?,
            offset: 0,
        };
        let mut cursor = Cursor::new(blocks, position, blocks.window.len());
        for _ in first..usize::from(superblock.id_count).min(first + per_block) {
            ids.push(cursor.u32()?);
        }
    }
    Ok(ids)
}
