//! Responsible for answering the `conda` of a script: it leaves its requests in a directory, and
//! the answers are written there.

mod settings;
mod wish;

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use condense_prefix::{
    Change, ChannelPriority, CondaFacts, CondaSettings, EnvironmentSpec, Extended, InstallContext,
    Kind, Network, Place, Removal, Solution, Target,
};
use condense_within::Within;

use crate::{build::Build, report::Report};
use condense_diagnostics::UserError;
use settings::Setting;
use wish::{Verb, Wish};

/// Time between two looks for new requests.
const POLL: Duration = Duration::from_millis(20);

/// Answers requests while scripts run.
pub(super) struct Conda<'a> {
    build: &'a Build<'a>,
    target: &'a Target,
    place: &'a Place,
    queue: Within,
    state: Mutex<State>,
    stopped: AtomicBool,
}

struct State {
    spec: EnvironmentSpec,
    solution: Solution,
    settings: CondaSettings,
}

/// The result of a request.
#[derive(Default)]
struct Answer {
    stdout: String,
    /// Post-link scripts for the container to run.
    post_link: String,
    /// Lines of requirements for pip to install in the container.
    pip: String,
}

impl<'a> Conda<'a> {
    /// Puts the command in place.
    ///
    /// # Errors
    /// Returns an error if scratch cannot be written.
    pub(super) fn open(
        build: &'a Build<'a>,
        target: &'a Target,
        place: &'a Place,
        spec: &EnvironmentSpec,
        solution: Solution,
    ) -> anyhow::Result<Self> {
        let queue = place.open_build_dir()?.make_own_dir("conda")?;
        let mut spec = spec.clone();
        spec.add_requests_of_history(place)?;
        let packages = build.packages;
        let settings =
            CondaSettings::new(packages.condarc.as_ref()).with_network(&packages.network);
        let conda = Self {
            build,
            target,
            place,
            queue,
            state: Mutex::new(State {
                spec,
                solution,
                settings,
            }),
            stopped: AtomicBool::new(false),
        };
        conda.render()?;
        let id = std::process::id();
        conda.queue.write("pid", format!("{id}\n"))?;
        Ok(conda)
    }

    /// Answers requests until [`Conda::stop`] is called.
    pub(super) fn serve(&self) {
        while !self.stopped.load(Ordering::Acquire) {
            if let Err(error) = self.serve_all() {
                self.build.report().warning(format!("conda: {error:#}"));
            }
            std::thread::sleep(POLL);
        }
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Returns the environment after all changes, and what was asked for.
    pub(super) fn into_result(self) -> (Solution, EnvironmentSpec) {
        let state = self.state.into_inner();
        let state = state.expect("nobody panics while holding it");
        (state.solution, state.spec)
    }

    fn serve_all(&self) -> anyhow::Result<()> {
        for name in self.queue.names("")? {
            let path = PathBuf::from(name);
            if path.extension().is_none_or(|found| found != "request") {
                continue;
            }
            // The request is removed even if it cannot be read, so that it is answered only once.
            // Reading may fail because a script has put a link in its place.
            let text = self.queue.read_required_text(&path);
            self.queue.remove(&path)?;
            let text = text?;
            let (answer, stderr, status) = match self.answer(&text) {
                Ok(answer) => (answer, String::new(), 0),
                Err(error) => {
                    let hint = crate::hints::hint(&error).map(|hint| format!("hint: {hint}\n"));
                    let text = format!("conda: {error:#}\n{}", hint.unwrap_or_default());
                    (Answer::default(), text, 1)
                }
            };
            let write = |extension: &str, text: &str| {
                self.queue.write(path.with_extension(extension), text)
            };
            write("stdout", &answer.stdout)?;
            write("stderr", &stderr)?;
            write("post-link", &answer.post_link)?;
            write("pip", &answer.pip)?;
            write("status", &format!("{status}\n"))?;
            write("done", "")?;
        }
        Ok(())
    }

    fn answer(&self, request: &str) -> anyhow::Result<Answer> {
        let mut words = request.lines().map(str::to_owned);
        match words.next().as_deref() {
            Some("render") => {
                self.render()?;
                Ok(Answer::default())
            }
            Some("install") => self.change_as(Wish::parse(Verb::Install, words)?),
            Some("update") => self.change_as(Wish::parse(Verb::Update, words)?),
            Some("remove") => self.remove(&Wish::parse(Verb::Remove, words)?),
            Some("env-update") => {
                let (file, folder) = (words.next(), words.next());
                let name = file.context("the request names no file")?;
                let folder = folder.unwrap_or_default();
                self.update_from(Path::new(&name), Path::new(&folder))
            }
            Some("config") => self.set(&Setting::parse(words)?),
            other => bail!("`{}` is no request", other.unwrap_or_default()),
        }
    }

    fn change_as(&self, wish: Wish) -> anyhow::Result<Answer> {
        let priority = wish.priority;
        self.change(wish.change(), priority)
    }

    /// Changes the environment. `priority` is the meaning of the order of channels for this change
    /// alone.
    fn change(&self, change: Change, priority: Option<ChannelPriority>) -> anyhow::Result<Answer> {
        let build = self.build;
        let progress: &Report = build.report();
        let runtime = condense_threads::network()?;
        let network = Network::open(build.network_settings())?;
        let context = InstallContext {
            target: self.target,
            network: &network,
            place: self.place,
            scratch: build.scratch(),
        };
        let change = Change {
            channels: self.urls(&change.channels)?,
            ..change
        };
        let mut state = self.state.lock().expect("nobody panics while holding it");
        let State { spec, solution, .. } = &mut *state;
        let before = spec.channel_priority();
        spec.set_channel_priority(priority.unwrap_or(before));
        let extended = runtime.block_on(condense_prefix::extend(
            spec, solution, &change, &context, progress,
        ));
        spec.set_channel_priority(before);
        let extended = extended?;
        *solution = extended.solution.clone();
        drop(state);
        self.render()?;
        Ok(Answer {
            stdout: describe(&extended),
            post_link: extended.post_link_lines().concat(),
            pip: String::new(),
        })
    }

    fn remove(&self, wish: &Wish) -> anyhow::Result<Answer> {
        let removal = Removal {
            packages: &wish.packages,
            alone: wish.alone,
            needed: &[],
        };
        let progress: &Report = self.build.report();
        let mut state = self.state.lock().expect("nobody panics while holding it");
        let State { spec, solution, .. } = &mut *state;
        let extended = condense_prefix::remove(spec, solution, removal, self.place, progress)?;
        *solution = extended.solution.clone();
        drop(state);
        self.render()?;
        Ok(Answer {
            stdout: describe(&extended),
            ..Answer::default()
        })
    }

    /// Runs `conda env update`, which adds what the file asks for to what is there.
    fn update_from(&self, file: &Path, folder: &Path) -> anyhow::Result<Answer> {
        let spec_context = &self.build.packages.spec_context;
        let text = self.queue.read_required_text(file)?;
        let name = Path::new(file.file_name().unwrap_or_default());
        let asked = EnvironmentSpec::parse_in(&text, name, folder, spec_context)?;
        let refused = |what: &str, hint: &str| {
            Err(UserError::new(
                format!("`conda env update`: `{}` {what}", name.display()),
                hint,
            ))
        };
        if asked.kind() != Kind::Environment {
            refused(
                "is no environment file",
                "`conda install --file FILE` takes lists of packages",
            )?;
        }
        if !asked.variables().is_empty() {
            refused(
                "has `variables:`, which are taken from the first environment file only",
                "put them there",
            )?;
        }
        for warning in asked.warnings() {
            self.build.report().warn_of(warning);
        }
        let mut answer = self.change(Change::from_spec(&asked), None)?;
        for line in asked.pip() {
            answer.pip.push_str(line);
            answer.pip.push('\n');
        }
        Ok(answer)
    }

    fn set(&self, setting: &Setting) -> anyhow::Result<Answer> {
        let mut state = self.state.lock().expect("nobody panics while holding it");
        setting.apply(&mut state.spec, &|channel| self.urls(&[channel.to_owned()]))?;
        drop(state);
        self.render()?;
        Ok(Answer::default())
    }

    /// Returns the URLs of channels, by the user's conda configuration if it is followed.
    fn urls(&self, channels: &[String]) -> anyhow::Result<Vec<String>> {
        self.build.packages.channel_urls(channels)
    }

    /// Writes the files from which the command answers. pip's packages are known when everything is
    /// done.
    fn render(&self) -> anyhow::Result<()> {
        let state = self.state.lock().expect("nobody panics while holding it");
        CondaFacts {
            solution: &state.solution,
            spec: &state.spec,
            pip_packages: &condense_prefix::pip_packages(self.place)?,
            replaced_by_pip: &[],
            settings: &state.settings,
        }
        .write(self.place)?;
        Ok(())
    }
}

fn describe(extended: &Extended) -> String {
    if extended.added.is_empty() && extended.removed.is_empty() {
        return "\n# All requested packages already installed.\n".to_owned();
    }
    let removed = if extended.added.is_empty() {
        "The following packages were REMOVED:"
    } else {
        "The following packages were REMOVED for them:"
    };
    let mut text = String::new();
    for (title, names) in [
        ("The following packages were INSTALLED:", &extended.added),
        (removed, &extended.removed),
    ] {
        if !names.is_empty() {
            text.push_str(&format!("\n{title}\n\n"));
            for name in names {
                text.push_str(&format!("  {name}\n"));
            }
        }
    }
    text
}
