//! Responsible for reading and changing the package records in an environment's `conda-meta`.

use std::path::Path;

use rattler_conda_types::PrefixRecord;

use condense_within::Within;

use crate::error::Error;

/// Removes files from a package's record that belong to another package now.
pub(crate) fn forget_files(
    env_dir: &Within,
    path: &Path,
    is_lost: &dyn Fn(&str) -> bool,
) -> Result<(), Error> {
    let mut json: serde_json::Value = serde_json::from_slice(&env_dir.need(path)?)
        .map_err(|error| Error::io("read", env_dir.path(path))(error.into()))?;
    let lost = |value: &serde_json::Value| value.as_str().is_some_and(is_lost);
    if let Some(files) = json
        .get_mut("files")
        .and_then(serde_json::Value::as_array_mut)
    {
        files.retain(|file| !lost(file));
    }
    if let Some(paths) = json
        .pointer_mut("/paths_data/paths")
        .and_then(serde_json::Value::as_array_mut)
    {
        paths.retain(|entry| !entry.get("_path").is_some_and(lost));
    }
    let text = serde_json::to_vec_pretty(&json)
        .map_err(|error| Error::io("write", env_dir.path(path))(error.into()))?;
    Ok(env_dir.write(path, text)?)
}

/// Reads the record of a package.
pub(crate) fn record(env_dir: &Within, path: &Path) -> Result<PrefixRecord, Error> {
    serde_json::from_slice(&env_dir.need(path)?)
        .map_err(|error| Error::io("read", env_dir.path(path))(error.into()))
}

/// Reads all package records, sorted by name.
pub(crate) fn records(env_dir: &Within) -> Result<Vec<PrefixRecord>, Error> {
    let names = env_dir.names("conda-meta")?.into_iter();
    let paths = names.map(|name| Path::new("conda-meta").join(name));
    let paths = paths.filter(|path| path.extension().is_some_and(|found| found == "json"));
    paths.map(|path| record(env_dir, &path)).collect()
}
