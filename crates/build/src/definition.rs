//! Responsible for building a SIF from a definition file. Without scripts, nothing is executed and
//! nothing is unpacked: the blocks of the source are reused, and files are added to them.

mod apps;
mod base;
mod copy;
mod metadata;
mod pattern;
mod preview;
mod root;
mod scripts;
mod source;
mod write;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::bail;
use condense_definition::{Arguments, Definition, Stage};
use condense_diagnostics::UserError;
use condense_image::{Arch, Donor, Image, Tree};
use condense_installation::Runtime;
use condense_prefix::without_secrets;
use condense_publish::Staging;
use indicatif::HumanBytes;

use crate::{
    interrupt::Interrupt,
    open_base::{OpenBase, PendingDigest},
    plan::DefinitionPlan,
    report::{Phase, Report},
    scratch::Scratch,
    session::Session,
    sif::{check_destination, check_space, publish, size},
};
pub(crate) use base::{DefinitionBase, is_definition, source_of_base};
use metadata::Facts;
pub use preview::preview_definition;
use source::Source;

/// Reads a definition file. Errors and remarks name it as `shown`.
///
/// # Errors
/// Returns an error if the file cannot be read, and its first mistake.
pub fn read_definition(
    path: &Path,
    shown: &Path,
    arguments: &Arguments,
) -> anyhow::Result<Definition> {
    let bytes = condense_input::read_named(path, condense_input::TEXT_MOST)?;
    Ok(Definition::parse(shown, &bytes, arguments)?)
}

/// Makes the SIF that `plan` describes; `search_path` is the user's PATH.
///
/// # Errors
/// Returns the error that stopped the run. The destination is then as it was, and scratch is gone.
pub fn build_definition(
    plan: &DefinitionPlan,
    search_path: &OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let session = Session::new(&plan.settings, search_path, report, interrupt);
    check_destination(&plan.output, plan.existing)?;
    let image = build_at(plan, session, &plan.output)?;
    report.info(format!(
        "{} of the source were taken as they are, the image has {}",
        HumanBytes(image.taken_bytes),
        HumanBytes(image.size_bytes)
    ));
    report.info(format!("Seconds: {}", report.timing()));
    Ok(())
}

/// Makes the SIF at a path.
///
/// # Errors
/// Returns the error that stopped the run. The file is then as it was.
pub(crate) fn build_at(
    plan: &DefinitionPlan,
    session: Session,
    file: &Path,
) -> anyhow::Result<Image> {
    for note in &plan.definition.notes {
        session.report.warning(note.to_string());
    }
    for note in plan.options_without_effect() {
        session.report.warning(note);
    }
    let mut builder = Builder::new(plan, session)?;
    let last = builder.build()?;
    session.report.info("Building container image");
    // Beside its place, so that one rename puts it there.
    let staging = Staging::beside(file).map_err(condense_image::Error::from)?;
    session.interrupt.remove_on_exit(staging.path().to_owned());
    let staged = staging.path().join(file.file_name().unwrap_or_default());
    let image = builder.write(&last, &staged)?;
    session.report.begin(Phase::Publish, None);
    builder.test(&last, &staged)?;
    session.refuse_interrupted()?;
    publish(staging, &staged, file, plan.existing)?;
    session.report.end(Phase::Publish);
    session.report.keep_blocks();
    Ok(image)
}

/// Refuses what the options of a plan and its sections do not allow together.
///
/// # Errors
/// Returns an error with the place of the section.
fn check(plan: &DefinitionPlan) -> anyhow::Result<()> {
    let stages = plan.definition.stages.iter();
    let flag = plan.options.flags.first();
    for post in stages.filter_map(|stage| stage.script("post").filter(|_| plan.runs(stage, "post")))
    {
        if let Some(flag) = flag {
            bail!(UserError::at(
                post.location.clone(),
                format!("`{flag}` is for %test: %post does not see the GPUs of this machine"),
                Some(format!(
                    "leave out `{flag}`; GPUs are needed where the image runs"
                )),
            ));
        }
    }
    Ok(())
}

/// Stage that is made.
struct Made<'a> {
    stage: &'a Stage,
    tree: Tree,
    donor: Option<Donor>,
    arch: Arch,
}

/// Build of a definition, stage by stage.
struct Builder<'a> {
    plan: &'a DefinitionPlan,
    session: Session<'a>,
    /// Runtime for scripts, if there is one.
    runtime: Option<Runtime>,
    /// Directory of the scripts, if there are any.
    scratch: Option<Scratch>,
    /// Time of everything that is added, in seconds since 1970.
    now: u32,
    /// Stages that are made, but for the last one.
    done: Vec<Made<'a>>,
}

impl<'a> Builder<'a> {
    fn new(plan: &'a DefinitionPlan, session: Session<'a>) -> anyhow::Result<Self> {
        check(plan)?;
        let stages = || plan.definition.stages.iter();
        let has = |section| stages().any(|stage| plan.runs(stage, section));
        let found = session.search_runtime();
        let tested = stages().find(|stage| plan.runs(stage, "test"));
        let runtime = match (found, tested.and_then(|stage| stage.script("test"))) {
            (Err(condense_installation::Error::NoRuntime), Some(test)) => {
                bail!(UserError::at(
                    test.location.clone(),
                    "%test runs in the finished image, and neither apptainer nor singularity is on PATH",
                    Some(
                        "load the module of your container runtime, or leave the test out with `--notest`"
                            .to_owned()
                    ),
                ))
            }
            (Err(error), Some(_)) => {
                session.refuse_soon_interrupted()?;
                return Err(error.into());
            }
            (found, _) => session.optional_runtime(found)?,
        };
        let tests_before = plan.definition.stages.len() > 1 && has("test");
        let scratch = if has("post") || tests_before {
            Some(session.scratch()?)
        } else {
            None
        };
        let now = match plan.source_date_epoch {
            Some(epoch) => epoch,
            None => u32::try_from(jiff::Timestamp::now().as_second())?,
        };
        Ok(Self {
            plan,
            session,
            runtime,
            scratch,
            now,
            done: Vec::new(),
        })
    }

    /// Makes all stages, and returns the last one.
    fn build(&mut self) -> anyhow::Result<Made<'a>> {
        let stages = self.plan.definition.stages.as_slice();
        let Some((last, before)) = stages.split_last() else {
            bail!("the definition has no stage");
        };
        for stage in before {
            let made = self.make(stage, false)?;
            if self.plan.runs(stage, "test") {
                let file = self
                    .scratch_dir()?
                    .join(format!("stage-{}.sif", self.done.len()));
                self.write(&made, &file)?;
                self.test(&made, &file)?;
                fs_err::remove_file(&file)?;
            }
            self.done.push(made);
        }
        self.make(last, true)
    }

    /// Makes one stage, up to its test.
    fn make(&self, stage: &'a Stage, is_last: bool) -> anyhow::Result<Made<'a>> {
        let (plan, report) = (self.plan, self.session.report);
        if let Some(name) = stage.name() {
            report.info(format!("Stage {name}"));
        }
        let source = Source::open(stage, plan, self.session)?;
        // A manifest's digest names an image of a registry as well.
        let unnamed = source.base.as_ref();
        let unnamed = unnamed.filter(|base| is_last && base.manifest_digest.is_none());
        let digest = unnamed.map(|base| base.start_digest(report)).transpose()?;
        if is_last && let Some(base) = &source.base {
            check_space(&plan.output, size(base.path()))?;
        }
        let mut tree = source.tree;
        tree.set_mtime_of_additions(self.now);
        source::complete(&mut tree, stage.agent)?;
        apps::add(&mut tree, stage, plan)?;
        if plan.options.uses("files") {
            self.copy_files(&mut tree, stage)?;
        }
        if plan.runs(stage, "post") {
            tree = self.run_post(tree, stage)?;
        }
        // They are made last: a runtime that runs %post would show the site's directories there.
        if is_last && let Some(base) = &source.base {
            for bind in base.site_binds(&plan.settings)? {
                add_mount_point(&mut tree, bind.source(), bind.destination())?;
            }
        }
        self.session.refuse_interrupted()?;
        report.info("Adding metadata to container");
        let own = match &source.base {
            Some(base) if is_last => own_labels(stage, base, plan, digest)?,
            _ => BTreeMap::new(),
        };
        let facts = Facts {
            labels: source.labels,
            own,
            arch: source.arch,
            now: self.now,
            plan,
            report,
        };
        facts.write(&mut tree, stage)?;
        Ok(Made {
            stage,
            tree,
            donor: source.donor,
            arch: source.arch,
        })
    }

    /// Copies files into a stage: those of other stages come first.
    fn copy_files(&self, tree: &mut Tree, stage: &Stage) -> anyhow::Result<()> {
        let from_stages = stage.files.iter().filter(|files| files.from.is_some());
        let from_host = stage.files.iter().filter(|files| files.from.is_none());
        for files in from_stages.chain(from_host) {
            for transfer in &files.transfers {
                self.session.refuse_interrupted()?;
                let Some(name) = &files.from else {
                    copy::from_host(tree, transfer, &self.plan.cwd)?;
                    continue;
                };
                let mut done = self.done.iter();
                let Some(found) = done.find(|made| made.stage.name() == Some(name)) else {
                    bail!("the stage `{name}` is not made");
                };
                copy::from_stage(tree, transfer, &found.tree, name)?;
            }
        }
        Ok(())
    }

    fn scratch_dir(&self) -> anyhow::Result<PathBuf> {
        match &self.scratch {
            Some(scratch) => Ok(scratch.path().to_owned()),
            None => bail!("there is no scratch directory for a script"),
        }
    }
}

/// Makes the mount point of a directory that the site shows in containers: a bind without one ends
/// builds on top of the image.
fn add_mount_point(tree: &mut Tree, source: &Path, destination: &Path) -> anyhow::Result<()> {
    let place = root::resolve(tree, destination)?;
    if source.is_dir() && root::find(tree, &place).is_none() {
        tree.add_directory(&place)?;
    }
    Ok(())
}

/// Returns labels about the source: the file that its name has led to, and its digest.
fn own_labels(
    stage: &Stage,
    base: &OpenBase,
    plan: &DefinitionPlan,
    digest: Option<PendingDigest>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let digest = digest.map(PendingDigest::wait).transpose()?;
    let digest = digest.and_then(|digest| digest.sha256);
    let digest = digest.map(|hex| format!("sha256:{hex}"));
    let name = match source::reference(stage, plan)? {
        Some(reference) if base.manifest_digest.is_some() => {
            without_secrets(&reference).into_owned()
        }
        _ => base.path().display().to_string(),
    };
    let mut labels = BTreeMap::from([
        (
            "condense.version".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
        ("condense.base".to_owned(), name),
    ]);
    if let Some(digest) = base.manifest_digest.clone().or(digest) {
        labels.insert("condense.base.digest".to_owned(), digest);
    }
    Ok(labels)
}
