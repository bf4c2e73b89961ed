//! Responsible for reading facts from the name of an image or of its module, by LUMI's naming
//! convention in all its variants.
//!
//! Names are words between hyphens:
//! `lumi-pytorch-rocm-6.2.4-python-3.12-pytorch-v2.7.1-dockerhash-0d479e852886.sif`. A name that
//! follows no convention gives no facts; they are then read from the image itself.

use std::collections::BTreeMap;

use serde::Serialize;

/// Facts in the name of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ImageName {
    /// Version of ROCm, such as `6.2.4`.
    pub rocm: Option<String>,
    /// Version of Python, such as `3.12`.
    pub python: Option<String>,
    /// Other software and its versions, names in lower case.
    pub packages: BTreeMap<String, String>,
    /// Words without a version, such as `debugsymbols` or `exampleVenv`.
    pub variants: Vec<String>,
    /// Day of the module or of the build, such as `20250827`.
    pub date: Option<String>,
    /// Start of the digest of the OCI image from which the file was made.
    pub docker_hash: Option<String>,
}

/// Software of the letters in a code. The code `u24r64f21m43t29` means Ubuntu 24.04, ROCm 6.4,
/// libfabric 2.1, MPICH 4.3 and PyTorch 2.9.
const CODES: [(char, &str); 5] = [
    ('u', "ubuntu"),
    ('r', "rocm"),
    ('f', "libfabric"),
    ('m', "mpich"),
    ('t', "pytorch"),
];

impl ImageName {
    /// Parses the name of a file, with or without `.sif` and directories, or of a module. Returns
    /// `None` if the name follows no known convention.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.rsplit('/').next()?;
        let stem = name.strip_suffix(".sif").unwrap_or(name);
        let words: Vec<&str> = stem.split('-').collect();
        let mut found = Self::default();
        let mut at = usize::from(words[0] == "lumi");
        let family = (at == 1).then(|| words.get(1).copied()).flatten();
        if let Some(family) = family
            && !(words.get(2).is_some_and(|next| is_version(next)) || is_code(family))
        {
            // In `lumi-rocm-rocm-6.2.2` the first `rocm` is the kind of the image, not a software
            // name.
            at = 2;
        }
        let mut pending: Vec<&str> = Vec::new();
        // The words after `singularity` are the day and variants of the module, not software.
        let mut behind = false;
        while let Some(word) = words.get(at) {
            at += 1;
            let next = words.get(at).copied();
            match *word {
                "dockerhash" if next.is_some() => {
                    found.docker_hash = next.map(str::to_owned);
                    at += 1;
                }
                "singularity" => behind = true,
                "LUMI" => {}
                "rocm" if next.is_some_and(is_version) => {
                    found.rocm = next.map(str::to_owned);
                    at += 1;
                }
                "python" if next.is_some_and(is_version) => {
                    found.python = next.map(str::to_owned);
                    at += 1;
                }
                word if is_code(word) => found.read_code(word),
                // Eight digits directly after a name are a version: `PyTorch-20240801-…`.
                word if is_date(word) && pending.is_empty() => {
                    found.date = Some(word[..8].to_owned());
                }
                word if behind => found.variants.push(word.to_owned()),
                word if is_version(word) && !pending.is_empty() => {
                    let version = word.strip_prefix('v').unwrap_or(word);
                    found
                        .packages
                        .insert(pending.join("-").to_lowercase(), version.to_owned());
                    pending.clear();
                }
                word if next.is_some_and(|next| is_version(next) || continues(next)) => {
                    pending.push(word);
                }
                word => found.variants.push(word.to_owned()),
            }
        }
        found
            .variants
            .extend(pending.into_iter().map(str::to_owned));
        let conventional = found.rocm.is_some()
            || found.docker_hash.is_some()
            || family.is_some_and(is_code)
            || !found.packages.is_empty() && (at > 0 && known(&words));
        conventional.then_some(found)
    }

    /// Returns whether the name may refer to another image later. Names with a digest or a day, and
    /// names of `cpe` images, do not change their image.
    pub fn is_moving(&self) -> bool {
        self.docker_hash.is_none() && self.date.is_none() && !self.packages.contains_key("cpe")
    }

    fn read_code(&mut self, code: &str) {
        let mut rest = code;
        while let Some(letter) = rest.chars().next() {
            let digits = rest[1..]
                .find(|c: char| !c.is_ascii_digit())
                .map_or(rest.len(), |end| end + 1);
            let number = &rest[1..digits];
            rest = &rest[digits..];
            let Some((_, name)) = CODES.iter().find(|(code, _)| *code == letter) else {
                continue;
            };
            let version = match (*name, number.split_at(1)) {
                ("ubuntu", _) => format!("{number}.04"),
                (_, (major, minor)) => format!("{major}.{minor}"),
            };
            if *name == "rocm" {
                self.rocm = Some(version);
            } else {
                self.packages.insert((*name).to_owned(), version);
            }
        }
    }
}

/// Returns the numbers of a version for comparisons: `6.2.4` is newer than `6.2`.
pub(crate) fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// Returns whether `found` is the wanted version or a more exact one: `6.2.4` matches `6.2`.
pub(crate) fn is_a(found: &str, wanted: &str) -> bool {
    let found = found.strip_prefix('v').unwrap_or(found);
    found == wanted
        || found
            .strip_prefix(wanted)
            .is_some_and(|rest| rest.starts_with(['.', '+', '-']))
}

/// Returns whether a word is a version: `6.2.4`, `v2.7.1`, `0.4.0.post1`, `20240801`, or seven
/// digits of a commit such as `c7a3a47`.
fn is_version(word: &str) -> bool {
    let digits = word.strip_prefix('v').unwrap_or(word);
    let commit = word.len() == 7
        && word.bytes().all(|b| b.is_ascii_hexdigit())
        && word.bytes().any(|b| b.is_ascii_digit());
    digits.starts_with(|c: char| c.is_ascii_digit()) || commit
}

fn is_date(word: &str) -> bool {
    let (day, time) = word.split_once('_').unwrap_or((word, ""));
    day.len() == 8
        && day.bytes().chain(time.bytes()).all(|b| b.is_ascii_digit())
        && (day.starts_with("20"))
}

/// Returns whether a word is a code such as `u24r64f21m43t29`: letters of [`CODES`], each with a
/// number.
fn is_code(word: &str) -> bool {
    let mut digits = 2;
    let mut letters = 0;
    for c in word.chars() {
        if c.is_ascii_digit() {
            digits += 1;
        } else if digits > 1 && CODES.iter().any(|(code, _)| *code == c) {
            digits = 0;
            letters += 1;
        } else {
            return false;
        }
    }
    letters > 1 && digits > 1
}

/// Returns whether a word is the second word of a name, as in `jax-community-0.5.0`.
fn continues(word: &str) -> bool {
    word == "community"
}

/// Returns whether a name follows a convention by its first word, or by the word `singularity`.
fn known(words: &[&str]) -> bool {
    matches!(words[0], "lumi" | "cpe" | "ccpe" | "laifs") || words.contains(&"singularity")
}

#[cfg(test)]
mod tests;
