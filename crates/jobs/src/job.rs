//! Responsible for the script of a job: every line of it follows from a setting that has a reason.

mod launch;
mod surroundings;

use crate::{
    batch::{BatchScript, Directive, Scheduler, quote},
    error::Result,
    request::{Program, Request},
    resources::{JobSite, Resources},
    rules::Launcher,
    setting::{Setting, SettingKind, Settings},
};

/// Name of the source of values that no rule of a site and no option gives.
const OURS: &str = "condense";

/// Job with its script.
#[derive(Debug, Clone)]
pub struct Job {
    /// Nodes of the job.
    pub resources: Resources,
    /// Everything that the script sets, in its order.
    pub settings: Vec<Setting>,
    /// Batch script for the scheduler.
    pub script: BatchScript,
}

impl Job {
    /// Plans a job that runs a program at a site.
    ///
    /// # Errors
    /// Returns an error if the rules of the site do not allow the job, or if the launcher cannot
    /// start the program.
    pub fn plan(site: JobSite<'_>, request: &Request, program: &Program) -> Result<Self> {
        let scheduler = site.scheduler()?;
        let resources = site.resources(request, program.is_for_gpus)?;
        let mut settings = Settings::default();
        let mut script = BatchScript::new(scheduler);
        let name = request.name.clone();
        let (name, source) = match name {
            Some(name) => (name, "--name"),
            None => (program.job_name(), "the command"),
        };
        let option = match scheduler {
            Scheduler::Slurm => "--job-name",
            Scheduler::Pbs => "-N",
        };
        let direct = Directive::new(option, name);
        add_directive(
            &mut script,
            &mut settings,
            direct,
            "name in the queue",
            source,
        );
        direct_resources(&mut script, &mut settings, site, request, &resources);
        direct_output(&mut script, &mut settings, scheduler);
        let mut plan = Plan {
            site,
            scheduler,
            resources: &resources,
            program,
            settings,
            script,
        };
        let command = plan.command()?;
        plan.surroundings();
        plan.start(&command);
        let Plan {
            settings, script, ..
        } = plan;
        Ok(Self {
            settings: settings.0,
            script,
            resources,
        })
    }
}

/// Job in the making.
struct Plan<'a> {
    site: JobSite<'a>,
    scheduler: Scheduler,
    resources: &'a Resources,
    program: &'a Program,
    settings: Settings,
    script: BatchScript,
}

impl Plan<'_> {
    fn line(&mut self, line: impl Into<String>) {
        self.script.line(line);
    }

    /// Exports a variable, unless the user has set it. `path` must exist on the node.
    fn export(&mut self, name: &str, value: &str, path: Option<&str>, why: &str, source: &str) {
        let value_if_unset = format!("export {name}=\"${{{name}-{}}}\"", in_quotes(value));
        self.line(match path {
            Some(path) => format!("if [ -e {} ]; then {value_if_unset}; fi", quote(path)),
            None => value_if_unset,
        });
        let value = Some(value.to_owned());
        self.settings
            .add(SettingKind::Variable, name, value, why, source);
    }
}

/// Escapes a text for double quotes in a shell. `${NAME}` stays, and the shell expands it.
fn in_quotes(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\\', '`', '$', '}']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let variable = rest
            .strip_prefix("${")
            .and_then(|inner| inner.find('}'))
            .map(|end| end + 3);
        if let Some(end) = variable {
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        } else {
            out.push('\\');
            out.push_str(&rest[..1]);
            rest = &rest[1..];
        }
    }
    out + rest
}

fn add_directive(
    script: &mut BatchScript,
    settings: &mut Settings,
    directive: Directive,
    reason: impl Into<String>,
    source: impl Into<String>,
) {
    let value = directive.value().map(str::to_owned);
    settings.add(
        SettingKind::Directive,
        directive.option(),
        value,
        reason,
        source,
    );
    script.direct(directive);
}

/// Adds the options that ask for the nodes of a job: those of a program's job, and of any other.
pub(crate) fn direct_resources(
    script: &mut BatchScript,
    settings: &mut Settings,
    site: JobSite<'_>,
    request: &Request,
    resources: &Resources,
) {
    let scheduler = script.scheduler();
    let mut add = |option: &str, value: String, reason: &str, source: &str| {
        add_directive(
            script,
            settings,
            Directive::new(option, value),
            reason,
            source,
        );
    };
    let of_site = format!("site {}", site.name);
    let name = resources.partition.as_ref().map(|(name, _)| name.as_str());
    let of_partition = name.map_or(of_site.clone(), |name| format!("{of_site}, {name}"));
    let given = |is_given: bool, option: &'static str| -> String {
        if is_given {
            option.to_owned()
        } else {
            of_partition.clone()
        }
    };
    let account = request.account.as_ref();
    match scheduler {
        Scheduler::Slurm => {
            if let Some(account) = account {
                add(
                    "--account",
                    account.name.clone(),
                    "project that pays",
                    &account.source,
                );
            }
            if let Some(name) = name {
                let source = given(resources.is_partition_named, "--partition");
                add(
                    "--partition",
                    name.to_owned(),
                    reason_of_partition(resources),
                    &source,
                );
            }
            add(
                "--nodes",
                resources.nodes.to_string(),
                "number of nodes",
                "--nodes",
            );
            let source = given(request.tasks_per_node.is_some(), "--ntasks-per-node");
            let (reason, source) = match resources.launcher {
                Launcher::Torchrun => (
                    "torchrun is one task, which starts the others",
                    "--launcher".to_owned(),
                ),
                _ if resources.gpus > 0 => ("one task for each GPU", source),
                _ => ("tasks on each node", source),
            };
            add(
                "--ntasks-per-node",
                resources.tasks.to_string(),
                reason,
                &source,
            );
            if let Some(cpus) = resources.cpus_per_task {
                let source = given(request.cpus_per_task.is_some(), "--cpus-per-task");
                let reason = reason_of_cpus(resources);
                add("--cpus-per-task", cpus.to_string(), reason, &source);
            }
        }
        Scheduler::Pbs => {
            let mut select = resources.nodes.to_string();
            if let Some(property) = &site.rules.select {
                select.push_str(&format!(":{property}"));
            }
            add(
                "-l select",
                select,
                "nodes, each with all that it has",
                "--nodes",
            );
        }
    }
    add_gpus(script, settings, request, resources, &of_partition);
    if resources.exclusive && scheduler == Scheduler::Slurm {
        let directive = Directive::flag("--exclusive");
        add_directive(
            script,
            settings,
            directive,
            "no other job on the nodes",
            "--exclusive",
        );
    }
    add_limits(script, settings, request, resources, &of_partition);
    for rule in site.rules.directives.iter().flatten() {
        let directive = Directive::parse(&rule.option);
        add_directive(
            script,
            settings,
            directive,
            rule.why.clone(),
            of_site.clone(),
        );
    }
    if scheduler == Scheduler::Pbs {
        if let Some(name) = name {
            let source = given(resources.is_partition_named, "--partition");
            let reason = reason_of_partition(resources);
            add_directive(script, settings, Directive::new("-q", name), reason, source);
        }
        if let Some(account) = account {
            let directive = Directive::new("-A", &account.name);
            let source = account.source.clone();
            add_directive(script, settings, directive, "project that pays", source);
        }
    }
}

/// Adds the option that asks for GPUs.
fn add_gpus(
    script: &mut BatchScript,
    settings: &mut Settings,
    request: &Request,
    resources: &Resources,
    of_partition: &str,
) {
    let rules = resources.partition.as_ref().and_then(|(_, it)| it.as_ref());
    let option = match (rules, script.scheduler()) {
        (Some(rules), _) => rules.gpu_option.as_deref(),
        (None, Scheduler::Slurm) => Some("--gpus-per-node={}"),
        (None, Scheduler::Pbs) => None,
    };
    if resources.gpus == 0 {
        return;
    }
    if let Some(option) = option {
        let option = option.replace("{}", &resources.gpus.to_string());
        let source = match request.gpus {
            Some(_) => "--gpus",
            None => of_partition,
        };
        let reason = "GPUs of the node and not of a task, so that ranks reach each other's";
        add_directive(script, settings, Directive::parse(&option), reason, source);
    }
}

/// Adds the options for memory and time.
fn add_limits(
    script: &mut BatchScript,
    settings: &mut Settings,
    request: &Request,
    resources: &Resources,
    of_partition: &str,
) {
    let is_slurm = script.scheduler() == Scheduler::Slurm;
    // Jobs of PBS that we write have whole nodes with all their memory.
    if let Some(memory) = resources.memory_gib.filter(|_| is_slurm) {
        let source = match request.memory_gib {
            Some(_) => "--mem",
            None => of_partition,
        };
        let reason = if request.memory_gib.is_some() {
            "memory of each node"
        } else if resources.has_whole_nodes {
            "all memory of a node that jobs may have"
        } else {
            "the GPUs' part of the node's memory"
        };
        let directive = Directive::new("--mem", format!("{memory}G"));
        add_directive(script, settings, directive, reason, source);
    }
    let rules = resources.partition.as_ref().and_then(|(_, it)| it.as_ref());
    let (reason, source) = match (request.time, rules) {
        (Some(_), _) => ("time limit".to_owned(), "--time"),
        (None, Some(rules)) => {
            let most = rules.time.slurm();
            (format!("time limit; a job may take {most}"), OURS)
        }
        (None, None) => ("time limit".to_owned(), OURS),
    };
    let directive = if is_slurm {
        Directive::new("--time", resources.time.slurm())
    } else {
        Directive::new("-l walltime", resources.time.pbs())
    };
    add_directive(script, settings, directive, reason, source);
}

fn direct_output(script: &mut BatchScript, settings: &mut Settings, scheduler: Scheduler) {
    let (directive, reason) = match scheduler {
        Scheduler::Slurm => (
            Directive::new("--output", "%x_%j.txt"),
            "one file for the output of a job, with its name and number",
        ),
        Scheduler::Pbs => (Directive::new("-j", "oe"), "one file for output and errors"),
    };
    add_directive(script, settings, directive, reason, OURS);
}

fn reason_of_partition(resources: &Resources) -> &'static str {
    if resources.is_partition_named {
        "partition that you have named"
    } else {
        "first of the usual ones that is right for the job"
    }
}

fn reason_of_cpus(resources: &Resources) -> &'static str {
    match (resources.launcher, resources.gpus) {
        (Launcher::Torchrun, _) => "cores of all processes that torchrun starts",
        (_, 0) => "cores of each task",
        _ => "cores beside each GPU",
    }
}

#[cfg(test)]
mod tests;
