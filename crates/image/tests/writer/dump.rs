//! Text dump of an image: the superblock, the fragments and every inode with all its fields.
//!
//! backhand, which shares no code with the packer, decodes inodes, fragments and the superblock;
//! names and extended attributes come from our own reader.

use std::{collections::BTreeMap, fmt::Write as _, fs::File, io::BufReader, path::Path};

use backhand::{Fragment, Squashfs, v4::inode::InodeInner};
use condense_image::Reader;

/// Fragment index of a file without a fragment.
const NO_FRAGMENT: u32 = u32::MAX;
/// Position of a table that an image does not have.
const NO_TABLE: u64 = u64::MAX;

/// Place where a file's content is in the image.
struct Layout {
    size: u64,
    start: u64,
    /// Stored size of each block, and whether it is compressed; a hole has 0 bytes.
    blocks: Vec<(u32, bool)>,
    fragment: u32,
    fragment_offset: u32,
}

/// Returns the dump of the image at this path. The same image gives the same text.
pub(crate) fn dump(path: &Path) -> String {
    let file = BufReader::new(File::open(path).unwrap());
    let image = Squashfs::from_reader(file).unwrap();
    let mut text = String::new();
    write_superblock(&mut text, &image);
    for (number, fragment) in image.fragments.iter().flatten().enumerate() {
        write_fragment(&mut text, number, fragment);
    }
    let reader = Reader::open(path).unwrap();
    let mut nodes = BTreeMap::from([(reader.root().unwrap().inode, reader.root().unwrap())]);
    let mut names: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    names.insert(reader.root().unwrap().inode, vec!["/".to_owned()]);
    for entry in reader.walk().unwrap() {
        let (path, node) = entry.unwrap();
        let name = format!("/{}", path.display());
        names.entry(node.inode).or_default().push(name);
        nodes.insert(node.inode, node);
    }
    assert_eq!(
        names.keys().collect::<Vec<_>>(),
        BTreeMap::from_iter(&image.inodes)
            .into_keys()
            .collect::<Vec<_>>(),
        "the two readers find different inodes"
    );
    for (number, names) in names {
        let inode = &image.inodes[&number];
        let header = &inode.header;
        let (uid, gid) = (
            image.id[usize::from(header.uid)].num,
            image.id[usize::from(header.gid)].num,
        );
        writeln!(text, "\ninode {number}: {}", names.join(" = ")).unwrap();
        writeln!(
            text,
            "  {:?} mode {:04o} uid {uid} gid {gid} mtime {}",
            inode.id, header.permissions, header.mtime
        )
        .unwrap();
        write_inner(&mut text, &inode.inner);
        for xattr in reader.xattrs(&nodes[&number]).unwrap() {
            let value = xattr.value.escape_ascii();
            writeln!(text, "  xattr {} = \"{value}\"", xattr.name.display()).unwrap();
        }
    }
    text
}

fn write_superblock(text: &mut String, image: &Squashfs<'_>) {
    let superblock = &image.superblock;
    let table = |position: u64| {
        if position == NO_TABLE {
            "none".to_owned()
        } else {
            position.to_string()
        }
    };
    let root = format!(
        "{}:{}",
        superblock.root_inode >> 16,
        superblock.root_inode & 0xffff
    );
    let flags = [
        (superblock.inodes_uncompressed(), "inodes stored"),
        (superblock.data_block_stored_uncompressed(), "data stored"),
        (
            superblock.fragments_stored_uncompressed(),
            "fragments stored",
        ),
        (superblock.fragments_are_not_used(), "no fragments"),
        (
            superblock.fragments_are_always_generated(),
            "always fragments",
        ),
        (superblock.data_has_been_deduplicated(), "deduplicated"),
        (superblock.nfs_export_table_exists(), "exportable"),
        (superblock.xattrs_are_stored_uncompressed(), "xattrs stored"),
        (superblock.no_xattrs_in_archive(), "no xattrs"),
        (
            superblock.compressor_options_are_present(),
            "compressor options",
        ),
    ];
    let flags: Vec<&str> = flags
        .into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
        .collect();
    let lines = [
        (
            "version",
            format!("{}.{}", superblock.version_major, superblock.version_minor),
        ),
        ("compressor", format!("{:?}", superblock.compressor)),
        ("options", format!("{:?}", image.compression_options)),
        (
            "flags",
            format!("{:#06x} {}", superblock.flags, flags.join(", ")),
        ),
        (
            "block size",
            format!("{} (2^{})", superblock.block_size, superblock.block_log),
        ),
        ("modification time", superblock.mod_time.to_string()),
        ("inodes", superblock.inode_count.to_string()),
        ("fragments", superblock.frag_count.to_string()),
        (
            "ids",
            format!("{:?}", image.id.iter().map(|id| id.num).collect::<Vec<_>>()),
        ),
        ("root inode", root),
        ("bytes used", superblock.bytes_used.to_string()),
        ("inode table", table(superblock.inode_table)),
        ("directory table", table(superblock.dir_table)),
        ("fragment table", table(superblock.frag_table)),
        ("export table", table(superblock.export_table)),
        ("id table", table(superblock.id_table)),
        ("xattr table", table(superblock.xattr_table)),
    ];
    text.push_str("superblock\n");
    for (name, value) in lines {
        writeln!(text, "  {name:<18} {value}").unwrap();
    }
}

fn write_fragment(text: &mut String, number: usize, fragment: &Fragment) {
    let stored = stored(fragment.size.size(), !fragment.size.uncompressed());
    writeln!(
        text,
        "\nfragment {number}\n  at {}, {stored}",
        fragment.start
    )
    .unwrap();
}

/// Returns the text for the stored size of a block.
fn stored(bytes: u32, is_compressed: bool) -> String {
    match (bytes, is_compressed) {
        (0, _) => "hole".to_owned(),
        (_, true) => format!("{bytes} compressed"),
        (_, false) => format!("{bytes} stored"),
    }
}

fn write_inner(text: &mut String, inner: &InodeInner) {
    let line = match inner {
        InodeInner::BasicDirectory(directory) => format!(
            "links {} listing {}:{} size {} parent {}",
            directory.link_count,
            directory.block_index,
            directory.block_offset,
            directory.file_size,
            directory.parent_inode
        ),
        InodeInner::ExtendedDirectory(directory) => format!(
            "links {} listing {}:{} size {} parent {} index entries {}",
            directory.link_count,
            directory.block_index,
            directory.block_offset,
            directory.file_size,
            directory.parent_inode,
            directory.index_count
        ),
        InodeInner::BasicFile(file) => content(&Layout {
            size: file.file_size.into(),
            start: file.blocks_start.into(),
            blocks: file
                .block_sizes
                .iter()
                .map(|size| (size.size(), !size.uncompressed()))
                .collect(),
            fragment: file.frag_index,
            fragment_offset: file.block_offset,
        }),
        InodeInner::ExtendedFile(file) => format!(
            "links {} holes {} {}",
            file.link_count,
            file.sparse,
            content(&Layout {
                size: file.file_size,
                start: file.blocks_start,
                blocks: file
                    .block_sizes
                    .iter()
                    .map(|size| (size.size(), !size.uncompressed()))
                    .collect(),
                fragment: file.frag_index,
                fragment_offset: file.block_offset,
            })
        ),
        InodeInner::BasicSymlink(link) => {
            format!("links {} -> {}", link.link_count, link.target())
        }
        InodeInner::ExtendedSymlink(link) => {
            format!("links {} -> {}", link.link_count, link.target())
        }
        InodeInner::BasicBlockDevice(device) | InodeInner::BasicCharacterDevice(device) => {
            format!(
                "links {} device {}",
                device.link_count, device.device_number
            )
        }
        InodeInner::ExtendedBlockDevice(device) | InodeInner::ExtendedCharacterDevice(device) => {
            format!(
                "links {} device {}",
                device.link_count, device.device_number
            )
        }
        InodeInner::BasicNamedPipe(node) | InodeInner::BasicSocket(node) => {
            format!("links {}", node.link_count)
        }
        InodeInner::ExtendedNamedPipe(node) | InodeInner::ExtendedSocket(node) => {
            format!("links {}", node.link_count)
        }
    };
    writeln!(text, "  {line}").unwrap();
}

fn content(layout: &Layout) -> String {
    let mut text = format!("size {}", layout.size);
    if !layout.blocks.is_empty() {
        let blocks: Vec<String> = layout
            .blocks
            .iter()
            .map(|(bytes, is_compressed)| stored(*bytes, *is_compressed))
            .collect();
        write!(text, " blocks at {}: {}", layout.start, blocks.join(", ")).unwrap();
    }
    if layout.fragment != NO_FRAGMENT {
        write!(
            text,
            " fragment {} offset {}",
            layout.fragment, layout.fragment_offset
        )
        .unwrap();
    }
    text
}
