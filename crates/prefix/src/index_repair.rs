//! Responsible for removing unreadable entries from channel indices. rattler refuses a whole index
//! because of one entry that it cannot read.

pub(crate) mod json;
pub(crate) mod shards;

/// An entry of an index that cannot be used.
#[derive(Debug)]
pub(crate) struct UnreadableEntry {
    /// File name of the package, or name of the unreadable part of the index.
    pub(crate) entry: String,
    pub(crate) problem: String,
}

/// Returns true if `from` is a URL scheme of the network and `to` is not, such as `file`.
pub(crate) fn leads_from(from: &str, to: &str) -> bool {
    matches!(from, "http" | "https") && !matches!(to, "http" | "https")
}
