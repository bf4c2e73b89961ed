//! Responsible for the dry run of an update.

use std::{ffi::OsStr, sync::Arc};

use condense_image::Compression;
use condense_prefix::{Interpreter, Network, Planned, Solution, Transaction, Venv};

use super::{check_removed_pip, prepare, previous::PreviousGeneration};
use crate::{
    build::Build,
    claim::inspect_existing,
    interrupt::Interrupt,
    plan::{NextGeneration, UpdatePlan},
    preview::{
        Amounts, Estimate, Parts, PipQuestion, Preview, PreviewedBase, PreviewedChange,
        PreviewedPackage, PythonVersion, Resolved, Solved, Step, resolve,
    },
    report::Report,
    session::Session,
    space,
    update::change::{Change, PackageFacts, Update},
};

/// Finds out what [`super::update()`] would do for `plan`; `search_path` is the user's PATH.
///
/// # Errors
/// Returns the error of an update, as far as it can be known before anything is downloaded.
pub fn preview_update(
    plan: &UpdatePlan,
    search_path: &OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<Preview> {
    let destination = inspect_existing(&plan.dir, search_path, report)?;
    destination.check_claim_for_update()?;
    let before = PreviousGeneration::load(destination.visible_dir(), plan)?;
    let own_lines = before.own_lines(plan.extra_text.is_some(), report)?;
    let next = plan.next_generation(&before.receipt, own_lines.given);
    let session = Session::new(&next.settings, search_path, report, interrupt).dry();
    let prepared = prepare(plan, &before, &next, session)?;
    let Some((build, facts)) = prepared else {
        return Ok(nothing(plan, &before, report));
    };
    let image_bytes = fs_err::metadata(before.image_path())?.len();
    space::check(&[space::Need {
        dir: &plan.dir,
        bytes: image_bytes,
        inodes: space::INODES_OF_INSTALLATION,
        what: "the image",
        hint: "make room there: `condense gc` removes generations that nobody uses any more",
    }])?;
    let planned = match &facts.lock {
        Some(lock) if !facts.is_conda_idle => {
            let asked = (&facts.spec, lock.solution());
            Some(facts.conda.plan(asked, &facts, &before, &build)?)
        }
        _ => None,
    };
    if facts.is_rest_idle && planned.as_ref().is_some_and(Planned::is_idle) {
        return Ok(nothing(plan, &before, report));
    }
    let added = added_packages(planned.as_ref(), &build)?;
    let pip = pip_of(&build, &facts, planned.as_ref(), plan, &next)?;
    let of_pip = pip.packages.iter().map(|package| package.name.as_str());
    check_removed_pip(&facts.removed_pip, of_pip)?;
    let compression = next.generation.compression.unwrap_or_default();
    let [first, last] = build.inputs.script_steps();
    let base = before.receipt.base.clone();
    let change = Change::new((&build, plan), &next.generation, &before, base, facts)?;
    let is_rewritten = change.anew.is_some();
    let update = Update {
        build: &build,
        change: &change,
        generation: &next.generation,
    };
    let facts = &change.facts;
    let is_whole = update.is_known_to_unpack(planned.as_ref())?;
    let os_packages = build
        .prepared
        .base
        .os_packages_step(&plan.extra.os_packages, &plan.packages)?;
    let mut steps: Vec<String> = os_packages.into_iter().collect();
    if is_whole {
        steps.push("unpack the image".to_owned());
    }
    steps.extend(first);
    steps.extend(package_steps(planned.as_ref(), facts, plan));
    let installer = if next.extra.uv { "uv" } else { "pip" };
    steps.extend(pip.step(installer));
    steps.extend(last);
    steps.extend(
        [
            "write the image",
            "read it back and start it once",
            "publish",
        ]
        .map(str::to_owned),
    );
    let mut estimate = estimate_of(&build, &added, &pip, compression);
    estimate.add_image(image_bytes, is_whole || is_rewritten, compression);
    let receipt = &before.receipt;
    let mut preview = Preview::new(
        Parts {
            output: plan.dir.clone(),
            mount_point: Some(receipt.env_prefix.clone()),
            base: PreviewedBase {
                reference: receipt.base.path.display().to_string(),
                path: Some(build.prepared.base.path().to_owned()),
                manifest_digest: None,
                download_bytes: 0,
                glibc: facts.target.glibc.clone(),
            },
            plan: plan.to_string(),
            target: Some(facts.target.to_string()),
            packages: added,
            pip,
            estimate,
            steps,
            compression: Some(compression),
        },
        report,
    );
    preview.changes = planned.as_ref().map(changes).unwrap_or_default();
    Ok(preview)
}

/// Returns the estimate of a change without its image.
fn estimate_of(
    build: &Build,
    added: &[PreviewedPackage],
    pip: &Resolved,
    compression: Compression,
) -> Estimate {
    let mut steps = vec![Step::Fixed, Step::Container, Step::Container];
    steps.extend(build.inputs.script_names().iter().map(|_| Step::Script));
    if !pip.packages.is_empty() || !pip.lines.is_empty() {
        steps.push(Step::Pip);
    }
    let sizes = |is_counted: fn(&&PreviewedPackage) -> bool| -> u64 {
        let packages = added.iter().filter(is_counted);
        packages.filter_map(|package| package.size).sum()
    };
    Estimate::new(&Amounts {
        archive_bytes: sizes(|_| true),
        wheel_bytes: pip.bytes(),
        download_bytes: sizes(|package| !package.cached) + pip.bytes(),
        base_bytes: 0,
        steps,
        compression,
    })
}

impl Update<'_> {
    /// Returns whether the change is known to need the unpacked environment. Scripts and paths of
    /// packages, which may need it as well, are known when the packages are fetched.
    fn is_known_to_unpack(&self, planned: Option<&Planned>) -> anyhow::Result<bool> {
        let reason = match self.needs_whole()? {
            Some(reason) => Some(reason),
            None => planned.and_then(|planned| self.reason_before_linking(planned)),
        };
        Ok(reason.is_some())
    }
}

/// Returns the preview of an update that would change nothing.
fn nothing(plan: &UpdatePlan, before: &PreviousGeneration, report: &Report) -> Preview {
    let receipt = &before.receipt;
    let parts = Parts {
        output: plan.dir.clone(),
        mount_point: Some(receipt.env_prefix.clone()),
        base: PreviewedBase {
            reference: receipt.base.path.display().to_string(),
            path: Some(before.base_path().to_owned()),
            manifest_digest: None,
            download_bytes: 0,
            glibc: None,
        },
        plan: plan.to_string(),
        target: None,
        packages: Vec::new(),
        pip: Resolved::default(),
        estimate: Estimate::default(),
        steps: vec!["nothing: everything that is asked for is there".to_owned()],
        compression: None,
    };
    Preview::new(parts, report)
}

/// Returns the packages that the change adds, with their archives.
fn added_packages(
    planned: Option<&Planned>,
    build: &Build,
) -> anyhow::Result<Vec<PreviewedPackage>> {
    let Some(planned) = planned else {
        return Ok(Vec::new());
    };
    let network = Network::open(build.network_settings())?;
    let archives = condense_prefix::archives(&planned.added, &network)?;
    Ok(archives.into_iter().map(PreviewedPackage::from).collect())
}

/// Returns the change of each conda package, sorted by names.
fn changes(planned: &Planned) -> Vec<PreviewedChange> {
    let added = planned.added.packages();
    let of = |(name, (kind, from)): (String, (Transaction, Option<String>))| {
        let new = added.iter().find(|package| package.name == name);
        let to = new.map(|new| format!("{}-{}", new.version, new.build));
        PreviewedChange {
            change: match kind {
                Transaction::Install => "install",
                Transaction::Upgrade => "upgrade",
                Transaction::Downgrade => "downgrade",
                Transaction::Rebuild => "rebuild",
                Transaction::Remove => "remove",
            },
            name,
            from,
            to,
        }
    };
    planned.transactions().into_iter().map(of).collect()
}

/// Returns the steps that change packages: of a solved change, or else as they are asked for.
fn package_steps(
    planned: Option<&Planned>,
    facts: &PackageFacts,
    plan: &UpdatePlan,
) -> Vec<String> {
    let steps = match planned {
        Some(planned) => {
            let names = planned.added.packages().into_iter();
            let names = names.map(|one| format!("{}-{}-{}", one.name, one.version, one.build));
            let mut names: Vec<String> = names.collect();
            names.sort();
            [
                step("remove", &planned.removed),
                step("remove", &facts.removed_pip),
                step("add", &names),
            ]
        }
        None => [
            step("remove", &plan.change.remove),
            step("add", &plan.change.add),
            None,
        ],
    };
    steps.into_iter().flatten().collect()
}

fn step(verb: &str, names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| format!("{verb} {}", names.join(", ")))
}

/// Returns the packages that pip would install beside those that are there.
fn pip_of(
    build: &Build,
    facts: &PackageFacts,
    planned: Option<&Planned>,
    plan: &UpdatePlan,
    next: &NextGeneration,
) -> anyhow::Result<Resolved> {
    let before = facts.lock.as_ref().map(condense_prefix::Lock::solution);
    let conda = planned.map(|planned| &planned.solution).or(before);
    let solved = Solved::installed(match conda {
        Some(solution) => solution.without_locked_pip(),
        None => Solution::without_packages(&facts.target),
    });
    let python = match build
        .venv
        .as_ref()
        .map(|Venv { interpreter, .. }| interpreter)
    {
        Some(Interpreter::Host(python)) => Some(PythonVersion::of_program(python)),
        Some(_) => None,
        None => solved.solution.python().as_deref().map(PythonVersion::new),
    };
    resolve(&PipQuestion {
        spec: &facts.requirements,
        solved: &solved,
        python,
        target: &facts.target,
        uses_uv: next.extra.uv,
        uv_program: plan.extra.uv_program.as_deref(),
        settings: &plan.packages,
        session: build.prepared.session,
        notes: build.scratch(),
    })
}
