//! Responsible for copying the user's own files into an image.

use std::{os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, bail};
use condense_image::{Existing, Mtime, ScanOptions, Tree};

use crate::{build::Build, plan::Copy};

impl Build<'_> {
    /// Returns a tree with the file or directory at its destination.
    ///
    /// # Errors
    /// Returns an error if the source cannot be read, or is neither a file nor a directory.
    pub(super) fn copied(&self, copy: &Copy, stamp: u32) -> anyhow::Result<Tree> {
        let options = ScanOptions {
            mtime: Mtime::Set(stamp),
            ..ScanOptions::default()
        };
        let mut tree = Tree::new();
        tree.set_mtime_of_additions(stamp);
        let metadata = fs_err::metadata(&copy.source)?;
        if metadata.is_dir() {
            let scanned = Tree::scan(&copy.source, &options)?;
            tree.graft(&copy.destination, scanned, Existing::Merge)?;
            return Ok(tree);
        }
        if !metadata.is_file() {
            bail!(
                "cannot copy `{}`: it is neither a file nor a directory",
                copy.source.display()
            );
        }
        let (Some(parent), Some(name)) = (copy.destination.parent(), copy.destination.file_name())
        else {
            bail!(
                "cannot copy the file `{}` to `{}`: it needs a name there",
                copy.source.display(),
                copy.destination.display()
            );
        };
        // A scan is of a directory; this one holds the file alone, under its new name.
        let dir = tempfile::Builder::new()
            .prefix("copy-")
            .tempdir_in(self.scratch())
            .context("failed to make room for a copy")?
            .keep();
        let place = dir.join(name);
        fs_err::copy(&copy.source, &place)?;
        open(&place, metadata.permissions().mode())?;
        let scanned = Tree::scan(&dir, &options)?;
        tree.graft(parent, scanned, Existing::Merge)?;
        Ok(tree)
    }
}

/// Makes a file readable for the packer.
fn open(path: &Path, mode: u32) -> anyhow::Result<()> {
    let permissions = std::fs::Permissions::from_mode(mode & 0o777 | 0o600);
    Ok(fs_err::set_permissions(path, permissions)?)
}
