//! Responsible for the differences between the packages of two subjects.

use std::{collections::BTreeMap, fmt};

use indicatif::HumanBytes;

use super::{Contents, Package, PackageKind};

/// Package that differs between two subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// Package of the older side; `None` if it was added.
    pub before: Option<&'a Package>,
    /// Package of the newer side; `None` if it was removed.
    pub after: Option<&'a Package>,
}

/// Kind of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Only the newer side has the package.
    Added,
    /// Only the older side has the package.
    Removed,
    /// Both sides have it, in different versions.
    Version,
    /// The version is the same; the build or the origin differs.
    Build,
}

impl ChangeKind {
    /// Returns the name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Version => "version",
            Self::Build => "build",
        }
    }

    /// Returns the sign in tables.
    pub fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Version | Self::Build => '~',
        }
    }
}

impl<'a> Change<'a> {
    /// Returns the packages that differ, by name. Packages of the same name and kind in several
    /// environments of an image are compared in the order of the environments.
    pub fn between(before: &'a Contents, after: &'a Contents) -> Vec<Self> {
        let mut sides: BTreeMap<(&str, PackageKind), [Vec<&Package>; 2]> = BTreeMap::new();
        for (side, contents) in [before, after].into_iter().enumerate() {
            for package in &contents.packages {
                let key = (package.name.as_str(), package.kind);
                sides.entry(key).or_default()[side].push(package);
            }
        }
        let mut changes = Vec::new();
        for [before, after] in sides.values() {
            for number in 0..before.len().max(after.len()) {
                let change = Self {
                    before: before.get(number).copied(),
                    after: after.get(number).copied(),
                };
                if !change.is_none() {
                    changes.push(change);
                }
            }
        }
        changes
    }

    fn is_none(self) -> bool {
        match (self.before, self.after) {
            (Some(before), Some(after)) => {
                before.version == after.version
                    && before.build == after.build
                    && before.direct_url == after.direct_url
            }
            _ => false,
        }
    }

    /// Returns the kind of the change.
    pub fn kind(&self) -> ChangeKind {
        match (self.before, self.after) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            (Some(before), Some(after)) if before.version != after.version => ChangeKind::Version,
            _ => ChangeKind::Build,
        }
    }

    /// Returns the package of the newer side, or else that of the older one.
    pub fn package(&self) -> Option<&'a Package> {
        self.after.or(self.before)
    }

    /// Returns the versions of both sides as shown to users: with the build or the origin if these
    /// are what differs, and `-` for a side without the package.
    pub fn versions(&self) -> [String; 2] {
        let with_build = self.kind() == ChangeKind::Build;
        [self.before, self.after].map(|package| match package {
            None => "-".to_owned(),
            Some(package) => match (&package.build, &package.direct_url) {
                (Some(build), _) if with_build => format!("{} {build}", package.version),
                (_, Some(url)) if with_build => format!("{} {url}", package.version),
                _ => package.version.clone(),
            },
        })
    }

    /// Returns the difference in bytes before compression, if both sizes are known.
    pub fn bytes(&self) -> Option<i64> {
        let bytes = |package: Option<&Package>| match package {
            Some(package) => package.space.map(|space| signed(space.bytes)),
            None => Some(0),
        };
        Some(bytes(self.after)? - bytes(self.before)?)
    }
}

/// Number of changes by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChangeCounts {
    /// Number of packages that were added.
    pub added: usize,
    /// Number of packages that were removed.
    pub removed: usize,
    /// Number of packages with another version or build.
    pub changed: usize,
}

impl ChangeCounts {
    /// Counts changes by their kind.
    pub fn of(changes: &[Change]) -> Self {
        let mut counts = Self::default();
        for change in changes {
            match change.kind() {
                ChangeKind::Added => counts.added += 1,
                ChangeKind::Removed => counts.removed += 1,
                ChangeKind::Version | ChangeKind::Build => counts.changed += 1,
            }
        }
        counts
    }
}

/// Writes `2 added, 1 removed, 0 changed`.
impl fmt::Display for ChangeCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            added,
            removed,
            changed,
        } = self;
        write!(f, "{added} added, {removed} removed, {changed} changed")
    }
}

/// Returns a number of bytes with a sign.
pub(crate) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Returns a difference of sizes with its sign, such as `+3.20 MiB`.
pub fn size_difference(bytes: i64) -> String {
    let sign = match bytes {
        0 => "",
        1.. => "+",
        _ => "-",
    };
    format!("{sign}{}", HumanBytes(bytes.unsigned_abs()))
}
