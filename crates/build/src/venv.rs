//! Responsible for virtual environments: choosing the interpreter, and making an environment at its
//! mount point.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use condense_diagnostics::UserError;
use condense_installation::{InterpreterOrigin, InterpreterRecord};
use condense_prefix::{HostPython, Interpreter, Place, Prefix, Solution, Uv, Venv};

use crate::{
    build::Build,
    environment::Environment,
    plan::{BaseChoice, ExtraInputs, MountPoint, PythonChoice, VenvInput},
    prefix::Installed,
    report::Report,
};

/// Finds the interpreter that the user wants.
///
/// # Errors
/// Returns an error if the interpreter is not there or cannot carry an environment.
pub(super) fn choose(
    wanted: &VenvInput,
    base: &BaseChoice,
    inputs: &ExtraInputs,
    search_path: &OsStr,
    report: &Report,
) -> anyhow::Result<Venv> {
    let interpreter = match &wanted.python {
        PythonChoice::Host(named) => {
            let python = HostPython::find(named.as_deref(), search_path)?;
            refuse_hidden(&python, base)?;
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

/// Refuses an interpreter in the system directories of this machine if programs see those of the
/// base.
fn refuse_hidden(python: &HostPython, base: &BaseChoice) -> anyhow::Result<()> {
    let BaseChoice::Named(reference) = base else {
        return Ok(());
    };
    if !is_of_system(python) {
        return Ok(());
    }
    bail!(UserError::new(
        format!(
            "`{}` of this machine is not there in the container, which has the system directories of `{reference}`",
            python.program.display()
        ),
        "leave out the base image, so that the container has those of this machine, or leave out `--interpreter`, so that the base's own Python is used",
    ));
}

/// Returns whether the interpreter is in the system directories, which the container either has as
/// a whole or not at all.
fn is_of_system(python: &HostPython) -> bool {
    let tree = python.tree();
    tree == Path::new("/usr") || tree == Path::new("/")
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
            }) if !is_of_system(python) => vec![python.tree().to_owned()],
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
