//! Responsible for the attributes of a file: owner, extended attributes, mode and time. They are
//! set in this order, so that no step undoes an earlier one.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::staging::{Staging, is_for_root};
use super::{ExtractContext, ExtractOptions};
use crate::reader::{Node, Xattr};
use crate::{Error, Reader};

/// Sets attributes, and skips setting the owner if a new file already has it.
pub(super) struct Attributes<'w> {
    staging: &'w Staging,
    options: &'w ExtractOptions,
    /// Owner and group of every new file. `None` if they may differ between files.
    new_file_owner: Option<(u32, u32)>,
}

impl<'w> Attributes<'w> {
    pub(super) fn new(
        staging: &'w Staging,
        options: &'w ExtractOptions,
    ) -> Result<Attributes<'w>, Error> {
        let metadata = std::fs::symlink_metadata(staging.path())
            .map_err(Error::io("read the attributes of", staging.path()))?;
        // In a set-group-id directory, new files get the group of the directory, and new
        // directories inherit the bit.
        let inherits = metadata.mode() & 0o2000 != 0;
        Ok(Attributes {
            staging,
            options,
            new_file_owner: (!inherits).then_some((metadata.uid(), metadata.gid())),
        })
    }

    fn owner(&self, node: &Node) -> Option<(Uid, Gid)> {
        let wanted = self.options.as_root && self.new_file_owner != Some((node.uid, node.gid));
        wanted.then(|| (Uid::from_raw(node.uid), Gid::from_raw(node.gid)))
    }

    /// Sets the attributes of an open file.
    pub(super) fn set_on_file(
        &self,
        context: &ExtractContext<'_>,
        reader: &Reader,
        file: &File,
        path: &Path,
        node: &Node,
    ) -> Result<(), Error> {
        let failed = |error: Errno| {
            Error::io("set the attributes of", self.staging.full(path))(error.into())
        };
        if let Some((uid, gid)) = self.owner(node) {
            rustix::fs::fchown(file, Some(uid), Some(gid)).map_err(failed)?;
        }
        if self.options.xattrs && node.has_xattrs {
            for xattr in reader.xattrs(node)? {
                self.set_xattr(context, path, &xattr, |xattr| {
                    let flags = XattrFlags::empty();
                    rustix::fs::fsetxattr(file, &*xattr.name, &xattr.value, flags)
                })?;
            }
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(node.mode.into())).map_err(failed)?;
        rustix::fs::futimens(file, &times(node)).map_err(failed)
    }

    /// Sets the attributes of any other entry, by its path. For a symbolic link, the attributes of
    /// the link itself are set.
    pub(super) fn set_on_path(
        &self,
        context: &ExtractContext<'_>,
        reader: &Reader,
        path: &Path,
        node: &Node,
    ) -> Result<(), Error> {
        let full = self.staging.full(path);
        let failed = |error: Errno| Error::io("set the attributes of", &full)(error.into());
        let (root, name) = if path.as_os_str().is_empty() {
            (self.staging.root(), Path::new("."))
        } else {
            (self.staging.root(), path)
        };
        let itself = AtFlags::SYMLINK_NOFOLLOW;
        if let Some((uid, gid)) = self.owner(node) {
            rustix::fs::chownat(root, name, Some(uid), Some(gid), itself).map_err(failed)?;
        }
        if self.options.xattrs && node.has_xattrs {
            for xattr in reader.xattrs(node)? {
                self.set_xattr(context, path, &xattr, |xattr| {
                    let flags = XattrFlags::empty();
                    rustix::fs::lsetxattr(&full, &*xattr.name, &xattr.value, flags)
                })?;
            }
        }
        if !node.is_symlink() {
            let mode = Mode::from_raw_mode(node.mode.into());
            rustix::fs::chmodat(root, name, mode, AtFlags::empty()).map_err(failed)?;
        }
        rustix::fs::utimensat(root, name, &times(node), itself).map_err(failed)
    }

    fn set_xattr(
        &self,
        context: &ExtractContext<'_>,
        path: &Path,
        xattr: &Xattr,
        set: impl FnOnce(&Xattr) -> rustix::io::Result<()>,
    ) -> Result<(), Error> {
        let name = xattr.name.display();
        if is_for_root(&xattr.name) && !self.options.as_root {
            context.skip(path, format!("the attribute {name}: only root may set it"));
            return Ok(());
        }
        match set(xattr) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::PERM) => {
                context.skip(
                    path,
                    format!("the attribute {name}: the file system does not take it"),
                );
                Ok(())
            }
            Err(error) => Err(Error::io(
                "set an extended attribute of",
                self.staging.full(path),
            )(error.into())),
        }
    }
}

fn times(node: &Node) -> Timestamps {
    let time = Timespec {
        tv_sec: node.mtime.into(),
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
