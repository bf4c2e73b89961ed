//! Images that are made in memory.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const SIF: &str = "application/vnd.sylabs.sif.layer.v1.sif";

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Returns an archive of the files.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1);
        archive.append_data(&mut header, path, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Returns pseudorandom bytes that do not compress, generated from a seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    });
    next.take(len).collect()
}

/// An image: its manifest, and its blobs by digest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    pub(crate) manifest: Vec<u8>,
    /// Layers without compression, the lowest first.
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) config: Vec<u8>,
}

impl Image {
    /// Makes an image with two layers. The second layer replaces a file of the first one. `name`
    /// makes the image different from others.
    pub(crate) fn new(name: &str) -> Image {
        let base = tar(&[
            ("bin/sh", b"#!shell"),
            ("etc/os-release", b"ID=test\n"),
            ("large", &noise(1, 300_000)),
            ("changed", b"first"),
        ]);
        let top = tar(&[("changed", b"second"), ("name", name.as_bytes())]);
        Image::of(vec![base, top], "amd64")
    }

    pub(crate) fn of(layers: Vec<Vec<u8>>, architecture: &str) -> Image {
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "created": "2023-11-14T22:13:20Z",
            "config": {"Env": ["PATH=/bin", "A=1"], "Cmd": ["/bin/sh"], "WorkingDir": "/w"},
            "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| digest(layer)).collect::<Vec<_>>()},
        });
        let mut image = Image {
            config: config.to_string().into_bytes(),
            ..Image::default()
        };
        let packed: Vec<Value> = layers
            .iter()
            .map(|layer| image.add(LAYER, gzip(layer)))
            .collect();
        let config = image.add(
            "application/vnd.oci.image.config.v1+json",
            image.config.clone(),
        );
        image.set_manifest(
            &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": packed}),
        );
        image.layers = layers;
        image
    }

    /// Makes an image that is a SIF as an artefact.
    pub(crate) fn of_sif(bytes: Vec<u8>) -> Image {
        let mut image = Image::default();
        let sif = image.add(SIF, bytes);
        let config = image.add("application/vnd.sylabs.sif.config.v1+json", b"{}".to_vec());
        image.set_manifest(&json!({"schemaVersion": 2, "config": config, "layers": [sif]}));
        image
    }

    /// Adds a blob and returns its descriptor for a manifest.
    pub(crate) fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = digest(&bytes);
        let size = bytes.len();
        self.blobs.insert(digest.clone(), bytes);
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    pub(crate) fn set_manifest(&mut self, manifest: &Value) {
        self.manifest = manifest.to_string().into_bytes();
    }

    /// Returns the entry of this image for an index.
    pub(crate) fn entry(&self, platform: &str) -> Value {
        let mut words = platform.split('/');
        let [os, architecture, variant] = [words.next(), words.next(), words.next()];
        json!({
            "mediaType": MANIFEST, "digest": digest(&self.manifest), "size": self.manifest.len(),
            "platform": {"os": os, "architecture": architecture, "variant": variant},
        })
    }

    /// Returns the digest and the size of the lowest layer as it is stored.
    pub(crate) fn lowest(&self) -> (String, usize) {
        let packed = gzip(&self.layers[0]);
        (digest(&packed), packed.len())
    }
}
