//! Responsible for linking packages into a prefix. First, all packages are unpacked and checked.
//! Then conflicts between their files and links are resolved. Finally rattler links them, and files
//! that several packages have are settled. If there is a spool, files that nothing needs during the
//! build stay in it.

mod clobbered;
mod hold;
mod kept;
mod layout;
#[cfg(test)]
mod tests;
mod unpack;
mod workers;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rattler::install::{
    ExternalSymlinkPolicy, InstallDriver, InstallOptions, PythonInfo, link_package_sync,
};
use rattler_conda_types::{
    PrefixRecord, RepoDataRecord,
    package::{
        IndexJson, LinkJson, NoArchLinks, PathType, PathsEntry, PathsJson, PrefixPlaceholder,
        PythonEntryPoints,
    },
    prefix::Prefix as CondaPrefix,
    prefix_record,
};

use crate::{
    error::Error,
    fetch::Archives,
    package::{self, Entry, Kind, NewPackage, Package},
    progress::{Phase, Progress, Warning},
    records::{prefix_record, requested_specs},
    solution::{Solution, refuse_unsafe_names},
    spool::Spool,
    target::Place,
};
use clobbered::{settle_clobbered, unclobber};
use condense_within::Within;
pub(crate) use hold::{HeldEntry, HeldKind, is_possible as can_hold};
pub(crate) use kept::Kept;
pub(crate) use workers::for_each;

/// A package that passed the checks, with everything that linking needs.
struct Ready {
    package: Package,
    sha256: [u8; 32],
    /// Unpacked package for later builds, if this build has unpacked it.
    to_keep: Option<NewPackage>,
    /// Directories that the package's files need.
    directories: HashSet<OsString>,
}

impl Ready {
    fn new(package: Package, sha256: [u8; 32], to_keep: Option<NewPackage>) -> Self {
        let directories = layout::directories(&package.entries);
        Self {
            package,
            sha256,
            to_keep,
            directories,
        }
    }
}

/// Opens an environment's directory for rattler. rattler creates two files if they are missing, and
/// must not do that through a link.
///
/// # Errors
/// Returns [`Error::Install`] if `conda-meta` is a link or rattler cannot use the directory, and
/// [`Error::Io`] if a link cannot be removed.
pub(crate) fn open_prefix(env_dir: &Path) -> Result<CondaPrefix, Error> {
    let meta = env_dir.join("conda-meta");
    if meta.is_symlink() {
        return Err(Error::Install {
            package: env_dir.display().to_string(),
            source: "its conda-meta is a link".into(),
        });
    }
    for name in ["CACHEDIR.TAG", "conda-meta/history"] {
        let path = env_dir.join(name);
        if path.is_symlink() {
            fs_err::remove_file(&path).map_err(Error::io("remove", path))?;
        }
    }
    CondaPrefix::create(env_dir).map_err(|error| Error::Install {
        package: env_dir.display().to_string(),
        source: error.to_string().into(),
    })
}

/// Returns the options for linking packages, and the Python for which they are linked.
pub(crate) fn link_options(
    solution: &Solution,
    place: &Place,
) -> Result<(Option<PythonInfo>, InstallOptions), Error> {
    let python_info = solution.python_info()?;
    let options = InstallOptions {
        target_prefix: Some(place.mounted_env()),
        platform: Some(solution.subdir),
        python_info: python_info.clone(),
        // Unpacked packages belong to this build alone, so links into them cannot damage a shared
        // cache.
        allow_hard_links: None,
        allow_ref_links: Some(false),
        allow_symbolic_links: Some(true),
        external_symlink_policy: ExternalSymlinkPolicy::Allow,
        ..InstallOptions::default()
    };
    Ok((python_info, options))
}

/// Removes the files that a record lists as linked, except paths for which `stays` returns true.
/// Build steps can write records, so their paths are checked like those of packages, and links on
/// the way must not lead out.
///
/// # Errors
/// Returns [`Error::Refused`] for a path that is not allowed, [`Error::LeadsOut`] if a link leads
/// out of the environment, and [`Error::Io`] if a file cannot be removed.
pub(crate) fn remove_linked(
    env: &Within,
    record: &PrefixRecord,
    stays: &dyn Fn(&Path) -> bool,
) -> Result<(), Error> {
    for entry in &record.paths_data.paths {
        let inside =
            package::judged_path(&entry.relative_path).map_err(|problem| Error::Refused {
                package: record.file_name(),
                path: package::shown_path(&entry.relative_path),
                problem: problem.to_owned(),
            })?;
        if !stays(&entry.relative_path) {
            env.remove(inside)?;
        }
    }
    Ok(())
}

/// Packages to link, and the environment that they are linked into.
pub(crate) struct LinkJob<'a> {
    /// Packages of this job in their order.
    pub(crate) solution: &'a Solution,
    /// Archives of the packages, in the order of `solution`.
    pub(crate) archives: &'a Archives,
    /// Paths of the environment and of the directory for unpacked packages.
    pub(crate) place: &'a Place,
    /// Environment as rattler opens it, see [`open_prefix`].
    pub(crate) target: &'a CondaPrefix,
    /// Options of rattler that all packages share, see [`link_options`].
    pub(crate) options: &'a InstallOptions,
    /// Packages that were installed before.
    pub(crate) installed: &'a [PrefixRecord],
    /// Spool for files that need not be files in the environment.
    pub(crate) spool: Option<&'a Arc<Spool>>,
    /// Packages that earlier builds have unpacked, for the spool.
    pub(crate) kept: &'a Kept<'a>,
}

/// A package that was linked.
pub(crate) struct Linked {
    /// Index of the package in the solution.
    pub(crate) index: usize,
    pub(crate) record: PrefixRecord,
    pub(crate) sha256: [u8; 32],
    /// Files and links that are held back in the spool.
    pub(crate) held: Vec<HeldEntry>,
    /// Unpacked package for later builds, if this build has unpacked it.
    pub(crate) to_keep: Option<NewPackage>,
}

/// Links every package, then settles files that several packages have.
///
/// # Errors
/// Returns the errors of [`crate::install()`], except [`Error::MountPointTooLong`].
pub(crate) fn link_all(job: &LinkJob<'_>, progress: &dyn Progress) -> Result<Vec<Linked>, Error> {
    let records = &job.solution.records;
    refuse_duplicate_names(records)?;
    let order = largest_first(records);
    let mut ready = unpack_all(job, &order, progress)?;
    for text in other_names(&ready, records) {
        progress.warn(Warning::Notice(text));
    }
    layout::resolve_conflicts(&mut ready, records, job.target.path())?;
    hold::choose(&mut ready, job)?;
    // The driver's registry contains the files of installed packages.
    let driver = InstallDriver::builder()
        .with_prefix_records(job.installed)
        .finish();
    let mut linked = link_unpacked(job, &order, &ready, &driver, progress)?;
    for (linked, ready) in linked.iter_mut().zip(ready) {
        linked.to_keep = ready.to_keep;
    }
    let env = job.place.open_env()?;
    write_records(&linked, &env, progress)?;
    let clobbered = unclobber(job, &linked, &driver)?;
    settle_clobbered(clobbered, &linked, job.installed, &env, progress)?;
    Ok(linked)
}

/// Returns the indices of all packages. The largest archive comes first, so that no worker begins
/// it last.
fn largest_first(records: &[RepoDataRecord]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..records.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(records[*index].package_record.size.unwrap_or(0)));
    order
}

/// Unpacks and checks all packages, and returns them in the order of the solution.
fn unpack_all(
    job: &LinkJob<'_>,
    order: &[usize],
    progress: &dyn Progress,
) -> Result<Vec<Ready>, Error> {
    let mut opened = for_each(order, progress, &|index| {
        let ready = unpack::open(job, index, progress);
        progress.advance(Phase::Link, 1);
        ready
    })?;
    opened.sort_by_key(|(index, _)| *index);
    Ok(opened.into_iter().map(|(_, ready)| ready).collect())
}

/// Links all unpacked packages, and returns them in the order of the solution.
fn link_unpacked(
    job: &LinkJob<'_>,
    order: &[usize],
    ready: &[Ready],
    driver: &InstallDriver,
    progress: &dyn Progress,
) -> Result<Vec<Linked>, Error> {
    let requested = requested_specs(&job.solution.specs);
    // Workers share the registry. It returns to the driver when all packages are linked.
    let registry = Arc::new(Mutex::new(std::mem::take(&mut *driver.clobber_registry())));
    let linked = for_each(order, progress, &|index| {
        let record = &job.solution.records[index];
        let package = &ready[index].package;
        let files = package.entries.iter().filter(|entry| !entry.is_held);
        package
            .contents
            .write_out(files.map(|entry| (entry.path.as_path(), &entry.kind)))
            .map_err(|fault| fault.into_error(record))?;
        let (held, held_paths) = hold::take(package, record, job)?;
        let options = options_of(package, record, job.options);
        let root = package.contents.root();
        let (paths, _) = link_package_sync(root, job.target, Arc::clone(&registry), options)
            .map_err(|error| install_error(record, error))?;
        let paths = [paths, held_paths].concat();
        let paths = complete_paths(paths, package, job.target.path())?;
        let sha256 = ready[index].sha256;
        let mut record = record.clone();
        // A lock has the digest even if the channel's index has none.
        record
            .package_record
            .sha256
            .get_or_insert_with(|| sha256.into());
        Ok(Linked {
            index,
            record: prefix_record(&record, paths, &requested),
            sha256,
            held,
            to_keep: None,
        })
    })?;
    let mut shared = registry.lock().map_err(|_| Error::Interrupted)?;
    std::mem::swap(&mut *shared, &mut *driver.clobber_registry());
    let mut linked: Vec<Linked> = linked.into_iter().map(|(_, linked)| linked).collect();
    linked.sort_by_key(|linked| linked.index);
    Ok(linked)
}

/// Refuses two records of one name, since the registry of clobbered files identifies packages by
/// their names.
fn refuse_duplicate_names(records: &[RepoDataRecord]) -> Result<(), Error> {
    let mut names = HashMap::new();
    for record in records {
        refuse_unsafe_names(record)?;
        let name = record.package_record.name.as_normalized();
        if let Some(other) = names.insert(name, record) {
            return Err(Error::Install {
                package: record.identifier.to_file_name(),
                source: format!(
                    "`{}` is another package of this name",
                    other.identifier.to_file_name()
                )
                .into(),
            });
        }
    }
    Ok(())
}

/// Lists archives in which `info/index.json` has another package name than the channel's index.
/// They only give a warning, since the channel's index has priority.
fn other_names(ready: &[Ready], records: &[RepoDataRecord]) -> BTreeSet<String> {
    let pairs = ready.iter().zip(records);
    pairs
        .filter_map(|(ready, record)| {
            let own = ready.package.own_name.as_deref()?;
            let name = record.package_record.name.as_normalized();
            (own.to_lowercase() != name).then(|| {
                format!(
                    "`{}` calls itself `{}`; it is installed as `{name}`, which is the channel's name for it",
                    record.identifier.to_file_name(),
                    package::shown_path(Path::new(own)),
                )
            })
        })
        .collect()
}

fn install_error(
    record: &RepoDataRecord,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Install {
        package: record.identifier.to_file_name(),
        source: source.into(),
    }
}

/// Returns rattler's options for a package. They contain the checked values of everything that
/// rattler would otherwise read from the package.
fn options_of(
    package: &Package,
    record: &RepoDataRecord,
    options: &InstallOptions,
) -> InstallOptions {
    let files = package
        .entries
        .iter()
        .filter(|entry| entry.kind != Kind::Directory && !entry.is_held);
    let paths: Vec<_> = files.map(paths_entry).collect();
    // Without files, rattler need not try how the file system links.
    let allow_hard_links = paths
        .is_empty()
        .then_some(true)
        .or(options.allow_hard_links);
    let said = &record.package_record;
    let noarch = if package.is_noarch_python {
        rattler_conda_types::NoArchType::python()
    } else {
        rattler_conda_types::NoArchType::none()
    };
    InstallOptions {
        allow_hard_links,
        paths_json: Some(PathsJson {
            paths,
            paths_version: 1,
        }),
        index_json: Some(IndexJson {
            arch: None,
            build: said.build.clone(),
            build_number: said.build_number,
            constrains: Vec::new(),
            depends: Vec::new(),
            extra_depends: std::collections::BTreeMap::new(),
            features: None,
            flags: Vec::new(),
            license: None,
            license_family: None,
            name: said.name.clone(),
            noarch,
            platform: None,
            purls: None,
            python_site_packages_path: None,
            repodata_revision: None,
            subdir: None,
            timestamp: None,
            track_features: Vec::new(),
            version: said.version.clone(),
        }),
        // The scripts of entry points are files of the package already.
        link_json: Some(Some(LinkJson {
            noarch: NoArchLinks::Python(PythonEntryPoints {
                entry_points: Vec::new(),
            }),
            package_metadata_version: 1,
        })),
        ..options.clone()
    }
}

fn paths_entry(entry: &Entry) -> PathsEntry {
    PathsEntry {
        relative_path: entry.path.clone(),
        no_link: entry.no_link,
        path_type: match entry.kind {
            Kind::Link(_) => PathType::SoftLink,
            Kind::File | Kind::Directory => PathType::HardLink,
        },
        prefix_placeholder: entry.placeholder.clone().map(|(file_mode, placeholder)| {
            PrefixPlaceholder {
                file_mode,
                placeholder,
                experimental_offsets: None,
            }
        }),
        sha256: entry.sha256.map(Into::into),
        size_in_bytes: entry.bytes,
    }
}

/// Creates empty directories, which rattler does not do, and completes the list of the package's
/// files for its record.
fn complete_paths(
    mut paths: Vec<prefix_record::PathsEntry>,
    package: &Package,
    env_dir: &Path,
) -> Result<Vec<prefix_record::PathsEntry>, Error> {
    let commands: HashSet<&Path> = package
        .entries
        .iter()
        .filter(|entry| entry.is_command)
        .map(|entry| entry.target.as_path())
        .collect();
    for path in &mut paths {
        if commands.contains(path.path().as_path()) {
            path.path_type = prefix_record::PathType::UnixPythonEntryPoint;
        }
        // A record is JSON, and rattler cannot write names in it that are not UTF-8.
        path.relative_path = package::lossy(std::mem::take(&mut path.relative_path));
        path.original_path = path.original_path.take().map(package::lossy);
    }
    let directories = package
        .entries
        .iter()
        .filter(|entry| entry.kind == Kind::Directory);
    for entry in directories {
        let full = env_dir.join(&entry.target);
        fs_err::create_dir_all(&full).map_err(Error::io("create", full))?;
        paths.push(prefix_record::PathsEntry {
            relative_path: package::lossy(entry.target.clone()),
            original_path: None,
            path_type: prefix_record::PathType::Directory,
            no_link: entry.no_link,
            sha256: None,
            sha256_in_prefix: None,
            size_in_bytes: None,
            file_mode: None,
            prefix_placeholder: None,
        });
    }
    paths.sort_by(|a, b| a.relative_path.cmp(&b.relative_path));
    Ok(paths)
}

fn write_records(linked: &[Linked], env: &Within, progress: &dyn Progress) -> Result<(), Error> {
    let order: Vec<usize> = (0..linked.len()).collect();
    let write = |index: usize| {
        let record = &linked[index].record;
        let path = record_path(record);
        let text = serde_json::to_vec_pretty(record)
            .map_err(|error| Error::io("write", env.path(&path))(error.into()))?;
        env.write(&path, text)?;
        // The record must be readable by all users, whatever the umask.
        Ok(env.set_mode(&path, 0o644)?)
    };
    for_each(&order, progress, &write).map(drop)
}

fn record_path(record: &PrefixRecord) -> PathBuf {
    Path::new("conda-meta").join(record.file_name())
}
