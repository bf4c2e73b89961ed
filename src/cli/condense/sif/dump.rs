//! Responsible for the verb `condense sif dump`.

use std::path::PathBuf;

use clap::Args;
use condense_build::check_output;
use condense_image::Sif;
use condense_publish::{Existing, Output};

use super::Context;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Path of the SIF
    #[arg(value_name = "FILE.sif")]
    path: PathBuf,
    /// Number of the object
    #[arg(value_name = "ID")]
    id: u32,
    /// File that is created; it must not exist [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<()> {
    let cwd = &context.env_vars.cwd;
    if let Some(output) = &arguments.output {
        check_output(&cwd.join(output), Existing::Refuse, None)?;
    }
    let sif = Sif::open(cwd.join(&arguments.path))?;
    let object = sif.object(arguments.id)?;
    let Some(output) = &arguments.output else {
        return Ok(sif.copy_to(object, &mut context.console.bytes())?);
    };
    let path = cwd.join(output);
    // The file gets its name only when it is complete, because a partial object could be taken for
    // a complete one.
    let failed = condense_image::Error::from;
    let mut file = Output::create_image(&path, Existing::Refuse).map_err(failed)?;
    sif.copy_to(object, &mut file)?;
    Ok(file.publish().map_err(failed)?)
}
