//! Responsible for the environment of a SIF: loading the request for it, and installing it in
//! scratch.

use std::path::{Path, PathBuf};

use condense_installation::{ContainerEnvironment, EnvironmentKind, Runtime};

use crate::{
    build::{Build, ImageDestination},
    check::{RequestToCheck, check_request},
    environment::{Environment, LoadedRequest, Requested, find_target, refuse_index},
    inputs::{LoadedInputs, ScriptTarget},
    open_base::OpenBase,
    plan::{CondaInput, MountPoint, SifContent, SifPlan},
    prepared::Prepared,
    report::Report,
    scratch::Scratch,
    session::Session,
};

/// Directory in the image that keeps the lock and the inputs.
pub(crate) const KEPT: &str = ".singularity.d/condense";
pub(crate) const LOCK: &str = "condense.lock";
const INPUT: &str = "environment.yml";
const INSTALLED: &str = "installed.txt";

/// An environment in scratch, and its description.
pub(super) struct Installed {
    /// Directory in scratch that becomes the directory of environments.
    pub(super) root: PathBuf,
    pub(super) environment: ContainerEnvironment,
    /// Time of the newest package, in seconds since 1970.
    pub(super) newest: Option<u32>,
    /// Lock of conda's and pip's packages.
    pub(super) lock: Option<Vec<u8>>,
    /// Files that record how the image was made, each with its path in the image.
    pub(super) kept: Vec<(PathBuf, Vec<u8>)>,
}

/// Inputs of a SIF with their files read.
pub(super) struct Loaded<'a> {
    pub(super) environment: LoadedContent<'a>,
    pub(super) inputs: LoadedInputs,
}

/// Environment of a SIF with its files read.
pub(super) enum LoadedContent<'a> {
    Conda(&'a CondaInput, Box<LoadedRequest<'a>>),
    OnTop,
    Nothing,
}

/// A run whose base is open and checked, and whose runtime is not known yet.
pub(super) struct Opened<'a> {
    plan: &'a SifPlan,
    session: Session<'a>,
    base: OpenBase,
    scratch: Scratch,
}

impl<'a> Loaded<'a> {
    /// Loads all files that the plan names.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or understood.
    pub(super) fn load(plan: &'a SifPlan, report: &Report) -> anyhow::Result<Self> {
        let input = &plan.input;
        let target = ScriptTarget {
            destination: &plan.output.file,
            env_path: &input.env_path,
        };
        let mut inputs = LoadedInputs::load(&input.extra, &input.settings, target)?;
        inputs.add_commands(&input.post);
        let environment = match &input.content {
            SifContent::Conda(conda) => {
                let with_pip = input.extra.has_requirements();
                let mut asked = LoadedRequest::load(conda, with_pip, &input.settings)?;
                asked.apply_condarc(&input.settings)?;
                asked.require(&inputs, report)?;
                LoadedContent::Conda(conda, Box::new(asked))
            }
            SifContent::OnTop => LoadedContent::OnTop,
            SifContent::Nothing => LoadedContent::Nothing,
        };
        Ok(Self {
            environment,
            inputs,
        })
    }

    /// Checks the request before anything is fetched.
    ///
    /// # Errors
    /// Returns an error if a finding is not allowed.
    pub(super) fn check(&self, plan: &SifPlan, session: Session) -> anyhow::Result<()> {
        let (file, spec) = match &self.environment {
            LoadedContent::Conda(conda, asked) => (conda.file(), asked.spec()),
            LoadedContent::OnTop | LoadedContent::Nothing => (None, None),
        };
        let request = RequestToCheck {
            spec,
            pip_lines: self.inputs.pip_lines(),
            path: file.unwrap_or(Path::new("the request")),
            base: plan.base.reference(),
        };
        check_request(&request, &session.settings.checks, session.report)
    }

    /// Finds the runtime, and installs the environment, if there is one.
    ///
    /// # Errors
    /// Returns the error of the first step that fails.
    pub(super) fn install(
        self,
        opened: Opened<'a>,
    ) -> anyhow::Result<(Build<'a>, Option<Installed>)> {
        let Self {
            environment,
            inputs,
        } = self;
        let (plan, session) = (opened.plan, opened.session);
        match environment {
            LoadedContent::Conda(conda, asked) => {
                let name = conda.source().unwrap_or(&plan.input.env_path).display();
                let report = session.report;
                report.info(format!("Installing Conda environment: {name}"));
                let installed = install_conda(*asked, inputs, opened)?;
                report.info(format!("Finished installing conda environment: {name}"));
                Ok(installed)
            }
            LoadedContent::OnTop => {
                refuse_index(true, &plan.input.settings)?;
                let runtime = session.find_runtime(&["`--on-top`".to_owned()])?;
                let build = opened.build(inputs, runtime);
                let installed = build.install_venv_on_top(plan)?;
                Ok((build, Some(installed)))
            }
            LoadedContent::Nothing => {
                let runtime = session.find_runtime(&[])?;
                Ok((opened.build(inputs, runtime), None))
            }
        }
    }
}

impl<'a> Opened<'a> {
    /// Makes scratch and checks the base. If its own programs will run, its packages are checked as
    /// well.
    ///
    /// # Errors
    /// Returns an error if scratch cannot be made or a finding is not allowed.
    pub(super) fn new(
        plan: &'a SifPlan,
        session: Session<'a>,
        base: OpenBase,
    ) -> anyhow::Result<Self> {
        let scratch = session.scratch()?;
        base.check_context(session).check_base()?;
        match plan.input.content {
            SifContent::Conda(_) => {}
            SifContent::OnTop | SifContent::Nothing => {
                base.check_context(session).check_packages_of_base()?;
            }
        }
        Ok(Self {
            plan,
            session,
            base,
            scratch,
        })
    }

    fn build(self, inputs: LoadedInputs, runtime: Option<Runtime>) -> Build<'a> {
        let (input, output) = (&self.plan.input, &self.plan.output);
        Build {
            packages: &input.settings,
            inputs,
            venv: None,
            env_path: &input.env_path,
            destination: ImageDestination {
                path: &output.file,
                bytes_beside: super::base::size(self.base.path()),
            },
            has_wrappers: false,
            source_date_epoch: output.source_date_epoch,
            prepared: Prepared {
                session: self.session,
                base: self.base,
                runtime,
                scratch: self.scratch,
            },
        }
    }
}

/// Solves, fetches and links, and runs the steps that need the build container.
fn install_conda<'a>(
    asked: LoadedRequest<'a>,
    inputs: LoadedInputs,
    opened: Opened<'a>,
) -> anyhow::Result<(Build<'a>, Option<Installed>)> {
    let (plan, session) = (opened.plan, opened.session);
    let is_asked = asked.spec().is_some();
    let requested = Requested {
        asked,
        inputs,
        venv: None,
        settings: &plan.input.settings,
    };
    let overrides = &plan.input.settings.overrides;
    let target = find_target(&opened.base, overrides, session.report)?;
    let (environment, inputs, _) = requested.resolve(target, session.report)?;
    let runtime = session.find_runtime(&environment.container_steps(&inputs, None))?;
    let build = opened.build(inputs, runtime);
    let installed = build.install_conda(&environment, is_asked, &plan.output.mount_point)?;
    Ok((build, Some(installed)))
}

impl Build<'_> {
    /// Makes a conda environment in scratch. `is_asked` keeps the environment file, which there is
    /// not if only a lock was given.
    fn install_conda(
        &self,
        environment: &Environment,
        is_asked: bool,
        mount_point: &Path,
    ) -> anyhow::Result<Installed> {
        let spec = &environment.spec;
        let mount_point = MountPoint::Fixed(mount_point.to_owned());
        let made = self.make_prefix(environment, &mount_point)?;
        let lock = condense_prefix::render_lock(
            &made.solution,
            spec,
            made.finished.pip_report.as_deref(),
            &made.finished.pip_packages,
        )?
        .into_bytes();
        let input = Path::new(KEPT).join(INPUT);
        let mut kept = self.kept(&input);
        kept.push((Path::new(KEPT).join(LOCK), lock.clone()));
        if is_asked {
            kept.push((input, spec.text().as_bytes().to_vec()));
        }
        let scripts = made.finished.activation.dynamic.iter();
        Ok(Installed {
            environment: ContainerEnvironment {
                kind: EnvironmentKind::Conda,
                prefix: made.place.mounted_env(),
                conda: made.place.conda_command(),
                steps: made.finished.activation.steps.clone(),
                dynamic: scripts.map(PathBuf::from).collect(),
                has_python: made.solution.python().is_some(),
                packages: made.solution.len() + made.finished.pip_packages.len(),
            },
            newest: made.solution.newest_timestamp(),
            lock: Some(lock),
            kept,
            root: made.place.root,
        })
    }

    fn install_venv_on_top(&self, plan: &SifPlan) -> anyhow::Result<Installed> {
        let mount_point = &plan.output.mount_point;
        let made = self.install_on_top(mount_point)?;
        self.check_context()
            .check_result(&made.root, mount_point, &[])?;
        let list = Path::new(KEPT).join(INSTALLED);
        let mut kept = self.kept(&list);
        kept.push((list, made.installed));
        Ok(Installed {
            root: made.root,
            environment: made.environment,
            newest: None,
            lock: None,
            kept,
        })
    }

    /// Returns the files that were named beside the environment. `taken` is the path of another
    /// file.
    fn kept(&self, taken: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let kept = self.inputs.kept(Path::new(KEPT), taken).into_iter();
        kept.map(|(_, path, bytes)| (path, bytes)).collect()
    }
}
