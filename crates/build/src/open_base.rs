//! Responsible for opening the base image of a run. A base is opened once and passed on.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use anyhow::bail;
use condense_base::{BaseFacts, BaseImage};
use condense_catalogue::BaseView;
use condense_diagnostics::{Hint, UserError};
use condense_installation::{BaseMode, Bind, HostView};
use condense_prefix::{Interpreter, Venv};

use crate::{
    cache::FileState,
    check::CheckContext,
    definition::is_definition,
    os_packages::{Installed, NewBase},
    plan::{BaseChoice, BaseFile, RunSettings},
    pull::{self, Located, Pull},
    report::Report,
    scratch::Scratch,
    session::Session,
};

/// Directories in which a container looks for programs if its base does not say.
const USUAL_PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];
/// Maximum number of bytes that are read of a script of the base's environment.
const SCRIPT_LEN_MAX: u64 = 1 << 20;

/// A base image on this machine, and its facts.
pub(crate) struct OpenBase {
    pub(crate) image: Arc<BaseImage>,
    pub(crate) facts: BaseFacts,
    /// System directories that programs see.
    pub(crate) view: HostView,
    /// Whether the base is in the cache, from which it may be removed.
    is_cached: bool,
    /// Digest of the image's manifest, if the base is from a registry.
    pub(crate) manifest_digest: Option<String>,
    /// Packages of the distribution that were added to the base, with their versions.
    pub(crate) os_packages: Installed,
    /// Path of the base that was found, and the directory of the base that has taken its place.
    replaced: Option<(PathBuf, Scratch)>,
}

impl OpenBase {
    /// Finds or fetches a base that runs on this machine. `epoch` is the time of files that have
    /// none of their own.
    ///
    /// # Errors
    /// Returns an error if the base cannot be fetched or read, or is for another architecture.
    pub(crate) fn open(
        session: Session,
        choice: &BaseChoice,
        epoch: Option<u32>,
    ) -> anyhow::Result<Self> {
        Self::open_located(session, locate(session, choice, epoch)?, choice)
    }

    /// Opens a base that was located before, if it runs on this machine.
    ///
    /// # Errors
    /// Returns an error if the base cannot be read, or is for another architecture.
    pub(crate) fn open_located(
        session: Session,
        located: Located,
        choice: &BaseChoice,
    ) -> anyhow::Result<Self> {
        let image = BaseImage::open(&located.path)?;
        image.check_architecture()?;
        let base = Self::new(image, located, view_of(choice))?;
        let build_env = &session.settings.build_env;
        let named = build_env.host_file_binds(true, |top| base.view.shows(top));
        if !named.odd.is_empty() {
            session.report.warning(format!(
                "a container cannot show the files of {}, for special characters in their paths",
                named.odd.join(", ")
            ));
        }
        Ok(base)
    }

    /// Finds or fetches a base for any architecture.
    ///
    /// # Errors
    /// Returns an error if the base cannot be fetched or read.
    pub(crate) fn open_foreign(session: Session, choice: &BaseChoice) -> anyhow::Result<Self> {
        let located = locate(session, choice, None)?;
        let image = BaseImage::open(&located.path)?;
        Self::new(image, located, view_of(choice))
    }

    /// Finds or fetches the source of a stage, which may hold no more than a few files.
    ///
    /// # Errors
    /// Returns an error if the source cannot be fetched or read, or is for another architecture.
    pub(crate) fn open_source(
        session: Session,
        reference: &str,
        epoch: Option<u32>,
    ) -> anyhow::Result<Self> {
        let choice = BaseChoice::Named(reference.to_owned());
        let located = locate(session, &choice, epoch)?;
        let image = BaseImage::open_any(&located.path)?;
        image.check_architecture()?;
        Self::new(image, located, HostView::Base)
    }

    /// Opens the base of an installation.
    ///
    /// # Errors
    /// Returns an error if the base cannot be read or is for another architecture.
    pub(crate) fn open_installed(path: &Path, view: HostView) -> anyhow::Result<Self> {
        let image = BaseImage::open(path)?;
        image.check_architecture()?;
        Ok(Self {
            facts: image.facts()?,
            image: Arc::new(image),
            view,
            is_cached: false,
            manifest_digest: None,
            os_packages: Vec::new(),
            replaced: None,
        })
    }

    fn new(image: BaseImage, located: Located, view: HostView) -> anyhow::Result<Self> {
        Ok(Self {
            facts: image.facts()?,
            image: Arc::new(image),
            view,
            is_cached: located.is_cached,
            manifest_digest: located.digest,
            os_packages: Vec::new(),
            replaced: None,
        })
    }

    /// Returns the base with a new image in the place of its own. The new image is removed with the
    /// base.
    ///
    /// # Errors
    /// Returns an error if the image cannot be read.
    pub(crate) fn replaced_by(self, new: NewBase) -> anyhow::Result<Self> {
        let found = self.recorded_path().to_owned();
        Ok(Self {
            facts: new.image.facts()?,
            image: Arc::new(new.image),
            is_cached: true,
            os_packages: new.installed,
            replaced: Some((found, new.scratch)),
            ..self
        })
    }

    /// Returns whether packages of the distribution were added to the base that was found.
    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced.is_some()
    }

    /// Returns the path of the base that was found, which stays after the run.
    pub(crate) fn recorded_path(&self) -> &Path {
        match &self.replaced {
            Some((found, _)) => found,
            None => self.path(),
        }
    }

    /// Refuses an interpreter of a virtual environment that the base does not have.
    ///
    /// # Errors
    /// Returns an error if the base has no such program, or cannot be read.
    pub(crate) fn check_python(&self, venv: &Venv) -> anyhow::Result<()> {
        let Interpreter::OfBase(program) = &venv.interpreter else {
            return Ok(());
        };
        let mut dirs = self.path_dirs()?.into_iter();
        if dirs.any(|dir| self.image.exists(dir.join(program)).unwrap_or(true)) {
            return Ok(());
        }
        bail!(UserError::new(
            format!(
                "the base `{}` has no `{program}`",
                self.image.reference().display()
            ),
            "name a base image with a Python, or one of `--interpreter PROGRAM`, `--uv` and `--slim`",
        ))
    }

    /// Returns the directories of programs in the base: the usual ones, and all that the scripts of
    /// its environment name in a line about PATH.
    fn path_dirs(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut dirs: Vec<PathBuf> = USUAL_PATH.iter().map(PathBuf::from).collect();
        let conda = self
            .facts
            .conda
            .iter()
            .map(|conda| conda.prefix.join("bin"));
        dirs.extend(conda);
        for name in &self.facts.environment_scripts {
            let path = Path::new("/.singularity.d/env").join(name);
            let text = self.image.read(path, SCRIPT_LEN_MAX)?.unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines = text.lines().filter(|line| line.contains("PATH"));
            let is_end = |c: char| c.is_whitespace() || "=:;'\"{}".contains(c);
            dirs.extend(
                lines
                    .flat_map(|line| line.split(is_end))
                    .filter(|word| word.starts_with('/'))
                    .map(PathBuf::from),
            );
        }
        Ok(dirs)
    }

    /// Starts to read the base for its digest. A large base takes seconds, and the network takes
    /// longer.
    ///
    /// # Errors
    /// Returns an error if no thread can be started.
    pub(crate) fn start_digest(&self, report: &Report) -> anyhow::Result<PendingDigest> {
        PendingDigest::start(Arc::clone(&self.image), report)
    }

    /// Returns the path of the base, without links.
    pub(crate) fn path(&self) -> &Path {
        self.image.path()
    }

    /// Returns the path of the base's best shell.
    pub(crate) fn shell(&self) -> &'static str {
        if self.facts.has_bash {
            "/bin/bash"
        } else {
            "/bin/sh"
        }
    }

    /// Returns the form in which the base gets into an installation. A base that was found in the
    /// cache, or by a link whose target a site changes, may not stay where it is. The installation
    /// gets its own file then, unless a link was asked for and the base is not in the cache.
    pub(crate) fn mode(&self, wished: BaseFile) -> BaseMode {
        match wished {
            BaseFile::Copied => BaseMode::Copy,
            BaseFile::Linked if !self.is_cached => BaseMode::Symlink,
            _ if self.image.is_moving_link() => BaseMode::Copy,
            _ if self.is_cached => BaseMode::LinkOrCopy,
            _ => BaseMode::Link,
        }
    }

    /// Returns the base as the conditions of a site's rules see it.
    pub(crate) fn known(&self) -> BaseView<'_> {
        BaseView {
            base: &self.image,
            facts: &self.facts,
        }
    }

    /// Returns the binds of the site. In the host's view there are none, since the host's
    /// directories are seen anyway.
    ///
    /// # Errors
    /// Returns an error if a path cannot be bound or the base cannot be read.
    pub(crate) fn site_binds(&self, settings: &RunSettings) -> anyhow::Result<Vec<Bind>> {
        if self.view == HostView::Host {
            return Ok(Vec::new());
        }
        settings.rules.binds_for(self.known())
    }

    /// Returns the base and the site for the checks of this run.
    pub(crate) fn check_context<'a>(&'a self, session: Session<'a>) -> CheckContext<'a> {
        CheckContext {
            base: &self.image,
            facts: &self.facts,
            view: self.view,
            rules: &session.settings.rules,
            checks: &session.settings.checks,
            report: session.report,
        }
    }
}

fn locate(session: Session, choice: &BaseChoice, epoch: Option<u32>) -> anyhow::Result<Located> {
    if is_definition(choice.reference()) {
        let shown = choice.reference();
        bail!(UserError::new(
            format!("the base `{shown}` is a definition file"),
            format!("make an image of it first: `condense build {shown} BASE.sif`"),
        ));
    }
    let settings = session.settings;
    let pull = Pull::for_a_base(&settings.registries, &settings.scratch_parent, epoch);
    let located = pull::locate(choice.reference(), &pull, session.report);
    located.map_err(|error| match choice {
        BaseChoice::Named(_) => error,
        BaseChoice::Site(reference) => anyhow::Error::new(DefaultBaseError {
            reference: reference.clone(),
            hint: crate::hints::hint(&error),
            source: error.into(),
        }),
    })
}

/// Failure to get a base image that the user has not named.
#[derive(Debug, thiserror::Error)]
#[error("cannot get the default base image `{reference}`")]
pub(crate) struct DefaultBaseError {
    reference: String,
    /// Hint of the cause.
    hint: Option<String>,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl Hint for DefaultBaseError {
    fn hint(&self) -> Option<String> {
        let other = "name another one with `--base-image`: a .sif, which `condense pull` makes where there is a network, or an image of `condense base ls`";
        Some(match &self.hint {
            Some(hint) => format!("{hint}; or {other}"),
            None => other.to_owned(),
        })
    }
}

/// Returns the base's own view for a named base, and the host's view for a site's base.
pub(crate) fn view_of(choice: &BaseChoice) -> HostView {
    match choice {
        BaseChoice::Named(_) => HostView::Base,
        BaseChoice::Site(_) => HostView::Host,
    }
}

/// Returns the digest of a base, which is read unless it is as it was when its digest was kept.
fn digest_of(image: &BaseImage, report: &Report) -> Result<Option<String>, condense_base::Error> {
    kept_digest(image.path(), report, FileState::of, || image.digest())
}

/// Returns the digest of the file at a path that was kept for its state, or the one that `read`
/// returns, which is kept if the file has not changed meanwhile.
pub(crate) fn kept_digest<E>(
    path: &Path,
    report: &Report,
    state_of: impl Fn(&Path, &Metadata) -> Option<FileState>,
    read: impl FnOnce() -> Result<Option<String>, E>,
) -> Result<Option<String>, E> {
    let state = || state_of(path, &path.metadata().ok()?);
    let before = state();
    if let Some(known) = before.as_ref().and_then(|state| report.known_base(state)) {
        return Ok(Some(known));
    }
    let digest = read()?;
    let unchanged = before.filter(|before| state().as_ref() == Some(before));
    if let (Some(digest), Some(state)) = (&digest, unchanged) {
        report.keep_base(&state, digest);
    }
    Ok(digest)
}

/// Digest of a base that is read in the background.
pub(crate) struct PendingDigest {
    thread: JoinHandle<Result<Option<String>, condense_base::Error>>,
    path: PathBuf,
    /// Attributes of the file before it is read.
    before: Option<Metadata>,
}

/// Digest of a base, and the state of its file.
#[derive(Debug)]
pub(crate) struct BaseDigest {
    /// SHA-256 in hexadecimal. It is `None` for a directory.
    pub(crate) sha256: Option<String>,
    path: PathBuf,
    before: Option<Metadata>,
}

impl BaseDigest {
    /// Keeps the digest for the state that the file has now, if the only difference is a link that
    /// this build has made to it.
    pub(crate) fn keep_after_link(&self, report: &Report) {
        let state = |found: &Metadata| {
            let (modified, part) = (found.mtime(), found.mtime_nsec());
            (found.dev(), found.ino(), found.size(), modified, part)
        };
        if let (Some(sha256), Some(before), Ok(now)) =
            (&self.sha256, &self.before, self.path.metadata())
            && state(before) == state(&now)
            && before.nlink() < now.nlink()
            && let Some(state) = FileState::after_link(&self.path, &now)
        {
            report.keep_base(&state, sha256);
        }
    }
}

impl PendingDigest {
    /// Begins to read a base.
    ///
    /// # Errors
    /// Returns an error if no thread can be started.
    pub(crate) fn start(image: Arc<BaseImage>, report: &Report) -> anyhow::Result<Self> {
        let report = report.clone();
        Ok(Self {
            path: image.path().to_owned(),
            before: image.path().metadata().ok(),
            thread: condense_threads::spawn(move || digest_of(&image, &report))?,
        })
    }

    /// Waits for the digest.
    ///
    /// # Errors
    /// Returns an error if the base cannot be read.
    pub(crate) fn wait(self) -> anyhow::Result<BaseDigest> {
        let joined = self.thread.join();
        let digest =
            joined.map_err(|_| anyhow::anyhow!("failed to take the digest of the base image"))?;
        Ok(BaseDigest {
            sha256: digest?,
            path: self.path,
            before: self.before,
        })
    }
}
