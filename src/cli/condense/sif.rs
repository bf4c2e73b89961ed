//! Responsible for the arguments of `condense sif`: one file for each of its verbs.

mod add;
mod delete;
mod dump;
mod inspect;
mod list;
mod new;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use condense_image::Sif;
use condense_image::sif::{DataKind, Header, Link};

use super::Context;
use crate::env_vars;
use crate::report::Refusal;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List what a SIF holds
    #[command(visible_alias = "ls")]
    List(list::Arguments),
    /// Show where a SIF comes from: its labels, definition and scripts
    Inspect(inspect::Arguments),
    /// Write an object's bytes to standard output or a file
    Dump(dump::Arguments),
    /// Make an empty SIF
    New(new::Arguments),
    /// Put an object behind all others
    Add(add::Arguments),
    /// Take objects out
    Del(delete::Arguments),
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    match &arguments.verb {
        Verb::List(arguments) => list::run(arguments, context),
        Verb::Inspect(arguments) => inspect::run(arguments, context),
        Verb::Dump(arguments) => dump::run(arguments, context),
        Verb::New(arguments) => new::run(arguments, context),
        Verb::Add(arguments) => add::run(arguments, context),
        Verb::Del(arguments) => delete::run(arguments, context),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// The time that is stamped on changes, if the user says one.
fn source_date(context: &Context) -> anyhow::Result<Option<i64>> {
    let Some(text) = context.environment.get(env_vars::SOURCE_DATE_EPOCH) else {
        return Ok(None);
    };
    let seconds = text.parse().map_err(|_| {
        Refusal::new(
            format!("SOURCE_DATE_EPOCH `{text}` is not a number of seconds since 1970"),
            "unset it, or set it to the output of `date +%s`",
        )
    })?;
    Ok(Some(seconds))
}

/// A time as people read it; nothing for the one that stands for none.
fn time(seconds: i64) -> Option<String> {
    if seconds == Header::NO_TIME {
        return None;
    }
    let text = jiff::Timestamp::from_second(seconds).map(|time| time.to_string());
    Some(text.unwrap_or_else(|_| format!("{seconds} s since 1970")))
}

/// Says which signatures do not hold once group `group` was changed.
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
