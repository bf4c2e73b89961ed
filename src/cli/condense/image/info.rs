//! Responsible for the verb `condense image info`.

use std::{collections::HashSet, path::PathBuf, process::ExitCode};

use clap::Args;
use condense_image::{HotZone, Reader, reader::NodeKind};
use serde_json::json;

use super::{Context, open};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Image, or a SIF, whose root file system is used
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Numbers of entries in an image by kind. A file with several names counts once.
#[derive(Debug, Default)]
struct Counts {
    files: u64,
    directories: u64,
    symlinks: u64,
    others: u64,
    hard_links: u64,
    bytes: u64,
    /// Files with all their content in the hot zone.
    hot: u64,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let reader = open(&arguments.path, context)?;
    let zone = reader.hot_zone()?;
    let counts = count(&reader, zone)?;
    let superblock = reader.superblock();
    let (codec, block_size) = (superblock.codec.to_string(), superblock.block_size.bytes());
    if arguments.json {
        let value = json!({
            "path": reader.path().to_string_lossy(),
            "offset": reader.offset(),
            "size": superblock.bytes_used,
            "codec": codec,
            "block_size": block_size,
            "created": superblock.created,
            "inodes": superblock.inode_count,
            "fragments": superblock.fragment_count,
            "export_table": superblock.has_export_table(),
            "xattrs": superblock.has_xattrs(),
            "files": counts.files,
            "directories": counts.directories,
            "symlinks": counts.symlinks,
            "others": counts.others,
            "hard_links": counts.hard_links,
            "bytes": counts.bytes,
            "hot_zone": zone.map(|zone| json!({
                "start": reader.offset() + zone.start,
                "bytes": zone.bytes,
                "files": counts.hot,
            })),
        });
        context.console.json("image-info", value);
    } else {
        let yes = |is: bool| if is { "yes" } else { "no" };
        let zone = zone.map_or_else(
            || "none".to_owned(),
            |HotZone { start, bytes }| {
                let start = reader.offset() + start;
                format!("{} files, {bytes} bytes from {start}", counts.hot)
            },
        );
        let created = jiff::Timestamp::from_second(superblock.created.into())?;
        context.console.data(&format!(
            "size: {} bytes\noffset: {}\ncodec: {codec}\nblock size: {block_size}\ncreated: {created}\n\
             inodes: {}\nfragments: {}\nexport table: {}\nextended attributes: {}\n\
             files: {}, {} bytes\nhard links: {}\ndirectories: {}\nsymbolic links: {}\nothers: {}\n\
             hot zone: {zone}",
            superblock.bytes_used,
            reader.offset(),
            superblock.inode_count,
            superblock.fragment_count,
            yes(superblock.has_export_table()),
            yes(superblock.has_xattrs()),
            counts.files,
            counts.bytes,
            counts.hard_links,
            counts.directories,
            counts.symlinks,
            counts.others,
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn count(reader: &Reader, zone: Option<HotZone>) -> anyhow::Result<Counts> {
    let mut counts = Counts {
        directories: 1,
        ..Counts::default()
    };
    let mut linked = HashSet::new();
    for item in reader.walk()? {
        let (_, node) = item?;
        if node.nlink > 1 && !node.is_directory() && !linked.insert(node.inode) {
            counts.hard_links += 1;
            continue;
        }
        match node.kind {
            NodeKind::File => {
                counts.files += 1;
                counts.bytes += node.size;
                if let Some(zone) = zone {
                    counts.hot += u64::from(reader.is_in_zone(&node, zone)?);
                }
            }
            NodeKind::Directory => counts.directories += 1,
            NodeKind::Symlink => counts.symlinks += 1,
            _ => counts.others += 1,
        }
    }
    Ok(counts)
}
