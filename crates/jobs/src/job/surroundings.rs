//! Responsible for what a script sets before it starts the program: modules, variables and options
//! of the container runtime.

use super::{OURS, Plan, in_quotes};
use crate::{
    batch::{Scheduler, quote},
    masks::{TaskOrder, join},
    request::{ModuleKind, ProgramVariable, Start},
    rules::Launcher,
    setting::SettingKind,
};

/// Variables of Slurm that differ between the processes of a step. Values with them are the
/// business of the run scripts, which each process starts.
const OF_A_PROCESS: [&str; 3] = ["SLURM_NODEID", "SLURM_LOCALID", "SLURM_PROCID"];

/// Directories of MIOpen's caches, which must exist before it starts: processes that make them at
/// the same time disturb each other.
const CACHES: [&str; 2] = ["MIOPEN_USER_DB_PATH", "MIOPEN_CUSTOM_CACHE_DIR"];

/// Devices of GPUs, by which rules of sites know nodes with GPUs.
const GPU_DEVICES: [&str; 2] = ["/dev/kfd", "/dev/nvidiactl"];

/// Flags of the runtime that are for nodes with GPUs only.
const GPU_FLAGS: [&str; 2] = ["--rocm", "--nv"];

impl Plan<'_> {
    /// Adds all lines before the one that starts the program.
    pub(super) fn surroundings(&mut self) {
        self.line(format!(
            "# Written by condense for the site {}. `condense job --explain` says why each line is here.",
            self.site.name
        ));
        if self.scheduler == Scheduler::Pbs {
            self.line("cd \"$PBS_O_WORKDIR\" || exit 1");
        }
        self.modules();
        self.site_variables();
        self.program_variables();
        self.run_script_variables();
        self.mpi();
        self.image();
    }

    fn modules(&mut self) {
        let of_site = format!("site {}", self.site.name);
        let mut lines = Vec::new();
        for words in self.site.rules.modules.iter().flatten() {
            let reason = "programs of the site that the job needs";
            lines.push((words.clone(), reason, of_site.clone()));
        }
        if let Start::Module { name, dir, .. } = &self.program.start {
            if let Some(dir) = dir {
                let words = format!("use {}", quote(&dir.display().to_string()));
                lines.push((words, "directory of the module", OURS.to_owned()));
            }
            let words = format!("load {}", quote(name));
            lines.push((words, "module of the program", "--module".to_owned()));
        }
        for (words, reason, source) in lines {
            self.line(format!("module {words} || exit 1"));
            let (verb, name) = words.split_once(' ').unwrap_or((&words, ""));
            let name = Some(name.to_owned());
            self.settings
                .add(SettingKind::Module, verb, name, reason, source);
        }
    }

    /// Sets the variables that each job of the site has.
    fn site_variables(&mut self) {
        let of_site = format!("site {}", self.site.name);
        let variables = self.site.rules.variables.clone().unwrap_or_default();
        let mut directories = Vec::new();
        for variable in variables {
            self.export(
                &variable.name,
                &variable.value,
                None,
                &variable.why,
                &of_site,
            );
            if variable.directory {
                directories.push(format!("\"${}\"", variable.name));
            }
        }
        if !directories.is_empty() {
            self.line(format!("mkdir -p -- {}", directories.join(" ")));
        }
    }

    /// Sets the site's variables for programs. The wrappers of an installation and the commands of
    /// a module set them by themselves.
    fn program_variables(&mut self) {
        if !self.sets_site_variables() {
            return;
        }
        let of_site = format!("site {}", self.site.name);
        let mut caches = Vec::new();
        for ProgramVariable { name, value, path } in &self.program.variables {
            let is_of_a_process = OF_A_PROCESS.iter().any(|it| value.contains(it));
            let path = path.as_ref().map(|path| path.display().to_string());
            let is_of_gpus = path
                .as_deref()
                .is_some_and(|path| GPU_DEVICES.contains(&path));
            let has_none = is_of_gpus && self.resources.gpus == 0;
            if has_none || is_of_a_process && self.uses_run_script() {
                continue;
            }
            let reason = match &path {
                Some(path) => {
                    format!("rule of the site for nodes with {path}; your own value wins")
                }
                None => "rule of the site; your own value wins".to_owned(),
            };
            self.export(name, value, path.as_deref(), &reason, &of_site);
            if CACHES.contains(&name.as_str()) {
                caches.push(name.as_str());
            }
        }
        if let (Some(first), Scheduler::Slurm) = (caches.first(), self.scheduler) {
            let dirs: Vec<String> = caches.iter().map(|name| format!("\"${name}\"")).collect();
            self.line(format!("if [ \"${{{first}-}}\" ]; then"));
            self.line(format!(
                "  srun --ntasks=\"$SLURM_JOB_NUM_NODES\" --ntasks-per-node=1 mkdir -p -m 700 -- {} || exit 1",
                dirs.join(" ")
            ));
            self.line("fi");
        }
    }

    fn sets_site_variables(&self) -> bool {
        matches!(
            self.program.start,
            Start::Image(_)
                | Start::Module {
                    brings: ModuleKind::Image,
                    ..
                }
        )
    }

    /// Sets what the run scripts read.
    fn run_script_variables(&mut self) {
        if self.resources.launcher == Launcher::Torchrun {
            self.rendezvous();
            return;
        }
        if !self.uses_run_script() {
            return;
        }
        if self.scheduler == Scheduler::Pbs {
            self.line("[ \"${MASTER_ADDR-}\" ] || MASTER_ADDR=$(head -n 1 \"$PBS_NODEFILE\")");
            self.line("export MASTER_ADDR");
            let value = Some("$(head -n 1 \"$PBS_NODEFILE\")".to_owned());
            let reason = "first node of the job, in a file that containers may not see";
            self.settings
                .add(SettingKind::Variable, "MASTER_ADDR", value, reason, OURS);
        }
        if self.resources.gpus == 0 {
            return;
        }
        let reason = "each rank sees all GPUs, and LOCAL_RANK is the number of its own";
        self.export("CONDENSE_GPUS", "all", None, reason, OURS);
        let of_masks = self.resources.masks.as_ref();
        let of_masks = of_masks.filter(|(_, order)| *order == TaskOrder::Groups);
        let (order, source) = match (of_masks, &self.site.rules.gpu_order) {
            (Some((masks, _)), _) => (masks.gpu_list(), "--binding".to_owned()),
            (None, Some(order)) => (join(order), format!("site {}", self.site.name)),
            (None, None) => return,
        };
        let reason = "number of the GPU beside the cores of each local rank";
        self.export("CONDENSE_GPU_ORDER", &order, None, reason, &source);
    }

    /// Sets the node and the port where the processes of torchrun meet. The script runs on the
    /// first node of the job, and its step has all nodes.
    fn rendezvous(&mut self) {
        let (address, port) = match self.scheduler {
            Scheduler::Slurm => (
                "$(scontrol show hostnames \"$SLURM_JOB_NODELIST\" | head -n 1)",
                "$((20000 + SLURM_JOB_ID * 16 % 10000))",
            ),
            Scheduler::Pbs => (
                "$(head -n 1 \"$PBS_NODEFILE\")",
                "$((20000 + ${PBS_JOBID%%[!0-9]*} * 16 % 10000))",
            ),
        };
        let reasons = [
            (
                "MASTER_ADDR",
                address,
                "first node of the job, on which rank 0 is",
            ),
            (
                "MASTER_PORT",
                port,
                "follows from the job, so that two jobs on a node differ",
            ),
        ];
        for (name, value, reason) in reasons {
            self.line(format!("[ \"${{{name}-}}\" ] || {name}={value}"));
            let value = Some(value.to_owned());
            self.settings
                .add(SettingKind::Variable, name, value, reason, OURS);
        }
        self.line("export MASTER_ADDR MASTER_PORT");
    }

    /// Sets Slurm's plugin for an MPICH in the image. Cray's launcher serves Cray's library only.
    fn mpi(&mut self) {
        let plugin = self.site.rules.own_mpich.clone();
        let is_slurm = self.scheduler == Scheduler::Slurm;
        if let Some(plugin) = plugin.filter(|_| is_slurm && self.program.has_mpich) {
            let reason = "the MPICH of the image asks Slurm for its ranks in this way";
            let source = format!("site {}", self.site.name);
            self.export("SLURM_MPI_TYPE", &plugin, None, reason, &source);
        }
    }

    /// Sets the image and the options of the runtime.
    fn image(&mut self) {
        match &self.program.start {
            Start::Image(path) => {
                let path = path.display().to_string();
                self.line(format!("image={}", quote(&path)));
            }
            Start::Module {
                name,
                brings: ModuleKind::Image,
                ..
            } => {
                let what = format!("the module {name} names no image");
                self.line(format!("image=${{SIF:?\"{}\"}}", in_quotes(&what)));
            }
            _ => return,
        }
        let has_gpus = self.resources.gpus > 0;
        let flags = self.program.flags.iter();
        let flags = flags.filter(|flag| has_gpus || !GPU_FLAGS.contains(&flag.as_str()));
        let flags: Vec<String> = flags.cloned().collect();
        let words: Vec<String> = flags.iter().map(|flag| quote(flag)).collect();
        self.line(format!("options=({})", words.join(" ")));
        let source = format!("site {}", self.site.name);
        for flag in flags {
            let reason = if GPU_FLAGS.contains(&flag.as_str()) {
                "libraries of the GPUs' driver"
            } else {
                "rule of the site for containers"
            };
            self.settings
                .add(SettingKind::Runtime, flag, None, reason, &source);
        }
        if self.program.binds.is_empty() {
            return;
        }
        let binds: Vec<String> = self.program.binds.iter().map(|bind| quote(bind)).collect();
        self.line(format!("for bind in {}; do", binds.join(" ")));
        self.line("  if [ -e \"${bind%%:*}\" ]; then options+=(--bind \"$bind\"); fi");
        self.line("done");
        let value = Some(self.program.binds.join(","));
        let reason = "directories of the site, those that exist on the first node";
        self.settings
            .add(SettingKind::Runtime, "--bind", value, reason, source);
    }
}
