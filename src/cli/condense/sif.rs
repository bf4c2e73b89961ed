//! Responsible for the verbs of `condense sif`. Each has a file of its own.

mod add;
mod delete;
mod dump;
mod inspect;
mod list;
mod new;
mod sign;
mod verify;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use condense_image::Sif;
use condense_image::sif::{DataKind, Header, Link};

use super::Context;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the objects of a SIF
    #[command(visible_alias = "ls")]
    List(list::Arguments),
    /// Show the origin of a SIF: its labels, definition and scripts
    Inspect(inspect::Arguments),
    /// Write the bytes of an object to standard output or a file
    Dump(dump::Arguments),
    /// Create an empty SIF
    New(new::Arguments),
    /// Add an object after all others
    Add(add::Arguments),
    /// Delete objects from a SIF
    Del(delete::Arguments),
    /// Sign the objects of a SIF with an OpenPGP key, as `apptainer sign` does
    Sign(sign::Arguments),
    /// Check all signatures of a SIF; the exit status is 1 unless all are valid and all objects are
    /// signed
    Verify(verify::Arguments),
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    match &arguments.verb {
        Verb::List(arguments) => list::run(arguments, context),
        Verb::Inspect(arguments) => inspect::run(arguments, context),
        Verb::Dump(arguments) => dump::run(arguments, context),
        Verb::New(arguments) => new::run(arguments, context),
        Verb::Add(arguments) => add::run(arguments, context),
        Verb::Del(arguments) => delete::run(arguments, context),
        Verb::Sign(arguments) => sign::run(arguments, context),
        Verb::Verify(arguments) => return verify::run(arguments, context),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the time of a signature in seconds since 1970: `SOURCE_DATE_EPOCH`, else the clock.
fn now(context: &Context) -> anyhow::Result<u32> {
    if let Some(seconds) = context.env_vars.source_date_epoch()? {
        return Ok(seconds);
    }
    let seconds = jiff::Timestamp::now().as_second();
    u32::try_from(seconds).with_context(|| format!("a signature cannot have the time {seconds}"))
}

/// Returns the files of a runtime's keys.
fn key_files(name: &str, context: &Context) -> Vec<PathBuf> {
    crate::cli::definition::key_files(name, context.env_vars)
}

/// Formats a time for users. Returns `None` for [`Header::NO_TIME`].
fn time(seconds: i64) -> Option<String> {
    if seconds == Header::NO_TIME {
        return None;
    }
    let text = jiff::Timestamp::from_second(seconds).map(|time| time.to_string());
    Some(text.unwrap_or_else(|_| format!("{seconds} s since 1970")))
}

/// Warns of the signatures that became invalid because group `group` was changed.
fn warn_of_signatures(sif: &Sif, group: Option<u32>, context: &Context) {
    let Some(group) = group else {
        return;
    };
    for object in sif.descriptors() {
        if object.kind == DataKind::Signature && object.link == Link::Group(group) {
            context.report.warning(format!(
                "the signature {} of group {group} does not hold any more: sign again, and delete it",
                object.id
            ));
        }
    }
}
