//! Responsible for the choice between the two ways of changing an image: grafting new files onto
//! it, or unpacking it.

use std::path::{Path, PathBuf};

use condense_check::MpiUse;
use condense_image::{Donor, PackOptions, Reader};
use condense_installation::{BaseRecord, Launch, Program};
use condense_prefix::{
    EnvironmentSpec, ImageKind, Lock, LockContents, PipPackage, Recipe, Solution, Target,
};

use super::{linked::Attempt, packages::CondaChange, previous::PreviousGeneration};
use crate::{
    build::Build,
    compression::{GzipReason, ImageCompression},
    generation::shell_of,
    host_mpi,
    pack::{Packed, repack_options},
    plan::{Generation, UpdatePlan},
    recipe::base_name,
};

/// Packages before a change, and those that it asks for.
pub(super) struct PackageFacts {
    /// The request of all builds so far, with their scripts.
    pub(super) spec: EnvironmentSpec,
    /// Requirements that pip installs now.
    pub(super) requirements: EnvironmentSpec,
    /// Conda packages that are added or removed now.
    pub(super) conda: CondaChange,
    /// Packages of pip that are removed now, by their normalised names.
    pub(super) removed_pip: Vec<String>,
    /// Whether the conda packages stay as they are.
    pub(super) is_conda_idle: bool,
    /// Whether everything else stays as it is.
    pub(super) is_rest_idle: bool,
    pub(super) target: Target,
    /// Lock of the installed packages, if there is one.
    pub(super) lock: Option<Lock>,
}

/// A change before anything is made.
pub(super) struct Change<'a> {
    /// Record of the base of the new generation.
    pub(super) base: BaseRecord,
    pub(super) before: &'a PreviousGeneration,
    pub(super) facts: PackageFacts,
    /// Compression of an image that is packed anew. Without it, unchanged blocks are reused.
    pub(super) anew: Option<ImageCompression>,
    /// Reason why the runtime cannot mount the old image, if its codec is at fault.
    pub(super) unmountable: Option<GzipReason>,
}

impl<'a> Change<'a> {
    /// Decides about the compression of the image.
    ///
    /// # Errors
    /// Returns an error if the old image cannot be read.
    pub(super) fn new(
        (build, plan): (&Build, &UpdatePlan),
        generation: &Generation,
        before: &'a PreviousGeneration,
        base: BaseRecord,
        facts: PackageFacts,
    ) -> anyhow::Result<Change<'a>> {
        let (anew, unmountable) = compression(build, plan, generation, before)?;
        Ok(Change {
            base,
            before,
            facts,
            anew,
            unmountable,
        })
    }
}

/// A change that is being made.
pub(super) struct Update<'a> {
    pub(super) build: &'a Build<'a>,
    pub(super) change: &'a Change<'a>,
    /// The generation that is made.
    pub(super) generation: &'a Generation,
}

/// A new image, and the content of its generation.
pub(super) struct Changed {
    pub(super) packed: Packed,
    pub(super) solution: Solution,
    /// Everything that is asked for now, also by scripts that called `conda`. The lock has it.
    pub(super) requested: EnvironmentSpec,
    /// Everything that is asked for now, if the conda packages have changed.
    pub(super) asked: Option<EnvironmentSpec>,
    pub(super) pip_report: Option<String>,
    pub(super) pip_packages: Vec<PipPackage>,
    pub(super) replaced_by_pip: Vec<String>,
    pub(super) launch: Launch,
    pub(super) programs: Vec<Program>,
    pub(super) landmarks: Vec<(PathBuf, PathBuf)>,
    /// Files that come first in the image, relative to the environment. `None` if nobody knows.
    pub(super) hot_files: Option<Vec<String>>,
}

/// Decides whether the image is packed anew. Returns the compression for that, and the reason why
/// the runtime cannot mount the old image.
///
/// # Errors
/// Returns an error if the old image cannot be read.
fn compression(
    build: &Build,
    plan: &UpdatePlan,
    generation: &Generation,
    before: &PreviousGeneration,
) -> anyhow::Result<(Option<ImageCompression>, Option<GzipReason>)> {
    let unmountable = unmountable(build, before)?;
    let anew = match (plan.compression, &unmountable) {
        (Some(_), _) => Some(build.compression(generation)),
        (None, Some(reason)) => {
            build
                .report()
                .info(format!("The image becomes gzip: {reason}"));
            Some(ImageCompression::instead_of(None, reason.clone()))
        }
        (None, None) => None,
    };
    Ok((anew, unmountable))
}

/// Returns why the old image cannot be mounted, if its codec is at fault: the image may be from a
/// machine with another runtime.
fn unmountable(build: &Build, before: &PreviousGeneration) -> anyhow::Result<Option<GzipReason>> {
    if build.prepared.runtime.is_none() {
        return Ok(None);
    }
    let image = before.image_path();
    let codec = Reader::open(image)?.superblock().codec;
    let mount = build.mount(image, codec, &before.receipt.mount_point);
    match mount {
        Some(mount) => mount.known_refusal(&build.prepared.session),
        None => Ok(None),
    }
}

impl Change<'_> {
    /// Returns the old image, whose blocks are reused.
    pub(super) fn donor(&self) -> anyhow::Result<Donor> {
        Ok(Donor::open(self.before.image_path())?)
    }
}

impl Update<'_> {
    /// Returns the text of the lock of the new generation.
    ///
    /// # Errors
    /// Returns an error if pip's report cannot be understood.
    pub(super) fn render_lock(&self, changed: &Changed) -> anyhow::Result<String> {
        let facts = &self.change.facts;
        let contents = LockContents {
            solution: &changed.solution,
            spec: &changed.requested,
            pip_report: changed.pip_report.as_deref(),
            installed: &changed.pip_packages,
            conda: &self.build.conda_settings,
            recipe: Some(&self.recipe(changed)),
        };
        Ok(condense_prefix::render_updated_lock(
            facts.lock.as_ref(),
            &facts.requirements,
            &contents,
        )?)
    }

    /// Returns the properties of the new image. They are those of the image before, but for its
    /// compression.
    fn recipe(&self, changed: &Changed) -> Recipe {
        let receipt = &self.change.before.receipt;
        let before = self.change.facts.lock.as_ref();
        let before = before.and_then(Lock::recipe);
        Recipe {
            kind: ImageKind::Installation,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            mount_point: receipt.mount_point.clone(),
            environment: self.build.env_path.to_owned(),
            compression: Some(changed.packed.image.compression.to_string()),
            block_size: before.and_then(|before| before.block_size),
            time: self
                .build
                .source_date_epoch
                .or_else(|| before.and_then(|before| before.time)),
            base: base_name(&receipt.base.reference),
            base_digest: self.change.base.sha256.clone(),
            site: None,
            no_user_site: false,
            hot_files: changed.hot_files.clone(),
            updated: true,
            os_packages: self.change.base.os_packages.clone(),
        }
    }

    /// Returns the files that came first in the old image, unless none are to.
    pub(super) fn hot_files_before(&self) -> Option<Vec<String>> {
        if self.build.inputs.warm().is_off {
            return Some(Vec::new());
        }
        let lock = self.change.facts.lock.as_ref();
        lock.and_then(Lock::recipe)?.hot_files.clone()
    }

    /// Makes the new image in the cheapest possible way. Returns `None` if it would be the same as
    /// the old one.
    ///
    /// # Errors
    /// Returns the error of the first step that fails.
    pub(super) fn change(&self, path: &Path) -> anyhow::Result<Option<Changed>> {
        let facts = &self.change.facts;
        let solution = match &facts.lock {
            Some(lock) => lock.solution().clone(),
            None => Solution::without_packages(&facts.target),
        };
        let mut planned = None;
        let reason = match self.needs_whole()? {
            Some(reason) => reason,
            None if facts.is_conda_idle => match self.change_beside(&solution, path)? {
                Ok(changed) => return Ok(Some(changed)),
                Err(reason) => reason,
            },
            None => match self.change_linked(&solution, path)? {
                Attempt::Made(changed) => return Ok(Some(*changed)),
                Attempt::Idle => return Ok(None),
                Attempt::NeedsWhole(reason, solved) => {
                    planned = Some(*solved);
                    reason
                }
            },
        };
        self.build.report().info(format!(
            "The installed environment is unpacked first: {reason}"
        ));
        self.change_whole(solution, planned, path).map(Some)
    }

    /// Returns why the environment must be unpacked and writable, if it must.
    pub(super) fn needs_whole(&self) -> anyhow::Result<Option<String>> {
        if let Some(reason) = self.reason_in_request() {
            return Ok(Some(reason));
        }
        let facts = &self.change.facts;
        if !facts.is_conda_idle && (facts.lock.is_none() || self.has_own_conda()?) {
            return Ok(Some("its conda packages are not locked".to_owned()));
        }
        Ok(None)
    }

    /// Returns whether a complete conda is beside the environment, as in images made by Tykky. Its
    /// records list the packages.
    fn has_own_conda(&self) -> anyhow::Result<bool> {
        let mut above = self.build.env_path.ancestors().skip(2);
        let root = above.next().filter(|root| *root != Path::new(""));
        let reader = Reader::open(self.change.before.image_path())?;
        Ok(match root {
            Some(root) => reader.lookup(root.join("conda-meta"))?.is_some(),
            None => false,
        })
    }

    /// Returns why the environment must be unpacked and writable, as far as the request shows it.
    fn reason_in_request(&self) -> Option<String> {
        let (build, change) = (self.build, self.change);
        let requirements = &change.facts.requirements;
        if let Some(script) = build.inputs.script_names().first() {
            return Some(format!("`{script}` runs in it"));
        }
        if !change.facts.is_conda_idle && !requirements.pip().is_empty() {
            return Some("its conda packages change before pip installs".to_owned());
        }
        if !build.inputs.warm().code.is_empty() {
            return Some("a start is recorded in it".to_owned());
        }
        if !change.facts.removed_pip.is_empty() {
            return Some("pip removes packages".to_owned());
        }
        if change.before.receipt.update_state.launch.is_none() {
            return Some("nobody has written down yet how it is activated".to_owned());
        }
        if requirements.pip().is_empty() {
            return None;
        }
        if let Some(reason) = &change.unmountable {
            return Some(reason.to_string());
        }
        if build.inputs.uv().is_some() {
            return Some("uv installs into it".to_owned());
        }
        let links = condense_prefix::pip_links(requirements, None);
        if let (Some(dir), true) = (links.first(), build.inputs.keeps_editable()) {
            return Some(format!("it gets a link to `{}`", dir.display()));
        }
        if build.prepared.runtime.is_none() {
            return Some("there is no runtime that would mount it".to_owned());
        }
        None
    }

    /// Returns options that reuse the blocks of the donor, with the level of compression that the
    /// generation wishes. An image that is to have no zone loses the one of the donor.
    pub(super) fn repack_options(&self, donor: Donor) -> PackOptions {
        PackOptions {
            drop_zone: self.build.inputs.warm().is_off,
            ..repack_options(donor, self.generation.compression)
        }
    }

    /// Returns the settings of the wrappers before, with the changes of this update.
    /// `mpi` are the MPI libraries that added programs need.
    ///
    /// # Errors
    /// Returns an error if the user wants the host's MPI and it cannot take the place of the
    /// image's.
    pub(super) fn launch_again(
        &self,
        before: &Launch,
        mpi: Option<&MpiUse>,
    ) -> anyhow::Result<Launch> {
        let extra_text = &self.generation.extra_text;
        let before_it = before.host_mpi.as_ref();
        let mpi = host_mpi::joined(before_it, mpi);
        Ok(Launch {
            host_mpi: self.build.host_mpi(mpi.as_ref())?,
            runtime: match &self.build.prepared.runtime {
                Some(runtime) => Some(runtime.program().to_owned()),
                None => before.runtime.clone(),
            },
            extra_text: extra_text.clone(),
            shell: shell_of(extra_text.as_deref()),
            no_user_site: self.build.settings().rules.no_user_site,
            ..before.clone()
        })
    }
}
