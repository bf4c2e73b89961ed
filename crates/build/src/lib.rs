//! Runs builds: from a plan to an installation, a SIF or an update. The order of work is here; the
//! work itself is done by the other crates, and this is the only one that uses all of them.
//!
//! A front end fills a plan of [`plan`] and calls one of the functions with a [`Report`], which
//! receives messages and progress. Nothing is printed, and nothing stays behind when a run fails.

mod assemble;
mod cache;
mod check;
mod child;
mod conda;
mod container;
pub mod contents;
mod doctor;
mod hints;
mod host_runner;
mod html_report;
mod inputs;
mod install;
pub mod interrupt;
mod launch;
mod lock;
mod pip_preflight;
pub mod plan;
mod privacy;
mod processes;
mod programs;
mod pull;
mod report;
mod scratch;
mod sif;
mod space;
mod target;
mod update;
mod venv;
mod verify;
mod wrap;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use anyhow::bail;
use condense_base::{BaseFacts, BaseImage};
use condense_image::{Codec, Compression, Image, PackOptions, Tree};
use condense_installation::{
    BaseMode, Claim, Destination, HostView, InterpreterRecord, Mounting, Runtime, Staged, State,
};
use condense_prefix::{EnvironmentSpec, Finished, Kind, Place, Solution, SpecContext, Venv};
use indicatif::{HumanBytes, HumanCount};

pub use cache::{CacheCleaned, CacheCleaning, CacheDirs, CachePart, CacheUse};
pub use check::{Subject, check};
use condense_diagnostics::UserError;
pub use doctor::{Examined, doctor};
pub use hints::hint;
pub use html_report::html_report;
use inputs::LoadedInputs;
pub use interrupt::Interrupt;
pub use lock::lock;
use plan::{BaseChoice, BaseFile, GZIP, Plan};
pub use processes::end_all;
pub use pull::Pull;
pub use report::{Level, Phase, Report, Reporter};
use scratch::Scratch;
pub use sif::build_sif;
pub use update::update;
pub use verify::verify;
pub use wrap::wrap;

/// Name of the image in a generation.
const IMAGE: &str = "img.sqfs";
/// What a build needs at every turn.
struct Build<'a> {
    plan: &'a Plan,
    inputs: LoadedInputs,
    venv: Option<Venv>,
    report: &'a Arc<Report>,
    base: BaseImage,
    base_is_cached: bool,
    facts: BaseFacts,
    view: HostView,
    /// What the image has besides the environment.
    bytes_beside: u64,
    /// The result gets wrappers.
    has_wrappers: bool,
    runtime: Option<Runtime>,
    scratch: Scratch,
}

/// What is mounted and known once the steps have run.
struct FinishedPrefix {
    place: Place,
    solution: Solution,
    /// The packages that were asked for, also by scripts that called `conda`.
    asked: EnvironmentSpec,
    finished: Finished,
    base_environment: BTreeMap<String, String>,
    /// Directories of the user's that the environment links to.
    linked_dirs: Vec<PathBuf>,
    /// That of a virtual environment.
    interpreter: Option<InterpreterRecord>,
}

/// Builds the installation that `plan` describes; `search_path` is the user's PATH.
///
/// # Errors
/// Whatever stopped it; the destination is then as it was, and scratch is gone.
pub fn build(
    plan: &Plan,
    search_path: &OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let (claim, mount_point) = claim(&plan.prefix_dir, plan.force, search_path, report)?;
    let scripts = [&plan.inputs.pre_install, &plan.inputs.post_install];
    if plan.venv.is_some() || scripts.iter().any(|script| script.is_some()) {
        warn_of_other_installations(search_path, report);
    }
    let mut spec = match &plan.lock {
        Some(lock) if lock.alone => None,
        _ if plan.venv.is_some() => Some(EnvironmentSpec::load_requirements(
            &plan.spec_path,
            &plan.settings.spec_context,
        )?),
        _ => Some(load_conda_spec(
            &plan.spec_path,
            &plan.settings.spec_context,
        )?),
    };
    let venv = plan
        .venv
        .as_ref()
        .map(|wanted| venv::choose(wanted, &plan.inputs, search_path, report))
        .transpose()?;
    if let (Some(condarc), Some(spec)) = (&plan.settings.condarc, &mut spec) {
        condarc.apply(spec)?;
    }
    let inputs = LoadedInputs::load(plan)?;
    if let Some(spec) = &mut spec {
        inputs.require(spec);
    }
    for warning in spec.iter().flat_map(EnvironmentSpec::warnings) {
        report.warn_of(warning);
    }
    check::check_request(
        (spec.as_ref(), &[]),
        &plan.spec_path,
        plan.base.reference(),
        &plan.settings.checks,
        report,
    )?;
    let located = pull::locate(
        plan.base.reference(),
        &Pull::for_a_base(
            &plan.settings.registries,
            &plan.settings.scratch_parent,
            plan.source_date_epoch,
        ),
        report,
    )?;
    let base = BaseImage::open(&located.path)?;
    base.check_architecture()?;
    let facts = base.facts()?;
    let base_digest = spawn_digest(&located.path)?;
    let view = view_of(&plan.base);
    let target = target::target(&facts, view, &plan.settings.overrides, report)?;
    let lock = lock::load(plan.lock.as_ref(), spec.as_ref(), &target, report)?;
    let mut spec = match (spec, &lock) {
        (Some(spec), _) => spec,
        (None, Some(lock)) => lock.spec(),
        (None, None) => unreachable!("without an environment file there is a lock"),
    };
    inputs.mix_into_digest(&mut spec);
    if let Some(venv) = &venv {
        spec.mix_into_digest(&venv.identity());
    }
    if let Some(lock) = &lock {
        inputs.compare(lock, report);
    }
    let locked = lock.map(|lock| lock.solution().clone());
    let managed = matches!(
        &venv,
        Some(Venv {
            interpreter: condense_prefix::Interpreter::Managed { .. },
            ..
        })
    );
    if plan.settings.network.offline && managed {
        bail!(UserError::new(
            "`--offline`: uv would fetch an interpreter",
            "leave out `--uv`: the environment is made on a Python that is here",
        ));
    }
    if plan.settings.network.offline && pip_asks_network(plan, &spec, locked.as_ref()) {
        return Err(refused_offline(locked.as_ref()).into());
    }
    let mut needs = inputs.needs_container(&spec, locked.as_ref());
    if venv.is_some() {
        needs.push("the making of a virtual environment".to_owned());
    }
    let runtime = find_runtime(
        plan.settings.runtime.as_deref(),
        &needs,
        search_path,
        report,
    )?;
    let scratch = Scratch::of(&plan.settings, report, interrupt)?;
    let build = Build {
        plan,
        inputs,
        venv,
        report,
        base,
        base_is_cached: located.is_cached,
        facts,
        view,
        bytes_beside: 0,
        has_wrappers: true,
        runtime,
        scratch,
    };
    build.check_context().check_base()?;

    let made = build.make_prefix(&spec, &target, locked, mount_point)?;
    // Beside the destination, so that no second copy of it is ever written.
    let (mut image, tree) = build.pack(
        &made,
        build.pack_anew(build.compression()),
        &claim.image_path(),
    )?;
    let base_digest = base_digest
        .join()
        .map_err(|_| anyhow::anyhow!("failed to take the digest of the base image"))??;

    report.begin(Phase::Publish, None);
    let mut staged = build.stage(claim, &made, &spec, (&image, &tree), base_digest.as_deref())?;
    if let Err(error) = build.check(&staged, &made, &mut image, &tree) {
        let staged_image = staged.generation_dir().join(IMAGE);
        let codec = image.compression.codec();
        let Some(reason) = build.codec_refused(codec, &staged_image, &made.place.mount_point)
        else {
            return Err(error);
        };
        report.warning(format!(
            "the runtime cannot mount an image compressed with {}, it becomes a gzip image: {reason}",
            image.compression
        ));
        drop(staged);
        let claim = Destination::inspect(&plan.prefix_dir)?.claim(plan.force)?;
        let (again, tree) = build.pack(&made, build.pack_anew(GZIP), &claim.image_path())?;
        image = again;
        staged = build.stage(claim, &made, &spec, (&image, &tree), base_digest.as_deref())?;
        build.check(&staged, &made, &mut image, &tree)?;
    }
    build.refuse_interrupted()?;
    let installation = staged.publish()?;
    report.end(Phase::Publish);

    let dir = installation.dir.display();
    report.info(format!(
        "{} files of {} became one of {} ({})",
        HumanCount(file_count(&image)),
        HumanBytes(image.bytes_in),
        HumanBytes(image.size_bytes),
        image.compression
    ));
    report.info(format!("Seconds: {}", report.timing()));
    report.info(format!(
        "Program has been installed to {dir}\nTo use add the bin folder to your path e.g:\nexport PATH=\"{dir}/bin:$PATH\""
    ));
    Ok(())
}

/// A file that only pip can read says nothing about Python itself.
fn load_conda_spec(file: &Path, context: &SpecContext) -> anyhow::Result<EnvironmentSpec> {
    let spec = EnvironmentSpec::load(file, context)?;
    if spec.kind() == Kind::Requirements {
        let name = file.display();
        bail!(UserError::new(
            format!("`{name}` is a requirements file for pip, not a list of conda packages"),
            format!(
                "write an environment.yml with `python` and `pip` under `dependencies:`, and `-r {name}` under `pip:`"
            ),
        ));
    }
    Ok(spec)
}

fn pip_asks_network(plan: &Plan, spec: &EnvironmentSpec, locked: Option<&Solution>) -> bool {
    if let Some(urls) = locked.and_then(Solution::locked_pip_from_elsewhere) {
        return !urls.is_empty();
    }
    let needs_pip = spec.needs_pip(locked);
    needs_pip && !plan.settings.pip_without_index
}

/// pip does not know that nothing may be sent.
fn refused_offline(locked: Option<&Solution>) -> UserError {
    if let Some(urls) = locked.and_then(Solution::locked_pip_from_elsewhere) {
        return UserError::new(
            format!("offline, and not in the cache:\n{}", urls.join("\n")),
            "pip's packages of a lock are fetched for each build: run it without `--offline`",
        );
    }
    UserError::new(
        "`--offline`: pip would ask its index for the pip requirements",
        "set PIP_NO_INDEX=1, and PIP_FIND_LINKS to a directory of wheels",
    )
}

fn file_count(image: &Image) -> u64 {
    image.summary.files + image.summary.symlinks
}

/// Reserves the destination; with it comes the mount point of what is replaced.
fn claim(
    prefix_dir: &Path,
    force: bool,
    search_path: &OsStr,
    report: &Report,
) -> anyhow::Result<(Claim, Option<PathBuf>)> {
    let destination = Destination::inspect(prefix_dir)?;
    refuse_active(&destination, search_path)?;
    let mount_point = match destination.state() {
        // A running job of the generation that is replaced must still find its image at its mount
        // point.
        State::Condense {
            receipt: Some(receipt),
            ..
        } if force => Some(receipt.mount_point.clone()),
        _ => None,
    };
    let absent = *destination.state() == State::Absent;
    let claim = destination.claim(force)?;
    if absent {
        report.info(format!(
            "{} does not exist, creating it for you",
            prefix_dir.display()
        ));
    }
    Ok((claim, mount_point))
}

/// Warns of directories on PATH that belong to another installation. Steps may start programs on
/// PATH, and those of another installation do not run inside of this build's container.
fn warn_of_other_installations(search_path: &OsStr, report: &Report) {
    for dir in std::env::split_paths(search_path) {
        let Some(root) = dir.parent().filter(|_| dir.is_absolute()) else {
            continue;
        };
        if dir.ends_with("bin") && root.join("common.sh").is_file() && root.join("_bin").is_dir() {
            report.warning(format!(
                "Remove {} from PATH: it is another installation's, and steps of this build that start its programs fail",
                dir.display()
            ));
        }
    }
}

/// Replacing what the user's own commands come from would change them in the middle of this one.
fn refuse_active(destination: &Destination, search_path: &OsStr) -> anyhow::Result<()> {
    if let Some(bin) = active_bin(destination, search_path) {
        bail!(UserError::new(
            format!(
                "Remove {} from PATH: an installation cannot be replaced while it is in use",
                bin.display()
            ),
            "run the command again from a shell without it",
        ));
    }
    Ok(())
}

/// The programs of an installation that are on PATH.
fn active_bin(destination: &Destination, search_path: &OsStr) -> Option<PathBuf> {
    let bin = destination.dir().join("bin");
    let mut dirs = std::env::split_paths(search_path);
    (dirs.any(|dir| dir == bin) && bin.exists()).then_some(bin)
}

/// A named base is seen as it is, a site's under the host.
fn view_of(base: &BaseChoice) -> HostView {
    match base {
        BaseChoice::Named(_) => HostView::Base,
        BaseChoice::Site(_) => HostView::Host,
    }
}

/// Returns how the base gets into an installation. A base that was found in the cache, or by a link
/// that a site moves on, may not stay where it is. The installation gets its own file then, unless
/// a link was asked for and the base is not in the cache.
fn base_mode(wanted: BaseFile, is_moving: bool, is_cached: bool) -> BaseMode {
    match wanted {
        BaseFile::Copied => BaseMode::Copy,
        BaseFile::Linked if !is_cached => BaseMode::Symlink,
        _ if is_moving => BaseMode::Copy,
        _ if is_cached => BaseMode::LinkOrCopy,
        _ => BaseMode::Link,
    }
}

/// A large base takes seconds to read; the network takes longer.
fn spawn_digest(
    reference: &str,
) -> Result<JoinHandle<Result<Option<String>, condense_base::Error>>, condense_threads::Error> {
    let reference = reference.to_owned();
    condense_threads::spawn(move || BaseImage::open(&reference)?.digest())
}

fn find_runtime(
    named: Option<&Path>,
    needs: &[String],
    search_path: &OsStr,
    report: &Report,
) -> anyhow::Result<Option<Runtime>> {
    match Runtime::find(named, search_path) {
        Ok(runtime) => Ok(Some(runtime)),
        Err(condense_installation::Error::NoRuntime) if needs.is_empty() => {
            report.warning(
                "neither apptainer nor singularity is on PATH: the result cannot be started here",
            );
            Ok(None)
        }
        Err(condense_installation::Error::NoRuntime) => bail!(UserError::new(
            format!(
                "{} must run in a container, and neither apptainer nor singularity is on PATH",
                needs.join(", ")
            ),
            "load the module of your container runtime; packages that have wheels can do without",
        )),
        Err(error) => Err(error.into()),
    }
}

/// What an image for this runtime is compressed with: some refuse zstd before they ask the kernel.
fn compression_for(
    runtime: Option<&Runtime>,
    wished: Option<Compression>,
    report: &Report,
) -> Compression {
    match (wished, runtime) {
        (Some(wished), None) => wished,
        (Some(wished), _) if !matches!(wished, Compression::Zstd { .. }) => wished,
        (_, Some(runtime)) if runtime.reads_zstd() => wished.unwrap_or_default(),
        (_, Some(runtime)) => {
            report.info(format!(
                "{} {} reads no image that is compressed with zstd, it becomes a gzip image",
                runtime.program().display(),
                runtime.version()
            ));
            GZIP
        }
        (None, None) => {
            report.info("the image becomes gzip, which every runtime reads; for apptainer from 1.4 on: `--compression zstd`");
            GZIP
        }
    }
}

impl Build<'_> {
    fn compression(&self) -> Compression {
        compression_for(self.runtime.as_ref(), self.plan.compression, self.report)
    }

    fn pack_anew(&self, compression: Compression) -> PackOptions {
        PackOptions {
            compression,
            block_size: self.plan.block_size,
            ..PackOptions::default()
        }
    }

    /// Reads the staged image back. At the same time the image goes to the disk and one of the
    /// staged wrappers runs, since starting a container is mostly waiting.
    fn check(
        &self,
        staged: &Staged,
        made: &FinishedPrefix,
        image: &mut Image,
        tree: &Tree,
    ) -> anyhow::Result<()> {
        image.path = staged.generation_dir().join(IMAGE);
        let (read_back, stored, started) = std::thread::scope(|scope| {
            let read_back =
                condense_threads::scoped(scope, || condense_image::verify(image, tree, None))?;
            let stored = condense_threads::scoped(scope, || staged.store())?;
            let started = self.start_once(staged, made);
            anyhow::Ok((read_back.join(), stored.join(), started))
        })?;
        stored.map_err(|_| anyhow::anyhow!("failed to store the installation"))??;
        read_back.map_err(|_| anyhow::anyhow!("failed to read the image back"))??;
        started
    }

    /// Runs one of the staged wrappers: every program must be there inside, and Python must start
    /// where there is one.
    fn start_once(&self, staged: &Staged, made: &FinishedPrefix) -> anyhow::Result<()> {
        if self.runtime.is_none() {
            return Ok(());
        }
        let dir = staged.generation_dir();
        let python = made.solution.python().is_some() || made.interpreter.is_some();
        let python = python.then(|| made.place.mounted_env().join("bin/python"));
        let targets = verify::link_targets(&dir.join("_bin"))?;
        let Some(said) = verify::start_once(&dir.join("bin"), python.as_deref(), &targets)? else {
            return Ok(());
        };
        self.refuse_interrupted()?;
        bail!("the finished installation does not start:\n{said}")
    }

    /// The runtime's reason, when it is the codec that it cannot mount.
    fn codec_refused(&self, codec: Codec, image: &Path, mount_point: &Path) -> Option<String> {
        let runtime = self.runtime.as_ref()?;
        if codec == Codec::Gzip {
            return None;
        }
        match runtime.can_mount(self.base.path(), image, mount_point) {
            Ok(Mounting::Refused(reason)) => Some(reason),
            _ => None,
        }
    }

    fn refuse_interrupted(&self) -> anyhow::Result<()> {
        if self.report.cancelled() {
            return Err(condense_prefix::Error::Interrupted.into());
        }
        Ok(())
    }
}
