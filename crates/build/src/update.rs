//! Responsible for changing an installation: a new generation is made of the visible one, and
//! published beside it.

mod change;
mod grafted;
mod linked;
mod packages;
mod preview;
mod previous;
mod stage;
mod user_hooks;
mod wheels;
mod whole;

use std::{ffi::OsStr, path::PathBuf, sync::Arc};

use anyhow::bail;
use condense_diagnostics::UserError;
use condense_installation::{BaseRecord, Receipt};
use condense_prefix::{CondaSettings, EnvironmentSpec, Lock, Target, normalized_name};
use indicatif::{HumanBytes, HumanCount};

use crate::{
    build::{Build, ImageDestination},
    check::{RequestToCheck, check_request},
    claim::claim_existing,
    environment::{find_target, refuse_index},
    inputs::{LoadedInputs, ScriptTarget},
    interrupt::Interrupt,
    open_base::OpenBase,
    os_packages,
    pack::Packed,
    plan::{NextGeneration, Overrides, UpdatePlan, WarmStart},
    prepared::Prepared,
    report::{Phase, Report},
    session::Session,
};
use change::{Change, PackageFacts, Update};
use packages::CondaChange;
pub use preview::preview_update;
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
    let before = PreviousGeneration::load(claim.visible_dir(), plan)?;
    let own_lines = before.own_lines(plan.extra_text.is_some(), report)?;
    let next = plan.next_generation(&before.receipt, own_lines.given);
    let session = Session::new(&next.settings, search_path, report, interrupt);
    let Some((build, facts)) = prepare(plan, &before, &next, session)? else {
        report.info(nothing_to_do(plan));
        return Ok(());
    };
    let base = base_record(&before.receipt, &build.prepared.base)?;
    let change = Change::new((&build, plan), &next.generation, &before, base, facts)?;
    let update = Update {
        build: &build,
        change: &change,
        generation: &next.generation,
    };
    let Some(mut changed) = update.change(&claim.image_path())? else {
        report.info(nothing_to_do(plan));
        return Ok(());
    };
    changed.launch.hand_written = own_lines.by_hand;
    let of_pip = changed.pip_packages.iter();
    let of_pip = of_pip.map(|package| package.name.as_str());
    check_removed_pip(&change.facts.removed_pip, of_pip)?;
    build.check_context().check_pip(&changed.pip_packages)?;
    let lock = update.render_lock(&changed)?;

    report.begin(Phase::Publish, None);
    let staged = update.stage_checked(claim, &changed, lock.into_bytes())?;
    build.refuse_interrupted()?;
    let installation = staged.publish()?;
    report.end(Phase::Publish);
    report_image(&changed.packed, report);
    report.keep_blocks();
    report.info(format!(
        "{} is changed: generation {} is visible now, jobs that run keep theirs (`condense rollback` brings it back)",
        installation.dir.display(),
        installation.generation
    ));
    Ok(())
}

/// Returns the record of the base, which may have got packages of its distribution.
fn base_record(before: &Receipt, base: &OpenBase) -> anyhow::Result<BaseRecord> {
    let mut record = before.base.clone();
    if base.is_replaced() {
        record.sha256 = base.image.digest()?;
        record.os_packages = os_packages::merged(record.os_packages, &base.os_packages);
    }
    Ok(record)
}

fn nothing_to_do(plan: &UpdatePlan) -> String {
    let dir = plan.dir.display();
    let said = format!("nothing to do: {dir} has everything already that is asked for");
    let is_pin = |package: &&String| package.contains(['=', '<', '>', '!', '~', ' ', '[', ':']);
    let pins = plan.change.add.iter().filter(is_pin);
    let pins: Vec<String> = pins.map(|package| format!("`{package}`")).collect();
    match &pins[..] {
        [] => said,
        pins => format!(
            "{said}; {} not remembered for later updates",
            match pins {
                [one] => format!("{one} is"),
                more => format!("{} are", more.join(" and ")),
            }
        ),
    }
}

/// Reads the inputs and the packages of the generation before, and prepares the run. Returns `None`
/// if the next generation would be the same.
fn prepare<'a>(
    plan: &'a UpdatePlan,
    before: &PreviousGeneration,
    next: &'a NextGeneration,
    session: Session<'a>,
) -> anyhow::Result<Option<(Build<'a>, PackageFacts)>> {
    let target = ScriptTarget {
        destination: &plan.dir,
        env_path: &next.env_path,
    };
    let inputs = LoadedInputs::load(&next.extra, &plan.packages, target)?;
    let mut conda = CondaChange::load(plan, before)?;
    let mut requirements = inputs.requirements();
    if let Some(asked) = &conda.file {
        requirements.add_requirements(asked);
    }
    check_requirements(plan, &requirements, session)?;
    refuse_index(!requirements.pip().is_empty(), &plan.packages)?;
    let base = OpenBase::open_installed(before.base_path(), before.receipt.host_view)?;
    let base = base.with_os_packages(
        session,
        &plan.extra.os_packages,
        &plan.packages,
        plan.source_date_epoch,
    )?;
    let target = find_target(&base, &plan.packages.overrides, session.report)?;
    let lock = before.lock(&target)?;
    let target = match &lock {
        Some(lock) => overridden(
            target.with_those_of(lock.solution()),
            &plan.packages.overrides,
        ),
        None => target,
    };
    let mut spec = before.spec(lock.as_ref(), &inputs, &plan.packages.spec_context);
    let removed_pip = match &lock {
        Some(lock) => conda.take_pip_removals(lock.solution(), &before.pip_packages()),
        None => Vec::new(),
    };
    refuse_both_of_pip(&removed_pip, &requirements)?;
    spec.remove_pip_requests(&removed_pip);
    let is_conda_idle = conda.is_idle(&spec, lock.as_ref())?;
    match &lock {
        Some(lock) => conda.check_removal(&spec, lock.solution(), &before.pip_packages())?,
        None => conda.refuse_both()?,
    }
    let venv = before.venv(&inputs)?;
    let mut facts = PackageFacts {
        spec,
        requirements,
        conda,
        removed_pip,
        is_conda_idle,
        is_rest_idle: false,
        target,
        lock,
    };
    if facts.is_pip_idle(before) {
        facts.requirements = EnvironmentSpec::default();
    }
    let may_change_base = session.is_dry_run() && !plan.extra.os_packages.is_empty();
    let has_other_base = base.is_replaced() || may_change_base;
    facts.is_rest_idle =
        !has_other_base && facts.is_idle(plan, before) && before.is_mountable(session)?;
    if facts.is_conda_idle && facts.is_rest_idle {
        return Ok(None);
    }
    let requirements = &facts.requirements;
    let mut needs = inputs.needs_container(requirements, None);
    if !facts.removed_pip.is_empty() {
        needs.push("`pip uninstall`".to_owned());
    }
    if venv.is_some() && !requirements.pip().is_empty() {
        needs.push("pip of a virtual environment".to_owned());
    }
    let build = Build {
        prepared: Prepared::open(session, base, &needs)?,
        packages: &plan.packages,
        inputs,
        conda_settings: conda_settings(plan, facts.lock.as_ref()),
        venv,
        env_path: &next.env_path,
        destination: ImageDestination {
            path: &plan.dir,
            bytes_beside: 0,
        },
        has_wrappers: true,
        locked_hot_files: None,
        block_format: None,
        source_date_epoch: plan.source_date_epoch,
    };
    Ok(Some((build, facts)))
}

/// Refuses to remove packages of pip that are asked for in the same command.
///
/// # Errors
/// Returns an error that names the package.
fn refuse_both_of_pip(removed: &[String], requirements: &EnvironmentSpec) -> anyhow::Result<()> {
    let asked = requirements.pip_names();
    let mut removed = removed.iter();
    let Some(both) = removed.find(|name| asked.contains(*name)) else {
        return Ok(());
    };
    bail!(UserError::new(
        format!("`{both}` is to be removed, and pip is to install it"),
        format!("leave out `--remove {both}`: pip replaces another version"),
    ));
}

/// Refuses a change after which packages of pip that were to be removed are there: what pip has
/// installed may need them.
///
/// # Errors
/// Returns an error that names the package.
fn check_removed_pip<'a>(
    removed: &[String],
    mut installed: impl Iterator<Item = &'a str>,
) -> anyhow::Result<()> {
    let kept = installed.find(|name| removed.contains(&normalized_name(name)));
    let Some(kept) = kept else { return Ok(()) };
    bail!(UserError::new(
        format!("`{kept}` cannot be removed: pip installs it again, since a requirement needs it"),
        format!("leave out `--remove {kept}`, or the requirement"),
    ));
}

/// Returns the target with what this run overrides.
fn overridden(target: Target, overrides: &Overrides) -> Target {
    let Overrides {
        glibc,
        cuda,
        linux,
        archspec,
    } = overrides.clone();
    Target {
        architecture: target.architecture,
        glibc: glibc.or(target.glibc),
        linux: linux.or(target.linux),
        archspec: archspec.or(target.archspec),
        cuda: cuda.or(target.cuda),
    }
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
    let of_file = plan.change.file.as_deref();
    let Some(path) = plan.extra.requirements_path().or(of_file) else {
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

impl PackageFacts {
    /// Returns whether all requirements for pip are installed already.
    fn is_pip_idle(&self, before: &PreviousGeneration) -> bool {
        let nothing = self.lock.as_ref().map(Lock::solution);
        nothing.is_some_and(|solution| {
            self.requirements
                .is_pip_satisfied(solution, &before.pip_packages())
        })
    }

    /// Returns whether the next generation would be the same as the one before, but for its conda
    /// packages.
    fn is_idle(&self, plan: &UpdatePlan, before: &PreviousGeneration) -> bool {
        let remembered = &before.receipt.update_state;
        let extra = &plan.extra;
        let has_scripts = extra.pre_install.is_some() || extra.post_install.is_some();
        let same_paths = plan.wrapper_paths.as_ref().is_none_or(|paths| {
            let remembered = remembered.wrapper_paths.iter().map(PathBuf::from);
            remembered.eq(paths.iter().cloned())
        });
        let launch = remembered.launch.as_deref();
        let given = launch.and_then(|launch| launch.extra_text.as_deref());
        let text = plan.extra_text.as_deref();
        self.requirements.pip().is_empty()
            && !has_scripts
            && same_paths
            && (text.is_none() || text == given)
            && plan.compression.is_none()
            && (!extra.no_cache || remembered.no_cache)
            && self.removed_pip.is_empty()
            && self.has_wanted_zone(&extra.warm)
            && (!plan.settings.rules.no_user_site || launch.is_some_and(|it| it.no_user_site))
            && launch.is_some()
    }

    /// Returns whether the old image has the zone that is wished for, as far as its lock tells.
    fn has_wanted_zone(&self, warm: &WarmStart) -> bool {
        let recipe = self.lock.as_ref().and_then(Lock::recipe);
        let known = recipe.and_then(|recipe| recipe.hot_files.as_ref());
        warm.code.is_empty() && (!warm.is_off || known.is_some_and(Vec::is_empty))
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;

    /// A package of pip that is to be removed and to be there is refused, by whichever name.
    #[test]
    fn a_package_of_pip_is_not_removed_and_installed() {
        let text = "dependencies:\n- pip:\n  - Ruamel.Yaml>=0.18\n  - rich\n";
        let path = Path::new("e.yml");
        let spec = EnvironmentSpec::parse(text, path, Path::new("/")).unwrap();
        let removed = ["click".to_owned(), "ruamel-yaml".to_owned()];
        let told = refuse_both_of_pip(&removed, &spec).unwrap_err().to_string();
        assert!(told.starts_with("`ruamel-yaml` is to be removed"), "{told}");
        refuse_both_of_pip(&removed[..1], &spec).unwrap();
        let told = check_removed_pip(&removed, ["rich", "Ruamel_Yaml"].into_iter()).unwrap_err();
        let told = told.to_string();
        assert!(
            told.starts_with("`Ruamel_Yaml` cannot be removed"),
            "{told}"
        );
        check_removed_pip(&removed, ["rich"].into_iter()).unwrap();
    }
}
