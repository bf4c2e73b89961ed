//! Responsible for locks: reading one for a build, and `condense lock`, which solves and installs
//! nothing.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use condense_base::BaseImage;
use condense_image::BlockSize;
use condense_installation::Runtime;
use condense_prefix::{
    Architecture, EnvironmentSpec, Kind, Lock, Network, Progress, Solution, Target,
};

use super::{
    Build, LoadedInputs, Pull, load_conda_spec, pull::locate, refused_offline, scratch::Scratch,
    target, view_of,
};
use crate::{
    interrupt::Interrupt,
    plan::{self, LockPlan, Overrides, Plan},
    report::Report,
};
use condense_catalogue::SiteRules;
use condense_diagnostics::UserError;

/// What conda-forge itself takes for granted; who has less must say so.
const BASELINE_GLIBC: &str = "2.28";

/// Reads the lock that a build was given, and holds the environment file against it.
pub(super) fn load(
    lock: Option<&plan::Lock>,
    spec: Option<&EnvironmentSpec>,
    target: &Target,
    report: &Report,
) -> anyhow::Result<Option<Lock>> {
    let Some(given) = lock else {
        return Ok(None);
    };
    let mut lock = Lock::load(&given.path, given.environment.as_deref(), target)?;
    for warning in lock.warnings() {
        report.warn(warning.clone());
    }
    match spec {
        Some(spec) if spec.kind() == Kind::Explicit => bail!(already_exact(&given.path)),
        Some(spec) => lock.check_fits(spec)?,
        None if !lock.unlocked_pip().is_empty() => bail!(UserError::new(
            format!(
                "{}: these lines for pip are not locked: {}",
                given.path.display(),
                lock.unlocked_pip().join(", ")
            ),
            "name the environment file, too, or lock again where a container can run",
        )),
        None => {}
    }
    Ok(Some(lock))
}

/// Solves and gives the lock's text. pip is asked where a container can run; else its lines stay
/// open, by name.
///
/// # Errors
/// Whatever stopped it; scratch is gone.
pub fn lock(
    plan: &LockPlan,
    search_path: &OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<String> {
    let mut spec = load_conda_spec(&plan.spec_path, &plan.settings.spec_context)?;
    if spec.kind() == Kind::Explicit {
        bail!(already_exact(&plan.spec_path));
    }
    if let Some(condarc) = &plan.settings.condarc {
        condarc.apply(&mut spec)?;
    }
    for warning in spec.warnings() {
        report.warn_of(warning);
    }
    let asked = plan.platform.as_deref().map(architecture).transpose()?;
    let Some(chosen) = &plan.base else {
        let target = baseline(asked, &plan.settings.overrides, report)?;
        leave_open(&spec, "there is no base image", report);
        let scratch = Scratch::of(&plan.settings, report, interrupt)?;
        let solution = solve(&spec, &target, plan, &scratch, report)?;
        return Ok(condense_prefix::render_lock(&solution, &spec, None, &[])?);
    };
    let located = locate(
        chosen.reference(),
        &Pull::for_a_base(
            &plan.settings.registries,
            &plan.settings.scratch_parent,
            None,
        ),
        report,
    )?;
    let base = BaseImage::open(&located.path)?;
    let facts = base.facts()?;
    let view = view_of(chosen);
    let target = target::target(&facts, view, &plan.settings.overrides, report)?;
    if let Some(asked) = asked
        && asked != target.architecture
    {
        bail!(UserError::new(
            format!(
                "the base image is for {}, not for {}",
                target.platform(),
                plan.platform.as_deref().unwrap_or_default()
            ),
            "leave out one of `--platform` and `--base-image`",
        ));
    }
    let scratch = Scratch::of(&plan.settings, report, interrupt)?;
    let runtime = match Runtime::find(plan.settings.runtime.as_deref(), search_path) {
        Ok(runtime) if !spec.pip().is_empty() && base.check_architecture().is_ok() => Some(runtime),
        Ok(_) | Err(condense_installation::Error::NoRuntime) => None,
        Err(error) => return Err(error.into()),
    };
    if runtime.is_none() {
        leave_open(&spec, "no container of this base can run here", report);
        let solution = solve(&spec, &target, plan, &scratch, report)?;
        return Ok(condense_prefix::render_lock(&solution, &spec, None, &[])?);
    }
    if plan.settings.network.offline && !plan.settings.pip_without_index {
        return Err(refused_offline(None).into());
    }
    let build = Build {
        plan: &build_plan(plan, chosen),
        inputs: LoadedInputs::default(),
        venv: None,
        report,
        base,
        base_is_cached: located.is_cached,
        facts,
        view,
        bytes_beside: 0,
        has_wrappers: false,
        runtime,
        scratch,
    };
    let installed = build.install_packages(&spec, &target, None, None)?;
    let container = build
        .container(&installed.place, installed.steps.local_paths())
        .context("there is a runtime")?;
    let progress: &Report = report;
    let pip_report = installed.steps.resolve_pip(&container, progress)?;
    build.refuse_interrupted()?;
    Ok(condense_prefix::render_lock(
        &installed.solution,
        &spec,
        pip_report.as_deref(),
        &[],
    )?)
}

/// Nothing is solved, so nothing has to be locked.
fn already_exact(file: &Path) -> UserError {
    UserError::new(
        format!(
            "{}: an `@EXPLICIT` file and a lock say the same twice",
            file.display()
        ),
        "an `@EXPLICIT` file is exact already: give it to `conda-containerize new` without a lock",
    )
}

fn leave_open(spec: &EnvironmentSpec, reason: &str, report: &Report) {
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

fn architecture(platform: &str) -> anyhow::Result<Architecture> {
    Architecture::from_platform(platform).ok_or_else(|| {
        UserError::new(
            format!("`{platform}` is not a platform that is built for"),
            "one of linux-64, linux-aarch64 and linux-ppc64le",
        )
        .into()
    })
}

/// For any machine of a kind, where no base says more.
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

fn solve(
    spec: &EnvironmentSpec,
    target: &Target,
    plan: &LockPlan,
    scratch: &Scratch,
    report: &Arc<Report>,
) -> anyhow::Result<Solution> {
    let progress: &Report = report;
    let runtime = condense_threads::network()?;
    let network = Network::open(plan.settings.trusted_network(scratch.path(), report))?;
    let solution = runtime.block_on(condense_prefix::solve(
        spec,
        target,
        &network,
        scratch.path(),
        progress,
    ))?;
    Ok(solution)
}

/// What the build container and the installation into scratch need; nothing is published.
fn build_plan(plan: &LockPlan, base: &plan::BaseChoice) -> Plan {
    Plan {
        spec_path: plan.spec_path.clone(),
        lock: None,
        keep_editable: false,
        inputs: plan::ExtraInputs::default(),
        venv: None,
        prefix_dir: plan.settings.scratch_parent.clone(),
        base: base.clone(),
        force: false,
        settings: plan.settings.clone(),
        base_file: plan::BaseFile::Usual,
        wrapper_paths: Vec::new(),
        extra_text: None,
        block_size: BlockSize::default(),
        installation_path: plan.installation_path.clone(),
        other_names: Vec::new(),
        env_path: PathBuf::clone(&plan.env_path),
        rules: SiteRules::default(),
        compression: None,
        source_date_epoch: None,
        dry_run: false,
        command_line: Vec::new(),
    }
}
