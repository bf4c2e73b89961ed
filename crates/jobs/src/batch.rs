//! Responsible for the form of a batch script: the lines that a scheduler reads, and the shell code
//! after them.

use serde::{Deserialize, Serialize};

/// Program that runs batch scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Slurm, whose scripts are given to `sbatch`.
    Slurm,
    /// PBS Professional or OpenPBS, whose scripts are given to `qsub`.
    Pbs,
}

impl Scheduler {
    /// Returns the command that takes a script.
    #[must_use]
    pub fn submit_command(self) -> &'static str {
        match self {
            Self::Slurm => "sbatch",
            Self::Pbs => "qsub",
        }
    }

    /// Returns the name of a partition in the words of the scheduler.
    #[must_use]
    pub fn partition_word(self) -> &'static str {
        match self {
            Self::Slurm => "partition",
            Self::Pbs => "queue",
        }
    }

    fn marker(self) -> &'static str {
        match self {
            Self::Slurm => "#SBATCH",
            Self::Pbs => "#PBS",
        }
    }

    /// Returns the first line of a script. PBS does not pass on the variables of the shell that
    /// submits, so that its scripts begin as login shells do, which know the command `module`.
    fn interpreter(self) -> &'static str {
        match self {
            Self::Slurm => "#!/bin/bash",
            Self::Pbs => "#!/bin/bash -l",
        }
    }
}

/// Option for the scheduler: `--nodes=4` of Slurm, `-q debug` or `-l walltime=1:00:00` of PBS.
///
/// ```
/// use condense_jobs::Directive;
/// for text in ["--nodes=4", "--exclusive", "-q debug", "-l place=scatter"] {
///     assert_eq!(Directive::parse(text).to_string(), text);
/// }
/// let place = Directive::parse("-l place=scatter");
/// assert_eq!((place.option(), place.value()), ("-l place", Some("scatter")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    option: String,
    value: Option<String>,
}

impl Directive {
    /// Creates an option with a value.
    #[must_use]
    #[allow(
        clippy::needless_pass_by_value,
        reason = "callers give numbers and texts alike"
    )]
    pub fn new(option: impl Into<String>, value: impl ToString) -> Self {
        Self {
            option: option.into(),
            value: Some(value.to_string()),
        }
    }

    /// Creates an option without a value.
    #[must_use]
    pub fn flag(option: impl Into<String>) -> Self {
        Self {
            option: option.into(),
            value: None,
        }
    }

    /// Splits a text as it is in a script.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let is_resource = text.starts_with("--") || text.starts_with("-l ");
        let parts = if is_resource {
            text.split_once('=')
        } else {
            text.split_once(' ')
        };
        match parts {
            Some((option, value)) => Self::new(option, value),
            None => Self::flag(text),
        }
    }

    /// Returns the name of the option.
    #[must_use]
    pub fn option(&self) -> &str {
        &self.option
    }

    /// Returns the value of the option.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }
}

impl std::fmt::Display for Directive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(value) = &self.value else {
            return f.write_str(&self.option);
        };
        // `-l NAME=VALUE` is one of PBS's resources; its other options have a blank.
        let is_resource = self.option.starts_with("--") || self.option.contains(' ');
        let sign = if is_resource { '=' } else { ' ' };
        write!(f, "{}{sign}{value}", self.option)
    }
}

/// Batch script: options for the scheduler, and shell code.
///
/// ```
/// use condense_jobs::{BatchScript, Directive, Scheduler};
/// let mut script = BatchScript::new(Scheduler::Slurm);
/// script.direct(Directive::new("--nodes", 2));
/// script.line("srun hostname");
/// assert_eq!(script.render(), "#!/bin/bash\n#SBATCH --nodes=2\n\nsrun hostname\n");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchScript {
    scheduler: Scheduler,
    directives: Vec<Directive>,
    lines: Vec<String>,
}

impl BatchScript {
    /// Creates an empty script for a scheduler.
    #[must_use]
    pub fn new(scheduler: Scheduler) -> Self {
        Self {
            scheduler,
            directives: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Adds an option for the scheduler.
    pub fn direct(&mut self, directive: Directive) {
        self.directives.push(directive);
    }

    /// Adds a line of shell code.
    pub fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Returns the scheduler that the script is for.
    #[must_use]
    pub fn scheduler(&self) -> Scheduler {
        self.scheduler
    }

    /// Returns the options, as they may be given to the command that submits as well.
    #[must_use]
    pub fn directives(&self) -> &[Directive] {
        &self.directives
    }

    /// Returns the text of the script. A scheduler reads options up to the first command only, so
    /// all of them come first.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("{}\n", self.scheduler.interpreter());
        for directive in &self.directives {
            text.push_str(&format!("{} {directive}\n", self.scheduler.marker()));
        }
        text.push('\n');
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// Quotes a word for a shell, unless it has only letters, digits and signs without a meaning.
///
/// ```
/// use condense_jobs::quote;
/// assert_eq!(quote("a/b-1.py"), "a/b-1.py");
/// assert_eq!(quote("it's"), r"'it'\''s'");
/// assert_eq!(quote(""), "''");
/// ```
#[must_use]
pub fn quote(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./:@%+,=-".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
