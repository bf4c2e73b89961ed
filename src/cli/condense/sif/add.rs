//! Responsible for the verb `condense sif add`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use condense_image::sif::{DataKind, FileSystem, Link, NewObject, PartitionRole, SifWriter};
use condense_image::{Arch, Reader};

use super::{Context, warn_of_signatures};
use condense_diagnostics::UserError;

/// Minimum size of a partition in bytes. Runtimes read this much of a partition to detect its
/// format, and silently ignore a shorter one.
const PARTITION_MIN: u64 = 2048;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Path of the SIF
    #[arg(value_name = "FILE.sif")]
    path: PathBuf,
    /// File with the bytes of the object
    #[arg(value_name = "OBJECT")]
    object: PathBuf,
    /// Type of the object
    #[arg(long = "type", value_name = "TYPE")]
    kind: Kind,
    /// Name of the object [default: the name of the file for json and generic, else none]
    #[arg(long)]
    name: Option<String>,
    /// Group of objects that are signed together, or `none`
    #[arg(long, default_value = "1", value_parser = parse_group)]
    group: Group,
    /// Number of the object to which the new object refers, or `group:N`
    #[arg(long, value_parser = parse_link)]
    link: Option<Link>,
    /// Alignment of the object in the file, in bytes [default: 4096 for partitions, else 1]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    align: Option<u64>,
    /// Role of a partition
    #[arg(long, required_if_eq("kind", "partition"))]
    role: Option<Role>,
    /// Format of a partition
    #[arg(long, value_name = "FORMAT", default_value = "squashfs")]
    fs: Format,
    /// Architecture of a partition's programs [default: the SIF's, else this machine's]
    #[arg(long, value_parser = parse_arch)]
    arch: Option<Arch>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    Deffile,
    Environment,
    Labels,
    Partition,
    Json,
    Generic,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    Primary,
    System,
    Overlay,
    Data,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Squashfs,
    Ext3,
    Raw,
}

#[derive(Debug, Clone, Copy)]
struct Group(Option<u32>);

fn parse_group(text: &str) -> Result<Group, String> {
    if text == "none" {
        return Ok(Group(None));
    }
    let number = text.parse().ok().filter(|number| *number > 0);
    let number = number.ok_or("expected a number from 1, or `none`")?;
    Ok(Group(Some(number)))
}

fn parse_link(text: &str) -> Result<Link, String> {
    let (number, is_group) = match text.strip_prefix("group:") {
        Some(number) => (number, true),
        None => (text, false),
    };
    let number = number.parse().ok().filter(|number| *number > 0);
    let number = number.ok_or("expected an object's number, or `group:` and a group's")?;
    Ok(if is_group {
        Link::Group(number)
    } else {
        Link::Object(number)
    })
}

fn parse_arch(text: &str) -> Result<Arch, String> {
    Arch::from_name(text).ok_or_else(|| "expected a name as `uname -m` prints it".to_owned())
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<()> {
    let cwd = &context.env_vars.cwd;
    let (path, source) = (cwd.join(&arguments.path), cwd.join(&arguments.object));
    let mut writer = SifWriter::open(&path, context.env_vars.source_date_epoch()?.map(i64::from))?;
    let object = object(arguments, &source, writer.arch())?;
    let id = writer.add_file(&object, &source)?;
    let sif = writer.finish()?;
    warn_of_signatures(&sif, arguments.group.0, context);
    if arguments.json {
        let value = serde_json::json!({"path": path.to_string_lossy(), "id": id});
        context.console.json("sif-add", value);
    } else {
        context.console.data(&id.to_string());
    }
    Ok(())
}

fn object(arguments: &Arguments, source: &Path, arch: Option<Arch>) -> anyhow::Result<NewObject> {
    let mut object = match arguments.kind {
        Kind::Partition => partition(arguments, source, arch)?,
        Kind::Deffile => NewObject::new(DataKind::DefinitionFile),
        Kind::Environment => NewObject::new(DataKind::Environment),
        Kind::Labels => NewObject::new(DataKind::Labels),
        Kind::Json => NewObject::new(DataKind::Json),
        Kind::Generic => NewObject::new(DataKind::Generic),
    };
    if let Some(name) = &arguments.name {
        object = object.named(name);
    } else if matches!(arguments.kind, Kind::Json | Kind::Generic) {
        let name = source.file_name().unwrap_or_default();
        object = object.named(name.to_string_lossy());
    }
    if let Some(bytes) = arguments.align {
        object = object.aligned_to(bytes);
    }
    Ok(object
        .in_group(arguments.group.0)
        .linked_to(arguments.link.unwrap_or(Link::None)))
}

fn partition(
    arguments: &Arguments,
    source: &Path,
    arch: Option<Arch>,
) -> anyhow::Result<NewObject> {
    let arch =
        arguments.arch.or(arch).or_else(Arch::host).ok_or_else(|| {
            UserError::new("this machine's architecture has no name", "give --arch")
        })?;
    let role = match arguments.role {
        Some(Role::Primary) => PartitionRole::PrimarySystem,
        Some(Role::System) => PartitionRole::System,
        Some(Role::Overlay) => PartitionRole::Overlay,
        Some(Role::Data) | None => PartitionRole::Data,
    };
    let file_system = match arguments.fs {
        Format::Squashfs => {
            // A broken image is reported now, not when it is mounted.
            Reader::open_raw(source)?;
            let len = fs_err::metadata(source)?.len();
            if len < PARTITION_MIN {
                return Err(UserError::new(
                    format!("`{}` has {len} bytes: runtimes would not see it", source.display()),
                    format!("pad it to {PARTITION_MIN} bytes at least, as `condense image pack` and mksquashfs do"),
                )
                .into());
            }
            FileSystem::SquashFs
        }
        Format::Ext3 => FileSystem::Ext3,
        Format::Raw => FileSystem::Raw,
    };
    Ok(NewObject::partition(file_system, role, arch))
}
