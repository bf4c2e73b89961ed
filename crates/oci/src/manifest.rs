//! Responsible for the documents that describe an image: index, manifest, configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::digest::Digest;

/// Value of the header `Accept` for manifests. All four types are needed: without the last two,
/// some registries answer that the image does not exist.
pub(crate) const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";
/// Media type of a SIF in a registry.
pub(crate) const SIF_LAYER: &str = "application/vnd.sylabs.sif.layer.v1.sif";
/// Media type that early versions of Singularity wrote, with their spelling mistake.
const SIF_LAYER_OLD: &str = "appliciation/vnd.sylabs.sif.layer.tar";
/// Maximum length of a document in bytes. No index is longer, and registries themselves accept no
/// longer ones.
pub(crate) const DOCUMENT_LEN_MAX: u64 = 8 << 20;

/// A descriptor: media type, digest and size of a blob.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    pub(crate) platform: Option<DeclaredPlatform>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub(crate) fn digest(&self) -> Result<Digest, String> {
        Digest::parse(&self.digest).ok_or_else(|| format!("`{}` is not a digest", self.digest))
    }

    pub(crate) fn is_sif(&self) -> bool {
        [SIF_LAYER, SIF_LAYER_OLD].contains(&self.media_type.as_str())
    }
}

pub(crate) fn is_index(media_type: &str) -> bool {
    media_type == "application/vnd.oci.image.index.v1+json"
        || media_type == "application/vnd.docker.distribution.manifest.list.v2+json"
}

/// Platform that an entry of an index declares.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct DeclaredPlatform {
    pub(crate) os: String,
    pub(crate) architecture: String,
    pub(crate) variant: Option<String>,
}

/// An index or a manifest. Registries do not always name the media type, so the fields decide which
/// of the two it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Document {
    schema_version: u32,
    pub(crate) media_type: String,
    /// Entries of an index; `None` in a manifest.
    pub(crate) manifests: Option<Vec<Descriptor>>,
    /// Configuration of a manifest; `None` in an index.
    pub(crate) config: Option<Descriptor>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) layers: Vec<Descriptor>,
}

impl Document {
    /// Parses an index or a manifest. The error text is the `problem` of an error about the image.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Document, String> {
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|error| format!("its manifest cannot be read: {error}"))?;
        if document.schema_version == 1 {
            return Err(
                "its manifest is of docker's schema 1, which carries no digests of what it holds"
                    .to_owned(),
            );
        }
        if document.manifests.is_none() && document.config.is_none() {
            return Err(
                "its manifest names neither a configuration nor other manifests".to_owned(),
            );
        }
        Ok(document)
    }
}

/// The needed fields of an image's configuration. A field that is `null` counts as missing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Configuration {
    #[serde(deserialize_with = "or_default")]
    pub(crate) architecture: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) os: String,
    pub(crate) variant: Option<String>,
    pub(crate) created: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) config: Run,
    #[serde(deserialize_with = "or_default")]
    pub(crate) rootfs: RootFs,
}

impl Configuration {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Configuration, String> {
        serde_json::from_slice(bytes)
            .map_err(|error| format!("its configuration cannot be read: {error}"))
    }
}

/// Part of the configuration that says how the image is run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Run {
    #[serde(deserialize_with = "or_default")]
    pub(crate) env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) cmd: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) labels: BTreeMap<String, String>,
}

/// Digests of the decompressed layers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RootFs {
    #[serde(deserialize_with = "or_default")]
    pub(crate) diff_ids: Vec<String>,
}

/// Deserializes `null` as the default value, because Go writes `null` for empty values.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_recognised_by_their_fields() {
        let index = br#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "digest":"x","size":3,"platform":{"os":"linux","architecture":"amd64"},"annotations":null}]}"#;
        let index = Document::parse(index).expect("an index");
        let manifests = index.manifests.expect("an index has manifests");
        assert_eq!(manifests.len(), 1);
        assert!(manifests[0].digest().is_err());
        let manifest = br#"{"schemaVersion":2,"config":{"digest":"y"},"layers":null}"#;
        assert!(
            Document::parse(manifest)
                .expect("a manifest")
                .config
                .is_some()
        );
        for (bytes, word) in [
            (&br#"{"schemaVersion":1,"fsLayers":[]}"#[..], "schema 1"),
            (b"{}", "neither"),
            (b"<html>", "cannot be read"),
        ] {
            let problem = Document::parse(bytes).expect_err(word);
            assert!(problem.contains(word), "{problem}");
        }
    }

    #[test]
    fn a_configuration_may_lack_anything() {
        let nulls = br#"{"architecture":"amd64","config":{"Env":null,"Cmd":["x"],"Labels":null,"Volumes":null},"history":null}"#;
        let read = Configuration::parse(nulls).expect("a configuration");
        assert_eq!(read.config.cmd, ["x"]);
        assert!(read.config.env.is_empty() && read.rootfs.diff_ids.is_empty());
        for empty in [&b"{}"[..], br#"{"config":null,"rootfs":null}"#] {
            assert!(Configuration::parse(empty).is_ok());
        }
    }
}
