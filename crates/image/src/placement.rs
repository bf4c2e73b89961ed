//! Responsible for the positions of file contents in an image, which packing determines and which
//! the inode table records.

use std::fmt;
use std::sync::Arc;

use crate::blocks::PackedBlock;
use crate::digest::ContentFingerprint;
use crate::tree::EntryId;
use crate::{Image, Tree};

/// Positions of a file's content in the image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Placement {
    /// Position of the first block.
    pub(crate) start: u64,
    /// Size fields of the blocks as in the inode.
    pub(crate) sizes: Box<[u32]>,
    /// Shared block with the last part of the file, and the offset in that block.
    pub(crate) fragment: Option<(u32, u32)>,
    /// Number of bytes in blocks of zeros.
    pub(crate) sparse: u64,
}

/// Evidence of each file's content, by entry of the tree. The debug output shows only the count.
#[derive(Clone)]
pub(crate) struct Fingerprints(pub(crate) Vec<ContentFingerprint>);

impl fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} fingerprints]", self.0.len())
    }
}

/// Positions of all contents in a finished image. The debug output shows only the count.
pub(crate) struct Positions {
    /// Position of each file's content, indexed by entry.
    pub(crate) placements: Vec<Placement>,
    /// Position and size field of each shared block.
    pub(crate) fragments: Vec<(u64, u32)>,
}

impl fmt::Debug for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} positions]", self.placements.len())
    }
}

impl Image {
    /// Returns the description without what reading the image back needs, which takes memory for
    /// each entry.
    #[must_use]
    pub fn without_evidence(&self) -> Image {
        Image {
            path: self.path.clone(),
            blocks: self.blocks.clone(),
            fingerprints: Fingerprints(Vec::new()),
            positions: None,
            reused: None,
            ..*self
        }
    }
}

/// Positions and fingerprints of all contents.
#[derive(Debug)]
pub(crate) struct PackedContents {
    /// Position of each file's content, indexed by entry.
    pub(crate) placements: Vec<Placement>,
    /// Fingerprint of each file's content, indexed by entry.
    pub(crate) fingerprints: Vec<ContentFingerprint>,
    /// Position and size field of each shared block.
    pub(crate) fragments: Vec<(u64, u32)>,
    /// Recorded blocks, in their order in the image.
    pub(crate) blocks: Vec<PackedBlock>,
    /// Number of files whose content an earlier file already had.
    pub(crate) duplicates: u64,
}

impl PackedContents {
    /// Creates the value for a tree whose contents have no positions yet.
    pub(crate) fn new(tree: &Tree) -> PackedContents {
        PackedContents {
            placements: vec![Placement::default(); tree.capacity()],
            fingerprints: vec![ContentFingerprint::default(); tree.capacity()],
            fragments: Vec::new(),
            blocks: Vec::new(),
            duplicates: 0,
        }
    }

    /// Returns what reading the image back needs of the contents.
    pub(crate) fn into_evidence(self) -> (Fingerprints, Vec<PackedBlock>, Option<Arc<Positions>>) {
        let has_verified = self.blocks.iter().any(|block| block.is_verified);
        let positions = has_verified.then(|| {
            Arc::new(Positions {
                placements: self.placements,
                fragments: self.fragments,
            })
        });
        (Fingerprints(self.fingerprints), self.blocks, positions)
    }

    /// Returns the positions of a file's blocks and of its shared block, as far as it has them.
    pub(crate) fn positions(&self, id: EntryId) -> impl Iterator<Item = u64> {
        let placement = &self.placements[id.index()];
        let shared = placement.fragment;
        let shared = shared.map(|(index, _)| self.fragments[index as usize].0);
        let first = (placement.start > 0).then_some(placement.start);
        first.into_iter().chain(shared)
    }
}
