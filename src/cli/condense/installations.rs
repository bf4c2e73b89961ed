//! Responsible for the verbs `condense list` and `condense remove`, and for finding installations
//! by name.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::Args;
use condense_installation::{Destination, History, State, remove, render_time};
use indicatif::HumanBytes;
use serde_json::json;

use super::{Context, subject::existing};
use condense_diagnostics::{UserError, counted};
use condense_env_vars::{self as env_vars, EnvVars};

/// Directory below the home directory that has the installations if `TYKKY_PATH` is not set.
const DEFAULT_ROOT: &str = ".tykky";

#[derive(Debug, Args)]
#[command(
    after_help = "Installations are searched in the directories of TYKKY_PATH, else in ~/.tykky."
)]
pub(super) struct ListArguments {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArguments {
    /// Directory of the installation, or its name in a directory of TYKKY_PATH
    #[arg(value_name = "NAME|DIR")]
    dir: PathBuf,
    /// Remove without asking for confirmation
    #[arg(short, long)]
    yes: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Installation that was found.
struct Found {
    name: String,
    dir: PathBuf,
    /// Time and mode of the build, from the receipt.
    built: Option<(u64, String)>,
    /// Size of the visible generation in bytes.
    bytes: Option<u64>,
    by: &'static str,
}

/// Returns the directory of the installation that the user has named. A name with `/` is a path.
/// Other names are searched in the directories of TYKKY_PATH, then in the current directory.
pub(in crate::cli) fn find(name: &Path, env_vars: &EnvVars) -> PathBuf {
    let here = env_vars.cwd.join(name);
    let text = name.to_string_lossy();
    if text.contains('/') || text == "." || text == ".." {
        return here;
    }
    let roots = roots(env_vars).into_iter();
    let mut named = roots.map(|root| root.join(name));
    named.find(|dir| is_installation(dir)).unwrap_or(here)
}

/// Returns the directory of an installation that is made. A name with `/` is a path. Other names
/// are in the first directory of TYKKY_PATH, else in `~/.tykky`.
///
/// # Errors
/// Returns an error if the name is not one of a directory, or if there is no such directory.
pub(super) fn place_of_new(name: &Path, env_vars: &EnvVars) -> anyhow::Result<PathBuf> {
    let text = name.to_string_lossy();
    if text.contains('/') || text == "." || text == ".." {
        return Ok(env_vars.cwd.join(name));
    }
    let is_plain = !text.is_empty() && !text.starts_with(['.', '-']) && !text.contains('@');
    if !is_plain || text.chars().any(char::is_control) {
        bail!(UserError::new(
            format!("`{text}` is not a name of an installation"),
            "names begin with a letter or a digit and have no `@`; with `/`, it is a directory",
        ));
    }
    let Some(root) = roots(env_vars).into_iter().next() else {
        bail!(UserError::new(
            format!("there is no place for `{text}`: neither HOME nor TYKKY_PATH is set"),
            format!("name a directory with `/`, for example `./{text}`"),
        ));
    };
    Ok(root.join(name))
}

/// Returns the names of all installations in the directories of TYKKY_PATH.
pub(in crate::cli) fn names(env_vars: &EnvVars) -> Vec<String> {
    let entries = roots(env_vars)
        .into_iter()
        .filter_map(|root| std::fs::read_dir(root).ok())
        .flatten()
        .flatten();
    entries
        .filter(|entry| is_installation(&entry.path()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn roots(env_vars: &EnvVars) -> Vec<PathBuf> {
    match env_vars.get(env_vars::TYKKY_PATH) {
        Some(list) => std::env::split_paths(list)
            .filter(|root| root != Path::new(""))
            .map(|root| env_vars.cwd.join(root))
            .collect(),
        None => env_vars
            .home()
            .map(|home| home.join(DEFAULT_ROOT))
            .into_iter()
            .collect(),
    }
}

/// Returns whether a directory is an installation, by the same test as `tykky activate`.
fn is_installation(dir: &Path) -> bool {
    dir.join("common.sh").exists() && dir.join("bin").is_dir()
}

/// Prints a table of all installations in the directories of TYKKY_PATH.
pub(super) fn list(arguments: &ListArguments, context: &Context) -> anyhow::Result<ExitCode> {
    let roots = roots(context.env_vars);
    let mut found: Vec<Found> = Vec::new();
    for root in &roots {
        let Ok(entries) = std::fs::read_dir(root) else {
            continue;
        };
        let mut dirs: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|dir| is_installation(dir))
            .collect();
        dirs.sort();
        for dir in dirs {
            found.push(look_at(dir)?);
        }
    }
    if arguments.json {
        let rows: Vec<_> = found
            .iter()
            .map(|found| {
                json!({
                    "name": found.name,
                    "dir": found.dir,
                    "made_by": found.by,
                    "built": found.built.as_ref().map(|built| built.0),
                    "mode": found.built.as_ref().map(|built| &built.1),
                    "bytes": found.bytes,
                })
            })
            .collect();
        context.console.json("list", json!({"installations": rows}));
        return Ok(ExitCode::SUCCESS);
    }
    if found.is_empty() {
        let roots: Vec<String> = roots
            .iter()
            .map(|root| root.display().to_string())
            .collect();
        context.report.info(format!(
            "there are no installations in {}; set TYKKY_PATH to search other directories",
            roots.join(", ")
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let width = found.iter().map(|found| found.name.chars().count()).max();
    let width = width.unwrap_or(0).max(4);
    let mut lines = vec![format!(
        "{:<width$}  {:<8}  {:<8}  {:>10}  {:<20}  {}",
        "NAME", "MADE BY", "MODE", "SIZE", "BUILT", "DIRECTORY"
    )];
    for found in &found {
        let (built, mode) = found.built.as_ref().map_or_else(
            || ("-".to_owned(), "-"),
            |(built, mode)| (render_time(*built), mode.as_str()),
        );
        let bytes = found
            .bytes
            .map_or_else(|| "-".to_owned(), |bytes| HumanBytes(bytes).to_string());
        lines.push(format!(
            "{:<width$}  {:<8}  {mode:<8}  {bytes:>10}  {built:<20}  {}",
            found.name,
            found.by,
            found.dir.display()
        ));
    }
    context.console.data(&lines.join("\n"));
    Ok(ExitCode::SUCCESS)
}

fn look_at(dir: PathBuf) -> anyhow::Result<Found> {
    let name = dir.file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    let (by, built, bytes) =
        if let State::Condense { receipt, .. } = Destination::inspect(&dir)?.state() {
            let generations = History::open(&dir)?.generations()?;
            let visible = generations.iter().find(|generation| generation.is_current);
            let built = receipt
                .as_ref()
                .map(|receipt| (receipt.created, receipt.mode.to_string()));
            ("condense", built, visible.map(|visible| visible.bytes))
        } else {
            let image = std::fs::metadata(dir.join("img.sqfs"));
            ("Tykky", None, image.ok().map(|image| image.len()))
        };
    Ok(Found {
        name,
        dir,
        built,
        bytes,
        by,
    })
}

/// Removes an installation with all its generations.
pub(super) fn remove_one(
    arguments: &RemoveArguments,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let dir = existing(&arguments.dir, "installation", context.env_vars)?;
    let search_path = context.env_vars.get(env_vars::PATH).unwrap_or_default();
    if std::env::split_paths(search_path).any(|entry| entry == dir.join("bin")) {
        bail!(UserError::new(
            format!("`{}` is active: its bin is on PATH", dir.display()),
            "run `tykky deactivate`, or the command from another shell",
        ));
    }
    let removal = remove(&dir)?;
    if !arguments.yes {
        // A question on standard output would spoil the JSON.
        if arguments.json || !std::io::stdin().is_terminal() {
            bail!(UserError::new(
                format!("nobody can be asked whether to remove `{}`", dir.display()),
                "add `--yes`",
            ));
        }
        let question = format!(
            "Remove {} with {}? Jobs that run from it fail when they start another of its programs. [yes/no] ",
            dir.display(),
            counted(removal.generations() as u64, "generation")
        );
        let answer = context
            .console
            .ask(&question)
            .context("cannot read an answer")?;
        if !matches!(answer.as_deref(), Some("y" | "yes" | "Yes" | "YES")) {
            context.report.info("nothing was removed");
            return Ok(ExitCode::FAILURE);
        }
    }
    let generations = removal.generations();
    removal.finish()?;
    if arguments.json {
        let value = json!({"dir": dir, "generations": generations});
        context.console.json("remove", value);
        return Ok(ExitCode::SUCCESS);
    }
    context.report.info(format!("removed {}", dir.display()));
    Ok(ExitCode::SUCCESS)
}
