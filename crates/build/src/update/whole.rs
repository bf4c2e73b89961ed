//! Responsible for the way of changing an image that works for every change: the old image is
//! unpacked, changed, and packed again. Files that are the same afterwards keep their blocks.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use condense_image::{ExtractOptions, Reader, extract};
use condense_installation::Launch;
use condense_prefix::{
    BuildSteps, CondaFacts, EnvironmentSpec, PipPackage, Place, Planned, Solution,
};

use super::change::{Changed, Update};
use crate::{
    generation::landmarks,
    prefix::{FinishedPrefix, Installed},
    report::{Phase, Report},
};

impl Update<'_> {
    /// Returns the changed image. A change of conda packages that is solved already is made as
    /// `planned`.
    ///
    /// # Errors
    /// Returns the error of a script or pip, or an error if a file cannot be written.
    pub(super) fn change_whole(
        &self,
        solution: Solution,
        planned: Option<Planned>,
        path: &Path,
    ) -> anyhow::Result<Changed> {
        let (build, change) = (self.build, self.change);
        let receipt = &change.before.receipt;
        let root = build.scratch().join("root");
        let place = build.place(root, receipt.mount_point.clone());
        self.unpack(change.before.image_path(), &place.root)?;
        fs_err::create_dir(&place.packages)?;
        let base_env_vars = build.prepared.probe(&place.root, &place.mount_point)?;
        // There is no lock yet, or a conda of its own may have changed the packages of the lock.
        let own_conda = receipt.lock.is_none() || condense_prefix::has_own_conda(&place);
        let solution = if own_conda {
            Solution::from_records(&place, &change.facts.target)?
        } else {
            solution
        };
        let known = self.known_pip_packages(&place)?;
        let (solution, asked, extended) = if change.facts.is_conda_idle {
            (solution, None, None)
        } else {
            self.remove_pip_packages_first(&place, &solution)?;
            let changed = self.change_packages(&place, &solution, planned)?;
            (
                changed.solution,
                Some(changed.asked),
                Some(changed.extended),
            )
        };
        let mut steps = BuildSteps::reopen(&place, &solution, &change.facts.requirements)?;
        if change.facts.is_conda_idle {
            steps.remove_pip_packages(&change.facts.removed_pip);
        }
        if let Some(extended) = extended {
            steps.take_over(extended);
        }
        let spec = asked.as_ref().unwrap_or(&change.facts.spec);
        let installed = Installed {
            place,
            solution,
            steps,
            base_env_vars,
        };
        let mut made = build.finish_prefix(installed, spec, &change.facts.target)?;
        if own_conda {
            made.solution = Solution::from_records(&made.place, &change.facts.target)?;
        }
        self.take_over_pip_packages(&mut made, &known)?;
        if !condense_prefix::has_own_conda(&made.place) {
            CondaFacts {
                solution: &made.solution,
                spec: &made.asked,
                pip_packages: &made.finished.pip_packages,
                replaced_by_pip: &made.finished.replaced_by_pip,
                settings: &build.conda_settings,
            }
            .write(&made.place)?;
        }
        let options = match &change.anew {
            Some(compression) => self.generation.pack_options(compression),
            None => self.repack_options(change.donor()?),
        };
        let packed = build.pack(&made, None, options, path)?;
        let launch = self.launch_with_binds_before(&made)?;
        Ok(Changed {
            programs: build.programs(
                &packed.tree,
                &made.place,
                made.interpreter.is_some(),
                &self.generation.wrapper_paths,
            )?,
            landmarks: landmarks(&made),
            hot_files: made.hot_files,
            packed,
            pip_report: made.finished.pip_report,
            pip_packages: made.finished.pip_packages,
            replaced_by_pip: made.finished.replaced_by_pip,
            requested: made.asked.clone(),
            asked: asked.map(|_| made.asked),
            solution: made.solution,
            launch,
        })
    }

    /// Lets pip remove its packages before conda's are linked, which may have the same names and
    /// files.
    fn remove_pip_packages_first(&self, place: &Place, solution: &Solution) -> anyhow::Result<()> {
        let (build, removed) = (self.build, &self.change.facts.removed_pip);
        if removed.is_empty() {
            return Ok(());
        }
        let mut steps = BuildSteps::reopen(place, solution, &EnvironmentSpec::default())?;
        steps.remove_pip_packages(removed);
        let container = build.container(place, Vec::new());
        let container = container.context("there is a runtime")?;
        let progress: &Report = build.report();
        Ok(steps.uninstall(&container, progress)?)
    }

    /// Returns pip's packages before the change.
    fn known_pip_packages(&self, place: &Place) -> anyhow::Result<Vec<PipPackage>> {
        let remembered = &self.change.before.receipt.update_state;
        Ok(match &remembered.launch {
            Some(_) => {
                let known = remembered.pip_packages.iter().cloned();
                known.map(Into::into).collect()
            }
            None => condense_prefix::pip_packages(place)?,
        })
    }

    /// Adds pip's packages before the change to those of the change. They are still pip's, in the
    /// version that is installed now.
    fn take_over_pip_packages(
        &self,
        made: &mut FinishedPrefix,
        known: &[PipPackage],
    ) -> anyhow::Result<()> {
        let new = std::mem::take(&mut made.finished.pip_packages);
        made.finished.pip_packages = condense_prefix::pip_packages(&made.place)?;
        made.finished.pip_packages.retain(|found| {
            let mut listed = known.iter().chain(&new);
            listed.any(|listed| listed.name == found.name)
        });
        let remembered = &self.change.before.receipt.update_state;
        let replaced = &mut made.finished.replaced_by_pip;
        replaced.extend(remembered.replaced_by_pip.iter().cloned());
        replaced.sort();
        replaced.dedup();
        Ok(())
    }

    /// Returns the settings of the wrappers, with the binds of the build before and further ones.
    fn launch_with_binds_before(&self, made: &FinishedPrefix) -> anyhow::Result<Launch> {
        let extra_text = self.generation.extra_text.as_deref();
        let mut launch = self.build.launch(made, extra_text)?;
        if let Some(old) = &self.change.before.receipt.update_state.launch {
            let new = std::mem::replace(&mut launch.binds, old.binds.clone());
            let more = new.into_iter().filter(|bind| !old.binds.contains(bind));
            launch.binds.extend(more);
        }
        Ok(launch)
    }

    fn unpack(&self, image: &Path, root: &Path) -> anyhow::Result<()> {
        let report = Arc::clone(self.build.report());
        report.begin(Phase::Unpack, None);
        let options = ExtractOptions {
            progress: Some(Arc::new({
                let report = Arc::clone(&report);
                move |bytes| report.advance(Phase::Unpack, bytes)
            })),
            cancel: Some(report.cancel_flag()),
            durable: false,
            ..ExtractOptions::default()
        };
        let done = extract(&Reader::open(image)?, root, &options)?;
        report.end(Phase::Unpack);
        for skipped in &done.skipped {
            report.warning(format!("`{}`: {}", skipped.path.display(), skipped.what));
        }
        Ok(())
    }
}
