//! Responsible for copying to all nodes of a job of Slurm: `sbcast` sends the bytes from node to
//! node, so that each image is read from the shared file system once.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use condense_installation::NodeDir;
use serde::{Deserialize, Serialize};

use super::{StageSources, place, stage_here};
use crate::{
    child::{SignalScope, run_streaming},
    report::Report,
};
use condense_diagnostics::{Hint, UserError};

/// Time that nodes get to remove what has arrived when the user has asked to stop.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two looks at them.
const PAUSE: Duration = Duration::from_millis(50);
/// Start of the line that a node prints.
const MARK: &str = "condense-stage-node: ";
/// Variables that ask for tasks of another shape than one for each node.
const SHAPES: [&str; 11] = [
    "SLURM_CPU_BIND",
    "SLURM_CPUS_PER_TASK",
    "SLURM_GPUS",
    "SLURM_GPUS_PER_NODE",
    "SLURM_GPUS_PER_TASK",
    "SLURM_GPU_BIND",
    "SLURM_HINT",
    "SLURM_NTASKS_PER_GPU",
    "SLURM_THREADS_PER_CORE",
    "SLURM_TRES_PER_TASK",
    "SRUN_CPUS_PER_TASK",
];

/// Job whose nodes get copies.
#[derive(Debug, Clone)]
pub struct SlurmJob {
    /// Number of the job.
    pub id: String,
    /// Number of its nodes.
    pub nodes: u32,
    /// Path of the program `srun`.
    pub srun: PathBuf,
    /// Path of `sbcast`, if there is one.
    pub sbcast: Option<PathBuf>,
    /// Path of the program itself.
    pub condense: PathBuf,
}

/// Step of the work on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeStep {
    /// Makes the directory, checks the space, and says what is missing.
    Prepare,
    /// Takes what has arrived, and copies the rest.
    Finish,
    /// Removes what has arrived when the user has asked to stop.
    Discard,
}

impl NodeStep {
    /// Returns the word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Finish => "finish",
            Self::Discard => "discard",
        }
    }
}

/// Answer of a node to a step.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NodeAnswer {
    /// Name of the node.
    pub node: String,
    /// Digests of the images that it does not have.
    pub missing: Vec<String>,
    /// Number of images that it has received.
    pub received: usize,
    /// Number of images that it has copied by itself.
    pub copied: usize,
    /// Error that it met, with the hint behind it.
    pub error: Option<(String, Option<String>)>,
}

/// Copies the files of a subject to all nodes of a job. All digests must be known. Returns the
/// answers of the nodes.
///
/// # Errors
/// Returns the first error of a node, with the name of the node, an error of `srun`, or
/// [`condense_prefix::Error::Interrupted`], after which nodes have removed what had arrived.
pub fn stage_in_job(
    sources: &StageSources,
    subject: &Path,
    parent: &Path,
    job: &SlurmJob,
    report: &Report,
) -> anyhow::Result<Vec<NodeAnswer>> {
    let request = Request {
        sources,
        subject,
        parent,
        job,
        report,
    };
    let before = request.ask(NodeStep::Prepare)?;
    let is_missing = |sha256: &String| before.iter().any(|node| node.missing.contains(sha256));
    let mut sent = false;
    for file in &sources.files {
        let Some(sha256) = file.sha256.as_ref().filter(|sha256| is_missing(sha256)) else {
            continue;
        };
        let Some(sbcast) = &job.sbcast else { break };
        let to = incoming(parent, sha256, &job.id);
        report.debug(format!(
            "sending `{}` to `{}`",
            file.path.display(),
            to.display()
        ));
        sent = true;
        let done = send(sbcast, &file.path, &to, report);
        if report.cancelled() {
            request.discard();
            return Err(condense_prefix::Error::Interrupted.into());
        }
        if let Err(reason) = done {
            report.warning(format!(
                "sbcast has failed, so nodes read the image by themselves: {reason}"
            ));
            break;
        }
    }
    if !sent && !before.iter().any(|node| !node.missing.is_empty()) {
        return Ok(before);
    }
    request.ask(NodeStep::Finish)
}

fn incoming(parent: &Path, sha256: &str, job: &str) -> PathBuf {
    NodeDir::path_below(parent).join(NodeDir::incoming_name(sha256, job))
}

/// Lets `sbcast` send a file to all nodes. Returns its last line if it fails.
fn send(sbcast: &Path, from: &Path, to: &Path, report: &Report) -> Result<(), String> {
    let mut command = Command::new(sbcast);
    command.arg("--force").args([from, to]);
    let mut last = None;
    let status = run_streaming(command, SignalScope::Group, report, &mut |line| {
        note_last(&mut last, line);
        Ok(())
    });
    match status {
        Ok(0) => Ok(()),
        Ok(status) => Err(last.unwrap_or_else(|| format!("exit status {status}"))),
        Err(error) => Err(error.to_string()),
    }
}

/// Keeps a line unless it is blank.
fn note_last(last: &mut Option<String>, line: &str) {
    let line = line.trim();
    if !line.is_empty() {
        *last = Some(line.to_owned());
    }
}

/// Work on all nodes of a job.
#[derive(Clone, Copy)]
struct Request<'a> {
    sources: &'a StageSources,
    subject: &'a Path,
    parent: &'a Path,
    job: &'a SlurmJob,
    report: &'a Report,
}

impl Request<'_> {
    /// Returns the command that starts this program once on each node.
    fn command(&self, step: NodeStep) -> anyhow::Result<Command> {
        let job = self.job;
        let mut command = Command::new(&job.srun);
        for name in SHAPES {
            command.env_remove(name);
        }
        command.args([
            format!("--nodes={}", job.nodes),
            format!("--ntasks={}", job.nodes),
        ]);
        command.args([
            "--ntasks-per-node=1",
            "--cpus-per-task=1",
            "--distribution=block",
            "--overlap",
            "--cpu-bind=none",
            "--mpi=none",
            "--export=ALL",
            "--input=none",
        ]);
        let mut words: Vec<OsString> = vec![job.condense.clone().into(), "stage".into()];
        words.extend(["--node-step".into(), step.as_str().into()]);
        words.extend(["--to".into(), self.parent.into()]);
        for file in &self.sources.files {
            let digest = file.sha256.as_deref().context("a digest is missing")?;
            words.extend(["--sha256".into(), digest.into()]);
        }
        words.extend([OsStr::new("--").into(), self.subject.into()]);
        command.args(&words);
        Ok(command)
    }

    /// Lets all nodes do a step, and returns their answers.
    fn ask(&self, step: NodeStep) -> anyhow::Result<Vec<NodeAnswer>> {
        let job = self.job;
        let (mut text, mut last) = (String::new(), None);
        let command = self.command(step)?;
        let status = run_streaming(command, SignalScope::Group, self.report, &mut |line| {
            if line.contains(MARK) {
                text.push_str(line);
                text.push('\n');
            } else {
                note_last(&mut last, line);
            }
            Ok(())
        });
        if self.report.cancelled() {
            self.discard();
            return Err(condense_prefix::Error::Interrupted.into());
        }
        let status = status
            .map_err(anyhow::Error::from_boxed)
            .with_context(|| format!("failed to start `{}`", job.srun.display()))?;
        let answers = answers(&text);
        for node in &answers {
            if let Some((error, hint)) = &node.error {
                bail!(UserError::new(
                    format!("node {}: {error}", node.node),
                    hint.clone().unwrap_or_else(|| {
                        "`condense stage --this-node` there tells more".to_owned()
                    }),
                ));
            }
        }
        if answers.len() != job.nodes as usize {
            let reason = last.unwrap_or_else(|| format!("exit status {status}"));
            bail!(UserError::new(
                format!(
                    "{} of {} nodes have answered to srun: {reason}",
                    answers.len(),
                    job.nodes
                ),
                format!(
                    "the program `{}` must be there on all nodes; `srun condense stage --this-node` in the script does without this",
                    job.condense.display()
                ),
            ));
        }
        Ok(answers)
    }

    /// Lets nodes remove what has arrived, for a short time: the user has asked to stop. The rest
    /// is removed by the next run on the node.
    fn discard(&self) {
        let Ok(mut command) = self.command(NodeStep::Discard) else {
            return;
        };
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let Ok(mut child) = quiet.spawn() else {
            return;
        };
        let begin = Instant::now();
        while matches!(child.try_wait(), Ok(None)) {
            if begin.elapsed() > PATIENCE {
                let _ = child.kill();
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn answers(text: &str) -> Vec<NodeAnswer> {
    let lines = text.lines().filter_map(|line| line.split_once(MARK));
    let mut answers: Vec<NodeAnswer> = lines
        .filter_map(|(_, json)| serde_json::from_str(json).ok())
        .collect();
    answers.sort_by(|one: &NodeAnswer, other| one.node.cmp(&other.node));
    answers
}

/// Does a step on this node. Returns the line that tells the result.
///
/// # Panics
/// Never: an answer has a JSON form.
pub fn answer_as_node(
    step: NodeStep,
    sources: &StageSources,
    parent: &Path,
    job: &str,
    node: &str,
    report: &Report,
) -> String {
    let done = match step {
        NodeStep::Prepare => prepare(sources, parent, job, report),
        NodeStep::Finish => finish(sources, parent, job, report),
        NodeStep::Discard => discard(sources, parent, job),
    };
    let mut answer = done.unwrap_or_else(|error| NodeAnswer {
        error: Some((format!("{error:#}"), hint_of(&error))),
        ..NodeAnswer::default()
    });
    node.clone_into(&mut answer.node);
    let json = serde_json::to_string(&answer).expect("an answer has a JSON form");
    format!("{MARK}{json}")
}

fn hint_of(error: &anyhow::Error) -> Option<String> {
    if let Some(error) = error.downcast_ref::<UserError>() {
        return error.hint();
    }
    error.downcast_ref::<condense_installation::Error>()?.hint()
}

fn prepare(
    sources: &StageSources,
    parent: &Path,
    job: &str,
    report: &Report,
) -> anyhow::Result<NodeAnswer> {
    let node = NodeDir::create(parent)?;
    let _lock = node.lock(&|| report.cancelled())?;
    let kept = sources.digests().unwrap_or_default();
    node.clean(Some(&sources.owner), &kept)?;
    let mut answer = NodeAnswer::default();
    let mut bytes = 0;
    for file in &sources.files {
        let Some(sha256) = &file.sha256 else { continue };
        // A step of this job may have been killed here.
        let _ = std::fs::remove_file(node.incoming(sha256, job));
        if let Some(copy) = node.find_copy(file) {
            node.note_owner(&copy, file)?;
        } else {
            bytes += file.size_bytes;
            answer.missing.push(sha256.clone());
        }
    }
    place::check_room(node.path(), bytes)?;
    Ok(answer)
}

fn finish(
    sources: &StageSources,
    parent: &Path,
    job: &str,
    report: &Report,
) -> anyhow::Result<NodeAnswer> {
    let node = NodeDir::create(parent)?;
    let mut answer = NodeAnswer::default();
    {
        let cancelled = || report.cancelled();
        let _lock = node.lock(&cancelled)?;
        for file in &sources.files {
            let Some(sha256) = &file.sha256 else { continue };
            let incoming = node.incoming(sha256, job);
            if node.find_copy(file).is_some() {
                let _ = std::fs::remove_file(incoming);
            } else if node.adopt(file, sha256, &incoming, &cancelled)?.is_some() {
                answer.received += 1;
            }
        }
    }
    answer.copied = stage_here(sources, parent, report)?.made;
    Ok(answer)
}

/// Removes what has arrived for a job that is stopped.
fn discard(sources: &StageSources, parent: &Path, job: &str) -> anyhow::Result<NodeAnswer> {
    if let Some(node) = NodeDir::find(parent)? {
        for sha256 in sources.files.iter().filter_map(|file| file.sha256.as_ref()) {
            let _ = std::fs::remove_file(node.incoming(sha256, job));
        }
    }
    Ok(NodeAnswer::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_among_other_lines() {
        let text = "module loaded\n0: condense-stage-node: {\"node\":\"b\",\"missing\":[\"1\"],\
                    \"received\":0,\"copied\":2,\"error\":null}\ncondense-stage-node: damaged\n\
                    condense-stage-node: {\"node\":\"a\",\"missing\":[],\"received\":1,\"copied\":0,\
                    \"error\":[\"no room\",null]}\n";
        let found = answers(text);
        let names: Vec<&str> = found.iter().map(|answer| answer.node.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(
            found[0].error.as_ref().map(|error| error.0.as_str()),
            Some("no room")
        );
        assert_eq!((found[1].missing.len(), found[1].copied), (1, 2));
        let mut last = None;
        for line in ["one", " two ", ""] {
            note_last(&mut last, line);
        }
        assert_eq!(last.as_deref(), Some("two"));
    }
}
