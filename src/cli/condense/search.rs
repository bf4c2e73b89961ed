//! Responsible for the verb `condense search`, which looks for packages in channels.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use condense_build::SearchPlan;
use condense_diagnostics::UserError;
use condense_prefix::{Found, FoundPackage};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::{
    Context,
    inputs::check_spec,
    table::{Align, render},
};
use crate::cli::{
    network::NetworkArguments,
    run_settings::{default_channels, run_settings},
    site::SiteArguments,
};

/// Number of versions that are shown without `--all`.
const SHOWN: usize = 10;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Package, with a version if needed: numpy, 'numpy>=2', '*torch*'; `*` and `?` stand for other
    /// letters of the name
    #[arg(value_name = "SPEC")]
    spec: String,
    /// Channel that is searched; may be given several times [default: those of `condense config`,
    /// else conda-forge]
    #[arg(short, long, value_name = "CHANNEL")]
    channel: Vec<String>,
    /// Platform whose packages are searched, besides noarch [default: that of this machine]
    #[arg(long, value_name = "NAME")]
    platform: Option<String>,
    /// Show all versions and all builds
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    site: SiteArguments,
    /// Do not use the network; indices that are not in the cache are an error
    #[arg(long)]
    offline: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Row of the table: a version of a package in a channel, with its newest build.
struct Row<'a> {
    newest: &'a FoundPackage,
    builds: usize,
}

/// Searches the channels and prints what is found.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let env_vars = context.env_vars;
    if !arguments.spec.contains(['*', '?']) {
        check_spec(&arguments.spec, "")?;
    }
    let (_, site) = arguments.site.load(env_vars, context.console)?;
    let network = NetworkArguments {
        offline: arguments.offline,
        ..NetworkArguments::default()
    };
    let (settings, packages) = run_settings(&network, None, env_vars, &site, context.console)?;
    let channels = if arguments.channel.is_empty() {
        default_channels(env_vars)
    } else {
        arguments.channel.clone()
    };
    let plan = SearchPlan {
        spec: &arguments.spec,
        channels: &channels,
        folder: &env_vars.cwd,
        platform: arguments.platform.as_deref(),
        packages: &packages,
        scratch_parent: &settings.scratch_parent,
    };
    let found = condense_build::search(&plan, context.report, context.interrupt)?;
    if found.packages.is_empty() {
        bail!(nothing(&arguments.spec, &found));
    }
    if arguments.json {
        let value = as_json(arguments, &found);
        context.console.json("search", value);
        return Ok(ExitCode::SUCCESS);
    }
    let rows = rows(&found.packages, arguments);
    let all = rows.len();
    let shown = if arguments.all { all } else { all.min(SHOWN) };
    let is_pattern = arguments.spec.contains(['*', '?']);
    let shown = if is_pattern { all } else { shown };
    context.console.data(&as_text(&rows[..shown]));
    if shown < all {
        let more = all - shown;
        context
            .report
            .info(format!("{more} older versions: `--all` shows them"));
    }
    if found.names_left_out > 0 {
        let more = found.names_left_out;
        context
            .report
            .info(format!("{more} more packages: name them more closely"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the rows: one for each package of a pattern, or one for each version of a single
/// package; with `--all` one for each build.
fn rows<'a>(packages: &'a [FoundPackage], arguments: &Arguments) -> Vec<Row<'a>> {
    let is_pattern = arguments.spec.contains(['*', '?']);
    let is_same = |one: &FoundPackage, other: &FoundPackage| {
        one.name == other.name
            && (is_pattern || (one.version == other.version && one.channel == other.channel))
    };
    let mut rows: Vec<Row> = Vec::new();
    for package in packages {
        let known = rows
            .iter_mut()
            .rev()
            .find(|row| !arguments.all && is_same(row.newest, package));
        match known {
            // Only builds of the version that is shown are counted.
            Some(row) => row.builds += usize::from(row.newest.version == package.version),
            None => rows.push(Row {
                newest: package,
                builds: 1,
            }),
        }
    }
    rows
}

fn as_text(rows: &[Row]) -> String {
    let header = ["PACKAGE", "VERSION", "BUILD", "BUILDS", "SIZE", "CHANNEL"];
    let mut table = vec![header.map(str::to_owned).to_vec()];
    for Row { newest, builds } in rows {
        let size = newest.size_bytes;
        table.push(vec![
            newest.name.clone(),
            newest.version.clone(),
            newest.build.clone(),
            builds.to_string(),
            size.map_or_else(|| "-".to_owned(), |bytes| HumanBytes(bytes).to_string()),
            format!("{}/{}", newest.channel, newest.subdir),
        ]);
    }
    let columns = [
        Align::Left,
        Align::Left,
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Left,
    ];
    render(&columns, &table)
}

fn as_json(arguments: &Arguments, found: &Found) -> Value {
    let packages = found.packages.iter().map(|package| {
        json!({
            "name": package.name,
            "version": package.version,
            "build": package.build,
            "channel": package.channel,
            "platform": package.subdir,
            "bytes": package.size_bytes,
            "timestamp": package.timestamp,
            "license": package.license,
            "depends": package.depends,
        })
    });
    json!({
        "spec": arguments.spec,
        "packages": packages.collect::<Vec<_>>(),
        "names_left_out": found.names_left_out,
    })
}

/// Returns the error for a search without result, with a name or versions that exist.
fn nothing(spec: &str, found: &Found) -> UserError {
    /// Number of versions that are named.
    const NAMED: usize = 8;
    let problem = format!("no package matches `{spec}`");
    let versions = &found.other_versions;
    if !versions.is_empty() {
        let named = versions[..versions.len().min(NAMED)].join(", ");
        let more = versions.len().saturating_sub(NAMED);
        let rest = if more > 0 {
            format!(" and {more} older ones")
        } else {
            String::new()
        };
        return UserError::new(problem, format!("there are {named}{rest}"));
    }
    let hint = match &found.similar {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => "search with `*`, or in another channel with `--channel`".to_owned(),
    };
    UserError::new(problem, hint)
}
