//! Responsible for virtual environments: choosing the interpreter, and making an environment at its
//! mount point.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use condense_installation::{InterpreterOrigin, InterpreterRecord};
use condense_prefix::{HostPython, Interpreter, Place, Prefix, Solution, Uv, Venv};

use crate::{
    build::Build,
    environment::Environment,
    plan::{ExtraInputs, MountPoint, PythonChoice, VenvInput},
    prefix::Installed,
    report::Report,
};

/// Finds the interpreter that the user wants.
///
/// # Errors
/// Returns an error if the interpreter is not there or cannot carry an environment.
pub(super) fn choose(
    wanted: &VenvInput,
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
    /// Makes an environment without packages in scratch.
    ///
    /// # Errors
    /// Returns an error if the runtime cannot start or the environment cannot be made.
    pub(super) fn install_venv(
        &self,
        venv: &Venv,
        environment: &Environment,
        mount_point: &MountPoint,
    ) -> anyhow::Result<Installed> {
        let Environment { spec, target, .. } = environment;
        let root = self.scratch().join("root");
        fs_err::create_dir(&root)?;
        let solution = Solution::without_packages(target);
        let place = self.place(
            root,
            mount_point.path(|| condense_prefix::mount_point_suffix(spec, &solution)),
        );
        Place::check(&place.mount_point, &place.environment)?;
        fs_err::create_dir(&place.packages)?;
        let base_env_vars = self.prepared.probe(&place.root, &place.mount_point)?;
        let container = self
            .container(&place, self.interpreter_tree())
            .context("there is a runtime")?;
        let progress: &Report = self.report();
        let steps = venv.create(spec, &place, &container, progress)?;
        self.refuse_interrupted()?;
        Ok(Installed {
            place,
            solution,
            steps,
            base_env_vars,
        })
    }

    /// Returns the tree of the host's interpreter, which a base's view may hide.
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
