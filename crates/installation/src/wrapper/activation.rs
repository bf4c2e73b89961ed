//! Responsible for replaying an environment's activation in plain shell, without the environment's
//! own scripts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Result, check_name, escape_in_expansion, quote};

/// One thing that activating an environment does to the program's variables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationStep {
    /// Sets a variable, whatever it was.
    Set {
        /// The variable.
        name: String,
        /// Its value.
        value: String,
    },
    /// Takes a variable away.
    Unset {
        /// The variable.
        name: String,
    },
    /// Sets a variable that is not set.
    Default {
        /// The variable.
        name: String,
        /// Its value.
        value: String,
        /// Also when it is set but empty.
        or_empty: bool,
    },
    /// Puts a variable together from text and from what variables held before.
    Join {
        /// The variable.
        name: String,
        /// In their order.
        parts: Vec<Part>,
    },
}

/// A piece of a joined value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Text as it is.
    Literal(String),
    /// A variable's value with what separates it from the rest; nothing at all where it is unset or
    /// empty.
    Variable {
        /// The variable.
        name: String,
        /// Text in front of a value.
        before: String,
        /// Text behind a value.
        after: String,
    },
    /// A variable's value, or some text where it is unset or empty.
    VariableOr {
        /// The variable.
        name: String,
        /// The text.
        otherwise: String,
    },
}

/// What conda's own activation sets: to be put in front of what the environment's scripts do.
#[must_use]
pub fn conda_activation(env_prefix: &Path, env_name: &str) -> Vec<ActivationStep> {
    [
        ("CONDA_PREFIX", env_prefix.to_string_lossy().into_owned()),
        ("CONDA_DEFAULT_ENV", env_name.to_owned()),
        ("CONDA_SHLVL", "1".to_owned()),
        ("CONDA_PROMPT_MODIFIER", format!("({env_name}) ")),
    ]
    .map(|(name, value)| ActivationStep::Set {
        name: name.to_owned(),
        value,
    })
    .into()
}

/// The lines of `replay()` in common.sh.
///
/// Most variables reach the program because the runtime passes them on. Some do not or would
/// disturb the runtime itself: those live in `in_NAME` and are handed over by the wrapper's
/// `inside`. PATH and LD_LIBRARY_PATH are such, too, but the wrapper hands them over itself, for
/// they exist without activation.
pub(super) fn render(
    steps: &[ActivationStep],
    base_environment: &BTreeMap<String, String>,
) -> Result<Vec<String>> {
    let guarded: BTreeSet<&str> = steps
        .iter()
        .flat_map(ActivationStep::names)
        .filter(|name| !is_wrappers_own(name) && is_guarded(name, base_environment))
        .collect();
    let changed: BTreeSet<&str> = steps.iter().map(ActivationStep::target).collect();
    let shell_name = |name: &str| {
        if guarded.contains(name) || is_wrappers_own(name) {
            format!("in_{name}")
        } else {
            name.to_owned()
        }
    };
    let mut lines = Vec::new();
    for name in &guarded {
        check_name(name)?;
        // What the program would see without activation: the base's value, else the host's.
        lines.push(match base_environment.get(*name) {
            Some(value) => format!("in_{name}={}", text(value)),
            None => format!("in_{name}=${{{name}-}}"),
        });
    }
    for step in steps {
        for name in step.names() {
            check_name(name)?;
        }
        lines.push(step.render(&shell_name));
    }
    for name in guarded.iter().filter(|name| changed.contains(*name)) {
        lines.push(format!("inside {name} \"$in_{name}\""));
    }
    Ok(lines)
}

/// The wrapper hands these over with or without activation.
fn is_wrappers_own(name: &str) -> bool {
    matches!(name, "PATH" | "LD_LIBRARY_PATH")
}

/// Says whether a variable must not be exported on the host side: it would act on the runtime, or
/// the base's value would win.
fn is_guarded(name: &str, base_environment: &BTreeMap<String, String>) -> bool {
    name.starts_with("LD_")
        // Go's run time, in which the runtimes are written, reads them.
        || matches!(name, "GODEBUG" | "GOGC" | "GOMAXPROCS" | "GOMEMLIMIT" | "GOTRACEBACK" | "GOCOVERDIR")
        || matches!(name, "GLIBC_TUNABLES" | "TMPDIR" | "HOME")
        || base_environment.contains_key(name)
}

fn text(value: &str) -> String {
    // The input is a string, so its quoted form is one, too.
    quote(value).to_string_lossy().into_owned()
}

impl ActivationStep {
    fn target(&self) -> &str {
        match self {
            Self::Set { name, .. }
            | Self::Unset { name }
            | Self::Default { name, .. }
            | Self::Join { name, .. } => name,
        }
    }

    /// The variable that it changes and those that it reads.
    fn names(&self) -> Vec<&str> {
        let mut names = vec![self.target()];
        if let Self::Join { parts, .. } = self {
            names.extend(parts.iter().filter_map(|part| match part {
                Part::Literal(_) => None,
                Part::Variable { name, .. } | Part::VariableOr { name, .. } => Some(name.as_str()),
            }));
        }
        names
    }

    fn render(&self, shell_name: &dyn Fn(&str) -> String) -> String {
        let assign = |name: &str, value: &str| {
            let target = shell_name(name);
            if target == name {
                format!("export {name}={value}")
            } else {
                format!("{target}={value}")
            }
        };
        match self {
            Self::Set { name, value } => assign(name, &text(value)),
            Self::Unset { name } if shell_name(name) == *name => format!("unset {name}"),
            // The runtime cannot take away what the base sets; empty is the nearest.
            Self::Unset { name } => format!("in_{name}="),
            Self::Default {
                name,
                value,
                or_empty,
            } => {
                let colon = if *or_empty { ":" } else { "" };
                format!(
                    "[ \"${{{}{colon}+x}}\" ] || {}",
                    shell_name(name),
                    assign(name, &text(value))
                )
            }
            Self::Join { name, parts } => {
                let value: String = parts.iter().map(|part| part.render(shell_name)).collect();
                assign(name, &value)
            }
        }
    }
}

impl Part {
    fn render(&self, shell_name: &dyn Fn(&str) -> String) -> String {
        match self {
            Self::Literal(literal) if literal.is_empty() => String::new(),
            Self::Literal(literal) => text(literal),
            Self::Variable {
                name,
                before,
                after,
            } => {
                let (before, after) = (escape_in_expansion(before), escape_in_expansion(after));
                let name = shell_name(name);
                format!("\"${{{name}:+{before}${{{name}}}{after}}}\"")
            }
            Self::VariableOr { name, otherwise } => {
                format!(
                    "\"${{{}:-{}}}\"",
                    shell_name(name),
                    escape_in_expansion(otherwise)
                )
            }
        }
    }
}
