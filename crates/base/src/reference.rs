//! Responsible for references: telling a path from what lies on another machine.

use std::path::PathBuf;

use crate::Error;

/// What apptainer takes besides files. Those with a single colon would be valid file names, so they are listed; anything
/// before `://` is a scheme, known or not.
const SCHEMES_WITHOUT_SLASHES: [&str; 5] = [
    "docker-daemon",
    "docker-archive",
    "oci",
    "oci-archive",
    "containers-storage",
];

/// The path that a reference is, or a refusal by name.
pub(crate) fn parse(reference: &str) -> Result<PathBuf, Error> {
    if scheme(reference).is_some() {
        return Err(Error::Remote {
            reference: reference.to_owned(),
        });
    }
    Ok(PathBuf::from(reference))
}

fn scheme(reference: &str) -> Option<&str> {
    let (scheme, rest) = reference.split_once(':')?;
    let is_word = scheme
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let known = rest.starts_with("//") || SCHEMES_WITHOUT_SLASHES.contains(&scheme);
    (!scheme.is_empty() && is_word && known).then_some(scheme)
}

/// The line that makes a local file of a reference.
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
    // `pull` takes what is fetched over a network, `build` also what other tools keep on this machine.
    let action = if SCHEMES_WITHOUT_SLASHES.contains(&scheme) {
        "build"
    } else {
        "pull"
    };
    let name = file_name(reference);
    format!(
        "make a local file of it first: `apptainer {action} {name} {}`, and name {name} as the base",
        quote(reference)
    )
}

/// `docker://quay.io/org/tool:1.2` becomes `tool_1.2.sif`, as with apptainer itself.
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
    use super::*;

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
            assert_eq!(parse(path).ok(), Some(PathBuf::from(path)), "{path}");
        }
    }

    #[test]
    fn what_is_elsewhere_is_refused_with_the_line_that_fetches_it() {
        let check = |reference: &str, line: &str| {
            let error = parse(reference).expect_err(reference);
            assert!(error.to_string().contains(reference), "{error}");
            let hint = error.hint().expect(reference);
            assert!(hint.contains(line), "{reference}: {hint}");
        };
        for (reference, line) in [
            (
                "docker://debian:12",
                "`apptainer pull debian_12.sif docker://debian:12`",
            ),
            (
                "docker://ghcr.io/a/tool",
                "`apptainer pull tool.sif docker://ghcr.io/a/tool`",
            ),
            (
                "docker://a/tool:1@sha256:0f",
                "`apptainer pull tool_1.sif docker://a/tool:1@sha256:0f`",
            ),
            (
                "oras://r.example/x/y:latest",
                "`apptainer pull y_latest.sif oras://r.example/x/y:latest`",
            ),
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
            (
                "docker-archive:/tmp/a b.tar",
                "`apptainer build a_b.sif 'docker-archive:/tmp/a b.tar'`",
            ),
            ("oci:dir", "`apptainer build dir.sif oci:dir`"),
            ("docker://", "`apptainer pull docker.sif docker://`"),
            ("file:///appl/b.sif", "`/appl/b.sif`"),
            ("instance://running", "the .sif that the instance"),
        ] {
            check(reference, line);
        }
    }
}
