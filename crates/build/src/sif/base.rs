//! Responsible for the base as the beginning of a new image: its files, its overlays, and what it
//! says about itself.

use std::{path::Path, sync::Arc};

use anyhow::bail;
use condense_base::{BaseFacts, BaseImage, BaseKind};
use condense_image::{
    Donor, Existing, Kind, Modes, Reader, ScanOptions, Sif, Tree,
    sif::{DataKind, FileSystem, PartitionRole},
};
use condense_installation::BaseFiles;
use condense_oci::Reference;
use condense_prefix::without_secrets;

use crate::report::Report;
use condense_diagnostics::UserError;

/// Of a text that a base says about itself, in bytes; they are far smaller.
const TEXT_LIMIT: u64 = 4 << 20;
/// Marks a name that an overlay takes away, and a directory of which it takes everything away.
const WHITEOUT_DEVICE: u32 = 0;
const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];
/// The object that `inspect` shows.
pub(super) const METADATA: &str = "inspect-metadata.json";
const OWN_SCRIPT: &str = ".singularity.d/env/92-cotainr-env.sh";

/// What a new image begins with.
pub(super) struct Start {
    /// Everything in the base, its overlay merged.
    pub(super) tree: Tree,
    /// Whose blocks are taken as they are; a directory has none.
    pub(super) donor: Option<Donor>,
}

/// Reads all names of the base.
///
/// # Errors
/// An overlay that cannot be merged; a base that cannot be read.
pub(super) fn start(base: &BaseImage, report: &Report) -> anyhow::Result<Start> {
    if base.kind() == BaseKind::Directory {
        let options = ScanOptions {
            modes: Modes::Keep,
            xattrs: true,
            ..ScanOptions::default()
        };
        return Ok(Start {
            tree: Tree::scan(base.path(), &options)?,
            donor: None,
        });
    }
    let donor = Donor::open(base.path())?;
    let mut tree = donor.tree()?;
    if let Some(sif) = base.sif()
        && let Some(overlay) = find_overlay(sif)?
    {
        report.info("Merging the overlay of the base image");
        merge(&mut tree, Tree::from_image(&Arc::new(overlay))?)?;
    }
    Ok(Start {
        tree,
        donor: Some(donor),
    })
}

/// A signature says that nobody has changed what is about to be changed.
pub(super) fn warn_of_signatures(base: &BaseImage, report: &Report) {
    let mut objects = base.sif().into_iter().flat_map(Sif::descriptors);
    if objects.any(|object| object.kind == DataKind::Signature) {
        report.warning(
            "the base image is signed; what is made of it is another image, so its signatures are left out",
        );
    }
}

/// The overlay that a runtime would mount: the last one beside the root file system.
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

/// As the kernel shows both: names of the overlay win, what it has marked is gone.
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
        // What is marked may be gone with a directory above it.
        let _ = tree.remove(path);
    }
    for path in &marks {
        overlay.remove(path)?;
    }
    Ok(tree.graft("/", overlay, Existing::Merge)?)
}

/// What the base says about itself, in a runtime's files.
///
/// # Errors
/// A base that cannot be read.
pub(super) fn files(base: &BaseImage, facts: &BaseFacts) -> anyhow::Result<BaseFiles> {
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

/// What the image is made of: what follows `bootstrap:` and `from:` in a definition.
///
/// # Errors
/// A reference that is none.
pub(super) fn origin(reference: &str) -> anyhow::Result<[String; 2]> {
    Ok(match Reference::parse(reference)? {
        Reference::File(_) => ["localimage", reference].map(str::to_owned),
        Reference::Image(source) => {
            let text = without_secrets(&source.to_string()).into_owned();
            let (transport, from) = text.split_once(':').unwrap_or(("localimage", &text));
            let from = from.strip_prefix("//").unwrap_or(from);
            [transport, from].map(str::to_owned)
        }
    })
}

/// How much the base brings into the image, in bytes.
pub(super) fn size(path: &Path) -> u64 {
    fs_err::metadata(path).map_or(0, |found| if found.is_file() { found.len() } else { 0 })
}
