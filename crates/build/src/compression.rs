//! Responsible for the compression of an image. Where the runtime cannot mount the wished
//! compression, the image becomes gzip.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use condense_image::{Codec, Compression};
use condense_installation::{Mounting, Runtime};

use crate::{report::Report, session::Session};

/// Compression that every runtime, every kernel and every squashfuse reads.
pub(crate) const GZIP: Compression = Compression::Gzip { level: 6 };

/// Compression of an image: the wished one, the chosen one, and the reason for the difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageCompression {
    wished: Option<Compression>,
    chosen: Compression,
    reason: Option<GzipReason>,
}

/// Reason for gzip in place of the wished compression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GzipReason {
    /// The runtime is not known, and the user wishes no particular compression.
    NoRuntime,
    /// The runtime refuses zstd before it asks the kernel.
    NoZstd {
        /// Path of the runtime.
        program: PathBuf,
        /// Version of the runtime.
        version: String,
    },
    /// The runtime does not know the codec of an image, with this message.
    MountRefused(String),
}

impl GzipReason {
    fn no_zstd(runtime: &Runtime) -> Option<Self> {
        (!runtime.reads_zstd()).then(|| Self::NoZstd {
            program: runtime.program().to_owned(),
            version: runtime.version().to_owned(),
        })
    }
}

impl fmt::Display for GzipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRuntime => f.write_str("the runtime is not known"),
            Self::NoZstd { program, version } => write!(
                f,
                "{} {version} reads no image that is compressed with zstd",
                program.display()
            ),
            Self::MountRefused(message) => f.write_str(message),
        }
    }
}

impl ImageCompression {
    /// Chooses the compression of a new image for this runtime.
    pub(crate) fn new(wished: Option<Compression>, runtime: Option<&Runtime>) -> Self {
        let reason = match (wished, runtime) {
            (Some(_), None) => None,
            (Some(wished), Some(_)) if wished.codec() != Codec::Zstd => None,
            (_, Some(runtime)) => GzipReason::no_zstd(runtime),
            (None, None) => Some(GzipReason::NoRuntime),
        };
        Self {
            wished,
            chosen: match reason {
                Some(_) => GZIP,
                None => wished.unwrap_or_default(),
            },
            reason,
        }
    }

    /// Returns gzip in place of the compression of an image that the runtime could not mount. The
    /// compression of an image from another build is not known.
    pub(crate) fn instead_of(refused: Option<Compression>, reason: GzipReason) -> Self {
        Self {
            wished: refused,
            chosen: GZIP,
            reason: Some(reason),
        }
    }

    /// Returns the chosen compression.
    pub(crate) fn chosen(&self) -> Compression {
        self.chosen
    }

    /// Reports why a new image becomes gzip, if it does.
    pub(crate) fn announce(&self, report: &Report) {
        match (&self.reason, self.wished) {
            (None, _) => {}
            (Some(GzipReason::NoRuntime), _) => report.info("the image becomes gzip, which every runtime reads; for apptainer from 1.4 on: `--compression zstd`"),
            (Some(GzipReason::MountRefused(message)), Some(refused)) => report.warning(format!(
                "the runtime cannot mount an image compressed with {refused}, it becomes a gzip image: {message}"
            )),
            (Some(reason), _) => report.info(format!("{reason}, it becomes a gzip image")),
        }
    }
}

/// A mount of one image by one runtime.
#[derive(Debug)]
pub(crate) struct ImageMount<'a> {
    /// Runtime that mounts the image.
    pub(crate) runtime: &'a Runtime,
    /// Base in which the image is mounted.
    pub(crate) base: &'a Path,
    /// Path of the image.
    pub(crate) image: &'a Path,
    /// Codec of the image.
    pub(crate) codec: Codec,
    /// Path in the container.
    pub(crate) mount_point: &'a Path,
}

impl ImageMount<'_> {
    /// Tries to mount, and returns the runtime's reason if it does not know the codec. Another
    /// failure may pass, so it is tried once more.
    ///
    /// # Errors
    /// Returns the error of the second failure, or the error of an interrupted run.
    pub(crate) fn refusal(&self, session: &Session) -> anyhow::Result<Option<GzipReason>> {
        if self.codec == Codec::Gzip {
            return Ok(None);
        }
        let tried = || {
            let mounting = self
                .runtime
                .can_mount(self.base, self.image, self.mount_point);
            session.refuse_interrupted()?;
            anyhow::Ok(mounting)
        };
        let mounting = if let Ok(mounting) = tried()? {
            mounting
        } else {
            session.refuse_soon_interrupted()?;
            tried()??
        };
        Ok(match mounting {
            Mounting::Refused(reason) => Some(GzipReason::MountRefused(reason)),
            Mounting::Works => None,
        })
    }

    /// Returns why the codec cannot be mounted. Mounts only if the runtime's version leaves that
    /// open.
    ///
    /// # Errors
    /// Returns any error of [`Self::refusal`].
    pub(crate) fn known_refusal(&self, session: &Session) -> anyhow::Result<Option<GzipReason>> {
        let known = match self.codec {
            Codec::Zstd => GzipReason::no_zstd(self.runtime),
            _ => None,
        };
        match known {
            Some(reason) => Ok(Some(reason)),
            None => self.refusal(session),
        }
    }
}
