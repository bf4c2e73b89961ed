//! Responsible for registries that are asked before others.

use super::credentials::Keyring;
use super::name::Name;
use super::registry::{Access, Retry};

/// A registry that has what another one has: a site's own, or one that fetches what it is asked
/// for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The host that it stands in for.
    host: String,
    /// Its own host, and what is in front of its repositories.
    place: String,
    plain_http: bool,
}

impl Mirror {
    /// `registry` is `docker://docker.io`, `address` such as `https://mirror.example.org/dockerhub`.
    ///
    /// # Errors
    /// What is wrong with one of the two.
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

    /// What an image is called there, if it stands in for its registry, and how it is asked:
    /// credentials that were not meant for it stay here, and it is not waited for as long as
    /// the registry itself.
    pub(super) fn stand_in(&self, name: &Name, access: &Access) -> Option<(Name, Access)> {
        let name = (name.host() == self.host).then(|| name.at(&self.place))?;
        let access = Access {
            keyring: Keyring {
                given: None,
                ..access.keyring.clone()
            },
            plain_http: self.plain_http,
            retry: Retry {
                tries: access.retry.tries.min(2),
                ..access.retry.clone()
            },
            mirrors: Vec::new(),
            ..access.clone()
        };
        Some((name, access))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_another_name_there() {
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
            let found = mirror.stand_in(&name, &Access::default());
            let shown = found.map_or("none".to_owned(), |(name, access)| {
                assert_eq!(access.plain_http, address.starts_with("http:"));
                name.to_string()
            });
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn what_is_no_registry_is_refused() {
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
