//! Responsible for locating an image: in a registry, or in a file or directory that another tool
//! has made.

use std::fmt;
use std::path::PathBuf;

use super::name::Name;

/// Location of an image that is not yet a SIF on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub(crate) location: Location,
    given: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// `docker://`: an image with layers in a registry.
    Docker(Name),
    /// `oras://`: a SIF in a registry.
    Oras(Name),
    /// `oci:`, `oci-archive:`, `docker-archive:`: an image on this machine.
    Local(Local),
}

/// A file or directory in which another tool has stored images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Local {
    pub(crate) format: Format,
    pub(crate) path: PathBuf,
    /// Name of the image if there are several: a tag, or `@` and a digest.
    pub(crate) selector: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A directory in OCI's image layout.
    Layout,
    /// An archive of an OCI image layout.
    OciArchive,
    /// An archive that `docker save` writes.
    DockerArchive,
}

impl Format {
    /// Returns the scheme, without the colon.
    pub(crate) fn transport(self) -> &'static str {
        match self {
            Format::Layout => "oci",
            Format::OciArchive => "oci-archive",
            Format::DockerArchive => "docker-archive",
        }
    }
}

impl Source {
    /// Parses a source. Returns `None` if the text has none of these schemes.
    pub(crate) fn parse(text: &str) -> Option<Result<Source, String>> {
        let (scheme, rest) = text.split_once(':')?;
        let local = |format| Ok(Location::Local(Local::parse(format, rest)?));
        let in_registry = |make: fn(Name) -> Location| {
            let name = rest
                .strip_prefix("//")
                .ok_or_else(|| format!("`//` is missing behind `{scheme}:`"))?;
            Name::parse(name).map(make)
        };
        let location = match scheme {
            "docker" if rest.starts_with("//") => in_registry(Location::Docker),
            "oras" if rest.starts_with("//") => in_registry(Location::Oras),
            "oci" => local(Format::Layout),
            "oci-archive" => local(Format::OciArchive),
            "docker-archive" => local(Format::DockerArchive),
            _ => return None,
        };
        Some(location.map(|location| Source {
            location,
            given: text.to_owned(),
        }))
    }

    /// Checks whether the image is in a registry, so that a network is needed.
    pub fn is_in_registry(&self) -> bool {
        !matches!(self.location, Location::Local(_))
    }

    /// Returns the address at which the image's registry says that it is one.
    pub fn registry_address(&self, plain_http: bool) -> Option<String> {
        let (Location::Docker(name) | Location::Oras(name)) = &self.location else {
            return None;
        };
        let scheme = if plain_http { "http" } else { "https" };
        Some(format!("{scheme}://{}/v2/", name.api_host()))
    }

    /// Returns the same source with a relative path made absolute.
    pub(crate) fn absolute(self, cwd: &std::path::Path) -> Source {
        let Location::Local(local) = self.location else {
            return self;
        };
        let path = cwd.join(&local.path);
        let mut given = format!("{}:{}", local.format.transport(), path.display());
        if let Some(selector) = &local.selector {
            given.push(':');
            given.push_str(selector);
        }
        Source {
            location: Location::Local(Local { path, ..local }),
            given,
        }
    }

    /// Returns the values of `bootstrap:` and `from:` for a definition file.
    pub(crate) fn definition(&self) -> (&str, &str) {
        let (transport, from) = self.given.split_once(':').expect("it was parsed so");
        (transport, from.strip_prefix("//").unwrap_or(from))
    }
}

impl Local {
    fn parse(format: Format, rest: &str) -> Result<Local, String> {
        if rest.is_empty() {
            return Err("it names no file".to_owned());
        }
        let whole = PathBuf::from(rest);
        // The name of a file may contain a colon.
        let (path, selector) = match rest.split_once(':') {
            Some((path, selector)) if !whole.exists() && !path.is_empty() => {
                (PathBuf::from(path), Some(selector.to_owned()))
            }
            _ => (whole, None),
        };
        if selector.as_deref() == Some("") {
            return Err("there is nothing behind its last `:`".to_owned());
        }
        Ok(Local {
            format,
            path,
            selector,
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transport_is_told_from_a_path() {
        for (text, transport, from) in [
            ("docker://debian:12", "docker", "debian:12"),
            ("oras://r.example/x:1", "oras", "r.example/x:1"),
            ("oci:/l:tag", "oci", "/l:tag"),
            ("oci-archive:a.tar", "oci-archive", "a.tar"),
            (
                "docker-archive:/a b.tar:x/y:1",
                "docker-archive",
                "/a b.tar:x/y:1",
            ),
        ] {
            let source = Source::parse(text).expect(text).expect(text);
            assert_eq!(source.definition(), (transport, from));
            assert_eq!(source.to_string(), text);
        }
        for text in [
            "base.sif",
            "/docker://x",
            "docker:x",
            "library://x",
            "a:b",
            "",
        ] {
            assert!(Source::parse(text).is_none(), "{text}");
        }
        for text in [
            "docker://",
            "oci:",
            "oci:dir:",
            "docker://UPPER",
            "oras://a b",
        ] {
            assert!(
                Source::parse(text).is_some_and(|parsed| parsed.is_err()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_selector_follows_the_path() {
        let place = |text: &str| match Source::parse(text).expect(text).expect(text).location {
            Location::Local(local) => (local.path, local.selector),
            other => panic!("{other:?}"),
        };
        let dir = tempfile::tempdir().expect("a directory");
        let odd = dir.path().join("a:b");
        fs_err::create_dir(&odd).expect("a directory");
        assert_eq!(
            place("oci:dir:x/y:1"),
            ("dir".into(), Some("x/y:1".to_owned()))
        );
        assert_eq!(place("oci:dir"), ("dir".into(), None));
        assert_eq!(place(&format!("oci:{}", odd.display())), (odd, None));
        let absolute = Source::parse("oci:d:t")
            .expect("of the kind")
            .expect("valid");
        assert_eq!(absolute.absolute("/w".as_ref()).to_string(), "oci:/w/d:t");
    }
}
