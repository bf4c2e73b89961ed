//! Responsible for building an installation: a new environment with wrappers.

use std::{ffi::OsStr, path::PathBuf, sync::Arc};

use anyhow::bail;
use condense_image::{ImageBlocks, PackOptions};
use condense_installation::{Claim, Destination, Staged};
use condense_prefix::{CondaSettings, EnvironmentSpec, ImageKind, Recipe, Venv};
use indicatif::{HumanBytes, HumanCount};

use crate::{
    ahead::BlockFormat,
    build::{Build, ImageDestination},
    claim::{claim_new, warn_of_other_installations},
    compression::{ImageCompression, ImageMount},
    environment::{LoadedRequest, Requested, find_target},
    generation::{IMAGE, NewGeneration},
    inputs::{LoadedInputs, ScriptTarget},
    interrupt::Interrupt,
    open_base::OpenBase,
    pack::Packed,
    plan::{EnvironmentInput, Generation, InstallationPlan, Packages},
    prefix::FinishedPrefix,
    prepared::Prepared,
    recipe,
    report::{Phase, Report},
    runtime_search::RuntimeSearch,
    session::Session,
    venv, verify,
};

/// Builds the installation that `plan` describes; `search_path` is the user's PATH.
///
/// # Errors
/// Returns the error that stopped the build. The destination is then as it was, and scratch is
/// gone.
pub fn build(
    plan: &InstallationPlan,
    search_path: &OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let session = Session::new(&plan.settings, search_path, report, interrupt);
    let generation = &plan.output.generation;
    let (claim, mount_point) = claim_new(&plan.output, session)?;
    warn_of_path(plan, session);
    let requested = load(plan, session)?;
    requested.check(plan.input.packages.source(), &plan.base, session)?;
    let search = RuntimeSearch::start(session);
    let session = session.with_search(&search);
    let base = OpenBase::open(session, &plan.base, generation.source_date_epoch)?;
    let base = base.with_os_packages(
        session,
        &plan.input.extra.os_packages,
        &plan.input.settings,
        generation.source_date_epoch,
    )?;
    let digest = base.start_digest(session.report)?;
    let target = find_target(&base, &plan.input.settings.overrides, report)?;
    let (environment, inputs, venv) = requested.resolve(target, report)?;
    if let Some(venv) = &venv {
        base.check_python(venv)?;
    }
    let recipe = environment
        .of_lock
        .recipe(ImageKind::Installation, &plan.input.env_path);
    let mount_point = recipe::mount_point(mount_point, recipe);
    let plan = &plan.following(recipe);
    let needs = environment.container_steps(&inputs, venv.as_ref());
    let prepared = Prepared::open(session, base, &needs)?;
    let build = Build {
        source_date_epoch: plan
            .output
            .generation
            .source_date_epoch
            .or_else(|| recipe?.time),
        conda_settings: environment.conda_settings(&plan.input.settings),
        locked_hot_files: recipe.and_then(|recipe| recipe.hot_files.clone()),
        ..new_build(plan, prepared, inputs, venv)
    };
    let mut made = build.make_prefix(&environment, &mount_point)?;
    // Beside the destination, so that no second copy of it is ever written.
    let options = PackOptions {
        known: made.packed_ahead.take().map(ImageBlocks::shared),
        ..build.pack_anew(&plan.output.generation)
    };
    let tree = made.tree.take();
    let packed = build.pack(&made, tree, options, &claim.image_path())?;
    let digest = digest.wait()?;
    let base_digest = digest.sha256.as_deref();
    recipe::warn_of_others(recipe, base_digest, report);

    report.begin(Phase::Publish, None);
    let new = NewGeneration {
        build: &build,
        plan,
        made: &made,
        spec: &environment.spec,
        base_digest,
    };
    let (staged, packed) = new.stage_checked(claim, packed)?;
    build.refuse_interrupted()?;
    let installation = staged.publish()?;
    report.end(Phase::Publish);

    report_image(&packed, report);
    report.keep_blocks();
    digest.keep_after_link(report);
    report.info(format!("Seconds: {}", report.timing()));
    report_path(&installation.dir.display(), report);
    Ok(())
}

impl InstallationPlan {
    /// Returns the plan with the properties of the image that wrote the lock.
    pub(crate) fn following(&self, recipe: Option<&Recipe>) -> Self {
        let mut plan = self.clone();
        plan.output.generation = self.output.generation.following(recipe);
        plan
    }
}

fn new_build<'a>(
    plan: &'a InstallationPlan,
    prepared: Prepared<'a>,
    inputs: LoadedInputs,
    venv: Option<Venv>,
) -> Build<'a> {
    let generation = &plan.output.generation;
    let compression = ImageCompression::new(generation.compression, prepared.runtime.as_ref());
    Build {
        block_format: Some(BlockFormat {
            compression: compression.chosen(),
            block_size: generation.block_size,
        }),
        prepared,
        packages: &plan.input.settings,
        inputs,
        conda_settings: CondaSettings::default(),
        venv,
        env_path: &plan.input.env_path,
        destination: ImageDestination {
            path: &generation.dir,
            bytes_beside: 0,
        },
        has_wrappers: true,
        locked_hot_files: None,
        source_date_epoch: generation.source_date_epoch,
    }
}

/// Warns of other installations on PATH, if steps of this build may start their programs.
pub(crate) fn warn_of_path(plan: &InstallationPlan, session: Session) {
    let extra = &plan.input.extra;
    let has_scripts = extra.pre_install.is_some() || extra.post_install.is_some();
    if plan.input.packages.venv().is_some() || has_scripts {
        warn_of_other_installations(session.search_path, session.report);
    }
}

/// Loads all files that the plan names, and finds the interpreter of a virtual environment.
///
/// # Errors
/// Returns an error if a file cannot be understood or the interpreter cannot be used.
pub(crate) fn load<'a>(
    plan: &'a InstallationPlan,
    session: Session,
) -> anyhow::Result<Requested<'a>> {
    let EnvironmentInput {
        packages,
        extra,
        env_path,
        settings,
    } = &plan.input;
    let (mut asked, venv) = match packages {
        Packages::Conda(conda) => (
            LoadedRequest::load(conda, extra.has_requirements(), settings)?,
            None,
        ),
        Packages::Requirements(wanted) => {
            let file = &wanted.requirements;
            let spec = EnvironmentSpec::load_requirements(file, &settings.spec_context)?;
            let venv = venv::choose(
                wanted,
                &plan.base,
                extra,
                session.search_path,
                session.report,
            )?;
            (LoadedRequest::Spec(spec), Some(venv))
        }
    };
    asked.apply_condarc(settings)?;
    let target = ScriptTarget {
        destination: &plan.output.generation.dir,
        env_path,
    };
    let inputs = LoadedInputs::load(extra, settings, target)?;
    asked.require(&inputs, session.report);
    Ok(Requested {
        asked,
        inputs,
        venv,
        settings,
    })
}

/// Reports the size of an image that was packed from loose files.
pub(crate) fn report_image(packed: &Packed, report: &Report) {
    let image = &packed.image;
    report.info(format!(
        "{} files of {} became one of {} ({})",
        HumanCount(packed.file_count()),
        HumanBytes(image.bytes_in),
        HumanBytes(image.size_bytes),
        image.compression
    ));
}

/// Reports how a user starts the programs of a new installation.
pub(crate) fn report_path(dir: &std::path::Display, report: &Report) {
    report.info(format!(
        "Program has been installed to {dir}\nTo use add the bin folder to your path e.g:\nexport PATH=\"{dir}/bin:$PATH\""
    ));
}

impl Build<'_> {
    /// Chooses the compression that the generation wishes or the runtime can mount, and reports the
    /// choice.
    pub(crate) fn compression(&self, generation: &Generation) -> ImageCompression {
        let runtime = self.prepared.runtime.as_ref();
        let compression = ImageCompression::new(generation.compression, runtime);
        compression.announce(self.report());
        compression
    }

    fn pack_anew(&self, generation: &Generation) -> PackOptions {
        generation.pack_options(&self.compression(generation))
    }

    /// Returns a mount of an image by the runtime of this run, or `None` if there is no runtime.
    pub(crate) fn mount<'a>(
        &'a self,
        image: &'a std::path::Path,
        codec: condense_image::Codec,
        mount_point: &'a std::path::Path,
    ) -> Option<ImageMount<'a>> {
        Some(ImageMount {
            runtime: self.prepared.runtime.as_ref()?,
            base: self.prepared.base.path(),
            image,
            codec,
            mount_point,
        })
    }
}

impl Generation {
    /// Returns the options of an image in which every block is compressed anew.
    pub(crate) fn pack_options(&self, compression: &ImageCompression) -> PackOptions {
        PackOptions {
            compression: compression.chosen(),
            block_size: self.block_size,
            ..PackOptions::default()
        }
    }
}

impl NewGeneration<'_> {
    /// Stages the generation and checks it. If the runtime cannot mount the image, the image is
    /// packed again with gzip.
    fn stage_checked(&self, claim: Claim, mut packed: Packed) -> anyhow::Result<(Staged, Packed)> {
        let (staged, checked) = self.stage_and_check(claim, &packed)?;
        packed.image.path = staged.generation_dir().join(IMAGE);
        let Err(error) = checked else {
            return Ok((staged, packed));
        };
        let refused = packed.image.compression;
        let mount_point = &self.made.place.mount_point;
        let mount = self
            .build
            .mount(&packed.image.path, refused.codec(), mount_point);
        let refusal = mount.map(|mount| mount.refusal(&self.build.prepared.session));
        self.build.refuse_interrupted()?;
        // The check has said already why the installation does not start.
        let Some(Ok(Some(reason))) = refusal else {
            return Err(error);
        };
        let compression = ImageCompression::instead_of(Some(refused), reason);
        compression.announce(self.build.report());
        self.build.report().forget_blocks();
        drop(staged);
        let output = &self.plan.output;
        let claim = Destination::inspect(&output.generation.dir)?.claim(output.force)?;
        let options = output.generation.pack_options(&compression);
        let path = claim.image_path();
        let mut packed = self.build.pack(self.made, None, options, &path)?;
        let (staged, checked) = self.stage_and_check(claim, &packed)?;
        checked?;
        packed.image.path = staged.generation_dir().join(IMAGE);
        Ok((staged, packed))
    }

    /// Stages the generation, and returns it with the result of its check.
    fn stage_and_check(
        &self,
        claim: Claim,
        packed: &Packed,
    ) -> anyhow::Result<(Staged, anyhow::Result<()>)> {
        stage_and_check(
            packed,
            self.build.report(),
            || self.stage(claim, packed),
            |staged| self.start_once(staged),
        )
    }

    /// Runs one of the staged wrappers: every program must be there inside, and Python must start
    /// if there is one.
    fn start_once(&self, staged: &Staged) -> anyhow::Result<()> {
        if self.build.prepared.runtime.is_none() {
            return Ok(());
        }
        let dir = staged.generation_dir();
        let FinishedPrefix {
            solution,
            interpreter,
            place,
            ..
        } = self.made;
        let has_python = solution.python().is_some() || interpreter.is_some();
        let python: Option<PathBuf> = has_python.then(|| place.mounted_env().join("bin/python"));
        let targets = verify::link_targets(&dir.join("_bin"))?;
        let Some(said) = verify::start_once(&dir.join("bin"), python.as_deref(), &targets)? else {
            return Ok(());
        };
        self.build.refuse_interrupted()?;
        bail!("the finished installation does not start:\n{said}")
    }
}

/// Stages a generation, and returns it with the result of its check. The image is read back and
/// gets its digest from the beginning on, while it goes to the disk, and while `start` runs one of
/// the staged wrappers, since starting a container is mostly waiting. Blocks of an image
/// that was read back without an error are held for [`Report::keep_blocks`].
///
/// # Errors
/// Returns the error of `stage`, and an error if the image cannot be opened or its digest cannot be
/// computed or written. The result of the check is an error if the files cannot be stored, if the
/// image is damaged, or if `start` fails.
pub(crate) fn stage_and_check(
    packed: &Packed,
    report: &Report,
    stage: impl FnOnce() -> anyhow::Result<Staged>,
    start: impl FnOnce(&Staged) -> anyhow::Result<()>,
) -> anyhow::Result<(Staged, anyhow::Result<()>)> {
    let image = condense_image::ReadBack::open(&packed.image)?;
    std::thread::scope(|scope| {
        let read_back = condense_threads::scoped(scope, || image.compare(&packed.tree, None))?;
        let digest = condense_threads::scoped(scope, || image.sha256())?;
        let mut staged = stage()?;
        let checked = std::thread::scope(|scope| {
            let stored = condense_threads::scoped(scope, || staged.store())?;
            let started = start(&staged);
            let stored = stored.join();
            stored.map_err(|_| anyhow::anyhow!("failed to store the installation"))??;
            read_back
                .join()
                .map_err(|_| anyhow::anyhow!("failed to read the image back"))??;
            let mut image = packed.image.clone();
            image.path = staged.generation_dir().join(IMAGE);
            report.hold_blocks(&image);
            started
        });
        let digest = digest.join();
        if checked.is_ok() {
            let failed = |_| anyhow::anyhow!("failed to compute the digest of the image");
            staged.set_image_digest(hex::encode(digest.map_err(failed)??))?;
        }
        Ok((staged, checked))
    })
}
