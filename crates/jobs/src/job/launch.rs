//! Responsible for the end of a script: the launcher with its options, and the program.

use super::{OURS, Plan};
use crate::{
    batch::{Scheduler, quote},
    error::{Error, Result},
    masks::TaskOrder,
    request::{CommandKind, ModuleKind, Start},
    rules::Launcher,
    setting::SettingKind,
};

/// Run script that makes a process one rank of Python.
const RUN_SCRIPT: &str = "conda-python-distributed";
/// Wrapper of an installation that runs any program of the container.
const ANY_PROGRAM: &str = "_debug_exec";
/// Version of torch whose launcher gives each process the cores beside its GPU.
const BINDS_CORES: [u32; 2] = [2, 9];

impl Plan<'_> {
    /// Returns whether each process starts with a run script.
    pub(super) fn uses_run_script(&self) -> bool {
        let is_python = matches!(self.program.kind(), CommandKind::Python(_));
        let is_alone = self.program.has_run_scripts == Some(false) && self.resources.ranks() == 1;
        self.resources.launcher != Launcher::Torchrun && is_python && !is_alone
    }

    /// Returns the program and its arguments as words of a shell.
    pub(super) fn command(&self) -> Result<Vec<String>> {
        let launcher = self.resources.launcher;
        let words = match (launcher, self.program.kind()) {
            (Launcher::Torchrun, kind) => return self.torchrun(kind),
            (_, CommandKind::Python(arguments)) => {
                let needed_by = "the command";
                self.need_python(needed_by)?;
                let ranks = self.resources.ranks();
                if self.program.has_run_scripts == Some(false) && ranks > 1 {
                    return Err(Error::NoRunScripts {
                        subject: self.program.subject.clone(),
                        ranks,
                    });
                }
                let name = if self.uses_run_script() {
                    RUN_SCRIPT
                } else {
                    "python"
                };
                self.in_place(name, arguments)
            }
            (_, CommandKind::Other(words)) => {
                let (name, rest) = words.split_first().map_or(("", words), |(a, b)| (a, b));
                if name == "torchrun" {
                    return Err(Error::Command {
                        launcher: launcher.as_str(),
                        word: name.to_owned(),
                        reason: "it is a launcher itself",
                        advice: "write `--launcher torchrun -- SCRIPT`, without its options"
                            .to_owned(),
                    });
                }
                if matches!(self.resources.masks, Some((_, TaskOrder::Groups))) {
                    return Err(Error::NoMasks {
                        reason: "in the order of the cores, only run scripts give each task the GPU beside them".to_owned(),
                    });
                }
                self.in_place(name, rest)
            }
        };
        Ok(words)
    }

    fn need_python(&self, needed_by: &str) -> Result<()> {
        if self.program.has_python == Some(false) {
            return Err(Error::NoPython {
                subject: self.program.subject.clone(),
                needed_by: needed_by.to_owned(),
            });
        }
        Ok(())
    }

    /// Returns a program of the image or the installation with its arguments, quoted.
    fn in_place(&self, name: &str, arguments: &[String]) -> Vec<String> {
        let mut words = Vec::new();
        if let Start::Installation { bin, wrappers } = &self.program.start {
            let has_wrapper = wrappers.iter().any(|wrapper| wrapper == name);
            let first = if has_wrapper { name } else { ANY_PROGRAM };
            words.push(quote(&bin.join(first).display().to_string()));
            if has_wrapper {
                words.extend(arguments.iter().map(|word| quote(word)));
                return words;
            }
        }
        words.push(quote(name));
        words.extend(arguments.iter().map(|word| quote(word)));
        words
    }

    /// Returns torch's launcher with its options and the arguments of Python.
    fn torchrun(&self, kind: CommandKind<'_>) -> Result<Vec<String>> {
        let launcher = Launcher::Torchrun.as_str();
        let refuse = |word: &str, reason, advice: &str| {
            Err(Error::Command {
                launcher,
                word: word.to_owned(),
                reason,
                advice: advice.to_owned(),
            })
        };
        let arguments = match kind {
            CommandKind::Python(arguments) => arguments,
            CommandKind::Other(words) => {
                let word = words.first().map_or("", String::as_str);
                let advice = "name a script that ends in .py, or `-m MODULE`; `--launcher srun` starts any program";
                return refuse(word, "it starts scripts of Python", advice);
            }
        };
        self.need_python(launcher)?;
        // Python's output is not buffered below torchrun.
        let arguments = match arguments.split_first() {
            Some((first, rest)) if first == "-u" => rest,
            _ => arguments,
        };
        match arguments.first().map(String::as_str) {
            None => return refuse("python", "there is no script", "name a script"),
            Some(word) if word.starts_with('-') && word != "-m" => {
                return refuse(word, "this is an option of Python", "leave it out");
            }
            Some(_) => {}
        }
        let (nodes, id) = match self.scheduler {
            Scheduler::Slurm => ("\"$SLURM_JOB_NUM_NODES\"".to_owned(), "SLURM_JOB_ID"),
            Scheduler::Pbs => (self.resources.nodes.to_string(), "PBS_JOBID"),
        };
        let is_wrapper = |name: &str| match &self.program.start {
            Start::Installation { wrappers, .. } => wrappers.iter().any(|it| it == name),
            _ => true,
        };
        let mut words = if is_wrapper(launcher) {
            self.in_place(launcher, &[])
        } else {
            let module = ["-m", "torch.distributed.run"].map(str::to_owned);
            self.in_place("python", &module)
        };
        words.push(format!("--nnodes={nodes}"));
        words.push(format!("--nproc_per_node={}", self.resources.processes));
        words.push(format!("--rdzv_id=\"${id}\""));
        words.push("--rdzv_backend=c10d".to_owned());
        words.push("--rdzv_endpoint=\"$MASTER_ADDR:$MASTER_PORT\"".to_owned());
        if self.binds_cores() {
            words.push("--numa-binding=exclusive".to_owned());
        }
        words.extend(arguments.iter().map(|word| quote(word)));
        Ok(words)
    }

    /// Returns whether torch itself gives each process the cores beside its GPU.
    fn binds_cores(&self) -> bool {
        let version = self.program.torch.as_deref().unwrap_or_default();
        let mut numbers = version.split('.').map(|word| word.parse::<u32>().ok());
        let version = [numbers.next(), numbers.next()].map(Option::flatten);
        let [Some(major), Some(minor)] = version else {
            return false;
        };
        self.resources.gpus > 0 && [major, minor] >= BINDS_CORES
    }

    /// Adds the launcher, with the runtime and the program.
    pub(super) fn start(&mut self, command: &[String]) {
        self.line(format!("command=({})", command.join(" ")));
        let mut words = self.launcher();
        match &self.program.start {
            Start::Image(_)
            | Start::Module {
                brings: ModuleKind::Image,
                ..
            } => {
                let runtime = self.site.rules.runtime.as_deref().unwrap_or("apptainer");
                words.push(quote(runtime));
                words.extend(["exec", "\"${options[@]}\"", "\"$image\""].map(str::to_owned));
            }
            Start::Module {
                brings: ModuleKind::Commands,
                ..
            } => words.extend(["start-shell", "--"].map(str::to_owned)),
            Start::Module { .. } | Start::Installation { .. } => {}
        }
        words.push("\"${command[@]}\"".to_owned());
        self.line(format!("exec {}", words.join(" ")));
        if self.binds_cores() && self.resources.launcher == Launcher::Torchrun {
            let reason = "torch gives each process the cores beside its GPU";
            let value = Some("exclusive".to_owned());
            let source = "torch of the image";
            self.settings.add(
                SettingKind::Launcher,
                "--numa-binding",
                value,
                reason,
                source,
            );
        }
    }

    /// Returns the launcher with its options.
    fn launcher(&mut self) -> Vec<String> {
        let resources = self.resources;
        let program = match (resources.launcher, self.scheduler) {
            (Launcher::Torchrun, Scheduler::Pbs) => Launcher::Mpiexec,
            (Launcher::Torchrun, Scheduler::Slurm) => Launcher::Srun,
            (launcher, _) => launcher,
        };
        let mut words = vec![program.as_str().to_owned()];
        let mut add = |name: &str, value: String, reason: &str, source: &str| {
            // The launchers of MPI libraries agree on this form only.
            let is_separate = program == Launcher::Mpiexec && name != "--depth";
            let sign = if is_separate { ' ' } else { '=' };
            words.push(format!("{name}{sign}{value}"));
            self.settings
                .add(SettingKind::Launcher, name, Some(value), reason, source);
        };
        let all = (resources.nodes * resources.tasks).to_string();
        match (program, self.scheduler) {
            (Launcher::Mpiexec, Scheduler::Pbs) => {
                add("-n", all, "tasks on all nodes", OURS);
                add(
                    "--ppn",
                    resources.tasks.to_string(),
                    "tasks on each node",
                    OURS,
                );
                if let Some(cpus) = resources.cpus_per_task {
                    let reason = "each task has the cores after those of the one before";
                    add("--depth", cpus.to_string(), reason, OURS);
                    add("--cpu-bind", "depth".to_owned(), reason, OURS);
                }
            }
            (Launcher::Mpiexec, Scheduler::Slurm) => add("-n", all, "tasks on all nodes", OURS),
            _ => {
                if let Some((masks, order)) = &resources.masks {
                    let reason = match order {
                        TaskOrder::Gpus => {
                            "each task runs on the cores beside the GPU of its number"
                        }
                        TaskOrder::Groups => "tasks have the groups of cores in their order",
                    };
                    let value = format!("mask_cpu:{}", masks.list());
                    add(
                        "--cpu-bind",
                        value,
                        reason,
                        &format!("site {}", self.site.name),
                    );
                } else if let Some(cpus) = resources.cpus_per_task {
                    let reason = "srun does not take it from sbatch since Slurm 22.05";
                    add("--cpus-per-task", cpus.to_string(), reason, OURS);
                }
            }
        }
        words
    }
}
