//! Responsible for making a planned change of packages: archives are fetched, packages that go are
//! unlinked, and new ones are linked.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    time::Instant,
};

use rattler_conda_types::{PrefixRecord, RepoDataRecord};

use super::{Extended, InstallContext, Planned, name_of, unlink};
use crate::{
    error::Error,
    fetch::{self, Archives},
    install,
    link::{self, LinkJob, Linked},
    progress::{Phase, Progress},
    records,
    solution::Solution,
    steps::post_link_scripts,
    target::Place,
};

/// Files of an environment that are in scratch while its packages change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvFiles {
    /// All files are there.
    All,
    /// Only the records in `conda-meta` are there. New packages are linked as if they were alone;
    /// the caller compares their paths with those of the files that stay.
    Records,
}

/// Makes the planned change in the environment at `context.place`.
///
/// # Errors
/// Returns the errors of [`crate::fetch()`] and [`crate::install()`], [`Error::LeadsOut`] for a
/// record that names files outside of the environment, and [`Error::Io`] if a file cannot be read,
/// written or removed.
pub async fn apply(
    planned: &Planned,
    context: &InstallContext<'_>,
    files: EnvFiles,
    progress: &dyn Progress,
) -> Result<Extended, Error> {
    let env = context.place.open_env()?;
    let gone: HashSet<String> = planned.gone.iter().map(archive_of).collect();
    let again = unlink::sharers(&env, &gone)?;
    let (more, relinked) = with_relinked(planned, &again);
    let archives = fetch::fetch(&more, context.network, progress).await?;
    let started = Instant::now();
    progress.begin(Phase::Link, Some(more.records.len() as u64));
    let (unlinked, kept_dirs) = unlink::remove_packages(&env, &(&gone | &again))?;
    let mut new = planned.solution.clone();
    let linked = link_more(&more, &archives, &new, context, files, progress)?;
    add_digests(&mut new, &more, &linked);
    let records: Vec<PrefixRecord> = linked.into_iter().map(|linked| linked.record).collect();
    let mut post_link = post_link_scripts(&records, &env);
    // A package that is linked again has run its script already.
    post_link.retain(|script| !relinked.contains(&script.package));
    let patched = install::patched_sources(&records);
    install::write_history(&new, &planned.asked, &env)?;
    let unpacked = context.unpacked_dir();
    fs_err::remove_dir_all(&unpacked).map_err(Error::io("remove", &unpacked))?;
    progress.end(Phase::Link, started.elapsed());
    let mut added: Vec<String> = planned.added.records.iter().map(name_of).collect();
    added.sort();
    Ok(Extended {
        solution: new,
        added,
        removed: planned.removed.clone(),
        linked: files_of(&records),
        records: records.iter().map(record_path).collect(),
        unlinked,
        kept_dirs,
        relinked,
        post_link,
        patched,
    })
}

/// Returns the paths of all files, links and empty directories of packages.
fn files_of(records: &[PrefixRecord]) -> Vec<PathBuf> {
    let entries = records.iter().flat_map(|record| &record.paths_data.paths);
    entries.map(|entry| entry.relative_path.clone()).collect()
}

fn record_path(record: &PrefixRecord) -> PathBuf {
    Path::new("conda-meta").join(record.file_name())
}

pub(super) fn archive_of(record: &RepoDataRecord) -> String {
    record.identifier.to_file_name()
}

/// Returns the packages to link, and the sorted names of those among them that are there already.
fn with_relinked(planned: &Planned, again: &HashSet<String>) -> (Solution, Vec<String>) {
    let mut more = planned.added.clone();
    let records = planned.solution.records.iter();
    let records = records.filter(|record| again.contains(&archive_of(record)));
    let records: Vec<RepoDataRecord> = records.cloned().collect();
    let mut names: Vec<String> = records
        .iter()
        .map(|record| record.package_record.name.as_normalized().to_owned())
        .collect();
    names.sort();
    if !records.is_empty() {
        let all = planned.solution.records.iter().enumerate();
        let all: HashMap<String, usize> =
            all.map(|(at, record)| (archive_of(record), at)).collect();
        more.records.extend(records);
        more.records
            .sort_by_key(|record| all.get(&archive_of(record)).copied());
    }
    (more, names)
}

/// Links the packages `more`, which are a part of `new`.
fn link_more(
    more: &Solution,
    archives: &Archives,
    new: &Solution,
    context: &InstallContext<'_>,
    files: EnvFiles,
    progress: &dyn Progress,
) -> Result<Vec<Linked>, Error> {
    let place = Place {
        packages: context.unpacked_dir(),
        ..context.place.clone()
    };
    fs_err::create_dir_all(&place.packages).map_err(Error::io("create", &place.packages))?;
    let installed = match files {
        EnvFiles::All => records::records(&place.open_env()?)?,
        EnvFiles::Records => Vec::new(),
    };
    let target = link::open_prefix(&place.scratch_env())?;
    let (_, options) = link::link_options(new, &place)?;
    let job = LinkJob {
        solution: more,
        archives,
        place: &place,
        target: &target,
        options: &options,
        installed: &installed,
        spool: None,
        kept: &link::Kept::none(),
    };
    link::link_all(&job, progress)
}

/// Adds the digests of packages for which the channel lists none.
fn add_digests(new: &mut Solution, more: &Solution, linked: &[Linked]) {
    for Linked { index, sha256, .. } in linked {
        let file = archive_of(&more.records[*index]);
        for record in &mut new.records {
            if archive_of(record) == file && record.package_record.sha256.is_none() {
                record.package_record.sha256 = Some((*sha256).into());
            }
        }
    }
}

/// Returns the paths of the byte code that Python 2 writes beside `source`.
pub fn old_byte_code_of(source: &Path) -> [PathBuf; 2] {
    ["pyc", "pyo"].map(|extension| source.with_extension(extension))
}

/// Returns the paths, among `names` in the directory of byte code beside `source`, that are byte
/// code of `source`.
pub fn byte_code_of<'a>(
    source: &'a Path,
    names: impl Iterator<Item = &'a std::ffi::OsStr>,
) -> Vec<PathBuf> {
    let Some(stem) = source.file_stem() else {
        return Vec::new();
    };
    let beginning = format!("{}.", stem.to_string_lossy());
    let dir = source.with_file_name("__pycache__");
    let paths = names.map(|name| dir.join(name));
    let paths = paths.filter(|path| unlink::is_byte_code_of(path, &beginning));
    paths.collect()
}
