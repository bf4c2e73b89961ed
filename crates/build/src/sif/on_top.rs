//! Responsible for a virtual environment over the Python that a base image has: pip's packages
//! beside those that are there.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use condense_activation::ActivationStep;
use condense_installation::{ContainerEnvironment, EnvironmentKind};
use condense_prefix::{BUILD_DIR, Progress as _, StepRunner};
use condense_within::Within;

use super::super::{
    Build,
    container::{Container, Mounted},
};
use crate::plan::SifPlan;
use condense_diagnostics::UserError;

const SCRIPT: &str = include_str!("on_top.sh");
/// Lines of a failed step that are shown.
const TAIL: usize = 20;
/// In the environment: activates the base's conda, then the environment.
const ACTIVATE: &str = "bin/activate-with-conda";

/// What was made.
pub(super) struct OnTop {
    /// In scratch, what lies at the directory of environments.
    pub(super) root: PathBuf,
    pub(super) environment: ContainerEnvironment,
    /// What pip says is installed, line by line.
    pub(super) installed: Vec<u8>,
}

impl Build<'_> {
    /// Makes the environment in the build container.
    ///
    /// # Errors
    /// A base without Python, or whatever pip says.
    pub(super) fn install_on_top(&self, plan: &SifPlan) -> anyhow::Result<OnTop> {
        let Some(runtime) = &self.runtime else {
            bail!(UserError::new(
                "`--on-top` needs a container, and neither apptainer nor singularity is on PATH",
                "load the module of your container runtime",
            ));
        };
        let name = self.plan.env_path.display();
        self.report
            .info(format!("Installing over the image's Python: {name}"));
        let root = self.scratch.path().join("root");
        fs_err::create_dir_all(&root)?;
        let root_dir = Within::open(&root)?;
        let build_dir = root_dir.make_own_dir(BUILD_DIR)?;
        let mut lines = self.inputs.pip_lines().join("\n");
        lines.push('\n');
        build_dir.write("requirements.txt", lines)?;
        build_dir.write("on_top.sh", SCRIPT)?;
        build_dir.write("ask.sh", condense_prefix::ASK_SH)?;
        if let Some(command) = &self.facts.with_conda {
            build_dir.write("with-conda", format!("{command}\n"))?;
        }
        let prefix = plan.mount_point.join(&self.plan.env_path);
        let container = Container {
            runtime,
            base: self.base.path(),
            view: self.view,
            mounted: Mounted::Directory(&root),
            mount_point: &plan.mount_point,
            build_dir: build_dir.path(""),
            build_env: &self.plan.settings.build_env,
            shown: self.inputs.local_paths(),
            checks: Some(&self.plan.settings.checks),
            report: self.report,
        };
        let inside = plan.mount_point.join(BUILD_DIR);
        let shell = if self.facts.has_bash {
            "/bin/bash"
        } else {
            "/bin/sh"
        };
        let argv = [
            Path::new(shell),
            &inside.join("on_top.sh"),
            &prefix,
            &inside,
        ]
        .map(Into::into);
        let mut tail: Vec<String> = Vec::new();
        let status = container
            .run(&argv, &mut |line| {
                self.report.output(line);
                tail.push(line.to_owned());
                let surplus = tail.len().saturating_sub(TAIL);
                tail.drain(..surplus);
            })
            .map_err(|error| {
                anyhow::Error::from_boxed(error).context("the build container did not finish")
            })?;
        self.refuse_interrupted()?;
        if status != 0 {
            bail!(
                "`--on-top` ended with status {status}:\n{}",
                tail.join("\n").trim()
            );
        }
        let installed = build_dir.read_required("installed.txt")?;
        let packages = installed.split(|byte| *byte == b'\n');
        let packages = packages.filter(|line| !line.is_empty()).count();
        let mut steps = Vec::new();
        if let Some(command) = &self.facts.with_conda {
            let activate = prefix.join("bin/activate");
            let text = format!("{command}\n. {}\n", activate.display());
            root_dir
                .write(self.plan.env_path.join(ACTIVATE), text)
                .context("failed to write the activation")?;
            steps.push(ActivationStep::Set {
                name: "WITH_CONDA".to_owned(),
                value: format!(". {}", prefix.join(ACTIVATE).display()),
            });
        }
        self.report.info(format!(
            "Finished installing over the image's Python: {packages} packages"
        ));
        Ok(OnTop {
            root,
            environment: ContainerEnvironment {
                kind: EnvironmentKind::Venv,
                prefix,
                conda: None,
                steps,
                dynamic: Vec::new(),
                has_python: true,
                packages,
            },
            installed,
        })
    }
}
