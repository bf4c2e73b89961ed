//! Responsible for the verb `condense job`, which prints a batch script for a site, and explains
//! each of its values.

mod program;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use condense_diagnostics::counted;
use condense_jobs::{
    Binding, Error, Job, JobSite, Launcher, Request, Scheduler, Setting, SettingKind, TaskOrder,
    TimeLimit,
};
use serde_json::{Value, json};

use super::Context;
use crate::cli::account::find_account;
use crate::cli::site::SiteArguments;

/// Largest number of nodes, tasks, cores or GPUs that an option takes.
const MOST: i64 = 60_000;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  \
    condense job --nodes 4 --site lumi-g image.sif -- train.py --epochs 3\n  \
    condense job --nodes 2 --module my-torch --launcher torchrun -o job.sh -- train.py\n\n\
    COMMAND is a program of the image with its arguments. A script that ends in .py, a word that \
    begins\nwith a hyphen, and `python` start one Python for each rank. Nothing is submitted."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    site: SiteArguments,
    #[command(flatten)]
    wishes: Wishes,
    /// Module whose programs the job runs, as `module load` takes it
    #[arg(long, value_name = "NAME", conflicts_with = "subject")]
    module: Option<String>,
    /// File for the script [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print each value of the script with its reason and its source, instead of the script
    #[arg(long)]
    explain: bool,
    /// Print the script and its values as JSON
    #[arg(long)]
    json: bool,
    /// .sif file, installation, or image of the catalogue
    #[arg(value_name = "SIF|DIR|NAME", required_unless_present = "module")]
    subject: Option<String>,
    /// Program and its arguments, which arrive as they are typed
    #[arg(value_name = "COMMAND", last = true, required = true)]
    command: Vec<String>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the CPU masks with which each task runs on the cores beside its GPU
    Masks(MasksArguments),
}

#[derive(Debug, Args)]
struct MasksArguments {
    #[command(flatten)]
    site: SiteArguments,
    /// Number of cores of each task [default: all that jobs may have]
    #[arg(long, value_name = "N")]
    cores: Option<u32>,
    /// Order of the tasks: that of the GPUs, or that of the groups of cores
    #[arg(long, value_enum, default_value = "gcd")]
    order: Order,
    /// Print the masks as JSON, with the first cores and the GPUs
    #[arg(long)]
    json: bool,
}

/// Options about the nodes and the processes of a job.
#[derive(Debug, Args)]
struct Wishes {
    /// Number of nodes of the job
    #[arg(long, value_name = "N", default_value = "1", value_parser = number(1))]
    nodes: u32,
    /// Partition of Slurm or queue of PBS [default: the first of the usual ones that is right]
    #[arg(long, value_name = "NAME", value_parser = parse_partition)]
    partition: Option<String>,
    /// Time limit: 30 (minutes), 1:30:00 or 1-12:00:00 [default: one hour]
    #[arg(long, value_name = "TIME")]
    time: Option<TimeLimit>,
    /// Project that pays [default: SBATCH_ACCOUNT, else the only project of yours]
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// GPUs on each node [default: all]; 0 for a job without GPUs
    #[arg(long, visible_alias = "gpus-per-node", value_name = "N", value_parser = number(0))]
    gpus: Option<u32>,
    /// Processes on each node [default: one for each GPU]
    #[arg(long, value_name = "N", value_parser = number(1))]
    ntasks_per_node: Option<u32>,
    /// Cores of each task
    #[arg(long, value_name = "N", value_parser = number(1))]
    cpus_per_task: Option<u32>,
    /// Memory on each node in GiB, such as 64G
    #[arg(long, value_name = "SIZE", value_parser = parse_gib)]
    mem: Option<u32>,
    /// Take whole nodes where jobs may share them
    #[arg(long)]
    exclusive: bool,
    /// Program that starts the processes [default: that of the site]
    #[arg(long, value_enum)]
    launcher: Option<LauncherWord>,
    /// CPU masks: in the order of the GPUs, of the groups of cores, or none [default: gcd on whole
    /// nodes]
    #[arg(long, value_enum)]
    binding: Option<BindingWord>,
    /// Name of the job [default: that of the program]
    #[arg(long, value_name = "NAME", value_parser = parse_job_name)]
    name: Option<String>,
    /// Copy the image to the nodes first, with `condense stage`
    #[arg(long)]
    stage: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LauncherWord {
    Srun,
    Torchrun,
    Mpiexec,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    Gcd,
    Ccd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BindingWord {
    Gcd,
    Ccd,
    None,
}

impl From<Order> for TaskOrder {
    fn from(order: Order) -> Self {
        match order {
            Order::Gcd => Self::Gpus,
            Order::Ccd => Self::Groups,
        }
    }
}

/// Returns a parser of numbers that are not smaller than `least`.
fn number(least: i64) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(least..=MOST)
}

/// Parses the name of a partition, or of several that are separated by commas.
fn parse_partition(text: &str) -> Result<String, String> {
    let is_part_of_name = |it: char| it.is_alphanumeric() || "_.-,@".contains(it);
    if text.is_empty() || !text.chars().all(is_part_of_name) {
        return Err("a partition has a name of letters, digits, `_`, `.`, `-` and `@`".to_owned());
    }
    Ok(text.to_owned())
}

/// Parses the name of a job, which is a part of one line of the script.
fn parse_job_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("the name of a job is one line of text".to_owned());
    }
    Ok(text.to_owned())
}

/// Parses a size of memory in whole GiB.
fn parse_gib(text: &str) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    let digits = ["gib", "gb", "g"]
        .iter()
        .find_map(|unit| lower.strip_suffix(unit))
        .unwrap_or(&lower);
    match digits.parse() {
        Ok(size) if size > 0 => Ok(size),
        _ => Err("this is no whole number of GiB such as 64G".to_owned()),
    }
}

impl Wishes {
    fn request(&self) -> Request {
        Request {
            nodes: self.nodes,
            partition: self.partition.clone(),
            time: self.time,
            account: None,
            tasks_per_node: self.ntasks_per_node,
            cpus_per_task: self.cpus_per_task,
            gpus: self.gpus,
            memory_gib: self.mem,
            exclusive: self.exclusive,
            launcher: self.launcher.map(|word| match word {
                LauncherWord::Srun => Launcher::Srun,
                LauncherWord::Torchrun => Launcher::Torchrun,
                LauncherWord::Mpiexec => Launcher::Mpiexec,
            }),
            binding: self.binding.map(|word| match word {
                BindingWord::Gcd => Binding::Masks(TaskOrder::Gpus),
                BindingWord::Ccd => Binding::Masks(TaskOrder::Groups),
                BindingWord::None => Binding::None,
            }),
            name: self.name.clone(),
            stage: None,
        }
    }
}

/// Prints or writes the script, or explains it.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    if let Some(Verb::Masks(arguments)) = &arguments.verb {
        return masks(arguments, context);
    }
    let env_vars = context.env_vars;
    let (catalogue, site) = arguments.site.load(env_vars, context.console)?;
    let program = match (&arguments.module, &arguments.subject) {
        (Some(name), _) => program::of_module(name, &site, context)?,
        (None, subject) => {
            let words = subject.as_deref().context("there is no image")?;
            program::of_subject(words, &catalogue, &site, context)?
        }
    };
    let program = condense_jobs::Program {
        command: arguments.command.clone(),
        ..program
    };
    let mut request = arguments.wishes.request();
    if arguments.wishes.stage {
        let condense = std::env::current_exe().context("failed to find the program itself")?;
        request.stage = Some(condense);
    }
    let of_site = JobSite {
        name: &site.name,
        rules: &site.job,
    };
    // Mistakes in what is asked for come before a question about the project.
    Job::plan(of_site, &request, &program)?;
    let named = arguments.wishes.account.as_deref();
    request.account = find_account(named, &site.job, env_vars, "--account")?;
    let job = Job::plan(of_site, &request, &program)?;
    for note in &job.resources.notes {
        context.report.warning(note);
    }
    show(arguments, &site.name, &request, &job, context)?;
    Ok(ExitCode::SUCCESS)
}

fn show(
    arguments: &Arguments,
    site: &str,
    request: &Request,
    job: &Job,
    context: &Context,
) -> anyhow::Result<()> {
    let text = job.script.render();
    let path = arguments.output.as_ref();
    let path = path.map(|path| context.env_vars.cwd.join(path));
    if let Some(path) = &path {
        condense_publish::write(path, text.as_bytes()).context("failed to write the script")?;
    }
    if arguments.json {
        context
            .console
            .json("job", as_json(site, job, path.as_deref(), &text));
        return Ok(());
    }
    if arguments.explain {
        context.console.data(&explain(&job.settings));
        return Ok(());
    }
    context.report.info(summary(site, job));
    if let Some(account) = &request.account {
        let source = &account.source;
        let name = &account.name;
        context.report.info(format!("account: {name} ({source})"));
    }
    let settings = counted(job.settings.len() as u64, "value");
    context
        .report
        .info(format!("`--explain` gives the reasons of all {settings}"));
    match &path {
        Some(path) => {
            let submit = job.script.scheduler().submit_command();
            let path = path.display();
            context.report.info(format!("wrote {path}, for `{submit}`"));
        }
        None => context.console.data(text.trim_end()),
    }
    Ok(())
}

/// Returns the job in one line.
fn summary(site: &str, job: &Job) -> String {
    let resources = &job.resources;
    let mut text = format!("{site}: ");
    if let Some((name, _)) = &resources.partition {
        text.push_str(&format!("{name}, "));
    }
    text.push_str(&counted(u64::from(resources.nodes), "node"));
    let (each, ranks) = (resources.processes, resources.ranks());
    match resources.gpus {
        0 => text.push_str(&format!(" x {}", counted(u64::from(each), "task"))),
        gpus => text.push_str(&format!(" x {}", counted(u64::from(gpus), "GPU"))),
    }
    text.push_str(&format!(" = {}", counted(u64::from(ranks), "rank")));
    if let Some((masks, _)) = &resources.masks {
        let first = masks.masks.first().map_or("", String::as_str);
        text.push_str(&format!(", masks {first}…"));
    }
    text
}

/// Returns all settings in two lines each, by kind.
fn explain(settings: &[Setting]) -> String {
    let mut lines = Vec::new();
    let mut before: Option<SettingKind> = None;
    for setting in settings {
        if before != Some(setting.kind) {
            let title = match setting.kind {
                SettingKind::Directive => "options for the scheduler",
                SettingKind::Module => "module",
                SettingKind::Variable => "variables",
                SettingKind::Launcher => "options of the launcher",
                SettingKind::Runtime => "options of the container runtime",
            };
            lines.push(format!("{title}:"));
            before = Some(setting.kind);
        }
        lines.push(format!("  {setting}"));
        lines.push(format!("      {} [{}]", setting.reason, setting.source));
    }
    lines.join("\n")
}

fn as_json(site: &str, job: &Job, path: Option<&std::path::Path>, text: &str) -> Value {
    let resources = &job.resources;
    let masks = resources.masks.as_ref();
    json!({
        "site": site,
        "scheduler": job.script.scheduler(),
        "partition": resources.partition.as_ref().map(|(name, _)| name),
        "launcher": resources.launcher,
        "nodes": resources.nodes,
        "tasks_per_node": resources.tasks,
        "ranks": resources.ranks(),
        "gpus_per_node": resources.gpus,
        "masks": masks.map(|(masks, _)| &masks.masks),
        "notes": resources.notes,
        "settings": job.settings,
        "path": path.map(|path| path.to_string_lossy()),
        "script": text,
    })
}

/// Prints the masks of a site.
fn masks(arguments: &MasksArguments, context: &Context) -> anyhow::Result<ExitCode> {
    let (_, site) = arguments.site.load(context.env_vars, context.console)?;
    let groups = site
        .job
        .core_groups
        .as_ref()
        .ok_or_else(|| Error::NoGroups {
            site: site.name.clone(),
        })?;
    let cores = arguments.cores.unwrap_or(groups.most_cores());
    let masks = groups.masks(cores, arguments.order.into())?;
    if arguments.json {
        let value = json!({
            "site": site.name,
            "cores": cores,
            "option": format!("--cpu-bind=mask_cpu:{}", masks.list()),
            "masks": masks.masks,
            "first_cores": masks.first_cores,
            "gpus": masks.gpus,
        });
        context.console.json("job-masks", value);
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.order == Order::Ccd {
        let gpus = masks.gpu_list();
        context.report.info(format!(
            "task 0 has the first cores; `CONDENSE_GPU_ORDER={gpus}` gives each task the GPU beside its cores"
        ));
    }
    if site.job.scheduler == Some(Scheduler::Slurm) {
        let note = "for whole nodes only, with one task for each GPU: `srun --cpu-bind=mask_cpu:…`";
        context.report.info(note);
    }
    context.console.data(&masks.list());
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::parse_gib;

    #[test]
    fn memory_is_in_whole_gib() {
        for (text, expected) in [("64G", Some(64)), ("64", Some(64)), ("480GiB", Some(480))] {
            assert_eq!(parse_gib(text).ok(), expected, "{text}");
        }
        for text in ["", "0", "64M", "1.5G", "-1"] {
            assert!(parse_gib(text).is_err(), "{text}");
        }
    }
}
