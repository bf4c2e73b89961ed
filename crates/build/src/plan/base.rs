//! Responsible for the choice of a base image, and for its form in an installation.

/// Reference to a base image. Its variant decides which `/usr` the programs see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseChoice {
    /// The user named the base: programs see its system directories.
    Named(String),
    /// The base is the site's default: programs see the host's system directories.
    Site(String),
}

impl BaseChoice {
    /// Returns the reference, for either variant.
    pub fn reference(&self) -> &str {
        let (Self::Named(reference) | Self::Site(reference)) = self;
        reference
    }
}

/// Form in which an installation has its base.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BaseFile {
    /// The same blocks or the same file if that is possible, else a link or a copy.
    #[default]
    Usual,
    /// A file of its own.
    Copied,
    /// A link to the place of the base, as with Tykky's `share_container`.
    Linked,
}
