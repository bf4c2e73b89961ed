//! Responsible for resolving a reference to one manifest for one platform and the blobs that it
//! names.

use std::sync::Arc;

use serde_json::Value;

use super::digest::Digest;
use super::fetch::Wanted;
use super::manifest::{Configuration, Descriptor, Document, is_index};
use super::platform::{Platform, render_available};
use super::registry::Registry;
use super::source::Local;
use super::store::{Store, StoredRange};
use crate::Error;

/// Maximum depth of nested indices. No real image has a deeper one.
const DEPTH_MAX: u32 = 4;

/// Result of resolving a reference.
#[derive(Debug)]
pub(crate) enum Resolved<'r> {
    /// An image with layers.
    Layers(Box<Image<'r>>),
    /// A finished SIF in a registry.
    Sif {
        manifest: Digest,
        registry: Arc<Registry<'r>>,
        wanted: Wanted,
    },
}

impl Resolved<'_> {
    /// Returns the digest of the manifest. Images with equal digests have equal contents.
    pub(crate) fn digest(&self) -> &Digest {
        match self {
            Resolved::Layers(image) => &image.manifest,
            Resolved::Sif { manifest, .. } => manifest,
        }
    }

    /// Returns the size in bytes of all distinct layers, or of the SIF.
    pub(crate) fn size_bytes(&self) -> u64 {
        match self {
            Resolved::Sif { wanted, .. } => wanted.size,
            Resolved::Layers(image) => image.distinct_layers().iter().map(|blob| blob.size).sum(),
        }
    }

    /// Returns the distinct blobs that a registry has.
    pub(crate) fn registry_blobs(&self) -> Vec<&Wanted> {
        match self {
            Resolved::Sif { wanted, .. } => vec![wanted],
            Resolved::Layers(image) => {
                let layers = image.distinct_layers().into_iter();
                layers
                    .filter_map(|blob| match &blob.place {
                        BlobPlace::Registry(_, wanted) => Some(wanted),
                        BlobPlace::Local(..) => None,
                    })
                    .collect()
            }
        }
    }

    /// Returns the architecture that the image's configuration names, in the wording of `uname -m`.
    pub(crate) fn architecture(&self) -> Option<String> {
        match self {
            Resolved::Sif { .. } => None,
            Resolved::Layers(image) => Platform::parse(&image.configuration.architecture)
                .map(|platform| platform.machine().to_owned()),
        }
    }
}

impl<'r> Image<'r> {
    /// Returns the layers without repetitions, the lowest first.
    pub(crate) fn distinct_layers(&self) -> Vec<&Blob<'r>> {
        let mut distinct: Vec<&Blob<'r>> = Vec::new();
        for blob in &self.layers {
            let is_same =
                |other: &&Blob<'r>| other.key == blob.key && other.unpacked == blob.unpacked;
            if !distinct.iter().any(is_same) {
                distinct.push(blob);
            }
        }
        distinct
    }
}

/// An image with layers.
#[derive(Debug)]
pub(crate) struct Image<'r> {
    /// Digest of the manifest, or of the configuration if there is no manifest.
    pub(crate) manifest: Digest,
    pub(crate) configuration: Configuration,
    /// Unchanged part of the configuration that says how the image is run.
    pub(crate) run: Value,
    /// Layers, the lowest first.
    pub(crate) layers: Vec<Blob<'r>>,
}

/// A layer that has not been read yet.
#[derive(Debug, Clone)]
pub(crate) struct Blob<'r> {
    /// Key of the layer. Layers with equal keys have equal contents.
    pub(crate) key: String,
    pub(crate) size: u64,
    /// The digest of the decompressed layer, if the configuration names it.
    pub(crate) unpacked: Option<Digest>,
    pub(crate) place: BlobPlace<'r>,
}

/// Place from which a layer is read.
#[derive(Debug, Clone)]
pub(crate) enum BlobPlace<'r> {
    /// A blob of a registry.
    Registry(Arc<Registry<'r>>, Wanted),
    /// A part of a local file, and the digest of the stored bytes if it is known.
    Local(StoredRange, Option<Digest>),
}

/// Source of the documents of an image.
enum Origin<'s, 'r> {
    Registry(Arc<Registry<'r>>),
    Store(&'s Store),
}

/// Request for an image, with the name of the image for errors.
pub(crate) struct Request<'a> {
    pub(crate) shown: String,
    /// Platform that the user requested. If there is none, the entry for this machine's platform is
    /// chosen, and an image that exists for only one platform is accepted.
    pub(crate) platform: Option<&'a Platform>,
}

impl Request<'_> {
    /// Resolves an image in a registry.
    pub(crate) async fn in_registry<'r>(
        &self,
        registry: Arc<Registry<'r>>,
        reference: &str,
    ) -> Result<Resolved<'r>, Error> {
        let (bytes, media_type, digest) = registry.manifest(reference).await?;
        self.descend(&Origin::Registry(registry), bytes, &media_type, digest)
            .await
    }

    /// Resolves an image in an OCI layout or in an archive of one.
    pub(crate) async fn in_layout<'r>(
        &self,
        store: &Store,
        local: &Local,
    ) -> Result<Resolved<'r>, Error> {
        let host = Platform::host();
        let entry = store.select(local.selector.as_deref(), self.platform.unwrap_or(&host))?;
        let digest = self.digest(&entry)?;
        let bytes = store.document(&digest)?;
        self.descend(&Origin::Store(store), bytes, &entry.media_type, digest)
            .await
    }

    /// Resolves an image in an archive of docker. The keys of its layers are the digests of the
    /// decompressed layers.
    pub(crate) fn in_docker_archive<'r>(
        &self,
        store: &Store,
        local: &Local,
    ) -> Result<Resolved<'r>, Error> {
        let image = store.select_docker(local.selector.as_deref())?;
        let bytes = store.named_document(&image.config)?;
        let (configuration, run) = self.configuration(&bytes)?;
        let ids = &configuration.rootfs.diff_ids;
        if ids.len() != image.layers.len() {
            return Err(self.invalid(format!(
                "it has {} layers, and its configuration names {}",
                image.layers.len(),
                ids.len()
            )));
        }
        let mut layers = Vec::new();
        for (name, id) in image.layers.iter().zip(ids) {
            let digest =
                Digest::parse(id).ok_or_else(|| self.invalid(format!("`{id}` is not a digest")))?;
            let part = store.part(name)?;
            layers.push(Blob {
                key: id.clone(),
                size: part.size,
                unpacked: Some(digest),
                place: BlobPlace::Local(part, None),
            });
        }
        Ok(Resolved::Layers(Box::new(Image {
            manifest: Digest::sha256(&bytes),
            configuration,
            run,
            layers,
        })))
    }

    /// Follows indices down to a manifest.
    async fn descend<'r>(
        &self,
        origin: &Origin<'_, 'r>,
        mut bytes: Vec<u8>,
        media_type: &str,
        mut digest: Digest,
    ) -> Result<Resolved<'r>, Error> {
        let mut media_type = media_type.to_owned();
        for _ in 0..DEPTH_MAX {
            let document = Document::parse(&bytes).map_err(|problem| self.invalid(problem))?;
            let says_index = is_index(&media_type) || is_index(&document.media_type);
            let entries = match document.manifests {
                Some(entries) if says_index || document.config.is_none() => entries,
                _ => return self.read_manifest(origin, &document, digest).await,
            };
            let host = Platform::host();
            let wanted = self.platform.unwrap_or(&host);
            let chosen = match (wanted.choose(&entries), entries.as_slice()) {
                (Some(chosen), _) => chosen,
                // The index has one entry, which does not declare its platform.
                (None, [only]) if only.platform.is_none() => only,
                _ => {
                    return Err(Error::NoPlatform {
                        image: self.shown.clone(),
                        wanted: wanted.to_string(),
                        available: render_available(&entries),
                    });
                }
            };
            digest = self.digest(chosen)?;
            media_type.clone_from(&chosen.media_type);
            bytes = match origin {
                Origin::Registry(registry) => registry.manifest(&digest.to_string()).await?.0,
                Origin::Store(store) => store.document(&digest)?,
            };
        }
        Err(self.invalid("its indices name one another without end".to_owned()))
    }

    async fn read_manifest<'r>(
        &self,
        origin: &Origin<'_, 'r>,
        document: &Document,
        manifest: Digest,
    ) -> Result<Resolved<'r>, Error> {
        if let Some(sif) = document.layers.iter().find(|layer| layer.is_sif()) {
            let wanted = self.wanted(sif)?;
            return match origin {
                Origin::Registry(registry) => Ok(Resolved::Sif {
                    manifest,
                    registry: registry.clone(),
                    wanted,
                }),
                Origin::Store(_) => {
                    Err(self.invalid("it is a SIF, not an image in layers".to_owned()))
                }
            };
        }
        let config = document.config.clone().unwrap_or_default();
        let digest = self.digest(&config)?;
        let bytes = match origin {
            Origin::Registry(registry) => registry.document(&digest).await?,
            Origin::Store(store) => store.document(&digest)?,
        };
        let (configuration, run) = self.configuration(&bytes)?;
        let mut layers = Vec::new();
        for layer in &document.layers {
            if !layer.media_type.is_empty() && !layer.media_type.contains("tar") {
                return Err(self.invalid(format!(
                    "it holds `{}`, which is no layer of a file system",
                    layer.media_type
                )));
            }
            let wanted = self.wanted(layer)?;
            layers.push(Blob {
                key: layer.digest.clone(),
                size: layer.size,
                unpacked: None,
                place: match origin {
                    Origin::Registry(registry) => BlobPlace::Registry(registry.clone(), wanted),
                    Origin::Store(store) => {
                        BlobPlace::Local(store.blob(&wanted.digest)?, Some(wanted.digest))
                    }
                },
            });
        }
        let ids = self.unpacked(&configuration, layers.len())?;
        for (layer, id) in layers.iter_mut().zip(ids) {
            layer.unpacked = id;
        }
        Ok(Resolved::Layers(Box::new(Image {
            manifest,
            configuration,
            run,
            layers,
        })))
    }

    /// Returns the digest of each decompressed layer. Some builders leave all of them out.
    fn unpacked(
        &self,
        configuration: &Configuration,
        layers: usize,
    ) -> Result<Vec<Option<Digest>>, Error> {
        let ids = &configuration.rootfs.diff_ids;
        if ids.is_empty() {
            return Ok(vec![None; layers]);
        }
        if ids.len() != layers {
            return Err(self.invalid(format!(
                "it has {layers} layers, and its configuration names {}",
                ids.len()
            )));
        }
        let digest = |id: &String| {
            Digest::parse(id)
                .map(Some)
                .ok_or_else(|| self.invalid(format!("`{id}` is not a digest")))
        };
        ids.iter().map(digest).collect()
    }

    /// Parses the configuration. Returns an error if the image is for another platform than the
    /// requested one.
    fn configuration(&self, bytes: &[u8]) -> Result<(Configuration, Value), Error> {
        let configuration = Configuration::parse(bytes).map_err(|problem| self.invalid(problem))?;
        let mut whole: Value = serde_json::from_slice(bytes)
            .map_err(|error| self.invalid(format!("its configuration cannot be read: {error}")))?;
        let run = match whole.get_mut("config").map(Value::take) {
            Some(run @ Value::Object(_)) => run,
            _ => Value::Object(serde_json::Map::new()),
        };
        let os = configuration.os.as_str();
        let declared = Platform::parse(&configuration.architecture);
        let fits = match (self.platform, &declared) {
            (Some(wanted), Some(declared)) => wanted.architecture() == declared.architecture(),
            _ => true,
        };
        if !fits || !["", "linux"].contains(&os) {
            let host = Platform::host();
            return Err(Error::NoPlatform {
                image: self.shown.clone(),
                wanted: self.platform.unwrap_or(&host).to_string(),
                available: format!("{os}/{}", configuration.architecture),
            });
        }
        Ok((configuration, run))
    }

    fn wanted(&self, descriptor: &Descriptor) -> Result<Wanted, Error> {
        Ok(Wanted {
            digest: self.digest(descriptor)?,
            size: descriptor.size,
        })
    }

    fn digest(&self, descriptor: &Descriptor) -> Result<Digest, Error> {
        descriptor.digest().map_err(|problem| self.invalid(problem))
    }

    pub(crate) fn invalid(&self, problem: String) -> Error {
        Error::InvalidImage {
            image: self.shown.clone(),
            problem,
        }
    }
}
