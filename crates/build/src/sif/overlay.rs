//! Responsible for the layout with an overlay: the base's file as it is, and everything new in an
//! overlay partition behind it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use condense_image::{
    Arch, Donor, Entry, Image, Kind, PackOptions, Reader, Sif, Tree,
    sif::{DataKind, DeleteOptions, FileSystem, NewObject, PartitionRole, SifWriter},
};

use super::{base::METADATA, contents::Contents, write::pack_image};
use crate::{pack::observed, report::Phase};
use condense_diagnostics::UserError;

/// Warning about the runtimes and options that do not mount the overlay.
const LIMITS: &str = "the environment is in an overlay partition: it is not there with `--underlay` or `--unsquash`, in an image built from this one, nor with SingularityCE in a user namespace";

/// Gives the directories of the overlay the attributes that they have in the base: the kernel shows
/// those of the overlay.
///
/// # Errors
/// Returns an error if the overlay has a directory where the base has a link or a file, which it
/// would hide.
fn settle(tree: &mut Tree, base: &Reader) -> anyhow::Result<()> {
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

impl Contents<'_> {
    /// Copies the base's file and puts everything new behind it.
    ///
    /// # Errors
    /// Returns an error if a directory would hide a file of the base, or if the file cannot be
    /// written.
    pub(super) fn write_overlay(
        &self,
        path: &Path,
        tree: &mut Tree,
        donor: &Donor,
    ) -> anyhow::Result<Image> {
        settle(tree, donor.reader())?;
        let report = self.build.report();
        report.warning(LIMITS);
        copy(self.build.prepared.base.path(), path)?;
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
        let mut writer = SifWriter::open(path, Some(self.stamp.into()))?;
        delete_outdated(&mut writer, &old)?;
        writer.add(
            &NewObject::new(DataKind::DefinitionFile).in_group(group),
            self.container.definition.as_bytes(),
        )?;
        writer.add(
            &NewObject::new(DataKind::Json)
                .named(METADATA)
                .in_group(group),
            &self.container.inspect_metadata()?,
        )?;
        report.begin(Phase::Pack, Some(tree.summary().bytes));
        // A runtime that can mount the base can mount this as well.
        let options = PackOptions {
            compression: donor.compression(),
            block_size: donor.block_size(),
            hot: self.hot_paths(),
            known: self.packed_ahead(),
            ..PackOptions::default()
        };
        let partition = NewObject::partition(FileSystem::SquashFs, PartitionRole::Overlay, arch)
            .in_group(group);
        pack_image(writer, &partition, tree, &observed(options, report), report)
    }
}

/// Deletes the objects that describe the base, and those that say that it is unchanged.
fn delete_outdated(writer: &mut SifWriter, old: &Sif) -> anyhow::Result<()> {
    for object in old.descriptors() {
        let is_outdated = match object.kind {
            DataKind::DefinitionFile | DataKind::Signature => true,
            DataKind::Json => object.name == METADATA,
            _ => false,
        };
        if is_outdated {
            writer.delete(object.id, DeleteOptions::default())?;
        }
    }
    Ok(())
}

/// Copies a file, with the permissions of a new one. The file system shares the blocks if it can.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let source = condense_input::open(from)?;
    let mut target = condense_publish::create_image(to, 0o755)
        .with_context(|| format!("failed to create `{}`", to.display()))?;
    std::io::copy(&mut source.file(), &mut target)
        .map(drop)
        .with_context(|| format!("failed to copy `{}`", from.display()))
}
