//! Responsible for mirrors: registries that are asked before the registry that a reference names.

use super::name::Name;

/// A mirror of a registry: a registry of the site with copies of the images, or a proxy that
/// fetches images on request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Host of the registry that is mirrored.
    host: String,
    /// Host of the mirror, and the path prefix of its repositories.
    place: String,
    plain_http: bool,
}

impl Mirror {
    /// Parses a mirror. `registry` is for example `docker://docker.io`, and `address` is for
    /// example `https://mirror.example.org/dockerhub`.
    ///
    /// # Errors
    /// Returns a description of the problem if one of the two texts is malformed.
    pub fn parse(registry: &str, address: &str) -> Result<Mirror, String> {
        let host = registry.strip_prefix("docker://").unwrap_or(registry);
        let name = Name::parse(&format!("{host}/a/b"))?;
        if name.repository() != "a/b" {
            return Err(format!("`{registry}` is not `docker://` and a host"));
        }
        let plain_http = address.starts_with("http://");
        let place = ["https://", "http://"]
            .iter()
            .find_map(|scheme| address.strip_prefix(scheme))
            .ok_or_else(|| "an address begins with `https://` or `http://`".to_owned())?
            .trim_end_matches('/');
        let as_name = Name::parse(&format!("{place}/a/b"))?;
        if !place.starts_with(as_name.host()) {
            return Err(format!("`{place}` does not begin with a host"));
        }
        Ok(Mirror {
            host: name.host().to_owned(),
            place: place.to_owned(),
            plain_http,
        })
    }

    /// Returns the name of the image at the mirror, or `None` if the image's registry is not
    /// mirrored.
    pub(super) fn name_of(&self, name: &Name) -> Option<Name> {
        (name.host() == self.host).then(|| name.at(&self.place))
    }

    /// Checks whether the mirror is asked over HTTP instead of HTTPS.
    pub(super) fn is_plain_http(&self) -> bool {
        self.plain_http
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Access;

    #[test]
    fn an_image_has_another_name_at_a_mirror() {
        for (registry, address, image, expected) in [
            (
                "docker://docker.io",
                "http://127.0.0.1:5000/",
                "python:slim",
                "127.0.0.1:5000/library/python:slim",
            ),
            (
                "docker://index.docker.io",
                "https://m.example.org/hub",
                "rocm/pytorch",
                "m.example.org/hub/rocm/pytorch",
            ),
            (
                "docker://quay.io",
                "https://m.example.org",
                "debian",
                "none",
            ),
        ] {
            let mirror = Mirror::parse(registry, address).expect(registry);
            let name = Name::parse(image).expect(image);
            let found = Access::default().for_mirror(&mirror, &name);
            let shown = found.map_or("none".to_owned(), |(name, access)| {
                assert_eq!(access.plain_http, address.starts_with("http:"));
                name.to_string()
            });
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn texts_that_are_no_registry_are_refused() {
        for (registry, address, said) in [
            (
                "docker://hub",
                "https://m.example.org",
                "is not `docker://` and a host",
            ),
            (
                "docker://docker.io/a",
                "https://m.example.org",
                "is not `docker://` and a host",
            ),
            ("docker://docker.io", "m.example.org", "begins with"),
            ("docker://docker.io", "https://mirror", "begin with a host"),
            (
                "docker://docker.io",
                "https://me:hunter2@m.example.org",
                "user or password",
            ),
        ] {
            let problem = Mirror::parse(registry, address).expect_err(address);
            assert!(problem.contains(said), "{problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
}
