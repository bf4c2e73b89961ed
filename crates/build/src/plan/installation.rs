//! Responsible for the description of an installation that is made, and for showing the plan of it.

use std::{fmt, path::PathBuf};

use condense_image::{BlockSize, Compression};
use condense_installation::FileAlias;

use super::{BaseChoice, BaseFile, EnvironmentInput, InstallationPlan, MountPoint};
use crate::compression::GZIP;

/// Description of a new installation.
#[derive(Debug, Clone)]
pub struct Installation {
    /// First generation of the installation.
    pub generation: Generation,
    /// Path at which its image is mounted.
    pub mount_point: MountPoint,
    /// Whether an installation that is already there is replaced.
    pub force: bool,
    /// Form in which the installation has the base.
    pub base_file: BaseFile,
}

/// A generation of an installation.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Directory of the installation, absolute.
    pub dir: PathBuf,
    /// Files or directories of further programs that get a wrapper: absolute in the container, or
    /// below the mount point.
    pub wrapper_paths: Vec<PathBuf>,
    /// The user's own text for common.sh.
    pub extra_text: Option<String>,
    /// The site's own names of files beside `bin`, each with the usual name.
    pub other_names: Vec<FileAlias>,
    /// Compression of the image. Without it, the runtime decides.
    pub compression: Option<Compression>,
    /// Whether the compression is the site's and not the user's choice. A lock's comes before it.
    pub compression_is_default: bool,
    /// Number of bytes of the image that are compressed together.
    pub block_size: BlockSize,
    /// Modification time of everything in the image, in seconds since 1970. Without it, the time
    /// comes from the content.
    pub source_date_epoch: Option<u32>,
    /// The command as typed, for the receipt.
    pub command_line: Vec<String>,
}

/// Describes the compression of an image whose runtime is not known yet.
pub(super) fn describe(compression: Option<Compression>) -> String {
    match compression {
        Some(compression) => compression.to_string(),
        None => format!(
            "{}, or {GZIP} where the runtime is not seen to read that",
            Compression::default()
        ),
    }
}

impl fmt::Display for EnvironmentInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.packages.is_named() {
            writeln!(f, "environment   {}", self.packages.source().display())?;
        }
        if let Some(request) = self.packages.request() {
            request.show(f)?;
        }
        if let Some(venv) = self.packages.venv() {
            let site = if venv.system_site_packages {
                ", with its packages"
            } else {
                ""
            };
            writeln!(f, "python        {}{site}", venv.python)?;
        }
        if let Some(lock) = self.packages.lock() {
            write!(f, "lock          {}", lock.path.display())?;
            if let Some(name) = &lock.environment {
                write!(f, " ({name})")?;
            }
            writeln!(f)?;
        }
        self.extra.show_os_packages(f)?;
        for (title, path) in self.extra.titled_files() {
            writeln!(f, "{title}{}", path.display())?;
        }
        if !self.extra.pip.is_empty() {
            writeln!(f, "pip           {}", self.extra.shown_pip())?;
        }
        if self.extra.uv {
            writeln!(f, "for pip       uv")?;
        }
        if self.extra.no_cache {
            writeln!(f, "pip's cache   none")?;
        }
        Ok(())
    }
}

impl InstallationPlan {
    fn show_output(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = &self.output.generation;
        for path in &generation.wrapper_paths {
            writeln!(f, "programs of   {}", path.display())?;
        }
        let force = if self.output.force {
            " (replaced if there)"
        } else {
            ""
        };
        writeln!(f, "installation  {}{force}", generation.dir.display())?;
        let view = match self.base {
            BaseChoice::Named(_) => "its own system directories are seen",
            BaseChoice::Site(_) => "the host's system directories are seen",
        };
        let file = match self.output.base_file {
            BaseFile::Usual => "",
            BaseFile::Copied => ", copied",
            BaseFile::Linked => ", linked to",
        };
        let reference = self.base.reference();
        writeln!(f, "base image    {reference} ({view}{file})")?;
        let env_path = self.input.env_path.display();
        writeln!(f, "mount point   {}/{env_path}", self.output.mount_point)?;
        let compression = describe(generation.compression);
        write!(f, "image         SquashFS, {compression}")?;
        if generation.block_size != BlockSize::default() {
            write!(f, " in blocks of {}", generation.block_size)?;
        }
        writeln!(f)
    }

    fn show_settings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = &self.input.settings.network;
        let scratch = self.settings.scratch_parent.display();
        writeln!(f, "scratch       {scratch}")?;
        write!(f, "cache         {}", network.cache_dir.display())?;
        if network.offline {
            write!(f, "\nnetwork       offline")?;
        }
        if self.input.settings.condarc.is_some() {
            write!(f, "\ncondarc       followed")?;
        }
        for mirror in network.mirrors.describe() {
            write!(f, "\nmirror        {mirror}")?;
        }
        Ok(())
    }
}

impl fmt::Display for InstallationPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.input)?;
        self.show_output(f)?;
        self.show_settings(f)
    }
}
