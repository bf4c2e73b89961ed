//! Responsible for the base as the beginning of a new image: its files, its overlay, and its own
//! description.

use std::{path::Path, sync::Arc};

use anyhow::bail;
use condense_base::{BaseFacts, BaseImage, BaseKind};
use condense_image::{
    BlockSize, Donor, Existing, Kind, Modes, Reader, ScanOptions, Sif, Tree,
    sif::{DataKind, FileSystem, PartitionRole},
};
use condense_installation::BaseFiles;
use condense_oci::Reference;
use condense_prefix::without_secrets;

use crate::{
    ahead::BlockFormat,
    open_base::OpenBase,
    plan::{Layout, SifPlan},
    pull::Pull,
    report::Report,
};
use condense_diagnostics::UserError;

/// Maximum size in bytes of a text in which a base describes itself. Such texts are far smaller.
const TEXT_LIMIT: u64 = 4 << 20;
/// Device number of a name that an overlay removes, and attributes of a directory whose content an
/// overlay removes.
const WHITEOUT_DEVICE: u32 = 0;
const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];
/// Name of the object that `inspect` shows.
pub(crate) const METADATA: &str = "inspect-metadata.json";
const OWN_SCRIPT: &str = ".singularity.d/env/92-cotainr-env.sh";

/// Beginning of a new image.
pub(super) struct Beginning {
    /// Everything that the new root file system or overlay begins with.
    pub(super) tree: Tree,
    pub(super) blocks: BaseBlocks,
    /// The base's files for runtimes.
    pub(super) files: BaseFiles,
}

/// Use of the base's blocks in a new image.
pub(super) enum BaseBlocks {
    /// The base is a directory: all blocks are new.
    Directory,
    /// The blocks of the base are reused in one root file system.
    Reused(Donor),
    /// The base stays as it is, and everything new goes into an overlay.
    BelowOverlay(Donor),
}

/// Kind of a base's entry at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Directory,
    Other,
}

/// Origin of the image, as it follows `bootstrap:` and `from:` in a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) transport: String,
    pub(super) from: String,
}

impl Beginning {
    /// Reads the description and all names of the base.
    ///
    /// # Errors
    /// Returns an error if the base cannot be read, or has an overlay that is in the way.
    pub(super) fn read(plan: &SifPlan, base: &OpenBase, report: &Report) -> anyhow::Result<Self> {
        let image = &base.image;
        let files = files(image, &base.facts)?;
        warn_of_signatures(image, report);
        let (tree, blocks) = match plan.output.layout {
            Layout::Flat => flat(image, report)?,
            Layout::Overlay => {
                let donor = open_below_overlay(image)?;
                (Tree::new(), BaseBlocks::BelowOverlay(donor))
            }
        };
        Ok(Self {
            tree,
            blocks,
            files,
        })
    }

    /// Looks for a path in the base, without following links.
    ///
    /// # Errors
    /// Returns an error if the base cannot be read.
    pub(super) fn find(&self, path: &Path) -> anyhow::Result<Option<Found>> {
        let is_directory = if let BaseBlocks::BelowOverlay(donor) = &self.blocks {
            let found = donor.reader().lookup(path)?;
            found.map(|node| node.is_directory())
        } else {
            let found = self.tree.entry_at(path);
            found.map(|entry| entry.kind.is_directory())
        };
        Ok(is_directory.map(|is_directory| {
            if is_directory {
                Found::Directory
            } else {
                Found::Other
            }
        }))
    }

    /// Returns the time at which the base was made, in seconds since 1970, if it is an image.
    pub(super) fn created(&self) -> Option<u32> {
        match &self.blocks {
            BaseBlocks::Directory => None,
            BaseBlocks::Reused(donor) | BaseBlocks::BelowOverlay(donor) => {
                Some(donor.reader().superblock().created)
            }
        }
    }
}

/// Reads all names of a base, with its overlay merged. An image is also returned as the donor of
/// its blocks.
///
/// # Errors
/// Returns an error if the base cannot be read, or has an overlay that is in the way.
pub(crate) fn whole_tree(
    base: &BaseImage,
    report: &Report,
) -> anyhow::Result<(Tree, Option<Donor>)> {
    let (tree, blocks) = flat(base, report)?;
    Ok(match blocks {
        BaseBlocks::Directory => (tree, None),
        BaseBlocks::Reused(donor) | BaseBlocks::BelowOverlay(donor) => (tree, Some(donor)),
    })
}

/// Returns the format of blocks that are added to a base.
pub(super) fn block_format(base: &BaseImage) -> BlockFormat {
    let donor = (base.kind() != BaseKind::Directory).then(|| Donor::open(base.path()).ok());
    match donor.flatten() {
        Some(donor) => BlockFormat {
            compression: donor.compression(),
            block_size: donor.block_size(),
        },
        None => BlockFormat {
            compression: Pull::COMPRESSION,
            block_size: BlockSize::default(),
        },
    }
}

/// Reads all names of the base, with its overlay merged.
fn flat(base: &BaseImage, report: &Report) -> anyhow::Result<(Tree, BaseBlocks)> {
    if base.kind() == BaseKind::Directory {
        let options = ScanOptions {
            modes: Modes::Keep,
            xattrs: true,
            ..ScanOptions::default()
        };
        let tree = Tree::scan(base.path(), &options)?;
        return Ok((tree, BaseBlocks::Directory));
    }
    let donor = Donor::open(base.path())?;
    let mut tree = donor.tree()?;
    if let Some(sif) = base.sif()
        && let Some(overlay) = find_overlay(sif)?
    {
        report.info("Merging the overlay of the base image");
        merge(&mut tree, Tree::from_image(&Arc::new(overlay))?)?;
    }
    Ok((tree, BaseBlocks::Reused(donor)))
}

/// Opens the base, if an overlay can be added to it. It must be a SIF without
/// an overlay: runtimes mount one only.
fn open_below_overlay(base: &BaseImage) -> anyhow::Result<Donor> {
    let refused = |problem: &str| {
        UserError::new(
            format!("`--layout overlay`: `{}` {problem}", base.path().display()),
            "leave `--layout` out: a flat image can be made of it",
        )
    };
    let Some(sif) = base.sif() else {
        bail!(refused("is not a SIF"));
    };
    let mut partitions = sif.descriptors().iter();
    if partitions.any(|object| {
        object
            .partition()
            .is_some_and(|partition| partition.role == PartitionRole::Overlay)
    }) {
        bail!(refused(
            "has an overlay already, and runtimes mount one only"
        ));
    }
    Ok(Donor::open(base.path())?)
}

/// Warns that the signatures of the base are left out: they are for an image that is not changed.
fn warn_of_signatures(base: &BaseImage, report: &Report) {
    let mut objects = base.sif().into_iter().flat_map(Sif::descriptors);
    if objects.any(|object| object.kind == DataKind::Signature) {
        report.warning(
            "the base image is signed; what is made of it is another image, so its signatures are left out",
        );
    }
}

/// Finds the overlay that a runtime would mount: the last one beside the root file system.
fn find_overlay(sif: &Sif) -> anyhow::Result<Option<Reader>> {
    let partitions = || {
        let objects = sif.descriptors().iter();
        objects.filter_map(|object| Some((object, object.partition()?)))
    };
    let group = partitions()
        .find(|(_, partition)| partition.role == PartitionRole::PrimarySystem)
        .and_then(|(object, _)| object.group);
    let overlay = partitions().rfind(|(object, partition)| {
        partition.role == PartitionRole::Overlay && object.group == group
    });
    let Some((object, partition)) = overlay else {
        return Ok(None);
    };
    if partition.file_system != FileSystem::SquashFs {
        bail!(UserError::new(
            format!(
                "`{}` has a writable overlay ({}, object {}), which cannot be merged",
                sif.path().display(),
                partition.file_system,
                object.id
            ),
            format!(
                "build an image without it, `apptainer build --sandbox DIR {0}` with the overlay mounted, or take it out of a copy: `condense sif del {1} COPY.sif`",
                sif.path().display(),
                object.id
            ),
        ));
    }
    Ok(Some(Reader::open_at(
        sif.path(),
        partition.offset,
        partition.size,
    )?))
}

/// Merges an overlay as the kernel shows it: its names win, and names that it marks are removed.
fn merge(tree: &mut Tree, mut overlay: Tree) -> anyhow::Result<()> {
    let mut marks = Vec::new();
    let mut replaced = Vec::new();
    for (path, entry) in overlay.walk() {
        match entry.kind {
            Kind::CharacterDevice(WHITEOUT_DEVICE) => marks.push(path),
            Kind::Directory(_) => {
                let opaque = overlay.xattrs(&path)?.iter().any(|found| {
                    OPAQUE.iter().any(|name| found.name == *name) && found.value == b"y"
                });
                if opaque {
                    replaced.push(path);
                }
            }
            _ => {}
        }
    }
    for path in marks.iter().chain(&replaced) {
        // A marked name may be removed already with a directory above it.
        let _ = tree.remove(path);
    }
    for path in &marks {
        overlay.remove(path)?;
    }
    Ok(tree.graft("/", overlay, Existing::Merge)?)
}

/// Reads the files in which the base describes itself to runtimes.
fn files(base: &BaseImage, facts: &BaseFacts) -> anyhow::Result<BaseFiles> {
    let read = |path: &str| -> anyhow::Result<Option<String>> {
        let bytes = base.read(path, TEXT_LIMIT)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    let mut ancestors = 0;
    while base.exists(format!(
        ".singularity.d/bootstrap_history/Singularity{ancestors}"
    ))? {
        ancestors += 1;
    }
    let metadata = match base.sif() {
        Some(sif) => {
            let mut objects = sif.descriptors().iter();
            let object =
                objects.find(|object| object.kind == DataKind::Json && object.name == METADATA);
            object
                .map(|object| sif.read(object, TEXT_LIMIT))
                .transpose()?
        }
        None => None,
    };
    Ok(BaseFiles {
        definition: read(".singularity.d/Singularity")?,
        ancestors,
        labels: facts.labels.clone(),
        runscript: read(".singularity.d/runscript")?,
        test: read(".singularity.d/test")?,
        help: read(".singularity.d/runscript.help")?,
        environment: read(OWN_SCRIPT)?,
        metadata,
    })
}

impl Origin {
    /// Reads the origin from the name of a base.
    ///
    /// # Errors
    /// Returns an error if the name cannot be understood.
    pub(super) fn parse(reference: &str) -> anyhow::Result<Self> {
        let [transport, from] = match Reference::parse(reference)? {
            Reference::File(_) => ["localimage", reference].map(str::to_owned),
            Reference::Image(source) => {
                let text = without_secrets(&source.to_string()).into_owned();
                let (transport, from) = text.split_once(':').unwrap_or(("localimage", &text));
                let from = from.strip_prefix("//").unwrap_or(from);
                [transport, from].map(str::to_owned)
            }
        };
        Ok(Self { transport, from })
    }
}

/// Returns the size in bytes of the part of the image that comes from the base.
pub(crate) fn size(path: &Path) -> u64 {
    fs_err::metadata(path).map_or(0, |found| if found.is_file() { found.len() } else { 0 })
}
