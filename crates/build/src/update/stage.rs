//! Responsible for putting a changed generation together and checking it, before it is visible.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use condense_installation::{
    Assembly, BaseMode, Claim, FileRole, Launch, Receipt, Staged, UpdateState,
};

use super::change::{Changed, Update};
use crate::{
    generation::{LOCK, PIP_REPORT, file_record, image_record, recorded},
    installation::stage_and_check,
    open_base::OpenBase,
    pack::hot_parts,
    verify,
};

/// Name of the file with everything that is asked for after a change of conda packages.
const ASKED: &str = "environment.yml";

impl Update<'_> {
    /// Puts the generation together where no other process sees it.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or written.
    fn stage(&self, claim: Claim, changed: &Changed, lock: Vec<u8>) -> anyhow::Result<Staged> {
        let before = self.change.before;
        let old = &before.receipt;
        let launch = Launch {
            hot_parts: hot_parts(&changed.packed.image),
            ..changed.launch.clone()
        };
        let folder = PathBuf::from(format!("previous_input/{}", claim.generation()));
        let kept = self.build.inputs.kept(&folder, &folder.join(ASKED));
        let (mut share, mut inputs) = (before.inputs()?, old.inputs.clone());
        for (role, path, bytes) in kept {
            inputs.push(file_record(Some(role), &path, &bytes));
            share.push((path, bytes));
        }
        if let Some(asked) = &changed.asked {
            let path = folder.join(ASKED);
            let text = asked
                .to_environment_file(&changed.solution)
                .context("failed to write down what is asked for")?;
            let bytes = text.into_bytes();
            inputs.push(file_record(Some(FileRole::Environment), &path, &bytes));
            share.push((path, bytes));
        }
        let report = match &changed.pip_report {
            Some(text) => Some(text.clone().into_bytes()),
            None => before.read_share(PIP_REPORT)?,
        };
        share.extend(report.map(|bytes| (PathBuf::from(PIP_REPORT), bytes)));
        let receipt = Receipt {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            created: self.generation.created(),
            arguments: self.generation.arguments(),
            inputs,
            lock: Some(file_record(None, Path::new(LOCK), &lock)),
            image: Some(image_record(&changed.packed.image)),
            update_state: self.update_state(changed, &launch),
            base: self.change.base.clone(),
            ..old.clone()
        };
        share.push((PathBuf::from(LOCK), lock));
        let base = &self.build.prepared.base;
        let base = Some(base).filter(|base| base.is_replaced());
        Ok(claim.stage(&Assembly {
            image: Some(&changed.packed.image.path),
            base: base.map_or(before.base_path(), OpenBase::path),
            base_mode: match base {
                Some(_) => BaseMode::LinkOrCopy,
                None => BaseMode::KeepPlacement,
            },
            launch: &launch,
            programs: &changed.programs,
            landmarks: &changed.landmarks,
            share: &share,
            receipt: &receipt,
        })?)
    }

    /// Returns the part of the receipt from which the next update goes on.
    fn update_state(&self, changed: &Changed, launch: &Launch) -> UpdateState {
        UpdateState {
            launch: Some(Box::new(launch.clone())),
            wrapper_paths: self.generation.shown_wrapper_paths(),
            no_cache: self.build.inputs.without_cache(),
            build_env: self.build.settings().build_env.names.clone(),
            compression: Some(changed.packed.image.compression.to_string()),
            pip_packages: recorded(&changed.pip_packages),
            replaced_by_pip: changed.replaced_by_pip.clone(),
            ..self.change.before.receipt.update_state.clone()
        }
    }

    /// Stages the generation and checks it as after a build: the image is read back while one of
    /// the wrappers runs.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written, if the image is damaged or if the wrapper
    /// fails.
    pub(super) fn stage_checked(
        &self,
        claim: Claim,
        changed: &Changed,
        lock: Vec<u8>,
    ) -> anyhow::Result<Staged> {
        let stage = || self.stage(claim, changed, lock);
        let start = |staged: &Staged| self.start_changed(staged.generation_dir());
        let (staged, checked) =
            stage_and_check(&changed.packed, self.build.report(), stage, start)?;
        checked?;
        Ok(staged)
    }

    fn start_changed(&self, dir: &Path) -> anyhow::Result<()> {
        if self.build.prepared.runtime.is_none() {
            return Ok(());
        }
        let python = fs_err::read_link(dir.join("_bin/python")).ok();
        let targets = verify::link_targets(&dir.join("_bin"))?;
        let said = verify::start_once(&dir.join("bin"), python.as_deref(), &targets)?;
        self.build.refuse_interrupted()?;
        match said {
            Some(said) => bail!("the changed installation does not start:\n{said}"),
            None => Ok(()),
        }
    }
}
