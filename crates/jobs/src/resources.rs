//! Responsible for choosing the nodes of a job: the partition, the tasks, the cores, the GPUs, the
//! memory and the masks, within the limits of the site.

use crate::{
    batch::Scheduler,
    error::{Error, Result},
    masks::{CpuMasks, TaskOrder},
    request::{Binding, Request},
    rules::{JobRules, Launcher, Partition},
    time_limit::TimeLimit,
};

/// Nodes of a job, and what the job has of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// Name of the partition, with its rules if the site has some.
    pub partition: Option<(String, Option<Partition>)>,
    /// Whether the user has named the partition.
    pub is_partition_named: bool,
    /// Number of nodes of the job.
    pub nodes: u32,
    /// Number of processes on each node.
    pub processes: u32,
    /// Number of tasks that the scheduler starts on each node.
    pub tasks: u32,
    /// Number of cores of each task.
    pub cpus_per_task: Option<u32>,
    /// Number of GPUs on each node.
    pub gpus: u32,
    /// Memory on each node in GiB.
    pub memory_gib: Option<u32>,
    /// Time limit of the job.
    pub time: TimeLimit,
    /// Whether the user asks for whole nodes in a partition where jobs share nodes.
    pub exclusive: bool,
    /// Whether the job has whole nodes.
    pub has_whole_nodes: bool,
    /// Launcher that starts the processes.
    pub launcher: Launcher,
    /// Masks of the tasks.
    pub masks: Option<(CpuMasks, TaskOrder)>,
    /// Sentences for the user about what was chosen.
    pub notes: Vec<String>,
}

/// Site with its rules.
#[derive(Debug, Clone, Copy)]
pub struct JobSite<'a> {
    /// Name of the site.
    pub name: &'a str,
    /// Rules of the site.
    pub rules: &'a JobRules,
}

impl JobSite<'_> {
    pub(crate) fn scheduler(&self) -> Result<Scheduler> {
        self.rules.scheduler.ok_or_else(|| Error::NoRules {
            site: self.name.to_owned(),
        })
    }

    /// Returns the launcher that the user or the site wants.
    fn launcher(&self, request: &Request) -> Result<Launcher> {
        let usual = match self.scheduler()? {
            Scheduler::Slurm => Launcher::Srun,
            Scheduler::Pbs => Launcher::Mpiexec,
        };
        let known = self.rules.launchers.clone().unwrap_or_else(|| vec![usual]);
        let Some(wanted) = request.launcher else {
            return Ok(known.first().copied().unwrap_or(usual));
        };
        if known.contains(&wanted) {
            return Ok(wanted);
        }
        Err(Error::Launcher {
            launcher: wanted.as_str(),
            site: self.name.to_owned(),
            known: known.into_iter().map(Launcher::as_str).collect(),
        })
    }

    /// Returns the partition that the user has named, or the first of the usual ones that is right
    /// for the job.
    fn partition(
        &self,
        request: &Request,
        is_for_gpus: bool,
    ) -> Result<Option<(String, Option<Partition>)>> {
        let scheduler = self.scheduler()?;
        let word = scheduler.partition_word();
        let has_rules = self.rules.partition.is_some();
        if let Some(name) = &request.partition {
            let found = self.rules.find(name);
            if found.is_none() && has_rules {
                return Err(Error::UnknownPartition {
                    name: name.clone(),
                    word,
                    site: self.name.to_owned(),
                    known: self.rules.partition_names().map(str::to_owned).collect(),
                });
            }
            return Ok(Some((name.clone(), found.cloned())));
        }
        let usual = self.rules.defaults.iter().flatten();
        let usual: Vec<(&String, &Partition)> = usual
            .filter_map(|name| Some((name, self.rules.find(name)?)))
            .collect();
        if usual.is_empty() {
            return Ok(None);
        }
        let all_for_gpus = usual.iter().all(|(_, partition)| partition.gpus > 0);
        let wants_gpus = match request.gpus {
            Some(gpus) => gpus > 0,
            None => is_for_gpus || all_for_gpus,
        };
        let mut right = usual.iter().filter(|(_, partition)| {
            let gpus = request.gpus.unwrap_or(partition.gpus);
            (partition.gpus > 0) == wants_gpus
                && (partition.nodes_least..=partition.nodes).contains(&request.nodes)
                && request.time.is_none_or(|time| time <= partition.time)
                && gpus <= partition.gpus
                && (gpus == partition.gpus || !partition.whole_nodes)
                && partition
                    .gpus_of_job
                    .is_none_or(|most| gpus * request.nodes <= most)
        });
        if let Some((name, partition)) = right.next() {
            return Ok(Some(((*name).clone(), Some((*partition).clone()))));
        }
        let time = request.time.map(|time| format!(" for {}", time.slurm()));
        let gpus = match request.gpus {
            Some(gpus) => format!(" with {gpus} GPUs each"),
            None if wants_gpus => " with GPUs".to_owned(),
            None => String::new(),
        };
        Err(Error::NoPartition {
            word,
            site: self.name.to_owned(),
            job: format!(
                "{}{gpus}{}",
                counted(request.nodes, "node"),
                time.unwrap_or_default()
            ),
            limits: usual
                .iter()
                .map(|(name, partition)| limits(name, partition))
                .collect(),
        })
    }

    /// Chooses the nodes of a job. `is_for_gpus` says whether the program needs GPUs by all that is
    /// known of it.
    ///
    /// # Errors
    /// Returns an error if the site has no such nodes.
    pub fn resources(&self, request: &Request, is_for_gpus: bool) -> Result<Resources> {
        let launcher = self.launcher(request)?;
        let partition = self.partition(request, is_for_gpus)?;
        let rules = partition.as_ref().and_then(|(_, rules)| rules.as_ref());
        let name = partition.as_ref().map_or("", |(name, _)| name);
        let gpus = request.gpus.or(rules.map(|it| it.gpus)).unwrap_or(0);
        let processes = request.tasks_per_node.unwrap_or_else(|| gpus.max(1));
        let tasks = match launcher {
            Launcher::Torchrun => 1,
            Launcher::Srun | Launcher::Mpiexec => processes,
        };
        let cpus = cpus_per_task(request, rules, gpus, tasks, launcher);
        let exclusive = request.exclusive && !rules.is_some_and(|rules| rules.whole_nodes);
        let has_whole_nodes = request.exclusive || rules.is_some_and(|rules| rules.whole_nodes);
        let limit = rules.map_or(TimeLimit::HOUR, |rules| rules.time);
        let mut resources = Resources {
            is_partition_named: request.partition.is_some(),
            nodes: request.nodes,
            processes,
            tasks,
            cpus_per_task: cpus,
            gpus,
            memory_gib: request
                .memory_gib
                .or_else(|| memory(rules?, gpus, has_whole_nodes)),
            time: request.time.unwrap_or(limit.min(TimeLimit::HOUR)),
            exclusive,
            has_whole_nodes,
            launcher,
            masks: None,
            notes: Vec::new(),
            partition: partition.clone(),
        };
        if let Some(rules) = rules {
            resources.check(name, rules)?;
            let note = rules.condition.as_ref();
            resources
                .notes
                .extend(note.map(|text| format!("`{name}`: {text}")));
        }
        let is_ignored = request.memory_gib.is_some() || request.exclusive;
        if is_ignored && self.scheduler()? == Scheduler::Pbs {
            resources.notes.push(
                "`--mem` and `--exclusive` have no effect: jobs of PBS get whole nodes".to_owned(),
            );
        }
        resources.masks = self.masks(request, name, &mut resources)?;
        if gpus > 0 && launcher == Launcher::Torchrun && processes != gpus {
            return Err(Error::TasksForGpus {
                tasks: processes,
                gpus,
            });
        }
        Ok(resources)
    }

    /// Returns the masks of the tasks: those that the user wants, else those of whole nodes.
    fn masks(
        &self,
        request: &Request,
        partition: &str,
        resources: &mut Resources,
    ) -> Result<Option<(CpuMasks, TaskOrder)>> {
        let order = match request.binding {
            Some(Binding::None) => return Ok(None),
            Some(Binding::Masks(order)) => Some(order),
            None => None,
        };
        let refuse = |reason: String| match order {
            Some(_) => Err(Error::NoMasks { reason }),
            None => Ok(None),
        };
        let Some(groups) = &self.rules.core_groups else {
            return refuse(format!(
                "the catalogue does not have the cores of {}",
                self.name
            ));
        };
        if resources.gpus == 0 {
            return refuse("it has no GPUs".to_owned());
        }
        if resources.launcher != Launcher::Srun {
            let launcher = resources.launcher.as_str();
            return refuse(format!(
                "{launcher} starts its processes, and srun sets masks"
            ));
        }
        if !resources.has_whole_nodes {
            if order.is_some() {
                return Err(Error::MasksOnSharedNodes {
                    partition: partition.to_owned(),
                });
            }
            resources.notes.push(format!(
                "no CPU masks: nodes of `{partition}` are shared, so which cores and GPUs the job gets is not known"
            ));
            return Ok(None);
        }
        let gpus = groups.of_gpus.len() as u32;
        if resources.tasks != gpus || resources.gpus != gpus {
            return Err(Error::TasksForGpus {
                tasks: resources.tasks,
                gpus,
            });
        }
        let cores = resources.cpus_per_task.unwrap_or(groups.most_cores());
        let order = order.unwrap_or(TaskOrder::Gpus);
        Ok(Some((groups.masks(cores, order)?, order)))
    }
}

impl Resources {
    /// Returns the number of processes on all nodes.
    #[must_use]
    pub fn ranks(&self) -> u32 {
        self.nodes * self.processes
    }

    fn check(&self, name: &str, rules: &Partition) -> Result<()> {
        let refuse = |asked: String, limit: String, advice: &str| {
            Err(Error::Limit {
                asked,
                partition: name.to_owned(),
                limit,
                advice: advice.to_owned(),
            })
        };
        let other = "name another partition with `--partition`, or none for one that is right";
        if !(rules.nodes_least..=rules.nodes).contains(&self.nodes) {
            let nodes = counted(self.nodes, "node");
            let range = match rules.nodes_least {
                1 => format!("a job has at most {}", counted(rules.nodes, "node")),
                least => format!("a job has {least} to {} nodes", rules.nodes),
            };
            return refuse(nodes, range, other);
        }
        if self.time > rules.time {
            let most = format!("a job may take {}", rules.time.slurm());
            return refuse(format!("`--time {}`", self.time.slurm()), most, other);
        }
        if self.gpus > rules.gpus {
            let most = match rules.gpus {
                0 => "its nodes have no GPUs".to_owned(),
                gpus => format!("a node has {gpus}"),
            };
            return refuse(format!("`--gpus {}`", self.gpus), most, other);
        }
        if rules.whole_nodes && self.gpus != rules.gpus {
            let most = format!("jobs get whole nodes with {} GPUs", rules.gpus);
            return refuse(format!("`--gpus {}`", self.gpus), most, other);
        }
        let of_job = self.gpus * self.nodes;
        if let Some(most) = rules.gpus_of_job.filter(|most| of_job > *most) {
            let most = format!("a job has at most {most}");
            return refuse(counted(of_job, "GPU"), most, other);
        }
        let cores = self.tasks * self.cpus_per_task.unwrap_or(1);
        let cores_most = match rules.cores_per_gpu {
            Some(of_gpu) if self.gpus > 0 => of_gpu * self.gpus,
            _ => rules.cores,
        };
        if cores > cores_most {
            let tasks = counted(self.tasks, "task");
            let each = self.cpus_per_task.unwrap_or(1);
            let asked = format!("{tasks} with {} on a node", counted(each, "core"));
            let limit = format!("a job has at most {cores_most} there");
            let advice = "set `--ntasks-per-node` and `--cpus-per-task` to less";
            return refuse(asked, limit, advice);
        }
        let memory_most = match rules.memory_per_gpu_gib {
            Some(of_gpu) if self.gpus > 0 && !self.has_whole_nodes => Some(of_gpu * self.gpus),
            _ => rules.memory_gib,
        };
        if let (Some(memory), Some(most)) = (self.memory_gib, memory_most)
            && memory > most
        {
            let limit = format!("a job has at most {most}G of a node");
            return refuse(
                format!("`--mem {memory}G`"),
                limit,
                "ask for less, or for more nodes",
            );
        }
        Ok(())
    }
}

/// Returns the number of cores of each task.
fn cpus_per_task(
    request: &Request,
    rules: Option<&Partition>,
    gpus: u32,
    tasks: u32,
    launcher: Launcher,
) -> Option<u32> {
    if let Some(cpus) = request.cpus_per_task {
        return Some(cpus);
    }
    let rules = rules?;
    let cores = match rules.cores_per_gpu {
        Some(of_gpu) if gpus > 0 => of_gpu * gpus,
        _ if rules.whole_nodes || request.exclusive => rules.cores,
        // Each process of torchrun needs a core, and the scheduler knows of one task.
        _ if launcher == Launcher::Torchrun => request.tasks_per_node.unwrap_or(1),
        _ => return Some(1),
    };
    Some((cores / tasks).max(1))
}

/// Returns the memory that a job asks for, if the site's jobs have to.
fn memory(rules: &Partition, gpus: u32, has_whole_nodes: bool) -> Option<u32> {
    if has_whole_nodes {
        rules.memory_gib
    } else if gpus > 0 {
        rules.memory_per_gpu_gib.map(|of_gpu| of_gpu * gpus)
    } else {
        None
    }
}

fn limits(name: &str, partition: &Partition) -> String {
    let gpus = match (partition.gpus, partition.whole_nodes) {
        (0, _) => String::new(),
        (gpus, true) => format!(" with all {gpus} GPUs"),
        (gpus, false) => format!(" with up to {gpus} GPUs"),
    };
    let nodes = match partition.nodes_least {
        1 => format!("up to {}", counted(partition.nodes, "node")),
        least => format!("{least} to {} nodes", partition.nodes),
    };
    format!(
        "`{name}` is for {nodes}{gpus} and {}",
        partition.time.slurm()
    )
}

/// Returns a number with a noun.
pub(crate) fn counted(number: u32, noun: &str) -> String {
    condense_diagnostics::counted(u64::from(number), noun)
}
