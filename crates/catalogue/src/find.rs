//! Responsible for finding base images: the images of the catalogue, and the files in the site's
//! directories.

mod near;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::bail;
use condense_base::{BaseImage, MpiAbi};
use serde::Serialize;

use super::{
    Catalogue, ImageEntry, ImageName, Site, expand, known,
    name::{is_a, numbers},
};
use condense_diagnostics::UserError;
use condense_env_vars::EnvVars;

pub use near::{NearMisses, NearestImage, WordMatches};

/// Base image and its facts. They come from the catalogue and from the name of the image; if the
/// name follows no convention, from the files in the image.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// Name in the catalogue, else the name of the file without `.sif`.
    pub name: String,
    /// Path of the file, a pattern that no file matches, or a reference such as `docker://NAME`.
    pub reference: String,
    /// Whether the image is a file on this machine. References are not.
    pub here: bool,
    /// Current target of the link, if the path is a symbolic link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leads_to: Option<PathBuf>,
    /// Whether the name may refer to another image later.
    pub moving: bool,
    /// Whether the image is known as one of a site's modules only.
    #[serde(skip)]
    pub is_known_only: bool,
    /// Versions and other facts of the image.
    #[serde(flatten)]
    pub entry: ImageEntry,
    /// Words of the name that are no versions, such as `debugsymbols`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<String>,
    /// Day of the build, if the name contains it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
}

/// Search terms. An image matches if all of them match.
#[derive(Debug, Default)]
pub struct Query(Vec<Term>);

#[derive(Debug)]
struct Term {
    key: String,
    value: Option<String>,
}

impl Query {
    /// Parses search terms: `rocm=6.2`, `python=3.12`, `cuda=…`, `glibc=…`, `arch=…`, `mpi=mpich`,
    /// or the name of other software with or without a version.
    ///
    /// # Errors
    /// Returns an error if a word has no name, or `=` without a value.
    pub fn parse(words: &[String]) -> anyhow::Result<Self> {
        let mut terms = Vec::new();
        for word in words {
            let (key, value) = match word.split_once('=') {
                Some((key, value)) => (key, Some(value.trim_start_matches('='))),
                None => (word.as_str(), None),
            };
            if key.is_empty() || value == Some("") {
                let error = UserError::new(
                    format!("`{word}` is not a search term"),
                    "write NAME or NAME=VERSION, for example rocm=6.2 python=3.12 pytorch",
                );
                bail!(error.of_usage());
            }
            terms.push(Term {
                key: key.to_lowercase(),
                value: value.map(str::to_owned),
            });
        }
        Ok(Self(terms))
    }

    /// Returns whether the image matches all search terms.
    pub fn matches(&self, found: &Found) -> bool {
        self.0.iter().all(|term| term.matches(found))
    }
}

impl Term {
    /// Returns the version that the image has of what the term is about.
    fn known<'f>(&self, found: &'f Found) -> Option<&'f String> {
        let entry = &found.entry;
        match self.key.as_str() {
            "rocm" => entry.rocm.as_ref(),
            "cuda" => entry.cuda.as_ref(),
            "python" => entry.python.as_ref(),
            "glibc" => entry.glibc.as_ref(),
            "arch" | "architecture" => entry.architecture.as_ref(),
            "mpi" => entry.mpi.as_ref(),
            name => entry.packages.get(name),
        }
    }

    fn matches(&self, found: &Found) -> bool {
        match (&self.value, self.known(found)) {
            (Some(wanted), Some(version)) => is_a(version, wanted),
            (None, Some(_)) => true,
            (None, None) => {
                found.name.to_lowercase().contains(&self.key)
                    || found
                        .variants
                        .iter()
                        .any(|variant| variant.eq_ignore_ascii_case(&self.key))
            }
            (Some(_), None) => false,
        }
    }
}

/// Returns all images that match, the newest first. Images that are not on this machine come last.
pub fn find(catalogue: &Catalogue, site: &Site, query: &Query, env_vars: &EnvVars) -> Vec<Found> {
    let look = |name: &str| env_vars.get(name).map(str::to_owned);
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, entry) in &catalogue.images {
        for location in &entry.location {
            let location = expand(location, look);
            if location.contains("://") {
                found.push(Found::absent(name, entry, location));
                continue;
            }
            let mut any = false;
            for path in matches(&location) {
                any = true;
                if seen.insert(path.clone()) {
                    found.push(Found::here(name, entry, &path));
                }
            }
            if !any {
                found.push(Found::absent(name, entry, location));
            }
        }
    }
    for dir in &site.image_dirs {
        for path in matches(&format!("{}/*.sif", expand(dir, look))) {
            if seen.insert(path.clone()) {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                let known = known::named(&catalogue.known, &name);
                let entry = known.cloned().unwrap_or_default();
                found.push(Found::here(&name, &entry, &path));
            }
        }
    }
    add_known(catalogue, &mut found);
    found.retain(|found| query.matches(found));
    found.sort_by(|one, other| {
        let key = |found: &Found| {
            let version = found.entry.rocm.as_ref().or(found.entry.cuda.as_ref());
            (
                found.here,
                !found.entry.retired,
                version.map(|version| numbers(version)),
                found.date.clone(),
                found.entry.packages.values().map(|v| numbers(v)).max(),
            )
        };
        key(other)
            .cmp(&key(one))
            .then_with(|| one.reference.cmp(&other.reference))
    });
    found
}

/// Adds the images of sites' modules that were not found in a directory. Two modules may have the
/// same file.
fn add_known(catalogue: &Catalogue, found: &mut Vec<Found>) {
    let file = |found: &Found| {
        let path = Path::new(&found.reference);
        path.file_name().map(std::ffi::OsStr::to_owned)
    };
    let here = found.iter().filter(|found| found.here);
    let mut seen: BTreeSet<_> = here.filter_map(file).collect();
    for (name, entry) in &catalogue.known {
        for location in &entry.location {
            let path = Path::new(location);
            let mut known = if path.is_file() {
                Found::here(name, entry, path)
            } else {
                Found::absent(name, entry, location.clone())
            };
            let has_tag = ImageName::parse(name).unwrap_or_default();
            known.variants = has_tag.variants;
            known.date = has_tag.date;
            known.is_known_only = !known.here;
            if file(&known).is_some_and(|file| seen.insert(file)) {
                found.push(known);
            }
        }
    }
}

fn matches(pattern: &str) -> Vec<PathBuf> {
    glob::glob(pattern)
        .map(|paths| paths.flatten().collect())
        .unwrap_or_default()
}

impl Found {
    fn absent(name: &str, entry: &ImageEntry, reference: String) -> Self {
        Self {
            name: name.to_owned(),
            moving: reference.contains("://") && !reference.contains('@'),
            reference,
            here: false,
            is_known_only: false,
            leads_to: None,
            entry: entry.clone(),
            variants: Vec::new(),
            date: None,
        }
    }

    /// Describes the file at `path`. Facts that the catalogue does not have come from the name of
    /// the file; if the name follows no convention, from the image itself.
    pub(super) fn here(name: &str, entry: &ImageEntry, path: &Path) -> Self {
        let real = fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let is_link = real != path;
        let file = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            ImageName::parse(&name)
        };
        // The name of a link usually has fewer facts than the name of its target.
        let named = file(&real).or_else(|| file(path));
        let mut entry = entry.clone();
        let mut found = Self {
            name: name.to_owned(),
            reference: path.display().to_string(),
            here: true,
            leads_to: is_link.then_some(real),
            moving: is_link || file(path).is_some_and(|name| name.is_moving()),
            is_known_only: false,
            entry: ImageEntry::default(),
            variants: Vec::new(),
            date: None,
        };
        match named {
            Some(name) => {
                fill(&mut entry.rocm, name.rocm);
                fill(&mut entry.python, name.python);
                add_packages(&mut entry.packages, name.packages);
                found.variants = name.variants;
                found.date = name.date;
            }
            None => read_facts(&mut entry, path),
        }
        entry.location = vec![found.reference.clone()];
        found.entry = entry;
        found
    }
}

/// Adds facts from the files of an image. An image that cannot be read adds no facts; the error is
/// reported when the image is used.
fn read_facts(entry: &mut ImageEntry, path: &Path) {
    let Ok(facts) = BaseImage::open(path).and_then(|base| base.facts()) else {
        return;
    };
    fill(&mut entry.rocm, facts.rocm);
    fill(&mut entry.cuda, facts.cuda);
    let of_conda = facts.conda.and_then(|conda| conda.python);
    fill(
        &mut entry.python,
        of_conda.or_else(|| facts.python.and_then(|python| python.version)),
    );
    fill(&mut entry.glibc, facts.glibc);
    fill(&mut entry.architecture, facts.architecture);
    let mpi = facts.mpi.first().map(|mpi| match mpi.abi {
        MpiAbi::OpenMpi => "openmpi",
        _ => "mpich",
    });
    fill(&mut entry.mpi, mpi.map(str::to_owned));
}

fn fill(known: &mut Option<String>, more: Option<String>) {
    if known.is_none() {
        *known = more;
    }
}

fn add_packages(known: &mut BTreeMap<String, String>, more: BTreeMap<String, String>) {
    for (name, version) in more {
        known.entry(name).or_insert(version);
    }
}

#[cfg(test)]
mod tests;
