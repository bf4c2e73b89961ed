//! Responsible for images that another tool has stored on this machine: OCI layouts, archives of
//! OCI layouts, and archives of docker.

mod archive;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::digest::Digest;
use super::manifest::{DOCUMENT_LEN_MAX, Descriptor, Document};
use super::platform::Platform;
use super::source::{Format, Local};
use crate::Error;
use archive::Archive;

/// Annotations in which tools store the name of an image in a layout.
const NAME_ANNOTATIONS: [&str; 2] = [
    "org.opencontainers.image.ref.name",
    "io.containerd.image.name",
];

/// A layout or archive with blobs.
#[derive(Debug)]
pub(crate) enum Store {
    Layout(std::path::PathBuf),
    Archive(Archive),
}

/// A contiguous part of a file.
#[derive(Debug, Clone)]
pub(crate) struct StoredRange {
    pub(crate) file: Arc<fs_err::File>,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// One image in an archive of docker.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DockerImage {
    pub(crate) config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) layers: Vec<String>,
}

impl Store {
    pub(crate) fn open(local: &Local, spool_dir: &Path) -> Result<Store, Error> {
        let path = &local.path;
        let metadata = fs_err::metadata(path).map_err(Error::io("open", path))?;
        match (local.format, metadata.is_dir()) {
            (Format::Layout, true) => Ok(Store::Layout(path.clone())),
            (Format::OciArchive | Format::DockerArchive, false) => {
                Archive::open(path, spool_dir).map(Store::Archive)
            }
            (_, is_dir) => {
                let (found, wanted) = if is_dir {
                    ("a directory", "`oci:`")
                } else {
                    ("a file", "`oci-archive:` or `docker-archive:`")
                };
                Err(invalid(
                    path,
                    format!("it is {found}, which belongs behind {wanted}"),
                ))
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Store::Layout(path) => path,
            Store::Archive(archive) => archive.path(),
        }
    }

    /// Returns the file with this name in the layout or archive.
    pub(crate) fn part(&self, name: &str) -> Result<StoredRange, Error> {
        match self {
            Store::Layout(dir) => {
                let path = dir.join(name);
                let file = condense_input::open(&path).map_err(Error::io("open", &path))?;
                let size = file.metadata().map_err(Error::io("read", &path))?.len();
                Ok(StoredRange {
                    file: Arc::new(file),
                    offset: 0,
                    size,
                })
            }
            Store::Archive(archive) => archive
                .part(name)
                .ok_or_else(|| invalid(archive.path(), format!("there is no `{name}` in it"))),
        }
    }

    /// Returns a blob of a layout.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<StoredRange, Error> {
        let [algorithm, hex] = digest.path();
        self.part(&format!("blobs/{algorithm}/{hex}"))
    }

    /// Reads a small blob as a whole, and checks its digest.
    pub(crate) fn document(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let bytes = self.read(&self.blob(digest)?)?;
        if digest.matches(&bytes) {
            Ok(bytes)
        } else {
            Err(invalid(
                self.path(),
                format!("the blob {digest} in it is something else"),
            ))
        }
    }

    fn read(&self, part: &StoredRange) -> Result<Vec<u8>, Error> {
        if part.size > DOCUMENT_LEN_MAX {
            let problem = format!("a document in it has more than {DOCUMENT_LEN_MAX} bytes");
            return Err(invalid(self.path(), problem));
        }
        let mut bytes = vec![0; part.size as usize];
        part.file
            .file()
            .read_exact_at(&mut bytes, part.offset)
            .map_err(Error::io("read", part.file.path()))?;
        Ok(bytes)
    }

    /// Returns the descriptor of the selected image's manifest or index.
    pub(crate) fn select(
        &self,
        selector: Option<&str>,
        platform: &Platform,
    ) -> Result<Descriptor, Error> {
        let bytes = self.read(&self.part("index.json")?)?;
        let index = Document::parse(&bytes).map_err(|problem| invalid(self.path(), problem))?;
        let entries = index.manifests.unwrap_or_default();
        let names = |entry: &Descriptor| -> Vec<String> {
            let names = NAME_ANNOTATIONS
                .iter()
                .filter_map(|key| entry.annotations.get(*key));
            names.cloned().collect()
        };
        let found: Vec<&Descriptor> = match selector {
            None => entries.iter().collect(),
            Some(wanted) => entries
                .iter()
                .filter(|entry| {
                    wanted.strip_prefix('@') == Some(&entry.digest)
                        || names(entry).iter().any(|name| name == wanted)
                })
                .collect(),
        };
        match found.as_slice() {
            [only] => return Ok((*only).clone()),
            [] => {}
            // The entries are one image for several platforms.
            several if several.iter().all(|entry| entry.platform.is_some()) => {
                let several: Vec<Descriptor> = several.iter().copied().cloned().collect();
                if let Some(chosen) = platform.choose(&several) {
                    return Ok(chosen.clone());
                }
            }
            _ => {}
        }
        let known: Vec<String> = entries.iter().flat_map(names).collect();
        Err(Error::Choice {
            path: self.path().to_owned(),
            wanted: selector.map(str::to_owned),
            known,
        })
    }

    /// Returns the selected image of an archive of docker.
    pub(crate) fn select_docker(&self, selector: Option<&str>) -> Result<DockerImage, Error> {
        let bytes = self.read(&self.part("manifest.json")?)?;
        let images: Vec<DockerImage> = serde_json::from_slice(&bytes).map_err(|error| {
            invalid(
                self.path(),
                format!("its `manifest.json` cannot be read: {error}"),
            )
        })?;
        let known: Vec<String> = images
            .iter()
            .flat_map(|image| image.repo_tags.iter().flatten().cloned())
            .collect();
        let mut found = images.into_iter().filter(|image| match selector {
            None => true,
            Some(wanted) => image
                .repo_tags
                .iter()
                .flatten()
                .any(|tag| tag == wanted || tag.strip_suffix(":latest") == Some(wanted)),
        });
        match (found.next(), found.next()) {
            (Some(image), None) => Ok(image),
            _ => Err(Error::Choice {
                path: self.path().to_owned(),
                wanted: selector.map(str::to_owned),
                known,
            }),
        }
    }

    /// Reads a document of an archive of docker by its name in the archive.
    pub(crate) fn named_document(&self, name: &str) -> Result<Vec<u8>, Error> {
        self.read(&self.part(name)?)
    }
}

pub(super) fn invalid(path: &Path, problem: String) -> Error {
    Error::InvalidImage {
        image: path.display().to_string(),
        problem,
    }
}
