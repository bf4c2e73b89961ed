//! Responsible for the argument that names an installation, a generation, a SIF, an image or a
//! lock, and for suggestions when there is nothing of that name.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use anyhow::bail;
use condense_build::contents::{Contents, Subject, SubjectKind};
use condense_diagnostics::{UserError, closest};
use condense_env_vars::EnvVars;
use serde_json::{Value, json};

use super::{
    Context,
    installations::{find, names},
};

/// Opens what the user has named: a name in TYKKY_PATH or a path, with `@N` for a generation.
///
/// # Errors
/// Returns an error if there is nothing of this name, or if it has no packages.
pub(super) fn open(name: &Path, env_vars: &EnvVars) -> anyhow::Result<Subject> {
    let path = find(name, env_vars);
    let (path, generation) = if path.exists() {
        (path, None)
    } else {
        match split_generation(name.as_os_str()) {
            Some((name, number)) => (find(Path::new(&name), env_vars), Some(number)),
            None => (path, None),
        }
    };
    if !path.exists() {
        bail!(missing(
            name,
            "installation, image or lock",
            &path,
            env_vars
        ));
    }
    Subject::open(&path, generation)
}

/// Returns the path of what the user has named: an installation in TYKKY_PATH, or a path. `what`
/// says in words what may be named.
///
/// # Errors
/// Returns an error with a similar name if there is nothing of this name.
pub(super) fn existing(name: &Path, what: &str, env_vars: &EnvVars) -> anyhow::Result<PathBuf> {
    let path = find(name, env_vars);
    // A link that leads nowhere is there, and can be removed.
    if path.symlink_metadata().is_err() {
        bail!(missing(name, what, &path, env_vars));
    }
    Ok(path)
}

/// Opens what the user has named, and reads its packages.
///
/// # Errors
/// Returns the errors of [`open`] and [`Contents::load`].
pub(super) fn load(name: &Path, context: &Context) -> anyhow::Result<(Subject, Contents)> {
    let subject = open(name, context.env_vars)?;
    let contents = Contents::load(&subject)?;
    Ok((subject, contents))
}

/// Refuses a subject of another kind than `wanted`, which is in words for the user.
///
/// # Errors
/// Returns the error.
pub(super) fn refuse_kind(subject: &Subject, wanted: &str) -> anyhow::Result<()> {
    let kind = match subject.kind() {
        SubjectKind::Image => "a bare image",
        SubjectKind::Lock => "a lock",
        SubjectKind::Sif => "a container image",
        SubjectKind::Installation => "an installation",
    };
    let path = subject.path().display();
    bail!(UserError::new(
        format!("`{path}` is {kind}, and this command takes {wanted}"),
        match subject.kind() {
            SubjectKind::Image => format!(
                "`condense image` has commands for images, such as `condense image info {path}`"
            ),
            _ => format!("`condense packages {path}` lists its packages"),
        },
    ))
}

/// Splits `NAME@3` into the name and the number.
fn split_generation(name: &OsStr) -> Option<(OsString, u32)> {
    let bytes = name.as_bytes();
    let at = bytes.iter().rposition(|byte| *byte == b'@')?;
    let number = std::str::from_utf8(&bytes[at + 1..]).ok()?.parse().ok()?;
    Some((OsStr::from_bytes(&bytes[..at]).to_owned(), number))
}

/// Returns the error for a name that leads to nothing, with a name that the user may have meant.
pub(super) fn missing(name: &Path, what: &str, path: &Path, env_vars: &EnvVars) -> UserError {
    /// Ends of the names of files that commands take.
    const ENDS: [&str; 6] = ["sif", "yml", "yaml", "txt", "lock", "sqfs"];
    let word = name.to_string_lossy();
    let mut known = names(env_vars);
    let here = std::fs::read_dir(path.parent().unwrap_or(path));
    known.extend(here.into_iter().flatten().flatten().filter_map(|entry| {
        let is_ours = entry.path().join("common.sh").exists()
            || entry
                .path()
                .extension()
                .is_some_and(|end| ENDS.iter().any(|known| end == *known));
        let name = entry.file_name().to_string_lossy().into_owned();
        is_ours.then_some(name)
    }));
    let last = name.file_name().unwrap_or_default().to_string_lossy();
    let hint = match closest(&last, known.iter().map(String::as_str)) {
        Some(similar) => {
            let meant = name.with_file_name(similar);
            format!("did you mean `{}`?", meant.display())
        }
        None if word.contains('/') => "check the path".to_owned(),
        None => "`condense list` shows the installations in TYKKY_PATH; give a path for others"
            .to_owned(),
    };
    let message = if word.contains('/') {
        format!("`{word}` does not exist")
    } else {
        format!("there is no {what} `{word}`")
    };
    UserError::new(message, hint)
}

/// Returns the index of the package with this name.
///
/// # Errors
/// Returns an error with a similar name if there is no such package, or if several environments of
/// the image have one.
pub(super) fn package(name: &str, subject: &Subject, contents: &Contents) -> anyhow::Result<usize> {
    let found = contents.find(name);
    if let Some(first) = found.first() {
        return Ok(*first);
    }
    let hint = match contents.closest_name(name) {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => format!(
            "`condense packages {}` lists all packages",
            subject.path().display()
        ),
    };
    bail!(UserError::new(
        format!(
            "there is no package `{name}` in `{}`",
            subject.path().display()
        ),
        hint,
    ));
}

/// Returns the path of the subject with its generation, for titles.
pub(super) fn title(subject: &Subject) -> String {
    match subject.generation() {
        Some(number) => format!("{}@{number}", subject.path().display()),
        None => subject.path().display().to_string(),
    }
}

/// Returns the JSON object about a subject.
pub(super) fn as_json(subject: &Subject) -> Value {
    let path: PathBuf = subject.path().to_owned();
    json!({
        "path": path.to_string_lossy(),
        "kind": subject.kind().as_str(),
        "generation": subject.generation(),
    })
}

/// Returns whether sizes in the image are known.
pub(super) fn has_sizes(subject: &Subject) -> bool {
    subject.kind() != SubjectKind::Lock
}

#[cfg(test)]
mod tests {
    use super::split_generation;

    #[test]
    fn a_number_behind_the_last_at_sign_is_a_generation() {
        for (name, expected) in [
            ("env@2", Some(("env", 2))),
            ("a@b@12", Some(("a@b", 12))),
            ("./x/env@1", Some(("./x/env", 1))),
            ("env", None),
            ("env@", None),
            ("env@two", None),
        ] {
            let expected = expected.map(|(name, number)| (name.into(), number));
            assert_eq!(split_generation(name.as_ref()), expected, "{name}");
        }
    }
}
