//! Responsible for the cheap way: pip resolves against the old image, what is new is installed into
//! an empty tree, and put onto the old image without what pip would have taken away.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::Context;
use condense_check::Inventory;
use condense_image::{Existing, Mtime, PackOptions, Reader, ScanOptions, Tree};
use condense_prefix::{
    BUILD_DIR, CondaFacts, CondaSettings, Graft, GraftOptions, Grafted, PipPackage, Place, Solution,
};

use super::{Build, Change, Changed};
use crate::{
    assemble::{add_list_packages, repack_options},
    container::{Container, Mounted},
    report::Report,
    space,
};

impl Build<'_> {
    /// The changed image, or why it cannot be made so.
    ///
    /// # Errors
    /// What pip says; what cannot be written.
    pub(super) fn change_beside(
        &self,
        change: &Change,
        solution: &Solution,
        path: &Path,
    ) -> anyhow::Result<Result<Changed, String>> {
        let before = change.before;
        let (receipt, remembered) = (&before.receipt, &before.receipt.update_state);
        let old_image = before.image_path();
        space::check(&[space::Need {
            dir: &self.plan.prefix_dir,
            bytes: fs_err::metadata(old_image)?.len(),
            what: "the image",
            hint: "make room there: `condense gc` removes generations that nobody uses any more",
        }])?;
        // pip's `--root` is a whole file system's.
        let host_root = self.scratch.path().join("new");
        let below = receipt.mount_point.strip_prefix("/");
        let place = Place {
            root: host_root.join(below.unwrap_or(&receipt.mount_point)),
            mount_point: receipt.mount_point.clone(),
            environment: self.plan.env_path.clone(),
            packages: self.scratch.path().join("packages"),
        };
        fs_err::create_dir_all(place.scratch_env())?;
        let grafted = match self.install_beside(change, &place, &host_root, old_image)? {
            None => None,
            Some(Graft::Installed(grafted)) => Some(grafted),
            Some(Graft::NeedsUnpack { reason }) => return Ok(Err(reason)),
        };
        self.refuse_interrupted()?;
        let known = remembered.pip_packages.iter().cloned();
        let mut pip_packages: Vec<PipPackage> = known.map(Into::into).collect();
        if let Some(Grafted { installed, .. }) = &grafted {
            pip_packages.retain(|old| installed.iter().all(|new| new.name != old.name));
            pip_packages.extend(installed.iter().cloned());
            pip_packages.sort();
        }
        self.check_beside(&place, old_image, grafted.as_ref())?;
        let donor = Self::donor(before)?;
        let mut tree = donor.tree()?;
        if !has_conda(&tree, &place.environment) {
            CondaFacts {
                solution,
                spec: &change.spec,
                pip_packages: &pip_packages,
                replaced_by_pip: &remembered.replaced_by_pip,
                settings: &CondaSettings::new(self.plan.settings.condarc.as_ref()),
            }
            .write(&place)?;
        }
        for file in grafted.iter().flat_map(|grafted| &grafted.removed) {
            tree.omit(place.environment.join(file));
        }
        let mtime = self.mtime(solution);
        condense_prefix::stamp_bytecode(&place, mtime)?;
        let scan = ScanOptions {
            mtime: Mtime::Set(mtime),
            exclude: vec![BUILD_DIR.into()],
            ..ScanOptions::default()
        };
        tree.set_mtime_of_additions(mtime);
        tree.graft("/", Tree::scan(&place.root, &scan)?, Existing::Merge)?;
        let listing = solution.listing(&pip_packages, &remembered.replaced_by_pip);
        add_list_packages(&mut tree, &place.environment, &listing)?;
        let options = if let Some(compression) = change.anew {
            PackOptions {
                compression,
                block_size: donor.block_size(),
                ..PackOptions::default()
            }
        } else {
            repack_options(donor, self.plan.compression)
        };
        let image = self.pack_tree(&tree, path, options)?;
        let launch = remembered
            .launch
            .as_deref()
            .context("how it is activated was written down")?;
        let programs = self.programs(&tree, &place, self.venv.is_some())?;
        Ok(Ok(Changed {
            image,
            solution: solution.clone(),
            pip_report: grafted.and_then(|grafted| grafted.pip_report),
            pip_packages,
            replaced_by_pip: remembered.replaced_by_pip.clone(),
            launch: self.launch_again(launch, self.plan),
            programs,
            landmarks: before.landmarks()?,
            tree,
        }))
    }

    /// Judges what is new among what stays; that was judged when it came.
    fn check_beside(
        &self,
        place: &Place,
        old_image: &Path,
        grafted: Option<&Grafted>,
    ) -> anyhow::Result<()> {
        let Some(grafted) = grafted else {
            return Ok(());
        };
        let gone = grafted.removed.iter();
        let gone: BTreeSet<PathBuf> = gone.map(|file| place.mounted_env().join(file)).collect();
        let new = Inventory::from_dir(&place.root, &place.mount_point, Some(BUILD_DIR))?;
        let both = new.add_image_below(&Reader::open_raw(old_image)?, &gone)?;
        self.check_context()
            .check_inventory(&both, &self.interpreter_tree())
    }

    /// Has pip install into `place`, with the old image where the environment believes to be.
    fn install_beside(
        &self,
        change: &Change,
        place: &Place,
        host_root: &Path,
        old_image: &Path,
    ) -> anyhow::Result<Option<Graft>> {
        if change.requirements.pip().is_empty() {
            return Ok(None);
        }
        let mut shown = vec![self.scratch.path().to_owned()];
        shown.extend(change.requirements.local_paths().iter().cloned());
        shown.extend(self.interpreter_tree());
        let container = Container {
            shown,
            runtime: self.runtime.as_ref().context("there is a runtime")?,
            base: self.base.path(),
            view: self.view,
            mounted: Mounted::Image(old_image),
            mount_point: &place.mount_point,
            build_dir: place.build_dir(),
            build_env: &self.plan.settings.build_env,
            checks: Some(&self.plan.settings.checks),
            report: self.report,
        };
        let progress: &Report = self.report;
        let options = GraftOptions {
            place,
            host_root,
            requirements: &change.requirements,
            is_venv: self.venv.is_some(),
            without_cache: self.inputs.without_cache(),
        };
        let grafted = condense_prefix::graft(&options, &container, progress)?;
        Ok(Some(grafted))
    }
}

/// A whole conda beside the environment, as Tykky's have it, goes on to answer itself.
fn has_conda(tree: &Tree, environment: &Path) -> bool {
    let root = environment.ancestors().nth(2).unwrap_or(Path::new(""));
    tree.entry_at(root.join("conda-meta")).is_some()
}
