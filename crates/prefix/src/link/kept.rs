//! Responsible for packages that earlier builds have unpacked: which of a solution there are.

use std::{
    collections::HashMap,
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
/// Divisor of the limit on open files, of which packages take at most one part.
const LIMIT_PARTS: u64 = 4;

/// Packages of a solution that earlier builds have unpacked, by their indices.
pub(crate) struct Kept<'a> {
    packages: Mutex<HashMap<usize, KeptPackage>>,
    /// Place in which unpacked packages are kept for later builds. `None` if they are not kept.
    pub(super) place: Option<&'a dyn KeptPackages>,
}

impl<'a> Kept<'a> {
    /// Creates the set without packages. Nothing is kept for later builds.
    pub(crate) fn none() -> Self {
        Self {
            packages: Mutex::default(),
            place: None,
        }
    }

    /// Opens the packages that there are, and reads their lists. Damaged ones count as missing, and
    /// are removed.
    ///
    /// # Errors
    /// Returns [`Error::Interrupted`].
    pub(crate) fn open(
        solution: &Solution,
        kept: Option<&'a dyn KeptPackages>,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let Some(kept) = kept else {
            return Ok(Self::none());
        };
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let limit = limit.map_or(OPEN_MAX, |limit| {
            usize::try_from(limit / LIMIT_PARTS).unwrap_or(OPEN_MAX)
        });
        let records = &solution.records;
        let mut order = largest_first(records);
        order.truncate(OPEN_MAX.min(limit));
        let found = for_each(&order, progress, &|index| {
            // Without a digest, nothing says that an archive is still the one that was unpacked.
            let Some(sha256) = records[index].package_record.sha256 else {
                return Ok(None);
            };
            let sha256: [u8; 32] = sha256.into();
            let Some(file) = kept.open(&sha256) else {
                return Ok(None);
            };
            let found = KeptPackage::read(file, &sha256);
            if found.is_none() {
                kept.remove(&sha256);
            }
            Ok(found)
        })?;
        let packages = found
            .into_iter()
            .filter_map(|(index, package)| Some((index, package?)));
        Ok(Self {
            packages: Mutex::new(packages.collect()),
            place: Some(kept),
        })
    }

    /// Returns whether a package has a post-link script, or `None` if it has to be unpacked.
    pub(super) fn has_post_link(&self, index: usize) -> Option<bool> {
        let packages = self.packages.lock().unwrap_or_else(PoisonError::into_inner);
        packages.get(&index).map(KeptPackage::has_post_link)
    }

    /// Takes a package with this digest out of the set, and compares its checksum, and those blocks
    /// that may be read. A damaged one is removed.
    pub(super) fn take(
        &self,
        index: usize,
        sha256: &[u8; 32],
        progress: &dyn Progress,
    ) -> Option<KeptPackage> {
        let mut packages = self.packages.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = packages.remove(&index)?;
        drop(packages);
        // Blocks that are known are packed by their digests. Whatever reads them compares them.
        let is_known = |digest: &[u8]| self.place.is_some_and(|place| place.knows_block(digest));
        let stopped = || progress.cancelled();
        let is_whole = found.is_whole_but_blocks(&stopped) && found.has_blocks(&is_known, &stopped);
        if !is_whole && !progress.cancelled() {
            self.place?.remove(sha256);
        }
        is_whole.then_some(found)
    }
}
