//! Responsible for the sources of stages: the words behind `Bootstrap:`.

/// Kind of source of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// An image file or a sandbox directory on this machine.
    LocalImage,
    /// An image with layers in a registry.
    Docker,
    /// An archive that `docker save` writes.
    DockerArchive,
    /// A directory in OCI's layout.
    Oci,
    /// An archive of such a directory.
    OciArchive,
    /// A SIF in a registry.
    Oras,
    /// Nothing: an empty file system.
    Scratch,
}

/// Sources that are known and not supported, each with advice.
pub(crate) const REFUSED: [(&str, &str); 16] = [
    (
        "library",
        "use the same image from a registry: `Bootstrap: docker`, or fetch it with `apptainer pull` and use `Bootstrap: localimage`",
    ),
    (
        "shub",
        "Singularity Hub is closed: use an image from a registry, `Bootstrap: docker`",
    ),
    (
        "docker-daemon",
        "save the image with `docker save -o FILE.tar IMAGE`, then `Bootstrap: docker-archive` and `From: FILE.tar`",
    ),
    ("podman", PODMAN),
    ("containers-storage", PODMAN),
    (
        "debootstrap",
        "use `Bootstrap: docker` and `From: debian:12`",
    ),
    ("yum", "use `Bootstrap: docker` and `From: rockylinux:9`"),
    ("dnf", "use `Bootstrap: docker` and `From: rockylinux:9`"),
    (
        "zypper",
        "use `Bootstrap: docker` and `From: opensuse/leap:15.6`",
    ),
    ("arch", "use `Bootstrap: docker` and `From: archlinux`"),
    ("busybox", "use `Bootstrap: docker` and `From: busybox`"),
    ("apk", "use `Bootstrap: docker` and `From: alpine`"),
    ("dockerfile", DOCKERFILE),
    ("buildkit", DOCKERFILE),
    (
        "instance",
        "name the image that the instance runs: `Bootstrap: localimage`",
    ),
    (
        "http",
        "download the image, then `Bootstrap: localimage` and `From: FILE.sif`",
    ),
];
const PODMAN: &str = "save the image with `podman save -o FILE.tar IMAGE`, then `Bootstrap: docker-archive` and `From: FILE.tar`";
const DOCKERFILE: &str = "build the image with docker or podman, then `Bootstrap: docker-archive`";

impl Agent {
    /// Parses the word behind `Bootstrap:`.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "localimage" => Self::LocalImage,
            "docker" => Self::Docker,
            "docker-archive" => Self::DockerArchive,
            "oci" => Self::Oci,
            "oci-archive" => Self::OciArchive,
            "oras" => Self::Oras,
            "scratch" => Self::Scratch,
            _ => return None,
        })
    }

    /// Returns the word behind `Bootstrap:`.
    pub fn name(self) -> &'static str {
        match self {
            Self::LocalImage => "localimage",
            Self::Docker => "docker",
            Self::DockerArchive => "docker-archive",
            Self::Oci => "oci",
            Self::OciArchive => "oci-archive",
            Self::Oras => "oras",
            Self::Scratch => "scratch",
        }
    }

    /// Returns whether the image has been made by a runtime, so that it has a definition file of
    /// its own.
    pub fn has_definition(self) -> bool {
        matches!(self, Self::LocalImage | Self::Oras)
    }
}
