//! Responsible for the verb `condense sif del`.

use std::path::PathBuf;

use clap::Args;
use condense_image::sif::{DeleteOptions, SifWriter};

use super::{Context, warn_of_signatures};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Path of the SIF
    #[arg(value_name = "FILE.sif")]
    path: PathBuf,
    /// Numbers of the objects
    #[arg(value_name = "ID", required = true)]
    ids: Vec<u32>,
    /// Overwrite the bytes of the objects with zeros
    #[arg(long)]
    wipe: bool,
    /// Truncate the file after its last object
    #[arg(long)]
    compact: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<()> {
    let path = context.env_vars.cwd.join(&arguments.path);
    let mut writer = SifWriter::open(&path, context.env_vars.source_date_epoch()?.map(i64::from))?;
    let mut groups: Vec<Option<u32>> = writer
        .objects()
        .filter(|object| arguments.ids.contains(&object.id))
        .map(|object| object.group)
        .collect();
    let options = DeleteOptions {
        wipe: arguments.wipe,
        compact: arguments.compact,
    };
    for id in &arguments.ids {
        writer.delete(*id, options)?;
    }
    let sif = writer.finish()?;
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        warn_of_signatures(&sif, group, context);
    }
    if arguments.json {
        let value = serde_json::json!({"path": path.to_string_lossy(), "ids": arguments.ids});
        context.console.json("sif-del", value);
    }
    Ok(())
}
