//! Responsible for a virtual environment over the Python of a base image: pip's packages beside
//! those of the base.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use condense_activation::ActivationStep;
use condense_installation::{ContainerEnvironment, EnvironmentKind};
use condense_prefix::{
    BUILD_DIR, PipContext, Progress as _, StepRunner, explain_pip_failure, without_secrets,
};
use condense_within::Within;

use crate::{
    build::Build,
    container::{Container, Mounted},
};
use condense_diagnostics::UserError;

const SCRIPT: &str = include_str!("on_top.sh");
/// Number of lines of a failed step that are shown.
const TAIL: usize = 20;
/// Number of lines in which the reason of a failure is looked for.
const KEPT: usize = 5_000;
/// Path in the environment of the script that activates the base's conda, then the environment.
const ACTIVATE: &str = "bin/activate-with-conda";

/// A finished virtual environment.
pub(super) struct OnTop {
    /// Directory in scratch that becomes the directory of environments.
    pub(super) root: PathBuf,
    pub(super) environment: ContainerEnvironment,
    /// Packages that pip lists, one a line.
    pub(super) installed: Vec<u8>,
}

impl Build<'_> {
    /// Makes the environment in the build container.
    ///
    /// # Errors
    /// Returns an error if the base has no Python, or the error of pip.
    pub(super) fn install_on_top(&self, mount_point: &Path) -> anyhow::Result<OnTop> {
        let root = self.scratch().join("root");
        let Some(container) =
            self.prepared
                .container(Mounted::Directory(&root), mount_point, root.join(BUILD_DIR))
        else {
            bail!(UserError::new(
                "`--on-top` needs a container, and neither apptainer nor singularity is on PATH",
                "load the module of your container runtime",
            ));
        };
        let name = self.env_path.display();
        self.report()
            .info(format!("Installing over the image's Python: {name}"));
        fs_err::create_dir_all(&root)?;
        let root_dir = Within::open(&root)?;
        let build_dir = self.write_steps(&root_dir)?;
        let prefix = mount_point.join(self.env_path);
        let container = Container {
            build_dir: build_dir.path(""),
            shown: self.inputs.local_paths(),
            checks: Some(&self.settings().checks),
            ..container
        };
        let inside = mount_point.join(BUILD_DIR);
        let argv = [
            Path::new(self.prepared.base.shell()),
            &inside.join("on_top.sh"),
            &prefix,
            &inside,
        ]
        .map(Into::into);
        self.run_step(&container, &argv)?;
        let installed = build_dir.read_required("installed.txt")?;
        let packages = installed.split(|byte| *byte == b'\n');
        let packages = packages.filter(|line| !line.is_empty()).count();
        let steps = self.write_activation(&root_dir, &prefix)?;
        self.report().info(format!(
            "Finished installing over the image's Python: {packages} packages"
        ));
        drop(container);
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

    /// Writes the script and its inputs into the directory of build steps.
    fn write_steps(&self, root: &Within) -> anyhow::Result<Within> {
        let build_dir = root.make_own_dir(BUILD_DIR)?;
        let mut lines = self.inputs.pip_lines().join("\n");
        lines.push('\n');
        build_dir.write("requirements.txt", lines)?;
        build_dir.write("on_top.sh", SCRIPT)?;
        build_dir.write("ask.sh", condense_prefix::ASK_SH)?;
        if let Some(command) = &self.prepared.base.facts.with_conda {
            build_dir.write("with-conda", format!("{command}\n"))?;
        }
        Ok(build_dir)
    }

    /// Runs the script, and tells why it fails.
    fn run_step(&self, container: &Container, argv: &[OsString]) -> anyhow::Result<()> {
        let mut kept: Vec<String> = Vec::new();
        let status = container
            .run(argv, &mut |line| {
                self.report().output(line);
                kept.push(without_secrets(line).into_owned());
                let surplus = kept.len().saturating_sub(KEPT);
                kept.drain(..surplus);
            })
            .map_err(|error| {
                anyhow::Error::from_boxed(error).context("the build container did not finish")
            })?;
        self.refuse_interrupted()?;
        if status == 0 {
            return Ok(());
        }
        let lines: Vec<&str> = kept.iter().map(String::as_str).collect();
        let context = PipContext {
            dir: Some(container.build_dir.clone()),
            ..PipContext::default()
        };
        let step = "pip install".to_owned();
        let Some(failure) = explain_pip_failure(&lines, &context) else {
            let from = lines.len().saturating_sub(TAIL);
            bail!(
                "`--on-top` ended with status {status}:\n{}",
                lines[from..].join("\n").trim()
            );
        };
        let log = failure
            .needs_log
            .then(|| self.report().keep_log(&step, &lines));
        bail!(condense_prefix::Error::Step {
            step,
            status,
            reason: Some(failure.problem.into()),
            output: failure.details.join("\n"),
            log: log.flatten().map(Into::into),
            hint: failure.advice,
        })
    }

    /// Writes the script that activates the base's conda before the environment, if the base has
    /// one.
    fn write_activation(
        &self,
        root: &Within,
        prefix: &Path,
    ) -> anyhow::Result<Vec<ActivationStep>> {
        let Some(command) = &self.prepared.base.facts.with_conda else {
            return Ok(Vec::new());
        };
        let activate = prefix.join("bin/activate");
        let text = format!("{command}\n. {}\n", activate.display());
        root.write(self.env_path.join(ACTIVATE), text)
            .context("failed to write the activation")?;
        Ok(vec![ActivationStep::Set {
            name: "WITH_CONDA".to_owned(),
            value: format!(". {}", prefix.join(ACTIVATE).display()),
        }])
    }
}
