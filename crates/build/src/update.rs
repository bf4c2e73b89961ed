//! Responsible for changing an installation: a new generation made of the one that is visible, and
//! published beside it.

mod grafted;
mod previous;
mod user_hooks;
mod whole;

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::bail;
use condense_base::BaseImage;
use condense_image::{Codec, Compression, Donor, Image, Reader, Tree};
use condense_installation::{
    Assembly, BaseMode, Claim, Destination, Launch, Program, Receipt, Staged, State, UpdateState,
};
use condense_prefix::{EnvironmentSpec, Solution, Target};
use indicatif::{HumanBytes, HumanCount};

use super::{
    Build, IMAGE, LoadedInputs, active_bin,
    assemble::{LOCK, PIP_REPORT, file_record, image_record, now, shell_of},
    check, file_count, find_runtime, refused_offline,
    scratch::Scratch,
    target, verify,
};
use crate::{
    interrupt::Interrupt,
    plan::{GZIP, Plan, UpdatePlan},
    report::{Phase, Report},
};
use condense_diagnostics::UserError;
use previous::PreviousGeneration;

/// What is known before anything is made.
struct Change<'a> {
    before: &'a PreviousGeneration,
    /// What was asked for, with the scripts of all builds.
    spec: EnvironmentSpec,
    /// What pip is to install now.
    requirements: EnvironmentSpec,
    target: Target,
    /// The image is packed anew, like this.
    anew: Option<Compression>,
    /// Why the runtime cannot mount the old one, if it is for its codec.
    unmountable: Option<String>,
}

/// A new image, and what is to be known of it.
struct Changed {
    image: Image,
    tree: Tree,
    solution: Solution,
    pip_report: Option<String>,
    pip_packages: Vec<condense_prefix::PipPackage>,
    replaced_by_pip: Vec<String>,
    launch: Launch,
    programs: Vec<Program>,
    landmarks: Vec<(PathBuf, PathBuf)>,
}

/// Makes and publishes what `plan` describes; `search_path` is the user's PATH.
///
/// # Errors
/// Whatever stopped it; the installation is then as it was, and scratch is gone.
pub fn update(
    plan: &UpdatePlan,
    search_path: &OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let claim = claim(&plan.dir, search_path, report)?;
    let before = PreviousGeneration::load(&claim, plan)?;
    let own_lines = before.own_lines(plan.extra_text.is_some(), report)?;
    let merged = plan.over(&before.receipt, own_lines.given);
    let inputs = LoadedInputs::load(&merged)?;
    let requirements = inputs.requirements();
    for warning in requirements.warnings() {
        report.warn_of(warning);
    }
    if let Some(path) = &plan.inputs.requirements {
        check::check_request(
            (Some(&requirements), &[]),
            path,
            "",
            &plan.settings.checks,
            report,
        )?;
    }
    let asks_network = !requirements.pip().is_empty() && !merged.settings.pip_without_index;
    if merged.settings.network.offline && asks_network {
        return Err(refused_offline(None).into());
    }
    let base = BaseImage::open(before.base_path())?;
    base.check_architecture()?;
    let facts = base.facts()?;
    let target = target::target(
        &facts,
        before.receipt.host_view,
        &merged.settings.overrides,
        report,
    )?;
    let lock = before.lock(&target)?;
    let spec = before.spec(lock.as_ref(), &inputs, &plan.settings.spec_context);
    let venv = before.venv(&inputs)?;
    let mut needs = inputs.needs_container(&requirements, None);
    if venv.is_some() && !requirements.pip().is_empty() {
        needs.push("pip of a virtual environment".to_owned());
    }
    let runtime = find_runtime(
        merged.settings.runtime.as_deref(),
        &needs,
        search_path,
        report,
    )?;
    let scratch = Scratch::of(&merged.settings, report, interrupt)?;
    let build = Build {
        plan: &merged,
        inputs,
        venv,
        report,
        base,
        base_is_cached: false,
        facts,
        view: before.receipt.host_view,
        bytes_beside: 0,
        has_wrappers: true,
        runtime,
        scratch,
    };
    build.check_context().check_base()?;
    let unmountable = build.unmountable(&before)?;
    let anew = match (plan.compression, &unmountable) {
        (Some(_), _) => Some(build.compression()),
        (None, Some(reason)) => {
            report.info(format!("The image becomes gzip: {reason}"));
            Some(GZIP)
        }
        (None, None) => None,
    };
    let change = Change {
        before: &before,
        spec,
        requirements,
        target,
        anew,
        unmountable,
    };
    let mut changed = build.change(&change, lock.as_ref(), &claim.image_path())?;
    changed.launch.hand_written = own_lines.by_hand;
    build.check_pip(&changed.pip_packages)?;
    let lock_text = condense_prefix::render_updated_lock(
        lock.as_ref(),
        &changed.solution,
        &change.spec,
        &change.requirements,
        changed.pip_report.as_deref(),
        &changed.pip_packages,
    )?;

    report.begin(Phase::Publish, None);
    let staged = build.stage_change(claim, &before, &changed, lock_text.into_bytes())?;
    build.check_change(&staged, &changed)?;
    build.refuse_interrupted()?;
    let installation = staged.publish()?;
    report.end(Phase::Publish);
    tell(&changed.image, report);
    report.info(format!(
        "{} is changed: generation {} is visible now, jobs that run keep theirs (`condense rollback` brings it back)",
        installation.dir.display(),
        installation.generation
    ));
    Ok(())
}

/// Reserves an installation that is there.
fn claim(dir: &Path, search_path: &OsStr, report: &Report) -> anyhow::Result<Claim> {
    let destination = Destination::inspect(dir)?;
    let shown = dir.display();
    match destination.state() {
        State::Absent => bail!("{shown} does not exist"),
        State::Empty | State::Foreign => bail!(UserError::new(
            format!("`{shown}` is not an installation"),
            "name the directory that `new --prefix DIR` has made",
        )),
        State::Tykky | State::Condense { .. } => {}
    }
    if let Some(bin) = active_bin(&destination, search_path) {
        report.warning(format!(
            "{} is on PATH, so scripts of the update may start what was installed before: better run it from a shell without it",
            bin.display()
        ));
    }
    Ok(destination.claim_for_update()?)
}

fn tell(image: &Image, report: &Report) {
    report.info(format!(
        "{} files in one of {} ({}), {} of them taken over as they were",
        HumanCount(file_count(image)),
        HumanBytes(image.size_bytes),
        image.compression,
        HumanBytes(image.taken_bytes)
    ));
    report.info(format!("Seconds: {}", report.timing()));
}

impl Build<'_> {
    /// Why the old image cannot be mounted, if it is for its codec: it may be from a machine with
    /// another runtime.
    fn unmountable(&self, before: &PreviousGeneration) -> anyhow::Result<Option<String>> {
        let Some(runtime) = &self.runtime else {
            return Ok(None);
        };
        let image = before.image_path();
        let codec = Reader::open(image)?.superblock().codec;
        if codec == Codec::Zstd && !runtime.reads_zstd() {
            return Ok(Some(format!(
                "{} {} reads no image that is compressed with zstd",
                runtime.program().display(),
                runtime.version()
            )));
        }
        Ok(self.codec_refused(codec, image, &before.receipt.mount_point))
    }

    /// Makes the new image in the cheapest way that there is.
    fn change(
        &self,
        change: &Change,
        lock: Option<&condense_prefix::Lock>,
        path: &Path,
    ) -> anyhow::Result<Changed> {
        let solution = match lock {
            Some(lock) => lock.solution().clone(),
            None => Solution::without_packages(&change.target),
        };
        let reason = match self.needs_whole(change) {
            Some(reason) => reason,
            None => match self.change_beside(change, &solution, path)? {
                Ok(changed) => return Ok(changed),
                Err(reason) => reason,
            },
        };
        self.report.info(format!(
            "The installed environment is unpacked first: {reason}"
        ));
        self.change_whole(change, solution, path)
    }

    /// Why the environment must lie there whole and writable, if it must.
    fn needs_whole(&self, change: &Change) -> Option<String> {
        let requirements = &change.requirements;
        if let Some(script) = self.inputs.script_names().first() {
            return Some(format!("`{script}` runs in it"));
        }
        if change.before.receipt.update_state.launch.is_none() {
            return Some("nobody has written down yet how it is activated".to_owned());
        }
        if requirements.pip().is_empty() {
            return None;
        }
        if let Some(reason) = &change.unmountable {
            return Some(reason.clone());
        }
        if self.inputs.uv().is_some() {
            return Some("uv installs into it".to_owned());
        }
        if let Some(line) = condense_prefix::pip_to_build(requirements, None).first() {
            return Some(format!("`{line}` has to be built"));
        }
        if self.runtime.is_none() {
            return Some("there is no runtime that would mount it".to_owned());
        }
        None
    }

    /// The old image, whose blocks are taken as they are.
    fn donor(before: &PreviousGeneration) -> anyhow::Result<Donor> {
        Ok(Donor::open(before.image_path())?)
    }

    /// Puts a generation together where nobody sees it.
    fn stage_change(
        &self,
        claim: Claim,
        before: &PreviousGeneration,
        changed: &Changed,
        lock: Vec<u8>,
    ) -> anyhow::Result<Staged> {
        let old = &before.receipt;
        let folder = PathBuf::from(format!("previous_input/{}", claim.generation()));
        let kept = self.inputs.kept(&folder, &folder);
        let (mut share, mut inputs) = (before.inputs()?, old.inputs.clone());
        for (role, path, bytes) in kept {
            inputs.push(file_record(Some(role), &path, &bytes));
            share.push((path, bytes));
        }
        let report = match &changed.pip_report {
            Some(text) => Some(text.clone().into_bytes()),
            None => before.read_share(PIP_REPORT)?,
        };
        share.extend(report.map(|bytes| (PathBuf::from(PIP_REPORT), bytes)));
        let paths = self.plan.wrapper_paths.iter();
        let receipt = Receipt {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            created: self.plan.source_date_epoch.map_or_else(now, u64::from),
            arguments: self.arguments(),
            inputs,
            lock: Some(file_record(None, Path::new(LOCK), &lock)),
            image: Some(image_record(&changed.image)?),
            update_state: UpdateState {
                launch: Some(Box::new(changed.launch.clone())),
                wrapper_paths: paths.map(|path| path.display().to_string()).collect(),
                no_cache: self.plan.inputs.no_cache,
                build_env: self.plan.settings.build_env.names.clone(),
                compression: Some(changed.image.compression.to_string()),
                pip_packages: changed
                    .pip_packages
                    .iter()
                    .cloned()
                    .map(Into::into)
                    .collect(),
                replaced_by_pip: changed.replaced_by_pip.clone(),
                ..old.update_state.clone()
            },
            ..old.clone()
        };
        share.push((PathBuf::from(LOCK), lock));
        Ok(claim.stage(&Assembly {
            image: Some(&changed.image.path),
            base: &before.base_path(),
            base_mode: BaseMode::KeepPlacement,
            launch: &changed.launch,
            programs: &changed.programs,
            landmarks: &changed.landmarks,
            share: &share,
            receipt: &receipt,
        })?)
    }

    /// As after a build: the image is read back while one of the wrappers runs.
    fn check_change(&self, staged: &Staged, changed: &Changed) -> anyhow::Result<()> {
        let dir = staged.generation_dir();
        let mut image = changed.image.clone();
        image.path = dir.join(IMAGE);
        let (read_back, stored, started) = std::thread::scope(|scope| {
            let verify = || condense_image::verify(&image, &changed.tree, None);
            let read_back = condense_threads::scoped(scope, verify)?;
            let stored = condense_threads::scoped(scope, || staged.store())?;
            let started = self.start_changed(dir);
            anyhow::Ok((read_back.join(), stored.join(), started))
        })?;
        stored.map_err(|_| anyhow::anyhow!("failed to store the installation"))??;
        read_back.map_err(|_| anyhow::anyhow!("failed to read the image back"))??;
        started
    }

    fn start_changed(&self, dir: &Path) -> anyhow::Result<()> {
        if self.runtime.is_none() {
            return Ok(());
        }
        let python = fs_err::read_link(dir.join("_bin/python")).ok();
        let targets = verify::link_targets(&dir.join("_bin"))?;
        let said = verify::start_once(&dir.join("bin"), python.as_deref(), &targets)?;
        self.refuse_interrupted()?;
        match said {
            Some(said) => bail!("the changed installation does not start:\n{said}"),
            None => Ok(()),
        }
    }

    /// What wrappers knew before, and what the user says about them now.
    fn launch_again(&self, before: &Launch, plan: &Plan) -> Launch {
        Launch {
            runtime: match &self.runtime {
                Some(runtime) => Some(runtime.program().to_owned()),
                None => before.runtime.clone(),
            },
            extra_text: plan.extra_text.clone(),
            shell: shell_of(plan.extra_text.as_deref()),
            ..before.clone()
        }
    }
}
