//! Responsible for the settings of the wrappers, and for the receipt.

use condense_activation::{ActivationStep, ValuePart};
use condense_image::Image;
use condense_installation::{
    BaseRecord, HostView, InstallationMode, Launch, Placement, Receipt, UpdateState,
};

use super::{Contents, Wrap};
use crate::{
    generation::{image_record, shell_of},
    host_mpi,
    plan::Wrapped,
};

/// Name of a file in a masked image, whose mount point exists on the host as well. By this file,
/// the wrappers know that they run in the container.
pub(super) const INSIDE: &str = ".condense-inside";

impl Wrap<'_> {
    /// Returns the settings of the wrappers.
    ///
    /// # Errors
    /// Returns an error if a rule of the site has no meaning for the base.
    pub(super) fn launch(&self, contents: &Contents) -> anyhow::Result<Launch> {
        let (settings, base) = (&self.plan.settings, &self.prepared.base);
        let (has_image, inside) = match &self.plan.input.what {
            Wrapped::Container => (false, self.mount_point.clone()),
            Wrapped::Directory { mask: true, .. } => (true, self.mount_point.join(INSIDE)),
            Wrapped::Directory { mask: false, .. } => (true, self.mount_point.clone()),
        };
        let runtime = self.prepared.runtime.as_ref();
        let extra_text = &self.plan.output.generation.extra_text;
        Ok(Launch {
            mount_point: self.mount_point.clone(),
            has_image,
            container_marker: inside,
            env_prefix: self.mount_point.clone(),
            runtime: runtime.map(|runtime| runtime.program().to_owned()),
            host_view: base.view,
            binds: base.site_binds(settings)?,
            flags: settings.rules.flags_for(base.known())?,
            variables: settings.rules.variables_for(base.known())?,
            base_env_vars: contents.base_env_vars.clone(),
            interpreter: None,
            activation: self.library_path(),
            launcher: None,
            shell: shell_of(extra_text.as_deref()),
            extra_text: extra_text.clone(),
            hand_written: None,
            no_user_site: settings.rules.no_user_site,
            hot_parts: Vec::new(),
            host_mpi: host_mpi::settings(
                contents.mpi.as_ref(),
                (base.view == HostView::Base).then_some(&base.facts),
                &settings.rules.mpi,
                self.report(),
            )?,
        })
    }

    /// Returns the variable by which the programs of the directory find their own libraries first,
    /// as with Tykky.
    fn library_path(&self) -> Vec<ActivationStep> {
        let Wrapped::Directory { dir, .. } = &self.plan.input.what else {
            return Vec::new();
        };
        let mounted: Vec<String> = ["lib", "lib64"]
            .iter()
            .filter(|name| dir.join(name).is_dir())
            .map(|name| self.mount_point.join(name).display().to_string())
            .collect();
        if mounted.is_empty() {
            return Vec::new();
        }
        vec![ActivationStep::Join {
            name: "LD_LIBRARY_PATH".to_owned(),
            parts: vec![
                ValuePart::Literal(mounted.join(":")),
                ValuePart::Variable {
                    name: "LD_LIBRARY_PATH".to_owned(),
                    before: ":".to_owned(),
                    after: String::new(),
                },
            ],
        }]
    }

    /// Returns the receipt of the installation.
    pub(super) fn receipt(&self, image: Option<&Image>, base_digest: Option<String>) -> Receipt {
        let base = &self.prepared.base;
        let generation = &self.plan.output.generation;
        Receipt {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            created: generation.created(),
            mode: match self.plan.input.what {
                Wrapped::Container => InstallationMode::WrapContainer,
                Wrapped::Directory { .. } => InstallationMode::WrapDirectory,
            },
            arguments: generation.arguments(),
            inputs: Vec::new(),
            lock: None,
            base: BaseRecord {
                reference: self.plan.base.reference().to_owned(),
                path: base.path().to_owned(),
                sha256: base_digest,
                placement: Placement::default(),
                os_packages: Vec::new(),
            },
            image: image.map(image_record),
            mount_point: self.mount_point.clone(),
            env_prefix: self.mount_point.clone(),
            env_name: String::new(),
            interpreter: None,
            host_view: base.view,
            update_state: UpdateState {
                file_aliases: generation.other_names.clone(),
                ..UpdateState::default()
            },
            generation: 0,
        }
    }
}
