//! Responsible for bind mounts: host paths that are mounted in the container, and which host
//! directories a host view mounts.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A bind mount: a host path that is mounted at a path in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    source: PathBuf,
    destination: PathBuf,
    #[serde(rename = "what")]
    kind: BindKind,
    read_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BindKind {
    Path,
    Image,
}

impl Bind {
    /// Binds a host file or directory. It is writable as far as its permissions allow.
    ///
    /// # Errors
    /// Returns [`Error::CannotBind`] if the runtime's syntax cannot express one of the paths.
    pub fn path(source: impl Into<PathBuf>, destination: impl Into<PathBuf>) -> Result<Self> {
        Self::new(source.into(), destination.into(), BindKind::Path, false)
    }

    /// Mounts the contents of a SquashFS image, read-only.
    ///
    /// # Errors
    /// Returns [`Error::CannotBind`] if the runtime's syntax cannot express one of the paths.
    pub fn image(source: impl Into<PathBuf>, destination: impl Into<PathBuf>) -> Result<Self> {
        Self::new(source.into(), destination.into(), BindKind::Image, true)
    }

    /// Returns the same bind mount without write access.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self {
            read_only: true,
            ..self
        }
    }

    /// Path of the bound file or directory on the host.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Path of the mount point in the container.
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    fn new(source: PathBuf, destination: PathBuf, kind: BindKind, read_only: bool) -> Result<Self> {
        // The runtime's syntax has no escape for a destination, and the runtime refuses a relative
        // one only when the container starts.
        check_destination(&destination)?;
        Ok(Self {
            source,
            destination,
            kind,
            read_only,
        })
    }

    /// Returns the options that follow the destination, without the colon.
    pub(crate) fn options(&self) -> &'static str {
        match (self.kind, self.read_only) {
            // `ro` is explicit, because the runtime would otherwise first try to open the image for
            // writing.
            (BindKind::Image, _) => "image-src=/,ro",
            (BindKind::Path, true) => "ro",
            (BindKind::Path, false) => "",
        }
    }

    /// Returns the source as apptainer's `-B` reads it: colons and commas are escaped.
    pub(crate) fn escaped_source(&self) -> OsString {
        let mut escaped = Vec::with_capacity(self.source.as_os_str().len());
        for byte in self.source.as_os_str().as_bytes() {
            if b":,".contains(byte) {
                escaped.push(b'\\');
            }
            escaped.push(*byte);
        }
        OsString::from_vec(escaped)
    }

    /// Checks whether `-B` of `SingularityCE` would misread one of the paths. `SingularityCE`
    /// parses the value as CSV, also splits it at `^`, and has no escapes.
    pub(crate) fn has_special_characters(&self) -> bool {
        [&self.source, &self.destination].iter().any(|path| {
            let mut bytes = path.as_os_str().as_bytes().iter();
            bytes.any(|byte| b":,^\"\r\n".contains(byte))
        })
    }

    /// Returns the value of one `--mount` option, which Singularity has since 3.9.
    pub(crate) fn mount_argument(&self) -> OsString {
        let mut argument = b"type=bind".to_vec();
        for (name, path) in [("source", &self.source), ("destination", &self.destination)] {
            argument.extend_from_slice(b",\"");
            argument.extend_from_slice(name.as_bytes());
            argument.push(b'=');
            for byte in path.as_os_str().as_bytes() {
                if *byte == b'"' {
                    argument.push(b'"');
                }
                argument.push(*byte);
            }
            argument.push(b'"');
        }
        if !self.options().is_empty() {
            argument.push(b',');
            argument.extend_from_slice(self.options().as_bytes());
        }
        OsString::from_vec(argument)
    }

    /// Returns the value of one `-B` option.
    pub fn argument(&self) -> OsString {
        let mut argument = self.escaped_source();
        argument.push(":");
        argument.push(&self.destination);
        if !self.options().is_empty() {
            argument.push(":");
            argument.push(self.options());
        }
        argument
    }
}

/// Checks that a path can be the destination of a bind mount: absolute, and without `:` and `,`.
pub(crate) fn check_destination(path: &Path) -> Result<()> {
    let bytes = path.as_os_str().as_bytes();
    if path.is_absolute() && !bytes.contains(&b':') && !bytes.contains(&b',') {
        Ok(())
    } else {
        Err(Error::CannotBind {
            path: path.to_owned(),
        })
    }
}

/// The host view: which system directories the programs see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostView {
    /// Every top-level directory of the host is mounted over the base's directory of that name.
    Host,
    /// The base's system directories are kept, and only the host's data directories are mounted.
    Base,
}

/// Top-level directories that are never bound. The runtime mounts its own `proc`, `sys` and `dev`,
/// and `lost+found` holds no user data.
const RUNTIMES_OWN: [&str; 4] = ["proc", "sys", "dev", "lost+found"];

/// Top-level directories that are the base's in [`HostView::Base`]. Every other top-level directory
/// is a data directory. The wrapper has the same list.
const BASES_OWN: [&str; 13] = [
    "bin", "boot", "etc", "lib", "lib32", "lib64", "libx32", "opt", "root", "run", "sbin", "usr",
    "var",
];

impl HostView {
    /// Checks whether a top-level directory of the host is mounted in the container.
    pub fn shows(self, name: &OsStr) -> bool {
        let among = |list: &[&str]| list.iter().any(|own| *own == name);
        let nameable = !name.as_bytes().iter().any(|byte| b":,".contains(byte));
        let hidden = name.as_bytes().first() == Some(&b'.');
        nameable
            && !hidden
            && !among(&RUNTIMES_OWN)
            // The runtime mounts /tmp by itself.
            && (self == Self::Host || !(among(&BASES_OWN) || name == "tmp"))
    }

    /// Returns the bind mounts of this host's top-level directories, sorted. A wrapper computes the
    /// same list anew at every start.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if `/` cannot be read.
    pub fn host_directories(self) -> Result<Vec<Bind>> {
        let mut binds = Vec::new();
        for entry in fs_err::read_dir("/").map_err(Error::Io)? {
            let entry = entry.map_err(Error::Io)?;
            if self.shows(&entry.file_name()) && entry.path().is_dir() {
                binds.push(Bind::path(entry.path(), entry.path())?);
            }
        }
        binds.sort_by(|one, other| one.destination.cmp(&other.destination));
        Ok(binds)
    }

    /// Returns the name of this host view in common.sh.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Base => "base",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn arguments_of_binds() {
        let text = |bind: Bind| bind.argument().into_string().unwrap();
        assert_eq!(text(Bind::path("/a b", "/c").unwrap()), "/a b:/c");
        assert_eq!(
            text(Bind::path("/a", "/c").unwrap().read_only()),
            "/a:/c:ro"
        );
        assert_eq!(
            text(Bind::image("/x:y,z.sqfs", "/m").unwrap()),
            r"/x\:y\,z.sqfs:/m:image-src=/,ro"
        );
    }

    #[test]
    fn destinations_that_no_runtime_can_read_are_refused() {
        for bad in ["relative", "/a:b", "/a,b"] {
            assert!(
                matches!(Bind::path("/a", bad), Err(Error::CannotBind { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn views_differ_in_system_directories_only() {
        for (name, host, base) in [
            ("usr", true, false),
            ("opt", true, false),
            ("lib64", true, false),
            ("tmp", true, false),
            ("home", true, true),
            ("scratch_dev", true, true),
            ("devel", true, true),
            ("library", true, true),
            ("dev", false, false),
            ("proc", false, false),
            ("sys", false, false),
            ("a:b", false, false),
            (".snapshots", false, false),
        ] {
            assert_eq!(HostView::Host.shows(OsStr::new(name)), host, "host {name}");
            assert_eq!(HostView::Base.shows(OsStr::new(name)), base, "base {name}");
        }
    }
}
