//! Responsible for references: distinguishing a path from the name of an image elsewhere.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::Source;
use crate::name::Name;

/// Schemes with a single colon that apptainer accepts. They would be valid in file names, so they
/// are listed. A text before `://` is always a scheme, known or not.
const SCHEMES_WITHOUT_SLASHES: [&str; 5] = [
    "docker-daemon",
    "docker-archive",
    "oci",
    "oci-archive",
    "containers-storage",
];

/// A reference to a base: a path, or the name of an image elsewhere.
///
/// ```
/// use condense_oci::Reference;
/// assert!(matches!(Reference::parse("base.sif"), Ok(Reference::File(_))));
/// assert!(matches!(Reference::parse("docker://debian:12"), Ok(Reference::Image(_))));
/// assert!(Reference::parse("library://alpine").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A file or directory that is used as it is.
    File(PathBuf),
    /// An image that must be converted to a SIF first.
    Image(Source),
}

impl Reference {
    /// Parses a reference.
    ///
    /// # Errors
    /// Returns [`Error::Remote`] for a scheme from which this program cannot fetch, and
    /// [`Error::InvalidReference`] for a malformed image name.
    pub fn parse(text: &str) -> Result<Reference, Error> {
        match Source::parse(text) {
            Some(Ok(source)) => Ok(Reference::Image(source)),
            Some(Err(problem)) => Err(Error::InvalidReference {
                reference: without_user(text),
                problem,
            }),
            None if scheme(text).is_some() => Err(Error::Remote {
                reference: text.to_owned(),
            }),
            None => Ok(Reference::File(PathBuf::from(text))),
        }
    }

    /// Parses the path of a file or directory on this machine.
    ///
    /// # Errors
    /// [`Error::Remote`] for an image that a SIF has to be made of first. Its hint has the command.
    pub fn parse_path(text: &str) -> Result<PathBuf, Error> {
        match Reference::parse(text)? {
            Reference::File(path) => Ok(path),
            Reference::Image(_) => Err(Error::Remote {
                reference: text.to_owned(),
            }),
        }
    }

    /// Returns the same reference with a relative path made absolute.
    #[must_use]
    pub fn absolute(self, cwd: &Path) -> Reference {
        match self {
            Reference::File(path) => Reference::File(cwd.join(path)),
            Reference::Image(source) => Reference::Image(source.absolute(cwd)),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::File(path) => path.display().fmt(f),
            Reference::Image(source) => source.fmt(f),
        }
    }
}

/// Removes a user name and password from a reference, so that an error can show it.
fn without_user(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            // Without a path, the text before the `@` is a name and the text after it a digest.
            let host = match authority.rsplit_once('@') {
                Some((_, host)) if !path.is_empty() => host,
                _ => authority,
            };
            format!("{scheme}://{host}{path}")
        }
        None => text.to_owned(),
    }
}

/// Returns the reference `docker://TEXT` if the text could be the name of an image in a registry
/// whose scheme was forgotten: `ubuntu:24.04`.
#[must_use]
pub fn suggest_scheme(text: &str) -> Option<String> {
    let is_file = text.starts_with(['/', '.', '~'])
        || [".sif", ".simg", ".img", ".sqfs", ".tar"]
            .iter()
            .any(|end| text.ends_with(end));
    let is_name = !is_file && scheme(text).is_none() && Name::parse(text).is_ok();
    is_name.then(|| format!("docker://{text}"))
}

fn scheme(reference: &str) -> Option<&str> {
    let (scheme, rest) = reference.split_once(':')?;
    let is_word = scheme
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let known = rest.starts_with("//") || SCHEMES_WITHOUT_SLASHES.contains(&scheme);
    (!scheme.is_empty() && is_word && known).then_some(scheme)
}

/// Returns a hint with the command that makes a local file of the reference.
pub(crate) fn render_hint(reference: &str) -> String {
    let scheme = scheme(reference).unwrap_or_default();
    if scheme == "file" {
        let path = reference
            .trim_start_matches("file:")
            .trim_start_matches("//");
        return format!("give the path alone: `{path}`");
    }
    if scheme == "instance" {
        return "name the .sif that the instance was started from".to_owned();
    }
    let name = file_name(reference);
    let quoted = quote(reference);
    let line = if Source::parse(reference).is_some() {
        format!("condense pull {quoted} {name}")
    } else if SCHEMES_WITHOUT_SLASHES.contains(&scheme) {
        // `apptainer pull` takes images from a network, and `apptainer build` also those that other
        // tools store on this machine.
        format!("apptainer build {name} {quoted}")
    } else {
        format!("apptainer pull {name} {quoted}")
    };
    format!("make a local file of it first: `{line}`, and name {name}")
}

/// Returns the file name for a reference, as apptainer chooses it: `docker://quay.io/org/tool:1.2`
/// becomes `tool_1.2.sif`.
fn file_name(reference: &str) -> String {
    let last = reference
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let last = match last.split_once('@') {
        Some((name, _digest)) if !name.is_empty() => name,
        _ => last,
    };
    let last = SCHEMES_WITHOUT_SLASHES
        .iter()
        .find_map(|scheme| last.strip_prefix(scheme)?.strip_prefix(':'))
        .unwrap_or(last);
    let stem = last
        .strip_suffix(".sif")
        .or_else(|| last.strip_suffix(".tar"))
        .unwrap_or(last);
    let stem: String = stem
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let stem = stem.trim_matches(|c| "._-".contains(c));
    if stem.is_empty() {
        "base.sif".to_owned()
    } else {
        format!("{stem}.sif")
    }
}

fn quote(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(&b);
    if word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use condense_diagnostics::Hint as _;

    use super::*;

    #[test]
    fn a_name_without_a_scheme_gets_one() {
        for (text, expected) in [
            ("ubuntu:24.04", Some("docker://ubuntu:24.04")),
            (
                "rocm/dev-ubuntu-22.04:5.6.1",
                Some("docker://rocm/dev-ubuntu-22.04:5.6.1"),
            ),
            ("ghcr.io/org/tool", Some("docker://ghcr.io/org/tool")),
            ("debian", Some("docker://debian")),
            ("base.sif", None),
            ("./ubuntu:24.04", None),
            ("/images/base", None),
            ("docker://ubuntu", None),
            ("library://x", None),
            ("Upper Case", None),
            ("", None),
        ] {
            assert_eq!(suggest_scheme(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn paths_are_paths() {
        for path in [
            "base.sif",
            "./base.sif",
            "/appl/base images/b.sif",
            "a:b.sif",
            "dir/docker:x",
            "/docker://x",
            "./oci:x",
            ":",
            "c:\\x",
        ] {
            assert_eq!(
                Reference::parse_path(path).ok(),
                Some(PathBuf::from(path)),
                "{path}"
            );
        }
    }

    #[test]
    fn references_to_other_machines_are_refused_with_a_command_that_fetches_them() {
        let check = |reference: &str, line: &str| {
            let error = Reference::parse_path(reference).expect_err(reference);
            assert!(matches!(error, Error::Remote { .. }));
            assert!(error.to_string().contains(reference), "{error}");
            let hint = error.hint().expect(reference);
            assert!(hint.contains(line), "{reference}: {hint}");
        };
        for (reference, line) in [
            (
                "docker://quay.io/org/tool:1",
                "`condense pull docker://quay.io/org/tool:1 tool_1.sif`",
            ),
            (
                "docker://debian:12",
                "`condense pull docker://debian:12 debian_12.sif`",
            ),
            (
                "docker://a/tool:1@sha256:0000000000000000000000000000000000000000000000000000000000000000",
                " tool_1.sif`",
            ),
            (
                "docker-archive:/tmp/a b.tar",
                "`condense pull 'docker-archive:/tmp/a b.tar' a_b.sif`",
            ),
            ("oci:dir", "`condense pull oci:dir dir.sif`"),
            (
                "library://alpine",
                "`apptainer pull alpine.sif library://alpine`",
            ),
            ("shub://a/b", "`apptainer pull b.sif shub://a/b`"),
            (
                "https://h.example/x.sif",
                "`apptainer pull x.sif https://h.example/x.sif`",
            ),
            (
                "docker-daemon:img:tag",
                "`apptainer build img_tag.sif docker-daemon:img:tag`",
            ),
            ("file:///appl/b.sif", "`/appl/b.sif`"),
            ("instance://running", "the .sif that the instance"),
        ] {
            check(reference, line);
        }
    }

    #[test]
    fn a_password_in_a_name_is_not_repeated() {
        for text in ["docker://me:hunter2@quay.io/a/b", "oras://me:hunter2@h/x"] {
            let error = Reference::parse(text).expect_err(text).to_string();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.contains("user or password"), "{error}");
        }
    }
}
