//! Responsible for the verb `condense doctor`, and for printing the facts of a machine.

mod mpi;

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, value_parser};
use condense_check::doctor::{Health, Starts, judge_servers};
use serde_json::json;

use super::{
    Context,
    check::{Output, status},
};
use crate::cli::{
    base::default_base,
    network::NetworkArguments,
    run_settings,
    site::{SiteArguments, site_path},
};
use condense_build::{self, Examined, ServerPlan};
use condense_catalogue::{Catalogue, Site};
use condense_env_vars::{self as env_vars, EnvVars};

/// Name of the site that is used when no site was detected or named.
const LOCAL: &str = "local";

/// Index of pip if none is configured.
const PYPI: &str = "https://pypi.org/simple/";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Do not ask channels, PyPI and registries
    #[arg(long)]
    offline: bool,
    /// Start two MPI ranks, as jobs do, and measure what they send to each other: in an
    /// installation or a .sif, or with the host's Python and MPI
    #[arg(
        long,
        value_name = "NAME|DIR|SIF",
        num_args = 0..=1,
        conflicts_with = "offline"
    )]
    mpi: Option<Vec<PathBuf>>,
    /// Installation or .sif whose files each start reads: a name in TYKKY_PATH or a path
    #[arg(value_name = "NAME|DIR|SIF", conflicts_with = "mpi")]
    subject: Option<PathBuf>,
    /// Number of processes that start at once on a node [default: one for each processor]
    #[arg(long, value_name = "N", conflicts_with = "mpi", value_parser = value_parser!(u32).range(1..))]
    ranks: Option<u32>,
    #[command(flatten)]
    site: SiteArguments,
    #[command(flatten)]
    output: Output,
}

/// Examines the machine and prints the findings. The exit status is 0 without errors, 1 with
/// errors, and 2 if the examination itself failed.
pub(super) fn run(arguments: &Arguments, context: &Context) -> ExitCode {
    status(examine(arguments, context), context)
}

fn examine(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let env_vars = context.env_vars;
    let (catalogue, site) = arguments.site.load(env_vars, context.console)?;
    if let Some(subject) = &arguments.mpi {
        let subject = subject.first().map(PathBuf::as_path);
        return mpi::examine(subject, &site, arguments.output.is_json(), context);
    }
    let search_path = env_vars.get(env_vars::PATH).unwrap_or_default();
    let examined = Examined {
        runtime: run_settings::runtime(env_vars, &site),
        search_path: OsStr::new(search_path),
        scratch: run_settings::scratch_parent(None, env_vars, &site)?,
        cache: env_vars.cache_dir(site_path(site.cache_dir.as_ref(), env_vars)),
        home: env_vars.home(),
        user: env_vars.get(env_vars::USER).map(str::to_owned),
        site_is_known: site.name != LOCAL,
        starts: starts(arguments, context)?,
    };
    let mut health = condense_build::doctor(&examined, &site.machine());
    health
        .facts
        .extend(binds(env_vars).map(|binds| ("bind mounts", binds)));
    if !arguments.offline {
        ask(&catalogue, &site, context, &mut health)?;
    }
    let facts: serde_json::Map<String, serde_json::Value> = health
        .facts
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    if !arguments.output.is_json() {
        let facts = health.facts.iter();
        let facts = facts.map(|(name, value)| format!("{name:18}{value}"));
        let servers = health.servers.iter();
        let servers = servers.map(|server| format!("{:18}{}", server.role, server.describe()));
        let rows: Vec<String> = facts.chain(servers).collect();
        let end = if health.findings.is_empty() { "" } else { "\n" };
        context.console.data(&format!("{}{end}", rows.join("\n")));
    }
    let about = json!({
        "site": site.name,
        "facts": facts,
        "servers": health.servers,
    });
    arguments
        .output
        .show("doctor", health.findings, about, context)
}

/// Returns the starts of the processes of a job.
fn starts(arguments: &Arguments, context: &Context) -> anyhow::Result<Starts> {
    let env_vars = context.env_vars;
    let subject = arguments.subject.as_ref();
    let subject = subject.map(|name| super::subject::open(name, env_vars));
    let subject = subject.transpose()?;
    let search_path = env_vars.get(env_vars::PATH).unwrap_or_default();
    let home = env_vars.home();
    let starts = condense_build::starts(subject.as_ref(), home.as_deref(), search_path.as_ref());
    Ok(Starts {
        ranks: arguments.ranks,
        records: records(env_vars),
        ..starts
    })
}

/// Returns the directory in which apptainer makes a record for each start, if containers are shared
/// by its own option and the directory is in a home directory that nodes share.
fn records(env_vars: &EnvVars) -> Option<PathBuf> {
    env_vars
        .get(env_vars::APPTAINER_SHARENS)
        .filter(|value| !["0", "false"].contains(value))?;
    let home = env_vars.home()?;
    let dir = env_vars.get(env_vars::APPTAINER_CONFIGDIR);
    let dir = dir.map_or_else(|| home.join(".apptainer"), PathBuf::from);
    (dir.starts_with(&home) && condense_build::is_shared(&home)).then_some(dir)
}

/// Returns the variables with bind mounts that are in force: in each pair, the first one hides the
/// second one, and both pairs add up.
fn binds(env_vars: &EnvVars) -> Option<String> {
    let pairs = [
        [env_vars::APPTAINER_BIND, env_vars::SINGULARITY_BIND],
        [env_vars::APPTAINER_BINDPATH, env_vars::SINGULARITY_BINDPATH],
    ];
    let in_force = pairs.iter().filter_map(|pair| {
        let named = pair
            .iter()
            .find_map(|name| Some((name, env_vars.get_given(name)?)));
        named.map(|(name, value)| format!("{name}={value}"))
    });
    let in_force: Vec<String> = in_force.collect();
    (!in_force.is_empty()).then(|| in_force.join(" "))
}

/// Asks the servers that builds need, and adds their answers.
fn ask(
    catalogue: &Catalogue,
    site: &Site,
    context: &Context,
    health: &mut Health,
) -> anyhow::Result<()> {
    let env_vars = context.env_vars;
    let network = NetworkArguments::default();
    let (settings, packages) =
        run_settings::run_settings(&network, None, env_vars, site, context.console)?;
    if packages.network.offline {
        return Ok(());
    }
    // An image of the catalogue that is a file elsewhere is no reason to fail here.
    let base = catalogue
        .resolve_image(&default_base(site, env_vars)?, site, env_vars)
        .ok();
    let servers = condense_build::ask_servers(&ServerPlan {
        channels: &run_settings::default_channels(env_vars),
        folder: &env_vars.cwd,
        pip_index: pip_index(env_vars),
        base: base.map(|(reference, _)| reference),
        plain_http: settings.registries.access.plain_http,
        packages: &packages,
    })?;
    judge_servers(servers, health);
    Ok(())
}

/// Returns the index that pip uses, by its variables and its files. Returns `None` if pip uses no
/// index.
fn pip_index(env_vars: &EnvVars) -> Option<String> {
    if env_vars.get(env_vars::PIP_NO_INDEX).is_some() {
        return None;
    }
    if let Some(index) = env_vars.get(env_vars::PIP_INDEX_URL) {
        return Some(index.to_owned());
    }
    let home = env_vars.home();
    let files = [
        env_vars
            .get(env_vars::PIP_CONFIG_FILE)
            .map(|path| env_vars.cwd.join(path)),
        env_vars.config_dir().map(|dir| dir.join("pip/pip.conf")),
        home.map(|home| home.join(".pip/pip.conf")),
        Some(PathBuf::from("/etc/pip.conf")),
    ];
    let configured = files.into_iter().flatten().find_map(|file| index_of(&file));
    Some(configured.unwrap_or_else(|| PYPI.to_owned()))
}

/// Returns the index in a configuration file of pip.
fn index_of(file: &Path) -> Option<String> {
    let text = condense_input::read_to_string(file, condense_input::TEXT_MOST).ok()?;
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if ["global", "install", "download"].contains(&section)
            && let Some((key, value)) = line.split_once(['=', ':'])
            && key.trim().replace('_', "-") == "index-url"
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}
