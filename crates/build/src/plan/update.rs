//! Responsible for the description of a change to an installation, and for the parts that it takes
//! over from the build before.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use condense_catalogue::SiteRules;
use condense_image::{BlockSize, Compression};
use condense_installation::Receipt;

use crate::Submission;

use super::{ExtraInputs, Generation, PackageSettings, RunSettings};

/// One validated run that changes an installation. Everything that it does not mention stays as it
/// was built.
#[derive(Debug, Clone)]
pub struct UpdatePlan {
    /// Directory of the installation, absolute.
    pub dir: PathBuf,
    /// Kind of environment that the installation must have.
    pub kind: UpdatedKind,
    /// Requirements and scripts of the change. The choice between pip and uv is taken from the
    /// build before.
    pub extra: ExtraInputs,
    /// Conda packages that are added or removed.
    pub change: PackageChange,
    /// The user's own text for common.sh, in place of the text before.
    pub extra_text: Option<String>,
    /// Further programs, in place of those before.
    pub wrapper_paths: Option<Vec<PathBuf>>,
    /// Compression with which everything is packed anew.
    pub compression: Option<Compression>,
    /// Modification time of everything in the image, in seconds since 1970.
    pub source_date_epoch: Option<u32>,
    /// Shows the plan and exits.
    pub dry_run: bool,
    /// Job that does the work in place of this process.
    pub submission: Option<Submission>,
    /// The command as typed, for the receipt.
    pub command_line: Vec<String>,
    /// Settings for solving and installing packages.
    pub packages: PackageSettings,
    /// Settings of the run.
    pub settings: RunSettings,
}

/// Kind of environment that an update changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdatedKind {
    /// An environment of `conda-containerize`.
    Conda,
    /// A virtual environment of `pip-containerize`.
    Venv,
    /// Packages of conda or of pip, whichever the installation has.
    Any,
}

/// Change of the conda packages of an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageChange {
    /// Environment file whose packages are added.
    pub file: Option<PathBuf>,
    /// Packages that are added, or that get another version.
    pub add: Vec<String>,
    /// Channels with a lower priority than those of the environment.
    pub channels: Vec<String>,
    /// Packages that are removed.
    pub remove: Vec<String>,
    /// Lets every package move to the newest version that the requests allow.
    pub update_all: bool,
}

impl PackageChange {
    /// Returns whether no package is added or removed.
    pub fn is_empty(&self) -> bool {
        self.file.is_none() && self.add.is_empty() && self.remove.is_empty() && !self.update_all
    }
}

/// The next generation: the change, with everything else as it was built.
#[derive(Debug, Clone)]
pub struct NextGeneration {
    /// Requirements, scripts and options.
    pub extra: ExtraInputs,
    /// Path of the environment below the mount point.
    pub env_path: PathBuf,
    /// The generation that is made.
    pub generation: Generation,
    /// Settings of the run, with the rules that the wrappers know already.
    pub settings: RunSettings,
}

impl UpdatePlan {
    /// Returns the next generation. `extra_text` is the text for common.sh of the build before.
    pub fn next_generation(&self, before: &Receipt, extra_text: Option<String>) -> NextGeneration {
        let remembered = &before.update_state;
        NextGeneration {
            extra: ExtraInputs {
                uv: remembered.uv,
                no_cache: self.extra.no_cache || remembered.no_cache,
                keep_editable: remembered.keep_editable,
                ..self.extra.clone()
            },
            env_path: env_path(before).to_owned(),
            generation: Generation {
                dir: self.dir.clone(),
                wrapper_paths: match &self.wrapper_paths {
                    Some(paths) => paths.clone(),
                    None => remembered.wrapper_paths.iter().map(PathBuf::from).collect(),
                },
                extra_text: self.extra_text.clone().or(extra_text),
                other_names: remembered.file_aliases.clone(),
                compression: self.compression.or_else(|| compression(before)),
                compression_is_default: self.compression.is_none(),
                block_size: BlockSize::default(),
                source_date_epoch: self.source_date_epoch,
                command_line: self.command_line.clone(),
            },
            settings: self.settings_after(before),
        }
    }

    fn settings_after(&self, before: &Receipt) -> RunSettings {
        let remembered = &before.update_state;
        let mut settings = self.settings.clone();
        let names = &mut settings.build_env.names;
        names.extend(remembered.build_env.clone());
        names.sort();
        names.dedup();
        let wants_no_user_site = settings.rules.no_user_site;
        let launch = remembered.launch.as_deref();
        let mpi = std::mem::take(&mut settings.rules.mpi);
        settings.rules = SiteRules::of_launch(launch);
        settings.rules.no_user_site |= wants_no_user_site;
        settings.rules.mpi = mpi.following(launch.and_then(|launch| launch.host_mpi.as_ref()));
        settings
    }
}

fn env_path(before: &Receipt) -> &Path {
    let below = before.env_prefix.strip_prefix(&before.mount_point);
    below.unwrap_or(&before.env_prefix)
}

fn compression(before: &Receipt) -> Option<Compression> {
    before.update_state.compression.as_ref()?.parse().ok()
}

impl fmt::Display for UpdatePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "changes       {}", self.dir.display())?;
        if let Some(file) = &self.change.file {
            write!(f, "\nenvironment   {}", file.display())?;
        }
        for (title, list) in [
            ("adds          ", &self.change.add),
            ("channels      ", &self.change.channels),
            ("removes       ", &self.change.remove),
        ] {
            if !list.is_empty() {
                let list = list.join(", ");
                write!(f, "\n{title}{}", condense_prefix::without_secrets(&list))?;
            }
        }
        if self.change.update_all {
            write!(
                f,
                "\nupdates all   to the newest versions that the requests allow"
            )?;
        }
        if !self.extra.os_packages.is_empty() {
            write!(f, "\nos packages   {}", self.extra.os_packages.join(" "))?;
        }
        for (title, path) in self.extra.titled_files() {
            write!(f, "\n{title}{}", path.display())?;
        }
        if !self.extra.pip.is_empty() {
            write!(f, "\npip           {}", self.extra.shown_pip())?;
        }
        if self.extra.no_cache {
            write!(f, "\npip's cache   none")?;
        }
        for path in self.wrapper_paths.iter().flatten() {
            write!(f, "\nprograms of   {}", path.display())?;
        }
        if let Some(compression) = &self.compression {
            write!(f, "\nimage         packed anew, {compression}")?;
        }
        let scratch = self.settings.scratch_parent.display();
        write!(f, "\nscratch       {scratch}")
    }
}
