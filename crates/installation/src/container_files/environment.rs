//! Responsible for the script that makes an environment active in a container, without conda and
//! without a process of its own.
//!
//! Apptainer and Singularity run it in a shell that they have built in. That one keeps a backslash
//! between quotes in assignments, and takes the whole run down with `exit`, so neither is written
//! here. It sees nothing of the host's variables; one that it sets to nothing is taken away from
//! the program.

use std::path::{Path, PathBuf};

use crate::wrapper::check_name;
use crate::{ActivationStep, Part, Result, conda_activation};

/// A variable of the script's own.
const SCRATCH: &str = "condense_value";

/// Whose environment it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvironmentKind {
    /// conda's.
    Conda,
    /// A virtual one, over another Python.
    Venv,
}

impl EnvironmentKind {
    /// The variable that says where the active environment is.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::Conda => "CONDA_PREFIX",
            Self::Venv => "VIRTUAL_ENV",
        }
    }
}

/// An environment in a container.
#[derive(Clone, Debug)]
pub struct ContainerEnvironment {
    /// Whose it is.
    pub kind: EnvironmentKind,
    /// Where it is.
    pub prefix: PathBuf,
    /// Where its `conda` command is, if it has one.
    pub conda: Option<PathBuf>,
    /// What activating it does, beside what conda or Python themselves do.
    pub steps: Vec<ActivationStep>,
    /// Scripts that must run at every start.
    pub dynamic: Vec<PathBuf>,
    /// Whether it has a Python.
    pub has_python: bool,
    /// How many packages it has.
    pub packages: usize,
}

impl ContainerEnvironment {
    fn name(&self) -> String {
        let name = self.prefix.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The lines that make it active, for a POSIX shell.
    ///
    /// # Errors
    /// A variable that no shell can set.
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
                // There is no other that a conda could have.
                of_conda.push(set("CONDA_PYTHON_EXE", self.prefix.join("bin/python")));
            }
        }
        let path = quote_path(Path::new(&path));
        let mut lines = vec![
            "# Written by condense: what activating the environment sets.".to_owned(),
            // Lines of the environment's own scripts may ask for it.
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

fn render_step(step: &ActivationStep) -> Result<Vec<String>> {
    Ok(match step {
        ActivationStep::Set { name, value } => {
            check_name(name)?;
            vec![format!("export {name}={}", quote(value))]
        }
        // Unset alone would bring back what the host says.
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

fn render_part(part: &Part) -> Result<String> {
    Ok(match part {
        Part::Literal(text) => format!("{SCRATCH}=\"${SCRATCH}\"{}", quote(text)),
        Part::Variable {
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
        Part::VariableOr { name, otherwise } => {
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
