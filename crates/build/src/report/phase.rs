//! Responsible for the parts of the work and their names.

/// A part of the work that is shown and timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// One of the environment's own stages.
    Prefix(condense_prefix::Phase),
    /// Making a SIF of an image that is elsewhere, measured in bytes.
    Pull(condense_oci::Phase),
    /// Packing the image, measured in bytes.
    Pack,
    /// Unpacking an image, measured in bytes.
    Unpack,
    /// Reading all of an image, measured in bytes.
    Check,
    /// Copying images to this node, measured in bytes.
    Copy,
    /// Putting the installation together, reading its image back and starting it once.
    Publish,
}

impl Phase {
    /// Returns the words for the part while it is done, and once it is done.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Prefix(condense_prefix::Phase::Index) => ("Reading channels", "Read channels"),
            Self::Prefix(condense_prefix::Phase::Solve) => ("Solving", "Solved"),
            Self::Prefix(condense_prefix::Phase::Fetch) => {
                ("Fetching packages", "Fetched packages")
            }
            Self::Prefix(condense_prefix::Phase::Link) => ("Linking packages", "Linked packages"),
            Self::Prefix(condense_prefix::Phase::Run) => ("Running build steps", "Ran build steps"),
            Self::Prefix(condense_prefix::Phase::Start) => {
                ("Recording a start", "Recorded a start")
            }
            Self::Pull(condense_oci::Phase::Fetch) => ("Fetching the image", "Fetched the image"),
            Self::Pull(condense_oci::Phase::Pack) => ("Writing the SIF", "Wrote the SIF"),
            Self::Pack => ("Packing", "Packed"),
            Self::Unpack => ("Unpacking", "Unpacked"),
            Self::Check => ("Checking", "Checked"),
            Self::Copy => ("Copying to this node", "Copied to this node"),
            Self::Publish => (
                "Putting together and verifying",
                "Put the installation together and verified it",
            ),
        }
    }

    /// Returns the word for the phase in the line of seconds.
    pub fn short(self) -> &'static str {
        match self {
            Self::Prefix(condense_prefix::Phase::Index) => "index",
            Self::Prefix(condense_prefix::Phase::Solve) => "solve",
            Self::Prefix(condense_prefix::Phase::Fetch) => "fetch",
            Self::Prefix(condense_prefix::Phase::Link) => "link",
            Self::Prefix(condense_prefix::Phase::Run) => "run",
            Self::Prefix(condense_prefix::Phase::Start) => "start",
            Self::Pull(condense_oci::Phase::Fetch) => "pull",
            Self::Pull(condense_oci::Phase::Pack) => "sif",
            Self::Pack => "pack",
            Self::Unpack => "unpack",
            Self::Check => "check",
            Self::Copy => "copy",
            Self::Publish => "publish",
        }
    }

    /// Returns whether the amount of work is counted in bytes.
    pub fn is_in_bytes(self) -> bool {
        matches!(
            self,
            Self::Prefix(condense_prefix::Phase::Fetch)
                | Self::Pull(_)
                | Self::Pack
                | Self::Unpack
                | Self::Check
                | Self::Copy
        )
    }
}
