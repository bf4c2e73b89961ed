//! Responsible for the dry run of a new installation.

use std::{ffi::OsStr, sync::Arc};

use condense_installation::Runtime;
use condense_prefix::{ImageKind, Interpreter, Solution, Venv};

use super::{
    Amounts, Estimate, FoundBase, Parts, PipQuestion, Preview, PythonVersion, Resolved, Solved,
    Step, count_of, resolve, solve,
};
use crate::{
    build::ImageDestination,
    claim::inspect_new,
    compression::ImageCompression,
    environment::Environment,
    inputs::LoadedInputs,
    installation::{load, warn_of_path},
    interrupt::Interrupt,
    plan::InstallationPlan,
    recipe,
    report::Report,
    session::Session,
};

/// Finds out what [`crate::build()`] would do for `plan`; `search_path` is the user's PATH.
///
/// # Errors
/// Returns the error of a build, as far as it can be known before anything is downloaded.
pub fn preview_build(
    plan: &InstallationPlan,
    search_path: &OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<Preview> {
    let session = Session::new(&plan.settings, search_path, report, interrupt).dry();
    let generation = &plan.output.generation;
    let (destination, mount_point) = inspect_new(&plan.output, session)?;
    destination.check_claim(plan.output.force)?;
    warn_of_path(plan, session);
    let requested = load(plan, session)?;
    requested.check(plan.input.packages.source(), &plan.base, session)?;
    let notes = session.scratch()?;
    let epoch = generation.source_date_epoch;
    let base = FoundBase::find(session, &plan.base, epoch, notes.path())?;
    let target = base.target(&plan.input.settings.overrides, report)?;
    let (environment, inputs, venv) = requested.resolve(target, report)?;
    if let (Some(venv), Some(base)) = (&venv, base.open()) {
        base.check_python(venv)?;
    }
    let recipe = environment
        .of_lock
        .recipe(ImageKind::Installation, &plan.input.env_path);
    let mount_point = recipe::mount_point(mount_point, recipe);
    let plan = &plan.following(recipe);
    let generation = &plan.output.generation;
    let needs = environment.container_steps(&inputs, venv.as_ref());
    let runtime = session.find_runtime(&needs)?;
    if let Some(base) = base.open() {
        base.check_context(session).check_base()?;
    }
    let solved = if venv.is_some() {
        Solved {
            solution: Solution::without_packages(&environment.target),
            packages: Vec::new(),
        }
    } else {
        let destination = ImageDestination {
            path: &generation.dir,
            bytes_beside: 0,
        };
        let settings = &plan.input.settings;
        solve(&environment, settings, session, notes.path(), destination)?
    };
    let pip = resolve(&PipQuestion {
        spec: &environment.spec,
        solved: &solved,
        python: python_version(&base, venv.as_ref(), &solved),
        target: &environment.target,
        uses_uv: inputs.uv().is_some(),
        uv_program: plan.input.extra.uv_program.as_deref(),
        settings: &plan.input.settings,
        session,
        notes: notes.path(),
    })?;
    let os_packages = &plan.input.extra.os_packages;
    let os_packages = base.os_packages_step(os_packages, &plan.input.settings)?;
    let suffix = || condense_prefix::mount_point_suffix(&environment.spec, &solved.solution);
    let mount_point = mount_point.path(suffix).join(&plan.input.env_path);
    let compression = ImageCompression::new(generation.compression, runtime.as_ref());
    let installer = if inputs.uv().is_some() { "uv" } else { "pip" };
    let mut before = base.steps();
    before.extend(os_packages);
    let steps = steps(before, &environment, &inputs, &solved, &pip, installer);
    let (archive_bytes, missing_bytes) = solved.bytes();
    let amounts = Amounts {
        archive_bytes,
        wheel_bytes: pip.bytes(),
        download_bytes: base.download_bytes() + missing_bytes + pip.bytes(),
        base_bytes: base.size_to_convert(),
        steps: timed_steps(&inputs, &pip, runtime.as_ref(), venv.as_ref()),
        compression: compression.chosen(),
    };
    Ok(Preview::new(
        Parts {
            output: generation.dir.clone(),
            mount_point: Some(mount_point),
            base: base.shown(plan.base.reference(), Some(&environment.target)),
            plan: plan.to_string(),
            target: Some(environment.target.to_string()),
            packages: solved.packages,
            pip,
            estimate: Estimate::new(&amounts),
            steps,
            compression: Some(compression.chosen()),
        },
        report,
    ))
}

/// Returns the version of Python for which pip resolves, if it is known.
fn python_version(base: &FoundBase, venv: Option<&Venv>, solved: &Solved) -> Option<PythonVersion> {
    match venv.map(|venv| &venv.interpreter) {
        None => Some(PythonVersion::new(&solved.solution.python()?)),
        Some(Interpreter::Host(python)) => Some(PythonVersion::of_program(python)),
        Some(Interpreter::OfBase(_)) => Some(PythonVersion::new(&base.python_version()?)),
        Some(Interpreter::Managed { version, .. }) => Some(PythonVersion::new(version.as_deref()?)),
    }
}

/// Returns the parts of the build in their order; `steps` are those of the base.
fn steps(
    mut steps: Vec<String>,
    environment: &Environment,
    inputs: &LoadedInputs,
    solved: &Solved,
    pip: &Resolved,
    installer: &str,
) -> Vec<String> {
    if !solved.packages.is_empty() {
        let count = solved.packages.len();
        if solved.packages.iter().any(|package| !package.cached) {
            steps.push("fetch packages".to_owned());
        }
        let how = if environment.locked.is_some() {
            " of the lock"
        } else {
            ""
        };
        steps.push(format!("link {}{how}", count_of(count, "package")));
    }
    let [before, after] = inputs.script_steps();
    steps.extend(before);
    steps.extend(pip.step(installer));
    steps.extend(after);
    steps.push("compile Python files".to_owned());
    if !solved.packages.is_empty() && solved.solution.python().is_none() {
        steps.pop();
    }
    for step in [
        "pack the image",
        "read it back and start it once",
        "publish",
    ] {
        steps.push(step.to_owned());
    }
    steps
}

/// Returns the steps that take time besides moving bytes.
fn timed_steps(
    inputs: &LoadedInputs,
    pip: &Resolved,
    runtime: Option<&Runtime>,
    venv: Option<&Venv>,
) -> Vec<Step> {
    let mut steps = vec![Step::Fixed];
    if runtime.is_some() {
        // The probe, the build steps, and the start of the finished installation.
        steps.extend([Step::Container; 3]);
    }
    if venv.is_some() {
        steps.push(Step::Container);
    }
    if !pip.packages.is_empty() || !pip.lines.is_empty() {
        steps.push(Step::Pip);
    }
    steps.extend(inputs.script_names().iter().map(|_| Step::Script));
    steps
}
