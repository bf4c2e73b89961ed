//! Responsible for what a script's `conda` asks of the build: requests that it leaves in a directory are answered there.

use std::{
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use condense_prefix::{
    ChannelPriority, CondaFacts, EnvironmentSpec, Extended, Network, NetworkSettings, Place, Site,
    Solution, Target, Within,
};

use super::Build;
use crate::report::{Refusal, Report};

/// How long a request may lie there unseen.
const POLL: Duration = Duration::from_millis(20);

/// Answers while scripts run.
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
}

/// What `conda install` was told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    packages: Vec<String>,
    channels: Vec<String>,
    /// What their order means for this once.
    priority: Option<ChannelPriority>,
}

impl<'a> Conda<'a> {
    /// Puts the command in place.
    ///
    /// # Errors
    /// When scratch cannot be written.
    pub(super) fn open(
        build: &'a Build<'a>,
        target: &'a Target,
        place: &'a Place,
        spec: &EnvironmentSpec,
        solution: Solution,
    ) -> anyhow::Result<Self> {
        let queue = place.open_build_dir()?.make_own_dir("conda")?;
        let conda = Self {
            build,
            target,
            place,
            queue,
            state: Mutex::new(State {
                spec: spec.clone(),
                solution,
            }),
            stopped: AtomicBool::new(false),
        };
        conda.render()?;
        let id = std::process::id();
        conda.queue.write("pid", format!("{id}\n"))?;
        Ok(conda)
    }

    /// Answers until [`Conda::stop`].
    pub(super) fn serve(&self) {
        while !self.stopped.load(Ordering::Acquire) {
            if let Err(error) = self.serve_all() {
                self.build.report.warning(format!("conda: {error:#}"));
            }
            std::thread::sleep(POLL);
        }
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// What the environment has become.
    pub(super) fn into_solution(self) -> Solution {
        let state = self.state.into_inner();
        state.expect("nobody panics while holding it").solution
    }

    fn serve_all(&self) -> anyhow::Result<()> {
        for name in self.queue.names("")? {
            let path = PathBuf::from(name);
            if path.extension().is_none_or(|found| found != "request") {
                continue;
            }
            // It is answered once, whatever the answer is; a script may have made a link of it.
            let text = self.queue.need_text(&path);
            self.queue.remove(&path)?;
            let text = text?;
            let (stdout, stderr, status, post_link) = match self.answer(&text) {
                Ok((stdout, post_link)) => (stdout, String::new(), 0, post_link),
                Err(error) => {
                    let hint = crate::report::hint(&error).map(|hint| format!("hint: {hint}\n"));
                    let text = format!("conda: {error:#}\n{}", hint.unwrap_or_default());
                    (String::new(), text, 1, String::new())
                }
            };
            let write = |extension: &str, text: &str| {
                self.queue.write(path.with_extension(extension), text)
            };
            write("stdout", &stdout)?;
            write("stderr", &stderr)?;
            write("post-link", &post_link)?;
            write("status", &format!("{status}\n"))?;
            write("done", "")?;
        }
        Ok(())
    }

    /// Text for standard output, and the post-link scripts that the container has to run.
    fn answer(&self, request: &str) -> anyhow::Result<(String, String)> {
        let mut words = request.lines().map(str::to_owned);
        match words.next().as_deref() {
            Some("render") => {
                self.render()?;
                Ok((String::new(), String::new()))
            }
            Some("install") => {
                let extended = self.install(&Wish::parse(words)?)?;
                Ok((describe(&extended), extended.post_link.concat()))
            }
            other => bail!("`{}` is no request", other.unwrap_or_default()),
        }
    }

    fn install(&self, wish: &Wish) -> anyhow::Result<Extended> {
        let (build, report) = (self.build, self.build.report);
        let progress: &Report = report;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("failed to start the network's threads")?;
        let network = Network::open(NetworkSettings {
            cache_dir: build.cache_dir(),
            ..build.plan.means.network.clone()
        })?;
        let site = Site {
            target: self.target,
            network: &network,
            place: self.place,
            scratch: build.scratch.path(),
        };
        let mut state = self.state.lock().expect("nobody panics while holding it");
        let State { spec, solution } = &mut *state;
        let before = spec.channel_priority();
        spec.set_channel_priority(wish.priority.unwrap_or(before));
        let extended = runtime.block_on(condense_prefix::extend(
            spec,
            solution,
            &wish.packages,
            &wish.channels,
            &site,
            progress,
        ));
        spec.set_channel_priority(before);
        let extended = extended?;
        *solution = extended.solution.clone();
        drop(state);
        self.render()?;
        Ok(extended)
    }

    /// What the command answers from. pip's packages are known when everything is done.
    fn render(&self) -> anyhow::Result<()> {
        let state = self.state.lock().expect("nobody panics while holding it");
        CondaFacts {
            solution: &state.solution,
            spec: &state.spec,
            pip_packages: &condense_prefix::pip_packages(self.place)?,
            replaced_by_pip: &[],
        }
        .write(self.place)?;
        Ok(())
    }
}

fn describe(extended: &Extended) -> String {
    if extended.added.is_empty() && extended.removed.is_empty() {
        return "\n# All requested packages already installed.\n".to_owned();
    }
    let mut text = String::new();
    for (title, names) in [
        ("The following packages were INSTALLED:", &extended.added),
        (
            "The following packages were REMOVED for them:",
            &extended.removed,
        ),
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

impl Wish {
    /// conda's own options: those that change nothing here are taken, those that would are refused by name.
    fn parse(words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut wish = Self::default();
        let mut words = words;
        while let Some(word) = words.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) if word.starts_with("--") => (flag, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            match flag {
                "-y"
                | "--yes"
                | "-q"
                | "--quiet"
                | "-v"
                | "--verbose"
                | "-S"
                | "--satisfied-skip-solve"
                | "--freeze-installed"
                | "--no-update-deps"
                    if value.is_none() => {}
                "--strict-channel-priority" if value.is_none() => {
                    wish.priority = Some(ChannelPriority::Strict);
                }
                "--no-channel-priority" if value.is_none() => {
                    wish.priority = Some(ChannelPriority::Disabled);
                }
                "-c" | "--channel" => {
                    let channel = value.or_else(|| words.next());
                    wish.channels
                        .push(channel.with_context(|| format!("`{flag}` names no channel"))?);
                }
                "--solver" => {
                    // There is one.
                    if value.is_none() {
                        words.next();
                    }
                }
                _ if flag.starts_with("-c") && flag.len() > 2 && !flag.starts_with("--") => {
                    wish.channels.push(flag[2..].to_owned());
                }
                _ if flag.starts_with('-') => bail!(Refusal::new(
                    format!("`conda install {flag}` is not supported"),
                    "install packages by name, version and channel: `conda install -y -c CHANNEL NAME=VERSION`",
                )),
                _ => wish.packages.push(word),
            }
        }
        if wish.packages.is_empty() {
            bail!("`conda install` names no package");
        }
        Ok(wish)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(line: &str) -> anyhow::Result<Wish> {
        Wish::parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn conda_s_options_are_taken_or_refused_by_name() {
        let wish =
            parse("-y numpy -c bioconda --channel=x -cy --solver classic pandas>=2 -q").unwrap();
        assert_eq!(wish.packages, ["numpy", "pandas>=2"]);
        assert_eq!(wish.channels, ["bioconda", "x", "y"]);
        assert_eq!(wish.priority, None);
        let wish = parse("-y x --strict-channel-priority").unwrap();
        assert_eq!(wish.priority, Some(ChannelPriority::Strict));
        for (line, words) in [
            (
                "--update-all -y",
                "`conda install --update-all` is not supported",
            ),
            ("--no-deps x", "`conda install --no-deps` is not supported"),
            ("-k x", "`conda install -k` is not supported"),
            (
                "--override-channels x",
                "`conda install --override-channels` is not supported",
            ),
            ("-y", "names no package"),
            ("x -c", "`-c` names no channel"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
