//! Responsible for the records of installed packages in an environment's `conda-meta`: making,
//! reading and changing them.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use rattler_conda_types::{
    MatchSpec, PackageNameMatcher, PrefixRecord, RepoDataRecord, prefix_record::PathsEntry,
};

use condense_within::Within;

use crate::{
    error::Error,
    secrets::{url_without_secrets, without_secrets},
};

/// Key of a record for the files that the package has given up, since they are another package's.
/// Who removes the other package links this one again. conda and rattler leave unknown keys alone.
const YIELDED: &str = "yielded_files";

/// Removes files from a package's record that belong to another package now, and lists them under
/// their names in the package. The rest is sorted: which of several packages rattler linked first
/// decides where it lists a file that all have.
pub(crate) fn forget_files(
    env_dir: &Within,
    path: &Path,
    is_lost: &dyn Fn(&str) -> bool,
) -> Result<(), Error> {
    let mut json: serde_json::Value = serde_json::from_slice(&env_dir.read_required(path)?)
        .map_err(|error| Error::io("read", env_dir.path(path))(error.into()))?;
    let lost = |value: &serde_json::Value| value.as_str().is_some_and(is_lost);
    if let Some(files) = json
        .get_mut("files")
        .and_then(serde_json::Value::as_array_mut)
    {
        files.retain(|file| !lost(file));
        sort_by_path(files, serde_json::Value::as_str);
    }
    let mut yielded: Vec<String> = yielded_in(&json).map(str::to_owned).collect();
    if let Some(paths) = json
        .pointer_mut("/paths_data/paths")
        .and_then(serde_json::Value::as_array_mut)
    {
        let gone = paths
            .iter()
            .filter(|entry| entry.get("_path").is_some_and(lost));
        let own_names = gone.filter_map(|entry| entry.get("original_path")?.as_str());
        yielded.extend(own_names.map(str::to_owned));
        paths.retain(|entry| !entry.get("_path").is_some_and(lost));
        sort_by_path(paths, |entry| entry.get("_path")?.as_str());
    }
    yielded.sort();
    yielded.dedup();
    if !yielded.is_empty() {
        json[YIELDED] = yielded.into();
    }
    let text = serde_json::to_vec_pretty(&json)
        .map_err(|error| Error::io("write", env_dir.path(path))(error.into()))?;
    Ok(env_dir.write(path, text)?)
}

/// Returns the files that a package has given up, by its record.
///
/// # Errors
/// Returns [`Error::Io`] if the record cannot be read.
pub(crate) fn yielded_files(env_dir: &Within, path: &Path) -> Result<Vec<PathBuf>, Error> {
    let bytes = env_dir.read_required(path)?;
    // Few records have the key, and some have ten thousand files.
    if !String::from_utf8_lossy(&bytes).contains(YIELDED) {
        return Ok(Vec::new());
    }
    let json: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|error| Error::io("read", env_dir.path(path))(error.into()))?;
    Ok(yielded_in(&json).map(PathBuf::from).collect())
}

fn yielded_in(record: &serde_json::Value) -> impl Iterator<Item = &str> {
    let listed = record.get(YIELDED).and_then(serde_json::Value::as_array);
    listed
        .into_iter()
        .flatten()
        .filter_map(serde_json::Value::as_str)
}

fn sort_by_path(
    values: &mut [serde_json::Value],
    path: impl Fn(&serde_json::Value) -> Option<&str>,
) {
    values.sort_by(|a, b| path(a).map(Path::new).cmp(&path(b).map(Path::new)));
}

/// Reads the record of a package.
pub(crate) fn record(env_dir: &Within, path: &Path) -> Result<PrefixRecord, Error> {
    serde_json::from_slice(&env_dir.read_required(path)?)
        .map_err(|error| Error::io("read", env_dir.path(path))(error.into()))
}

/// Reads all package records, sorted by name.
pub(crate) fn records(env_dir: &Within) -> Result<Vec<PrefixRecord>, Error> {
    let names = env_dir.names("conda-meta")?.into_iter();
    let paths = names.map(|name| Path::new("conda-meta").join(name));
    let paths = paths.filter(|path| path.extension().is_some_and(|found| found == "json"));
    paths.map(|path| record(env_dir, &path)).collect()
}

pub(crate) fn requested_specs(specs: &[MatchSpec]) -> HashMap<String, Vec<String>> {
    let mut requested: HashMap<String, Vec<String>> = HashMap::new();
    for spec in specs {
        if let PackageNameMatcher::Exact(name) = &spec.name {
            // The channel is left out: it may carry credentials.
            let text = MatchSpec {
                channel: None,
                ..spec.clone()
            }
            .to_string();
            requested
                .entry(name.as_normalized().to_owned())
                .or_default()
                .push(text);
        }
    }
    requested
}

/// Copies a channel's record without credentials.
pub(crate) fn scrubbed(record: &RepoDataRecord) -> RepoDataRecord {
    let mut record = record.clone();
    if let Ok(url) = url_without_secrets(&record.url).parse() {
        record.url = url;
    }
    record.channel = record
        .channel
        .map(|channel| without_secrets(&channel).into_owned());
    record
}

/// Makes the installed package's record, without paths of this machine.
pub(crate) fn prefix_record(
    record: &RepoDataRecord,
    paths: Vec<PathsEntry>,
    requested: &HashMap<String, Vec<String>>,
) -> PrefixRecord {
    let name = record.package_record.name.as_normalized();
    let requested_specs = requested.get(name).cloned().unwrap_or_default();
    PrefixRecord {
        requested_specs,
        ..PrefixRecord::from_repodata_record(scrubbed(record), paths)
    }
}
