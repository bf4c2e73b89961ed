//! Responsible for `condense search`, which asks the indices of channels for packages.

use std::sync::Arc;

use anyhow::Context;
use condense_prefix::{Architecture, Found, Network};

use crate::{interrupt::Interrupt, plan::PackageSettings, report::Report, request};

/// Search in the channels of a user.
#[derive(Debug)]
pub struct SearchPlan<'a> {
    /// Match spec, in whose name `*` and `?` stand for other letters.
    pub spec: &'a str,
    /// Channels that are searched; without any, conda-forge and those of conda's configuration.
    pub channels: &'a [String],
    /// Directory at which relative paths of channels start.
    pub folder: &'a std::path::Path,
    /// Platform such as `linux-64`; without one, that of this machine.
    pub platform: Option<&'a str>,
    /// Access to the channels.
    pub packages: &'a PackageSettings,
    /// Parent of the directory for temporary files.
    pub scratch_parent: &'a std::path::Path,
}

/// Searches the channels.
///
/// # Errors
/// Returns an error if the spec or the platform is invalid, or if a channel cannot be read.
pub fn search(
    plan: &SearchPlan,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<Found> {
    let architecture = match plan.platform {
        Some(platform) => crate::lock::architecture(platform)?,
        None => Architecture::from_machine(std::env::consts::ARCH).with_context(|| {
            format!(
                "there are no conda packages for `{}`",
                std::env::consts::ARCH
            )
        })?,
    };
    let spec = request::read_channels(plan.channels, plan.folder, plan.packages)?;
    let scratch = tempfile::Builder::new()
        .prefix("cw-")
        .tempdir_in(plan.scratch_parent)
        .with_context(|| format!("cannot write to `{}`", plan.scratch_parent.display()))?;
    interrupt.remove_on_exit(scratch.path().to_owned());
    let network = Network::open(plan.packages.trusted_network(scratch.path(), report))?;
    let progress: &Report = report;
    let runtime = condense_threads::network()?;
    Ok(runtime.block_on(condense_prefix::search(
        &spec,
        plan.spec,
        architecture,
        &network,
        scratch.path(),
        progress,
    ))?)
}
