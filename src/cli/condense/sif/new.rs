//! Responsible for the verb `condense sif new`.

use std::path::PathBuf;

use clap::Args;
use condense_build::check_image_output;
use condense_image::sif::{SifOptions, SifWriter};
use condense_publish::Existing;

use super::Context;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// File that is created; it must not exist
    #[arg(value_name = "OUT.sif")]
    path: PathBuf,
    /// Maximum number of objects in the SIF
    #[arg(long, value_name = "COUNT", default_value_t = SifOptions::default().slots,
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    slots: u16,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<()> {
    let mut options = SifOptions {
        slots: arguments.slots,
        ..SifOptions::default()
    };
    if let Some(time) = context.env_vars.source_date_epoch()?.map(i64::from) {
        options.created = time;
    }
    let path = context.env_vars.cwd.join(&arguments.path);
    check_image_output(&path, Existing::Refuse, None)?;
    SifWriter::create(&path, &options)?.finish()?;
    if arguments.json {
        let value = serde_json::json!({
            "path": path.to_string_lossy(),
            "slots": arguments.slots,
        });
        context.console.json("sif-new", value);
    }
    Ok(())
}
