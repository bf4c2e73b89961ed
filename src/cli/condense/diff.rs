//! Responsible for the verb `condense diff`, which compares the packages of two installations,
//! generations, images or locks.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use condense_build::contents::{Change, ChangeCounts, Contents, Package, size_difference};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::{
    Context, subject,
    table::{Align, render},
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Older side: an installation (a name in TYKKY_PATH or a directory, with `@N` for generation
    /// N), a .sif, an image or a lock file
    #[arg(value_name = "A")]
    one: PathBuf,
    /// Newer side, in the same forms
    #[arg(value_name = "B")]
    other: PathBuf,
    /// Exit with 1 if the packages differ
    #[arg(long)]
    exit_code: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Compares the packages of both sides and prints the differences.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let (first, one) = subject::load(&arguments.one, context)?;
    let (second, other) = subject::load(&arguments.other, context)?;
    let changes = Change::between(&one, &other);
    if arguments.json {
        let image = |contents: &Contents| contents.image.as_ref().map(|image| image.bytes);
        let value = json!({
            "a": subject::as_json(&first),
            "b": subject::as_json(&second),
            "image_bytes": {"a": image(&one), "b": image(&other)},
            "changes": changes.iter().map(as_json).collect::<Vec<_>>(),
        });
        context.console.json("diff", value);
    } else {
        if !changes.is_empty() {
            context.console.data(&as_text(&changes));
        }
        context.report.info(summary(&changes, &one, &other));
    }
    Ok(if arguments.exit_code && !changes.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn as_text(changes: &[Change]) -> String {
    let columns = [
        Align::Left,
        Align::Left,
        Align::Left,
        Align::Left,
        Align::Left,
        Align::Right,
    ];
    let header = ["", "PACKAGE", "KIND", "A", "B", "SIZE"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for change in changes {
        let package = change.package();
        let [one, other] = change.versions();
        rows.push(vec![
            change.kind().sign().to_string(),
            package
                .map(|package| package.name.clone())
                .unwrap_or_default(),
            package
                .map_or("", |package| package.kind.as_str())
                .to_owned(),
            one,
            other,
            change
                .bytes()
                .map_or_else(|| "-".to_owned(), size_difference),
        ]);
    }
    render(&columns, &rows)
}

fn summary(changes: &[Change], one: &Contents, other: &Contents) -> String {
    let mut text = if changes.is_empty() {
        format!("the same {} packages", other.packages.len())
    } else {
        ChangeCounts::of(changes).to_string()
    };
    if let (Some(one), Some(other)) = (&one.image, &other.image) {
        text.push_str(&format!(
            "; image {} -> {}",
            HumanBytes(one.bytes),
            HumanBytes(other.bytes)
        ));
    }
    text
}

fn as_json(change: &Change) -> Value {
    let side = |package: Option<&Package>| {
        package.map(|package| {
            json!({
                "version": package.version,
                "build": package.build,
                "channel": package.channel,
                "url": package.direct_url,
                "bytes": package.space.map(|space| space.bytes),
            })
        })
    };
    json!({
        "name": change.package().map(|package| &package.name),
        "kind": change.package().map(|package| package.kind.as_str()),
        "change": change.kind().as_str(),
        "a": side(change.before),
        "b": side(change.after),
        "bytes": change.bytes(),
    })
}
