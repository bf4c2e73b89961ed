//! Responsible for the dry run of wrappers for programs that are there already.

use std::{ffi::OsStr, path::Path, sync::Arc};

use condense_check::Inventory;
use condense_image::{Mtime, Tree};
use condense_prefix::BUILD_DIR;

use super::{Wrap, suffix};
use crate::{
    claim::inspect_new,
    compression::ImageCompression,
    interrupt::Interrupt,
    pack::scan_options,
    plan::{WrapPlan, Wrapped},
    prepared::Prepared,
    preview::{Amounts, Estimate, FoundBase, Parts, Preview, Resolved, Step, count_of},
    report::Report,
    session::Session,
};

/// Finds out what [`super::wrap`] would do for `plan`; `search_path` is the user's PATH.
///
/// # Errors
/// Returns the error of a build, as far as it can be known before anything is downloaded.
pub fn preview_wrap(
    plan: &WrapPlan,
    search_path: &OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<Preview> {
    let session = Session::new(&plan.settings, search_path, report, interrupt).dry();
    let (destination, mount_point) = inspect_new(&plan.output, session)?;
    destination.check_claim(plan.output.force)?;
    let generation = &plan.output.generation;
    let notes = session.scratch()?;
    let base = FoundBase::find(
        session,
        &plan.base,
        generation.source_date_epoch,
        notes.path(),
    )?;
    let shown = base.shown(plan.base.reference(), None);
    let mount_point = mount_point.path(|| suffix(plan));
    let (download_bytes, base_bytes) = (base.download_bytes(), base.size_to_convert());
    let mut steps = base.steps();
    let runtime = match base {
        FoundBase::Remote(_) => session.find_runtime(&[])?,
        FoundBase::Open(base) => {
            let wrap = Wrap {
                prepared: Prepared::open(session, *base, &[])?,
                plan,
                mount_point: mount_point.clone(),
            };
            wrap.check_packages()?;
            let programs = count_of(wrap.find_programs()?.len(), "program");
            steps.push(format!("wrap {programs}"));
            wrap.check_files()?;
            wrap.prepared.runtime
        }
    };
    let compression = ImageCompression::new(generation.compression, runtime.as_ref()).chosen();
    let mut estimate = Estimate::new(&Amounts {
        archive_bytes: 0,
        wheel_bytes: 0,
        download_bytes,
        base_bytes,
        steps: vec![Step::Fixed, Step::Container],
        compression,
    });
    let is_directory = matches!(plan.input.what, Wrapped::Directory { .. });
    if let Wrapped::Directory { dir, .. } = &plan.input.what {
        let scripts = plan.input.scripts.iter();
        steps.splice(
            0..0,
            scripts.map(|script| format!("run `{}`", script.path.display())),
        );
        estimate.add_files(bytes_of(dir)?, compression);
        steps.push("pack the image".to_owned());
    }
    for step in ["read it back and start it once", "publish"] {
        steps.push(step.to_owned());
    }
    Ok(Preview::new(
        Parts {
            output: generation.dir.clone(),
            mount_point: is_directory.then_some(mount_point),
            base: shown,
            plan: plan.to_string(),
            target: None,
            packages: Vec::new(),
            pip: Resolved::default(),
            estimate,
            steps,
            compression: is_directory.then_some(compression),
        },
        report,
    ))
}

/// Returns the size in bytes of all files of a directory.
fn bytes_of(dir: &Path) -> anyhow::Result<u64> {
    let tree = Tree::scan(dir, &scan_options(Mtime::Keep))?;
    Ok(tree.summary().bytes)
}

impl Wrap<'_> {
    /// Checks the files of a directory, unless a script changes them before they are packed.
    fn check_files(&self) -> anyhow::Result<()> {
        let Wrapped::Directory { dir, .. } = &self.plan.input.what else {
            return Ok(());
        };
        if !self.plan.input.scripts.is_empty() {
            return Ok(());
        }
        let inventory = Inventory::from_dir(dir, &self.mount_point, Some(BUILD_DIR))?;
        self.prepared
            .check_context()
            .check_inventory(&inventory, &[])
    }
}
