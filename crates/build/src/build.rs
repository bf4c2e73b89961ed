//! Responsible for the state of a build: the prepared run, the inputs, and the environment that is
//! made in scratch.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use condense_prefix::{BUILD_DIR_BESIDE, CondaSettings, NetworkSettings, Place, Solution, Venv};

use crate::{
    ahead::BlockFormat,
    check::CheckContext,
    container::{Container, Mounted},
    inputs::LoadedInputs,
    plan::{PackageSettings, RunSettings},
    prepared::Prepared,
    report::Report,
};

/// Time of files that have none of their own: 1980, the oldest time that ZIP files, and so Python's
/// tools, can express.
const OLDEST: u32 = 315_532_800;

/// A build of an environment.
pub(crate) struct Build<'a> {
    pub(crate) prepared: Prepared<'a>,
    /// Settings for solving and installing packages.
    pub(crate) packages: &'a PackageSettings,
    pub(crate) inputs: LoadedInputs,
    /// Settings that the `conda` of the environment reports.
    pub(crate) conda_settings: CondaSettings,
    /// The virtual environment, if it is one.
    pub(crate) venv: Option<Venv>,
    /// Path of the environment below the mount point.
    pub(crate) env_path: &'a Path,
    pub(crate) destination: ImageDestination<'a>,
    /// Whether the result gets wrappers.
    pub(crate) has_wrappers: bool,
    /// Files that come first in the image by the lock, relative to the environment.
    pub(crate) locked_hot_files: Option<Vec<String>>,
    /// Format of the blocks of the image, if that is known before it is packed.
    pub(crate) block_format: Option<BlockFormat>,
    /// Modification time of everything in the image, in seconds since 1970, if it is given.
    pub(crate) source_date_epoch: Option<u32>,
}

/// File system on which the image is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ImageDestination<'a> {
    /// A path on the file system.
    pub(crate) path: &'a Path,
    /// Size in bytes of everything in the image besides the environment.
    pub(crate) bytes_beside: u64,
}

impl<'a> Build<'a> {
    pub(crate) fn report(&self) -> &'a Arc<Report> {
        self.prepared.session.report
    }

    pub(crate) fn settings(&self) -> &'a RunSettings {
        self.prepared.session.settings
    }

    /// Returns the path of the scratch directory.
    pub(crate) fn scratch(&self) -> &Path {
        self.prepared.scratch.path()
    }

    pub(crate) fn check_context(&self) -> CheckContext<'_> {
        self.prepared.check_context()
    }

    pub(crate) fn refuse_interrupted(&self) -> anyhow::Result<()> {
        self.prepared.session.refuse_interrupted()
    }

    /// Returns the place of the environment in scratch and in the container.
    pub(crate) fn place(&self, root: PathBuf, mount_point: PathBuf) -> Place {
        Place {
            root,
            mount_point,
            environment: self.env_path.to_owned(),
            packages: self.scratch().join("packages"),
        }
    }

    /// Returns access to the channels, with a cache that can be trusted.
    pub(crate) fn network_settings(&self) -> NetworkSettings {
        self.packages.trusted_network(self.scratch(), self.report())
    }

    /// Returns the container of build steps, or `None` if there is no runtime. `shown` are paths of
    /// this machine that the steps must see.
    pub(crate) fn container<'b>(
        &'b self,
        place: &'b Place,
        shown: Vec<PathBuf>,
    ) -> Option<Container<'b>> {
        self.container_with(Mounted::Directory(&place.root), place, shown)
    }

    /// Returns the container of build steps with a directory or an image at the mount point.
    pub(crate) fn container_with<'b>(
        &'b self,
        mounted: Mounted<'b>,
        place: &'b Place,
        shown: Vec<PathBuf>,
    ) -> Option<Container<'b>> {
        let container = self
            .prepared
            .container(mounted, &place.mount_point, place.build_dir())?;
        Some(Container {
            shown,
            checks: Some(&self.settings().checks),
            ..container
        })
    }

    /// Returns the container of a pip that cannot write below the mount point, at which the image
    /// is.
    pub(crate) fn container_beside<'b>(
        &'b self,
        image: &'b Path,
        place: &'b Place,
        shown: Vec<PathBuf>,
    ) -> Option<Container<'b>> {
        let container = self.container_with(Mounted::Image(image), place, shown)?;
        Some(Container {
            steps_at: Some(Path::new(BUILD_DIR_BESIDE)),
            ..container
        })
    }

    /// Returns the modification time of everything in the image.
    pub(crate) fn mtime(&self, solution: &Solution) -> u32 {
        self.source_date_epoch
            .or_else(|| solution.newest_timestamp())
            .unwrap_or(OLDEST)
    }
}
