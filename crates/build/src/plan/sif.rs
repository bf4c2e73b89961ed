//! Responsible for the description of a SIF that is made of a base and an environment.

use std::{fmt, path::PathBuf};

use condense_publish::Existing;

use super::{CondaInput, ExtraInputs, PackageSettings, SifPlan};

/// Content that is added to the base of a SIF.
#[derive(Debug, Clone)]
pub struct SifInput {
    /// Environment that is installed in the image.
    pub content: SifContent,
    /// Further requirements and options.
    pub extra: ExtraInputs,
    /// Path of the environment below the mount point.
    pub env_path: PathBuf,
    /// Commands that change the installed environment, run in the container in this order.
    pub post: Vec<String>,
    /// Files with the public keys that signatures are checked with if the base is a definition
    /// file. Some may not exist.
    pub keyrings: Vec<PathBuf>,
    /// Settings for solving and installing packages.
    pub settings: PackageSettings,
}

/// Environment of a SIF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SifContent {
    /// A conda environment with its packages.
    Conda(CondaInput),
    /// pip's requirements, in a virtual environment over the base's own Python.
    OnTop,
    /// Nothing but the base and copied files.
    Nothing,
}

/// Description of a new SIF.
#[derive(Debug, Clone)]
pub struct Sif {
    /// The new file, absolute.
    pub file: PathBuf,
    /// Whether an image that is there is replaced.
    pub existing: Existing,
    /// Directory of environments in the container, absolute.
    pub mount_point: PathBuf,
    /// Files and directories of this machine that are copied into the container.
    pub copies: Vec<Copy>,
    /// Place of everything in the file.
    pub layout: Layout,
    /// Labels that say who made the image.
    pub labels: Vec<(String, String)>,
    /// Modification time of everything that is added, in seconds since 1970. Without it, the time
    /// comes from the content.
    pub source_date_epoch: Option<u32>,
}

/// Layout of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// One root file system with everything in it.
    #[default]
    Flat,
    /// The base's root file system as it is, and an overlay.
    Overlay,
}

/// A file or directory of this machine that is copied into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Path on this machine, absolute.
    pub source: PathBuf,
    /// Path in the container, absolute.
    pub destination: PathBuf,
}

impl SifContent {
    fn conda(&self) -> Option<&CondaInput> {
        match self {
            Self::Conda(conda) => Some(conda),
            Self::OnTop | Self::Nothing => None,
        }
    }
}

impl fmt::Display for SifPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (input, output) = (&self.input, &self.output);
        writeln!(f, "image         {}", output.file.display())?;
        writeln!(f, "base image    {}", self.base.reference())?;
        if output.layout == Layout::Overlay {
            writeln!(f, "layout        overlay")?;
        }
        input.extra.show_os_packages(f)?;
        let how = match input.content {
            SifContent::Conda(_) => Some(""),
            SifContent::OnTop => Some(", over the image's Python"),
            SifContent::Nothing => None,
        };
        if let Some(how) = how {
            let path = output.mount_point.join(&input.env_path);
            writeln!(f, "environment   {}{how}", path.display())?;
        }
        let conda = input.content.conda();
        let request = conda.and_then(CondaInput::request);
        let lock = conda.and_then(CondaInput::lock);
        for (title, path) in [
            ("conda         ", conda.and_then(CondaInput::file)),
            ("requirements  ", input.extra.requirements.as_deref()),
            ("lock          ", lock.map(|lock| lock.path.as_path())),
        ] {
            if let Some(path) = path {
                writeln!(f, "{title}{}", path.display())?;
            }
        }
        if let Some(request) = request {
            request.show(f)?;
        }
        if !input.extra.pip.is_empty() {
            writeln!(f, "pip           {}", input.extra.shown_pip())?;
        }
        for command in &input.post {
            writeln!(f, "post          {command}")?;
        }
        for copy in &output.copies {
            let (source, destination) = (copy.source.display(), copy.destination.display());
            writeln!(f, "copy          {source} to {destination}")?;
        }
        let scratch = self.settings.scratch_parent.display();
        write!(f, "scratch       {scratch}")?;
        if input.settings.network.offline {
            write!(f, "\nnetwork       offline")?;
        }
        Ok(())
    }
}
