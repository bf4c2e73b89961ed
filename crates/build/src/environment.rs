//! Responsible for the packages of a new environment before they are installed: the request as it
//! was loaded, the target, and the lock.

use std::path::Path;

use anyhow::bail;
use condense_diagnostics::UserError;
use condense_prefix::{
    CondaSettings, EnvironmentSpec, Interpreter, Kind, Lock, Solution, Target, Venv,
};

use crate::{
    check::{RequestToCheck, check_request},
    inputs::LoadedInputs,
    open_base::OpenBase,
    plan::{self, BaseChoice, CondaInput, Overrides, PackageSettings},
    recipe::OfLock,
    report::Report,
    request::{load_conda_spec, read},
    session::Session,
    target::{self, BaseSystem},
};

/// Environment that is asked for, with its environment file loaded.
pub(crate) enum LoadedRequest<'a> {
    /// The solver chooses packages.
    Spec(EnvironmentSpec),
    /// The lock names the packages.
    Lock(&'a plan::Lock),
    /// The lock names the packages, which must fit the environment file.
    SpecAndLock(EnvironmentSpec, &'a plan::Lock),
}

impl<'a> LoadedRequest<'a> {
    /// Loads the environment file of the input, if it has one. `with_pip` adds a Python and a pip
    /// for requirements that come later.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or understood.
    pub(crate) fn load(
        input: &'a CondaInput,
        with_pip: bool,
        settings: &PackageSettings,
    ) -> anyhow::Result<Self> {
        let read = |request| read(request, with_pip, &settings.spec_context);
        Ok(match input {
            CondaInput::Spec(request) => Self::Spec(read(request)?),
            CondaInput::Lock(lock) => Self::Lock(lock),
            CondaInput::SpecAndLock(request, lock) => Self::SpecAndLock(read(request)?, lock),
        })
    }

    /// Returns the spec, if there is more than a lock.
    pub(crate) fn spec(&self) -> Option<&EnvironmentSpec> {
        match self {
            Self::Spec(spec) | Self::SpecAndLock(spec, _) => Some(spec),
            Self::Lock(_) => None,
        }
    }

    fn spec_mut(&mut self) -> Option<&mut EnvironmentSpec> {
        match self {
            Self::Spec(spec) | Self::SpecAndLock(spec, _) => Some(spec),
            Self::Lock(_) => None,
        }
    }

    /// Applies conda's configuration, if it is followed.
    ///
    /// # Errors
    /// Returns an error if a channel of the configuration has no meaning.
    pub(crate) fn apply_condarc(&mut self, settings: &PackageSettings) -> anyhow::Result<()> {
        if let (Some(condarc), Some(spec)) = (&settings.condarc, self.spec_mut()) {
            condarc.apply(spec)?;
        }
        Ok(())
    }

    /// Adds the requirements, and reports the warnings of all files.
    pub(crate) fn require(&mut self, inputs: &LoadedInputs, report: &Report) {
        if let Some(spec) = self.spec_mut() {
            inputs.require(spec);
            for warning in spec.warnings() {
                report.warn_of(warning);
            }
        }
    }

    fn complete(
        self,
        target: &Target,
        report: &Report,
    ) -> anyhow::Result<(EnvironmentSpec, Option<Lock>)> {
        Ok(match self {
            Self::Spec(spec) => (spec, None),
            Self::Lock(given) => {
                let lock = load_lock(given, target, report)?;
                refuse_unlocked(given, &lock)?;
                (lock.spec(), Some(lock))
            }
            Self::SpecAndLock(spec, given) => {
                let mut lock = load_lock(given, target, report)?;
                if spec.kind() == Kind::Explicit {
                    bail!(already_exact(&given.path));
                }
                lock.check_fits(&spec)?;
                (spec, Some(lock))
            }
        })
    }
}

/// A loaded request for a new environment.
pub(crate) struct Requested<'a> {
    pub(crate) asked: LoadedRequest<'a>,
    pub(crate) inputs: LoadedInputs,
    /// The virtual environment, if it is one.
    pub(crate) venv: Option<Venv>,
    pub(crate) settings: &'a PackageSettings,
}

/// Environment that is solved and installed.
pub(crate) struct Environment {
    /// Request with everything that tells this environment from others.
    pub(crate) spec: EnvironmentSpec,
    pub(crate) target: Target,
    /// Packages of the lock, if there is one.
    pub(crate) locked: Option<Solution>,
    /// Facts of the lock besides its packages.
    pub(crate) of_lock: OfLock,
}

impl Requested<'_> {
    /// Checks the request before anything is fetched. `path` names the request in findings.
    ///
    /// # Errors
    /// Returns an error if a finding is not allowed.
    pub(crate) fn check(
        &self,
        path: &Path,
        base: &BaseChoice,
        session: Session,
    ) -> anyhow::Result<()> {
        let request = RequestToCheck {
            spec: self.asked.spec(),
            pip_lines: &[],
            path,
            base: base.reference(),
        };
        check_request(&request, &session.settings.checks, session.report)
    }

    /// Loads the lock for the target, if there is one.
    ///
    /// # Errors
    /// Returns an error if the lock cannot be read or does not fit, or if the environment needs a
    /// network and may not use it.
    pub(crate) fn resolve(
        self,
        target: Target,
        report: &Report,
    ) -> anyhow::Result<(Environment, LoadedInputs, Option<Venv>)> {
        let Self {
            asked,
            inputs,
            venv,
            settings,
        } = self;
        let is_lock_alone = asked.spec().is_none();
        let (mut spec, lock) = asked.complete(&target, report)?;
        let of_lock = match &lock {
            Some(lock) => {
                let is_same = is_lock_alone || lock.is_made_for(&spec);
                inputs.check_lock(lock, is_lock_alone, report)?;
                OfLock::new(lock, is_same && inputs.has_scripts_of(lock))
            }
            None => OfLock::default(),
        };
        inputs.mix_into_digest(&mut spec);
        if let Some(venv) = &venv {
            spec.mix_into_digest(&venv.identity());
        }
        let environment = Environment {
            spec,
            target,
            locked: lock.map(|lock| lock.solution().clone()),
            of_lock,
        };
        if settings.network.offline {
            refuse_managed_python(venv.as_ref())?;
            environment.refuse_network(settings)?;
        }
        Ok((environment, inputs, venv))
    }
}

impl Environment {
    /// Returns whether pip may have anything to install.
    pub(crate) fn has_pip(&self) -> bool {
        let of_lock = self.locked.as_ref();
        let is_locked = of_lock.is_some_and(|locked| !locked.locked_pip_packages().is_empty());
        is_locked || !self.spec.pip().is_empty()
    }

    /// Returns the steps that must run in a container.
    pub(crate) fn container_steps(
        &self,
        inputs: &LoadedInputs,
        venv: Option<&Venv>,
    ) -> Vec<String> {
        let mut needs = inputs.needs_container(&self.spec, self.locked.as_ref());
        if venv.is_some() {
            needs.push("the making of a virtual environment".to_owned());
        }
        needs
    }

    /// Returns the settings that the `conda` of the environment reports: those of the lock, or
    /// those of the user's configuration.
    pub(crate) fn conda_settings(&self, settings: &PackageSettings) -> CondaSettings {
        let of_lock = self.of_lock.conda.clone();
        of_lock.unwrap_or_else(|| CondaSettings::new(settings.condarc.as_ref()))
    }

    fn refuse_network(&self, settings: &PackageSettings) -> anyhow::Result<()> {
        let locked = self.locked.as_ref();
        if let Some(urls) = locked.and_then(Solution::locked_pip_from_elsewhere) {
            if urls.is_empty() {
                return Ok(());
            }
            bail!(UserError::new(
                format!("offline, and not in the cache:\n{}", urls.join("\n")),
                "pip's packages of a lock are fetched for each build: run it without `--offline`",
            ));
        }
        let needs_pip = self.spec.needs_pip(locked);
        refuse_index(needs_pip, settings)
    }
}

/// Finds the target of environments on this base.
///
/// # Errors
/// Returns an error if there are no packages for its architecture.
pub(crate) fn find_target(
    base: &OpenBase,
    overrides: &Overrides,
    report: &Report,
) -> anyhow::Result<Target> {
    target::target(BaseSystem::of(&base.facts, base.view), overrides, report)
}

/// Refuses pip's index if the run is offline. pip itself does not know that it may send nothing.
///
/// # Errors
/// Returns an error if pip is needed, and may ask its index.
pub(crate) fn refuse_index(needs_pip: bool, settings: &PackageSettings) -> anyhow::Result<()> {
    if settings.network.offline && needs_pip && !settings.pip_without_index {
        bail!(UserError::new(
            "`--offline`: pip would ask its index for the pip requirements",
            "set PIP_NO_INDEX=1, and PIP_FIND_LINKS to a directory of wheels",
        ));
    }
    Ok(())
}

fn refuse_managed_python(venv: Option<&Venv>) -> anyhow::Result<()> {
    if let Some(Venv {
        interpreter: Interpreter::Managed { .. },
        ..
    }) = venv
    {
        bail!(UserError::new(
            "`--offline`: uv would fetch an interpreter",
            "leave out `--uv`: the environment is made on a Python that is here",
        ));
    }
    Ok(())
}

fn load_lock(given: &plan::Lock, target: &Target, report: &Report) -> anyhow::Result<Lock> {
    let lock = Lock::load(&given.path, given.environment.as_deref(), target)?;
    for warning in lock.warnings() {
        report.warn_of(warning);
    }
    Ok(lock)
}

fn refuse_unlocked(given: &plan::Lock, lock: &Lock) -> anyhow::Result<()> {
    if !lock.unlocked_pip().is_empty() {
        bail!(UserError::new(
            format!(
                "{}: these lines for pip are not locked: {}",
                given.path.display(),
                lock.unlocked_pip().join(", ")
            ),
            "name the environment file, too, or lock again where a container can run",
        ));
    }
    Ok(())
}

/// Loads an environment file that can be locked.
///
/// # Errors
/// Returns an error if the file cannot be read, or is exact already.
pub(crate) fn load_spec_to_lock(
    file: &Path,
    settings: &PackageSettings,
) -> anyhow::Result<EnvironmentSpec> {
    let spec = load_conda_spec(file, &settings.spec_context)?;
    if spec.kind() == Kind::Explicit {
        bail!(already_exact(file));
    }
    Ok(spec)
}

/// Refuses a lock of an `@EXPLICIT` file: nothing is solved, so nothing has to be locked.
fn already_exact(file: &Path) -> UserError {
    UserError::new(
        format!(
            "{}: an `@EXPLICIT` file and a lock say the same twice",
            file.display()
        ),
        "an `@EXPLICIT` file is exact already: give it to `conda-containerize new` without a lock",
    )
}
