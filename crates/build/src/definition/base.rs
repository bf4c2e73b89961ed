//! Responsible for a definition file as the base of another image: it is built first, into scratch.

use std::path::{Path, PathBuf};

use condense_definition::{Arguments, Problem};
use condense_diagnostics::UserError;

use super::{build_at, read_definition, source};
use crate::{
    plan::{BaseChoice, DefinitionOptions, DefinitionPlan, SifPlan},
    pull::Located,
    scratch::Scratch,
    session::Session,
};

/// Image of a definition file, which is removed when dropped.
pub(crate) struct DefinitionBase {
    path: PathBuf,
    _scratch: Scratch,
}

impl DefinitionBase {
    /// Builds the base of a plan if it is a definition file.
    ///
    /// # Errors
    /// Returns the error of the build.
    pub(crate) fn build(plan: &SifPlan, session: Session) -> anyhow::Result<Option<Self>> {
        let Some(definition) = plan_of(plan)? else {
            return Ok(None);
        };
        let scratch = session.scratch()?;
        let path = scratch.path().join("base.sif");
        session.report.info(format!(
            "Building the base image from {}",
            definition.file.display()
        ));
        build_at(&definition, session, &path)?;
        Ok(Some(Self {
            path,
            _scratch: scratch,
        }))
    }

    /// Returns the image as a base on this machine.
    pub(crate) fn located(&self) -> Located {
        Located {
            path: self.path.display().to_string(),
            // The file is gone after the run, so nothing may link to it.
            is_cached: true,
            digest: None,
        }
    }
}

/// Returns whether the words for a base name a definition file.
pub(crate) fn is_definition(reference: &str) -> bool {
    let end = Path::new(reference).extension();
    end.is_some_and(|end| end.eq_ignore_ascii_case("def"))
}

/// Returns the source of the last stage if the base of a plan is a definition file, for dry runs.
/// The file is read and checked.
///
/// # Errors
/// Returns the first mistake of the file.
pub(crate) fn source_of_base(plan: &SifPlan) -> anyhow::Result<Option<BaseChoice>> {
    let Some(definition) = plan_of(plan)? else {
        return Ok(None);
    };
    super::check(&definition)?;
    let last = definition.definition.stages.last();
    let reference = last.map(|stage| source::reference(stage, &definition));
    Ok(reference.transpose()?.flatten().map(BaseChoice::Named))
}

/// Gives the error of an argument without a value another hint: the option that sets arguments is
/// for the build of a definition file itself.
fn without_options(error: anyhow::Error) -> anyhow::Error {
    let Some(found) = error.downcast_ref::<condense_definition::Error>() else {
        return error;
    };
    let Problem::NoArgument(name) = &found.problem else {
        return error;
    };
    let hint = format!(
        "write `{name}=VALUE` below %arguments, or build the base first: `condense build BASE.sif FILE.def --build-arg {name}=VALUE`"
    );
    UserError::at(
        found.location.clone(),
        found.problem.to_string(),
        Some(hint),
    )
    .into()
}

fn plan_of(plan: &SifPlan) -> anyhow::Result<Option<DefinitionPlan>> {
    let reference = plan.base.reference();
    if !is_definition(reference) {
        return Ok(None);
    }
    let cwd = plan.input.extra.work_dir.clone();
    let file = PathBuf::from(reference);
    let definition = read_definition(&cwd.join(&file), &file, &Arguments::default());
    let definition = definition.map_err(without_options)?;
    Ok(Some(DefinitionPlan {
        definition,
        file,
        output: plan.output.file.clone(),
        existing: condense_publish::Existing::Replace,
        options: DefinitionOptions::default(),
        cwd,
        keyrings: plan.input.keyrings.clone(),
        source_date_epoch: plan.output.source_date_epoch,
        dry_run: plan.dry_run,
        submission: None,
        settings: plan.settings.clone(),
    }))
}
