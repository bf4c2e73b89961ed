//! Responsible for the experiment: what is tried in the build container, and what its results mean.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use super::{
    Activation, Error, Step,
    inference::{Change, infer},
    purity::Judge,
    results::{self, Outcome},
    variables,
    worlds::{self, AGAIN, BARE, MARKED, REAL, Setting, World},
};

const CAPTURE_BASH: &str = include_str!("capture.bash");

/// What one world may take, in seconds. `R CMD javareconf`, the slowest command known in an activation script, takes
/// two; the build fails or the environment becomes dynamic when a script is slower.
const LIMIT_SECONDS: u32 = 60;

/// Reasons shown per script: more do not help.
const SHOWN_REASONS: usize = 3;

/// An activation script.
#[derive(Debug)]
struct Script {
    /// At the mount point.
    path: String,
    text: String,
}

/// The scripts of an environment, and how to find out what they do.
#[derive(Debug)]
pub struct Capture {
    env_dir: PathBuf,
    env_prefix: String,
    build_dir: PathBuf,
    build_dir_inside: PathBuf,
    variables: Vec<(String, String)>,
    scripts: Vec<Script>,
    mentioned: BTreeSet<String>,
    worlds: Vec<World>,
    limit_seconds: u32,
}

impl Capture {
    /// Prepares the capture of the environment that lies in `env_dir` on this machine and will lie at `env_prefix`.
    /// Inputs are written into `build_dir`, which the container sees as `build_dir_inside`; nothing else may be in it.
    ///
    /// None when there is no script: [`Activation::of_variables`] is all then.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Write`], [`Error::Parse`], [`Error::Variable`] and [`Error::Name`].
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
        let scripts_dir = Path::new("etc/conda/activate.d");
        let mut scripts = Vec::new();
        let mut mentioned = BTreeSet::new();
        for path in files(&env_dir.join(scripts_dir), "sh")? {
            // A link that leads nowhere: conda's shell complains and goes on.
            let Some(text) = read_existing(&path)? else {
                continue;
            };
            let text = String::from_utf8_lossy(&text).into_owned();
            worlds::find_mentioned(&text, &mut mentioned);
            let mounted = env_prefix
                .join(scripts_dir)
                .join(path.file_name().unwrap_or_default());
            scripts.push(Script {
                path: utf8(&mounted)?,
                text,
            });
        }
        if scripts.is_empty() {
            return Ok(None);
        }
        let variables = variables::load(env_dir)?;
        let env_prefix = utf8(env_prefix)?;
        let worlds = worlds::build(&Setting {
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
            worlds,
            limit_seconds: LIMIT_SECONDS,
        };
        capture.write().map_err(Error::Write)?;
        Ok(Some(capture))
    }

    fn write(&self) -> io::Result<()> {
        let worlds_dir = self.build_dir.join("worlds");
        fs_err::create_dir_all(&worlds_dir)?;
        fs_err::write(self.build_dir.join("capture.bash"), CAPTURE_BASH)?;
        fs_err::write(
            self.build_dir.join("limit"),
            format!("{}\n", self.limit_seconds),
        )?;
        let scripts = self.scripts.iter().map(|script| script.path.clone());
        fs_err::write(self.build_dir.join("scripts"), ended_by_nul(scripts))?;
        for (number, world) in self.worlds.iter().enumerate() {
            let variables = world
                .variables
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            let lines = std::iter::once(world.working_dir.clone()).chain(variables);
            fs_err::write(worlds_dir.join(format!("{number:03}")), ended_by_nul(lines))?;
        }
        Ok(())
    }

    /// The command line to run in the build container, for a POSIX shell. It succeeds whatever the scripts do:
    /// [`Capture::read`] tells.
    ///
    /// # Streams
    /// Reads nothing and prints nothing; what the scripts print goes to files.
    pub fn command(&self) -> String {
        let dir = quote(&self.build_dir_inside.to_string_lossy());
        format!(
            "if command -v bash >/dev/null 2>&1; then BASH_ENV= bash --norc --noprofile {dir}/capture.bash {dir} || :; else echo bash >{dir}/missing; fi"
        )
    }

    /// Reads the results and finds the steps.
    ///
    /// # Errors
    /// [`Error::Script`] and [`Error::Endless`] name a script that conda's own shell would not survive;
    /// [`Error::NotCaptured`] when the command was not run; [`Error::Read`].
    pub fn read(self) -> Result<Activation, Error> {
        if let Some(program) = read_existing(&self.build_dir.join("missing"))? {
            let program = String::from_utf8_lossy(&program).trim().to_owned();
            return Ok(self.activation(
                Vec::new(),
                0,
                &format!("`{program}`, needed to try it out, is not in the base image"),
            ));
        }
        let mut outcomes = Vec::new();
        for number in 0..self.worlds.len() {
            outcomes.push(results::load(&self.build_dir, number, self.scripts.len())?);
        }
        for number in [REAL, BARE] {
            self.survived(number, outcomes[number].as_ref())?;
        }
        let outcomes: Vec<&Outcome> = outcomes.iter().flatten().skip(1).collect();

        let mut steps: Vec<Step> = Vec::new();
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

    /// The steps of one script, or why it needs a shell. `outcomes` are without the real activation.
    fn steps_of(
        &self,
        at: usize,
        script: &Script,
        outcomes: &[&Outcome],
    ) -> Result<Vec<Step>, String> {
        if let Some((_, command)) = outcomes
            .iter()
            .filter_map(|outcome| outcome.stopped.as_ref())
            .find(|(number, _)| *number == at)
        {
            return Err(command.clone());
        }
        if outcomes.len() + 1 < self.worlds.len()
            || outcomes.iter().any(|outcome| outcome.states.len() < at + 2)
        {
            return Err("ends or hangs the shell when some variables are preset".to_owned());
        }
        let mut judge = Judge::new(
            &self.env_dir,
            &self.env_prefix,
            &self.mentioned,
            &script.text,
        );
        // The world of marks tells best why; others matter only where it goes another way.
        for outcome in outcomes[MARKED - 1..].iter().chain(&outcomes[..MARKED - 1]) {
            judge.read(&outcome.logs[at]);
            if !judge.reasons().is_empty() {
                break;
            }
        }
        let mut reasons = judge.into_reasons();
        for outcome in outcomes {
            let (before, after) = (&outcome.states[at], &outcome.states[at + 1]);
            for (setting, value) in &after.shell {
                let reason = format!("changes the shell's {setting}");
                if before.shell.get(setting) != Some(value) && !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
        if outcomes[AGAIN - 1].states[at + 1].variables
            != outcomes[BARE - 1].states[at + 1].variables
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

    /// The first `settled` scripts replayed, all others sourced.
    fn activation(&self, steps: Vec<Step>, settled: usize, reason: &str) -> Activation {
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
        let declared = self.variables.iter().map(|(name, value)| Step::Set {
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

/// Files of a directory by name; none where there is no such directory.
pub(super) fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs_err::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        Err(error) => return Err(Error::Read(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::Read)?.path();
        let named = path.file_name().is_some_and(|name| {
            name.as_encoded_bytes()
                .ends_with(format!(".{extension}").as_bytes())
        });
        if named && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads a file; none where there is none.
pub(super) fn read_existing(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs_err::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(Error::Read(error)),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn ended_by_nul(entries: impl Iterator<Item = String>) -> String {
    entries.flat_map(|entry| [entry, "\0".to_owned()]).collect()
}

/// One word for a POSIX shell.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
