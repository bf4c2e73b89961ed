//! Responsible for the way that can do everything: the old image is unpacked, changed where it
//! lies, and packed again; files that are the same afterwards keep their blocks.

use std::{path::Path, sync::Arc};

use condense_image::{ExtractOptions, Reader, extract};
use condense_prefix::{BuildSteps, CondaFacts, CondaSettings, Place, Solution};

use super::{Build, Change, Changed};
use crate::{
    assemble::{landmarks, repack_options},
    install::Installed,
    report::Phase,
};

impl Build<'_> {
    /// The changed image.
    ///
    /// # Errors
    /// What the scripts and pip say; what cannot be written.
    pub(super) fn change_whole(
        &self,
        change: &Change,
        solution: Solution,
        path: &Path,
    ) -> anyhow::Result<Changed> {
        let receipt = &change.before.receipt;
        let place = Place {
            root: self.scratch.path().join("root"),
            mount_point: receipt.mount_point.clone(),
            environment: self.plan.env_path.clone(),
            packages: self.scratch.path().join("packages"),
        };
        self.unpack(change.before.image_path(), &place.root)?;
        fs_err::create_dir(&place.packages)?;
        let base_environment = self.probe(&place.root, &place.mount_point)?;
        // Nobody has written a lock, or a conda of its own may have changed what it said.
        let own_conda = receipt.lock.is_none() || condense_prefix::has_own_conda(&place);
        let solution = if own_conda {
            Solution::from_records(&place, &change.target)?
        } else {
            solution
        };
        let steps = BuildSteps::reopen(&place, &solution, &change.requirements)?;
        let known = match &receipt.update_state.launch {
            Some(_) => {
                let known = receipt.update_state.pip_packages.iter().cloned();
                known.map(Into::into).collect()
            }
            None => condense_prefix::pip_packages(&place)?,
        };
        let mut made = self.finish_prefix(
            Installed {
                place,
                solution,
                steps,
                base_environment,
            },
            &change.spec,
            &change.target,
        )?;
        if own_conda {
            made.solution = Solution::from_records(&made.place, &change.target)?;
        }
        // What was there before is still pip's, in the version that is there now.
        let new = std::mem::take(&mut made.finished.pip_packages);
        made.finished.pip_packages = condense_prefix::pip_packages(&made.place)?;
        made.finished.pip_packages.retain(|found| {
            let mut listed = known.iter().chain(&new);
            listed.any(|listed| listed.name == found.name)
        });
        let replaced = &mut made.finished.replaced_by_pip;
        replaced.extend(receipt.update_state.replaced_by_pip.iter().cloned());
        replaced.sort();
        replaced.dedup();
        if !condense_prefix::has_own_conda(&made.place) {
            CondaFacts {
                solution: &made.solution,
                spec: &made.asked,
                pip_packages: &made.finished.pip_packages,
                replaced_by_pip: &made.finished.replaced_by_pip,
                settings: &CondaSettings::new(self.plan.settings.condarc.as_ref()),
            }
            .write(&made.place)?;
        }
        let options = if let Some(compression) = change.anew {
            self.pack_anew(compression)
        } else {
            repack_options(Self::donor(change.before)?, self.plan.compression)
        };
        let (image, tree) = self.pack(&made, options, path)?;
        let mut launch = self.launch(&made)?;
        if let Some(old) = &receipt.update_state.launch {
            let new = std::mem::replace(&mut launch.binds, old.binds.clone());
            let more = new.into_iter().filter(|bind| !old.binds.contains(bind));
            launch.binds.extend(more);
        }
        Ok(Changed {
            programs: self.programs(&tree, &made.place, made.interpreter.is_some())?,
            landmarks: landmarks(&made),
            image,
            tree,
            pip_report: made.finished.pip_report,
            pip_packages: made.finished.pip_packages,
            replaced_by_pip: made.finished.replaced_by_pip,
            solution: made.solution,
            launch,
        })
    }

    fn unpack(&self, image: &Path, root: &Path) -> anyhow::Result<()> {
        let report = Arc::clone(self.report);
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
