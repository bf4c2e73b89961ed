//! Responsible for the lines of a script that copy the image to the nodes.

use super::Plan;
use crate::{
    batch::{Scheduler, quote},
    error::{Error, Result},
    request::Start,
    setting::SettingKind,
};

/// Option that asks for the copies.
const OPTION: &str = "--stage";

impl Plan<'_> {
    /// Copies the image to the nodes before the program starts, and has it start from there.
    pub(super) fn stage(&mut self) -> Result<()> {
        let Some(condense) = self.stage else {
            return Ok(());
        };
        let refuse = |reason: &'static str| Err(Error::NoStage { reason });
        // Only Slurm has a program that sends files to all nodes.
        if self.scheduler == Scheduler::Pbs && self.resources.nodes > 1 {
            return refuse("jobs of PBS with several nodes have nothing that sends it");
        }
        let condense = quote(&condense.display().to_string());
        let reason = "each node reads its own copy of the image";
        let (name, value) = match &self.program.start {
            Start::Image(_) => {
                let value = format!("$({condense} stage -- \"$image\")");
                self.line(format!("image={value} || exit 1"));
                ("image", value)
            }
            Start::Installation { bin, .. } => {
                let dir = bin.parent().unwrap_or(bin).display().to_string();
                let value = format!("$({condense} stage -- {})", quote(&dir));
                self.line(format!("CW_STAGE={value} || exit 1"));
                self.line("export CW_STAGE");
                ("CW_STAGE", value)
            }
            Start::Module { .. } => return refuse("a module finds its image by itself"),
        };
        self.settings
            .add(SettingKind::Variable, name, Some(value), reason, OPTION);
        Ok(())
    }
}
