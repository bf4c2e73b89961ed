//! Responsible for the verbs of `condense cache`, which show and remove files of the cache.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use condense_build::{BlocksChecked, CacheCleaned, CacheCleaning, CacheDirs, CachePart, CacheUse};
use condense_installation::render_time;
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use super::{
    Context,
    table::{Align, render},
};
use crate::cli::{
    block_cache,
    registries::{self, RegistryOptions},
    site::{SiteArguments, site_path},
};

/// Number of files of others that are named after cleaning.
const LEFT_SHOWN: usize = 5;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the directories of the cache and their sizes
    Info(InfoArguments),
    /// Remove files from the cache; files that another process uses stay
    Clean(CleanArguments),
    /// Compare all blocks, unpacked packages and byte code of the caches with their digests
    Verify(InfoArguments),
}

#[derive(Debug, Args)]
struct InfoArguments {
    #[command(flatten)]
    site: SiteArguments,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Without --packages, --images, --index and --blocks, all parts are cleaned. Do not clean packages while a build runs."
)]
struct CleanArguments {
    /// Remove archives of conda packages
    #[arg(long)]
    packages: bool,
    /// Remove layers and finished images of registries
    #[arg(long)]
    images: bool,
    /// Remove indices of conda channels
    #[arg(long)]
    index: bool,
    /// Remove compressed blocks and unpacked packages of earlier builds
    #[arg(long)]
    blocks: bool,
    /// Only files that were not used for this time: a number with m, h, d or w
    #[arg(long, value_name = "TIME", value_parser = duration)]
    older_than: Option<Duration>,
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    site: SiteArguments,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Parses a time such as `30d`, for clap.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number with m, h, d or w, such as 30d".to_owned();
    let number_len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(number_len);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let seconds = number.checked_mul(seconds).ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

/// Shows or cleans the cache.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    match &arguments.verb {
        Verb::Info(arguments) => info(arguments, context),
        Verb::Clean(arguments) => clean(arguments, context),
        Verb::Verify(arguments) => verify(arguments, context),
    }
}

/// Returns the directories that builds use.
fn dirs(site: &SiteArguments, context: &Context) -> anyhow::Result<CacheDirs> {
    let env_vars = context.env_vars;
    let (_, site) = site.load(env_vars, context.console)?;
    let packages = env_vars.cache_dir(site_path(site.cache_dir.as_ref(), env_vars));
    let registries =
        registries::read(RegistryOptions::default(), Some(packages.clone()), env_vars)?;
    let limit = registries
        .cache
        .context("the cache of images is switched off")?;
    let images = limit.dir.parent().unwrap_or(&limit.dir);
    Ok(CacheDirs {
        packages,
        images: images.to_owned(),
        own: env_vars.own_cache_dir(),
        images_max: limit.size_max,
    })
}

fn info(arguments: &InfoArguments, context: &Context) -> anyhow::Result<ExitCode> {
    let dirs = dirs(&arguments.site, context)?;
    let uses = dirs.info();
    let blocks = block_cache::read_all(context.env_vars, dirs.packages.clone())?;
    let blocks_max = blocks.size_max;
    if arguments.json {
        let value = json!({
            "images_max_bytes": dirs.images_max,
            "blocks_max_bytes": blocks_max,
            "parts": uses.iter().map(use_as_json).collect::<Vec<_>>(),
        });
        context.console.json("cache-info", value);
        return Ok(ExitCode::SUCCESS);
    }
    let columns = [
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Left,
        Align::Left,
    ];
    let header = ["PART", "FILES", "SIZE", "OLDEST", "DIRECTORY"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for one in &uses {
        let note = one.note.as_ref();
        let note = note.map_or_else(String::new, |note| format!(" ({note})"));
        rows.push(vec![
            one.part.as_str().to_owned(),
            HumanCount(one.files).to_string(),
            HumanBytes(one.bytes).to_string(),
            one.oldest.map_or_else(|| "-".to_owned(), time),
            format!("{}{note}", one.dir.display()),
        ]);
    }
    context.console.data(&render(&columns, &rows));
    context.report.info(format!(
        "images are removed by themselves above {} (CONDENSE_CACHE_SIZE), blocks above {}{} (CONDENSE_BLOCK_CACHE_SIZE)",
        HumanBytes(dirs.images_max),
        HumanBytes(blocks_max),
        if blocks.is_size_set { "" } else { " or where space is scarce" }
    ));
    Ok(ExitCode::SUCCESS)
}

/// Returns the date of a time.
fn time(time: SystemTime) -> String {
    render_time(seconds(time))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn use_as_json(one: &CacheUse) -> Value {
    json!({
        "part": one.part.as_str(),
        "dir": one.dir.to_string_lossy(),
        "files": one.files,
        "bytes": one.bytes,
        "oldest": one.oldest.map(seconds),
        "note": one.note,
    })
}

fn clean(arguments: &CleanArguments, context: &Context) -> anyhow::Result<ExitCode> {
    let wanted = [
        (arguments.packages, CachePart::Packages),
        (arguments.images, CachePart::Images),
        (arguments.index, CachePart::Index),
        (arguments.blocks, CachePart::Blocks),
    ];
    let named: Vec<CachePart> = wanted
        .into_iter()
        .filter_map(|(is_wanted, part)| is_wanted.then_some(part))
        .collect();
    let cleaned = dirs(&arguments.site, context)?.clean(&CacheCleaning {
        parts: if named.is_empty() {
            CachePart::ALL.to_vec()
        } else {
            named
        },
        older_than: arguments.older_than,
        dry_run: arguments.dry_run,
    })?;
    let is_done = cleaned.iter().all(|one| one.problem.is_none());
    let code = ExitCode::from(u8::from(!is_done));
    if arguments.json {
        let value = json!({
            "dry_run": arguments.dry_run,
            "parts": cleaned.iter().map(cleaned_as_json).collect::<Vec<_>>(),
        });
        context.console.json("cache-clean", value);
        return Ok(code);
    }
    let verb = if arguments.dry_run {
        "would remove"
    } else {
        "removed"
    };
    for one in &cleaned {
        match &one.problem {
            Some(problem) => context.report.warning(problem),
            None => context.report.info(cleaned_as_text(one, verb)),
        }
        let (shown, more) = one.left.split_at(one.left.len().min(LEFT_SHOWN));
        for path in shown {
            context.report.info(format!(
                "`{}` stays: condense has not written it",
                path.display()
            ));
        }
        if !more.is_empty() {
            let more = HumanCount(more.len() as u64);
            context.report.info(format!("{more} others stay as well"));
        }
    }
    if cleaned.is_empty() {
        context.report.info("there is nothing in the cache");
    }
    Ok(code)
}

fn cleaned_as_text(one: &CacheCleaned, verb: &str) -> String {
    let mut text = format!(
        "{verb} {} files, {} from {}",
        HumanCount(one.files),
        HumanBytes(one.bytes),
        one.dir.display()
    );
    if one.in_use > 0 {
        text.push_str(&format!("; {} are in use", HumanCount(one.in_use)));
    }
    if one.foreign > 0 {
        text.push_str(&format!(
            "; {} belong to other users",
            HumanCount(one.foreign)
        ));
    }
    text
}

/// Checks the compressed blocks. The result is a failure if something is damaged or not trusted.
fn verify(arguments: &InfoArguments, context: &Context) -> anyhow::Result<ExitCode> {
    let dirs = dirs(&arguments.site, context)?;
    let checked = block_cache::read_all(context.env_vars, dirs.packages)?.verify();
    let is_good = checked.iter().all(|one| one.faults.is_empty());
    let code = ExitCode::from(u8::from(!is_good));
    if arguments.json {
        let value = json!({
            "is_good": is_good,
            "dirs": checked.iter().map(checked_as_json).collect::<Vec<_>>(),
        });
        context.console.json("cache-verify", value);
        return Ok(code);
    }
    for one in &checked {
        for (path, why) in &one.faults {
            context
                .report
                .warning(format!("`{}`: {why}", path.display()));
        }
        let note = one.note.as_ref();
        context.report.info(format!(
            "{} blocks in {} files and {} unpacked packages of {} were compared{}",
            HumanCount(one.blocks),
            HumanCount(one.files),
            HumanCount(one.packages),
            one.dir.display(),
            note.map_or_else(String::new, |note| format!(" ({note})"))
        ));
    }
    if checked.is_empty() {
        context
            .report
            .info("there are neither blocks nor packages in the cache");
    }
    let own_is_bad = |one: &BlocksChecked| one.is_own && !one.faults.is_empty();
    if checked.iter().any(own_is_bad) {
        context.report.info(
            "builds make anew what they cannot use; `condense cache clean --blocks` removes what condense has written",
        );
    }
    Ok(code)
}

fn checked_as_json(one: &BlocksChecked) -> Value {
    let faults = one
        .faults
        .iter()
        .map(|(path, why)| json!({ "path": path.to_string_lossy(), "problem": why }));
    json!({
        "dir": one.dir.to_string_lossy(),
        "is_own": one.is_own,
        "note": one.note,
        "files": one.files,
        "blocks": one.blocks,
        "packages": one.packages,
        "faults": faults.collect::<Vec<_>>(),
    })
}

fn cleaned_as_json(one: &CacheCleaned) -> Value {
    json!({
        "part": one.part.as_str(),
        "dir": one.dir.to_string_lossy(),
        "files": one.files,
        "bytes": one.bytes,
        "in_use": one.in_use,
        "foreign": one.foreign,
        "left": one.left.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        "problem": one.problem,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::duration;

    #[test]
    fn times_have_a_unit() {
        for (text, seconds) in [
            ("30d", 2_592_000),
            ("2w", 1_209_600),
            ("5m", 300),
            ("1h", 3600),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "30", "d", "3x", "-1d", "99999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
