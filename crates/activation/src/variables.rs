//! Responsible for reading the variables that need no script: those that packages and the
//! environment declare.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{
    Error,
    capture::{files, unreadable},
};
use condense_within::Within;

/// Value that conda writes for an unset variable; such a variable counts as never declared.
const UNSET: &str = "***unset***";

/// Variables that the wrapper sets. conda ignores a declared `PATH` as well.
const RESERVED: [&str; 5] = [
    "PATH",
    "CONDA_PREFIX",
    "CONDA_DEFAULT_ENV",
    "CONDA_SHLVL",
    "CONDA_PROMPT_MODIFIER",
];

/// Reads `etc/conda/env_vars.d/*.json` by name, then `conda-meta/state`. A later value replaces an
/// earlier one and keeps its position.
pub(super) fn load(env_dir: &Within) -> Result<Vec<(String, String)>, Error> {
    let mut variables: Vec<(String, String)> = Vec::new();
    for path in files(env_dir, "etc/conda/env_vars.d", "json")? {
        if let Some(text) = env_dir.read(&path).map_err(unreadable)? {
            let path = env_dir.path(path);
            let parsed = serde_json::from_slice(&text).map_err(|source| Error::Parse {
                path: path.clone(),
                source,
            })?;
            merge(&mut variables, parsed, &path)?;
        }
    }
    let path: PathBuf = env_dir.path("conda-meta/state");
    if let Some(text) = env_dir.read("conda-meta/state").map_err(unreadable)? {
        #[derive(serde::Deserialize)]
        struct State {
            #[serde(default)]
            env_vars: Map<String, Value>,
        }
        let state: State = serde_json::from_slice(&text).map_err(|source| Error::Parse {
            path: path.clone(),
            source,
        })?;
        merge(&mut variables, state.env_vars, &path)?;
    }
    variables.retain(|(name, value)| value != UNSET && !RESERVED.contains(&name.as_str()));
    Ok(variables)
}

fn merge(
    variables: &mut Vec<(String, String)>,
    parsed: Map<String, Value>,
    path: &Path,
) -> Result<(), Error> {
    for (name, value) in parsed {
        let refuse = |why| Error::Variable {
            path: path.to_owned(),
            name: name.clone(),
            why,
        };
        if !is_name(&name) {
            return Err(refuse("is not a name that a shell can export"));
        }
        let value = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            // conda writes booleans as Python prints them.
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(refuse("has a value that is not text"));
            }
        };
        if value.contains('\0') {
            return Err(refuse("has a value with a NUL byte"));
        }
        match variables.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => variables.push((name, value)),
        }
    }
    Ok(())
}

/// Returns whether a shell can export a variable of this name.
pub(super) fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// Returns whether only deactivation reads the variable.
pub(super) fn is_backup(name: &str) -> bool {
    name.starts_with("CONDA_BACKUP_") || name.starts_with("_CONDA_SET_")
}

/// Returns whether the variable is named like a copy of an old value; only its value shows whether
/// it is one.
pub(super) fn may_be_backup(name: &str) -> bool {
    name.ends_with("_BACKUP") || name.ends_with("_PREV")
}

/// Returns whether the wrapper sets the variable: no script may change it, and no step does.
pub(super) fn is_the_wrappers(name: &str) -> bool {
    name != "PATH" && RESERVED.contains(&name)
}

/// Returns whether every shell changes the variable for itself.
pub(super) fn is_the_shells(name: &str) -> bool {
    matches!(name, "_" | "SHLVL" | "PWD" | "OLDPWD" | "PS1")
}
