//! Responsible for the errors of this crate: jobs that the rules of a site do not allow.

use condense_diagnostics::{Hint, did_you_mean};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Reason why a job cannot run at a site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Site without rules for jobs.
    #[error("the catalogue has no rules for jobs of the site `{site}`")]
    NoRules {
        /// Name of the site.
        site: String,
    },
    /// Image that the script cannot copy to the nodes.
    #[error("the image cannot be copied to the nodes: {reason}")]
    NoStage {
        /// Reason in words for users.
        reason: &'static str,
    },
    /// Partition that the site does not have.
    #[error("`{name}` is no {word} of {site}")]
    UnknownPartition {
        /// Name that the user gave.
        name: String,
        /// Either `partition` or `queue`.
        word: &'static str,
        /// Name of the site.
        site: String,
        /// Names of the site's partitions.
        known: Vec<String>,
    },
    /// Job for which no partition was named and none of the usual ones is right.
    #[error("no usual {word} of {site} is for {job}")]
    NoPartition {
        /// Either `partition` or `queue`.
        word: &'static str,
        /// Name of the site.
        site: String,
        /// Description of the job.
        job: String,
        /// Partitions with their limits, in words.
        limits: Vec<String>,
    },
    /// Value beyond the limits of a partition.
    #[error("{asked} is not possible in `{partition}`: {limit}")]
    Limit {
        /// Value in words, with the option that asks for it.
        asked: String,
        /// Name of the partition.
        partition: String,
        /// Limit in words for users.
        limit: String,
        /// Advice for the user.
        advice: String,
    },
    /// Number of tasks that does not fit the number of GPUs.
    #[error(
        "{tasks} tasks on a node do not fit its {gpus} GPUs: each task has one GPU and the cores beside it"
    )]
    TasksForGpus {
        /// Number of tasks on a node.
        tasks: u32,
        /// Number of GPUs on a node.
        gpus: u32,
    },
    /// Masks on nodes that are shared with other jobs.
    #[error(
        "masks need whole nodes, and nodes of `{partition}` are shared: which cores and GPUs the job gets is not known"
    )]
    MasksOnSharedNodes {
        /// Name of the partition.
        partition: String,
    },
    /// Masks where there can be none.
    #[error("there are no masks for this job: {reason}")]
    NoMasks {
        /// Reason in words for users.
        reason: String,
    },
    /// Number of cores that no group of cores has.
    #[error("no masks with {cores} cores: a task can have 1 to {most}")]
    Cores {
        /// Number that the user gave.
        cores: u32,
        /// Largest number that is possible.
        most: u32,
    },
    /// Site whose cores are not known.
    #[error("the catalogue does not have the cores of {site} that are beside each GPU")]
    NoGroups {
        /// Name of the site.
        site: String,
    },
    /// Launcher that the site does not have.
    #[error("`{launcher}` does not start jobs of {site}")]
    Launcher {
        /// Name that the user gave.
        launcher: &'static str,
        /// Name of the site.
        site: String,
        /// Launchers of the site.
        known: Vec<&'static str>,
    },
    /// Command that the launcher cannot start.
    #[error("{launcher} cannot start `{word}`: {reason}")]
    Command {
        /// Name of the launcher.
        launcher: &'static str,
        /// Word of the command.
        word: String,
        /// Reason in words for users.
        reason: &'static str,
        /// Advice for the user.
        advice: String,
    },
    /// Image or installation without Python.
    #[error("`{subject}` has no Python, which {needed_by} needs")]
    NoPython {
        /// Image or installation of the job.
        subject: String,
        /// Launcher or program that needs it.
        needed_by: String,
    },
    /// Image without run scripts.
    #[error("`{subject}` has no run scripts, which tell each of {ranks} processes its rank")]
    NoRunScripts {
        /// Image that the job runs.
        subject: String,
        /// Number of processes on all nodes.
        ranks: u32,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoRules { .. } => {
                "name a site with `--site`: `condense base sites` lists them; or write a table [site.NAME.job] in a catalogue"
                    .to_owned()
            }
            Self::UnknownPartition { name, known, .. } => {
                let all = format!("known: {}", known.join(", "));
                let similar = did_you_mean(name, known.iter().map(String::as_str));
                similar.map_or(all.clone(), |similar| format!("{similar} {all}"))
            }
            Self::NoPartition { limits, .. } => limits.join("; "),
            Self::Limit { advice, .. } | Self::Command { advice, .. } => advice.clone(),
            Self::TasksForGpus { gpus, .. } => format!(
                "leave out `--ntasks-per-node`, or set it to {gpus}; `--launcher torchrun` starts one task on each node, which starts the others"
            ),
            Self::MasksOnSharedNodes { .. } => {
                "`--exclusive` asks for whole nodes; without `--binding` the job has no masks"
                    .to_owned()
            }
            Self::NoStage { .. } => {
                "leave out `--stage`; `condense stage` in the script copies on the node that runs it"
                    .to_owned()
            }
            Self::NoMasks { .. } => "leave out `--binding`".to_owned(),
            Self::Cores { most, .. } => format!("give a number from 1 to {most}"),
            Self::NoGroups { .. } => {
                "name a site with `--site` whose jobs have masks; they are in `core_groups` of its table [site.NAME.job]"
                    .to_owned()
            }
            Self::Launcher { known, .. } => format!("known: {}", known.join(", ")),
            Self::NoPython { subject, .. } => {
                format!("`condense packages {subject}` lists what it has")
            }
            Self::NoRunScripts { subject, .. } => format!(
                "`condense module {subject}` writes a module that brings them, for `--module`; `--launcher torchrun` needs none"
            ),
        })
    }
}
