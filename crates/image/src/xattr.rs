//! Responsible for extended attributes: their names, and the limits that the format sets.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Prefixes that the format supports, in the order of their numbers.
pub(crate) const PREFIXES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
/// Maximum length of a name without its prefix, in bytes, defined by the kernel.
pub(crate) const NAME_MAX: usize = 255;
/// Maximum length of a value in bytes, defined by the kernel.
pub(crate) const VALUE_MAX: usize = 64 << 10;

/// Extended attribute of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// Name with its prefix, such as `user.` or `security.`.
    pub name: OsString,
    /// Value of the attribute.
    pub value: Vec<u8>,
}

impl Xattr {
    /// Returns the number of the prefix, and the name without the prefix. Returns `None` if the
    /// format does not support the prefix.
    pub(crate) fn split_name(&self) -> Option<(usize, &[u8])> {
        let name = self.name.as_bytes();
        PREFIXES
            .iter()
            .enumerate()
            .find_map(|(number, prefix)| Some((number, name.strip_prefix(*prefix)?)))
    }
}

/// Checks that the format can hold these attributes of one entry, which are sorted. The error is
/// the reason why it cannot.
pub(crate) fn check_xattrs(xattrs: &[Xattr]) -> Result<(), String> {
    for (at, xattr) in xattrs.iter().enumerate() {
        let shown = xattr.name.display();
        let Some((_, name)) = xattr.split_name() else {
            return Err(format!(
                "the extended attribute `{shown}` is not of `user.`, `trusted.` or `security.`"
            ));
        };
        if name.is_empty() || name.len() > NAME_MAX || name.contains(&0) {
            return Err(format!(
                "`{shown}` is not the name of an extended attribute"
            ));
        }
        if xattr.value.len() > VALUE_MAX {
            return Err(format!(
                "the extended attribute `{shown}` has more than {VALUE_MAX} bytes"
            ));
        }
        if at > 0 && xattrs[at - 1].name == xattr.name {
            return Err(format!("the extended attribute `{shown}` is given twice"));
        }
    }
    Ok(())
}
