//! Responsible for the verb `condense stage`, which copies images to nodes.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use condense_build::{
    NodeAnswer, NodeStep, Place, SlurmJob, StageSources, StagedCopies, answer_as_node,
    choose_place, clean_stage, stage_here, stage_in_job,
};
use condense_diagnostics::{UserError, counted};
use condense_env_vars::{self as env_vars, EnvVars};
use condense_installation::{NodeCopy, NodeDir, OldCopy};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::{
    Context,
    subject::{existing, open},
};
use crate::cli::site::{SiteArguments, site_path};

#[derive(Debug, Args)]
#[command(
    after_help = "In a batch script of Slurm, all nodes of the job get copies. Wrappers and the commands of \
                  modules\ntake them where CW_STAGE names the same directory."
)]
pub(super) struct Arguments {
    /// Installation: a name in TYKKY_PATH or a directory, with `@N` for generation N; or a .sif
    #[arg(value_name = "NAME|DIR|SIF", required_unless_present = "clean")]
    subject: Option<PathBuf>,
    /// Directory on the node, below which the copies are made [default: CW_STAGE, `SLURM_TMPDIR`,
    /// TMPDIR, the site's or /tmp: the first on a disk of the node, else in its memory]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Copy to this node only, also in a batch script
    #[arg(long)]
    this_node: bool,
    /// Remove copies that no program uses: those of NAME, DIR or SIF, or all
    #[arg(long, conflicts_with = "this_node")]
    clean: bool,
    /// Only show what would be copied, and where
    #[arg(long, conflicts_with = "clean")]
    dry_run: bool,
    #[command(flatten)]
    site: SiteArguments,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Step of the work on a node of a job, for the program itself
    #[arg(long, value_enum, hide = true, requires = "sha256")]
    node_step: Option<StepWord>,
    /// Digest of each file, for the program itself
    #[arg(long, hide = true)]
    sha256: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StepWord {
    Prepare,
    Finish,
    Discard,
}

/// Result of a run on one node or on all nodes of a job.
struct Staged {
    copies: Vec<NodeCopy>,
    made: usize,
    old: Vec<OldCopy>,
    nodes: Vec<NodeAnswer>,
    /// Way in which the bytes have come.
    method: &'static str,
}

/// Copies images to this node, or to all nodes of the job, and prints where they are.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    if arguments.clean {
        return clean(arguments, context);
    }
    let subject = arguments.subject.as_ref().context("there is no subject")?;
    let subject = open(subject, context.env_vars)?;
    let mut sources = StageSources::of(&subject, context.report)?;
    if let Some(step) = arguments.node_step {
        return as_node(step, &mut sources, arguments, context);
    }
    let place = place(arguments, context)?;
    if let Some(doubt) = place.doubt() {
        context.report.warning(doubt);
    }
    let job = job(arguments, context)?;
    if arguments.dry_run {
        preview(&sources, &place, job.as_ref(), arguments, context)?;
        return Ok(ExitCode::SUCCESS);
    }
    let staged = match &job {
        None => {
            let StagedCopies { copies, made, old } =
                stage_here(&sources, &place.path, context.report)?;
            Staged {
                copies,
                made,
                old,
                nodes: Vec::new(),
                method: "copy",
            }
        }
        Some(job) => {
            let here = NodeDir::find(&place.path)?;
            sources.complete(here.as_ref(), context.report)?;
            // The nodes see the same path, but perhaps another working directory.
            let path = std::path::absolute(subject_path(arguments, context)?)?;
            let nodes = stage_in_job(&sources, &path, &place.path, job, context.report)?;
            Staged {
                copies: copies_on_nodes(&sources, &place.path),
                made: nodes.iter().map(|node| node.received + node.copied).sum(),
                old: Vec::new(),
                method: if nodes.iter().any(|node| node.received > 0) {
                    "sbcast"
                } else {
                    "copy"
                },
                nodes,
            }
        }
    };
    show(&staged, &sources, &place, arguments, context);
    Ok(ExitCode::SUCCESS)
}

/// Returns the subject's path, with `@N` behind that of a generation.
fn subject_path(arguments: &Arguments, context: &Context) -> anyhow::Result<PathBuf> {
    let named = arguments.subject.as_ref().context("there is no subject")?;
    let subject = open(named, context.env_vars)?;
    let is_numbered = subject.generation().is_some();
    Ok(match subject.dir() {
        // The generation's own directory stays the same when another one becomes visible.
        Some(_) if is_numbered => {
            let number = subject.generation().unwrap_or_default();
            let mut path = subject.path().as_os_str().to_owned();
            path.push(format!("@{number}"));
            path.into()
        }
        _ => subject.path().to_owned(),
    })
}

/// Returns the paths that the copies have on each node.
fn copies_on_nodes(sources: &StageSources, parent: &Path) -> Vec<NodeCopy> {
    let dir = NodeDir::path_below(parent);
    let copies = sources.files.iter().filter_map(|file| {
        let sha256 = file.sha256.clone()?;
        Some(NodeCopy {
            path: dir.join(&sha256).join(file.file.as_str()),
            sha256,
            size_bytes: file.size_bytes,
        })
    });
    copies.collect()
}

/// Returns the parent of the directory of copies: the one that the user has named, or the first
/// usable one.
fn place(arguments: &Arguments, context: &Context) -> anyhow::Result<Place> {
    let env_vars = context.env_vars;
    if let Some(named) = named_place(arguments, env_vars)? {
        return Ok(Place::of(&named));
    }
    let (_, site) = arguments.site.load(env_vars, context.console)?;
    let of_variable = |name: &str| env_vars.get(name).map(PathBuf::from);
    let candidates: Vec<PathBuf> = [
        of_variable(env_vars::SLURM_TMPDIR),
        of_variable(env_vars::TMPDIR),
        site_path(site.build_tmpdir_base.as_ref(), env_vars),
        Some("/tmp".into()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let place = choose_place(&candidates)?;
    if place.in_memory {
        context.report.info(format!(
            "`{}` is in memory, which the copies take from the job",
            place.path.display()
        ));
    }
    Ok(place)
}

/// Returns the place that an option or a variable names. Wrappers do not look at a relative path in
/// the variable, so it is refused.
fn named_place(arguments: &Arguments, env_vars: &EnvVars) -> anyhow::Result<Option<PathBuf>> {
    if let Some(to) = &arguments.to {
        return Ok(Some(env_vars.cwd.join(to)));
    }
    let Some(stage) = env_vars.get(env_vars::CW_STAGE).map(PathBuf::from) else {
        return Ok(None);
    };
    if stage.is_relative() {
        bail!(UserError::new(
            format!(
                "CW_STAGE is not an absolute path, so wrappers would find no copies there: `{}`",
                stage.display()
            ),
            format!(
                "set it to `{}`, or name the place with `--to`",
                env_vars.cwd.join(&stage).display()
            ),
        ));
    }
    Ok(Some(stage))
}

/// Returns the job whose nodes get copies. Returns `None` outside of batch scripts of Slurm, in the
/// steps of a job, and where the only node of the job is this one.
fn job(arguments: &Arguments, context: &Context) -> anyhow::Result<Option<SlurmJob>> {
    let env_vars = context.env_vars;
    let number = |name: &str| env_vars.get_given(name);
    let (Some(id), None, false) = (
        number(env_vars::SLURM_JOB_ID),
        number(env_vars::SLURM_STEP_ID),
        arguments.this_node,
    ) else {
        return Ok(None);
    };
    let nodes = number(env_vars::SLURM_JOB_NUM_NODES).and_then(|text| text.parse().ok());
    let nodes: u32 = nodes.unwrap_or(1);
    if nodes == 1 && number(env_vars::SLURMD_NODENAME).is_some() {
        return Ok(None);
    }
    let Some(srun) = on_path("srun", env_vars) else {
        bail!(UserError::new(
            format!("the job has {nodes} nodes, and srun is not on PATH"),
            "`--this-node` copies to this node only",
        ));
    };
    Ok(Some(SlurmJob {
        id: id.to_owned(),
        nodes,
        srun,
        sbcast: on_path("sbcast", env_vars),
        condense: std::env::current_exe().context("failed to find the program itself")?,
    }))
}

fn on_path(name: &str, env_vars: &EnvVars) -> Option<PathBuf> {
    std::env::split_paths(env_vars.get(env_vars::PATH).unwrap_or_default())
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|program| program.is_file())
}

/// Does one step on a node of a job. Its error is part of the answer.
fn as_node(
    word: StepWord,
    sources: &mut StageSources,
    arguments: &Arguments,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let step = match word {
        StepWord::Prepare => NodeStep::Prepare,
        StepWord::Finish => NodeStep::Finish,
        StepWord::Discard => NodeStep::Discard,
    };
    let parent = arguments.to.as_ref().context("a step needs --to")?;
    for (file, sha256) in sources.files.iter_mut().zip(&arguments.sha256) {
        file.sha256 = Some(sha256.clone());
    }
    let env_vars = context.env_vars;
    let value = |name: &str| env_vars.get_given(name).unwrap_or("unknown");
    let line = answer_as_node(
        step,
        sources,
        parent,
        value(env_vars::SLURM_JOB_ID),
        value(env_vars::SLURMD_NODENAME),
        context.report,
    );
    context.console.data(&line);
    Ok(ExitCode::SUCCESS)
}

/// Shows what would be copied.
fn preview(
    sources: &StageSources,
    place: &Place,
    job: Option<&SlurmJob>,
    arguments: &Arguments,
    context: &Context,
) -> anyhow::Result<()> {
    let node = NodeDir::find(&place.path)?;
    let is_here = |file| {
        let node = node.as_ref().filter(|_| job.is_none());
        node.is_some_and(|node| node.find_copy(file).is_some())
    };
    let nodes = job.map_or(1, |job| job.nodes);
    if arguments.json {
        let files = sources.files.iter().map(|file| {
            json!({
                "file": file.file.as_str(),
                "source": file.path.to_string_lossy(),
                "bytes": file.size_bytes,
                "sha256": file.sha256,
                "present": is_here(file),
            })
        });
        let files: Vec<Value> = files.collect();
        let value = json!({
            "dry_run": true,
            "stage": place.path.to_string_lossy(),
            "in_memory": place.in_memory,
            "nodes": nodes,
            "method": if job.is_some_and(|job| job.sbcast.is_some()) { "sbcast" } else { "copy" },
            "files": files,
        });
        context.console.json("stage", value);
        return Ok(());
    }
    for file in &sources.files {
        let done = if is_here(file) { "has" } else { "would get" };
        context.report.info(format!(
            "`{}` {done} {} of `{}`",
            place.path.display(),
            HumanBytes(file.size_bytes),
            file.path.display()
        ));
    }
    let on_nodes = counted(u64::from(nodes), "node");
    context.report.info(format!("would copy to {on_nodes}"));
    Ok(())
}

/// Prints the result: for an installation, the directory that `CW_STAGE` names, and for a SIF the
/// path of its copy.
fn show(
    staged: &Staged,
    sources: &StageSources,
    place: &Place,
    arguments: &Arguments,
    context: &Context,
) {
    if arguments.json {
        let names = sources.files.iter().map(|file| file.file.as_str());
        let files: Vec<Value> = names
            .zip(&staged.copies)
            .map(|(name, copy)| as_json(name, copy))
            .collect();
        let removed = staged.old.iter().map(old_as_json);
        let value = json!({
            "dry_run": false,
            "stage": place.path.to_string_lossy(),
            "in_memory": place.in_memory,
            "method": staged.method,
            "files": files,
            "made": staged.made,
            "removed": removed.collect::<Vec<_>>(),
            "nodes": staged.nodes,
        });
        context.console.json("stage", value);
        return;
    }
    let bytes = staged.copies.iter().map(|copy| copy.size_bytes).sum();
    let where_to = match staged.nodes.len() {
        0 => "this node".to_owned(),
        nodes => counted(nodes as u64, "node"),
    };
    context.report.info(match staged.made {
        0 => format!("{where_to}: all copies were there already"),
        _ => format!("{where_to}: copied {}", HumanBytes(bytes)),
    });
    for old in &staged.old {
        context.report.info(tell_old(old));
    }
    let is_sif = sources.owner.is_file();
    match staged.copies.first().filter(|_| is_sif) {
        Some(copy) => context.console.data(&copy.path.display().to_string()),
        None => context.console.data(&place.path.display().to_string()),
    }
}

fn as_json(name: &str, copy: &NodeCopy) -> Value {
    json!({
        "file": name,
        "path": copy.path.to_string_lossy(),
        "bytes": copy.size_bytes,
        "sha256": copy.sha256,
    })
}

fn old_as_json(old: &OldCopy) -> Value {
    let name = old.copy.path.file_name().unwrap_or_default();
    let mut value = as_json(&name.to_string_lossy(), &old.copy);
    value["in_use"] = json!(old.is_in_use);
    value
}

fn tell_old(old: &OldCopy) -> String {
    let (path, bytes) = (old.copy.path.display(), HumanBytes(old.copy.size_bytes));
    if old.is_in_use {
        format!("a program uses `{path}` ({bytes}), so it stays")
    } else {
        format!("removed `{path}` ({bytes})")
    }
}

/// Removes copies of a subject, or all.
fn clean(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let owner = match &arguments.subject {
        Some(name) => {
            let path = existing(name, "installation or .sif", context.env_vars)?;
            Some(fs_err::canonicalize(path)?)
        }
        None => None,
    };
    let place = place(arguments, context)?;
    let old = clean_stage(&place.path, owner.as_deref(), context.report)?;
    if arguments.json {
        let removed: Vec<Value> = old.iter().map(old_as_json).collect();
        let value = json!({"stage": place.path.to_string_lossy(), "removed": removed});
        context.console.json("stage", value);
        return Ok(ExitCode::SUCCESS);
    }
    for old in &old {
        context.report.info(tell_old(old));
    }
    if old.is_empty() {
        let path = place.path.display();
        context
            .report
            .info(format!("there are no copies in `{path}`"));
    }
    Ok(ExitCode::SUCCESS)
}
