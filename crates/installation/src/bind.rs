//! Responsible for binds: host paths shown inside the container, and which host directories a view
//! shows.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A host path that is shown at a path inside the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    source: PathBuf,
    destination: PathBuf,
    what: What,
    read_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Path,
    Image,
}

impl Bind {
    /// Shows a host file or directory, writable as far as its permissions go.
    ///
    /// # Errors
    /// [`Error::CannotBind`] if the runtime has no way to write down one of the paths.
    pub fn path(source: impl Into<PathBuf>, destination: impl Into<PathBuf>) -> Result<Self> {
        Self::new(source.into(), destination.into(), What::Path, false)
    }

    /// Shows the contents of a SquashFS image, read-only.
    ///
    /// # Errors
    /// [`Error::CannotBind`] if the runtime has no way to write down one of the paths.
    pub fn image(source: impl Into<PathBuf>, destination: impl Into<PathBuf>) -> Result<Self> {
        Self::new(source.into(), destination.into(), What::Image, true)
    }

    /// Shows the same, but without write access.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self {
            read_only: true,
            ..self
        }
    }

    /// Where it lies on the host.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Where it is shown inside.
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    fn new(source: PathBuf, destination: PathBuf, what: What, read_only: bool) -> Result<Self> {
        // A destination cannot be escaped, and a relative one is refused by the runtime only at
        // start.
        check_destination(&destination)?;
        Ok(Self {
            source,
            destination,
            what,
            read_only,
        })
    }

    /// The options behind the destination, without the colon.
    pub(crate) fn options(&self) -> &'static str {
        match (self.what, self.read_only) {
            // Read-only is said explicitly: without it the runtime first tries to open the image
            // for writing.
            (What::Image, _) => "image-src=/,ro",
            (What::Path, true) => "ro",
            (What::Path, false) => "",
        }
    }

    /// The source as apptainer's `-B` reads it: colons and commas escaped.
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

    /// Whether `SingularityCE`'s `-B` would misread it: that takes its value for CSV, splits it at
    /// `^`, too, and knows no escapes.
    pub(crate) fn is_odd(&self) -> bool {
        [&self.source, &self.destination].iter().any(|path| {
            let mut bytes = path.as_os_str().as_bytes().iter();
            bytes.any(|byte| b":,^\"\r\n".contains(byte))
        })
    }

    /// The value of one `--mount`, which Singularity has since 3.9.
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

    /// The value of one `-B`.
    pub(crate) fn argument(&self) -> OsString {
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

/// Refuses a path that cannot be the destination of a bind.
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

/// Whose `/usr` the program sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostView {
    /// The host's: every top-level directory of the host is shown over the base's.
    Host,
    /// The base's: only the host's data trees are shown.
    Base,
}

/// Never shown: the runtime mounts its own. `lost+found` is nobody's data.
const RUNTIMES_OWN: [&str; 4] = ["proc", "sys", "dev", "lost+found"];

/// Stays the base's in [`HostView::Base`]; whatever else lies at the top is a data tree. The
/// wrapper has the same list.
const BASES_OWN: [&str; 13] = [
    "bin", "boot", "etc", "lib", "lib32", "lib64", "libx32", "opt", "root", "run", "sbin", "usr",
    "var",
];

impl HostView {
    /// Says whether a top-level directory of the host is shown inside.
    pub fn shows(self, name: &OsStr) -> bool {
        let among = |list: &[&str]| list.iter().any(|own| *own == name);
        let nameable = !name.as_bytes().iter().any(|byte| b":,".contains(byte));
        let hidden = name.as_bytes().first() == Some(&b'.');
        nameable
            && !hidden
            && !among(&RUNTIMES_OWN)
            // The runtime shows /tmp by itself.
            && (self == Self::Host || !(among(&BASES_OWN) || name == "tmp"))
    }

    /// The binds of this host's top-level directories, sorted: what a wrapper works out anew at
    /// every start.
    ///
    /// # Errors
    /// [`Error::Io`] if `/` cannot be read.
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

    /// The word that common.sh uses for it.
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
