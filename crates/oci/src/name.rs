//! Responsible for names of images in registries: `host/repository:tag@digest`.

use std::fmt;

use super::digest::Digest;

/// Registry of a name without a host.
const DOCKER_HUB: &str = "docker.io";
/// Host that answers requests for this registry.
const DOCKER_HUB_API: &str = "registry-1.docker.io";
/// Maximum length of a tag in bytes. Registries accept no longer ones.
const TAG_LEN_MAX: usize = 128;

/// Name of an image in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
    given: String,
}

impl Name {
    /// Parses the text that follows `docker://`. If the text contains a password, the error does
    /// not repeat it.
    pub(crate) fn parse(text: &str) -> Result<Name, String> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => match Digest::parse(digest) {
                Some(digest) => (rest, Some(digest)),
                None if digest.contains('/') => {
                    return Err("a user or password cannot be part of it".to_owned());
                }
                None => return Err(format!("`{digest}` is not a digest")),
            },
            None => (text, None),
        };
        let (rest, tag) = match rest.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => (rest, Some(tag)),
            _ => (rest, None),
        };
        // A text like `host:5000`, without a repository, has no tag either.
        let (host, repository) = match rest.split_once('/') {
            Some((first, path)) if is_host(first) => (first, path.to_owned()),
            Some(_) => (DOCKER_HUB, rest.to_owned()),
            None => (DOCKER_HUB, format!("library/{rest}")),
        };
        if rest.is_empty() {
            return Err("it names no image".to_owned());
        }
        let host = match host {
            "index.docker.io" | DOCKER_HUB_API => DOCKER_HUB,
            other => other,
        };
        let repository = if host == DOCKER_HUB && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository
        };
        if !repository.split('/').all(is_component) {
            return Err(format!(
                "`{repository}` is not a repository: lower-case letters, digits, `.`, `_`, `-` and `/`"
            ));
        }
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(format!("`{tag}` is not a tag"));
        }
        Ok(Name {
            host: host.to_owned(),
            repository,
            tag: tag.map(str::to_owned),
            digest,
            given: text.to_owned(),
        })
    }

    /// Returns the registry under which credentials and certificates are filed: the host, and the
    /// port if there is one.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Returns the host to which requests are sent.
    pub(crate) fn api_host(&self) -> &str {
        if self.host == DOCKER_HUB {
            DOCKER_HUB_API
        } else {
            &self.host
        }
    }

    /// Returns the name of the same image at another host and path prefix.
    pub(crate) fn at(&self, place: &str) -> Name {
        let mut given = format!("{place}/{}", self.repository);
        for (mark, part) in [
            (':', self.tag.clone()),
            ('@', self.digest.as_ref().map(Digest::to_string)),
        ] {
            given.extend(part.map(|part| format!("{mark}{part}")));
        }
        let (host, above) = place.split_once('/').unwrap_or((place, ""));
        Name {
            host: host.to_owned(),
            repository: match above {
                "" => self.repository.clone(),
                above => format!("{above}/{}", self.repository),
            },
            given,
            ..self.clone()
        }
    }

    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the digest if there is one, because its target cannot change, or else the tag.
    pub(crate) fn manifest_reference(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

/// Checks whether a word is a host and not the first part of a repository, by docker's rule.
fn is_host(word: &str) -> bool {
    let is_valid = word
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    is_valid && (word.contains(['.', ':']) || word == "localhost")
}

fn is_component(word: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    word.bytes().all(|b| is_inner(b) || b"._-".contains(&b))
        && word.bytes().next().is_some_and(is_inner)
        && word.bytes().next_back().is_some_and(is_inner)
}

fn is_tag(word: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    word.len() <= TAG_LEN_MAX
        && word.bytes().next().is_some_and(is_word)
        && word.bytes().all(|b| is_word(b) || b".-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_docker_completes_them() {
        let zeros = "0".repeat(64);
        for (text, host, repository, reference) in [
            ("debian", "docker.io", "library/debian", "latest"),
            ("debian:12", "docker.io", "library/debian", "12"),
            ("docker.io/debian:12", "docker.io", "library/debian", "12"),
            ("index.docker.io/a/b", "docker.io", "a/b", "latest"),
            ("rocm/pytorch:x_y.1", "docker.io", "rocm/pytorch", "x_y.1"),
            ("localhost/x", "localhost", "x", "latest"),
            ("localhost:5000/x", "localhost:5000", "x", "latest"),
            ("127.0.0.1:5000/a/b/c:1", "127.0.0.1:5000", "a/b/c", "1"),
            ("[::1]:5000/x:1", "[::1]:5000", "x", "1"),
            ("quay.io/a/b__c-d", "quay.io", "a/b__c-d", "latest"),
            (
                &format!("a/tool:1@sha256:{zeros}"),
                "docker.io",
                "a/tool",
                &format!("sha256:{zeros}"),
            ),
        ] {
            let name = Name::parse(text).expect(text);
            assert_eq!(
                (
                    name.host(),
                    name.repository(),
                    &*name.manifest_reference(),
                    &*name.to_string()
                ),
                (host, repository, reference, text)
            );
        }
        let hub = Name::parse("debian").expect("a name");
        assert_eq!(hub.api_host(), "registry-1.docker.io");
    }

    #[test]
    fn malformed_names_are_refused_without_repeating_a_password() {
        for (text, word) in [
            ("", "no image"),
            ("Debian", "library/Debian"),
            ("a/b:", "tag"),
            ("a/b:-x", "tag"),
            ("a//b", "repository"),
            ("a/../b", "repository"),
            ("a/b/", "repository"),
            ("a/b?x=1", "repository"),
            ("debian@sha256:12", "digest"),
            ("me:hunter2@quay.io/a/b", "user or password"),
        ] {
            let problem = Name::parse(text).expect_err(text);
            assert!(problem.contains(word), "{text}: {problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
}
