//! Responsible for holding back files of packages: those that nothing needs as files during the
//! build stay in the spool. Their records are those that rattler writes for linked files, and
//! placeholders are replaced by rattler's own function.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    io::Read,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rattler::install::link::copy_and_replace_placeholders;
use rattler_conda_types::{RepoDataRecord, Subdir, prefix_record};
use sha2::{Digest as _, Sha256};

use super::{Kept, LinkJob, Ready, install_error, workers::for_each};
use crate::{
    bytecode,
    error::Error,
    fetch::Archives,
    package::{self, Entry, Kind, Package, Spooled},
    progress::Progress,
    python::Python,
    solution::Solution,
    spool::{Part, Spool},
    target::Place,
};

/// Largest size of a file with a placeholder that is held back, since it is read into memory to
/// replace the placeholder.
const PATCHED_BYTES_MAX: u64 = 4 << 20;

/// Directories of an environment into which the build writes, beside that of Python's packages.
const WRITTEN: [&str; 4] = [
    "conda-meta",
    "bin",
    "etc/conda/activate.d",
    "etc/conda/env_vars.d",
];

/// A file or link that is held back.
#[derive(Debug)]
pub(crate) struct HeldEntry {
    /// Path in the environment.
    pub(crate) target: PathBuf,
    pub(crate) kind: HeldKind,
}

/// Kind of a file that is held back.
#[derive(Debug)]
pub(crate) enum HeldKind {
    /// A symbolic link with its target.
    Link(PathBuf),
    File {
        part: Part,
        is_executable: bool,
        /// Modification time in seconds since 1970.
        modified: i64,
        /// Number that the names of one file (hard links) of a package share.
        number: Option<usize>,
    },
}

/// Returns whether files may be held back, as far as that is known before the archives are
/// unpacked: no package has a post-link script, which may look for and change any file.
///
/// # Errors
/// Returns [`Error::Install`] if the version of Python is not understood, and
/// [`Error::Interrupted`].
pub(crate) fn is_possible(
    solution: &Solution,
    archives: &Archives,
    place: &Place,
    kept: &Kept<'_>,
    progress: &dyn Progress,
) -> Result<bool, Error> {
    let python = solution.python_info()?.as_ref().map(Python::from_info);
    let is_usual = python.as_ref().is_none_or(|python| {
        python.hashes_sources() && python.library_name().starts_with("python")
    });
    if !is_usual || place.mounted_env().to_str().is_none() {
        return Ok(false);
    }
    let order: Vec<usize> = (0..archives.paths.len()).collect();
    let found = for_each(&order, progress, &|index| {
        let known = kept.has_post_link(index);
        Ok(known.unwrap_or_else(|| package::lists_post_link(&archives.paths[index])))
    })?;
    Ok(found.iter().all(|(_, lists_post_link)| !lists_post_link))
}

/// Chooses the files that are held back: none if a package has a post-link script after all, or if
/// an activation script may write.
///
/// # Errors
/// Returns an error if an activation script cannot be read.
pub(super) fn choose(ready: &mut [Ready], job: &LinkJob<'_>) -> Result<(), Error> {
    let Some(spool) = job.spool else {
        return Ok(());
    };
    let python = job.options.python_info.as_ref().map(Python::from_info);
    let site_packages = python.as_ref().map_or(Path::new(""), Python::site_packages);
    for Ready { package, .. } in &*ready {
        for entry in &package.entries {
            if needs_files(entry)
                || is_link_above(entry, site_packages)
                || activation_may_write(entry, package, spool)?
            {
                return Ok(());
            }
        }
    }
    let forced = forced(ready, job, python.as_ref());
    let forced: HashSet<PathBuf> = forced.into_iter().map(PathBuf::from).collect();
    for entry in ready
        .iter_mut()
        .flat_map(|ready| &mut ready.package.entries)
    {
        entry.is_held = entry.kind != Kind::Directory && !forced.contains(entry.target.as_path());
    }
    Ok(())
}

/// Returns whether an entry is an activation script that may write into the environment. What it
/// writes is a part of the environment, which is read-only on an image.
fn activation_may_write(entry: &Entry, package: &Package, spool: &Spool) -> Result<bool, Error> {
    let is_script = entry.target.starts_with("etc/conda/activate.d")
        && entry.target.extension().is_some_and(|end| end == "sh");
    if !is_script || entry.kind != Kind::File {
        return Ok(false);
    }
    let Some((_, file)) = package.contents.spooled(&entry.path) else {
        return Ok(true);
    };
    let text = spool.read(file.part);
    let text = text.map_err(Error::io("read", spool.file().path()))?;
    Ok(condense_activation::may_write(&text))
}

/// Returns whether an entry is a post-link script, which may change any file, or a link that the
/// build follows: linking, compiling, or reading activation scripts.
fn needs_files(entry: &Entry) -> bool {
    let (dir, name) = (entry.target.parent(), entry.target.file_name());
    let name = name.unwrap_or_default().as_bytes();
    let is_link = matches!(entry.kind, Kind::Link(_));
    let is_followed =
        entry.no_link || name == b"__pycache__" || entry.target.starts_with("etc/conda");
    dir == Some(Path::new("bin")) && name.ends_with(b"-post-link.sh") || is_link && is_followed
}

/// Returns whether an entry is a link on the way to a directory into which the build writes.
fn is_link_above(entry: &Entry, site_packages: &Path) -> bool {
    let mut written = [site_packages].into_iter().chain(WRITTEN.map(Path::new));
    matches!(entry.kind, Kind::Link(_)) && written.any(|dir| dir.starts_with(&entry.target))
}

/// Lists the paths that must be files: those that the build itself looks at, that several packages
/// have, and that belong to one of these.
fn forced<'a>(
    ready: &'a [Ready],
    job: &LinkJob<'_>,
    python: Option<&Python>,
) -> HashSet<&'a OsStr> {
    let mut owners: HashMap<&OsStr, usize> = HashMap::new();
    let mut forced = HashSet::new();
    for ready in ready {
        for entry in &ready.package.entries {
            *owners.entry(entry.target.as_os_str()).or_default() += 1;
            if is_looked_at(entry, &ready.package, job) {
                forced.insert(entry.target.as_os_str());
            }
        }
    }
    forced.extend(
        owners
            .iter()
            .filter(|(_, count)| **count > 1)
            .map(|(path, _)| *path),
    );
    let groups: Vec<Vec<&OsStr>> = ready
        .iter()
        .flat_map(|ready| names_of_one_file(&ready.package))
        .chain(
            python
                .into_iter()
                .flat_map(|python| with_bytecode(&owners, python)),
        )
        .collect();
    loop {
        let before = forced.len();
        for group in &groups {
            if group.iter().any(|path| forced.contains(path)) {
                forced.extend(group.iter().copied());
            }
        }
        if forced.len() == before {
            return forced;
        }
    }
}

fn is_looked_at(entry: &Entry, package: &Package, job: &LinkJob<'_>) -> bool {
    let target = entry.target.as_path();
    let is_own_script = target.parent() == Some(Path::new("bin"))
        && target
            .file_name()
            .is_some_and(|name| name.as_bytes().starts_with(b"."));
    let is_too_large = entry.placeholder.is_some()
        && package
            .contents
            .spooled(&entry.path)
            .is_none_or(|(_, file)| file.part.bytes > PATCHED_BYTES_MAX);
    is_own_script
        || is_too_large
        || target.starts_with("conda-meta")
        || target.starts_with("etc/conda")
        || (target.components().count() == 1
            && fs_err::symlink_metadata(job.target.path().join(target)).is_ok())
}

/// Lists the groups of names of one file (hard links).
fn names_of_one_file(package: &Package) -> Vec<Vec<&OsStr>> {
    let mut names: HashMap<usize, Vec<&OsStr>> = HashMap::new();
    for entry in package
        .entries
        .iter()
        .filter(|entry| entry.kind == Kind::File)
    {
        if let Some((number, _)) = package.contents.spooled(&entry.path) {
            names
                .entry(number)
                .or_default()
                .push(entry.target.as_os_str());
        }
    }
    names
        .into_values()
        .filter(|names| names.len() > 1)
        .collect()
}

/// Lists the groups of a source and its byte code, which are converted together.
fn with_bytecode<'a>(owners: &HashMap<&'a OsStr, usize>, python: &Python) -> Vec<Vec<&'a OsStr>> {
    let is_source = |path: &&&OsStr| {
        let path = Path::new(path);
        path.extension().is_some_and(|found| found == "py") && path.starts_with(python.library())
    };
    let known = |path: PathBuf| {
        owners
            .get_key_value(path.as_os_str())
            .map(|(path, _)| *path)
    };
    let sources = owners.keys().filter(is_source);
    sources
        .map(|source| {
            let compiled = bytecode::paths_of(Path::new(source), python);
            std::iter::once(*source)
                .chain(compiled.into_iter().filter_map(known))
                .collect()
        })
        .collect()
}

/// Takes the files of a package that are held back. Returns them, with the entries of the package's
/// record.
pub(super) fn take(
    package: &Package,
    record: &RepoDataRecord,
    job: &LinkJob<'_>,
) -> Result<(Vec<HeldEntry>, Vec<prefix_record::PathsEntry>), Error> {
    let (mut held, mut paths) = (Vec::new(), Vec::new());
    for entry in package.entries.iter().filter(|entry| entry.is_held) {
        let (kind, path) = match &entry.kind {
            Kind::Directory => continue,
            Kind::Link(target) => (HeldKind::Link(target.clone()), link_path(entry, target)),
            Kind::File => {
                let Some((number, file)) = package.contents.spooled(&entry.path) else {
                    return Err(install_error(record, "a file of it is not in the spool"));
                };
                take_file(entry, number, file, job)?
            }
        };
        held.push(HeldEntry {
            target: entry.target.clone(),
            kind,
        });
        paths.push(path);
    }
    Ok((held, paths))
}

fn take_file(
    entry: &Entry,
    number: usize,
    file: Spooled,
    job: &LinkJob<'_>,
) -> Result<(HeldKind, prefix_record::PathsEntry), Error> {
    let spool = job.spool.expect("entries are held back only in a spool");
    let is_executable = file.mode & 0o111 != 0;
    let io = |action| Error::io(action, spool.file().path());
    let mut path = record_path(entry, prefix_record::PathType::HardLink);
    path.size_in_bytes = Some(entry.bytes.unwrap_or(file.part.bytes));
    let since = file.modified.duration_since(std::time::UNIX_EPOCH);
    let modified = since.map_or(0, |since| since.as_secs().cast_signed());
    let kind_of = |part, number| HeldKind::File {
        part,
        is_executable,
        modified,
        number,
    };
    let mut kind = kind_of(file.part, Some(number));
    let digest: [u8; 32] = if let Some((file_mode, placeholder)) = &entry.placeholder {
        let bytes = spool.read(file.part).map_err(io("read"))?;
        let mut patched = Vec::with_capacity(bytes.len());
        let prefix = job.place.mounted_env();
        let platform = job.options.platform.unwrap_or(Subdir::Linux64);
        copy_and_replace_placeholders(
            &bytes,
            &mut patched,
            placeholder,
            &prefix.to_string_lossy(),
            &platform,
            *file_mode,
        )
        .map_err(Error::io("replace the placeholder in", &entry.target))?;
        kind = kind_of(spool.append(&patched).map_err(io("write"))?, None);
        path.size_in_bytes = Some(patched.len() as u64);
        path.file_mode = Some(*file_mode);
        path.prefix_placeholder = Some(placeholder.clone());
        Sha256::digest(&patched).into()
    } else {
        if entry.no_link {
            let bytes = spool.read(file.part).map_err(io("read"))?;
            kind = kind_of(spool.append(&bytes).map_err(io("write"))?, None);
        }
        match entry.sha256 {
            Some(sha256) => sha256,
            None => digest_of(spool.reader(file.part)).map_err(io("read"))?,
        }
    };
    if entry.sha256 != Some(digest) {
        path.sha256_in_prefix = Some(digest.into());
    }
    Ok((kind, path))
}

fn link_path(entry: &Entry, target: &Path) -> prefix_record::PathsEntry {
    let length = target.as_os_str().len() as u64;
    prefix_record::PathsEntry {
        size_in_bytes: Some(entry.bytes.unwrap_or(length)),
        ..record_path(entry, prefix_record::PathType::SoftLink)
    }
}

fn record_path(entry: &Entry, path_type: prefix_record::PathType) -> prefix_record::PathsEntry {
    prefix_record::PathsEntry {
        relative_path: entry.target.clone(),
        original_path: None,
        path_type,
        no_link: entry.no_link,
        sha256: entry.sha256.map(Into::into),
        sha256_in_prefix: None,
        size_in_bytes: None,
        file_mode: None,
        prefix_placeholder: None,
    }
}

fn digest_of(mut reader: impl Read) -> std::io::Result<[u8; 32]> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = reader.read(&mut buffer)?;
        if length == 0 {
            return Ok(digest.finalize().into());
        }
        digest.update(&buffer[..length]);
    }
}
