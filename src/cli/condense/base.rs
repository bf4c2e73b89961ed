//! Responsible for the verb `condense base`, which lists base images and shows their facts.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use condense_base::{BaseFacts, BaseImage};
use indicatif::HumanBytes;
use serde_json::json;

use super::{
    Context,
    table::{self, Align},
};
use crate::cli::site::SiteArguments;
use condense_build::missing_base;
use condense_catalogue::{Found, Query, find};
use condense_diagnostics::{UserError, counted};

#[derive(Debug, Args)]
#[command(
    mut_arg("site", |site| site.global(true)),
    mut_arg("catalogue", |catalogue| catalogue.global(true))
)]
pub(super) struct Arguments {
    #[command(flatten)]
    site: SiteArguments,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the base images of the catalogue and of the site's directories
    Ls,
    /// List the base images that match all words, newest first: those of this machine, then the
    /// known ones of other machines
    Find {
        /// NAME or NAME=VERSION: rocm=6.2 python=3.12 pytorch
        #[arg(required = true)]
        words: Vec<String>,
    },
    /// Show all facts of a base image: from the catalogue, from its name and from its files
    Show {
        /// Image of the catalogue, or a file
        image: String,
    },
    /// Show the facts from the files of an image, without starting a container
    Facts {
        /// File of a SIF or a SquashFS image, or a sandbox directory
        image: String,
    },
    /// List the sites of the catalogue
    Sites,
}

/// Prints the result on standard output. The exit status is 1 if no image was found.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let (catalogue, site) = arguments.site.load(context.env_vars, context.console)?;
    let all = |query: &Query| find(&catalogue, &site, query, context.env_vars);
    let report = context.report;
    match &arguments.verb {
        Verb::Ls => {
            let mut found = all(&Query::default());
            // The images of modules of other machines would hide those that can be used.
            found.retain(|found| !found.is_known_only);
            list("base-ls", &found, arguments.json, context);
            Ok(ExitCode::SUCCESS)
        }
        Verb::Find { words } => {
            let query = Query::parse(words)?;
            let (found, others): (Vec<Found>, Vec<Found>) = all(&Query::default())
                .into_iter()
                .partition(|found| query.matches(found));
            if found.is_empty() {
                return Ok(refuse(&query, &others, arguments.json, context));
            }
            list("base-find", &found, arguments.json, context);
            Ok(ExitCode::SUCCESS)
        }
        Verb::Show { image } => {
            let of_catalogue = all(&Query::default());
            // Another name of a module's image: its file, or NAME/VERSION.
            let location = catalogue.known_location(image);
            let found = of_catalogue
                .iter()
                .find(|found| found.name == *image || location == Some(found.reference.as_str()));
            let (reference, note) = if found.is_some_and(|found| !found.here) {
                (None, None)
            } else {
                let (reference, note) = catalogue.resolve_image(image, &site, context.env_vars)?;
                (
                    Some(found.map_or(reference, |found| found.reference.clone())),
                    note,
                )
            };
            if let Some(note) = note {
                report.warning(note);
            }
            let facts = match &reference {
                Some(reference) => Some(open(reference, context)?.facts()?),
                None => None,
            };
            if arguments.json {
                let value = json!({"image": found, "facts": facts});
                context.console.json("base-show", value);
                return Ok(ExitCode::SUCCESS);
            }
            if let Some(found) = found {
                context.console.data(&describe(found));
            }
            if let Some(facts) = facts {
                context.console.data(&render(&facts));
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Facts { image } => {
            let facts = open(image, context)?.facts()?;
            if arguments.json {
                let value = serde_json::to_value(&facts)?;
                context.console.json("base-facts", value);
            } else {
                context.console.data(&render(&facts));
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Sites => {
            if arguments.json {
                let sites = catalogue.sites();
                let sites = sites.map(|(name, description)| {
                    json!({
                        "name": name,
                        "description": description,
                        "current": name == site.name,
                    })
                });
                let value = json!({"sites": sites.collect::<Vec<_>>(), "current": site});
                context.console.json("base-sites", value);
                return Ok(ExitCode::SUCCESS);
            }
            for (name, description) in catalogue.sites() {
                let mark = if name == site.name { "*" } else { " " };
                context
                    .console
                    .data(&format!("{mark} {name:12} {description}"));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Opens an image that is on this machine.
fn open(reference: &str, context: &Context) -> anyhow::Result<BaseImage> {
    if reference.contains("://") {
        return Ok(BaseImage::open(reference)?);
    }
    let path = context.env_vars.cwd.join(reference);
    if path.symlink_metadata().is_err() {
        bail!(missing_base(reference));
    }
    Ok(BaseImage::open(path)?)
}

/// Prints the images of the command `name`, each on a line.
fn list(name: &str, found: &[Found], json: bool, context: &Context) {
    if json {
        context.console.json(name, json!({"images": found}));
        return;
    }
    let header = ["NAME", "SOFTWARE", "LOCATION"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(found.iter().map(row));
    context
        .console
        .data(&table::render(&[Align::Left; 3], &rows));
}

/// Tells which word of a search without a result excludes which images. Returns the exit status.
fn refuse(query: &Query, images: &[Found], json: bool, context: &Context) -> ExitCode {
    let misses = query.near_misses(images);
    let words = misses.words.iter().map(|one| one.word.as_str());
    let words = words.collect::<Vec<_>>().join(" ");
    let mut text = format!("no base image matches `{words}`");
    for one in &misses.words {
        text.push_str(&format!("\n`{}`: ", one.word));
        text.push_str(&match (one.images, one.versions.first(), &one.similar) {
            (0, Some(_), _) => format!("no image; others have {}", one.versions.join(", ")),
            (0, None, Some(similar)) => format!("no image; did you mean `{similar}`?"),
            (0, None, None) => "no image".to_owned(),
            (images, ..) => counted(images as u64, "image"),
        });
    }
    let hint = match &misses.nearest {
        Some(nearest) => format!(
            "`{}` comes closest: it lacks {}",
            nearest.name,
            nearest.lacks.join(", ")
        ),
        None => "`condense base ls` lists all images".to_owned(),
    };
    if json {
        let mut value = json!(misses);
        value["images"] = json!([]);
        context.console.json("base-find", value);
    }
    let error = UserError::new(text, hint);
    context.console.error(&anyhow::Error::new(error));
    ExitCode::FAILURE
}

fn row(found: &Found) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let entry = &found.entry;
    for (name, version) in [
        ("rocm", &entry.rocm),
        ("cuda", &entry.cuda),
        ("python", &entry.python),
        ("mpi", &entry.mpi),
    ] {
        words.extend(version.as_ref().map(|version| format!("{name}={version}")));
    }
    words.extend(entry.packages.iter().map(|(n, v)| format!("{n}={v}")));
    words.extend(found.variants.iter().cloned());
    if !found.here && !found.reference.contains("://") {
        words.push("(not here)".to_owned());
    }
    if let Some(day) = &entry.until {
        words.push(format!("(until {day})"));
    }
    if entry.retired {
        words.push("(retired)".to_owned());
    }
    if let Some(name) = &entry.replacement {
        words.push(format!("(replaced by {name})"));
    }
    vec![found.name.clone(), words.join(" "), found.reference.clone()]
}

fn describe(found: &Found) -> String {
    let entry = &found.entry;
    let mut rows = vec![("name", found.name.clone())];
    rows.extend(entry.description.clone().map(|text| ("description", text)));
    rows.push(("location", found.reference.clone()));
    if let Some(target) = &found.leads_to {
        rows.push(("leads to", target.display().to_string()));
    }
    if found.moving {
        rows.push((
            "moves",
            "its name may refer to another image later; a build keeps a copy".to_owned(),
        ));
    }
    rows.extend(found.date.clone().map(|date| ("built", date)));
    rows.extend(entry.until.clone().map(|day| ("may be gone after", day)));
    if entry.retired {
        rows.push((
            "retired",
            "the site no longer offers it; the file may be gone".to_owned(),
        ));
    }
    rows.extend(entry.replacement.clone().map(|name| ("replaced by", name)));
    for (name, version) in &entry.packages {
        rows.push((name, version.clone()));
    }
    rows_as_text(&rows)
}

fn render(facts: &BaseFacts) -> String {
    let path =
        |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let distribution = facts
        .distribution
        .as_ref()
        .and_then(|found| found.pretty_name.clone().or_else(|| found.id.clone()));
    let python = facts.python.as_ref().map(|python| {
        let version = python.version.as_deref().unwrap_or("");
        format!("{version} {}", python.path.display())
            .trim()
            .to_owned()
    });
    let conda = facts.conda.as_ref().map(|conda| {
        let python = conda.python.as_deref().unwrap_or("no Python");
        format!("{} ({python})", conda.prefix.display())
    });
    let mpi = facts
        .mpi
        .iter()
        .map(|mpi| format!("{} {}", mpi.soname, mpi.path.display()))
        .collect::<Vec<_>>()
        .join(", ");
    let shell = match (facts.has_bash, facts.has_sh) {
        (true, _) => "/bin/bash",
        (false, true) => "/bin/sh",
        (false, false) => "none",
    };
    let size = facts.size_bytes.map(|bytes| HumanBytes(bytes).to_string());
    let optional = [
        ("architecture", facts.architecture.clone()),
        ("distribution", distribution),
        ("glibc", facts.glibc.clone()),
        ("loader", path(&facts.loader)),
        ("rocm", facts.rocm.clone()),
        ("cuda", facts.cuda.clone()),
        ("python", python),
        ("conda", conda),
        ("WITH_CONDA", facts.with_conda.clone()),
        ("mpi", Some(mpi).filter(|mpi| !mpi.is_empty())),
        ("libfabric", path(&facts.libfabric)),
        ("cxi", path(&facts.cxi)),
        ("plugin", path(&facts.collectives_plugin)),
        ("shell", Some(shell.to_owned())),
        ("size", size),
    ];
    let mut rows: Vec<(&str, String)> = optional
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    for (name, value) in &facts.labels {
        rows.push(("label", format!("{name}: {value}")));
    }
    rows_as_text(&rows)
}

fn rows_as_text(rows: &[(&str, String)]) -> String {
    let rows = rows.iter().map(|(name, value)| format!("{name:18}{value}"));
    rows.collect::<Vec<_>>().join("\n")
}
