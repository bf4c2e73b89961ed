//! Responsible for the verb `condense image ls`.

use std::{
    io::{self, BufWriter, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use condense_image::Reader;
use condense_image::reader::{Node, NodeKind};
use serde_json::{Value, json};

use super::{Context, open};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Image, or a SIF, whose root file system is used
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// Path in the image; only this path and the paths below it are listed
    #[arg(value_name = "PATH", default_value = "/")]
    inside: PathBuf,
    /// Show mode, owner, size and time as well
    #[arg(short, long)]
    long: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let reader = open(&arguments.path, context)?;
    let (start, node) = reader.locate(&arguments.inside)?.with_context(|| {
        format!(
            "`{}` is not in `{}`",
            arguments.inside.display(),
            reader.path().display()
        )
    })?;
    let mut output = BufWriter::new(context.console.bytes());
    let mut separator = "{\"schema\": \"condense.image-ls/1\", \"entries\": [\n";
    let mut show = |path: &Path, node: &Node| -> anyhow::Result<bool> {
        let written = if arguments.json {
            let value = as_json(&reader, path, node)?;
            let written = write!(output, "{separator}{value}");
            separator = ",\n";
            written
        } else {
            write_line(&mut output, &reader, path, node, arguments.long)?
        };
        is_wanted(written)
    };
    let mut wanted = show(&start, &node)?;
    if node.is_directory() && wanted {
        for item in reader.walk()? {
            let (path, node) = item?;
            if path != start && path.starts_with(&start) {
                wanted = show(&path, &node)?;
                if !wanted {
                    break;
                }
            }
        }
    }
    if wanted && arguments.json {
        is_wanted(writeln!(output, "\n]}}"))?;
    }
    is_wanted(output.flush())?;
    Ok(ExitCode::SUCCESS)
}

/// Returns whether the output is still read. A closed pipe, as in `ls | head`, is no error.
fn is_wanted(written: io::Result<()>) -> anyhow::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("failed to write to standard output"),
    }
}

fn write_line(
    output: &mut impl Write,
    reader: &Reader,
    path: &Path,
    node: &Node,
    long: bool,
) -> anyhow::Result<io::Result<()>> {
    let mut line = Vec::new();
    if long {
        let time = jiff::Timestamp::from_second(node.mtime.into())?;
        let size = match node.kind {
            NodeKind::BlockDevice | NodeKind::CharacterDevice => {
                format!("{:#x}", node.device)
            }
            _ => node.size.to_string(),
        };
        let owner = format!("{}/{}", node.uid, node.gid);
        line.extend(format!("{} {owner:>11} {size:>12} {time} ", mode(node)).bytes());
    }
    line.push(b'/');
    line.extend_from_slice(path.as_os_str().as_bytes());
    if long && node.is_symlink() {
        line.extend_from_slice(b" -> ");
        line.extend_from_slice(reader.read_link(node)?.as_os_str().as_bytes());
    }
    line.push(b'\n');
    Ok(output.write_all(&line))
}

/// Returns the kind and the mode in the format of `ls -l`.
fn mode(node: &Node) -> String {
    let mut text = String::from(match node.kind {
        NodeKind::Directory => "d",
        NodeKind::File => "-",
        NodeKind::Symlink => "l",
        NodeKind::BlockDevice => "b",
        NodeKind::CharacterDevice => "c",
        NodeKind::Fifo => "p",
        NodeKind::Socket => "s",
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = node.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, node.mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn as_json(reader: &Reader, path: &Path, node: &Node) -> anyhow::Result<Value> {
    let mut value = json!({
        "path": format!("/{}", path.to_string_lossy()),
        "kind": kind(node.kind),
        "mode": format!("{:04o}", node.mode),
        "uid": node.uid,
        "gid": node.gid,
        "mtime": node.mtime,
        "inode": node.inode,
        "links": node.nlink,
        "size": node.size,
    });
    if path.to_str().is_none() {
        value["path_bytes"] = hex::encode(path.as_os_str().as_bytes()).into();
    }
    if node.is_symlink() {
        value["target"] = reader.read_link(node)?.to_string_lossy().into();
    }
    if matches!(node.kind, NodeKind::BlockDevice | NodeKind::CharacterDevice) {
        value["device"] = node.device.into();
    }
    let xattrs = reader.xattrs(node)?.into_iter();
    let xattrs: serde_json::Map<String, Value> = xattrs
        .map(|xattr| {
            let name = xattr.name.to_string_lossy().into_owned();
            (name, hex::encode(&xattr.value).into())
        })
        .collect();
    if !xattrs.is_empty() {
        value["xattrs"] = xattrs.into();
    }
    Ok(value)
}

pub(super) fn kind(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Directory => "directory",
        NodeKind::File => "file",
        NodeKind::Symlink => "symlink",
        NodeKind::BlockDevice => "block device",
        NodeKind::CharacterDevice => "character device",
        NodeKind::Fifo => "pipe",
        NodeKind::Socket => "socket",
    }
}
