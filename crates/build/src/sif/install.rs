//! Responsible for the environment of a SIF: loading the request for it, and installing it in
//! scratch.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    sync::Arc,
};

use condense_image::{ImageBlocks, KnownBlocks};
use condense_installation::{ContainerEnvironment, EnvironmentKind, FileRole, Runtime};
use condense_prefix::{
    CondaSettings, EnvironmentSpec, Held, ImageKind, LockContents, PipPackage, Recipe, Solution,
};

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
const REQUIREMENTS: &str = "requirements.txt";
const INSTALLED: &str = "installed.txt";

/// An environment in scratch, and its description.
pub(super) struct Installed {
    /// Directory in scratch that becomes the directory of environments.
    pub(super) root: PathBuf,
    /// Files of the conda environment that are held back outside of the directory.
    pub(super) held: Option<Held>,
    pub(super) environment: ContainerEnvironment,
    /// Time of the newest package, in seconds since 1970.
    pub(super) newest: Option<u32>,
    /// Facts from which the lock of conda's and pip's packages is written.
    pub(super) lock: Option<LockFacts>,
    /// Files that come first in the image, relative to the environment. `None` if nobody knows.
    pub(super) hot_files: Option<Vec<String>>,
    /// Blocks that were compressed while the start ran.
    pub(super) packed_ahead: Option<Arc<dyn KnownBlocks>>,
    /// Files that record how the image was made, each with its path in the image.
    pub(super) kept: Vec<(PathBuf, Vec<u8>)>,
}

/// Facts from which a lock is written when the base's digest is known.
pub(super) struct LockFacts {
    solution: Solution,
    asked: EnvironmentSpec,
    pip_report: Option<String>,
    pip_packages: Vec<PipPackage>,
    conda: CondaSettings,
    /// Properties of the image that the lock of this build describes.
    pub(super) of_lock: Option<Recipe>,
}

impl LockFacts {
    /// Returns the text of the lock of an image with these properties.
    ///
    /// # Errors
    /// Returns an error if pip's report cannot be understood.
    pub(super) fn render(&self, recipe: &Recipe) -> anyhow::Result<Vec<u8>> {
        let contents = LockContents {
            solution: &self.solution,
            spec: &self.asked,
            pip_report: self.pip_report.as_deref(),
            installed: &self.pip_packages,
            conda: &self.conda,
            recipe: Some(recipe),
        };
        Ok(contents.render()?.into_bytes())
    }
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
                asked.require(&inputs, report);
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
            conda_settings: CondaSettings::default(),
            venv: None,
            env_path: &input.env_path,
            destination: ImageDestination {
                path: &output.file,
                bytes_beside: super::base::size(self.base.path()),
            },
            has_wrappers: false,
            locked_hot_files: None,
            block_format: Some(super::base::block_format(&self.base.image)),
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
    let recipe = environment
        .of_lock
        .recipe(ImageKind::Sif, &plan.input.env_path);
    let build = Build {
        source_date_epoch: plan.output.source_date_epoch.or_else(|| recipe?.time),
        conda_settings: environment.conda_settings(&plan.input.settings),
        locked_hot_files: recipe.and_then(|recipe| recipe.hot_files.clone()),
        ..opened.build(inputs, runtime)
    };
    let installed = build.install_conda(&environment, recipe, &plan.output.mount_point)?;
    Ok((build, Some(installed)))
}

impl Build<'_> {
    /// Makes a conda environment in scratch. The files in which packages were asked for are kept,
    /// those of a lock as well as those that were given.
    fn install_conda(
        &self,
        environment: &Environment,
        of_lock: Option<&Recipe>,
        mount_point: &Path,
    ) -> anyhow::Result<Installed> {
        let spec = &environment.spec;
        let mount_point = MountPoint::Fixed(mount_point.to_owned());
        let made = self.make_prefix(environment, &mount_point)?;
        let mut kept = self.kept_scripts();
        for (name, text) in [
            (INPUT, spec.environment_file()),
            (REQUIREMENTS, spec.requirements_file().map(Cow::Borrowed)),
        ] {
            let text = text.map(|text| text.as_bytes().to_vec());
            kept.extend(text.map(|bytes| (Path::new(KEPT).join(name), bytes)));
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
            hot_files: made.hot_files,
            packed_ahead: made.packed_ahead.map(ImageBlocks::shared),
            kept,
            held: made.finished.held,
            root: made.place.root,
            lock: Some(LockFacts {
                solution: made.solution,
                asked: made.asked,
                pip_report: made.finished.pip_report,
                pip_packages: made.finished.pip_packages,
                conda: self.conda_settings.clone(),
                of_lock: of_lock.cloned(),
            }),
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
            held: None,
            environment: made.environment,
            newest: None,
            hot_files: None,
            packed_ahead: None,
            lock: None,
            kept,
        })
    }

    /// Returns the scripts that were given. Requirements come from the request, which a lock
    /// repeats.
    fn kept_scripts(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let taken = Path::new(KEPT).join(INPUT);
        let kept = self.inputs.kept(Path::new(KEPT), &taken).into_iter();
        kept.filter(|(role, ..)| *role != FileRole::Requirements)
            .map(|(_, path, bytes)| (path, bytes))
            .collect()
    }

    /// Returns the files that were named beside the environment. `taken` is the path of another
    /// file.
    fn kept(&self, taken: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let kept = self.inputs.kept(Path::new(KEPT), taken).into_iter();
        kept.map(|(role, path, bytes)| match role {
            FileRole::Requirements => (Path::new(KEPT).join(REQUIREMENTS), bytes),
            _ => (path, bytes),
        })
        .collect()
    }
}
