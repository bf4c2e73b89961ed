//! Responsible for building an image again from its own lock, in scratch, and for comparing the
//! two.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use condense_diagnostics::UserError;
use condense_image::{DiffOptions, Difference, PackOptions, Reader, Sif, sif::PartitionRole};
use condense_installation::{FileRole, InstallationMode, Receipt};
use condense_prefix::{ImageKind, Lock, Recipe};

use crate::{
    build::{Build, ImageDestination},
    contents::{Subject, SubjectKind},
    environment::{LoadedRequest, Requested, find_target},
    generation::{IMAGE, LOCK},
    inputs::{LoadedInputs, ScriptTarget},
    interrupt::Interrupt,
    open_base::OpenBase,
    plan::{
        self, BaseChoice, CondaInput, ExtraInputs, GivenText, Layout, MountPoint, PackageSettings,
        RunSettings, Sif as SifOutput, SifContent, SifInput, SifPlan,
    },
    prepared::Prepared,
    report::Report,
    session::Session,
    sif::{KEPT, build_sif},
    verify::digest,
};

/// Maximum size in bytes of a script that is kept in an image.
const SCRIPT_MAX: u64 = 16 << 20;
/// Labels of a SIF that name the tool whose command line made it.
const LABELS: [&str; 2] = ["cotainr.version", "cotainr.url"];

/// One validated run that builds an image again.
#[derive(Debug, Clone)]
pub struct RebuildPlan {
    /// Base of a SIF. Without it, the base that the lock names is used.
    pub base: Option<BaseChoice>,
    /// The user's current directory.
    pub work_dir: PathBuf,
    /// Settings for installing packages.
    pub packages: PackageSettings,
    /// Settings of the run.
    pub settings: RunSettings,
}

/// Result of building an image again.
#[derive(Debug)]
pub struct Rebuilt {
    /// SHA-256 digest of the image in hexadecimal.
    pub sha256: String,
    /// SHA-256 digest of the image that was built again.
    pub sha256_again: String,
    /// Differences of the files that programs see.
    pub differences: Vec<Difference>,
    /// Whether an update has made the image of an older one. Its blocks may have another order.
    pub is_updated: bool,
    /// Version of condense that made the image, if it is known.
    pub made_by: Option<String>,
}

impl Rebuilt {
    /// Returns whether both images are the same bytes.
    pub fn has_same_bytes(&self) -> bool {
        self.sha256 == self.sha256_again
    }

    /// Returns whether the lock has kept its promise: the same bytes, or the same files if the
    /// image was updated.
    pub fn is_as_promised(&self) -> bool {
        self.has_same_bytes() || (self.is_updated && self.differences.is_empty())
    }
}

/// Builds the image of an installation or of a SIF again from its lock, and compares the two.
/// `search_path` is the user's PATH.
///
/// # Errors
/// Returns the error that stopped the build, or an error if there is no lock to build from. Scratch
/// is then gone.
pub fn rebuild(
    subject: &Subject,
    plan: &RebuildPlan,
    search_path: &OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<Rebuilt> {
    let session = Session::new(&plan.settings, search_path, report, interrupt);
    match (subject.kind(), subject.dir()) {
        (SubjectKind::Installation, Some(dir)) => of_installation(dir, plan, session),
        (SubjectKind::Sif, _) => of_sif(subject, plan, session),
        _ => bail!(UserError::new(
            format!(
                "`{}` is no installation and no .sif, so that nobody knows how it was built",
                subject.path().display()
            ),
            "give the installation or the .sif",
        )),
    }
}

fn of_installation(dir: &Path, plan: &RebuildPlan, session: Session) -> anyhow::Result<Rebuilt> {
    let receipt = Receipt::load(dir)?;
    let (lock_path, image) = (dir.join("share").join(LOCK), dir.join(IMAGE));
    if receipt.mode != InstallationMode::Conda || !image.is_file() || !lock_path.is_file() {
        bail!(UserError::new(
            format!(
                "`{}` cannot be built again: its mode is {}, and only conda environments have a lock of all their packages",
                dir.display(),
                receipt.mode
            ),
            "`condense verify` without `--rebuild` compares its files with the receipt",
        ));
    }
    let env_path = receipt.env_prefix.strip_prefix(&receipt.mount_point);
    let env_path = env_path.unwrap_or(&receipt.env_prefix).to_owned();
    let extra = extra_inputs(dir, &receipt, plan)?;
    let target = ScriptTarget {
        destination: dir,
        env_path: &env_path,
    };
    let inputs = LoadedInputs::load(&extra, &plan.packages, target)?;
    let given = plan::Lock {
        path: lock_path,
        environment: None,
    };
    let requested = Requested {
        asked: LoadedRequest::Lock(&given),
        inputs,
        venv: None,
        settings: &plan.packages,
    };
    let base = OpenBase::open_installed(&dir.join("container.sif"), receipt.host_view)?;
    let target = find_target(&base, &plan.packages.overrides, session.report)?;
    let (environment, inputs, _) = requested.resolve(target, session.report)?;
    let recipe = environment
        .of_lock
        .recipe(ImageKind::Installation, &env_path);
    let hot_files = recipe.and_then(|recipe| recipe.hot_files.clone());
    let needs = environment.container_steps(&inputs, None);
    let prepared = Prepared::open(session, base, &needs)?;
    let scratch_parent = prepared.scratch.path().to_owned();
    let build = Build {
        prepared,
        packages: &plan.packages,
        inputs,
        conda_settings: environment.conda_settings(&plan.packages),
        venv: None,
        env_path: &env_path,
        destination: ImageDestination {
            path: &scratch_parent,
            bytes_beside: 0,
        },
        has_wrappers: true,
        // An image whose lock says nothing of hot files has none in front.
        locked_hot_files: Some(hot_files.unwrap_or_default()),
        block_format: None,
        source_date_epoch: recipe.and_then(|recipe| recipe.time),
    };
    let mount_point = MountPoint::Fixed(receipt.mount_point.clone());
    let made = build.make_prefix(&environment, &mount_point)?;
    let options = pack_options(&image, &receipt)?;
    let again = build.scratch().join("again.sqfs");
    build.pack(&made, None, options, &again)?;
    build.refuse_interrupted()?;
    compare(&image, &again, recipe, Some(receipt.tool_version), session)
}

/// Returns the scripts and options of the build, from the files that the installation has kept.
fn extra_inputs(dir: &Path, receipt: &Receipt, plan: &RebuildPlan) -> anyhow::Result<ExtraInputs> {
    let kept = |role: FileRole| -> anyhow::Result<Option<GivenText>> {
        let mut inputs = receipt.inputs.iter();
        let Some(record) = inputs.find(|record| record.role == Some(role)) else {
            return Ok(None);
        };
        let path = dir.join("share").join(&record.path);
        let text = condense_input::read_to_string(&path, condense_input::RECORD_MOST)?;
        Ok(Some(GivenText { path, text }))
    };
    Ok(ExtraInputs {
        pre_install: kept(FileRole::PreInstall)?,
        post_install: kept(FileRole::PostInstall)?,
        uv: false,
        no_cache: receipt.update_state.no_cache,
        keep_editable: receipt.update_state.keep_editable,
        work_dir: plan.work_dir.clone(),
        ..ExtraInputs::default()
    })
}

/// Returns the options with which the image was packed.
fn pack_options(image: &Path, receipt: &Receipt) -> anyhow::Result<PackOptions> {
    let block_size = Reader::open_raw(image)?.superblock().block_size;
    let compression = receipt
        .image
        .as_ref()
        .context("the receipt says nothing about the image")?
        .compression
        .parse()?;
    Ok(PackOptions {
        compression,
        block_size,
        ..PackOptions::default()
    })
}

fn of_sif(subject: &Subject, plan: &RebuildPlan, session: Session) -> anyhow::Result<Rebuilt> {
    let path = subject.path();
    let no_recipe = |problem: &str| {
        UserError::new(
            format!("`{}` cannot be built again: {problem}", path.display()),
            "`condense verify` without `--rebuild` checks its partitions and starts it",
        )
    };
    let Some((lock_path, text)) = subject.lock_text()? else {
        bail!(no_recipe("there is no condense.lock in it"));
    };
    let lock = Lock::of_text(&text, &lock_path)?;
    let Some(recipe) = lock.recipe().filter(|recipe| recipe.kind == ImageKind::Sif) else {
        bail!(no_recipe("its lock does not say how the image was made"));
    };
    let scratch = session.scratch()?;
    let given = scratch.path().join(LOCK);
    fs_err::write(&given, &text)?;
    let sif = Sif::open(path)?;
    let reader = sif.reader()?;
    let again = scratch.path().join("again.sif");
    let plan = SifPlan {
        input: SifInput {
            content: SifContent::Conda(CondaInput::Lock(plan::Lock {
                path: given,
                environment: None,
            })),
            extra: ExtraInputs {
                work_dir: plan.work_dir.clone(),
                ..ExtraInputs::default()
            },
            env_path: recipe.environment.clone(),
            post: commands(&reader)?,
            keyrings: Vec::new(),
            settings: plan.packages.clone(),
        },
        output: SifOutput {
            file: again.clone(),
            existing: condense_publish::Existing::Replace,
            mount_point: recipe.mount_point.clone(),
            copies: Vec::new(),
            layout: layout(&sif),
            labels: labels(path)?,
            source_date_epoch: recipe.time,
        },
        base: base_of(recipe, path, plan)?,
        dry_run: false,
        submission: None,
        settings: RunSettings {
            scratch_parent: scratch.path().to_owned(),
            ..plan.settings.clone()
        },
    };
    warn_of_site(recipe, session);
    build_sif(
        &plan,
        session.search_path,
        session.report,
        session.interrupt,
    )?;
    let made_by = Some(recipe.made_by.clone());
    compare(path, &again, Some(recipe), made_by, session)
}

/// Returns the base of a SIF: the named one, or that of the lock if it can be found.
fn base_of(recipe: &Recipe, sif: &Path, plan: &RebuildPlan) -> anyhow::Result<BaseChoice> {
    if let Some(base) = &plan.base {
        return Ok(base.clone());
    }
    if recipe.base.contains("://") {
        return Ok(BaseChoice::Named(recipe.base.clone()));
    }
    let beside = sif.with_file_name(&recipe.base);
    if beside != sif && beside.exists() {
        return Ok(BaseChoice::Named(beside.to_string_lossy().into_owned()));
    }
    let digest = recipe.base_digest.as_deref().unwrap_or("unknown");
    bail!(UserError::new(
        format!(
            "`{}` was made on the base image `{}` (digest {digest}), which is not beside it",
            sif.display(),
            recipe.base
        ),
        "name it with `--base-image FILE`",
    ))
}

/// Returns the commands that changed the environment, from the script that the image keeps.
fn commands(reader: &Reader) -> anyhow::Result<Vec<String>> {
    let path = Path::new("/").join(KEPT).join("post.sh");
    let Some(node) = reader.resolve(&path)? else {
        return Ok(Vec::new());
    };
    let text = String::from_utf8_lossy(&reader.read(&node, SCRIPT_MAX)?).into_owned();
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(vec![text.to_owned()])
}

fn layout(sif: &Sif) -> Layout {
    let mut partitions = sif.descriptors().iter();
    let has_overlay = partitions.any(|object| {
        object
            .partition()
            .is_some_and(|partition| partition.role == PartitionRole::Overlay)
    });
    if has_overlay {
        Layout::Overlay
    } else {
        Layout::Flat
    }
}

fn labels(sif: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let facts = condense_base::BaseImage::open(sif)?.facts()?;
    let labels = facts.labels.into_iter();
    Ok(labels
        .filter(|(name, _)| LABELS.contains(&name.as_str()))
        .collect())
}

/// Warns that the variables of another site are set in the image.
fn warn_of_site(recipe: &Recipe, session: Session) {
    let here = &session.settings.checks.machine.site;
    if let Some(site) = recipe.site.as_ref().filter(|site| *site != here) {
        session.report.warning(format!(
            "the image was made with the settings of the site `{site}`, this one is `{here}`: name it with `--site {site}`"
        ));
    }
}

fn compare(
    image: &Path,
    again: &Path,
    recipe: Option<&Recipe>,
    made_by: Option<String>,
    session: Session,
) -> anyhow::Result<Rebuilt> {
    let (sha256, sha256_again) = (digest(image)?, digest(again)?);
    let differences = if sha256 == sha256_again {
        Vec::new()
    } else {
        let options = DiffOptions {
            cancel: Some(session.report.cancel_flag()),
            ..DiffOptions::default()
        };
        condense_image::diff(&open(image)?, &open(again)?, &options)?
    };
    Ok(Rebuilt {
        sha256,
        sha256_again,
        differences,
        is_updated: recipe.is_some_and(|recipe| recipe.updated),
        made_by,
    })
}

/// Opens an image, or the part of a SIF that the build has made: its overlay, if it has one.
fn open(path: &Path) -> anyhow::Result<Reader> {
    if !Sif::is_at(path)? {
        return Ok(Reader::open_raw(path)?);
    }
    let sif = Sif::open(path)?;
    let mut objects = sif.descriptors().iter();
    let overlay = objects.find_map(|object| {
        object
            .partition()
            .filter(|partition| partition.role == PartitionRole::Overlay)
    });
    Ok(match overlay {
        Some(partition) => Reader::open_at(path, partition.offset, partition.size)?,
        None => sif.reader()?,
    })
}
