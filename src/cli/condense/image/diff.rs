//! Responsible for the verb `condense image diff`.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode};

use clap::Args;
use condense_image::{Aspect, Change, DiffOptions, Difference, diff};
use serde_json::{Value, json};

use super::{Context, ls, open};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// First image, or a SIF, whose root file system is used
    #[arg(value_name = "A")]
    one: PathBuf,
    /// Second image, with which the first one is compared
    #[arg(value_name = "B")]
    other: PathBuf,
    /// Ignore differences of modification times
    #[arg(long)]
    ignore_times: bool,
    /// Ignore differences of owners
    #[arg(long)]
    ignore_owners: bool,
    /// Number of worker threads [default: one for each core]
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Prints the differences. The exit status is 0 if a program sees the same files in both images,
/// and 1 otherwise.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let one = open(&arguments.one, context)?;
    let other = open(&arguments.other, context)?;
    let options = DiffOptions {
        ignore_times: arguments.ignore_times,
        ignore_owners: arguments.ignore_owners,
        threads: arguments.threads,
        cancel: Some(context.report.cancel_flag()),
    };
    let differences = diff(&one, &other, &options)?;
    if arguments.json {
        let values: Vec<Value> = differences.iter().map(as_json).collect();
        let value = json!({"differences": values});
        context.console.json("image-diff", value);
    } else if !differences.is_empty() {
        let lines: Vec<String> = differences.iter().map(as_line).collect();
        context.console.data(&lines.join("\n"));
    }
    Ok(ExitCode::from(u8::from(!differences.is_empty())))
}

pub(in crate::cli::condense) fn as_line(difference: &Difference) -> String {
    let path = difference.path.display();
    match &difference.change {
        Change::Removed => format!("- {path}"),
        Change::Added => format!("+ {path}"),
        Change::Changed(aspects) => {
            let words: Vec<String> = aspects.iter().map(words).collect();
            format!("~ {path}: {}", words.join(", "))
        }
        other => format!("? {path}: {other:?}"),
    }
}

fn words(aspect: &Aspect) -> String {
    let (name, values) = name_and_values(aspect);
    match values {
        None => name.to_owned(),
        Some((a, b)) => format!("{name} {a} -> {b}"),
    }
}

fn name_and_values(aspect: &Aspect) -> (&'static str, Option<(String, String)>) {
    let both = |a: &dyn ToString, b: &dyn ToString| Some((a.to_string(), b.to_string()));
    match aspect {
        Aspect::Kind(a, b) => ("kind", both(&ls::kind(*a), &ls::kind(*b))),
        Aspect::Mode(a, b) => ("mode", both(&format!("{a:04o}"), &format!("{b:04o}"))),
        Aspect::Owner(a, b) => (
            "owner",
            both(&format!("{}/{}", a.0, a.1), &format!("{}/{}", b.0, b.1)),
        ),
        Aspect::Time(a, b) => ("time", both(a, b)),
        Aspect::Links(a, b) => ("links", both(a, b)),
        Aspect::Size(a, b) => ("size", both(a, b)),
        Aspect::Content => ("content", None),
        Aspect::Target(a, b) => ("target", both(&a.display(), &b.display())),
        Aspect::Device(a, b) => ("device", both(a, b)),
        Aspect::Xattrs => ("extended attributes", None),
        _ => ("unknown property", None),
    }
}

pub(in crate::cli::condense) fn as_json(difference: &Difference) -> Value {
    let path = difference.path.to_string_lossy();
    match &difference.change {
        Change::Removed => json!({"path": path, "change": "removed"}),
        Change::Added => json!({"path": path, "change": "added"}),
        Change::Changed(aspects) => {
            let aspects: Vec<Value> = aspects
                .iter()
                .map(|aspect| {
                    let (name, values) = name_and_values(aspect);
                    match values {
                        None => json!({"aspect": name}),
                        Some((a, b)) => json!({"aspect": name, "a": a, "b": b}),
                    }
                })
                .collect();
            json!({"path": path, "change": "changed", "aspects": aspects})
        }
        other => json!({"path": path, "change": format!("{other:?}")}),
    }
}
