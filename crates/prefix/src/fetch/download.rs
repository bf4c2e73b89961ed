//! Responsible for downloading one archive from a server into the cache.

use std::path::Path;

use futures::StreamExt;
use http::{
    StatusCode,
    header::{CONTENT_RANGE, RANGE},
};
use rattler_conda_types::RepoDataRecord;
use reqwest::Response;

use super::{damaged, download_error, mismatch, part::Part};
use crate::{
    error::Error,
    network::{Network, ServedBy},
    progress::{Phase, Progress},
};

/// Downloads `record`'s archive to `path`.
///
/// A response that breaks off is continued with a range request. The download fails after more
/// attempts in a row without progress than the settings allow for repetitions. The size and digest
/// of the result are compared with the channel's.
///
/// # Errors
/// Returns [`Error::Damaged`] if the archive differs from the channel's description, and
/// [`Error::Download`] or [`Error::Io`] if the download fails.
pub(super) async fn download(
    record: &RepoDataRecord,
    path: &Path,
    network: &Network,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let package = &record.package_record;
    // Without a digest, a download is never continued, since the parts could be
    // from different archives.
    let checkable = package.sha256.is_some() || package.md5.is_some();
    let mut part = Part::open(path, checkable).await?;
    let mut counter = ProgressCounter { progress, bytes: 0 };
    let mut furthest = part.length();
    let mut in_vain = 0;
    let mut doubted = false;
    loop {
        let resumed = part.length() > 0;
        match receive(record, &mut part, network, &mut counter).await {
            Ok(served_by) => match verify(record, &part) {
                Ok(()) => return part.keep_as(path).await,
                Err(error) => {
                    let others = ServedBy::blame(&served_by);
                    // Either the earlier part or this mirror may be the cause. Downloading the
                    // whole archive once more, from another mirror if there is one, decides it.
                    if doubted || !(resumed || others) {
                        part.restart().await?;
                        return Err(error);
                    }
                    doubted = true;
                    part.restart().await?;
                }
            },
            Err(ReceiveError::Broken(error)) => {
                part.flush().await?;
                if part.length() >= furthest + gain(record) {
                    furthest = part.length();
                    in_vain = 0;
                } else {
                    in_vain += 1;
                }
                if in_vain > network.settings().retries {
                    return Err(error);
                }
                if !checkable {
                    part.restart().await?;
                }
                tokio::time::sleep(network.settings().backoff).await;
            }
            Err(ReceiveError::Fatal(error)) => return Err(error),
        }
    }
}

/// Returns the number of bytes that an attempt must add to count as progress: a
/// hundredth of the archive, at most 64 KiB. Otherwise a server that breaks off after
/// each byte would be tried forever.
fn gain(record: &RepoDataRecord) -> u64 {
    let size = record.package_record.size.unwrap_or(u64::MAX);
    (size / 100).clamp(1, 64 << 10)
}

enum ReceiveError {
    /// The response broke off. The received bytes are kept.
    Broken(Error),
    Fatal(Error),
}

impl From<Error> for ReceiveError {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

/// Appends the response's body to `part`. Returns the extensions of the
/// response, which name the mirror.
async fn receive(
    record: &RepoDataRecord,
    part: &mut Part,
    network: &Network,
    counter: &mut ProgressCounter<'_>,
) -> Result<http::Extensions, ReceiveError> {
    let size = record.package_record.size;
    if size.is_some_and(|size| part.length() > size) {
        part.restart().await?;
    }
    if part.length() > 0 && size == Some(part.length()) {
        counter.advance_to(part.length());
        return Ok(http::Extensions::new());
    }
    let mut response = ask(record, part.length(), network).await?;
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        part.restart().await?;
        response = ask(record, 0, network).await?;
    }
    let mut response = response
        .error_for_status()
        .map_err(|error| ReceiveError::Fatal(download_error(record, error.without_url())))?;
    if !continues(&response, part.length()) {
        part.restart().await?;
    }
    counter.advance_to(part.length());
    let served_by = std::mem::take(response.extensions_mut());
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            ServedBy::blame(&served_by);
            ReceiveError::Broken(download_error(record, error.without_url()))
        })?;
        part.append(&chunk).await?;
        counter.advance_to(part.length());
        if size.is_some_and(|size| part.length() > size) {
            // A server that sends more than the archive's size must not fill the disk.
            break;
        }
    }
    Ok(served_by)
}

/// Requests the archive from the byte `start` on.
async fn ask(
    record: &RepoDataRecord,
    start: u64,
    network: &Network,
) -> Result<Response, ReceiveError> {
    let mut request = network.client().client().get(record.url.clone());
    if start > 0 {
        request = request.header(RANGE, format!("bytes={start}-"));
    }
    let answer = request.send().await;
    answer.map_err(|error| ReceiveError::Fatal(download_error(record, without_url(error))))
}

fn without_url(error: reqwest_middleware::Error) -> reqwest_middleware::Error {
    match error {
        reqwest_middleware::Error::Reqwest(error) => error.without_url().into(),
        error @ reqwest_middleware::Error::Middleware(_) => error,
    }
}

/// Returns true if the response's body begins at the byte `start`. Otherwise
/// it is the whole archive.
fn continues(response: &Response, start: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE);
    response.status() == StatusCode::PARTIAL_CONTENT
        && range
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.strip_prefix("bytes ")?.split('-').next()?.parse().ok())
            == Some(start)
}

/// Returns an error if the size or digest differs from the channel's.
fn verify(record: &RepoDataRecord, part: &Part) -> Result<(), Error> {
    let package = &record.package_record;
    if let Some(size) = package.size
        && size != part.length()
    {
        let than = if part.length() > size {
            "more than "
        } else {
            ""
        };
        let found = part.length().min(size);
        return Err(damaged(
            record,
            format!("it has {than}{found} bytes, the channel says {size}"),
        ));
    }
    let (sha256, md5) = part.digests();
    match (&package.sha256, &package.md5) {
        (Some(expected), _) if expected.as_slice() != sha256 => {
            Err(damaged(record, mismatch("sha256", expected, &sha256)))
        }
        (None, Some(expected)) if expected.as_slice() != md5 => {
            Err(damaged(record, mismatch("md5", expected, &md5)))
        }
        _ => Ok(()),
    }
}

/// Reports progress such that no byte is counted twice.
struct ProgressCounter<'a> {
    progress: &'a dyn Progress,
    bytes: u64,
}

impl ProgressCounter<'_> {
    fn advance_to(&mut self, bytes: u64) {
        if bytes > self.bytes {
            self.progress.advance(Phase::Fetch, bytes - self.bytes);
            self.bytes = bytes;
        }
    }
}
