//! Responsible for having every archive on disk, complete and as its channel promised.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use futures::{StreamExt, TryStreamExt};
use rattler_conda_types::RepoDataRecord;
use rattler_networking::LazyClient;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::{
    error::Error,
    network::{Network, Partial, unless_cancelled},
    progress::{Progress, Stage},
    secrets::url_without_secrets,
    solve::Solution,
};

/// Archives on disk, in the order of the solution's packages.
#[derive(Debug)]
pub struct Archives {
    pub(crate) paths: Vec<PathBuf>,
}

/// Times a broken download is begun anew; the client below already repeats refused requests.
const ATTEMPTS: u32 = 3;

/// Downloads what the cache does not have; archives of `file://` channels are used where they lie.
///
/// # Errors
/// [`Error::Download`], [`Error::Damaged`] when an archive is not what the channel promised, [`Error::Interrupted`].
pub async fn fetch(
    solution: &Solution,
    network: &Network,
    progress: &dyn Progress,
) -> Result<Archives, Error> {
    network.prepare()?;
    let started = Instant::now();
    progress.begin(Stage::Fetch, Some(solution.archive_bytes()));
    let client = network.client()?;
    let downloads = solution
        .records
        .iter()
        .map(|record| archive(record, network, &client, progress));
    let downloads = futures::stream::iter(downloads).buffered(network.concurrent_downloads.max(1));
    let paths = unless_cancelled(progress, downloads.try_collect::<Vec<PathBuf>>()).await?;
    progress.end(Stage::Fetch, started.elapsed());
    Ok(Archives { paths })
}

async fn archive(
    record: &RepoDataRecord,
    network: &Network,
    client: &LazyClient,
    progress: &dyn Progress,
) -> Result<PathBuf, Error> {
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
        progress.advance(Stage::Fetch, size);
        return Ok(path);
    }
    if !matches!(record.url.scheme(), "http" | "https") {
        return Err(download_error(
            record,
            format!("`{}:` URLs are not supported", record.url.scheme()),
        ));
    }
    let path = cached_path(record, network);
    if fs_err::metadata(&path).is_ok_and(|found| size == 0 || found.len() == size) {
        // Its digest is checked while it is unpacked.
        progress.advance(Stage::Fetch, size);
        return Ok(path);
    }
    progress.detail(Stage::Fetch, &record.identifier.to_file_name());
    let mut attempt = 1;
    loop {
        match download(record, client, &path, progress).await {
            Ok(()) => return Ok(path),
            Err(Error::Download { .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Bytes of the archives that would have to be downloaded now.
pub fn missing_bytes(solution: &Solution, network: &Network) -> u64 {
    let missing = solution.records.iter().filter(|record| {
        let size = record.package_record.size.unwrap_or(0);
        record.url.scheme() != "file"
            && !fs_err::metadata(cached_path(record, network))
                .is_ok_and(|found| found.len() == size)
    });
    missing
        .filter_map(|record| record.package_record.size)
        .sum()
}

/// The digest is part of the name: two channels may have different archives of one name.
fn cached_path(record: &RepoDataRecord, network: &Network) -> PathBuf {
    let package = &record.package_record;
    let identity = match (&package.sha256, &package.md5) {
        (Some(sha256), _) => hex::encode(&sha256[..8]),
        (None, Some(md5)) => hex::encode(&md5[..8]),
        (None, None) => hex::encode(&Sha256::digest(record.url.as_str())[..8]),
    };
    network
        .archives_dir()
        .join(format!("{identity}-{}", record.identifier.to_file_name()))
}

async fn download(
    record: &RepoDataRecord,
    client: &LazyClient,
    path: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let response = client
        .client()
        .get(record.url.clone())
        .send()
        .await
        .map_err(|error| download_error(record, error))?;
    let response = response
        .error_for_status()
        .map_err(|error| download_error(record, error.without_url()))?;
    // Another build may fetch the same archive now: each writes its own file, the last rename wins.
    let partial = Partial::new(path.with_extension(format!("part-{}", std::process::id())));
    let mut file = tokio::fs::File::create(partial.path())
        .await
        .map_err(Error::io("create", partial.path()))?;
    let mut hash = Sha256::new();
    let mut length = 0_u64;
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| download_error(record, error.without_url()))?;
        hash.update(&chunk);
        length += chunk.len() as u64;
        file.write_all(&chunk)
            .await
            .map_err(Error::io("write", partial.path()))?;
        progress.advance(Stage::Fetch, chunk.len() as u64);
    }
    file.flush()
        .await
        .map_err(Error::io("write", partial.path()))?;
    drop(file);
    let package = &record.package_record;
    if let Some(size) = package.size
        && size != length
    {
        return Err(damaged(
            record,
            format!("it has {length} bytes, the channel says {size}"),
        ));
    }
    let digest: [u8; 32] = hash.finalize().into();
    if let Some(sha256) = &package.sha256
        && sha256.as_slice() != digest
    {
        return Err(damaged(record, mismatch("sha256", sha256, &digest)));
    }
    partial.keep_as(path).map_err(Error::io("write", path))
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
