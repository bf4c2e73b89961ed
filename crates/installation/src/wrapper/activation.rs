//! Responsible for replaying an environment's activation in plain shell, without the environment's
//! own scripts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use condense_activation::{ActivationStep, ValuePart};

use crate::error::Result;
use crate::quote::{check_name, escape_in_expansion, quote};

/// Returns the steps of conda's own activation. They come before the steps of the environment's
/// scripts.
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

/// Returns the lines of `replay()` in common.sh.
///
/// Most variables reach the program because the runtime passes them on. The runtime does not pass
/// on some variables, and others would disturb the runtime itself. These are kept in `in_NAME` and
/// passed by the function `inside` of the wrapper. PATH and LD_LIBRARY_PATH are such variables,
/// too, but the wrapper passes them itself, because they exist without activation.
pub(super) fn render(
    steps: &[ActivationStep],
    base_env_vars: &BTreeMap<String, String>,
) -> Result<Vec<String>> {
    let guarded: BTreeSet<&str> = steps
        .iter()
        .flat_map(ActivationStep::names)
        .filter(|name| !is_wrappers_own(name) && is_guarded(name, base_env_vars))
        .collect();
    let changed: BTreeSet<&str> = steps.iter().map(ActivationStep::name).collect();
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
        // The program would see this value without activation: the base's value, or else the
        // host's.
        lines.push(match base_env_vars.get(*name) {
            Some(value) => format!("in_{name}={}", text(value)),
            None => format!("in_{name}=${{{name}-}}"),
        });
    }
    for step in steps {
        for name in step.names() {
            check_name(name)?;
        }
        lines.push(render_step(step, &shell_name));
    }
    for name in guarded.iter().filter(|name| changed.contains(*name)) {
        lines.push(format!("inside {name} \"$in_{name}\""));
    }
    Ok(lines)
}

/// Checks whether the wrapper passes this variable itself, with or without activation.
fn is_wrappers_own(name: &str) -> bool {
    matches!(name, "PATH" | "LD_LIBRARY_PATH")
}

/// Checks whether a variable must not be exported on the host, because it would change the
/// behaviour of the runtime, or because the base's value would replace it.
fn is_guarded(name: &str, base_env_vars: &BTreeMap<String, String>) -> bool {
    name.starts_with("LD_")
        // The runtimes are written in Go, and Go's run time reads these variables.
        || matches!(name, "GODEBUG" | "GOGC" | "GOMAXPROCS" | "GOMEMLIMIT" | "GOTRACEBACK" | "GOCOVERDIR")
        || matches!(name, "GLIBC_TUNABLES" | "TMPDIR" | "HOME")
        || base_env_vars.contains_key(name)
}

fn text(value: &str) -> String {
    // The input is valid UTF-8, so its quoted form is, too.
    quote(value).to_string_lossy().into_owned()
}

/// Renders a step as one line of shell. `shell_name` maps a variable to its name in the wrapper.
fn render_step(step: &ActivationStep, shell_name: &dyn Fn(&str) -> String) -> String {
    let assign = |name: &str, value: &str| {
        let target = shell_name(name);
        if target == name {
            format!("export {name}={value}")
        } else {
            format!("{target}={value}")
        }
    };
    match step {
        ActivationStep::Set { name, value } => assign(name, &text(value)),
        ActivationStep::Unset { name } if shell_name(name) == *name => format!("unset {name}"),
        // The runtime cannot remove a variable that the base sets. An empty value comes closest.
        ActivationStep::Unset { name } => format!("in_{name}="),
        ActivationStep::Default {
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
        ActivationStep::Join { name, parts } => {
            let value: String = parts
                .iter()
                .map(|part| render_part(part, shell_name))
                .collect();
            assign(name, &value)
        }
    }
}

fn render_part(part: &ValuePart, shell_name: &dyn Fn(&str) -> String) -> String {
    match part {
        ValuePart::Literal(literal) if literal.is_empty() => String::new(),
        ValuePart::Literal(literal) => text(literal),
        ValuePart::Variable {
            name,
            before,
            after,
        } => {
            let (before, after) = (escape_in_expansion(before), escape_in_expansion(after));
            let name = shell_name(name);
            format!("\"${{{name}:+{before}${{{name}}}{after}}}\"")
        }
        ValuePart::VariableOr { name, otherwise } => {
            format!(
                "\"${{{}:-{}}}\"",
                shell_name(name),
                escape_in_expansion(otherwise)
            )
        }
    }
}
