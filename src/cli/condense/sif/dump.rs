//! Responsible for `condense sif dump`.

use std::path::PathBuf;

use clap::Args;
use condense_image::Sif;
use condense_publish::{Existing, Output};

use super::Context;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The SIF
    #[arg(value_name = "FILE.sif")]
    path: PathBuf,
    /// The object's number
    #[arg(value_name = "ID")]
    id: u32,
    /// Write to this file, which must not be there yet
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<()> {
    let cwd = &context.env_vars.cwd;
    let sif = Sif::open(cwd.join(&arguments.path))?;
    let object = sif.object(arguments.id)?;
    let Some(output) = &arguments.output else {
        return Ok(sif.copy_to(object, &mut context.console.bytes())?);
    };
    let path = cwd.join(output);
    // The file gets its name only when it is complete, since half an object would be taken for a
    // whole one.
    let failed = condense_image::Error::from;
    let mut file = Output::create(&path, Existing::Refuse).map_err(failed)?;
    sif.copy_to(object, &mut file)?;
    Ok(file.publish().map_err(failed)?)
}
