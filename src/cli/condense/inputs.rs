//! Responsible for the words of `condense new`, `condense build` and `condense update` that name a
//! file or packages.
//!
//! The form of a word decides, not the files that happen to be in the current directory: a word
//! with `/` is a file unless `::` is in it, and so is a word that ends in `.yml`, `.yaml`, `.txt`,
//! `.lock`, `.def` or `.toml`. Every other word is a package.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::bail;
use condense_build::plan::{CondaInput, Lock, PackageRequest};
use condense_diagnostics::{UserError, closest};
use condense_env_vars::EnvVars;
use condense_prefix::{EnvironmentSpec, Kind, without_secrets};

use crate::{cli::run_settings::spec_context, console::Console};

/// Ends of names that make a word a file.
const ENDS: [&str; 6] = ["yml", "yaml", "txt", "lock", "def", "toml"];
/// Packages whose names have one of these ends.
const PACKAGES: [&str; 1] = ["ruamel.yaml"];
/// Explanation of words that are files, for the help of the commands.
pub(super) const RULE: &str = "A word with `/`, or that ends in .yml, .yaml, .txt or .lock, is a \
FILE; every other word is a SPEC. `./NAME` names a file without such an end.";

/// Files and packages that the words of a command line name.
#[derive(Debug, Default)]
pub(in crate::cli) struct Inputs {
    pub(super) file: Option<InputFile>,
    pub(super) packages: Vec<String>,
}

/// Kind of a file of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum FileKind {
    /// An environment file, an `@EXPLICIT` file or a list of packages.
    Environment,
    /// A requirements file for pip.
    Requirements,
    /// A lock file of a solved environment.
    Lock,
}

/// File that a command line names, with the kind that its contents have.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InputFile {
    /// An environment file, an `@EXPLICIT` file or a list of packages.
    Environment(PathBuf),
    /// A requirements file for pip.
    Requirements(PathBuf),
    /// A lock file of a solved environment.
    Lock(PathBuf),
}

/// Packages of a new environment.
pub(super) struct Requested {
    pub(super) conda: CondaInput,
    pub(super) requirements: Option<PathBuf>,
}

/// Packages that an update adds.
pub(in crate::cli) struct Additions {
    /// Path of the environment file, if one is named.
    pub(in crate::cli) file: Option<PathBuf>,
    pub(in crate::cli) packages: Vec<String>,
    pub(in crate::cli) requirements: Option<PathBuf>,
}

/// Options that go with the words.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub(super) channels: Vec<String>,
    /// Channels for packages without a file if no option names a channel.
    pub(super) default_channels: Vec<String>,
    /// Requirements file of the option `-r`.
    pub(super) requirements: Option<PathBuf>,
    pub(super) lock: Option<Lock>,
    /// Whether there are requirements of `--pip`.
    pub(super) has_pip: bool,
}

impl Inputs {
    /// Sorts the words into a file and packages, and finds the kind of the file.
    ///
    /// # Errors
    /// Returns an error if there are several files, or if the file does not exist, cannot be read
    /// or is of a kind that has no packages.
    pub(in crate::cli) fn read(
        words: &[OsString],
        env_vars: &EnvVars,
        console: &Console,
    ) -> anyhow::Result<Self> {
        let mut found = Self::default();
        let mut path: Option<&Path> = None;
        for word in words {
            if is_file(word) {
                if let Some(first) = path {
                    let error = UserError::new(
                        format!(
                            "`{}` and `{}` are two files, and one is taken",
                            first.display(),
                            word.display()
                        ),
                        "name one FILE; `-r FILE` adds requirements for pip",
                    );
                    bail!(error.of_usage());
                }
                path = Some(Path::new(word));
                continue;
            }
            let package = word.to_string_lossy().into_owned();
            let number = found.packages.len() + 1;
            let place = format!("package {number} of the command line, ");
            check_spec(&package, &place)?;
            if env_vars.cwd.join(word).is_file() {
                console.warning(format!(
                    "`{package}` is taken for a package: `./{package}` names the file"
                ));
            }
            found.packages.push(package);
        }
        found.file = path.map(|path| classify(path, env_vars)).transpose()?;
        Ok(found)
    }

    /// Returns the packages of a new environment, or `None` if nothing is asked for.
    ///
    /// # Errors
    /// Returns an error for what cannot be combined.
    pub(super) fn request(self, beside: Beside) -> anyhow::Result<Option<Requested>> {
        let Beside {
            mut channels,
            default_channels,
            mut requirements,
            mut lock,
            has_pip,
        } = beside;
        let mut file = None;
        match self.file {
            None => {}
            Some(InputFile::Environment(path)) => file = Some(path),
            Some(InputFile::Requirements(path)) => {
                refuse_second("requirements file", "-r", requirements.as_deref(), &path)?;
                requirements = Some(path);
            }
            Some(InputFile::Lock(path)) => {
                let other = lock.as_ref().map(|lock| lock.path.as_path());
                refuse_second("lock file", "--lock", other, &path)?;
                lock = Some(Lock {
                    path,
                    environment: None,
                });
            }
        }
        let has_pip = has_pip || requirements.is_some();
        if file.is_none() && channels.is_empty() {
            channels = default_channels;
        }
        let request = PackageRequest {
            file,
            packages: self.packages,
            channels,
        };
        if let Some(lock) = &lock
            && request.file.is_none()
            && (!request.is_empty() || has_pip)
        {
            bail!(UserError::new(
                format!(
                    "`{}` is a lock: it has exactly its packages",
                    lock.path.display()
                ),
                "leave out the others, and add them afterwards with `condense update`",
            ));
        }
        let is_asked = request.file.is_some() || !request.packages.is_empty() || has_pip;
        let has_spec = is_asked && (lock.is_none() || request.file.is_some());
        let conda = CondaInput::new(has_spec.then_some(request), lock);
        Ok(conda.map(|conda| Requested {
            conda,
            requirements,
        }))
    }
}

impl Inputs {
    /// Returns what an update adds. `requirements` is the file of `-r`.
    ///
    /// # Errors
    /// Returns an error for a lock, and for two requirements files.
    pub(in crate::cli) fn additions(
        self,
        requirements: Option<PathBuf>,
    ) -> anyhow::Result<Additions> {
        let mut added = Additions {
            file: None,
            packages: self.packages,
            requirements,
        };
        match self.file {
            None => {}
            Some(InputFile::Environment(path)) => added.file = Some(path),
            Some(InputFile::Requirements(path)) => {
                let first = added.requirements.as_deref();
                refuse_second("requirements file", "-r", first, &path)?;
                added.requirements = Some(path);
            }
            Some(InputFile::Lock(path)) => bail!(UserError::new(
                format!(
                    "`{}` is a lock, which is for whole environments",
                    path.display()
                ),
                format!(
                    "`new --force` with `--lock {}` makes a generation of exactly its packages",
                    path.display()
                ),
            )),
        }
        Ok(added)
    }
}

fn refuse_second(
    what: &str,
    option: &str,
    first: Option<&Path>,
    second: &Path,
) -> anyhow::Result<()> {
    let Some(first) = first else { return Ok(()) };
    bail!(UserError::new(
        format!(
            "`{option} {}` and `{}` are two: a {what} is named once",
            first.display(),
            second.display()
        ),
        format!("leave out `{option}`"),
    ));
}

/// Refuses a package that no name and version can be read from. The message begins with `place`.
///
/// # Errors
/// Returns an error of the command line.
pub(super) fn check_spec(package: &str, place: &str) -> anyhow::Result<()> {
    EnvironmentSpec::check_package(package).map_err(|error| {
        let shown = without_secrets(package);
        let error = UserError::new(
            format!("{place}`{shown}`: {error}"),
            "a package is named as in `numpy`, `numpy=2`, `'numpy>=1.26,<3'` or `conda-forge::numpy`",
        );
        error.of_usage().into()
    })
}

/// Refuses an empty value of an option that may be given several times.
///
/// # Errors
/// Returns an error of the command line.
pub(in crate::cli) fn refuse_empty(option: &str, values: &[String]) -> anyhow::Result<()> {
    if values.iter().all(|value| !value.trim().is_empty()) {
        return Ok(());
    }
    let error = UserError::new(
        format!("a value of `{option}` is empty"),
        format!("leave out `{option}`, or check the variable that its value is in"),
    );
    bail!(error.of_usage())
}

/// Returns whether the form of a word makes it a file.
fn is_file(word: &OsString) -> bool {
    let text = word.to_string_lossy();
    if text.starts_with(['/', '.']) {
        return true;
    }
    if text.contains("::") || PACKAGES.contains(&&*text) {
        return false;
    }
    let end = Path::new(word).extension().map(|end| end.to_string_lossy());
    let is_end = |end: &str| ENDS.iter().any(|known| end.eq_ignore_ascii_case(known));
    text.contains('/') || end.is_some_and(|end| is_end(&end))
}

/// Finds the kind of a file.
///
/// # Errors
/// Returns an error if the file does not exist, or has no packages.
fn classify(path: &Path, env_vars: &EnvVars) -> anyhow::Result<InputFile> {
    let absolute = env_vars.cwd.join(path);
    let shown = path.display();
    if !absolute.exists() || absolute.is_dir() {
        bail!(missing(path, &absolute));
    }
    if has_end(path, "def") {
        bail!(UserError::new(
            format!("`{shown}` is a definition file, not a file of packages"),
            format!("`condense build {shown} OUT.sif` makes an image of it"),
        ));
    }
    if has_end(path, "sif") || has_end(path, "sqfs") {
        bail!(UserError::new(
            format!("`{shown}` is an image, not a file of packages"),
            format!("name a base image with `--base-image {shown}`"),
        ));
    }
    Ok(match kind_of(&absolute, env_vars)? {
        FileKind::Environment => InputFile::Environment(path.to_owned()),
        FileKind::Requirements => InputFile::Requirements(path.to_owned()),
        FileKind::Lock => InputFile::Lock(path.to_owned()),
    })
}

/// Returns the kind of a file of packages. A pipe, which can be read only once, is taken for an
/// environment file.
///
/// # Errors
/// Returns an error if the file cannot be read or understood.
pub(in crate::cli) fn kind_of(
    path: &Path,
    env_vars: &EnvVars,
) -> Result<FileKind, condense_prefix::Error> {
    let is_plain = path.metadata().is_ok_and(|metadata| metadata.is_file());
    if is_plain && is_lock(path) {
        return Ok(FileKind::Lock);
    }
    if is_plain
        && EnvironmentSpec::load_by_name(path, &spec_context(env_vars))?.kind()
            == Kind::Requirements
    {
        return Ok(FileKind::Requirements);
    }
    Ok(FileKind::Environment)
}

/// Returns whether a file is a condense.lock, a pixi.lock or a conda-lock.yml, by the keys at the
/// beginnings of its lines.
fn is_lock(path: &Path) -> bool {
    let text = condense_input::read_named_to_string(path, condense_input::TEXT_MOST);
    let text = text.unwrap_or_default();
    let has = |key: &str| text.lines().any(|line| line.starts_with(key));
    has("version:") && (has("packages:") || has("package:")) && !has("dependencies:")
}

fn has_end(path: &Path, end: &str) -> bool {
    path.extension()
        .is_some_and(|found| found.eq_ignore_ascii_case(end))
}

/// Returns the error for a file that does not exist, with a similar name in its directory.
fn missing(path: &Path, absolute: &Path) -> UserError {
    let problem = if absolute.is_dir() {
        "is a directory, not a file of packages"
    } else {
        "does not exist"
    };
    let entries = absolute
        .parent()
        .and_then(|dir| std::fs::read_dir(dir).ok());
    let names: Vec<String> = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let hint = match closest(&name, names.iter().map(String::as_str)) {
        Some(similar) if !absolute.is_dir() => {
            format!("did you mean `{}`?", path.with_file_name(similar).display())
        }
        _ => "name an environment file, a requirements file or a lock".to_owned(),
    };
    UserError::new(format!("`{}` {problem}", path.display()), hint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_form_of_a_word_makes_it_a_file_or_a_package() {
        for (word, expected) in [
            ("environment.yml", true),
            ("env.YAML", true),
            ("requirements.txt", true),
            ("condense.lock", true),
            ("dir/env", true),
            ("./numpy", true),
            ("/dev/fd/63", true),
            ("..", true),
            ("numpy", false),
            ("numpy=2", false),
            ("python>=3.12", false),
            ("conda-forge::numpy", false),
            ("https://c.org/x::numpy", false),
            ("ruamel.yaml", false),
            ("ruamel.yaml=0.18", false),
        ] {
            assert_eq!(is_file(&word.into()), expected, "{word}");
        }
    }

    #[test]
    fn the_contents_of_a_file_have_its_kind() {
        let dir = tempfile::tempdir().unwrap();
        let env_vars = EnvVars::of(&[]);
        for (name, text, expected) in [
            ("env.yml", "dependencies: [python]\n", FileKind::Environment),
            ("list.txt", "numpy\n", FileKind::Environment),
            (
                "exact.txt",
                "@EXPLICIT\nhttps://c.org/noarch/a-1-0.conda\n",
                FileKind::Environment,
            ),
            ("requirements.txt", "rich\n", FileKind::Requirements),
            (
                "needs.txt",
                "rich==1 ; python_version > '3'\n",
                FileKind::Requirements,
            ),
            (
                "pixi.lock",
                "version: 6\nenvironments: {}\npackages: []\n",
                FileKind::Lock,
            ),
            (
                "conda-lock.yml",
                "version: 1\nmetadata: {}\npackage: []\n",
                FileKind::Lock,
            ),
        ] {
            let path = dir.path().join(name);
            fs_err::write(&path, text).unwrap();
            assert_eq!(kind_of(&path, &env_vars).unwrap(), expected, "{name}");
        }
    }
}
