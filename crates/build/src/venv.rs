//! Responsible for virtual environments: which interpreter they are on, and making one where the
//! mount point will be.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use condense_installation::{InterpreterOrigin, InterpreterRecord};
use condense_prefix::{
    EnvironmentSpec, HostPython, Interpreter, Place, Prefix, Solution, Target, Uv, Venv,
};

use super::{Build, install::Installed};
use crate::{
    plan::{ExtraInputs, PythonChoice, VenvPlan},
    report::Report,
};

/// Finds the interpreter that the user wants.
///
/// # Errors
/// One that is not there, or that carries nothing.
pub(super) fn choose(
    wanted: &VenvPlan,
    inputs: &ExtraInputs,
    search_path: &OsStr,
    report: &Report,
) -> anyhow::Result<Venv> {
    let interpreter = match &wanted.python {
        PythonChoice::Host(named) => {
            let python = HostPython::find(named.as_deref(), search_path)?;
            report.info(format!(
                "Python {} of this machine stays where it is: {}",
                python.version,
                python.program.display()
            ));
            Interpreter::Host(python)
        }
        PythonChoice::OfBase(name) => Interpreter::OfBase(name.clone()),
        PythonChoice::Managed(version) => Interpreter::Managed {
            version: version.clone(),
            uv: inputs.uv_program.clone().map_or(Uv::OfIndex, Uv::Program),
        },
    };
    Ok(Venv {
        interpreter,
        system_site_packages: wanted.system_site_packages,
    })
}

impl Build<'_> {
    /// An environment without packages, in scratch.
    pub(super) fn install_venv(
        &self,
        venv: &Venv,
        spec: &EnvironmentSpec,
        target: &Target,
        mount_point: Option<PathBuf>,
    ) -> anyhow::Result<Installed> {
        let root = self.scratch.path().join("root");
        fs_err::create_dir(&root)?;
        let solution = Solution::without_packages(target);
        let place = Place {
            root,
            mount_point: mount_point.unwrap_or_else(|| {
                format!(
                    "{}_{}",
                    self.plan.installation_path,
                    condense_prefix::mount_point_suffix(spec, &solution)
                )
                .into()
            }),
            environment: self.plan.env_path.clone(),
            packages: self.scratch.path().join("packages"),
        };
        Place::check(&place.mount_point, &place.environment)?;
        fs_err::create_dir(&place.packages)?;
        let base_environment = self.probe(&place.root, &place.mount_point)?;
        let container = self
            .container(&place, self.interpreter_tree())
            .context("there is a runtime")?;
        let progress: &Report = self.report;
        let steps = venv.create(spec, &place, &container, progress)?;
        self.refuse_interrupted()?;
        Ok(Installed {
            place,
            solution,
            steps,
            base_environment,
        })
    }

    /// The host's interpreter needs its own tree, which a base's view may hide.
    pub(super) fn interpreter_tree(&self) -> Vec<PathBuf> {
        match &self.venv {
            Some(Venv {
                interpreter: Interpreter::Host(python),
                ..
            }) if python.tree() != Path::new("/usr") && python.tree() != Path::new("/") => {
                vec![python.tree().to_owned()]
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn interpreter_record(&self, prefix: &Prefix) -> Option<InterpreterRecord> {
        let (path, version) = prefix.interpreter()?;
        let origin = match &self.venv.as_ref()?.interpreter {
            Interpreter::Host(_) => InterpreterOrigin::Host,
            Interpreter::OfBase(_) => InterpreterOrigin::Base,
            Interpreter::Managed { .. } => InterpreterOrigin::Image,
        };
        Some(InterpreterRecord {
            path: path.to_owned(),
            version: version.to_owned(),
            origin,
        })
    }
}
