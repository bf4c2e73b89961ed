//! Responsible for the options for the scheduler at the start of a script, each with its reason.

use super::OURS;
use crate::{
    batch::{BatchScript, Directive, Scheduler},
    error::Result,
    request::{Program, Request},
    resources::{JobSite, Resources},
    rules::{Launcher, Partition},
    setting::{SettingKind, Settings},
};

/// Returns a script that has its options only, and the settings that explain them.
pub(super) fn write(
    site: JobSite<'_>,
    request: &Request,
    resources: &Resources,
    program: &Program,
) -> Result<(BatchScript, Settings)> {
    let (name, source) = match &request.name {
        Some(name) => (name.clone(), "--name"),
        None => (program.job_name(), "the command"),
    };
    let mut writer = Writer::new(site, request, resources)?;
    writer.name(&name, source);
    writer.resources();
    writer.output();
    Ok((writer.script, writer.settings))
}

impl BatchScript {
    /// Creates a script that asks for the nodes of a job, for any shell code.
    ///
    /// # Errors
    /// Returns an error if the site has no rules for jobs.
    pub fn asking_for(site: JobSite<'_>, request: &Request, resources: &Resources) -> Result<Self> {
        let mut writer = Writer::new(site, request, resources)?;
        if let Some(name) = &request.name {
            writer.name(name, "--name");
        }
        writer.resources();
        Ok(writer.script)
    }
}

/// Writer of options for the scheduler.
struct Writer<'a> {
    script: BatchScript,
    settings: Settings,
    site: JobSite<'a>,
    request: &'a Request,
    resources: &'a Resources,
    /// Name of the site, as a source.
    of_site: String,
    /// Name of the site and the partition, as a source.
    of_partition: String,
}

impl<'a> Writer<'a> {
    fn new(site: JobSite<'a>, request: &'a Request, resources: &'a Resources) -> Result<Self> {
        let of_site = format!("site {}", site.name);
        let of_partition = match &resources.partition {
            Some((name, _)) => format!("{of_site}, {name}"),
            None => of_site.clone(),
        };
        Ok(Self {
            script: BatchScript::new(site.scheduler()?),
            settings: Settings::default(),
            site,
            request,
            resources,
            of_site,
            of_partition,
        })
    }

    fn add(&mut self, directive: Directive, reason: &str, source: &str) {
        let value = directive.value().map(str::to_owned);
        let kind = SettingKind::Directive;
        self.settings
            .add(kind, directive.option(), value, reason, source);
        self.script.direct(directive);
    }

    /// Adds an option that the user has given with the option `of_user`, or that follows from the
    /// partition.
    fn add_given(&mut self, directive: Directive, reason: &str, is_given: bool, of_user: &str) {
        let source = if is_given {
            of_user.to_owned()
        } else {
            self.of_partition.clone()
        };
        self.add(directive, reason, &source);
    }

    fn rules(&self) -> Option<&'a Partition> {
        self.resources.partition.as_ref()?.1.as_ref()
    }

    fn name(&mut self, name: &str, source: &str) {
        let option = match self.script.scheduler() {
            Scheduler::Slurm => "--job-name",
            Scheduler::Pbs => "-N",
        };
        self.add(Directive::new(option, name), "name in the queue", source);
    }

    /// Adds the options that ask for the nodes of a job.
    fn resources(&mut self) {
        let scheduler = self.script.scheduler();
        match scheduler {
            Scheduler::Slurm => {
                self.account("--account");
                self.partition("--partition");
                self.tasks();
            }
            Scheduler::Pbs => {
                let mut select = self.resources.nodes.to_string();
                if let Some(property) = &self.site.rules.select {
                    select.push_str(&format!(":{property}"));
                }
                let reason = "nodes, each with all that it has";
                self.add(Directive::new("-l select", select), reason, "--nodes");
            }
        }
        self.gpus();
        if self.resources.exclusive && scheduler == Scheduler::Slurm {
            let reason = "no other job on the nodes";
            self.add(Directive::flag("--exclusive"), reason, "--exclusive");
        }
        self.limits();
        let of_site = self.of_site.clone();
        for rule in self.site.rules.directives.iter().flatten() {
            self.add(Directive::parse(&rule.option), &rule.why, &of_site);
        }
        if scheduler == Scheduler::Pbs {
            self.partition("-q");
            self.account("-A");
        }
    }

    fn account(&mut self, option: &str) {
        if let Some(account) = &self.request.account {
            let directive = Directive::new(option, &account.name);
            self.add(directive, "project that pays", &account.source);
        }
    }

    fn partition(&mut self, option: &str) {
        let Some((name, _)) = &self.resources.partition else {
            return;
        };
        let is_named = self.resources.is_partition_named;
        let reason = if is_named {
            "partition that you have named"
        } else {
            "first of the usual ones that is right for the job"
        };
        self.add_given(
            Directive::new(option, name),
            reason,
            is_named,
            "--partition",
        );
    }

    /// Adds the numbers of nodes, tasks and cores.
    fn tasks(&mut self) {
        let (request, resources) = (self.request, self.resources);
        let nodes = Directive::new("--nodes", resources.nodes);
        self.add(nodes, "number of nodes", "--nodes");
        let tasks = Directive::new("--ntasks-per-node", resources.tasks);
        let is_given = request.tasks_per_node.is_some();
        if resources.launcher == Launcher::Torchrun {
            let reason = "torchrun is one task, which starts the others";
            self.add(tasks, reason, "--launcher");
        } else {
            let reason = match resources.gpus {
                0 => "tasks on each node",
                _ => "one task for each GPU",
            };
            self.add_given(tasks, reason, is_given, "--ntasks-per-node");
        }
        if let Some(cpus) = resources.cpus_per_task {
            let reason = match (resources.launcher, resources.gpus) {
                (Launcher::Torchrun, _) => "cores of all processes that torchrun starts",
                (_, 0) => "cores of each task",
                _ => "cores beside each GPU",
            };
            let is_given = request.cpus_per_task.is_some();
            let directive = Directive::new("--cpus-per-task", cpus);
            self.add_given(directive, reason, is_given, "--cpus-per-task");
        }
    }

    /// Adds the option that asks for GPUs.
    fn gpus(&mut self) {
        let option = match (self.rules(), self.script.scheduler()) {
            (Some(rules), _) => rules.gpu_option.as_deref(),
            (None, Scheduler::Slurm) => Some("--gpus-per-node={}"),
            (None, Scheduler::Pbs) => None,
        };
        let Some(option) = option.filter(|_| self.resources.gpus > 0) else {
            return;
        };
        let option = option.replace("{}", &self.resources.gpus.to_string());
        let reason = "GPUs of the node and not of a task, so that ranks reach each other's";
        let is_given = self.request.gpus.is_some();
        self.add_given(Directive::parse(&option), reason, is_given, "--gpus");
    }

    /// Adds the options for memory and time.
    fn limits(&mut self) {
        let (request, resources) = (self.request, self.resources);
        let is_slurm = self.script.scheduler() == Scheduler::Slurm;
        // Jobs of PBS that are written here have whole nodes with all their memory.
        if let Some(memory) = resources.memory_gib.filter(|_| is_slurm) {
            let is_given = request.memory_gib.is_some();
            let reason = match (is_given, resources.has_whole_nodes) {
                (true, _) => "memory of each node",
                (false, true) => "all memory of a node that jobs may have",
                (false, false) => "the GPUs' part of the node's memory",
            };
            let directive = Directive::new("--mem", format!("{memory}G"));
            self.add_given(directive, reason, is_given, "--mem");
        }
        let reason = match (request.time, self.rules()) {
            (None, Some(rules)) => format!("time limit; a job may take {}", rules.time.slurm()),
            _ => "time limit".to_owned(),
        };
        let directive = if is_slurm {
            Directive::new("--time", resources.time.slurm())
        } else {
            Directive::new("-l walltime", resources.time.pbs())
        };
        let source = match request.time {
            Some(_) => "--time",
            None => OURS,
        };
        self.add(directive, &reason, source);
    }

    fn output(&mut self) {
        let (directive, reason) = match self.script.scheduler() {
            Scheduler::Slurm => (
                Directive::new("--output", "%x_%j.txt"),
                "one file for the output of a job, with its name and number",
            ),
            Scheduler::Pbs => (Directive::new("-j", "oe"), "one file for output and errors"),
        };
        self.add(directive, reason, OURS);
    }
}
