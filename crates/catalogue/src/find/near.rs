//! Responsible for explaining a search without a result: which word excludes which images, and
//! which image comes closest.

use std::collections::BTreeSet;

use condense_diagnostics::closest;
use serde::Serialize;

use super::{Found, Query, Term};
use crate::name::numbers;

/// Explanation of a search that no image matches.
#[derive(Debug, Serialize)]
pub struct NearMisses {
    /// Each word of the search, in its order.
    pub words: Vec<WordMatches>,
    /// Image that matches the most words; `None` if no image matches any.
    pub nearest: Option<NearestImage>,
}

/// Images that match one word of a search.
#[derive(Debug, Serialize)]
pub struct WordMatches {
    /// Word as the user wrote it.
    pub word: String,
    /// Number of images that match the word.
    pub images: usize,
    /// Versions that images have instead, the newest first. Empty unless the number is 0.
    pub versions: Vec<String>,
    /// Name that the user may have meant, if no image has anything of this name.
    pub similar: Option<String>,
}

/// Image that matches some words of a search.
#[derive(Debug, Serialize)]
pub struct NearestImage {
    /// Name of the image.
    pub name: String,
    /// Words that the image does not match.
    pub lacks: Vec<String>,
}

impl Query {
    /// Explains why none of the images matches.
    pub fn near_misses(&self, images: &[Found]) -> NearMisses {
        let words = self.0.iter().map(|term| term.explain(images)).collect();
        let lacks = |found: &Found| -> Vec<String> {
            let lacking = self.0.iter().filter(|term| !term.matches(found));
            lacking.map(Term::written).collect()
        };
        // The first of several images that lack equally little is the newest one.
        let nearest = images
            .iter()
            .map(|found| (found, lacks(found)))
            .filter(|(_, lacks)| lacks.len() < self.0.len())
            .min_by_key(|(_, lacks)| lacks.len());
        NearMisses {
            words,
            nearest: nearest.map(|(found, lacks)| NearestImage {
                name: found.name.clone(),
                lacks,
            }),
        }
    }
}

impl Term {
    fn written(&self) -> String {
        match &self.value {
            Some(value) => format!("{}={value}", self.key),
            None => self.key.clone(),
        }
    }

    fn explain(&self, images: &[Found]) -> WordMatches {
        let matching = images.iter().filter(|found| self.matches(found)).count();
        let mut versions: Vec<String> = Vec::new();
        let mut similar = None;
        if matching == 0 {
            let known = images.iter().filter_map(|found| self.known(found));
            let known: BTreeSet<&String> = known.collect();
            versions = known.into_iter().cloned().collect();
            versions.sort_by_key(|version| std::cmp::Reverse(numbers(version)));
            if versions.is_empty() && !names(images).contains(self.key.as_str()) {
                similar = closest(&self.key, names(images)).map(str::to_owned);
            }
        }
        WordMatches {
            word: self.written(),
            images: matching,
            versions,
            similar,
        }
    }
}

/// Returns the names of all software that any image has.
fn names(images: &[Found]) -> BTreeSet<&str> {
    let mut names = BTreeSet::from(["rocm", "cuda", "python", "glibc", "architecture", "mpi"]);
    for found in images {
        names.extend(found.entry.packages.keys().map(String::as_str));
        names.extend(found.variants.iter().map(String::as_str));
    }
    names
}
