//! Responsible for downloading archives and checking that they are complete and as described by
//! their channel.

mod download;
mod part;

use std::{path::PathBuf, time::Instant};

use futures::{StreamExt, TryStreamExt};
use rattler_conda_types::RepoDataRecord;
use sha2::{Digest, Sha256};

use crate::{
    error::Error,
    network::Network,
    progress::{Phase, Progress},
    secrets::url_without_secrets,
    solution::{NamedPackage, Solution},
};
use download::download;

/// Paths of archives on disk, in the order of the solution's packages.
#[derive(Debug)]
pub struct Archives {
    pub(crate) paths: Vec<PathBuf>,
}

/// An archive of a solution, before anything is downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Package of the archive.
    pub package: NamedPackage,
    /// Size in bytes, if the channel or the lock gives it.
    pub size_bytes: Option<u64>,
    /// Whether the archive is on this machine: in the cache, or in a `file://` channel.
    pub is_here: bool,
}

/// Lists the archives of a solution in the order of its packages, without downloading anything.
///
/// # Errors
/// Returns the errors of [`fetch`] that can be known before a download: [`Error::Download`] or
/// [`Error::Damaged`] for an archive of a `file://` channel, and [`Error::Offline`].
pub fn archives(solution: &Solution, network: &Network) -> Result<Vec<Archive>, Error> {
    let records = without_credentials(solution, network);
    if network.settings().offline {
        refuse_missing(&records, network)?;
    }
    let packages = solution.packages().into_iter().zip(&records);
    packages
        .map(|(package, record)| {
            Ok(Archive {
                package,
                size_bytes: record.package_record.size,
                is_here: local_archive(record, network)?.is_some(),
            })
        })
        .collect()
}

/// Returns the records of a solution with URLs without credentials. URLs in a lock may have
/// credentials that the URLs of the solution's channels do not have.
fn without_credentials(solution: &Solution, network: &Network) -> Vec<RepoDataRecord> {
    let records = solution.records.iter();
    records
        .map(|record| RepoDataRecord {
            url: network.without_credentials(&record.url),
            ..record.clone()
        })
        .collect()
}

/// Downloads the archives that the cache does not have. Archives of `file://`
/// channels are used in place.
///
/// # Errors
/// Returns [`Error::Download`] if a download fails, [`Error::Damaged`] if an archive differs from
/// the channel's description, [`Error::Offline`] with all archives that would have to be
/// downloaded, and [`Error::Interrupted`] on cancellation.
pub async fn fetch(
    solution: &Solution,
    network: &Network,
    progress: &dyn Progress,
) -> Result<Archives, Error> {
    network.prepare()?;
    for checkable in [true, false] {
        part::clear_leftovers(&network.archives_dir(checkable));
    }
    let started = Instant::now();
    progress.begin(Phase::Fetch, Some(solution.archive_bytes()));
    let records = without_credentials(solution, network);
    if network.settings().offline {
        refuse_missing(&records, network)?;
    }
    let downloads = records
        .iter()
        .map(|record| archive(record, network, progress));
    let downloads = futures::stream::iter(downloads).buffered(network.concurrent_downloads());
    let paths = network
        .attended(progress, downloads.try_collect::<Vec<PathBuf>>())
        .await?;
    progress.end(Phase::Fetch, started.elapsed());
    Ok(Archives { paths })
}

/// Returns the path of an archive that needs no download, in its `file://` channel or in the cache.
/// Returns `None` if the archive must be downloaded.
fn local_archive(record: &RepoDataRecord, network: &Network) -> Result<Option<PathBuf>, Error> {
    let size = record.package_record.size.unwrap_or(0);
    if record.url.scheme() == "file" {
        let path = record
            .url
            .to_file_path()
            .map_err(|()| download_error(record, "not a path of this machine"))?;
        let found = fs_err::metadata(&path).map_err(|error| download_error(record, error))?;
        if size != 0 && found.len() != size {
            return Err(damaged(
                record,
                format!("it has {} bytes, the channel says {size}", found.len()),
            ));
        }
        return Ok(Some(path));
    }
    if !matches!(record.url.scheme(), "http" | "https") {
        return Err(download_error(
            record,
            format!("`{}:` URLs are not supported", record.url.scheme()),
        ));
    }
    let path = cached_path(record, network);
    // The digest of the archive is checked while it is unpacked.
    Ok(fs_err::metadata(&path)
        .is_ok_and(|found| size == 0 || found.len() == size)
        .then_some(path))
}

async fn archive(
    record: &RepoDataRecord,
    network: &Network,
    progress: &dyn Progress,
) -> Result<PathBuf, Error> {
    if let Some(path) = local_archive(record, network)? {
        progress.advance(Phase::Fetch, record.package_record.size.unwrap_or(0));
        return Ok(path);
    }
    progress.detail(Phase::Fetch, &record.identifier.to_file_name());
    let path = cached_path(record, network);
    download(record, &path, network, progress).await?;
    Ok(path)
}

/// Returns an error that lists all archives that would have to be downloaded, if there are any.
fn refuse_missing(records: &[RepoDataRecord], network: &Network) -> Result<(), Error> {
    let mut missing = Vec::new();
    for record in records {
        if local_archive(record, network)?.is_none() {
            missing.push(url_without_secrets(&record.url));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Offline { missing })
}

/// Returns the number and the size in bytes of the archives that the cache lacks.
pub fn missing_archives(solution: &Solution, network: &Network) -> (u64, u64) {
    let missing = solution.records.iter().filter(|record| {
        let size = record.package_record.size.unwrap_or(0);
        record.url.scheme() != "file"
            && !fs_err::metadata(cached_path(record, network))
                .is_ok_and(|found| found.len() == size)
    });
    missing.fold((0, 0), |(count, bytes), record| {
        (count + 1, bytes + record.package_record.size.unwrap_or(0))
    })
}

/// Returns the path of an archive in the cache. The file name contains a digest, because two
/// channels may have different archives of the same name.
fn cached_path(record: &RepoDataRecord, network: &Network) -> PathBuf {
    let package = &record.package_record;
    let identity = match (&package.sha256, &package.md5) {
        (Some(sha256), _) => hex::encode(&sha256[..8]),
        (None, Some(md5)) => hex::encode(&md5[..8]),
        (None, None) => hex::encode(&Sha256::digest(url_without_secrets(&record.url))[..8]),
    };
    network
        .archives_dir(package.sha256.is_some())
        .join(format!("{identity}-{}", record.identifier.to_file_name()))
}

pub(crate) fn mismatch(algorithm: &str, expected: &[u8], found: &[u8]) -> String {
    format!(
        "hash mismatch: its {algorithm} is {}, the channel says {}",
        hex::encode(found),
        hex::encode(expected)
    )
}

pub(crate) fn damaged(record: &RepoDataRecord, problem: impl Into<String>) -> Error {
    Error::Damaged {
        package: record.identifier.to_file_name(),
        url: url_without_secrets(&record.url),
        problem: problem.into(),
    }
}

fn download_error(
    record: &RepoDataRecord,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Download {
        url: url_without_secrets(&record.url),
        source: source.into(),
    }
}
