//! Responsible for opening packages. An archive is unpacked into its own directory or into a spool,
//! the metadata in it are checked, and the files that may be linked are returned. No file of a
//! package is linked, followed or written elsewhere before that.
//!
//! rattler's linker uses `_path` unchecked, removes the file at that path, and follows links on the
//! way. It therefore gets only files that the archive contains, at paths that stay inside the
//! environment.

mod archive;
mod contents;
mod kept;
mod listing;
mod path;
mod store;

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use rattler::install::{PythonInfo, python_entry_point_template};
use rattler_conda_types::{
    RepoDataRecord,
    package::{EntryPoint, FileMode, IndexJson, PackageFile},
};
use sha2::{Digest as _, Sha256};

use crate::{error::Error, spool::Spool};
pub(crate) use archive::Digests;
pub(crate) use contents::{Contents, Kind};
pub(crate) use kept::KeptPackage;
pub use kept::{KeptPackages, NewPackage, is_whole_package};
use listing::{Index, Link, Listed, Problem};
pub(crate) use path::{judged_path, lossy, shown_path};
pub(crate) use store::Spooled;

/// Directory in an archive with the commands of noarch packages. It is linked as `bin`.
const SCRIPTS: &str = "python-scripts";

/// Reasons why an archive cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The package contains a path that packages must not contain.
    #[error("`{path}` {problem}")]
    Refused { path: String, problem: String },
    /// The file is not an archive, or is damaged.
    #[error(transparent)]
    Archive(Box<dyn std::error::Error + Send + Sync>),
    /// A file operation failed.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("interrupted")]
    Interrupted,
}

impl Fault {
    fn archive(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Archive(error.into())
    }

    fn refused(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Refused {
            path: path.into(),
            problem: problem.into(),
        }
    }

    fn refused_path(path: &Path, problem: impl Into<String>) -> Self {
        Self::refused(shown_path(path), problem)
    }

    /// Returns the refusal for a mistake in one of the files of `info/`.
    fn listed(file: &str, problem: Problem) -> Self {
        match problem.path {
            Some(path) => Self::refused(path, format!("of {file} {}", problem.text)),
            None => Self::refused(file, problem.text),
        }
    }

    fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// Converts the fault into an error with the package's name.
    pub(crate) fn into_error(self, record: &RepoDataRecord) -> Error {
        let package = record.identifier.to_file_name();
        match self {
            Self::Refused { path, problem } => Error::Refused {
                package,
                path,
                problem,
            },
            Self::Archive(source) => Error::Install { package, source },
            Self::Io {
                action,
                path,
                source,
            } => Error::Io {
                action,
                path,
                source,
            },
            Self::Interrupted => Error::Interrupted,
        }
    }
}

/// A file, link or empty directory that will be linked into the environment.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Path in the archive.
    pub(crate) path: PathBuf,
    /// Path in the environment.
    pub(crate) target: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) placeholder: Option<(FileMode, String)>,
    pub(crate) no_link: bool,
    pub(crate) sha256: Option<[u8; 32]>,
    pub(crate) bytes: Option<u64>,
    /// True for the script of an entry point, which condense generates.
    pub(crate) is_command: bool,
    /// True for a file or link that is held back in the spool instead of being linked.
    pub(crate) is_held: bool,
}

/// An unpacked package that passed the checks.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) contents: Contents,
    pub(crate) entries: Vec<Entry>,
    pub(crate) is_noarch_python: bool,
    /// Name in the package's own `info/index.json`.
    pub(crate) own_name: Option<String>,
}

/// Unpacks an archive into the new directory `root`, or into the spool if there is one. The flag
/// beside the spool says whether the package may be kept, see [`to_keep`].
///
/// # Errors
/// Returns a [`Fault`] if the archive is damaged or not allowed, or if a file operation fails.
pub(crate) fn unpack(
    archive: &Path,
    root: &Path,
    spool: Option<(&Arc<Spool>, bool)>,
    with_md5: bool,
    stopped: &dyn Fn() -> bool,
) -> Result<(Contents, Digests), Fault> {
    Contents::unpack(archive, root, spool, with_md5, stopped)
}

/// Returns the contents of a package that an earlier build has unpacked. `root` is the directory of
/// those that become files.
pub(crate) fn restore(kept: KeptPackage, root: &Path, spool: &Arc<Spool>) -> Contents {
    Contents::of_kept(kept, root, spool)
}

/// Lists an unpacked archive with this digest for later builds. Returns `None` if it is not in a
/// spool.
pub(crate) fn to_keep(contents: &Contents, sha256: [u8; 32]) -> Option<NewPackage> {
    contents.to_keep(sha256)
}

/// Reads the `info/index.json` of an archive without unpacking it.
///
/// # Errors
/// Returns a [`Fault`] if the archive is damaged or not allowed, or if a file operation fails.
pub(crate) fn index_of(archive: &Path) -> Result<IndexJson, Fault> {
    let bytes = archive::info_file(archive, "info/index.json")?;
    IndexJson::from_slice(&bytes).map_err(Fault::archive)
}

/// Returns whether an archive lists a post-link script. An archive that cannot be read is refused
/// when it is unpacked.
pub(crate) fn lists_post_link(archive: &Path) -> bool {
    let list = archive::info_file(archive, "info/paths.json")
        .or_else(|_| archive::info_file(archive, "info/files"));
    list.is_ok_and(|bytes| {
        let text = String::from_utf8_lossy(&bytes);
        text.contains("-post-link.sh")
    })
}

impl Package {
    /// Checks the unpacked contents of a package. As in conda, the channel's index has priority
    /// over that of the archive: name and kind are those of the record.
    ///
    /// # Errors
    /// Returns [`Fault::Refused`] for the first path or text that is not allowed.
    pub(crate) fn check(
        contents: Contents,
        record: &RepoDataRecord,
        python: Option<&PythonInfo>,
        mounted_env: &str,
    ) -> Result<Self, Fault> {
        let Some(index) = read(&contents, "info/index.json")? else {
            return Err(Fault::refused("info/index.json", "is not there"));
        };
        let index = listing::index_json(&index)
            .map_err(|problem| Fault::listed("info/index.json", problem))?;
        let link = match read(&contents, "info/link.json")? {
            None => Link::default(),
            Some(bytes) => listing::link_json(&bytes)
                .map_err(|problem| Fault::listed("info/link.json", problem))?,
        };
        let mut package = Self {
            is_noarch_python: is_noarch_python(record, &index, &link),
            own_name: index.name,
            entries: Vec::new(),
            contents,
        };
        let python = match python {
            _ if !package.is_noarch_python => None,
            Some(python) => Some(python),
            None => {
                let missing = rattler::install::InstallError::MissingPythonInfo;
                return Err(Fault::archive(missing));
            }
        };
        for listed in listed(&package.contents)? {
            let entry = package.entry(listed, python)?;
            package.entries.push(entry);
        }
        if let Some(python) = python {
            for command in &link.entry_points {
                package.add_command(command, python, mounted_env)?;
            }
        }
        package.keep_last_of_each_target();
        Ok(package)
    }

    /// Returns the entry for a listed file. As in conda, the archive decides whether it is a file
    /// or a link; its type in the list is ignored.
    fn entry(&self, listed: Listed, python: Option<&PythonInfo>) -> Result<Entry, Fault> {
        let path = listed.path;
        let kind = match self.contents.kind(&path) {
            Some(Kind::Directory) | None if listed.is_directory => Kind::Directory,
            Some(kind @ (Kind::File | Kind::Link(_))) if !listed.is_directory => kind.clone(),
            Some(_) if listed.is_directory => {
                return Err(Fault::refused_path(
                    &path,
                    "is listed as a directory, and is none",
                ));
            }
            Some(_) => {
                return Err(Fault::refused_path(
                    &path,
                    "is listed as a file, and is a directory",
                ));
            }
            None => {
                return Err(Fault::refused_path(
                    &path,
                    "is listed, and the archive does not hold it",
                ));
            }
        };
        let target = match python {
            None => path.clone(),
            Some(python) => target_of(&path, python)?,
        };
        if target.starts_with("__clobbers__") {
            return Err(Fault::refused_path(&path, "has a name that linking needs"));
        }
        let parent = target.parent();
        if parent == Some(Path::new("conda-meta"))
            && target.extension().is_some_and(|e| e == "json")
        {
            return Err(Fault::refused_path(
                &path,
                "is where a package's record belongs",
            ));
        }
        Ok(Entry {
            // The placeholder of a link's target is not replaced.
            placeholder: listed.placeholder.filter(|_| kind == Kind::File),
            no_link: listed.no_link,
            sha256: listed.sha256,
            bytes: listed.bytes,
            is_command: false,
            is_held: false,
            path,
            target,
            kind,
        })
    }

    /// Adds the script of an entry point to the package's files. rattler would write it into the
    /// environment itself, even through a link of that name.
    fn add_command(
        &mut self,
        command: &EntryPoint,
        python: &PythonInfo,
        mounted_env: &str,
    ) -> Result<(), Fault> {
        let path = Path::new(SCRIPTS).join(&command.command);
        let text = python_entry_point_template(mounted_env, false, command, python);
        self.contents.add(&path, text.as_bytes(), 0o775)?;
        self.entries.push(Entry {
            target: target_of(&path, python)?,
            kind: Kind::File,
            placeholder: None,
            no_link: false,
            sha256: Some(Sha256::digest(&text).into()),
            bytes: Some(text.len() as u64),
            is_command: true,
            is_held: false,
            path,
        });
        Ok(())
    }

    /// Removes all entries but the last one for each target, since two paths of a noarch package
    /// can have the same target.
    fn keep_last_of_each_target(&mut self) {
        if !self.is_noarch_python {
            return;
        }
        let mut seen = HashSet::with_capacity(self.entries.len());
        let mut keep: Vec<bool> = self
            .entries
            .iter()
            .rev()
            .map(|entry| seen.insert(entry.target.as_os_str()))
            .collect();
        self.entries.retain(|_| keep.pop().unwrap_or(true));
    }
}

/// Returns the path in the environment for a path of a noarch package. The result is checked, since
/// the package of Python chooses the directory of site-packages.
fn target_of(path: &Path, python: &PythonInfo) -> Result<PathBuf, Fault> {
    let target = python.get_python_noarch_target_path(path);
    judged_path(&target).map_err(|problem| Fault::refused_path(&target, problem))
}

fn is_noarch_python(record: &RepoDataRecord, index: &Index, link: &Link) -> bool {
    let said = &record.package_record.noarch;
    if said.is_none() {
        index.is_noarch_python || link.is_noarch_python
    } else {
        said.is_python()
    }
}

fn read(contents: &Contents, name: &str) -> Result<Option<Vec<u8>>, Fault> {
    let file = contents.open(Path::new(name))?;
    file.map(|file| archive::bounded(name, file)).transpose()
}

fn listed(contents: &Contents) -> Result<Vec<Listed>, Fault> {
    let parsed = |file, result: Result<Vec<Listed>, Problem>| {
        result.map_err(|problem| Fault::listed(file, problem))
    };
    if let Some(bytes) = read(contents, "info/paths.json")? {
        return parsed("info/paths.json", listing::paths_json(&bytes));
    }
    let Some(files) = read(contents, "info/files")? else {
        return Err(Fault::refused(
            "info/paths.json",
            "is not there, nor info/files",
        ));
    };
    let has_prefix = match read(contents, "info/has_prefix")? {
        None => HashMap::new(),
        Some(bytes) => listing::has_prefix(&bytes)
            .map_err(|problem| Fault::listed("info/has_prefix", problem))?,
    };
    let mut no_link = HashSet::new();
    for name in ["info/no_link", "info/no_softlink"] {
        if let Some(bytes) = read(contents, name)? {
            no_link.extend(listing::lines(&bytes).map_err(|problem| Fault::listed(name, problem))?);
        }
    }
    let mut listed = parsed(
        "info/files",
        listing::older_files(&files, &has_prefix, &no_link),
    )?;
    // The older lists do not mark directories.
    for entry in &mut listed {
        entry.is_directory = contents.kind(&entry.path) == Some(&Kind::Directory);
    }
    Ok(listed)
}

/// Readers of a package's own files, for fuzzing. Each accepts any bytes and returns whether it
/// could read them.
#[doc(hidden)]
pub mod readers {
    use super::listing;

    /// Reads the bytes of an `info/paths.json`.
    ///
    /// # Panics
    /// Panics if a path that leads out is accepted.
    pub fn paths_json(bytes: &[u8]) -> bool {
        listing::paths_json(bytes).is_ok_and(|listed| {
            assert!(listed.iter().all(|entry| stays_inside(&entry.path)));
            true
        })
    }

    /// Reads the bytes of an `info/index.json`.
    pub fn index_json(bytes: &[u8]) -> bool {
        listing::index_json(bytes).is_ok()
    }

    /// Reads the bytes of an `info/has_prefix`.
    ///
    /// # Panics
    /// Panics if a path that leads out is accepted.
    pub fn has_prefix(bytes: &[u8]) -> bool {
        listing::has_prefix(bytes).is_ok_and(|found| {
            assert!(found.keys().all(|path| stays_inside(path)));
            true
        })
    }

    /// Reads the bytes of an `info/files` or another list of paths.
    ///
    /// # Panics
    /// Panics if a path that leads out is accepted.
    pub fn lines(bytes: &[u8]) -> bool {
        listing::lines(bytes).is_ok_and(|paths| {
            assert!(paths.iter().all(|path| stays_inside(path)));
            true
        })
    }

    /// Reads the bytes of an `info/link.json`.
    ///
    /// # Panics
    /// Panics if a path that leads out is accepted.
    pub fn link_json(bytes: &[u8]) -> bool {
        listing::link_json(bytes).is_ok_and(|link| {
            let commands = link.entry_points.iter().map(|entry| &entry.command);
            assert!(commands.into_iter().all(|name| stays_inside(name.as_ref())));
            true
        })
    }

    fn stays_inside(path: &std::path::Path) -> bool {
        path.components().next().is_some()
            && path
                .components()
                .all(|part| matches!(part, std::path::Component::Normal(_)))
    }
}
