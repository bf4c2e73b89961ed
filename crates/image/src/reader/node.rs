//! Responsible for reading inodes: the attributes of entries and the positions of their contents.

use super::Reader;
use super::metadata::{Cursor, METADATA_LEN, Position};
use crate::Error;

/// Fragment number that means "no fragment".
const NO_FRAGMENT: u32 = u32::MAX;
/// Index in the table of extended attributes that means "no attributes".
const NO_XATTRS: u32 = u32::MAX;
/// Maximum length of a symbolic link's target, in bytes. The kernel follows targets of at most 4095
/// bytes, but writers allow this length.
const TARGET_LEN_MAX: u32 = 65535;

/// Kind of file that a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// Directory with its entries.
    Directory,
    /// Regular file with content.
    File,
    /// Symbolic link to a path.
    Symlink,
    /// Device with block access.
    BlockDevice,
    /// Device with character access.
    CharacterDevice,
    /// Named pipe (FIFO) without content.
    Fifo,
    /// Name of a Unix domain socket.
    Socket,
}

impl NodeKind {
    /// Returns the kind for the type number of a basic inode, which directories use as well.
    pub(super) fn from_id(id: u16) -> Option<NodeKind> {
        Some(match id {
            1 => NodeKind::Directory,
            2 => NodeKind::File,
            3 => NodeKind::Symlink,
            4 => NodeKind::BlockDevice,
            5 => NodeKind::CharacterDevice,
            6 => NodeKind::Fifo,
            7 => NodeKind::Socket,
            _ => return None,
        })
    }
}

/// Inode of an image. Hard links share one node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// Kind of file that the node is.
    pub kind: NodeKind,
    /// Permission bits, at most `0o7777`.
    pub mode: u16,
    /// User ID of the owner.
    pub uid: u32,
    /// Group ID of the file.
    pub gid: u32,
    /// Time of the last modification, in seconds since 1970.
    pub mtime: u32,
    /// Number of names. For a directory, the number that the writer of the image recorded.
    pub nlink: u32,
    /// Number of the inode, the same for all hard links.
    pub inode: u32,
    /// Size of a file, or length of a link's target, in bytes. It is 0 for all other kinds.
    pub size: u64,
    /// Device number as the kernel encodes it. It is 0 for all kinds but devices.
    pub device: u32,
    /// Whether the node has extended attributes.
    pub has_xattrs: bool,
    /// Index of its extended attributes in their table.
    pub(crate) xattrs: u32,
    /// Number of bytes of a file in holes, as recorded by the writer of the image.
    pub(crate) hole_bytes: u64,
    /// Position of the inode. Two names of one file share it, whatever inode number the inode
    /// claims.
    pub(crate) reference: u64,
    pub(super) body: Body,
}

impl Node {
    /// Returns whether the node is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == NodeKind::Directory
    }

    /// Returns whether the node is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == NodeKind::File
    }

    /// Returns the number of bytes that a copy of a regular file takes: its size without the holes
    /// that the writer of the image recorded.
    pub fn allocated_bytes(&self) -> u64 {
        if self.is_file() {
            self.size.saturating_sub(self.hole_bytes)
        } else {
            0
        }
    }

    /// Returns the number of blocks that the inode of a regular file lists. The end of the file may
    /// also be in a fragment.
    pub(super) fn listed_blocks(&self) -> u64 {
        match self.body {
            Body::File { block_count, .. } => block_count,
            _ => 0,
        }
    }

    /// Returns whether the node is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.kind == NodeKind::Symlink
    }
}

/// Positions of a node's contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    Directory {
        listing: Position,
        listing_len: u32,
    },
    File {
        /// Position of the first block.
        start: u64,
        block_count: u64,
        /// Position of the list of block sizes.
        block_sizes: Position,
        /// Fragment with the last part of the file, and the offset in the fragment.
        fragment: Option<(u32, u32)>,
    },
    Symlink {
        target: Position,
    },
    Other,
}

impl Reader {
    /// Reads the inode at a reference, which comes from a directory or from the superblock.
    pub(crate) fn load_node(&self, reference: u64) -> Result<Node, Error> {
        let table = self.superblock.inode_table;
        let position = Position {
            block: table.saturating_add(reference >> 16),
            offset: (reference & 0xffff) as u16,
        };
        let mut cursor = Cursor::new(&self.blocks, position, self.superblock.directory_table);
        let id = cursor.u16()?;
        let (extended, kind) = match id {
            1..=7 => (false, NodeKind::from_id(id)),
            8..=14 => (true, NodeKind::from_id(id - 7)),
            _ => (false, None),
        };
        let kind = kind.ok_or_else(|| {
            self.corrupt(format!(
                "an inode at {position:?} has the unknown type {id}"
            ))
        })?;
        let mode = cursor.u16()?;
        let uid = self.id(cursor.u16()?)?;
        let gid = self.id(cursor.u16()?)?;
        let mtime = cursor.u32()?;
        let inode = cursor.u32()?;
        let mut node = Node {
            kind,
            mode: mode & 0o7777,
            uid,
            gid,
            mtime,
            nlink: 1,
            inode,
            size: 0,
            device: 0,
            has_xattrs: false,
            xattrs: NO_XATTRS,
            hole_bytes: 0,
            reference,
            body: Body::Other,
        };
        match kind {
            NodeKind::Directory => self.load_directory(&mut node, &mut cursor, extended)?,
            NodeKind::File => self.load_file(&mut node, &mut cursor, extended)?,
            NodeKind::Symlink => {
                node.nlink = cursor.u32()?;
                let len = cursor.u32()?;
                if len == 0 || len > TARGET_LEN_MAX {
                    return Err(self.corrupt(format!(
                        "the target of symbolic link {inode} claims {len} bytes"
                    )));
                }
                node.size = u64::from(len);
                node.body = Body::Symlink {
                    target: cursor.position(),
                };
                if extended {
                    cursor.skip(len)?;
                    node.xattrs = cursor.u32()?;
                }
            }
            NodeKind::BlockDevice | NodeKind::CharacterDevice => {
                node.nlink = cursor.u32()?;
                node.device = cursor.u32()?;
                if extended {
                    node.xattrs = cursor.u32()?;
                }
            }
            NodeKind::Fifo | NodeKind::Socket => {
                node.nlink = cursor.u32()?;
                if extended {
                    node.xattrs = cursor.u32()?;
                }
            }
        }
        node.has_xattrs = node.xattrs != NO_XATTRS;
        Ok(node)
    }

    fn load_directory(
        &self,
        node: &mut Node,
        cursor: &mut Cursor<'_>,
        extended: bool,
    ) -> Result<(), Error> {
        let (block, offset, len);
        if extended {
            node.nlink = cursor.u32()?;
            len = cursor.u32()?;
            block = cursor.u32()?;
            let _parent = cursor.u32()?;
            let _index_count = cursor.u16()?;
            offset = cursor.u16()?;
            node.xattrs = cursor.u32()?;
        } else {
            block = cursor.u32()?;
            node.nlink = cursor.u32()?;
            len = u32::from(cursor.u16()?);
            offset = cursor.u16()?;
        }
        let table = &self.superblock;
        // The format counts three bytes more than there are, for `.` and `..`.
        let listing_len = len.saturating_sub(3);
        let max = bytes_at_most(table.directory_table_end - table.directory_table);
        if u64::from(listing_len) > max {
            return Err(self.corrupt(format!(
                "the directory with inode {} claims {len} bytes",
                node.inode
            )));
        }
        node.body = Body::Directory {
            listing: Position {
                block: table.directory_table.saturating_add(u64::from(block)),
                offset,
            },
            listing_len,
        };
        Ok(())
    }

    fn load_file(
        &self,
        node: &mut Node,
        cursor: &mut Cursor<'_>,
        extended: bool,
    ) -> Result<(), Error> {
        let (start, fragment, fragment_offset);
        if extended {
            start = cursor.u64()?;
            node.size = cursor.u64()?;
            node.hole_bytes = cursor.u64()?;
            node.nlink = cursor.u32()?;
            fragment = cursor.u32()?;
            fragment_offset = cursor.u32()?;
            node.xattrs = cursor.u32()?;
        } else {
            start = u64::from(cursor.u32()?);
            fragment = cursor.u32()?;
            fragment_offset = cursor.u32()?;
            node.size = u64::from(cursor.u32()?);
        }
        let block_size = u64::from(self.superblock.block_size.bytes());
        let has_fragment = fragment != NO_FRAGMENT;
        let block_count = if has_fragment {
            node.size / block_size
        } else {
            node.size.div_ceil(block_size)
        };
        let table = &self.superblock;
        let max = bytes_at_most(table.directory_table - table.inode_table) / 4;
        if block_count > max {
            return Err(self.corrupt(format!(
                "the file with inode {} claims {} bytes",
                node.inode, node.size
            )));
        }
        let tail_len = node.size % block_size;
        node.body = Body::File {
            start,
            block_count,
            block_sizes: cursor.position(),
            fragment: (has_fragment && tail_len > 0).then_some((fragment, fragment_offset)),
        };
        Ok(())
    }
}

/// Returns the maximum number of bytes that a table of metadata can decompress to. Each block takes
/// at least three bytes.
pub(super) fn bytes_at_most(table_len: u64) -> u64 {
    (table_len / 3 + 1).saturating_mul(METADATA_LEN as u64)
}
