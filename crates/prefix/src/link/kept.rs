//! Responsible for packages that earlier builds have unpacked: which of a solution there are.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use super::{largest_first, workers::for_each};
use crate::{
    error::Error,
    package::{KeptPackage, KeptPackages},
    progress::Progress,
    solution::Solution,
};

/// Maximum number of packages that are used. Each is an open file.
const OPEN_MAX: usize = 400;

/// Packages of a solution that earlier builds have unpacked, by their indices.
pub(crate) struct Kept {
    packages: Mutex<HashMap<usize, KeptPackage>>,
    /// Whether unpacked packages are kept for later builds.
    pub(crate) keeps: bool,
}

impl Kept {
    /// Creates the set without packages. Nothing is kept for later builds.
    pub(crate) fn none() -> Self {
        Self {
            packages: Mutex::default(),
            keeps: false,
        }
    }

    /// Opens the packages that there are. Damaged ones count as missing.
    ///
    /// # Errors
    /// Returns [`Error::Interrupted`].
    pub(crate) fn open(
        solution: &Solution,
        kept: Option<&dyn KeptPackages>,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let Some(kept) = kept else {
            return Ok(Self::none());
        };
        let records = &solution.records;
        let mut order = largest_first(records);
        order.truncate(OPEN_MAX);
        let found = for_each(&order, progress, &|index| {
            // Without a digest, nothing says that an archive is still the one that was unpacked.
            let Some(sha256) = records[index].package_record.sha256 else {
                return Ok(None);
            };
            let sha256: [u8; 32] = sha256.into();
            let path = PathBuf::from(records[index].identifier.to_file_name());
            let file = kept.open(&sha256);
            Ok(file.and_then(|file| KeptPackage::read(file, path, &sha256)))
        })?;
        let packages = found
            .into_iter()
            .filter_map(|(index, package)| Some((index, package?)));
        Ok(Self {
            packages: Mutex::new(packages.collect()),
            keeps: true,
        })
    }

    /// Returns whether a package has a post-link script, or `None` if it has to be unpacked.
    pub(super) fn has_post_link(&self, index: usize) -> Option<bool> {
        let packages = self.packages.lock().unwrap_or_else(PoisonError::into_inner);
        packages.get(&index).map(KeptPackage::has_post_link)
    }

    /// Takes a package out of the set.
    pub(super) fn take(&self, index: usize) -> Option<KeptPackage> {
        let mut packages = self.packages.lock().unwrap_or_else(PoisonError::into_inner);
        packages.remove(&index)
    }
}
