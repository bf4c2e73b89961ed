//! Responsible for the dry run of a SIF.

use std::{ffi::OsStr, sync::Arc};

use condense_image::{Compression, Reader};

use super::{
    base::Beginning,
    check_destination, check_space,
    install::{Loaded, LoadedContent},
    refuse_second_environment,
};
use crate::{
    build::ImageDestination,
    definition::{is_definition, source_of_base},
    environment::{Environment, LoadedRequest, Requested, refuse_index},
    inputs::LoadedInputs,
    interrupt::Interrupt,
    plan::{SifContent, SifPlan},
    preview::{
        Amounts, Estimate, FoundBase, Parts, PipQuestion, Preview, PythonVersion, Resolved, Solved,
        Step, count_of, resolve, solve,
    },
    report::Report,
    scratch::Scratch,
    session::Session,
};

/// Finds out what [`super::build_sif`] would do for `plan`; `search_path` is the user's PATH.
///
/// # Errors
/// Returns the error of a build, as far as it can be known before anything is downloaded.
pub fn preview_sif(
    plan: &SifPlan,
    search_path: &OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<Preview> {
    let session = Session::new(&plan.settings, search_path, report, interrupt).dry();
    let file = &plan.output.file;
    check_destination(file, plan.output.existing)?;
    let loaded = Loaded::load(plan, report)?;
    loaded.check(plan, session)?;
    let notes = session.scratch()?;
    let epoch = plan.output.source_date_epoch;
    let of_definition = source_of_base(plan)?;
    let choice = of_definition.as_ref().unwrap_or(&plan.base);
    let base = FoundBase::find(session, choice, epoch, notes.path())?;
    if let Some(open) = base.open() {
        Beginning::read(plan, open, report)?;
        refuse_second_environment(plan, open)?;
        open.check_context(session).check_base()?;
        if matches!(plan.input.content, SifContent::OnTop | SifContent::Nothing) {
            open.check_context(session).check_packages_of_base()?;
        }
    }
    let base_bytes = match base.open() {
        Some(open) => super::base::size(open.path()),
        None => base.size_to_convert(),
    };
    check_space(file, base_bytes)?;
    let dry = DryRun {
        plan,
        session,
        base: &base,
        base_bytes,
        notes: &notes,
    };
    let os_packages = &plan.input.extra.os_packages;
    let os_packages = base.os_packages_step(os_packages, &plan.input.settings)?;
    let mut content = dry.content(loaded)?;
    content.steps.splice(0..0, os_packages);
    Ok(Preview::new(dry.parts(content), report))
}

/// A dry run whose base is found.
struct DryRun<'a> {
    plan: &'a SifPlan,
    session: Session<'a>,
    base: &'a FoundBase,
    /// Size in bytes of the part of the image that comes from the base.
    base_bytes: u64,
    notes: &'a Scratch,
}

/// Packages of a SIF that is not made.
struct Content {
    solved: Option<(Environment, Solved)>,
    pip: Resolved,
    /// Steps that run in the container, in their order.
    steps: Vec<String>,
    timed: Vec<Step>,
}

impl DryRun<'_> {
    /// Solves the environment, if there is one, and checks that its steps can run.
    fn content(&self, loaded: Loaded) -> anyhow::Result<Content> {
        let Loaded {
            environment,
            inputs,
        } = loaded;
        match environment {
            LoadedContent::Conda(_, asked) => self.conda(*asked, inputs),
            LoadedContent::OnTop => {
                refuse_index(true, &self.plan.input.settings)?;
                self.session.find_runtime(&["`--on-top`".to_owned()])?;
                let lines = inputs.pip_lines().iter();
                let lines = lines.map(|line| condense_prefix::without_secrets(line).into_owned());
                let pip = Resolved {
                    lines: lines.collect(),
                    reason: Some("its packages extend those of the base".to_owned()),
                    ..Resolved::default()
                };
                Ok(Content {
                    solved: None,
                    steps: pip.step("pip").into_iter().collect(),
                    timed: vec![Step::Container, Step::Pip],
                    pip,
                })
            }
            LoadedContent::Nothing => {
                self.session.find_runtime(&[])?;
                Ok(Content {
                    solved: None,
                    pip: Resolved::default(),
                    steps: Vec::new(),
                    timed: Vec::new(),
                })
            }
        }
    }

    fn conda(&self, asked: LoadedRequest, inputs: LoadedInputs) -> anyhow::Result<Content> {
        let (input, session) = (&self.plan.input, self.session);
        let requested = Requested {
            asked,
            inputs,
            venv: None,
            settings: &input.settings,
        };
        let target = self
            .base
            .target(&input.settings.overrides, session.report)?;
        let (environment, inputs, _) = requested.resolve(target, session.report)?;
        session.find_runtime(&environment.container_steps(&inputs, None))?;
        let destination = ImageDestination {
            path: &self.plan.output.file,
            bytes_beside: self.base_bytes,
        };
        let notes = self.notes.path();
        let solved = solve(&environment, &input.settings, session, notes, destination)?;
        let python = solved.solution.python();
        let pip = resolve(&PipQuestion {
            spec: &environment.spec,
            solved: &solved,
            python: python.as_deref().map(PythonVersion::new),
            target: &environment.target,
            uses_uv: false,
            uv_program: None,
            settings: &input.settings,
            session,
            notes,
        })?;
        let mut steps = Vec::new();
        if solved.packages.iter().any(|package| !package.cached) {
            steps.push("fetch packages".to_owned());
        }
        steps.push(format!(
            "link {}",
            count_of(solved.packages.len(), "package")
        ));
        steps.extend(pip.step("pip"));
        let mut timed = vec![Step::Container];
        if steps.len() > 2 || !pip.lines.is_empty() {
            timed.push(Step::Pip);
        }
        for command in &input.post {
            steps.push(format!("run `{command}`"));
            timed.push(Step::Script);
        }
        Ok(Content {
            solved: Some((environment, solved)),
            pip,
            steps,
            timed,
        })
    }

    fn parts(&self, content: Content) -> Parts {
        let (plan, base) = (self.plan, self.base);
        let (environment, solved) = content.solved.unzip();
        let (archive_bytes, missing_bytes) = solved.as_ref().map_or((0, 0), Solved::bytes);
        let compression = self.compression();
        let amounts = Amounts {
            archive_bytes,
            wheel_bytes: content.pip.bytes(),
            download_bytes: base.download_bytes() + missing_bytes + content.pip.bytes(),
            base_bytes: base.size_to_convert(),
            steps: [vec![Step::Fixed, Step::Container], content.timed].concat(),
            compression,
        };
        let mut estimate = Estimate::new(&amounts);
        estimate.image_bytes += self.base_bytes;
        let mut steps = base.steps();
        if is_definition(plan.base.reference()) {
            steps.push(format!("build {}", plan.base.reference()));
        }
        steps.extend(content.steps);
        let copies = plan.output.copies.len();
        if copies > 0 {
            let paths = count_of(copies, "path");
            steps.push(format!("copy {paths} of this machine"));
        }
        for step in ["write the image", "start it once", "publish"] {
            steps.push(step.to_owned());
        }
        let target = environment.map(|environment| environment.target);
        Parts {
            output: plan.output.file.clone(),
            mount_point: None,
            base: base.shown(plan.base.reference(), target.as_ref()),
            plan: plan.to_string(),
            target: target.map(|target| target.to_string()),
            packages: solved.map(|solved| solved.packages).unwrap_or_default(),
            pip: content.pip,
            estimate,
            steps,
            compression: Some(compression),
        }
    }

    /// Returns the compression of new blocks: that of the base, if it is an image.
    fn compression(&self) -> Compression {
        let base = self.base.open();
        let reader = base.and_then(|base| Reader::open(base.path()).ok());
        match reader.map(|reader| reader.superblock().codec) {
            Some(condense_image::Codec::Zstd) => Compression::default(),
            Some(codec) => codec.name().parse().unwrap_or(crate::compression::GZIP),
            None => crate::compression::GZIP,
        }
    }
}
