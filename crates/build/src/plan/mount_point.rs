//! Responsible for the path at which an image is mounted in the container.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

/// Suffix that stands for the real one until the environment is solved. It has the same length.
const UNKNOWN_SUFFIX: &str = "0000000";

/// Path at which an image is mounted, absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountPoint {
    /// Path that does not depend on the content.
    Fixed(PathBuf),
    /// Start of the path. `_` and seven characters that depend on the image's content follow.
    Prefix(PathBuf),
}

impl MountPoint {
    /// Returns the path for an image. `suffix` is called if the path depends on the content.
    pub fn path(&self, suffix: impl FnOnce() -> String) -> PathBuf {
        match self {
            Self::Fixed(path) => path.clone(),
            Self::Prefix(start) => with_suffix(start, &suffix()),
        }
    }

    /// Returns a path of the same form, for the time before the content is known.
    pub fn provisional_path(&self) -> PathBuf {
        self.path(|| UNKNOWN_SUFFIX.to_owned())
    }
}

fn with_suffix(start: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(start);
    path.push("_");
    path.push(suffix);
    path.into()
}

impl fmt::Display for MountPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(path) => write!(f, "{}", path.display()),
            Self::Prefix(start) => write!(f, "{}_…", start.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_follows_a_prefix_only() {
        let suffix = || "1234567".to_owned();
        let prefix = MountPoint::Prefix("/TYKKY".into());
        assert_eq!(prefix.path(suffix), Path::new("/TYKKY_1234567"));
        assert_eq!(prefix.provisional_path(), Path::new("/TYKKY_0000000"));
        assert_eq!(prefix.to_string(), "/TYKKY_…");
        let fixed = MountPoint::Fixed("/opt/env".into());
        assert_eq!(fixed.path(suffix), Path::new("/opt/env"));
        assert_eq!(fixed.to_string(), "/opt/env");
    }
}
