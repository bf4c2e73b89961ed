//! Responsible for a site's rules for its own MPI, which programs of images may use.

use anyhow::bail;
use condense_installation::{HostMpi, MpiSource};
use serde::{Deserialize, Serialize};

/// Rules of a site for its own MPI.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct MpiRules {
    /// Patterns of the site's libraries with MPICH's ABI; the newest match is used.
    pub libraries: Vec<String>,
    /// Patterns of directories with libraries that it needs; the newest match of each is searched.
    pub search: Vec<String>,
    /// Sockets and devices that it needs, if they exist where a program starts.
    pub binds: Vec<String>,
    /// MPI that the user wants; without a wish, an update keeps the one before.
    #[serde(skip)]
    pub source: Option<MpiSource>,
}

impl MpiRules {
    /// Returns whether the site has no rules for its MPI.
    pub(super) fn is_empty(&self) -> bool {
        self.libraries.is_empty() && self.search.is_empty() && self.binds.is_empty()
    }

    /// Takes the rules of existing wrappers. Those of the site stay if the wrappers have none.
    #[must_use]
    pub fn following(mut self, before: Option<&HostMpi>) -> Self {
        let Some(before) = before else { return self };
        if !before.libraries.is_empty() {
            self.libraries.clone_from(&before.libraries);
            self.search.clone_from(&before.search);
            let binds = before.binds.iter();
            self.binds = binds.map(|path| path.display().to_string()).collect();
        }
        if before.is_default && self.source.is_none() {
            self.source = Some(MpiSource::Host);
        }
        self
    }

    /// Checks the patterns, so that mistakes are reported when the catalogue is read and not during
    /// a build.
    ///
    /// # Errors
    /// Returns an error if a pattern cannot be written into a wrapper.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let rules = HostMpi {
            libraries: self.libraries.clone(),
            search: self.search.clone(),
            binds: self.binds.iter().map(Into::into).collect(),
            ..HostMpi::default()
        };
        if let Err(error) = rules.render() {
            bail!("`host_mpi`: {error}");
        }
        Ok(())
    }
}
