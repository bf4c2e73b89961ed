//! Responsible for what a user asks of a job, and for what is known of the program that it runs.

use std::path::PathBuf;

use crate::{masks::TaskOrder, rules::Launcher, time_limit::TimeLimit};

/// Job that a user asks for. Values that are not given are those of the site.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Number of nodes of the job.
    pub nodes: u32,
    /// Partition of Slurm or queue of PBS.
    pub partition: Option<String>,
    /// Time limit of the job.
    pub time: Option<TimeLimit>,
    /// Project that pays for the job.
    pub account: Option<Account>,
    /// Number of tasks on each node; for torchrun, the number of processes.
    pub tasks_per_node: Option<u32>,
    /// Number of cores of each task.
    pub cpus_per_task: Option<u32>,
    /// Number of GPUs on each node.
    pub gpus: Option<u32>,
    /// Memory on each node in GiB.
    pub memory_gib: Option<u32>,
    /// Whether the job shares its nodes with no other, in partitions where jobs may.
    pub exclusive: bool,
    /// Program that starts the processes.
    pub launcher: Option<Launcher>,
    /// Masks of the tasks.
    pub binding: Option<Binding>,
    /// Name of the job.
    pub name: Option<String>,
    /// Path of the program `condense`, if it is to copy the image to the nodes first.
    pub stage: Option<PathBuf>,
}

/// Project that pays for a job, and the place where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Name of the project.
    pub name: String,
    /// Option, variable or list that has the name.
    pub source: String,
}

/// Masks that the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// Masks with the tasks in this order.
    Masks(TaskOrder),
    /// Tasks without any masks.
    None,
}

/// Place from which the program is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Image that a container runtime runs.
    Image(PathBuf),
    /// Directory `bin` of an installation.
    Installation {
        /// Directory with the wrappers.
        bin: PathBuf,
        /// Names of the wrappers.
        wrappers: Vec<String>,
    },
    /// Environment module that is loaded.
    Module {
        /// Name as `module load` takes it.
        name: String,
        /// Directory for `module use`, if condense has found the module there.
        dir: Option<PathBuf>,
        /// Contents of the module.
        brings: ModuleKind,
    },
}

/// Contents of an environment module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleKind {
    /// Wrappers that are on PATH.
    Wrappers,
    /// Image with the command `start-shell` of condense.
    Commands,
    /// Image whose path is in the variable `SIF`.
    Image,
}

/// Variable of the site for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramVariable {
    /// Name of the variable.
    pub name: String,
    /// Value, in which `${NAME}` is expanded when the job starts.
    pub value: String,
    /// Path that must exist on the node.
    pub path: Option<PathBuf>,
}

/// Program of a job, and what is known of the image that it is in.
#[derive(Debug, Clone)]
pub struct Program {
    /// Place from which the program is started.
    pub start: Start,
    /// Image, installation or module in the words of the user.
    pub subject: String,
    /// Program and its arguments, as the user has typed them.
    pub command: Vec<String>,
    /// Whether there is a Python; `None` if that is not known.
    pub has_python: Option<bool>,
    /// Whether there are run scripts; `None` if that is not known.
    pub has_run_scripts: Option<bool>,
    /// Whether the image is made for GPUs.
    pub is_for_gpus: bool,
    /// Whether the image has an MPICH of its own.
    pub has_mpich: bool,
    /// Version of the package torch.
    pub torch: Option<String>,
    /// Directories of the host that the container shows, as SOURCE or SOURCE:DESTINATION.
    pub binds: Vec<String>,
    /// Flags of the container runtime.
    pub flags: Vec<String>,
    /// Variables of the site.
    pub variables: Vec<ProgramVariable>,
}

/// Command of a job, by the program that runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandKind<'a> {
    /// Python with these arguments.
    Python(&'a [String]),
    /// Any other program with its arguments.
    Other(&'a [String]),
}

impl Program {
    /// Splits the command. Words that begin with a hyphen are options of Python, and a name that
    /// ends in `.py` is one of its scripts.
    pub(crate) fn kind(&self) -> CommandKind<'_> {
        let Some((first, rest)) = self.command.split_first() else {
            return CommandKind::Other(&self.command);
        };
        let is_python = |name: &str| {
            name.strip_prefix("python").is_some_and(|version| {
                let mut bytes = version.bytes();
                bytes.all(|byte| byte.is_ascii_digit() || byte == b'.')
            })
        };
        if is_python(first) || first == "conda-python-distributed" {
            CommandKind::Python(rest)
        } else if first.starts_with('-') || first.to_ascii_lowercase().ends_with(".py") {
            CommandKind::Python(&self.command)
        } else {
            CommandKind::Other(&self.command)
        }
    }

    /// Returns a name for the job: that of the script or module of Python, else of the program.
    pub(crate) fn job_name(&self) -> String {
        let word = match self.kind() {
            CommandKind::Python(arguments) => {
                let mut words = arguments.iter().skip_while(|word| word.starts_with('-'));
                words.next().map_or("python", String::as_str)
            }
            CommandKind::Other(words) => words.first().map_or("job", String::as_str),
        };
        let name = word.rsplit('/').next().unwrap_or(word);
        let name = name.strip_suffix(".py").unwrap_or(name);
        let is_plain = |it: &char| it.is_ascii_alphanumeric() || "._-".contains(*it);
        let plain: String = name.chars().filter(is_plain).take(NAME_MOST).collect();
        // PBS takes names that begin with a letter.
        match plain.chars().next() {
            Some(first) if first.is_ascii_alphabetic() => plain,
            _ => format!("job{plain}"),
        }
    }
}

/// Length of the longest name of a job: PBS takes 15 characters in older versions.
const NAME_MOST: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn program(words: &[&str]) -> Program {
        Program {
            start: Start::Image("/image.sif".into()),
            subject: "image.sif".to_owned(),
            command: words.iter().map(|&word| word.to_owned()).collect(),
            has_python: None,
            has_run_scripts: None,
            is_for_gpus: false,
            has_mpich: false,
            torch: None,
            binds: Vec::new(),
            flags: Vec::new(),
            variables: Vec::new(),
        }
    }

    #[test]
    fn commands_of_python_are_known() {
        for (words, python, name) in [
            (&["train.py", "--epochs"][..], Some(2), "train"),
            (&["-u", "dir/my train.PY"], Some(2), "mytrain.PY"),
            (&["python", "-m", "pkg.mod"], Some(2), "pkg.mod"),
            (&["python3.12", "a.py"], Some(1), "a"),
            (&["conda-python-distributed", "a.py"], Some(1), "a"),
            (&["pythonic"], None, "pythonic"),
            (&["/opt/bin/2nd"], None, "job2nd"),
            (&["-c", "print(1)"], Some(2), "print1"),
            (&["python"], Some(0), "python"),
        ] {
            let program = program(words);
            let found = match program.kind() {
                CommandKind::Python(arguments) => Some(arguments.len()),
                CommandKind::Other(_) => None,
            };
            assert_eq!(
                (found, program.job_name().as_str()),
                (python, name),
                "{words:?}"
            );
        }
    }
}
