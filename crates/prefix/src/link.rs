//! Responsible for linking packages into a prefix. First, all packages are unpacked and checked.
//! Then conflicts between their files and links are resolved. Finally rattler links them, and files
//! that several packages have are settled.

mod layout;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ffi::OsString,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rattler::install::{InstallDriver, InstallOptions, link_package_sync};
use rattler_conda_types::{
    PackageName, PackageRecord, PrefixRecord, RepoDataRecord,
    package::{
        IndexJson, LinkJson, NoArchLinks, PathType, PathsEntry, PathsJson, PrefixPlaceholder,
        PythonEntryPoints,
    },
    prefix::Prefix as CondaPrefix,
    prefix_record,
};

use crate::{
    error::Error,
    fetch::{Archives, damaged, mismatch},
    install::{Linked, prefix_record, requested_specs},
    package::{self, Contents, Entry, Fault, Kind, Package},
    progress::{Progress, Stage, Warning},
    records::forget_files,
    solve::{Solution, refuse_unsafe_names},
    target::Place,
};
use condense_within::Within;

/// A package that passed the checks, with everything that linking needs.
struct Ready {
    package: Package,
    sha256: [u8; 32],
    /// Directories that the package's files need.
    directories: HashSet<OsString>,
}

impl Ready {
    fn new(package: Package, sha256: [u8; 32]) -> Self {
        let directories = layout::directories(&package.entries);
        Self {
            package,
            sha256,
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

/// Links every package, then settles files that several packages have. `installed` lists the
/// packages that were installed before.
pub(crate) fn link_all(
    solution: &Solution,
    archives: &Archives,
    place: &Place,
    target: &CondaPrefix,
    options: &InstallOptions,
    installed: &[PrefixRecord],
    progress: &dyn Progress,
) -> Result<Vec<Linked>, Error> {
    refuse_what_is_there_twice(&solution.records)?;
    let mut order: Vec<usize> = (0..solution.records.len()).collect();
    order.sort_by_key(|index| {
        std::cmp::Reverse(solution.records[*index].package_record.size.unwrap_or(0))
    });
    let opened = for_each(&order, progress, &|index| {
        let ready = open(solution, archives, place, options, index, progress);
        progress.advance(Stage::Link, 1);
        ready
    })?;
    let mut ready: Vec<Option<Ready>> = (0..order.len()).map(|_| None).collect();
    for (index, package) in opened {
        ready[index] = Some(package);
    }
    let mut ready: Vec<Ready> = ready.into_iter().flatten().collect();
    for text in other_names(&ready, &solution.records) {
        progress.warn(Warning::Notice(text));
    }
    layout::settle(&mut ready, &solution.records, target.path())?;

    // The registry contains the files of installed packages. Only an
    // `InstallDriver` can create a registry.
    let driver = InstallDriver::builder()
        .with_prefix_records(installed)
        .finish();
    let registry = Arc::new(Mutex::new(std::mem::take(&mut *driver.clobber_registry())));
    let requested = requested_specs(&solution.specs);
    let mut linked: Vec<Linked> = for_each(&order, progress, &|index| {
        let record = &solution.records[index];
        let options = options_of(&ready[index].package, record, options);
        let root = ready[index].package.contents.root();
        let (paths, _) = link_package_sync(root, target, Arc::clone(&registry), options)
            .map_err(|error| install_error(record, error))?;
        let paths = with_ours(paths, &ready[index].package, target.path())?;
        Ok(Linked {
            index,
            record: prefix_record(record, paths, &requested),
            sha256: ready[index].sha256,
        })
    })?
    .into_iter()
    .map(|(_, linked)| linked)
    .collect();
    linked.sort_by_key(|linked| linked.index);
    let env = place.open_env()?;
    write_records(&linked, &env)?;

    let sorted = PackageRecord::sort_topologically(
        linked
            .iter()
            .map(|linked| &linked.record)
            .chain(installed)
            .collect::<Vec<_>>(),
    );
    let several = |source: Box<dyn std::error::Error + Send + Sync>| Error::Install {
        package: "several packages".to_owned(),
        source,
    };
    let clobbered = catch_unwind(AssertUnwindSafe(|| {
        registry
            .lock()
            .map_err(|_| Error::Interrupted)?
            .unclobber(&sorted, target.path())
            .map_err(|error| several(error.into()))
    }))
    .unwrap_or_else(|panic| Err(several(said(&*panic).into())))?;
    let clobbered = clobbered.into_iter().map(|(path, clobber)| {
        let name = |name: &PackageName| name.as_normalized().to_owned();
        let losers = clobber.other_packages.iter().map(name).collect();
        (path, name(&clobber.package), losers)
    });
    settle_clobbered(clobbered.collect(), &linked, &env, progress)?;
    Ok(linked)
}

/// Runs `work` for all indices of `order`, one worker for each core. The first error stops all
/// workers. A panic in a worker becomes an error.
fn for_each<T: Send>(
    order: &[usize],
    progress: &dyn Progress,
    work: &(dyn Fn(usize) -> Result<T, Error> + Sync),
) -> Result<Vec<(usize, T)>, Error> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done = Mutex::new(Vec::with_capacity(order.len()));
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let worker = || {
        while !stop.load(Ordering::Relaxed) {
            let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            let result = if progress.cancelled() {
                Err(Error::Interrupted)
            } else {
                // Packages that are known to cause a panic are refused earlier. Any other panic
                // must not end the program.
                catch_unwind(AssertUnwindSafe(|| work(index))).unwrap_or_else(|panic| {
                    Err(Error::Install {
                        package: "a package".to_owned(),
                        source: said(&*panic).into(),
                    })
                })
            };
            match result {
                Ok(result) => done
                    .lock()
                    .expect("no worker panics while it holds the list")
                    .push((index, result)),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    failure
                        .lock()
                        .expect("no worker panics while it holds the error")
                        .get_or_insert(error);
                }
            }
        }
    };
    let workers = std::thread::available_parallelism()
        .map_or(1, NonZeroUsize::get)
        .min(16);
    // rattler links with threads that the whole program shares.
    condense_threads::shared()?;
    condense_threads::all(workers, worker);
    match failure.into_inner().expect("workers have ended") {
        Some(error) => Err(error),
        None => Ok(done.into_inner().expect("workers have ended")),
    }
}

/// Returns the message of a panic.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("a fault of the linker: {}", text.unwrap_or("a panic"))
}

/// Refuses two records of one name, since the registry of clobbered files identifies packages by
/// their names.
fn refuse_what_is_there_twice(records: &[RepoDataRecord]) -> Result<(), Error> {
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

/// Unpacks and checks one package. The name of its directory is a number and
/// not text from the package.
fn open(
    solution: &Solution,
    archives: &Archives,
    place: &Place,
    options: &InstallOptions,
    index: usize,
    progress: &dyn Progress,
) -> Result<Ready, Error> {
    let record = &solution.records[index];
    let archive = &archives.paths[index];
    progress.detail(Stage::Link, &record.identifier.to_file_name());
    let root = place.packages.join(index.to_string());
    let (contents, sha256) = unpack(record, archive, &root, progress).inspect_err(|error| {
        // A damaged archive is removed from the cache, so that the next build downloads it again.
        if matches!(error, Error::Damaged { .. }) && record.url.scheme() != "file" {
            let _ = fs_err::remove_file(archive);
        }
    })?;
    let mounted_env = place.mounted_env();
    let package = Package::judge(
        contents,
        record,
        options.python_info.as_ref(),
        &mounted_env.to_string_lossy(),
    )
    .map_err(|fault| fault.of(record))?;
    Ok(Ready::new(package, sha256))
}

/// Unpacks one archive and computes its digest at the same time.
fn unpack(
    record: &RepoDataRecord,
    archive: &Path,
    root: &Path,
    progress: &dyn Progress,
) -> Result<(Contents, [u8; 32]), Error> {
    let package = &record.package_record;
    let stopped = || progress.cancelled();
    let (contents, found) = match package::unpack(archive, root, package.md5.is_some(), &stopped) {
        Ok(unpacked) => unpacked,
        Err(fault @ (Fault::Interrupted | Fault::Io { .. })) => return Err(fault.of(record)),
        Err(fault) => {
            // The errors of a truncated archive vary, so its length is compared first.
            let length = fs_err::metadata(archive).map_or(0, |found| found.len());
            return Err(match package.size {
                Some(size) if size != length => damaged(
                    record,
                    format!("it has {length} bytes, the channel says {size}"),
                ),
                _ => match digest_of(archive) {
                    Some(found)
                        if package
                            .sha256
                            .is_some_and(|expected| expected.as_slice() != found) =>
                    {
                        damaged(
                            record,
                            mismatch("sha256", &package.sha256.unwrap_or_default(), &found),
                        )
                    }
                    _ => fault.of(record),
                },
            });
        }
    };
    if let Some(expected) = &package.sha256
        && expected.as_slice() != found.sha256
    {
        return Err(damaged(record, mismatch("sha256", expected, &found.sha256)));
    }
    if let (Some(expected), Some(found)) = (&package.md5, &found.md5)
        && expected.as_slice() != found
    {
        return Err(damaged(record, mismatch("md5", expected, found)));
    }
    Ok((contents, found.sha256))
}

fn digest_of(path: &Path) -> Option<[u8; 32]> {
    rattler_digest::compute_file_digest::<rattler_digest::Sha256>(path)
        .ok()
        .map(Into::into)
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
        .filter(|entry| entry.kind != Kind::Directory);
    let paths = files.map(paths_entry).collect();
    let said = &record.package_record;
    let noarch = if package.is_noarch_python {
        rattler_conda_types::NoArchType::python()
    } else {
        rattler_conda_types::NoArchType::none()
    };
    InstallOptions {
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
fn with_ours(
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

fn write_records(linked: &[Linked], env: &Within) -> Result<(), Error> {
    for linked in linked {
        let path = record_path(linked);
        let text = serde_json::to_vec_pretty(&linked.record)
            .map_err(|error| Error::io("write", env.path(&path))(error.into()))?;
        env.write(&path, text)?;
        // The record must be readable by all users, whatever the umask.
        env.set_mode(&path, 0o644)?;
    }
    Ok(())
}

fn record_path(linked: &Linked) -> PathBuf {
    Path::new("conda-meta").join(linked.record.file_name())
}

/// Files that several packages have: the path, the package that provides the
/// file, and the other packages.
type Clobbered = Vec<(PathBuf, String, Vec<String>)>;

/// Warns about files that several packages have, and removes the files of the packages that do not
/// provide them.
fn settle_clobbered(
    clobbered: Clobbered,
    linked: &[Linked],
    env: &Within,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let mut reports: Vec<Warning> = Vec::new();
    let mut touched: HashSet<String> = HashSet::new();
    for (path, winner, losers) in clobbered {
        touched.extend(losers.iter().cloned());
        touched.insert(winner.clone());
        reports.push(Warning::Clobbered {
            path: package::shown_path(&path),
            winner,
            losers,
        });
    }
    reports.sort_by_key(ToString::to_string);
    for report in reports {
        progress.warn(report);
    }
    let losers_dir = env.path("__clobbers__");
    if losers_dir.exists() {
        fs_err::remove_dir_all(&losers_dir).map_err(Error::io("remove", &losers_dir))?;
        for linked in linked
            .iter()
            .filter(|l| touched.contains(l.record.name().as_normalized()))
        {
            forget_files(env, &record_path(linked), &|file| {
                file.starts_with("__clobbers__/")
            })?;
        }
    }
    Ok(())
}
