//! Responsible for the verb `condense diff`, which compares the packages of two installations,
//! generations, images or locks.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::Args;
use condense_build::contents::{Contents, Package, PackageKind};
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

/// Package that differs between the two sides.
struct Change<'a> {
    one: Option<&'a Package>,
    other: Option<&'a Package>,
}

/// Compares the packages of both sides and prints the differences.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let (first, one) = subject::load(&arguments.one, context)?;
    let (second, other) = subject::load(&arguments.other, context)?;
    let changes = changes(&one, &other);
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

impl Change<'_> {
    /// Returns the name of the kind of change, as in JSON.
    fn kind(&self) -> &'static str {
        match (self.one, self.other) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(one), Some(other)) if one.version != other.version => "version",
            _ => "build",
        }
    }

    fn package(&self) -> Option<&Package> {
        self.other.or(self.one)
    }

    /// Returns the difference in bytes before compression, if both sizes are known.
    fn bytes(&self) -> Option<i64> {
        let bytes = |package: Option<&Package>| match package {
            Some(package) => package
                .space
                .map(|space| i64::try_from(space.bytes).unwrap_or(i64::MAX)),
            None => Some(0),
        };
        Some(bytes(self.other)? - bytes(self.one)?)
    }
}

/// Returns the packages that differ, by name. Packages of the same name and kind in several
/// environments of an image are compared in the order of the environments.
fn changes<'a>(one: &'a Contents, other: &'a Contents) -> Vec<Change<'a>> {
    let mut sides: BTreeMap<(&str, PackageKind), [Vec<&Package>; 2]> = BTreeMap::new();
    for (side, contents) in [one, other].into_iter().enumerate() {
        for package in &contents.packages {
            let key = (package.name.as_str(), package.kind);
            sides.entry(key).or_default()[side].push(package);
        }
    }
    let mut changes = Vec::new();
    for [one, other] in sides.values() {
        for number in 0..one.len().max(other.len()) {
            let change = Change {
                one: one.get(number).copied(),
                other: other.get(number).copied(),
            };
            let is_same = match (change.one, change.other) {
                (Some(one), Some(other)) => {
                    one.version == other.version
                        && one.build == other.build
                        && one.direct_url == other.direct_url
                }
                _ => false,
            };
            if !is_same {
                changes.push(change);
            }
        }
    }
    changes
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
        let sign = match change.kind() {
            "added" => "+",
            "removed" => "-",
            _ => "~",
        };
        let with_build = change.kind() == "build";
        let version = |package: Option<&Package>| match package {
            None => "-".to_owned(),
            Some(package) => match (&package.build, &package.direct_url) {
                (Some(build), _) if with_build => format!("{} {build}", package.version),
                (_, Some(url)) if with_build => format!("{} {url}", package.version),
                _ => package.version.clone(),
            },
        };
        let package = change.package();
        rows.push(vec![
            sign.to_owned(),
            package
                .map(|package| package.name.clone())
                .unwrap_or_default(),
            package
                .map_or("", |package| package.kind.as_str())
                .to_owned(),
            version(change.one),
            version(change.other),
            change.bytes().map_or_else(|| "-".to_owned(), signed),
        ]);
    }
    render(&columns, &rows)
}

/// Returns a difference of sizes with its sign.
fn signed(bytes: i64) -> String {
    let sign = match bytes {
        0 => "",
        1.. => "+",
        _ => "-",
    };
    format!("{sign}{}", HumanBytes(bytes.unsigned_abs()))
}

fn summary(changes: &[Change], one: &Contents, other: &Contents) -> String {
    let of = |kinds: &[&str]| {
        let fitting = changes.iter().filter(|one| kinds.contains(&one.kind()));
        fitting.count()
    };
    let mut text = if changes.is_empty() {
        format!("the same {} packages", other.packages.len())
    } else {
        format!(
            "{} added, {} removed, {} changed",
            of(&["added"]),
            of(&["removed"]),
            of(&["version", "build"])
        )
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
        "change": change.kind(),
        "a": side(change.one),
        "b": side(change.other),
        "bytes": change.bytes(),
    })
}
