//! Responsible for the options of the start by which a build finds out which files come first in
//! its image.

use clap::{ArgAction, Args};
use condense_build::plan::WarmStart;

#[derive(Debug, Args)]
pub(super) struct WarmArguments {
    /// Python code whose files come first in the image as well, such as `import torch`; the build
    /// runs it after the imports of the packages that are asked for; may be given several times
    #[arg(long, value_name = "CODE", action = ArgAction::Append, conflicts_with = "no_warm")]
    warm: Vec<String>,
    /// do not import packages during the build; the files of a start then have no place of their
    /// own in the image
    #[arg(long)]
    no_warm: bool,
}

impl WarmArguments {
    pub(super) fn choice(self) -> WarmStart {
        WarmStart {
            code: self.warm,
            is_off: self.no_warm,
        }
    }
}
