//! Responsible for changing an installation: a new generation is made of the visible one, and
//! published beside it.

mod change;
mod grafted;
mod previous;
mod stage;
mod user_hooks;
mod whole;

use std::{ffi::OsStr, sync::Arc};

use condense_prefix::{CondaSettings, EnvironmentSpec, Lock};
use indicatif::{HumanBytes, HumanCount};

use crate::{
    build::{Build, ImageDestination},
    check::{RequestToCheck, check_request},
    claim::claim_existing,
    environment::{find_target, refuse_index},
    inputs::{LoadedInputs, ScriptTarget},
    interrupt::Interrupt,
    open_base::OpenBase,
    pack::Packed,
    plan::{NextGeneration, UpdatePlan},
    prepared::Prepared,
    report::{Phase, Report},
    session::Session,
};
use change::{Change, PackageFacts, Update, compression};
use previous::PreviousGeneration;

/// Makes and publishes the generation that `plan` describes; `search_path` is the user's PATH.
///
/// # Errors
/// Returns the error that stopped the run. The installation is then as it was, and scratch is gone.
pub fn update(
    plan: &UpdatePlan,
    search_path: &OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let claim = claim_existing(&plan.dir, search_path, report)?;
    let before = PreviousGeneration::load(&claim, plan)?;
    let own_lines = before.own_lines(plan.extra_text.is_some(), report)?;
    let next = plan.next_generation(&before.receipt, own_lines.given);
    let session = Session::new(&next.settings, search_path, report, interrupt);
    let (build, facts) = prepare(plan, &before, &next, session)?;
    let (anew, unmountable) = compression(&build, plan, &next.generation, &before)?;
    let change = Change {
        before: &before,
        facts,
        anew,
        unmountable,
    };
    let update = Update {
        build: &build,
        change: &change,
        generation: &next.generation,
    };
    let mut changed = update.change(&claim.image_path())?;
    changed.launch.hand_written = own_lines.by_hand;
    build.check_context().check_pip(&changed.pip_packages)?;
    let lock = update.render_lock(&changed)?;

    report.begin(Phase::Publish, None);
    let staged = update.stage(claim, &changed, lock.into_bytes())?;
    update.check(&staged, &mut changed.packed)?;
    build.refuse_interrupted()?;
    let installation = staged.publish()?;
    report.end(Phase::Publish);
    report_image(&changed.packed, report);
    report.info(format!(
        "{} is changed: generation {} is visible now, jobs that run keep theirs (`condense rollback` brings it back)",
        installation.dir.display(),
        installation.generation
    ));
    Ok(())
}

/// Reads the inputs and the packages of the generation before, and prepares the run.
fn prepare<'a>(
    plan: &'a UpdatePlan,
    before: &PreviousGeneration,
    next: &'a NextGeneration,
    session: Session<'a>,
) -> anyhow::Result<(Build<'a>, PackageFacts)> {
    let target = ScriptTarget {
        destination: &plan.dir,
        env_path: &next.env_path,
    };
    let inputs = LoadedInputs::load(&next.extra, &plan.packages, target)?;
    let requirements = inputs.requirements();
    check_requirements(plan, &requirements, session)?;
    refuse_index(!requirements.pip().is_empty(), &plan.packages)?;
    let base = OpenBase::open_installed(before.base_path(), before.receipt.host_view)?;
    let target = find_target(&base, &plan.packages.overrides, session.report)?;
    let lock = before.lock(&target)?;
    let spec = before.spec(lock.as_ref(), &inputs, &plan.packages.spec_context);
    let venv = before.venv(&inputs)?;
    let mut needs = inputs.needs_container(&requirements, None);
    if venv.is_some() && !requirements.pip().is_empty() {
        needs.push("pip of a virtual environment".to_owned());
    }
    let build = Build {
        prepared: Prepared::open(session, base, &needs)?,
        packages: &plan.packages,
        inputs,
        conda_settings: conda_settings(plan, lock.as_ref()),
        venv,
        env_path: &next.env_path,
        destination: ImageDestination {
            path: &plan.dir,
            bytes_beside: 0,
        },
        has_wrappers: true,
        source_date_epoch: plan.source_date_epoch,
    };
    let facts = PackageFacts {
        spec,
        requirements,
        target,
        lock,
    };
    Ok((build, facts))
}

/// Returns the settings that the `conda` of the environment reports: those of the configuration
/// that is followed now, or those of the build before.
fn conda_settings(plan: &UpdatePlan, lock: Option<&Lock>) -> CondaSettings {
    match (&plan.packages.condarc, lock) {
        (None, Some(lock)) => lock.conda_settings().clone(),
        (condarc, _) => CondaSettings::new(condarc.as_ref()),
    }
}

/// Reports the warnings of the requirements, and checks them before anything is fetched.
fn check_requirements(
    plan: &UpdatePlan,
    requirements: &EnvironmentSpec,
    session: Session,
) -> anyhow::Result<()> {
    for warning in requirements.warnings() {
        session.report.warn_of(warning);
    }
    let Some(path) = &plan.extra.requirements else {
        return Ok(());
    };
    let request = RequestToCheck {
        spec: Some(requirements),
        pip_lines: &[],
        path,
        base: "",
    };
    check_request(&request, &session.settings.checks, session.report)
}

fn report_image(packed: &Packed, report: &Report) {
    let image = &packed.image;
    report.info(format!(
        "{} files in one of {} ({}), {} of them taken over as they were",
        HumanCount(packed.file_count()),
        HumanBytes(image.size_bytes),
        image.compression,
        HumanBytes(image.taken_bytes)
    ));
    report.info(format!("Seconds: {}", report.timing()));
}
