//! Responsible for the verbs of `condense image`. Each has a file of its own.

pub(super) mod diff;
mod extract;
mod hot;
mod info;
mod ls;
mod pack;
mod verify;

use std::{path::Path, process::ExitCode};

use clap::{Args, Subcommand};
use condense_image::Reader;

use super::Context;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Pack a directory into an image, alone or into a copy of another image
    Pack(pack::Arguments),
    /// Unpack an image into a new directory
    #[command(visible_alias = "unpack")]
    Extract(extract::Arguments),
    /// List the files of an image
    Ls(ls::Arguments),
    /// Check an image completely: decompress all blocks and compare all tables
    Verify(verify::Arguments),
    /// List the differences between two images; the exit status is 1 if there are any
    Diff(diff::Arguments),
    /// Show the properties of an image: codec, block size, files, bytes
    Info(info::Arguments),
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    match &arguments.verb {
        Verb::Pack(arguments) => pack::run(arguments, context),
        Verb::Extract(arguments) => extract::run(arguments, context),
        Verb::Ls(arguments) => ls::run(arguments, context),
        Verb::Verify(arguments) => verify::run(arguments, context),
        Verb::Diff(arguments) => diff::run(arguments, context),
        Verb::Info(arguments) => info::run(arguments, context),
    }
}

/// Opens an image, or the root file system in a SIF.
fn open(path: &Path, context: &Context) -> anyhow::Result<Reader> {
    Ok(Reader::open(context.env_vars.cwd.join(path))?)
}
