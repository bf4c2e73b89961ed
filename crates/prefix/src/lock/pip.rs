//! Responsible for the pip packages of a lock: reading them from pip's report or from a lock, and
//! writing them to a lock.

use std::path::{Path, PathBuf};

use rattler_lock::{
    PackageHashes, PypiDistributionData, PypiPackageData, PypiSourceData, SourceData, UrlOrPath,
    Verbatim,
};
use serde::Deserialize;
use url::Url;

use super::{Extra, requirement::parse_requirement};
use crate::{
    pip_package::{LockedPip, PipSource, normalized},
    secrets::url_without_secrets,
};

/// Part of pip's installation report that locks need.
#[derive(Deserialize)]
struct Report {
    install: Vec<Installed>,
}

#[derive(Deserialize)]
struct Installed {
    download_info: DownloadInfo,
    metadata: Metadata,
    /// Absent in reports that condense makes of the log of an old pip.
    requested: Option<bool>,
}

#[derive(Deserialize)]
struct DownloadInfo {
    url: String,
    archive_info: Option<ArchiveInfo>,
    vcs_info: Option<VcsInfo>,
    dir_info: Option<DirInfo>,
    subdirectory: Option<String>,
}

#[derive(Default, Deserialize)]
struct ArchiveInfo {
    #[serde(default)]
    hashes: std::collections::BTreeMap<String, String>,
    /// Digest as `sha256=…`, the only form in reports of pip 22.2 to 23.0.
    hash: Option<String>,
}

impl ArchiveInfo {
    /// Returns the SHA-256 digest. Reports of pip 22.2 to 23.0 have no digest for
    /// archives on this machine.
    fn sha256(&self) -> Option<&str> {
        let of_text = self.hash.as_deref();
        let of_text = of_text.and_then(|hash| hash.strip_prefix("sha256="));
        self.hashes.get("sha256").map(String::as_str).or(of_text)
    }
}

#[derive(Deserialize)]
struct VcsInfo {
    vcs: String,
    commit_id: String,
}

#[derive(Deserialize)]
struct DirInfo {
    #[serde(default)]
    editable: bool,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    version: String,
    #[serde(default)]
    requires_dist: Vec<String>,
    requires_python: Option<String>,
}

/// Checks that a lock can be made from a report. The error is the reason why it cannot.
pub(crate) fn check_report(text: &str) -> Result<(), String> {
    from_report(text).map(|_| ())
}

/// Reads the packages in pip's installation report, sorted by name.
pub(crate) fn from_report(text: &str) -> Result<Vec<LockedPip>, String> {
    let report: Report =
        serde_json::from_str(text).map_err(|error| format!("pip's report: {error}"))?;
    let mut locked = report
        .install
        .into_iter()
        .map(LockedPip::from_installed)
        .collect::<Result<Vec<_>, _>>()?;
    locked.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(locked)
}

impl LockedPip {
    fn from_installed(installed: Installed) -> Result<Self, String> {
        let Installed {
            download_info: info,
            metadata,
            requested,
        } = installed;
        let name = normalized(&metadata.name);
        let url = Url::parse(&info.url)
            .map_err(|error| format!("`{name}` comes from `{}`: {error}", info.url))?;
        let source = if let Some(vcs) = info.vcs_info {
            let subdirectory = info
                .subdirectory
                .map_or_else(String::new, |dir| format!("#subdirectory={dir}"));
            PipSource::Git(format!(
                "{}+{}@{}{subdirectory}",
                vcs.vcs,
                url_without_secrets(&url),
                vcs.commit_id
            ))
        } else if let Some(dir) = info.dir_info {
            let path = url
                .to_file_path()
                .map_err(|()| format!("`{name}` comes from `{url}`, which is no directory"))?;
            PipSource::Dir {
                path,
                editable: dir.editable,
            }
        } else {
            let archive = info.archive_info.unwrap_or_default();
            let sha256 = archive.sha256().map(str::to_owned);
            let sha256 = sha256
                .or_else(|| digest_of_local(&url))
                .ok_or_else(|| format!("pip reports no sha256 for `{name}`"))?;
            let url = url_without_secrets(&url);
            PipSource::Archive {
                url: Url::parse(&url).map_err(|error| error.to_string())?,
                sha256,
            }
        };
        let version = match source {
            PipSource::Dir { .. } => None,
            _ => Some(metadata.version),
        };
        Ok(Self {
            name,
            version,
            source,
            requires_dist: metadata
                .requires_dist
                .into_iter()
                .filter(|line| parse_requirement(line).is_some())
                .collect(),
            requires_python: metadata.requires_python,
            requested: requested.unwrap_or(true),
        })
    }

    /// Reads a package in rattler's lock format. Relative paths start at `folder`.
    pub(super) fn from_data(
        data: &PypiPackageData,
        folder: &Path,
        extra: &Extra,
    ) -> Result<Self, String> {
        let name = data.name().to_string();
        let editable = &extra.editable;
        let requested = extra.requested_pip.as_ref();
        let sha256 = data
            .as_wheel()
            .and_then(|wheel| wheel.hash.as_ref())
            .and_then(PackageHashes::sha256)
            .map(hex::encode);
        let source = match (data, data.location().inner()) {
            (PypiPackageData::Source(_), UrlOrPath::Path(path)) => PipSource::Dir {
                path: below(folder, path.as_str()),
                editable: editable.contains(&name),
            },
            (_, UrlOrPath::Url(url)) if url.scheme().contains('+') => {
                PipSource::Git(url.to_string())
            }
            (_, location) => {
                let url = match location {
                    UrlOrPath::Url(url) => url.clone(),
                    UrlOrPath::Path(path) => Url::from_file_path(below(folder, path.as_str()))
                        .map_err(|()| format!("`{path}` is not a path"))?,
                };
                let is_dir = url.to_file_path().ok().filter(|path| path.is_dir());
                match (sha256, is_dir) {
                    (_, Some(path)) => PipSource::Dir {
                        path,
                        editable: editable.contains(&name),
                    },
                    (Some(sha256), None) => PipSource::Archive { url, sha256 },
                    (None, None) => {
                        return Err(format!(
                            "`{name}` from `{}` has no sha256, so nobody could tell whether it is still the same",
                            url_without_secrets(&url)
                        ));
                    }
                }
            }
        };
        let is_dir = matches!(source, PipSource::Dir { .. });
        Ok(Self {
            version: data.version().filter(|_| !is_dir).map(ToString::to_string),
            source,
            requires_dist: data
                .requires_dist()
                .iter()
                .map(ToString::to_string)
                .collect(),
            requires_python: data.requires_python().map(ToString::to_string),
            requested: requested.is_none_or(|names| names.contains(&name)),
            name,
        })
    }

    /// Returns the package in rattler's lock format.
    pub(super) fn to_data(&self) -> Result<PypiPackageData, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("`{}`: {error}", self.name);
        let name = self.name.parse().map_err(|error| wrong(&error))?;
        let requires_dist = self
            .requires_dist
            .iter()
            .filter_map(|line| parse_requirement(line))
            .collect();
        let requires_python = self
            .requires_python
            .as_ref()
            .and_then(|text| text.parse().ok());
        let location: UrlOrPath = match &self.source {
            PipSource::Archive { url, .. } => url.clone().into(),
            PipSource::Git(url) => UrlOrPath::Url(Url::parse(url).map_err(|error| wrong(&error))?),
            PipSource::Dir { path, .. } => UrlOrPath::Url(
                Url::from_file_path(path).map_err(|()| wrong(&"its path is not absolute"))?,
            )
            .normalize()
            .into_owned(),
        };
        if let PipSource::Dir { .. } = self.source {
            return Ok(PypiSourceData {
                name,
                location: Verbatim::from(location),
                requires_dist,
                requires_python,
                source_data: SourceData::default(),
            }
            .into());
        }
        let hash = match &self.source {
            PipSource::Archive { sha256, .. } => Some(PackageHashes::Sha256(
                rattler_digest::parse_digest_from_hex::<rattler_digest::Sha256>(sha256)
                    .ok_or_else(|| wrong(&"its sha256 is not one"))?,
            )),
            _ => None,
        };
        let version = self.version.as_deref().unwrap_or("0");
        Ok(PypiDistributionData {
            name,
            version: version.parse().map_err(|error| wrong(&error))?,
            location: Verbatim::from(location),
            index_url: None,
            hash,
            requires_dist,
            requires_python,
        }
        .into())
    }
}

/// Returns the SHA-256 digest of an archive on this machine, in hexadecimal digits.
fn digest_of_local(url: &Url) -> Option<String> {
    let path = url.to_file_path().ok().filter(|path| path.is_file())?;
    rattler_digest::compute_file_digest::<rattler_digest::Sha256>(path)
        .ok()
        .map(hex::encode)
}

fn below(folder: &Path, path: &str) -> PathBuf {
    folder.join(path).components().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn report(url: &str, archive: &str) -> String {
        format!(
            r#"{{"install": [{{"download_info": {{"url": "{url}", "archive_info": {archive}}},
                "metadata": {{"name": "Click", "version": "8.1.7"}}}}]}}"#
        )
    }

    fn digest_in(url: &str, archive: &str) -> Result<String, String> {
        match &from_report(&report(url, archive))?[0].source {
            PipSource::Archive { sha256, .. } => Ok(sha256.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// The forms are those of pip 22.2, 22.3, 23.0 and 23.1.
    #[test]
    fn reports_of_all_ages_have_digests() {
        let digest = "ab".repeat(32);
        let url = "https://host/click-8.1.7-py3-none-any.whl";
        for archive in [
            format!(r#"{{"hash": "sha256={digest}"}}"#),
            format!(r#"{{"hash": "sha256={digest}", "hashes": {{"sha256": "{digest}"}}}}"#),
            format!(r#"{{"hashes": {{"sha256": "{digest}"}}}}"#),
        ] {
            assert_eq!(digest_in(url, &archive), Ok(digest.clone()), "{archive}");
        }
        for archive in ["{}", r#"{"hash": "md5=00"}"#] {
            let refused = digest_in(url, archive).unwrap_err();
            assert_eq!(refused, "pip reports no sha256 for `click`");
            assert_eq!(check_report(&report(url, archive)), Err(refused));
        }
    }

    #[test]
    fn a_file_of_this_machine_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join("click 8.whl");
        fs_err::write(&wheel, "abc").unwrap();
        let url = Url::from_file_path(&wheel).unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest_in(url.as_str(), "{}").as_deref(), Ok(expected));
        fs_err::remove_file(wheel).unwrap();
        assert!(digest_in(url.as_str(), "{}").is_err());
    }
}
