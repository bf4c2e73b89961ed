//! Responsible for the part of a lock that says how an image was made of the packages.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Properties of the image that a build has made of the packages. With them, another build makes
/// the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// Kind of the image.
    pub kind: ImageKind,
    /// Version of the condense that made the image.
    pub made_by: String,
    /// Path at which the image is mounted, or the directory of environments in a SIF.
    pub mount_point: PathBuf,
    /// Path of the environment below the mount point.
    pub environment: PathBuf,
    /// Codec and level of the image, for example `zstd:3`. A SIF has those of its base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// Number of bytes that are compressed together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u32>,
    /// Time of all files in seconds since 1970, if it does not come from the packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<u32>,
    /// Name of the base.
    pub base: String,
    /// Digest of the base, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_digest: Option<String>,
    /// Name of the site whose variables a SIF sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// True if Python ignores the packages in the home directory wherever the SIF is started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_user_site: bool,
    /// Files that come first in the image, relative to the environment and in this order. It is
    /// empty if there are none on purpose, and absent if nobody has looked for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hot_files: Option<Vec<String>>,
    /// True if an update has made the image of an older one, so that its blocks are in another
    /// order than those of a new image with the same files.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub updated: bool,
    /// Packages of the distribution that builds have added to the base, as `NAME=VERSION`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub os_packages: Vec<String>,
}

/// Kind of an image that a lock describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageKind {
    /// Image of an installation.
    Installation,
    /// Container image in the format SIF.
    Sif,
}
