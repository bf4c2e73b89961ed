//! Responsible for the variables that need no script: those of packages and those of the
//! environment itself.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{
    Error,
    capture::{files, unreadable},
};
use crate::within::Within;

/// What conda writes for a variable that was taken back: it is as if nobody had set it.
const UNSET: &str = "***unset***";

/// Set by the wrapper. conda ignores `PATH` here too.
const RESERVED: [&str; 5] = [
    "PATH",
    "CONDA_PREFIX",
    "CONDA_DEFAULT_ENV",
    "CONDA_SHLVL",
    "CONDA_PROMPT_MODIFIER",
];

/// Reads `etc/conda/env_vars.d/*.json` by name, then `conda-meta/state`: later ones win, in the
/// place of the earlier.
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
            // As Python prints them, since conda does.
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

/// Whether a shell can export it.
pub(super) fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// Read by deactivation only.
pub(super) fn is_backup(name: &str) -> bool {
    name.starts_with("CONDA_BACKUP_") || name.starts_with("_CONDA_SET_")
}

/// Named like a copy of an old value; whether it is one, its value tells.
pub(super) fn may_be_backup(name: &str) -> bool {
    name.ends_with("_BACKUP") || name.ends_with("_PREV")
}

/// Set by the wrapper: no script may change them, and no step does.
pub(super) fn is_the_wrappers(name: &str) -> bool {
    name != "PATH" && RESERVED.contains(&name)
}

/// Changed by every shell for itself.
pub(super) fn is_the_shells(name: &str) -> bool {
    matches!(name, "_" | "SHLVL" | "PWD" | "OLDPWD" | "PS1")
}
