//! Responsible for the script that makes an environment active in a container, without conda and
//! without starting a process.
//!
//! Apptainer and Singularity run the script in a shell that is built into the runtime. That shell
//! keeps a backslash between quotes in assignments, and `exit` ends the whole run, so the script
//! has neither. The shell sees none of the host's variables. If the script sets a variable to the
//! empty string, the runtime removes the variable from the program's environment.

use std::path::{Path, PathBuf};

use crate::quote::check_name;
use condense_activation::{ActivationStep, ValuePart};

use crate::{Result, conda_activation};

/// Name of a temporary variable of the script.
const SCRATCH: &str = "condense_value";

/// Kind of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvironmentKind {
    /// An environment made of conda packages.
    Conda,
    /// A Python virtual environment on top of another Python.
    Venv,
}

impl EnvironmentKind {
    /// Returns the name of the variable that holds the prefix of the active environment.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::Conda => "CONDA_PREFIX",
            Self::Venv => "VIRTUAL_ENV",
        }
    }
}

/// An environment in a container image.
#[derive(Clone, Debug)]
pub struct ContainerEnvironment {
    /// Kind of the environment.
    pub kind: EnvironmentKind,
    /// Prefix of the environment in the container.
    pub prefix: PathBuf,
    /// Path of its `conda` command, if it has one.
    pub conda: Option<PathBuf>,
    /// Activation steps beside those of conda or of the virtual environment.
    pub steps: Vec<ActivationStep>,
    /// Activation scripts that must run at every start.
    pub dynamic: Vec<PathBuf>,
    /// Whether the environment has a Python.
    pub has_python: bool,
    /// Number of packages in the environment.
    pub packages: usize,
}

impl ContainerEnvironment {
    fn name(&self) -> String {
        let name = self.prefix.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Returns the lines for a POSIX shell that make the environment active.
    ///
    /// # Errors
    /// Returns [`Error::Value`](crate::Error::Value) if an activation step has a variable name that
    /// no shell can set.
    pub fn script(&self) -> Result<String> {
        let mut path = self.prefix.join("bin").into_os_string();
        let mut of_conda = Vec::new();
        if let Some(conda) = &self.conda {
            let root = conda.parent().and_then(Path::parent);
            path.push(":");
            path.push(root.unwrap_or(Path::new("/")).join("condabin"));
            let set = |name: &str, value: PathBuf| ActivationStep::Set {
                name: name.to_owned(),
                value: value.to_string_lossy().into_owned(),
            };
            of_conda.push(set("CONDA_EXE", conda.clone()));
            if self.has_python {
                // The environment's own Python is the only one that a conda in it could use.
                of_conda.push(set("CONDA_PYTHON_EXE", self.prefix.join("bin/python")));
            }
        }
        let path = quote_path(Path::new(&path));
        let mut lines = vec![
            "# Written by condense: the variables that activating the environment sets.".to_owned(),
            // PATH is set first, because the environment's own scripts may read it.
            format!("export PATH={path}${{PATH:+:}}\"${{PATH:-}}\""),
        ];
        let of_kind = match self.kind {
            EnvironmentKind::Conda => conda_activation(&self.prefix, &self.name()),
            EnvironmentKind::Venv => vec![ActivationStep::Set {
                name: self.kind.variable().to_owned(),
                value: self.prefix.to_string_lossy().into_owned(),
            }],
        };
        for step in of_kind.iter().chain(&of_conda).chain(&self.steps) {
            lines.extend(render_step(step)?);
        }
        for script in &self.dynamic {
            lines.push(format!(". {}", quote_path(script)));
        }
        Ok(lines.join("\n") + "\n")
    }

    pub(super) fn render_test(&self) -> String {
        let prefix = quote_path(&self.prefix);
        let mut text = format!(
            "# Written by condense: the environment is active, and its Python starts.\n\
             if [ \"${{{}:-}}\" != {prefix} ]; then\n    echo \"the environment is not active\" >&2\n    exit 1\nfi\n",
            self.kind.variable()
        );
        if self.has_python {
            text.push_str(&format!(
                "{} -c 'import sys' || exit 1\n",
                quote_path(&self.prefix.join("bin/python"))
            ));
        }
        text
    }

    pub(super) fn render_help(&self) -> String {
        let (kind, lock) = match self.kind {
            EnvironmentKind::Conda => ("conda environment", "condense.lock"),
            EnvironmentKind::Venv => ("virtual environment", "installed.txt"),
        };
        format!(
            "The {kind} {} of {} packages is active: commands of it run by their names.\n\
             What is in it stands in /.singularity.d/condense/{lock}. It was put into its base by `cotainr build` of condense.\n",
            self.prefix.display(),
            self.packages
        )
    }
}

/// Returns the line that makes a directory the last one of PATH. An image may be the base of
/// another one, whose script has the line twice.
pub(super) fn render_end_of_path(dir: &Path) -> String {
    let dir = quote_path(dir);
    format!(
        "case \":${{PATH:-}}:\" in *:{dir}:*) ;; *) export PATH=\"${{PATH:-}}${{PATH:+:}}\"{dir} ;; esac\n"
    )
}

fn render_step(step: &ActivationStep) -> Result<Vec<String>> {
    Ok(match step {
        ActivationStep::Set { name, value } => {
            check_name(name)?;
            vec![format!("export {name}={}", quote(value))]
        }
        // `unset` alone would bring back the host's value.
        ActivationStep::Unset { name } => {
            check_name(name)?;
            vec![format!("export {name}=")]
        }
        ActivationStep::Default {
            name,
            value,
            or_empty,
        } => {
            check_name(name)?;
            let condition = if *or_empty {
                format!("[ -n \"${{{name}:-}}\" ]")
            } else {
                format!("[ -n \"${{{name}+set}}\" ]")
            };
            vec![format!("{condition} || export {name}={}", quote(value))]
        }
        ActivationStep::Join { name, parts } => {
            check_name(name)?;
            let mut lines = vec![format!("{SCRATCH}=")];
            for part in parts {
                lines.push(render_part(part)?);
            }
            lines.push(format!("export {name}=\"${SCRATCH}\""));
            lines.push(format!("unset {SCRATCH}"));
            lines
        }
    })
}

fn render_part(part: &ValuePart) -> Result<String> {
    Ok(match part {
        ValuePart::Literal(text) => format!("{SCRATCH}=\"${SCRATCH}\"{}", quote(text)),
        ValuePart::Variable {
            name,
            before,
            after,
        } => {
            check_name(name)?;
            format!(
                "[ -z \"${{{name}:-}}\" ] || {SCRATCH}=\"${SCRATCH}\"{}\"${name}\"{}",
                quote(before),
                quote(after)
            )
        }
        ValuePart::VariableOr { name, otherwise } => {
            check_name(name)?;
            format!(
                "if [ -n \"${{{name}:-}}\" ]; then {SCRATCH}=\"${SCRATCH}${name}\"; else {SCRATCH}=\"${SCRATCH}\"{}; fi",
                quote(otherwise)
            )
        }
    })
}

fn quote_path(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

pub(super) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}
