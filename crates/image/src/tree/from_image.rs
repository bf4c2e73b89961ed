//! Responsible for making a tree of an existing image. The contents of files stay in the image.

use std::collections::HashMap;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

use super::{Child, EntryId, Kind, Tree};
use crate::reader::{Node, NodeKind};
use crate::source::ImageFile;
use crate::xattr::Xattr;
use crate::{Error, Reader, Source};

/// Maximum size of all extended attributes of an image, in bytes. Without a bound, thousands of
/// inodes could share a few long values in thousands of combinations.
const XATTR_BYTES_MAX: usize = 64 << 20;

/// Sets of extended attributes that were read, by their index in the image.
#[derive(Default)]
struct Attributes {
    known: HashMap<u32, Arc<[Xattr]>>,
    bytes: usize,
}

impl Tree {
    /// Reads the names and attributes of everything in an image: modes, owners, times, hard links,
    /// devices and extended attributes. Contents stay in the image until the tree is packed. They
    /// are then read, or their blocks are reused.
    pub fn from_image(reader: &Arc<Reader>) -> Result<Tree, Error> {
        let mut tree = Tree::new();
        let mut attributes = Attributes::default();
        let root = reader.root()?;
        describe(&mut tree, EntryId::ROOT, &root);
        attach(&mut tree, EntryId::ROOT, reader, &root, &mut attributes)?;
        // These are the directories from the root to the current position of the walk.
        let mut above = vec![EntryId::ROOT];
        let mut linked: HashMap<u64, EntryId> = HashMap::new();
        for next in reader.walk()? {
            let (path, node) = next?;
            above.truncate(path.components().count());
            let parent = above.last().copied().unwrap_or(EntryId::ROOT);
            let known = if node.is_directory() || node.nlink < 2 {
                None
            } else {
                linked.get(&node.reference).copied()
            };
            let id = if let Some(id) = known {
                tree.entries[id.index()].links += 1;
                id
            } else {
                let id = tree.push(0, kind(reader, &node)?);
                describe(&mut tree, id, &node);
                attach(&mut tree, id, reader, &node, &mut attributes)?;
                if node.nlink > 1 {
                    linked.insert(node.reference, id);
                }
                id
            };
            if node.is_directory() {
                tree.entries[parent.index()].links += 1;
                above.push(id);
            }
            let name = path.file_name().unwrap_or_default().as_bytes().into();
            // The names of a walk ascend, so the list of children stays sorted.
            tree.children_mut(parent).push(Child { name, id });
        }
        Ok(tree)
    }
}

fn kind(reader: &Arc<Reader>, node: &Node) -> Result<Kind, Error> {
    Ok(match node.kind {
        NodeKind::Directory => Kind::Directory(Vec::new()),
        NodeKind::File => Kind::File {
            size: node.size,
            source: Source::Image(ImageFile::new(reader.clone(), node.reference)),
        },
        NodeKind::Symlink => {
            let target = reader.read_link(node)?.into_os_string().into_vec();
            Kind::Symlink(target.into())
        }
        NodeKind::BlockDevice => Kind::BlockDevice(node.device),
        NodeKind::CharacterDevice => Kind::CharacterDevice(node.device),
        NodeKind::Fifo => Kind::Fifo,
        NodeKind::Socket => Kind::Socket,
    })
}

fn describe(tree: &mut Tree, id: EntryId, node: &Node) {
    let entry = &mut tree.entries[id.index()];
    (entry.mode, entry.uid, entry.gid) = (node.mode, node.uid, node.gid);
    entry.mtime = node.mtime;
}

/// Attaches the extended attributes of a node. Nodes that share a set of attributes in the image
/// share it in the tree too.
fn attach(
    tree: &mut Tree,
    id: EntryId,
    reader: &Reader,
    node: &Node,
    attributes: &mut Attributes,
) -> Result<(), Error> {
    if node.has_xattrs {
        let shared = if let Some(shared) = attributes.known.get(&node.xattrs) {
            shared.clone()
        } else {
            let read: Arc<[Xattr]> = reader.xattrs(node)?.into();
            let sizes = read
                .iter()
                .map(|xattr| xattr.name.len() + xattr.value.len());
            attributes.bytes += sizes.sum::<usize>();
            if attributes.bytes > XATTR_BYTES_MAX {
                return Err(reader.corrupt("its extended attributes are too many"));
            }
            attributes.known.insert(node.xattrs, read.clone());
            read
        };
        tree.xattrs.insert(id, shared);
    }
    Ok(())
}
