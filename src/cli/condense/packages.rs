//! Responsible for the verb `condense packages`, which lists the packages of an installation, an
//! image or a lock.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use condense_build::contents::{Contents, Package, PackageKind, Space, Subject};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::{
    Context, subject,
    table::{Align, render},
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Installation: a name in TYKKY_PATH or a directory, with `@N` for generation N; a .sif, an
    /// image or a lock file
    #[arg(value_name = "NAME|DIR|SIF|LOCK")]
    subject: PathBuf,
    /// Only packages whose names contain this text
    #[arg(value_name = "TEXT")]
    filter: Option<String>,
    /// Only packages of this kind
    #[arg(long, value_enum, value_name = "KIND")]
    kind: Option<Kind>,
    /// Only packages that the user asked for, without dependencies
    #[arg(long)]
    requested: bool,
    /// Order of the packages
    #[arg(long, value_enum, value_name = "ORDER", default_value = "name")]
    sort: Order,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Installer of the packages that are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Conda,
    Pip,
}

/// Order of the packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    Name,
    Size,
}

/// Prints the packages as a table or as JSON.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let (subject, contents) = subject::load(&arguments.subject, context)?;
    let packages = chosen(arguments, &contents);
    if arguments.json {
        let value = as_json(&subject, &contents, &packages);
        context.console.json("packages", value);
        return Ok(ExitCode::SUCCESS);
    }
    if packages.is_empty() {
        context.report.info(if contents.packages.is_empty() {
            format!("{} has no packages", subject::title(&subject))
        } else {
            "no package fits".to_owned()
        });
        return Ok(ExitCode::SUCCESS);
    }
    context.console.data(&as_text(&subject, &packages));
    context.report.info(summary(&subject, &contents, &packages));
    Ok(ExitCode::SUCCESS)
}

fn chosen<'a>(arguments: &Arguments, contents: &'a Contents) -> Vec<&'a Package> {
    let text = arguments.filter.as_ref().map(|text| text.to_lowercase());
    let mut packages: Vec<&Package> = contents
        .packages
        .iter()
        .filter(|package| {
            let is_of_kind = match arguments.kind {
                Some(Kind::Conda) => package.kind == PackageKind::Conda,
                Some(Kind::Pip) => package.kind == PackageKind::Pip,
                None => true,
            };
            let has_text = text
                .as_ref()
                .is_none_or(|text| package.name.to_lowercase().contains(text));
            is_of_kind && has_text && (!arguments.requested || package.is_requested())
        })
        .collect();
    if arguments.sort == Order::Size {
        packages.sort_by_key(|package| std::cmp::Reverse(package.space.map(|space| space.bytes)));
    }
    packages
}

fn as_text(subject: &Subject, packages: &[&Package]) -> String {
    let several = packages
        .iter()
        .any(|package| package.environment != packages[0].environment);
    let sizes = subject::has_sizes(subject);
    let mut columns = vec![Align::Left; 5];
    let mut header = vec!["PACKAGE", "VERSION", "BUILD", "KIND", "CHANNEL"];
    if sizes {
        columns.extend([Align::Right; 3]);
        header.extend(["FILES", "SIZE", "IN IMAGE"]);
    }
    columns.push(Align::Left);
    header.push("ASKED FOR");
    if several {
        columns.push(Align::Left);
        header.push("ENVIRONMENT");
    }
    let mut rows = vec![header.into_iter().map(str::to_owned).collect()];
    for package in packages {
        let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".to_owned());
        let mut row = vec![
            package.name.clone(),
            package.version.clone(),
            word(&package.build),
            package.kind.as_str().to_owned(),
            word(&package.channel),
        ];
        if sizes {
            let space = package.space.unwrap_or_default();
            row.extend([
                space.files.to_string(),
                HumanBytes(space.bytes).to_string(),
                HumanBytes(space.stored).to_string(),
            ]);
        }
        row.push(package.requested.join(", "));
        if several {
            row.push(format!("/{}", package.environment.display()));
        }
        rows.push(row);
    }
    render(&columns, &rows)
}

fn summary(subject: &Subject, contents: &Contents, packages: &[&Package]) -> String {
    let mut text = format!("{} packages", packages.len());
    if packages.len() < contents.packages.len() {
        text.push_str(&format!(" of {}", contents.packages.len()));
    }
    if subject::has_sizes(subject) {
        let spaces = packages.iter().filter_map(|package| package.space);
        let (bytes, stored) = spaces.fold((0, 0), |(bytes, stored), space| {
            (bytes + space.bytes, stored + space.stored)
        });
        text.push_str(&format!(
            ": {} before compression, {} in the image",
            HumanBytes(bytes),
            HumanBytes(stored)
        ));
    }
    text
}

fn as_json(subject: &Subject, contents: &Contents, packages: &[&Package]) -> Value {
    let packages: Vec<Value> = packages
        .iter()
        .map(|package| package_as_json(package, contents))
        .collect();
    json!({
        "subject": subject::as_json(subject),
        "packages": packages,
    })
}

/// Returns the JSON object about a package.
fn package_as_json(package: &Package, contents: &Contents) -> Value {
    let depends = package.depends.iter().map(|needed| {
        let found = needed.package.map(|index| &contents.packages[index]);
        json!({
            "name": needed.name,
            "versions": needed.versions,
            "package": found.map(|found| &found.name),
        })
    });
    json!({
        "name": package.name,
        "version": package.version,
        "build": package.build,
        "kind": package.kind.as_str(),
        "channel": package.channel,
        "url": package.direct_url,
        "environment": (!package.environment.as_os_str().is_empty())
            .then(|| format!("/{}", package.environment.display())),
        "requested": package.requested,
        "depends": depends.collect::<Vec<_>>(),
        "provides": package.provides,
        "size": package.space.map(space_as_json),
    })
}

/// Returns the JSON object about the space of files.
pub(super) fn space_as_json(space: Space) -> Value {
    json!({
        "files": space.files,
        "bytes": space.bytes,
        "bytes_in_image": space.stored,
    })
}
