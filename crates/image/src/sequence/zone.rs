//! Responsible for the end of the hot files: nothing that follows shares a block with them, and the
//! blocks of the donor get their place behind them, those that are hot first.

use std::collections::HashSet;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::{PlannedJob, Sequencer};
use crate::digest::ContentFingerprint;
use crate::donor_blocks::{PlannedReuse, ReusedBlocks};
use crate::output::ReservedRange;
use crate::placement::PackedContents;
use crate::tree::EntryId;
use crate::{Error, HotZone};

/// Donor whose blocks wait for their place in the image.
pub(crate) struct WaitingDonor {
    pub(crate) reuse: PlannedReuse,
    /// Receiver of the blocks and of the range into which they are copied.
    pub(crate) copying: Sender<(Arc<ReusedBlocks>, ReservedRange)>,
}

/// Result of sequencing all contents.
pub(crate) struct Sequenced {
    pub(crate) contents: PackedContents,
    /// Zone of the hot files. It is empty if there are none.
    pub(crate) zone: HotZone,
    /// Blocks of the donor with their positions.
    pub(crate) reused: Option<Arc<ReusedBlocks>>,
}

impl<'a> Sequencer<'a> {
    /// Goes on with the files that are not hot. Returns `None` if that has happened already.
    pub(super) fn leave_zone(&mut self) -> Option<PlannedJob<'a>> {
        if !std::mem::take(&mut self.is_hot) {
            return None;
        }
        self.small = &self.plan.small;
        self.large = &self.plan.large;
        Some(PlannedJob::EndOfZone)
    }

    /// Returns whether an earlier file is one of the donor's that cannot move into the zone, while
    /// the zone is being written.
    pub(super) fn is_apart(
        donor: Option<&WaitingDonor>,
        contents: &PackedContents,
        earlier: EntryId,
    ) -> bool {
        let fingerprint = contents.fingerprints[earlier.index()];
        matches!(fingerprint, ContentFingerprint::Donor(_))
            && donor.is_some_and(|donor| !donor.reuse.can_be_hot(contents, earlier))
    }

    /// Ends the zone when all hot files are in the image.
    pub(super) fn end_zone(&mut self) -> Result<(), Error> {
        self.write_pending()?;
        if let Some(WaitingDonor { reuse, copying }) = self.donor.take() {
            let hot = self.hot_kept();
            let position = self.output.position();
            let kept = &self.plan.kept;
            let reused = Arc::new(reuse.place(kept, &hot, position, &mut self.contents));
            let range = self.output.reserve(reused.bytes)?;
            self.zone.bytes = position + reused.hot_bytes - self.zone.start;
            // The thread that copies ends early only if it has failed, which its own error tells.
            let _ = copying.send((reused.clone(), range));
            self.reused = Some(reused);
        } else {
            self.zone.bytes = self.output.position() - self.zone.start;
        }
        Ok(())
    }

    /// Writes everything that waits for its place, so that nothing that follows shares a block with
    /// it.
    pub(super) fn write_pending(&mut self) -> Result<(), Error> {
        if !self.candidates.is_empty() {
            self.submit_candidates();
        }
        self.collect_comparisons(0)?;
        // These files equal an earlier one in hash but not in content. Each gets its own position,
        // in the order of the plan.
        for candidate in std::mem::take(&mut self.hash_collisions) {
            let digest = (self.context.hash)(&candidate.bytes);
            let place = self.append_to_fragment(&candidate.bytes, digest);
            self.contents.placements[candidate.id.index()].fragment = Some(place);
        }
        if !self.fragment.is_empty() {
            self.submit_fragment();
        }
        self.write_fragments(Some(u64::MAX))
    }

    /// Returns the hot files whose content is the donor's: those that come from it, then those that
    /// a hot file equals.
    fn hot_kept(&self) -> Vec<EntryId> {
        let mut hot = self.plan.hot_kept.clone();
        let plan = self.plan;
        let new: HashSet<EntryId> = plan
            .hot_small
            .iter()
            .chain(&plan.hot_large)
            .copied()
            .collect();
        for file in &self.equal {
            let fingerprint = self.contents.fingerprints[file.earlier.index()];
            if new.contains(&file.id) && matches!(fingerprint, ContentFingerprint::Donor(_)) {
                hot.push(file.earlier);
            }
        }
        hot
    }
}
