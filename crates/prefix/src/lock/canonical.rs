//! Responsible for the form that a channel's records have in a lock. Records of a channel's index
//! get this form as soon as they are chosen, so that conda's records in an environment are the same
//! whether the solver or a lock named the package.

use std::collections::HashMap;

use rattler_conda_types::{RepoDataRecord, Subdir};
use rattler_lock::{DEFAULT_ENVIRONMENT_NAME, LockFile, PlatformData, PlatformName};

use super::write::refused;
use crate::error::Error;

/// Returns the records with the values that they have after they were written to a lock and read
/// again, in the same order. A record with a URL that a lock changes stays as it is.
///
/// # Errors
/// Returns [`Error::Install`] if a record cannot be written to a lock.
pub(crate) fn as_in_a_lock(
    records: Vec<RepoDataRecord>,
    subdir: Subdir,
) -> Result<Vec<RepoDataRecord>, Error> {
    if records.is_empty() {
        return Ok(records);
    }
    let platform = subdir.as_str();
    let mut builder = LockFile::builder()
        .with_platforms(vec![PlatformData {
            name: PlatformName::try_from(platform).map_err(refused)?,
            subdir,
            virtual_packages: Vec::new(),
        }])
        .map_err(refused)?;
    for record in &records {
        builder
            .add_conda_package(DEFAULT_ENVIRONMENT_NAME, platform, record.clone().into())
            .map_err(refused)?;
    }
    let text = builder.finish().render_to_string().map_err(refused)?;
    let lock = LockFile::from_str_with_base_directory(&text, None).map_err(refused)?;
    let environment = lock.environment(DEFAULT_ENVIRONMENT_NAME);
    let read = environment
        .as_ref()
        .and_then(|environment| Some((environment, environment.platforms().next()?)))
        .map(|(environment, platform)| environment.conda_repodata_records(platform))
        .transpose()
        .map_err(refused)?
        .flatten()
        .unwrap_or_default();
    let mut read: HashMap<_, _> = read
        .into_iter()
        .map(|record| (record.url.clone(), record))
        .collect();
    let canonical = |record: RepoDataRecord| read.remove(&record.url).unwrap_or(record);
    Ok(records.into_iter().map(canonical).collect())
}
