//! Responsible for environments that are not solved: the file names every package by its archive,
//! and the metadata in the archive replaces those of a channel's index.

use std::{
    collections::HashMap,
    io::Read,
    num::NonZeroUsize,
    path::Path,
    sync::{Mutex, PoisonError},
};

use rattler_conda_types::{
    Matches, PackageName, PackageRecord, RepoDataRecord, Subdir, VersionWithSource,
};
use rattler_digest::{Md5, Md5Hash, Sha256, Sha256Hash, digest::Digest as _};
use url::Url;

use crate::{
    error::Error,
    fetch::{Archives, damaged},
    lock::as_in_a_lock,
    network::Network,
    package,
    progress::{Progress, Warning},
    secrets::url_without_secrets,
    solution::{Solution, refuse_unsafe_names},
    spec::{Archive, EnvironmentSpec, Kind, needed},
    target::Target,
};

/// Number of bytes that are read at a time to compute digests.
const CHUNK_BYTES: usize = 1 << 20;

/// Returns a solution with the facts about packages that the file itself has. [`complete`] adds the
/// metadata in their archives.
pub(crate) fn solution(
    spec: &EnvironmentSpec,
    target: &Target,
    network: &Network,
) -> Result<Solution, Error> {
    let subdir = target.architecture.subdir();
    let refused = |archive: &Archive, why: &str| Error::Unsolvable {
        target: target.to_string(),
        explanation: format!("line {}: `{}` {why}", archive.line, archive.written),
    };
    let mut records = Vec::new();
    let mut channels = Vec::new();
    for archive in &spec.archives {
        let words = &archive.identifier.identifier;
        let name: PackageName = words
            .name
            .parse()
            .map_err(|error| refused(archive, &format!("has a name that is none: {error}")))?;
        let version: VersionWithSource = words
            .version
            .parse()
            .map_err(|error| refused(archive, &format!("has a version that is none: {error}")))?;
        let build = words
            .build_string
            .parse()
            .map_err(|error| refused(archive, &format!("has a build that is none: {error}")))?;
        let mut package = PackageRecord::new(name, version, build);
        if let Some(found) = subdir_of(&archive.url) {
            if found != subdir && found != Subdir::NoArch {
                return Err(refused(archive, &format!("is for {found}")));
            }
            found.as_str().clone_into(&mut package.subdir);
        }
        package.md5 = archive.md5;
        package.sha256 = archive.sha256;
        let channel = channel_of(&archive.url);
        if !channels.contains(&channel) {
            channels.push(channel.clone());
        }
        let record = RepoDataRecord {
            package_record: package,
            identifier: archive.identifier.clone(),
            url: network.without_credentials(&archive.url),
            channel: Some(channel),
        };
        refuse_unsafe_names(&record)?;
        records.push(record);
    }
    Ok(Solution {
        records,
        channels,
        specs: Vec::new(),
        subdir,
        virtual_packages: target.virtual_packages(),
        locked_pip: None,
    })
}

fn subdir_of(url: &Url) -> Option<Subdir> {
    url.path_segments()?.nth_back(1)?.parse().ok()
}

/// Returns the URL of the channel: the directory above the platform's directory, without
/// credentials.
fn channel_of(url: &Url) -> String {
    let mut above = url.clone();
    let levels = if subdir_of(url).is_some() { 2 } else { 1 };
    if let Ok(mut segments) = above.path_segments_mut() {
        for _ in 0..levels {
            segments.pop();
        }
        segments.push("");
    }
    url_without_secrets(&above)
}

/// Reads the metadata that an `@EXPLICIT` file does not have from the packages' archives, and
/// orders the packages by their dependencies. A solved environment is returned unchanged, since all
/// its metadata are known.
///
/// # Errors
/// Returns [`Error::Damaged`] if an archive differs from the file's name or digest for it or is not
/// a conda package, [`Error::Unsolvable`] for a package of another platform, [`Error::Interrupted`]
/// on cancellation, and [`Error::Io`] if an archive cannot be read.
pub fn complete(
    spec: &EnvironmentSpec,
    target: &Target,
    mut solution: Solution,
    archives: Archives,
    progress: &dyn Progress,
) -> Result<(Solution, Archives), Error> {
    if spec.kind() != Kind::Explicit {
        return Ok((solution, archives));
    }
    let workers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = solution.records.len().div_ceil(workers).max(1);
    let parts = solution
        .records
        .chunks_mut(share)
        .zip(archives.paths.chunks(share))
        .enumerate();
    let parts = Mutex::new(parts);
    let failure = Mutex::new(None);
    condense_threads::all(workers, || {
        let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some((number, (records, paths))) = next() {
            let read = records
                .iter_mut()
                .zip(paths)
                .try_for_each(|(record, path)| {
                    if progress.cancelled() {
                        return Err(Error::Interrupted);
                    }
                    read(record, path, target)
                });
            if let Err(error) = read {
                let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                // The error reported is that of the first failing share of the file's packages,
                // whichever thread failed first.
                if first.as_ref().is_none_or(|(other, _)| number < *other) {
                    *first = Some((number, error));
                }
            }
        }
    });
    if let Some((_, error)) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    for text in unmet(&solution) {
        progress.warn(Warning::Notice(text));
    }
    solution.records = as_in_a_lock(solution.records, solution.subdir)?;
    // Link scripts run in the order of the records, so the order in the file does not matter.
    let mut paths: HashMap<_, _> = solution
        .records
        .iter()
        .map(|record| record.url.clone())
        .zip(archives.paths)
        .collect();
    solution.records = PackageRecord::sort_topologically(solution.records);
    let paths = solution
        .records
        .iter()
        .filter_map(|record| paths.remove(&record.url))
        .collect();
    Ok((solution, Archives { paths }))
}

fn read(record: &mut RepoDataRecord, path: &Path, target: &Target) -> Result<(), Error> {
    let checked = check(record, path);
    if checked.is_err() && record.url.scheme() != "file" {
        // A damaged archive is removed from the cache, so that the next build downloads it again.
        // An archive with a `file:` URL belongs to the user.
        let _ = fs_err::remove_file(path);
    }
    let (size, sha256, md5) = checked?;
    let index = package::index_of(path)
        .map_err(|error| damaged(record, format!("it is no conda package: {error}")))?;
    let found = PackageRecord::from_index_json(index, Some(size), Some(sha256), md5)
        .map_err(|error| damaged(record, format!("it does not say its platform: {error}")))?;
    let words = &record.identifier.identifier;
    if found.name.as_normalized() != record.package_record.name.as_normalized()
        || found.version.to_string() != words.version
        || found.build != words.build_string
    {
        return Err(damaged(
            record,
            format!(
                "it holds {}-{}-{}",
                found.name.as_normalized(),
                found.version,
                found.build
            ),
        ));
    }
    let subdir = target.architecture.subdir();
    if found.subdir != subdir.as_str() && found.subdir != Subdir::NoArch.as_str() {
        return Err(Error::Unsolvable {
            target: target.to_string(),
            explanation: format!("`{}` is for {}", record.identifier, found.subdir),
        });
    }
    record.package_record = found;
    refuse_unsafe_names(record)
}

/// Returns size and digests of the archive, after comparing them with the digests in the file.
fn check(
    record: &RepoDataRecord,
    path: &Path,
) -> Result<(u64, Sha256Hash, Option<Md5Hash>), Error> {
    let mut file = condense_input::open(path).map_err(Error::io("open", path))?;
    let (mut sha256, mut md5) = (Sha256::default(), Md5::default());
    let expected = &record.package_record;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut size = 0;
    loop {
        let length = file.read(&mut chunk).map_err(Error::io("read", path))?;
        if length == 0 {
            break;
        }
        size += length as u64;
        sha256.update(&chunk[..length]);
        if expected.md5.is_some() {
            md5.update(&chunk[..length]);
        }
    }
    let (sha256, md5) = (sha256.finalize(), expected.md5.map(|_| md5.finalize()));
    let mismatch = |algorithm: &str, expected: &[u8], found: &[u8]| {
        let (expected, found) = (hex::encode(expected), hex::encode(found));
        damaged(
            record,
            format!("hash mismatch: its {algorithm} is {found}, the file says {expected}"),
        )
    };
    if let Some(expected) = expected.sha256.filter(|expected| *expected != sha256) {
        return Err(mismatch("sha256", &expected, &sha256));
    }
    if let (Some(expected), Some(found)) = (expected.md5, md5)
        && expected != found
    {
        return Err(mismatch("md5", &expected, &found));
    }
    Ok((size, sha256, md5))
}

/// Lists dependencies of packages that neither the file nor the target satisfies. They give
/// warnings and no error, because the author of the file may have left them out on purpose.
fn unmet(solution: &Solution) -> Vec<String> {
    let mut texts = Vec::new();
    for record in &solution.records {
        let package = &record.package_record;
        let missing: Vec<String> = package
            .depends
            .iter()
            .filter(|text| !is_met(text, solution))
            .map(|text| format!("`{text}`"))
            .collect();
        if !missing.is_empty() {
            texts.push(format!(
                "`{}` needs {}, which is not there",
                package.name.as_normalized(),
                missing.join(", ")
            ));
        }
    }
    texts
}

fn is_met(depends: &str, solution: &Solution) -> bool {
    let Ok(spec) = needed(depends) else {
        return true;
    };
    if depends.starts_with("__") {
        return solution.virtual_packages.iter().any(|word| {
            let mut parts = word.splitn(3, '=');
            let (name, version) = (parts.next().unwrap_or(""), parts.next().unwrap_or("0"));
            let name_fits = depends
                .split([' ', '=', '<', '>', '!', '['])
                .next()
                .is_some_and(|wanted| wanted == name);
            name_fits
                && spec.version.as_ref().is_none_or(|wanted| {
                    version
                        .parse()
                        .is_ok_and(|version| wanted.matches(&version))
                })
        });
    }
    solution
        .records
        .iter()
        .any(|record| spec.matches(&record.package_record))
}
