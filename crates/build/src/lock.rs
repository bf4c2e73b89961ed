//! Responsible for `condense lock`, which solves an environment and installs nothing.

use std::{ffi::OsStr, sync::Arc};

use anyhow::{Context, bail};
use condense_diagnostics::UserError;
use condense_installation::Runtime;
use condense_prefix::{
    Architecture, CondaSettings, EnvironmentSpec, LockContents, Network, Solution, Target,
};

use crate::{
    build::{Build, ImageDestination},
    environment::{Environment, find_target, load_spec_to_lock, refuse_index},
    inputs::LoadedInputs,
    interrupt::Interrupt,
    open_base::OpenBase,
    plan::{BaseChoice, LockPlan, Overrides},
    prefix::Unpacked,
    prepared::Prepared,
    recipe::OfLock,
    report::Report,
    scratch::Scratch,
    session::Session,
    target::{self, BASELINE_GLIBC},
};

/// Solves, and returns the text of the lock. pip is asked if a container can run. Otherwise its
/// lines stay open, by name.
///
/// # Errors
/// Returns the error that stopped the run. Scratch is then gone.
pub fn lock(
    plan: &LockPlan,
    search_path: &OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<String> {
    let session = Session::new(&plan.settings, search_path, report, interrupt);
    let mut spec = load_spec_to_lock(&plan.spec_path, &plan.packages)?;
    if let Some(condarc) = &plan.packages.condarc {
        condarc.apply(&mut spec)?;
    }
    for warning in spec.warnings() {
        report.warn_of(warning);
    }
    let asked = plan.platform.as_deref().map(architecture).transpose()?;
    if let Some(base) = &plan.base {
        return lock_on(base, spec, asked, plan, session);
    }
    let target = baseline(asked, &plan.packages.overrides, report)?;
    warn_of_open_lines(&spec, "there is no base image", report);
    let scratch = session.scratch()?;
    lock_conda(&spec, &target, plan, &scratch, session)
}

/// Locks for a base.
fn lock_on(
    choice: &BaseChoice,
    spec: EnvironmentSpec,
    asked: Option<Architecture>,
    plan: &LockPlan,
    session: Session,
) -> anyhow::Result<String> {
    let report = session.report;
    let base = OpenBase::open_foreign(session, choice)?;
    let target = find_target(&base, &plan.packages.overrides, report)?;
    if asked.is_some_and(|asked| asked != target.architecture) {
        bail!(UserError::new(
            format!(
                "the base image is for {}, not for {}",
                target.platform(),
                plan.platform.as_deref().unwrap_or_default()
            ),
            "leave out one of `--platform` and `--base-image`",
        ));
    }
    let scratch = session.scratch()?;
    let Some(runtime) = runtime_for_pip(&spec, &base, session)? else {
        warn_of_open_lines(&spec, "no container of this base can run here", report);
        return lock_conda(&spec, &target, plan, &scratch, session);
    };
    refuse_index(true, &plan.packages)?;
    let build = Build {
        prepared: Prepared {
            session,
            base,
            runtime: Some(runtime),
            scratch,
        },
        packages: &plan.packages,
        inputs: LoadedInputs::default(),
        conda_settings: conda_settings(plan),
        venv: None,
        env_path: &plan.env_path,
        destination: ImageDestination {
            path: &plan.settings.scratch_parent,
            bytes_beside: 0,
        },
        has_wrappers: false,
        locked_hot_files: None,
        block_format: None,
        source_date_epoch: None,
    };
    let environment = Environment {
        spec,
        target,
        locked: None,
        of_lock: OfLock::default(),
    };
    build.lock_with_pip(&environment, plan)
}

impl Build<'_> {
    /// Installs the conda packages, and asks pip for the versions of its own.
    fn lock_with_pip(&self, environment: &Environment, plan: &LockPlan) -> anyhow::Result<String> {
        let installed = self.install_packages(environment, &plan.mount_point, Unpacked::AsFiles)?;
        let container = self
            .container(&installed.place, installed.steps.local_paths())
            .context("there is a runtime")?;
        let progress: &Report = self.report();
        let pip_report = installed.steps.resolve_pip(&container, progress)?;
        self.refuse_interrupted()?;
        let contents = LockContents {
            solution: &installed.solution,
            spec: &environment.spec,
            pip_report: pip_report.as_deref(),
            installed: &[],
            conda: &self.conda_settings,
            recipe: None,
        };
        Ok(contents.render()?)
    }
}

/// Finds the runtime, if there are lines for pip and a container of this base can run.
fn runtime_for_pip(
    spec: &EnvironmentSpec,
    base: &OpenBase,
    session: Session,
) -> anyhow::Result<Option<Runtime>> {
    match session.search_runtime() {
        Ok(runtime) if !spec.pip().is_empty() && base.image.check_architecture().is_ok() => {
            let flags = session.settings.rules.flags_of_every_start();
            Ok(Some(runtime.with_flags(flags)))
        }
        Ok(_) | Err(condense_installation::Error::NoRuntime) => {
            session.refuse_interrupted()?;
            Ok(None)
        }
        Err(error) => {
            session.refuse_soon_interrupted()?;
            Err(error.into())
        }
    }
}

/// Warns that pip's lines are not locked.
fn warn_of_open_lines(spec: &EnvironmentSpec, reason: &str, report: &Report) {
    if !spec.pip().is_empty() {
        report.warning(format!(
            "the lines for pip are not locked, as {reason}: {}",
            spec.pip()
                .iter()
                .map(|line| condense_prefix::without_secrets(line))
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
}

pub(crate) fn architecture(platform: &str) -> anyhow::Result<Architecture> {
    Architecture::from_platform(platform).ok_or_else(|| {
        UserError::new(
            format!("`{platform}` is not a platform that is built for"),
            "one of linux-64, linux-aarch64 and linux-ppc64le",
        )
        .into()
    })
}

/// Returns the target for any machine of an architecture, if no base says more.
fn baseline(
    asked: Option<Architecture>,
    overrides: &Overrides,
    report: &Report,
) -> anyhow::Result<Target> {
    let here = Architecture::from_machine(std::env::consts::ARCH);
    let architecture = asked.or(here).with_context(|| {
        format!(
            "there are no conda packages for `{}`",
            std::env::consts::ARCH
        )
    })?;
    let glibc = overrides.glibc.clone().unwrap_or_else(|| {
        report.info(format!(
            "no base image is named: solved for glibc {BASELINE_GLIBC} (`--base-image` or CONDA_OVERRIDE_GLIBC say another)"
        ));
        BASELINE_GLIBC.to_owned()
    });
    Ok(Target {
        architecture,
        glibc: Some(glibc),
        linux: overrides.linux.clone().or_else(target::kernel),
        archspec: overrides.archspec.clone(),
        cuda: overrides.cuda.clone(),
    })
}

/// Locks the conda packages alone.
fn lock_conda(
    spec: &EnvironmentSpec,
    target: &Target,
    plan: &LockPlan,
    scratch: &Scratch,
    session: Session,
) -> anyhow::Result<String> {
    let solution = solve(spec, target, plan, scratch, session.report)?;
    let contents = LockContents {
        solution: &solution,
        spec,
        pip_report: None,
        installed: &[],
        conda: &conda_settings(plan),
        recipe: None,
    };
    Ok(contents.render()?)
}

fn conda_settings(plan: &LockPlan) -> CondaSettings {
    CondaSettings::new(plan.packages.condarc.as_ref())
}

fn solve(
    spec: &EnvironmentSpec,
    target: &Target,
    plan: &LockPlan,
    scratch: &Scratch,
    report: &Arc<Report>,
) -> anyhow::Result<Solution> {
    let progress: &Report = report;
    let runtime = condense_threads::network()?;
    let network = Network::open(plan.packages.trusted_network(scratch.path(), report))?;
    let solution = runtime.block_on(condense_prefix::solve(
        spec,
        target,
        &network,
        scratch.path(),
        progress,
    ))?;
    Ok(solution)
}
