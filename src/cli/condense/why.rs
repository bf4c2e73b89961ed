//! Responsible for the verb `condense why`, which shows for which requested packages a package was
//! installed.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use condense_build::contents::{Contents, Package, Subject};
use serde_json::{Value, json};

use super::{Context, subject};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Installation: a name in TYKKY_PATH or a directory, with `@N` for generation N; a .sif, an
    /// image or a lock file
    #[arg(value_name = "NAME|DIR|SIF|LOCK")]
    subject: PathBuf,
    /// Name of a package of conda or pip
    #[arg(value_name = "PACKAGE")]
    package: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Shows the shortest chain from each requested package to the package.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let (subject, contents) = subject::load(&arguments.subject, context)?;
    let index = subject::package(&arguments.package, &subject, &contents)?;
    if arguments.json {
        let value = as_json(&subject, &contents, index);
        context.console.json("why", value);
    } else {
        context.console.data(&as_text(&contents, index));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the name, the version and the kind of a package.
pub(super) fn label(package: &Package) -> String {
    let mut text = package.name.clone();
    if !package.version.is_empty() {
        text.push_str(&format!(" {}", package.version));
    }
    if package.kind == condense_build::contents::PackageKind::Pip {
        text.push_str(" (pip)");
    }
    text
}

fn as_text(contents: &Contents, index: usize) -> String {
    let package = &contents.packages[index];
    let mut lines = vec![label(package)];
    if package.is_requested() {
        lines.push(format!("asked for as: {}", package.requested.join(", ")));
    }
    let dependents = contents.dependents(index);
    if !dependents.is_empty() {
        lines.push("needed by:".to_owned());
        lines.extend(dependents.iter().map(|(other, needed)| {
            let needs = format!("{} {}", needed.name, needed.versions);
            let other = label(&contents.packages[*other]);
            format!("  {other} needs {}", needs.trim_end())
        }));
    }
    let chains: Vec<Vec<usize>> = contents.chains_to(index);
    let chains: Vec<&Vec<usize>> = chains.iter().filter(|chain| chain.len() > 1).collect();
    if !chains.is_empty() {
        lines.push("installed for:".to_owned());
        lines.extend(chains.iter().map(|chain| {
            let names: Vec<&str> = chain
                .iter()
                .map(|index| contents.packages[*index].name.as_str())
                .collect();
            format!("  {}", names.join(" -> "))
        }));
    }
    if dependents.is_empty() && !package.is_requested() {
        lines.push("no package needs it, and no request for it is recorded".to_owned());
    }
    lines.join("\n")
}

fn as_json(subject: &Subject, contents: &Contents, index: usize) -> Value {
    let package = &contents.packages[index];
    let dependents = contents.dependents(index);
    let chains = contents.chains_to(index);
    let names = |chain: &Vec<usize>| -> Vec<&str> {
        let packages = chain.iter().map(|index| &contents.packages[*index]);
        packages.map(|package| package.name.as_str()).collect()
    };
    json!({
        "subject": subject::as_json(subject),
        "package": {
            "name": package.name,
            "version": package.version,
            "kind": package.kind.as_str(),
        },
        "requested": package.requested,
        "needed_by": dependents.iter().map(|(other, needed)| json!({
            "name": contents.packages[*other].name,
            "version": contents.packages[*other].version,
            "needs": needed.name,
            "versions": needed.versions,
        })).collect::<Vec<_>>(),
        "chains": chains.iter().map(names).collect::<Vec<_>>(),
    })
}
