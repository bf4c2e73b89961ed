//! Responsible for inodes: what an entry is, and where its contents lie.

use super::Reader;
use super::metadata::{Cursor, METADATA_LEN, Position};
use crate::Error;

/// Where a fragment's number stands for "there is none".
const NO_FRAGMENT: u32 = u32::MAX;
/// Where an index into the table of extended attributes stands for "there are none".
const NO_XATTRS: u32 = u32::MAX;
/// The longest target of a symbolic link, in bytes. The kernel follows at most 4095, writers allow
/// this much.
const TARGET_LEN_MAX: u32 = 65535;

/// What kind of file a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharacterDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl NodeKind {
    /// The kind of a basic inode's number, which directories use as well.
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

/// An entry of an image without its name: hard links have one node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Permissions, at most `0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When it was last modified, in seconds since 1970.
    pub mtime: u32,
    /// How many names it has; for a directory as its writer counted.
    pub nlink: u32,
    /// The inode's number, the same for all hard links.
    pub inode: u32,
    /// Bytes of a file, or of a link's target; 0 for all else.
    pub size: u64,
    /// The device's number as the kernel encodes it; 0 for all but devices.
    pub device: u32,
    /// Whether it has extended attributes.
    pub has_xattrs: bool,
    /// Their place in the table of them.
    pub(crate) xattrs: u32,
    /// Bytes of a file that are holes, as its writer counted.
    pub(crate) hole_bytes: u64,
    /// Where the inode is: two names of one file share it, whatever number it gives itself.
    pub(crate) reference: u64,
    pub(super) body: Body,
}

impl Node {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == NodeKind::Directory
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == NodeKind::File
    }

    /// Bytes that a copy of a regular file takes: its size without holes, as far as its writer
    /// counted them.
    pub fn allocated_bytes(&self) -> u64 {
        if self.is_file() {
            self.size.saturating_sub(self.hole_bytes)
        } else {
            0
        }
    }

    /// How many blocks of a regular file are listed; its end may lie in a fragment besides.
    pub(super) fn listed_blocks(&self) -> u64 {
        match self.body {
            Body::File { block_count, .. } => block_count,
            _ => 0,
        }
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.kind == NodeKind::Symlink
    }
}

/// Where a node's contents lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    Directory {
        listing: Position,
        listing_len: u32,
    },
    File {
        /// Where its first block lies.
        start: u64,
        block_count: u64,
        /// Where the sizes of its blocks are listed.
        block_sizes: Position,
        /// The fragment that holds its end, and where in it.
        fragment: Option<(u32, u32)>,
    },
    Symlink {
        target: Position,
    },
    Other,
}

impl Reader {
    /// Reads the inode that a directory or the superblock refers to.
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
        // Three bytes more than there are, by the format: for `.` and `..`.
        let listing_len = len.saturating_sub(3);
        let most = bytes_at_most(table.directory_table_end - table.directory_table);
        if u64::from(listing_len) > most {
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
        let most = bytes_at_most(table.directory_table - table.inode_table) / 4;
        if block_count > most {
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

/// The most bytes that a table of metadata can decompress to: each block takes three bytes at
/// least.
pub(super) fn bytes_at_most(table_len: u64) -> u64 {
    (table_len / 3 + 1).saturating_mul(METADATA_LEN as u64)
}
