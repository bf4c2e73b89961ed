//! Responsible for reading uv's answer, which is a pylock.toml: names, versions and wheels.

use serde::Deserialize;

use crate::preview::PreviewedPip;

#[derive(Deserialize)]
struct Pylock {
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    wheels: Vec<Wheel>,
}

#[derive(Deserialize)]
struct Wheel {
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    path: Option<String>,
    size: Option<u64>,
}

impl Wheel {
    /// Returns whether the name of the file names this tag of an interpreter: `cp312`.
    fn is_for(&self, tag: &str) -> bool {
        let place = self.url.as_deref().or(self.path.as_deref());
        place.is_some_and(|place| place.contains(&format!("-{tag}-")))
    }
}

/// Returns the packages of a pylock.toml. A package has the size of its wheel for this version of
/// Python, or else of its first wheel.
///
/// # Errors
/// Returns an error if the text is no pylock.toml.
pub(super) fn packages(text: &str, python: &str) -> Result<Vec<PreviewedPip>, toml::de::Error> {
    let pylock: Pylock = toml::from_str(text)?;
    let tag = format!("cp{}", python.replace('.', ""));
    let of = |package: Package| {
        let mut wheels = package.wheels.iter();
        let wheel = wheels.find(|wheel| wheel.is_for(&tag));
        let wheel = wheel.or_else(|| package.wheels.first());
        PreviewedPip {
            size: wheel.and_then(|wheel| wheel.size),
            name: package.name,
            version: package.version,
        }
    };
    Ok(pylock.packages.into_iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::packages;

    /// Reads an answer of uv 0.13.9, with shorter addresses.
    #[test]
    fn the_wheel_of_the_version_of_python_counts() {
        let text = r#"lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.11"

[[packages]]
name = "charset-normalizer"
version = "3.5.3"
wheels = [
    { url = "https://h/charset_normalizer-3.5.3-cp37-abi3-manylinux1_x86_64.whl", upload-time = 2026-11-23T02:46:10Z, size = 234407, hashes = { sha256 = "26c6" } },
    { url = "https://h/charset_normalizer-3.5.3-cp311-cp311-manylinux1_x86_64.whl", upload-time = 2026-11-23T02:43:37Z, size = 263382, hashes = { sha256 = "2a6f" } },
]

[[packages]]
name = "idna"
version = "3.20"
wheels = [{ url = "https://h/idna-3.20-py3-none-any.whl", upload-time = 2026-09-17T14:11:03Z, size = 69583, hashes = { sha256 = "ab7a" } }]

[[packages]]
name = "local"
version = "1"
wheels = [{ path = "local-1-py3-none-any.whl" }]
"#;
        let found = packages(text, "3.11").unwrap();
        let found = found.iter().map(|one| (one.name.as_str(), one.size));
        let expected = [
            ("charset-normalizer", Some(263_382)),
            ("idna", Some(69_583)),
            ("local", None),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert!(packages("= no", "3.11").is_err());
    }
}
