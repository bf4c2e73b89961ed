//! Responsible for the cheap way of changing an image: pip resolves against the old image, the new
//! files are installed into an empty tree, and the tree is grafted onto the old image without the
//! files that pip would have removed.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::Context;
use condense_check::{Inventory, MpiUse};
use condense_image::{Donor, Existing, Mtime, Reader, Tree};
use condense_installation::MpiSource;
use condense_prefix::{
    BUILD_DIR, CondaFacts, EnvironmentSpec, Graft, GraftOptions, Grafted, PipPackage, Place,
    Solution,
};

use super::{
    change::{Changed, Update},
    linked::RECORD_BYTES_MAX,
};
use crate::{
    pack::{Packed, add_list_packages, pack_tree, scan_options},
    report::Report,
    space,
};

/// New files beside an environment, and the packages that it has with them.
pub(super) struct Beside {
    pub(super) place: Place,
    /// Files of the old image that go, relative to its root.
    pub(super) gone: Vec<PathBuf>,
    /// Whether packages have brought files.
    pub(super) has_new_files: bool,
    pub(super) solution: Solution,
    /// Everything that is asked for now, if the conda packages have changed.
    pub(super) asked: Option<EnvironmentSpec>,
    pub(super) pip_packages: Vec<PipPackage>,
    pub(super) pip_report: Option<String>,
}

impl Update<'_> {
    /// Returns the changed image, or why it cannot be made in this way.
    ///
    /// # Errors
    /// Returns the error of pip, or an error if a file cannot be written.
    pub(super) fn change_beside(
        &self,
        solution: &Solution,
        path: &Path,
    ) -> anyhow::Result<Result<Changed, String>> {
        let (place, host_root) = self.place_beside()?;
        let grafted = match self.install_beside(&place, &host_root)? {
            None => None,
            Some(Graft::Installed(grafted)) => Some(grafted),
            Some(Graft::NeedsUnpack { reason }) => return Ok(Err(reason)),
        };
        self.build.refuse_interrupted()?;
        let donor = self.change.donor()?;
        let mut tree = donor.tree()?;
        let beside = Beside {
            pip_packages: self.pip_packages(grafted.as_ref()),
            has_new_files: grafted.is_some(),
            gone: grafted.as_ref().map_or_else(Vec::new, |grafted| {
                let removed = grafted.removed.iter();
                removed.map(|file| place.environment.join(file)).collect()
            }),
            pip_report: grafted.and_then(|grafted| grafted.pip_report),
            solution: solution.clone(),
            asked: None,
            place,
        };
        for file in &beside.gone {
            tree.omit(file);
        }
        self.finish_beside(beside, (tree, donor), path).map(Ok)
    }

    /// Makes the directory for new files, in which the environment has the path of the mount point.
    /// Returns the place of the environment, and the directory.
    ///
    /// # Errors
    /// Returns an error if there is not enough space for the image, or if the directory cannot be
    /// made.
    pub(super) fn place_beside(&self) -> anyhow::Result<(Place, PathBuf)> {
        let (build, before) = (self.build, self.change.before);
        let receipt = &before.receipt;
        space::check(&[space::Need {
            dir: build.destination.path,
            bytes: fs_err::metadata(before.image_path())?.len(),
            inodes: space::INODES_OF_INSTALLATION,
            what: "the image",
            hint: "make room there: `condense gc` removes generations that nobody uses any more",
        }])?;
        // pip's `--root` is a whole file system's.
        let host_root = build.scratch().join("new");
        let below = receipt.mount_point.strip_prefix("/");
        let root = host_root.join(below.unwrap_or(&receipt.mount_point));
        let place = build.place(root, receipt.mount_point.clone());
        fs_err::create_dir_all(place.scratch_env())?;
        Ok((place, host_root))
    }

    /// Checks the new files and puts them onto the tree of the old image, which has no file that
    /// goes any more, and packs the result.
    ///
    /// # Errors
    /// Returns an error for a finding that is not allowed, or if a file cannot be read or written.
    pub(super) fn finish_beside(
        &self,
        beside: Beside,
        (mut tree, donor): (Tree, Donor),
        path: &Path,
    ) -> anyhow::Result<Changed> {
        let (build, before) = (self.build, self.change.before);
        let remembered = &before.receipt.update_state;
        let place = &beside.place;
        let mpi = self.check_beside(&beside)?;
        let requested = beside.asked.as_ref().unwrap_or(&self.change.facts.spec);
        if !has_conda(&tree, &place.environment) {
            CondaFacts {
                solution: &beside.solution,
                spec: requested,
                pip_packages: &beside.pip_packages,
                replaced_by_pip: &remembered.replaced_by_pip,
                settings: &build.conda_settings,
            }
            .write(place)?;
        }
        self.graft(&mut tree, place, &beside.solution)?;
        let (packages, replaced) = (&beside.pip_packages, &remembered.replaced_by_pip);
        let listing = beside.solution.listing(packages, replaced);
        add_list_packages(&mut tree, &place.environment, &listing)?;
        let packed = self.pack_onto(tree, donor, path)?;
        let launch = remembered
            .launch
            .as_deref()
            .context("how it is activated was written down")?;
        let programs = build.programs(
            &packed.tree,
            place,
            build.venv.is_some(),
            &self.generation.wrapper_paths,
        )?;
        Ok(Changed {
            packed,
            requested: requested.clone(),
            solution: beside.solution,
            asked: beside.asked,
            pip_report: beside.pip_report,
            pip_packages: beside.pip_packages,
            replaced_by_pip: remembered.replaced_by_pip.clone(),
            launch: self.launch_again(launch, mpi.as_ref())?,
            programs,
            landmarks: before.landmarks()?,
            hot_files: self.hot_files_before(),
        })
    }

    /// Returns the packages of pip after the change.
    pub(super) fn pip_packages(&self, grafted: Option<&Grafted>) -> Vec<PipPackage> {
        let known = self.change.before.receipt.update_state.pip_packages.iter();
        let mut packages: Vec<PipPackage> = known.cloned().map(Into::into).collect();
        if let Some(Grafted { installed, .. }) = grafted {
            packages.retain(|old| installed.iter().all(|new| new.name != old.name));
            packages.extend(installed.iter().cloned());
            packages.sort();
        }
        packages
    }

    /// Checks the new files among those that stay. The latter were checked when they were
    /// installed. Returns the MPI that new programs need.
    fn check_beside(&self, beside: &Beside) -> anyhow::Result<Option<MpiUse>> {
        let place = &beside.place;
        let before = Reader::open_raw(self.change.before.image_path())?;
        let context = self.build.check_context();
        let launch = self.change.before.receipt.update_state.launch.as_deref();
        let is_known = launch.is_some_and(|launch| launch.host_mpi.is_some());
        let wants_host = self.build.settings().rules.mpi.source == Some(MpiSource::Host);
        let known = if wants_host && !is_known {
            // Older versions have not recorded what the programs need.
            context.mpi_use(&Inventory::from_image(&before, &place.mount_point, false)?)?
        } else {
            None
        };
        if !beside.has_new_files {
            return Ok(known);
        }
        let gone = beside.gone.iter();
        let gone: BTreeSet<PathBuf> = gone.map(|file| place.mount_point.join(file)).collect();
        let new = Inventory::from_dir(&place.root, &place.mount_point, Some(BUILD_DIR))?;
        let added = context.mpi_use(&new)?;
        let both = new.add_image_below(&before, &gone)?;
        context.check_inventory(&both, &self.build.interpreter_tree())?;
        Ok(added.or(known))
    }

    /// Grafts the new files onto the tree of the old image.
    fn graft(&self, tree: &mut Tree, place: &Place, solution: &Solution) -> anyhow::Result<()> {
        let mtime = self.build.mtime(solution);
        condense_prefix::stamp_bytecode(place, mtime)?;
        tree.set_mtime_of_additions(mtime);
        let new = Tree::scan(&place.root, &scan_options(Mtime::Set(mtime)))?;
        tree.graft("/", new, Existing::Merge)?;
        Ok(())
    }

    fn pack_onto(&self, tree: Tree, donor: Donor, path: &Path) -> anyhow::Result<Packed> {
        let options = match &self.change.anew {
            Some(compression) => condense_image::PackOptions {
                compression: compression.chosen(),
                block_size: donor.block_size(),
                ..condense_image::PackOptions::default()
            },
            None => self.repack_options(donor),
        };
        let files = self.hot_files_before();
        let files = files.iter().flatten();
        let options = condense_image::PackOptions {
            hot: files.map(|file| self.build.env_path.join(file)).collect(),
            ..options
        };
        let image = pack_tree(&tree, path, options, self.build.report())?;
        Ok(Packed { image, tree })
    }

    /// Runs pip with the old image mounted at the environment's place, and lets it install into
    /// `place`.
    fn install_beside(&self, place: &Place, host_root: &Path) -> anyhow::Result<Option<Graft>> {
        let (build, change) = (self.build, self.change);
        if change.facts.requirements.pip().is_empty() {
            return Ok(None);
        }
        let mut shown = vec![build.scratch().to_owned()];
        shown.extend(change.facts.requirements.local_paths().iter().cloned());
        shown.extend(build.interpreter_tree());
        let activation = Place {
            root: build.scratch().join("activation"),
            ..place.clone()
        };
        unpack_activation(&Reader::open_raw(change.before.image_path())?, &activation)?;
        let container = build
            .container_beside(change.before.image_path(), place, shown)
            .context("there is a runtime")?;
        let progress: &Report = build.report();
        let options = GraftOptions {
            place,
            host_root,
            activation: &activation,
            requirements: &change.facts.requirements,
            is_venv: build.venv.is_some(),
            without_cache: build.inputs.without_cache(),
        };
        let grafted = condense_prefix::graft(&options, &container, progress)?;
        Ok(Some(grafted))
    }
}

/// Unpacks the files that activate an environment: packages are built in it, as everywhere.
fn unpack_activation(old: &Reader, place: &Place) -> anyhow::Result<()> {
    fs_err::create_dir_all(place.scratch_env())?;
    let env = place.open_env()?;
    let unpack = |path: &Path| -> anyhow::Result<()> {
        if let Some(node) = old.resolve(place.environment.join(path))?
            && node.is_file()
        {
            env.make_dir(path.parent().unwrap_or(Path::new("")))?;
            env.write(path, old.read(&node, RECORD_BYTES_MAX)?)?;
        }
        Ok(())
    };
    unpack(Path::new("conda-meta/state"))?;
    for dir in ["etc/conda/activate.d", "etc/conda/env_vars.d"].map(Path::new) {
        if let Some(node) = old.resolve(place.environment.join(dir))?
            && node.is_directory()
        {
            for entry in old.list(&node)? {
                unpack(&dir.join(&entry.name))?;
            }
        }
    }
    Ok(())
}

/// Returns whether the image has a whole conda beside the environment, as Tykky's images do. It
/// goes on to answer for itself.
fn has_conda(tree: &Tree, environment: &Path) -> bool {
    let root = environment.ancestors().nth(2).unwrap_or(Path::new(""));
    tree.entry_at(root.join("conda-meta")).is_some()
}
