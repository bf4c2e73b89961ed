//! Responsible for the other layout: the base's file as it is, and everything new in an overlay
//! partition behind it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use condense_base::BaseImage;
use condense_image::{
    Arch, Donor, Entry, Image, Kind, PackOptions, Reader, Sif, Tree,
    sif::{DataKind, DeleteOptions, FileSystem, NewObject, PartitionRole, SifWriter},
};
use condense_installation::ContainerFiles;
use fs_err::os::unix::fs::OpenOptionsExt;

use super::{super::Build, base::METADATA, base::Start, write::add_image};
use crate::report::{Phase, Report};
use condense_diagnostics::UserError;

/// What runtimes do with such an image, in one line.
const LIMITS: &str = "the environment is in an overlay partition: it is not there with `--underlay` or `--unsquash`, in an image built from this one, nor with SingularityCE in a user namespace";

/// Begins with nothing, for a base that can be extended so.
///
/// # Errors
/// A base that is no SIF, or has an overlay: runtimes mount one only.
pub(super) fn start(base: &BaseImage) -> anyhow::Result<Start> {
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
    Ok(Start {
        tree: Tree::new(),
        donor: Some(Donor::open(base.path())?),
    })
}

/// Directories of an overlay hide links of the same name and lend theirs their own attributes, so
/// both are looked at.
///
/// # Errors
/// A directory where the base has a link or a file.
pub(super) fn settle(tree: &mut Tree, base: &Reader) -> anyhow::Result<()> {
    let directories: Vec<PathBuf> = tree
        .walk()
        .filter(|(_, entry)| entry.kind.is_directory())
        .map(|(path, _)| path)
        .collect();
    for path in directories {
        let Some(found) = base.lookup(&path)? else {
            continue;
        };
        if !found.is_directory() {
            bail!(UserError::new(
                format!(
                    "`--layout overlay`: `/{}` is not a directory in the base image, an overlay would hide it",
                    path.display()
                ),
                "leave `--layout` out, or name another path",
            ));
        }
        let entry = Entry {
            mode: found.mode,
            uid: found.uid,
            gid: found.gid,
            mtime: found.mtime,
            links: 0,
            kind: Kind::Directory(Vec::new()),
        };
        tree.add_entry(&path, entry)?;
    }
    Ok(())
}

impl Build<'_> {
    /// Copies the base's file and puts everything new behind it.
    pub(super) fn write_overlay(
        &self,
        path: &Path,
        start: &Start,
        container: &ContainerFiles,
        stamp: u32,
    ) -> anyhow::Result<Image> {
        self.report.warning(LIMITS);
        let tree = &start.tree;
        let donor = start.donor.as_ref().context("the base is no image")?;
        copy(self.base.path(), path)?;
        let old = Sif::open(path)?;
        let group = old
            .descriptors()
            .iter()
            .find(|object| {
                object
                    .partition()
                    .is_some_and(|found| found.role == PartitionRole::PrimarySystem)
            })
            .and_then(|object| object.group);
        let Some(arch) = old.arch().or_else(Arch::host) else {
            bail!("this machine's architecture has no place in a SIF")
        };
        let mut writer = SifWriter::open(path, Some(stamp.into()))?;
        for object in old.descriptors() {
            // They say what the base is, and that nobody has changed it.
            let is_outdated = match object.kind {
                DataKind::DefinitionFile | DataKind::Signature => true,
                DataKind::Json => object.name == METADATA,
                _ => false,
            };
            if is_outdated {
                writer.delete(object.id, DeleteOptions::default())?;
            }
        }
        writer.add(
            &NewObject::new(DataKind::DefinitionFile).in_group(group),
            container.definition.as_bytes(),
        )?;
        writer.add(
            &NewObject::new(DataKind::Json)
                .named(METADATA)
                .in_group(group),
            &container.inspect_metadata()?,
        )?;
        self.report.begin(Phase::Pack, Some(tree.summary().bytes));
        let progress: Arc<dyn condense_image::Progress> = Arc::<Report>::clone(self.report);
        let options = PackOptions {
            // Whoever can mount the base can mount this.
            compression: donor.compression(),
            block_size: donor.block_size(),
            progress: Some(progress),
            cancel: Some(self.report.cancel_flag()),
            ..PackOptions::default()
        };
        let partition = NewObject::partition(FileSystem::SquashFs, PartitionRole::Overlay, arch)
            .in_group(group);
        add_image(writer, &partition, tree, &options, self.report)
    }
}

/// With the permissions of a new file; where the file system can, no byte is copied.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let source = condense_input::open(from)?;
    let target = fs_err::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(to)?;
    std::io::copy(&mut source.file(), &mut target.file())
        .map(drop)
        .with_context(|| format!("failed to copy `{}`", from.display()))
}
