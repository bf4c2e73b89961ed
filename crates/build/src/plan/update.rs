//! Responsible for what a change of an installation needs, validated, and for what it takes over
//! from the build before.

use std::{fmt, path::PathBuf};

use condense_image::{BlockSize, Compression};
use condense_installation::{HostView, Receipt};

use super::{BaseChoice, ExtraInputs, Plan, RunSettings};
use condense_catalogue::SiteRules;

/// One validated run that changes an installation. What it does not say stays as it was built.
#[derive(Debug, Clone)]
pub struct UpdatePlan {
    /// The installation, absolute.
    pub dir: PathBuf,
    /// It must be a virtual environment's, else a conda environment's.
    pub venv: bool,
    /// What is done to it; whether uv does pip's part is remembered.
    pub inputs: ExtraInputs,
    /// The user's own text for common.sh instead of the one before.
    pub extra_text: Option<String>,
    /// Further programs instead of those before.
    pub wrapper_paths: Option<Vec<PathBuf>>,
    /// Everything is compressed anew, like this.
    pub compression: Option<Compression>,
    /// Seconds since 1970 on everything in the image.
    pub source_date_epoch: Option<u32>,
    /// Shows the plan and does nothing.
    pub dry_run: bool,
    /// The command as typed, for the receipt.
    pub command_line: Vec<String>,
    /// What it works with.
    pub settings: RunSettings,
}

impl UpdatePlan {
    /// The whole plan: what was remembered, with the text that was given for common.sh, and over it
    /// what is said now.
    pub fn over(&self, before: &Receipt, extra_text: Option<String>) -> Plan {
        let remembered = &before.update_state;
        let launch = remembered.launch.as_deref();
        let reference = before.base.reference.clone();
        let environment = before.env_prefix.strip_prefix(&before.mount_point);
        let compression = remembered
            .compression
            .as_ref()
            .and_then(|text| text.parse().ok());
        let mut settings = self.settings.clone();
        settings
            .build_env
            .names
            .extend(remembered.build_env.clone());
        settings.build_env.names.sort();
        settings.build_env.names.dedup();
        Plan {
            spec_path: "environment.yml".into(),
            lock: None,
            keep_editable: remembered.keep_editable,
            inputs: ExtraInputs {
                uv: remembered.uv,
                no_cache: self.inputs.no_cache || remembered.no_cache,
                ..self.inputs.clone()
            },
            venv: None,
            prefix_dir: self.dir.clone(),
            base: match before.host_view {
                HostView::Base => BaseChoice::Named(reference),
                HostView::Host => BaseChoice::Site(reference),
            },
            force: true,
            settings,
            base_file: super::BaseFile::Usual,
            other_names: remembered.file_aliases.clone(),
            installation_path: before.mount_point.display().to_string(),
            env_path: environment.unwrap_or(&before.env_prefix).to_owned(),
            rules: SiteRules::of_launch(launch),
            wrapper_paths: match &self.wrapper_paths {
                Some(paths) => paths.clone(),
                None => remembered.wrapper_paths.iter().map(PathBuf::from).collect(),
            },
            extra_text: self.extra_text.clone().or(extra_text),
            compression: self.compression.or(compression),
            block_size: BlockSize::default(),
            source_date_epoch: self.source_date_epoch,
            dry_run: self.dry_run,
            command_line: self.command_line.clone(),
        }
    }
}

impl fmt::Display for UpdatePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "changes       {}", self.dir.display())?;
        for (what, path) in self.inputs.named() {
            write!(f, "\n{what}{}", path.display())?;
        }
        if self.inputs.no_cache {
            write!(f, "\npip's cache   none")?;
        }
        for path in self.wrapper_paths.iter().flatten() {
            write!(f, "\nprograms of   {}", path.display())?;
        }
        if let Some(compression) = &self.compression {
            write!(f, "\nimage         packed anew, {compression}")?;
        }
        write!(
            f,
            "\nscratch       {}",
            self.settings.scratch_parent.display()
        )
    }
}
