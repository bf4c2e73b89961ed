//! Responsible for the dry run of a build from a definition file.

use std::{ffi::OsStr, path::Path, sync::Arc};

use condense_definition::Agent;

use super::{check, source};
use crate::{
    compression::GZIP,
    interrupt::Interrupt,
    plan::{BaseChoice, DefinitionPlan},
    preview::{
        Amounts, Estimate, FoundBase, Parts, Preview, PreviewedBase, Resolved, Step, count_of,
    },
    report::Report,
    root_script,
    session::Session,
    sif::{check_destination, check_space, size},
};

/// Finds out what [`super::build_definition`] would do for `plan`; `search_path` is the user's
/// PATH.
///
/// # Errors
/// Returns the error of a build, as far as it can be known before anything is fetched or run.
pub fn preview_definition(
    plan: &DefinitionPlan,
    search_path: &OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<Preview> {
    let session = Session::new(&plan.settings, search_path, report, interrupt).dry();
    check_destination(&plan.output, plan.existing)?;
    check(plan)?;
    for note in &plan.definition.notes {
        report.warning(note.to_string());
    }
    for note in plan.options_without_effect() {
        report.warning(note);
    }
    let notes = session.scratch()?;
    let shown = shown(plan, session, notes.path())?;
    let mut last = Nothing::default();
    let mut steps = Vec::new();
    let mut timed = vec![Step::Fixed];
    let (mut download, mut to_convert) = (0, 0);
    for stage in &plan.definition.stages {
        last = Nothing::default();
        if let Some(reference) = source::reference(stage, plan)? {
            let found = if stage.agent == Agent::LocalImage {
                // The whole source is opened, so that each mistake is found.
                let opened = source::Source::open(stage, plan, session)?.base;
                opened.map(|base| FoundBase::Open(Box::new(base)))
            } else {
                let choice = BaseChoice::Named(reference.clone());
                let epoch = plan.source_date_epoch;
                Some(FoundBase::find(session, &choice, epoch, notes.path())?)
            };
            let Some(found) = found else { continue };
            download += found.download_bytes();
            to_convert += found.size_to_convert();
            steps.extend(found.steps());
            last.bytes = match found.open() {
                Some(open) => size(open.path()),
                None => found.size_to_convert(),
            };
            last.base = Some(found.shown(&reference, None));
        }
        let files: usize = stage.files.iter().map(|files| files.transfers.len()).sum();
        if files > 0 && plan.options.uses("files") {
            steps.push(format!("copy {} of %files", count_of(files, "line")));
        }
        for section in ["post", "test"] {
            if plan.runs(stage, section) {
                steps.push(format!("run %{section}"));
                timed.push(Step::Script);
            }
        }
    }
    check_space(&plan.output, last.bytes)?;
    let mut estimate = Estimate::new(&Amounts {
        archive_bytes: 0,
        wheel_bytes: 0,
        download_bytes: download,
        base_bytes: to_convert,
        steps: timed,
        compression: GZIP,
    });
    estimate.image_bytes += last.bytes;
    for step in ["write the image", "publish"] {
        steps.push(step.to_owned());
    }
    Ok(Preview::new(
        parts(plan, shown, last, estimate, steps),
        report,
    ))
}

/// Source of the last stage.
#[derive(Default)]
struct Nothing {
    base: Option<PreviewedBase>,
    bytes: u64,
}

/// Returns the plan as text, with the way in which %post would run if that is asked for.
fn shown(plan: &DefinitionPlan, session: Session, scratch: &Path) -> anyhow::Result<String> {
    let mut shown = plan.to_string();
    if plan.options.explains && plan.runs_any("post") {
        let runtime = session.find_optional_runtime()?;
        let allow_no_root = plan.options.allows_no_root;
        let foreseen = root_script::foreseen(session, scratch, runtime.as_ref(), allow_no_root)?;
        for line in foreseen.lines() {
            shown.push_str("\n%post         ");
            shown.push_str(line);
        }
    }
    Ok(shown)
}

fn parts(
    plan: &DefinitionPlan,
    shown: String,
    last: Nothing,
    estimate: Estimate,
    steps: Vec<String>,
) -> Parts {
    let base = last.base.unwrap_or_else(|| PreviewedBase {
        reference: "scratch".to_owned(),
        path: None,
        manifest_digest: None,
        download_bytes: 0,
        glibc: None,
    });
    Parts {
        output: plan.output.clone(),
        mount_point: None,
        base,
        plan: shown,
        target: None,
        packages: Vec::new(),
        pip: Resolved::default(),
        estimate,
        steps,
        compression: Some(GZIP),
    }
}
