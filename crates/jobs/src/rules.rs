//! Responsible for a site's rules for jobs, as its catalogue has them: the scheduler, the
//! partitions with their limits, and what scripts of jobs need besides.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{batch::Scheduler, build_script::BuildRules, masks::CoreGroups, time_limit::TimeLimit};

/// Rules of a site for jobs. A value that is not given is that of the layer below, or that of a
/// machine of which nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobRules {
    /// Scheduler of the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// Launchers that work at the site, the usual one first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launchers: Option<Vec<Launcher>>,
    /// Program that runs images, by its name on the nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Pattern of the names of groups that are projects. Without it, jobs need no account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Partitions for jobs that name none, the preferred one first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Vec<String>>,
    /// Property that all nodes of a job have, for `-l select` of PBS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select: Option<String>,
    /// Further options for the scheduler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directives: Option<Vec<DirectiveRule>>,
    /// Arguments of the command `module` at the start of scripts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules: Option<Vec<String>>,
    /// Variables that scripts set, unless the user has set them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variables: Option<Vec<JobVariable>>,
    /// Plugin of Slurm for programs with an MPICH of their own, such as `pmi2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_mpich: Option<String>,
    /// Cores beside each GPU, for masks. A site without them has no masks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_groups: Option<CoreGroups>,
    /// Number of the GPU of each local rank, if it is not the rank's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_order: Option<Vec<u32>>,
    /// Job that runs a build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildRules>,
    /// Partitions of Slurm or queues of PBS by their names. Without them, any name is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<BTreeMap<String, Partition>>,
}

/// Program that starts the processes of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Launcher {
    /// Launcher of the scheduler Slurm.
    Srun,
    /// Launcher of torch: one process on each node, which starts the others.
    Torchrun,
    /// Launcher of an MPI library.
    Mpiexec,
}

impl Launcher {
    /// Returns the name of the program.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Srun => "srun",
            Self::Torchrun => "torchrun",
            Self::Mpiexec => "mpiexec",
        }
    }
}

/// Option for the scheduler that each job of a site has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectiveRule {
    /// Option as a script has it, such as `-l place=scatter`.
    pub option: String,
    /// Reason that users are told.
    pub why: String,
}

/// Variable that each script of a site sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobVariable {
    /// Name of the variable.
    pub name: String,
    /// Value of the variable, in which `${NAME}` is expanded when the job starts.
    pub value: String,
    /// Reason that users are told.
    pub why: String,
    /// Whether the value is a directory that the script makes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub directory: bool,
}

/// Partition of Slurm or queue of PBS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Longest time of a job.
    pub time: TimeLimit,
    /// Largest number of nodes of a job.
    pub nodes: u32,
    /// Smallest number of nodes of a job.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub nodes_least: u32,
    /// Whether jobs get whole nodes only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_nodes: bool,
    /// Number of cores of a node that jobs may have.
    pub cores: u32,
    /// Memory of a node that jobs may have, in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_gib: Option<u32>,
    /// Number of GPUs of a node.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gpus: u32,
    /// Largest number of GPUs of a job on all its nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus_of_job: Option<u32>,
    /// Option for the scheduler that asks for GPUs, in which `{}` is their number on each node.
    /// Without it, jobs have all GPUs of their nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_option: Option<String>,
    /// Number of cores for each GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores_per_gpu: Option<u32>,
    /// Memory for each GPU, in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_per_gpu_gib: Option<u32>,
    /// Condition for users, such as a test that a project must have passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The signature is that of serde.
fn is_one(number: &u32) -> bool {
    *number == 1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The signature is that of serde.
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl JobRules {
    /// Takes the values of a layer above. Partitions are taken one by one.
    pub fn override_with(&mut self, over: Self) {
        fn take<T>(under: &mut Option<T>, over: Option<T>) {
            if over.is_some() {
                *under = over;
            }
        }
        take(&mut self.scheduler, over.scheduler);
        take(&mut self.launchers, over.launchers);
        take(&mut self.runtime, over.runtime);
        take(&mut self.account, over.account);
        take(&mut self.defaults, over.defaults);
        take(&mut self.select, over.select);
        take(&mut self.directives, over.directives);
        take(&mut self.modules, over.modules);
        take(&mut self.variables, over.variables);
        take(&mut self.own_mpich, over.own_mpich);
        take(&mut self.core_groups, over.core_groups);
        take(&mut self.gpu_order, over.gpu_order);
        take(&mut self.build, over.build);
        if let Some(partitions) = over.partition {
            self.partition.get_or_insert_default().extend(partitions);
        }
    }

    /// Returns whether nothing is known about jobs of the site.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scheduler.is_none()
    }

    /// Returns the partition with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Partition> {
        self.partition.as_ref()?.get(name)
    }

    /// Returns the names of all partitions.
    pub fn partition_names(&self) -> impl Iterator<Item = &str> {
        self.partition
            .iter()
            .flatten()
            .map(|(name, _)| name.as_str())
    }

    /// Checks the values of one layer of a catalogue.
    ///
    /// # Errors
    /// Returns a sentence about the value that is wrong.
    pub fn check(&self) -> Result<(), String> {
        if let Some(groups) = &self.core_groups {
            groups.check()?;
        }
        if self.launchers.as_ref().is_some_and(Vec::is_empty) {
            return Err("`launchers` is empty".to_owned());
        }
        for rule in self.directives.iter().flatten() {
            if !rule.option.starts_with('-') || rule.option.contains('\n') {
                return Err(format!(
                    "`directives`: `{}` does not start with a hyphen",
                    rule.option
                ));
            }
        }
        for variable in self.variables.iter().flatten() {
            let is_name = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
            let starts_well = !variable.name.starts_with(|it: char| it.is_ascii_digit());
            if variable.name.is_empty() || !starts_well || !variable.name.bytes().all(is_name) {
                return Err(format!("`variables`: `{}` is no name", variable.name));
            }
        }
        for (name, partition) in self.partition.iter().flatten() {
            let option = partition.gpu_option.as_ref();
            if option.is_some_and(|option| !option.contains("{}")) {
                return Err(format!("[partition.{name}]: `gpu_option` has no {{}}"));
            }
            if partition.cores == 0
                || partition.nodes_least == 0
                || partition.nodes < partition.nodes_least
            {
                return Err(format!("[partition.{name}]: jobs have no node or no core"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn partition(nodes: u32) -> Partition {
        Partition {
            time: TimeLimit::HOUR,
            nodes,
            nodes_least: 1,
            whole_nodes: false,
            cores: 8,
            memory_gib: None,
            gpus: 0,
            gpus_of_job: None,
            gpu_option: None,
            cores_per_gpu: None,
            memory_per_gpu_gib: None,
            condition: None,
        }
    }

    #[test]
    fn layers_add_partitions_and_replace_values() {
        let with = |name: &str, nodes| JobRules {
            runtime: Some(name.to_owned()),
            partition: Some([(name.to_owned(), partition(nodes))].into()),
            ..JobRules::default()
        };
        let mut rules = with("a", 1);
        rules.override_with(with("b", 2));
        rules.override_with(with("a", 3));
        rules.override_with(JobRules::default());
        assert_eq!(rules.runtime.as_deref(), Some("a"));
        assert_eq!(rules.partition_names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(rules.find("a").unwrap().nodes, 3);
        assert!(rules.is_empty());
    }

    #[test]
    fn wrong_values_are_named() {
        let directive = |option: &str| DirectiveRule {
            option: option.to_owned(),
            why: String::new(),
        };
        let rules = |of: fn(&mut JobRules)| {
            let mut rules = JobRules::default();
            of(&mut rules);
            rules.check().unwrap_err()
        };
        assert_eq!(
            rules(|rules| rules.launchers = Some(Vec::new())),
            "`launchers` is empty"
        );
        let mut wrong = JobRules {
            directives: Some(vec![directive("place=scatter")]),
            ..JobRules::default()
        };
        assert!(wrong.check().unwrap_err().contains("`place=scatter`"));
        wrong.directives = Some(vec![directive("-l place=scatter")]);
        wrong.check().unwrap();
        let mut small = partition(1);
        small.gpu_option = Some("--gpus=1".to_owned());
        wrong.partition = Some([("p".to_owned(), small)].into());
        assert!(wrong.check().unwrap_err().contains("has no {}"));
        wrong.partition = Some([("p".to_owned(), partition(0))].into());
        assert!(wrong.check().unwrap_err().contains("no node"));
    }
}
