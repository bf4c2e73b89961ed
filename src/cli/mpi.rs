//! Responsible for the option `--mpi` of the commands whose programs use an MPI.

use clap::{Args, ValueEnum};
use condense_installation::MpiSource;

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct MpiArguments {
    /// MPI with which programs start: `host`, the newest fitting library of the node, or `image`;
    /// CONDENSE_MPI at a start says otherwise
    #[arg(
        long,
        value_enum,
        value_name = "host|image",
        hide_possible_values = true
    )]
    mpi: Option<MpiChoice>,
}

/// Words for the option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MpiChoice {
    Host,
    Image,
}

impl MpiArguments {
    /// Returns the MPI that the user wants, if any.
    pub(super) fn source(self) -> Option<MpiSource> {
        self.mpi.map(|choice| match choice {
            MpiChoice::Host => MpiSource::Host,
            MpiChoice::Image => MpiSource::Image,
        })
    }
}
