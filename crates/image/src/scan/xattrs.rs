//! Responsible for reading extended attributes from disk, except those that only one file system
//! understands.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;

use crate::Error;
use crate::xattr::Xattr;

/// Maximum length of the list of names, and of a value, in bytes, defined by the kernel.
const BYTES_MAX: usize = 64 << 10;

/// Size of the first buffer for names in bytes, which is enough for a few attributes.
const FEW_BYTES: usize = 256;

/// Returns the attributes of a file, sorted, without those that only the file system of the file
/// understands.
pub(super) fn read(path: &Path) -> Result<Option<Arc<[Xattr]>>, Error> {
    let failed =
        |error: Errno| Error::io("read the extended attributes of", path)(io::Error::from(error));
    // Most files have no attributes, or a few.
    let mut names = vec![0_u8; FEW_BYTES];
    let len = match llistxattr(path, &mut names[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(None),
        Err(Errno::RANGE) => {
            names.resize(BYTES_MAX, 0);
            llistxattr(path, &mut names[..]).map_err(failed)?
        }
        other => other.map_err(failed)?,
    };
    let mut found = Vec::new();
    for name in names[..len].split(|byte| *byte == 0) {
        if !is_portable(name) {
            continue;
        }
        let name = OsStr::from_bytes(name);
        let mut value = vec![0_u8; BYTES_MAX];
        let len = match lgetxattr(path, name, &mut value[..]) {
            Ok(len) => len,
            // The attribute was removed between the two calls, so it is left out.
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(failed(error)),
        };
        value.truncate(len);
        value.shrink_to_fit();
        found.push(Xattr {
            name: OsString::from(name),
            value,
        });
    }
    found.sort_unstable();
    Ok((!found.is_empty()).then(|| found.into()))
}

fn is_portable(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name == b"security.capability"
}
