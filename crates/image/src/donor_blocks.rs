//! Responsible for copying blocks of the donor into a new image without decompressing them: which
//! blocks are still used, and their new positions.
//!
//! Blocks of the donor's hot zone and of hot files come first, the others follow in their order.
//! Blocks that no file uses any more are left out. Unused parts of a block that several files share
//! are copied with it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::digest::ContentFingerprint;
use crate::format::STORED;
use crate::output::ReservedRange;
use crate::placement::{PackedContents, Placement};
use crate::plan::KeptFile;
use crate::reader::Layout;
use crate::tree::EntryId;
use crate::zone::HotZone;
use crate::{Error, Reader, Tree};

/// Fill level in sixteenths from which a shared block counts as full: writers begin a new block
/// when the next file does not fit. Other shared blocks are decompressed to find out how much of
/// them is used.
const FULL_SIXTEENTHS: u64 = 15;

/// Run of blocks, with its position in the donor and in the new image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) length: u64,
}

/// Blocks of the donor that are reused, before they have positions in the new image. Until
/// [`PlannedReuse::place`] the positions of the kept files are those in the donor.
#[derive(Debug)]
pub(crate) struct PlannedReuse {
    donor: Arc<Reader>,
    zone: Option<HotZone>,
    /// Runs of blocks from start to end, sorted. Runs that overlap are merged, so that each keeps
    /// its order.
    runs: Vec<(u64, u64)>,
    /// Number of shared blocks of the donor, which are the first of the new image.
    fragments: usize,
    /// Size of all runs in bytes.
    pub(crate) bytes: u64,
    /// Estimated part of `bytes` that no file uses, in bytes.
    pub(crate) garbage: u64,
}

/// All runs of blocks that are copied into a new image.
#[derive(Debug)]
pub(crate) struct ReusedBlocks {
    donor: Arc<Reader>,
    /// Runs, sorted by their position in the donor.
    extents: Vec<Extent>,
    /// Size of all runs in bytes.
    pub(crate) bytes: u64,
    /// Size of the first runs in bytes, which are hot.
    pub(crate) hot_bytes: u64,
    /// Estimated part of `bytes` that no file uses, in bytes.
    pub(crate) garbage: u64,
}

/// Place of a run among the donor's blocks in the new image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Run in the zone of the donor. These runs keep their order.
    Zone,
    /// Run of a hot file with this place in the order of hot files.
    Hot(usize),
    Cold,
}

/// Part of a shared block that belongs to a file.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct FragmentShare {
    fragment: u32,
    offset: u32,
    length: u32,
}

impl PlannedReuse {
    /// Finds the blocks of the kept files. Nothing is copied yet.
    ///
    /// A shared block must be decompressed to find out whether its end is used. This is left out if
    /// the unused bytes cannot exceed `garbage_percent_max` percent.
    pub(crate) fn new(
        donor: &Arc<Reader>,
        tree: &Tree,
        kept: &[KeptFile<'_>],
        garbage_percent_max: Option<u8>,
    ) -> Result<(PlannedReuse, PackedContents), Error> {
        let mut contents = PackedContents::new(tree);
        let mut runs = Vec::new();
        let mut shares = Vec::new();
        for KeptFile { id, file, .. } in kept {
            let layout = file.layout()?;
            let stored = layout.stored_bytes();
            if stored > 0 {
                runs.push((layout.start, layout.start + stored));
            }
            if let Some((fragment, offset)) = layout.fragment {
                shares.push(share(donor, &layout, fragment, offset)?);
            }
            contents.fingerprints[id.index()] = ContentFingerprint::Donor(file.reference());
            contents.placements[id.index()] = Placement {
                start: if stored > 0 { layout.start } else { 0 },
                sizes: layout.sizes,
                fragment: layout.fragment,
                sparse: layout.hole_bytes,
            };
        }
        shares.sort_unstable();
        let block_size = u64::from(donor.superblock().block_size.bytes());
        let mut numbers = HashMap::new();
        let mut used = Vec::new();
        for shares in shares.chunk_by(|one, other| one.fragment == other.fragment) {
            let fragment = shares[0].fragment;
            let (at, size) = donor.fragment_place(fragment)?;
            let length = u64::from(size & !STORED);
            let end = at.checked_add(length);
            let Some(end) = end.filter(|end| *end <= donor.window().len()) else {
                return Err(donor.corrupt(format!("fragment {fragment} lies outside of it")));
            };
            runs.push((at, end));
            used.push(FragmentUse::new(shares, fragment, length, block_size));
            numbers.insert(fragment, contents.fragments.len() as u32);
            contents.fragments.push((at, size));
        }
        for file in kept {
            let placement = &mut contents.placements[file.id.index()];
            if let Some((fragment, _)) = &mut placement.fragment {
                *fragment = numbers[fragment];
            }
        }
        let runs = merged(runs);
        let bytes = runs.iter().map(|(from, end)| end - from).sum();
        let garbage_max = garbage_percent_max.map(|percent| u64::from(percent) * bytes / 100);
        let possible: u64 = used.iter().map(|used| used.garbage(block_size)).sum();
        if garbage_max.is_none_or(|max| possible > max) {
            for used in &mut used {
                used.load_end(donor)?;
            }
        }
        let reuse = PlannedReuse {
            donor: donor.clone(),
            zone: donor.hot_zone()?,
            runs,
            fragments: contents.fragments.len(),
            bytes,
            garbage: used.iter().map(|used| used.garbage(used.end)).sum(),
        };
        Ok((reuse, contents))
    }

    /// Makes the zone of the donor an ordinary part of it.
    pub(crate) fn drop_zone(&mut self) {
        self.zone = None;
    }

    /// Returns the kept files in the zone of the donor, in their order there.
    pub(crate) fn zone_files(
        &self,
        kept: &[KeptFile<'_>],
        contents: &PackedContents,
    ) -> Vec<EntryId> {
        let Some(zone) = self.zone else {
            return Vec::new();
        };
        let mut found: Vec<(u64, EntryId)> = Vec::new();
        for KeptFile { id, .. } in kept {
            let positions: Vec<u64> = contents.positions(*id).collect();
            let is_in = positions.iter().all(|at| zone.contains(*at, at + 1));
            found.extend(
                positions
                    .first()
                    .filter(|_| is_in)
                    .map(|first| (*first, *id)),
            );
        }
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// Returns whether a kept file can move into the zone alone: it shares no block, or one in the
    /// zone of the donor.
    pub(crate) fn can_be_hot(&self, contents: &PackedContents, id: EntryId) -> bool {
        let shared = contents.placements[id.index()].fragment;
        shared.is_none_or(|(index, _)| {
            let (at, _) = contents.fragments[index as usize];
            self.zone.is_some_and(|zone| zone.contains(at, at + 1))
        })
    }

    /// Gives the blocks positions from `position` on: first those in the zone of the donor, then
    /// those of the `hot` files, then all others. The positions in `contents` change with them.
    pub(crate) fn place(
        self,
        kept: &[KeptFile<'_>],
        hot: &[EntryId],
        position: u64,
        contents: &mut PackedContents,
    ) -> ReusedBlocks {
        let in_zone = |&(from, end): &(u64, u64)| {
            self.zone
                .is_some_and(|zone| zone.contains(from, end))
                .then_some(Rank::Zone)
        };
        let mut ranks: Vec<Rank> = self
            .runs
            .iter()
            .map(|run| in_zone(run).unwrap_or(Rank::Cold))
            .collect();
        for (place, id) in hot.iter().enumerate() {
            for at in contents.positions(*id) {
                let after = self.runs.partition_point(|(from, _)| *from <= at);
                ranks[after - 1] = ranks[after - 1].min(Rank::Hot(place));
            }
        }
        let mut order: Vec<usize> = (0..self.runs.len()).collect();
        order.sort_by_key(|at| (ranks[*at], *at));
        let mut reused = ReusedBlocks {
            donor: self.donor,
            extents: Vec::new(),
            bytes: 0,
            hot_bytes: 0,
            garbage: self.garbage,
        };
        for at in order {
            let (from, end) = self.runs[at];
            reused.append(from, end - from, position);
            if ranks[at] != Rank::Cold {
                reused.hot_bytes = reused.bytes;
            }
        }
        reused.extents.sort_unstable_by_key(|extent| extent.from);
        for (at, _) in &mut contents.fragments[..self.fragments] {
            *at = reused.relocated(*at);
        }
        for file in kept {
            let placement = &mut contents.placements[file.id.index()];
            if placement.start > 0 {
                placement.start = reused.relocated(placement.start);
            }
        }
        reused
    }
}

/// Returns the runs sorted, with those merged that overlap. Blocks of a file follow each other, so
/// overlapping runs must stay together.
fn merged(mut runs: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    runs.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (from, end) in runs {
        match merged.last_mut() {
            Some(last) if from < last.1 => last.1 = last.1.max(end),
            _ => merged.push((from, end)),
        }
    }
    merged
}

impl ReusedBlocks {
    /// Adds a run behind all others. A run that follows the last one in the donor as well extends
    /// it.
    fn append(&mut self, from: u64, length: u64, position: u64) {
        match self.extents.last_mut() {
            Some(last) if from == last.from + last.length => last.length += length,
            _ => self.extents.push(Extent {
                from,
                to: position + self.bytes,
                length,
            }),
        }
        self.bytes += length;
    }

    /// Returns the new position of a block of the donor.
    pub(crate) fn relocated(&self, at: u64) -> u64 {
        let after = self.extents.partition_point(|extent| extent.from <= at);
        let extent = &self.extents[after - 1];
        extent.to + (at - extent.from)
    }

    pub(crate) fn donor(&self) -> &Arc<Reader> {
        &self.donor
    }

    /// Returns all runs of blocks, split into parts of at most `bytes_max`.
    pub(crate) fn parts(&self, bytes_max: u64) -> impl Iterator<Item = Extent> {
        self.extents.iter().flat_map(move |extent| {
            let starts = (0..extent.length).step_by(bytes_max as usize);
            starts.map(move |at| Extent {
                from: extent.from + at,
                to: extent.to + at,
                length: bytes_max.min(extent.length - at),
            })
        })
    }

    /// Copies the blocks into the range that is reserved for them. `copied` receives the number of
    /// bytes copied since its last call.
    pub(crate) fn copy(
        &self,
        reserved: &mut ReservedRange,
        mut copied: impl FnMut(u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (file, offset) = self.donor.window().file();
        let mut extents = self.extents.clone();
        extents.sort_unstable_by_key(|extent| extent.to);
        for extent in extents {
            reserved.copy_from(file, offset + extent.from, extent.length, &mut copied)?;
        }
        Ok(())
    }
}

fn share(
    donor: &Reader,
    layout: &Layout,
    fragment: u32,
    offset: u32,
) -> Result<FragmentShare, Error> {
    let block_size = donor.superblock().block_size.bytes();
    let length = (layout.size % u64::from(block_size)) as u32;
    if offset
        .checked_add(length)
        .is_none_or(|end| end > block_size)
    {
        return Err(donor.corrupt(format!(
            "fragment {fragment} ends before the file that it holds"
        )));
    }
    Ok(FragmentShare {
        fragment,
        offset,
        length,
    })
}

/// FragmentUse part of one shared block.
#[derive(Debug, PartialEq, Eq)]
struct FragmentUse {
    fragment: u32,
    /// Compressed size of the block in bytes.
    length: u64,
    /// Number of bytes of the block that belong to files, before compression.
    bytes: u64,
    /// End of the last known byte of the block, before compression.
    end: u64,
    /// Whether unused bytes may follow after `end`.
    is_open: bool,
}

impl FragmentUse {
    fn new(shares: &[FragmentShare], fragment: u32, length: u64, block_size: u64) -> FragmentUse {
        let (mut end, mut bytes) = (0, 0);
        for share in shares {
            let share_end = share.offset + share.length;
            bytes += u64::from(share_end.saturating_sub(end.max(share.offset)));
            end = end.max(share_end);
        }
        let end = u64::from(end);
        FragmentUse {
            fragment,
            length,
            bytes,
            end,
            is_open: end * 16 < block_size * FULL_SIXTEENTHS,
        }
    }

    /// Decompresses the block to find its true end.
    fn load_end(&mut self, donor: &Reader) -> Result<(), Error> {
        if std::mem::take(&mut self.is_open) {
            self.end = self.end.max(donor.fragment_len(self.fragment)? as u64);
        }
        Ok(())
    }

    /// Returns the estimated number of compressed bytes that no file uses, if a block with unknown
    /// end has `open_end` bytes.
    fn garbage(&self, open_end: u64) -> u64 {
        let full = if self.is_open { open_end } else { self.end };
        self.length * full.saturating_sub(self.bytes) / full.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_shares_count_once() {
        let share = |offset, length| FragmentShare {
            fragment: 0,
            offset,
            length,
        };
        // Each case has the shares, their number of bytes, and the unused part of 150 compressed
        // bytes: for a block that ends with the last share, and for a block of 160 bytes.
        for (shares, bytes, garbage) in [
            (vec![share(0, 100), share(100, 50)], 150, [0, 0]),
            (vec![share(0, 100), share(0, 100)], 100, [0, 56]),
            (vec![share(0, 10), share(2, 3), share(8, 4)], 12, [0, 138]),
            (vec![share(50, 50), share(100, 20)], 70, [62, 84]),
            (vec![share(50, 100)], 100, [50, 50]),
        ] {
            let used = FragmentUse::new(&shares, 0, 150, 160);
            assert_eq!(used.bytes, bytes);
            assert_eq!([used.garbage(used.end), used.garbage(160)], garbage);
        }
    }
}
