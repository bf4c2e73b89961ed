//! Responsible for preparing the trials that run in the build container, and for turning their
//! results into an [`Activation`].

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use super::{
    Activation, ActivationStep, Error,
    inference::{Change, infer},
    purity::LogChecker,
    results::{self, Outcome},
    trials::{self, ACTIVATION, EMPTY, REPEAT, Setting, TAINTED, Trial},
    variables,
};
use condense_within::Within;

const CAPTURE_BASH: &str = include_str!("capture.bash");

/// Time limit of one trial in seconds. `R CMD javareconf`, the slowest command known in an
/// activation script, takes two. If a script is slower than the limit, the build fails or the
/// environment becomes dynamic.
const LIMIT_SECONDS: u32 = 60;

/// Number of reasons shown per script; more reasons do not help the user.
const SHOWN_REASONS: usize = 3;

/// One activation script of the environment.
#[derive(Debug)]
struct Script {
    /// Path of the script at the mount point.
    path: String,
    /// Text of the script. `None` if the script is a link that leads out of the environment, since
    /// files of the build machine are not read.
    text: Option<String>,
}

/// The scripts of an environment and the trials that find out their effects.
#[derive(Debug)]
pub struct Capture {
    env_dir: PathBuf,
    env_prefix: String,
    build_dir: PathBuf,
    build_dir_inside: PathBuf,
    variables: Vec<(String, String)>,
    scripts: Vec<Script>,
    mentioned: BTreeSet<String>,
    /// Programs of the environment that are not in `env_dir`, below its `bin`.
    programs: BTreeSet<PathBuf>,
    trials: Vec<Trial>,
    limit_seconds: u32,
}

impl Capture {
    /// Prepares the capture of the environment that is in `env_dir` on this machine and will be
    /// mounted at `env_prefix`. Writes the inputs into `build_dir`, which is visible in the
    /// container as `build_dir_inside`; `build_dir` must not hold anything else.
    ///
    /// Returns `None` if there is no script: [`Activation::from_variables`] is then the whole
    /// activation.
    ///
    /// # Errors
    /// Returns [`Error::Read`], [`Error::Write`], [`Error::Parse`], [`Error::Variable`] or
    /// [`Error::Name`] if the environment cannot be read, the inputs cannot be written, a file of
    /// variables is malformed, a variable cannot be exported, or a path is not UTF-8.
    pub fn plan(
        env_dir: &Path,
        env_prefix: &Path,
        build_dir: &Path,
        build_dir_inside: &Path,
    ) -> Result<Option<Self>, Error> {
        let utf8 = |path: &Path| {
            path.to_str().map(str::to_owned).ok_or_else(|| Error::Name {
                path: path.to_owned(),
            })
        };
        let mut scripts = Vec::new();
        let mut mentioned = BTreeSet::new();
        let env = open(env_dir)?;
        for path in files(&env, "etc/conda/activate.d", "sh")? {
            let text = match env.read(&path) {
                Ok(Some(text)) => Some(String::from_utf8_lossy(&text).into_owned()),
                Err(condense_within::Error::LeadsOut { .. }) if env.path(&path).is_file() => None,
                // A dangling link is skipped. conda's shell does the same: it prints an error and
                // continues.
                Ok(None) | Err(condense_within::Error::LeadsOut { .. }) => continue,
                Err(error) => return Err(unreadable(error)),
            };
            if let Some(text) = &text {
                trials::find_mentioned(text, &mut mentioned);
            }
            scripts.push(Script {
                path: utf8(&env_prefix.join(path))?,
                text,
            });
        }
        if scripts.is_empty() {
            return Ok(None);
        }
        let variables = variables::load(&env)?;
        let env_prefix = utf8(env_prefix)?;
        let trials = trials::build(&Setting {
            env_prefix: &env_prefix,
            other_dir: &utf8(build_dir_inside)?,
            fixed: &variables,
            mentioned: &mentioned,
        });
        let capture = Self {
            env_dir: env_dir.to_owned(),
            env_prefix,
            build_dir: build_dir.to_owned(),
            build_dir_inside: build_dir_inside.to_owned(),
            variables,
            scripts,
            mentioned,
            programs: BTreeSet::new(),
            trials,
            limit_seconds: LIMIT_SECONDS,
        };
        let written = capture.write();
        written.map_err(|error| Error::Write(io::Error::other(error)))?;
        Ok(Some(capture))
    }

    /// Adds programs that the environment has in its `bin` when it is mounted, but not while its
    /// directory is read. The paths are relative to `bin`.
    pub fn add_programs<'p>(&mut self, programs: impl Iterator<Item = &'p Path>) {
        self.programs.extend(programs.map(Path::to_owned));
    }

    fn write(&self) -> Result<(), condense_within::Error> {
        let parent = self.build_dir.parent().unwrap_or(Path::new("/"));
        let name = self.build_dir.file_name().unwrap_or_default();
        let dir = Within::open(parent)?.make_own_dir(&name.to_string_lossy())?;
        dir.make_own_dir("trials")?;
        dir.write("capture.bash", CAPTURE_BASH)?;
        dir.write("limit", format!("{}\n", self.limit_seconds))?;
        let scripts = self.scripts.iter().map(|script| script.path.clone());
        dir.write("scripts", ended_by_nul(scripts))?;
        for (number, trial) in self.trials.iter().enumerate() {
            let variables = trial
                .variables
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            let lines = std::iter::once(trial.working_dir.clone()).chain(variables);
            dir.write(format!("trials/{number:03}"), ended_by_nul(lines))?;
        }
        Ok(())
    }

    /// Returns the command line to run in the build container, for a POSIX shell. The command
    /// succeeds whatever the scripts do; [`Capture::read`] reports their failures.
    ///
    /// # Streams
    /// Reads nothing and prints nothing; the output of the scripts goes to files.
    pub fn command(&self) -> String {
        let dir = quote(&self.build_dir_inside.to_string_lossy());
        format!(
            "if command -v bash >/dev/null 2>&1; then BASH_ENV= bash --norc --noprofile {dir}/capture.bash {dir} || :; else echo bash >{dir}/missing; fi"
        )
    }

    /// Reads the results of the trials and infers the steps.
    ///
    /// # Errors
    /// Returns [`Error::Script`] or [`Error::Endless`] for a script that would end or hang conda's
    /// own shell, [`Error::NotCaptured`] if the command was not run, and [`Error::Read`] if a
    /// result cannot be read.
    pub fn read(self) -> Result<Activation, Error> {
        let dir = open(&self.build_dir)?;
        if let Some(program) = dir.read("missing").map_err(unreadable)? {
            let program = String::from_utf8_lossy(&program).trim().to_owned();
            return Ok(self.activation(
                Vec::new(),
                0,
                &format!("`{program}`, needed to try it out, is not in the base image"),
            ));
        }
        let mut outcomes = Vec::new();
        for number in 0..self.trials.len() {
            outcomes.push(results::load(&dir, number, self.scripts.len())?);
        }
        for number in [ACTIVATION, EMPTY] {
            self.survived(number, outcomes[number].as_ref())?;
        }
        let outcomes: Vec<&Outcome> = outcomes.iter().flatten().skip(1).collect();

        let mut steps: Vec<ActivationStep> = Vec::new();
        for (at, script) in self.scripts.iter().enumerate() {
            match self.steps_of(at, script, &outcomes) {
                Ok(own) => steps.extend(own),
                Err(reason) => return Ok(self.activation(steps, at, &reason)),
            }
        }
        let all = self.scripts.len();
        Ok(self.activation(steps, all, ""))
    }

    /// Refuses scripts that end the shell although nothing is preset.
    fn survived(&self, number: usize, outcome: Option<&Outcome>) -> Result<(), Error> {
        let not_captured = |output: &str| Error::NotCaptured {
            path: self.build_dir.join(format!("{number:03}.states")),
            output: output.to_owned(),
        };
        let Some(outcome) = outcome else {
            return Err(not_captured(""));
        };
        if outcome.whole || outcome.stopped.is_some() {
            return Ok(());
        }
        let Some(script) = outcome.at.and_then(|at| self.scripts.get(at)) else {
            return Err(not_captured(&outcome.output));
        };
        let (script, output) = (script.path.clone(), outcome.output.clone());
        Err(if outcome.timed_out {
            Error::Endless {
                script,
                seconds: self.limit_seconds,
                output,
            }
        } else {
            Error::Script { script, output }
        })
    }

    /// Returns the steps of one script, or the reason why it needs a shell. `outcomes` leaves out
    /// the real activation (trial 0).
    fn steps_of(
        &self,
        at: usize,
        script: &Script,
        outcomes: &[&Outcome],
    ) -> Result<Vec<ActivationStep>, String> {
        if let Some((_, command)) = outcomes
            .iter()
            .filter_map(|outcome| outcome.stopped.as_ref())
            .find(|(number, _)| *number == at)
        {
            return Err(command.clone());
        }
        let Some(text) = &script.text else {
            return Err("is a link that leads out of the environment".to_owned());
        };
        if outcomes.len() + 1 < self.trials.len()
            || outcomes.iter().any(|outcome| outcome.states.len() < at + 2)
        {
            return Err("ends or hangs the shell when some variables are preset".to_owned());
        }
        let has_program = |program: &str| {
            let program = Path::new(program);
            self.programs.contains(program) || self.env_dir.join("bin").join(program).exists()
        };
        let mut checker = LogChecker::new(&has_program, &self.env_prefix, &self.mentioned, text);
        // The trial with sentinels gives the best reasons; the logs of other trials matter only
        // where the script takes another branch.
        for outcome in outcomes[TAINTED - 1..]
            .iter()
            .chain(&outcomes[..TAINTED - 1])
        {
            checker.read(&outcome.logs[at]);
            if !checker.reasons().is_empty() {
                break;
            }
        }
        let mut reasons = checker.into_reasons();
        for outcome in outcomes {
            let (before, after) = (&outcome.states[at], &outcome.states[at + 1]);
            for (setting, value) in &after.shell {
                let reason = format!("changes the shell's {setting}");
                if before.shell.get(setting) != Some(value) && !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
        if outcomes[REPEAT - 1].states[at + 1].variables
            != outcomes[EMPTY - 1].states[at + 1].variables
        {
            reasons.push("gives something else each time".to_owned());
        }
        let own_dir = self.build_dir_inside.to_string_lossy();
        if outcomes.iter().any(|outcome| {
            outcome.states[at + 1]
                .variables
                .iter()
                .any(|(name, value)| name != "PWD" && name != "OLDPWD" && value.contains(&*own_dir))
        }) {
            reasons.push("asks for the shell's own script or directory".to_owned());
        }
        if !reasons.is_empty() {
            reasons.truncate(SHOWN_REASONS);
            return Err(reasons.join("; "));
        }
        let changes: Vec<Change<'_>> = outcomes
            .iter()
            .map(|outcome| Change {
                before: &outcome.states[at].variables,
                after: &outcome.states[at + 1].variables,
                log: &outcome.logs[at],
            })
            .collect();
        infer(&changes)
    }

    /// Returns an activation that replays the first `settled` scripts and sources all others.
    fn activation(&self, steps: Vec<ActivationStep>, settled: usize, reason: &str) -> Activation {
        let dynamic: Vec<String> = self.scripts[settled..]
            .iter()
            .map(|script| script.path.clone())
            .collect();
        let reasons = dynamic
            .iter()
            .enumerate()
            .map(|(at, script)| {
                let reason = if at == 0 {
                    reason.to_owned()
                } else {
                    format!("comes after `{}`", dynamic[0])
                };
                (script.clone(), reason)
            })
            .collect();
        let declared = self
            .variables
            .iter()
            .map(|(name, value)| ActivationStep::Set {
                name: name.clone(),
                value: value.clone(),
            });
        Activation {
            steps: declared.chain(steps).collect(),
            dynamic,
            reasons,
        }
    }
}

/// Lists the files of a directory, sorted by name and relative to the directory of `within`. The
/// list is empty if there is no such directory.
pub(super) fn files(within: &Within, dir: &str, extension: &str) -> Result<Vec<PathBuf>, Error> {
    let ending = format!(".{extension}");
    let names = within.names(dir).map_err(unreadable)?.into_iter();
    let paths = names
        .filter(|name| name.as_encoded_bytes().ends_with(ending.as_bytes()))
        .map(|name| Path::new(dir).join(name));
    Ok(paths.filter(|path| !within.is_dir(path)).collect())
}

pub(super) fn open(dir: &Path) -> Result<Within, Error> {
    Within::open(dir).map_err(unreadable)
}

/// Wraps an error of the prefix as a read error of this module.
pub(super) fn unreadable(error: condense_within::Error) -> Error {
    Error::Read(io::Error::other(error))
}

fn ended_by_nul(entries: impl Iterator<Item = String>) -> String {
    entries.flat_map(|entry| [entry, "\0".to_owned()]).collect()
}

/// Quotes a text as one word for a POSIX shell.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
