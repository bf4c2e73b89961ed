//! Responsible for making a SIF of a base and an environment. The base's blocks are reused, and the
//! file appears at its destination after it has been read back and started once.

mod base;
mod contents;
mod copies;
mod install;
mod on_top;
mod overlay;
mod preview;
mod start;
mod write;

use std::{ffi::OsStr, io::ErrorKind, path::Path, sync::Arc};

use anyhow::{Context, bail};
use condense_diagnostics::UserError;
use condense_image::Image;
use condense_publish::{Existing, Staging};
use indicatif::HumanBytes;

use crate::{
    definition::DefinitionBase,
    interrupt::Interrupt,
    open_base::OpenBase,
    output::check_image_output,
    plan::{Layout, SifContent, SifPlan},
    report::{Phase, Report},
    runtime_search::RuntimeSearch,
    session::Session,
    space,
};
use base::Beginning;
pub(crate) use base::{METADATA, size, whole_tree};
use contents::Contents;
pub(crate) use install::{KEPT, LOCK};
use install::{Loaded, Opened};
pub use preview::preview_sif;
use write::read_back;
pub(crate) use write::{add_image, added_bytes};

/// Option that replaces an image.
const FORCE: &str = "--force";

/// Makes the SIF that `plan` describes; `search_path` is the user's PATH.
///
/// # Errors
/// Returns the error that stopped the run. The destination is then as it was, and scratch is gone.
pub fn build_sif(
    plan: &SifPlan,
    search_path: &OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let session = Session::new(&plan.settings, search_path, report, interrupt);
    let file = &plan.output.file;
    check_destination(file, plan.output.existing)?;
    let loaded = Loaded::load(plan, report)?;
    loaded.check(plan, session)?;
    // The image of a definition file must stay until everything is written.
    let of_definition = DefinitionBase::build(plan, session)?;
    let search = RuntimeSearch::start(session);
    let session = session.with_search(&search);
    let found = match &of_definition {
        Some(built) => OpenBase::open_located(session, built.located(), &plan.base)?,
        None => OpenBase::open(session, &plan.base, plan.output.source_date_epoch)?,
    };
    let digest = found.start_digest(report)?;
    let packages = &plan.input.settings;
    let epoch = plan.output.source_date_epoch;
    let base = found.with_os_packages(session, &plan.input.extra.os_packages, packages, epoch)?;
    let mut beginning = Beginning::read(plan, &base, report)?;
    refuse_second_environment(plan, &base)?;
    check_space(file, base::size(base.path()))?;
    let opened = Opened::new(plan, session, base)?;
    let (build, installed) = loaded.install(opened)?;
    let digest = digest.wait()?.sha256.map(|hex| format!("sha256:{hex}"));
    let base_digest = build.prepared.base.manifest_digest.clone().or(digest);

    report.info("Adding metadata to container");
    let contents = Contents::new(&build, plan, &beginning, installed.as_ref(), base_digest)?;
    contents.graft(&mut beginning)?;

    report.info("Building container image");
    // Beside its place, so that one rename puts it there.
    let staging = Staging::beside(file)
        .map_err(condense_image::Error::from)
        .with_context(|| format!("cannot write `{}`", file.display()))?;
    interrupt.remove_on_exit(staging.path().to_owned());
    let staged = staging.path().join(file.file_name().unwrap_or_default());
    let packed = contents.write(&staged, &mut beginning)?;
    report.begin(Phase::Publish, None);
    let start = || build.start_sif(&staged, installed.as_ref());
    read_back(&packed, &beginning.tree, report, start)?;
    build.refuse_interrupted()?;
    publish(staging, &staged, file, plan.output.existing)?;
    report.end(Phase::Publish);
    report_image(plan.output.layout, &packed, report);
    report.keep_blocks();
    report.info(format!("Seconds: {}", report.timing()));
    Ok(())
}

fn report_image(layout: Layout, packed: &Image, report: &Report) {
    report.info(match layout {
        Layout::Flat => format!(
            "{} of the base were taken as they are, the image has {}",
            HumanBytes(packed.taken_bytes),
            HumanBytes(packed.size_bytes)
        ),
        Layout::Overlay => format!(
            "The base is as it was, its overlay has {}",
            HumanBytes(packed.size_bytes)
        ),
    });
}

pub(crate) fn check_destination(file: &Path, existing: Existing) -> anyhow::Result<()> {
    check_image_output(file, existing, Some(FORCE))
}

/// Gives a finished image its name. One that has appeared during the build is replaced only if one
/// that was there before would have been.
///
/// # Errors
/// Returns an error if the place is taken or cannot be written.
pub(crate) fn publish(
    staging: Staging,
    staged: &Path,
    file: &Path,
    existing: Existing,
) -> anyhow::Result<()> {
    check_destination(file, existing)?;
    let published = staging.publish(staged, file, existing);
    published.map_err(|error| match error.source_kind() {
        // It has appeared since the check.
        ErrorKind::AlreadyExists => check_destination(file, existing)
            .err()
            .unwrap_or_else(|| condense_image::Error::from(error).into()),
        _ => condense_image::Error::from(error).into(),
    })
}

/// Refuses to put an environment at the place of one in the base.
fn refuse_second_environment(plan: &SifPlan, base: &OpenBase) -> anyhow::Result<()> {
    let dir = plan.output.mount_point.join(&plan.input.env_path);
    if plan.input.content != SifContent::Nothing && base.image.exists(&dir)? {
        bail!(UserError::new(
            format!(
                "there is an environment at `{}` in the base image already",
                dir.display()
            ),
            "put the new one elsewhere with `--mount-point DIR`",
        ));
    }
    Ok(())
}

pub(crate) fn check_space(file: &Path, base_bytes: u64) -> anyhow::Result<()> {
    space::check(&[space::Need {
        dir: file,
        bytes: base_bytes,
        inodes: 1,
        what: "the base image in the new one",
        hint: "make room there, or name another place",
    }])
}
