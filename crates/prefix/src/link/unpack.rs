//! Responsible for unpacking the archive of one package and checking its digests and contents.

use std::path::Path;

use rattler_conda_types::RepoDataRecord;

use super::{LinkJob, Ready};
use crate::{
    error::Error,
    fetch::{damaged, mismatch},
    package::{self, Contents, Fault, Package},
    progress::{Phase, Progress},
};

/// Unpacks and checks one package. The name of its directory is a number and not
/// text from the package.
pub(super) fn open(
    job: &LinkJob<'_>,
    index: usize,
    progress: &dyn Progress,
) -> Result<Ready, Error> {
    let record = &job.solution.records[index];
    let archive = &job.archives.paths[index];
    progress.detail(Phase::Link, &record.identifier.to_file_name());
    let root = job.place.packages.join(index.to_string());
    let known = job.spool.and_then(|spool| {
        let sha256: [u8; 32] = record.package_record.sha256?.into();
        let kept = job.kept.take(index, &sha256, progress)?;
        Some((package::restore(kept, &root, spool), sha256))
    });
    let is_new = known.is_none() && keeps(job, record);
    let (contents, sha256) = match known {
        Some(known) => known,
        None => unpack(job, record, archive, &root, progress).inspect_err(|error| {
            // A damaged archive is removed from the cache, so that the next build downloads it
            // again.
            if matches!(error, Error::Damaged { .. }) && record.url.scheme() != "file" {
                let _ = fs_err::remove_file(archive);
            }
        })?,
    };
    let to_keep = is_new
        .then(|| package::to_keep(&contents, sha256))
        .flatten();
    let mounted_env = job.place.mounted_env();
    let package = Package::check(
        contents,
        record,
        job.options.python_info.as_ref(),
        &mounted_env.to_string_lossy(),
    )
    .map_err(|fault| fault.into_error(record))?;
    Ok(Ready::new(package, sha256, to_keep))
}

/// Returns whether an unpacked package may be kept for later builds. A digest that the channel does
/// not list is no key: the next build does not know it.
fn keeps(job: &LinkJob<'_>, record: &RepoDataRecord) -> bool {
    job.kept.place.is_some() && record.package_record.sha256.is_some()
}

/// Unpacks one archive and computes its digest at the same time.
fn unpack(
    job: &LinkJob<'_>,
    record: &RepoDataRecord,
    archive: &Path,
    root: &Path,
    progress: &dyn Progress,
) -> Result<(Contents, [u8; 32]), Error> {
    let package = &record.package_record;
    let stopped = || progress.cancelled();
    // The stronger digest decides if there are two, as in conda.
    let with_md5 = package.sha256.is_none() && package.md5.is_some();
    let spool = job.spool.map(|spool| (spool, keeps(job, record)));
    let (contents, found) = match package::unpack(archive, root, spool, with_md5, &stopped) {
        Ok(unpacked) => unpacked,
        Err(fault @ (Fault::Interrupted | Fault::Io { .. })) => {
            return Err(fault.into_error(record));
        }
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
                    _ => fault.into_error(record),
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
