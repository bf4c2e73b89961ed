//! Responsible for the images that sites offer with their modules. Their facts come from their
//! names, so that they can be found on each machine.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use super::{ImageEntry, ImageName, name::numbers};

/// Images of one site, as a catalogue has them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KnownImages {
    dir: String,
    architecture: Option<String>,
    #[serde(default)]
    replacements: BTreeMap<String, String>,
    #[serde(default)]
    modules: BTreeMap<String, String>,
    #[serde(default)]
    retired: BTreeMap<String, String>,
}

impl KnownImages {
    /// Returns the images by the names of their modules.
    pub(super) fn into_entries(self) -> Vec<(String, ImageEntry)> {
        let entry = |module: &str, file: &str, retired: bool| {
            let mut facts = ImageName::parse(file).unwrap_or_default();
            let more = ImageName::parse(module).unwrap_or_default();
            for (name, version) in more.packages {
                facts.packages.entry(name).or_insert(version);
            }
            ImageEntry {
                location: vec![format!("{}/{file}", self.dir)],
                rocm: facts.rocm.or(more.rocm),
                python: facts.python.or(more.python),
                packages: facts.packages,
                architecture: self.architecture.clone(),
                retired,
                ..ImageEntry::default()
            }
        };
        let all = self.modules.iter().map(|pair| (pair, false));
        let all = all.chain(self.retired.iter().map(|pair| (pair, true)));
        let mut entries: Vec<(String, ImageEntry)> = all
            .map(|((module, file), retired)| (module.clone(), entry(module, file, retired)))
            .collect();
        let current: Vec<(String, ImageEntry)> = entries
            .iter()
            .filter(|(_, entry)| !entry.retired)
            .cloned()
            .collect();
        for (module, entry) in &mut entries {
            let kind = kind(module);
            entry.replacement = self.replacements.get(&kind).cloned().or_else(|| {
                let same = current
                    .iter()
                    .filter(|(other, _)| self::kind(other) == kind);
                let newest = same.max_by_key(|(name, entry)| {
                    let rocm = entry.rocm.as_deref().map(numbers);
                    (rocm, numbers(name))
                });
                newest
                    .filter(|_| entry.retired)
                    .map(|(name, _)| name.clone())
            });
        }
        entries
    }
}

/// Returns the software that a module is for: the words before its version.
fn kind(module: &str) -> String {
    let words = module.split('-');
    let words = words.take_while(|word| !word.starts_with(|c: char| c.is_ascii_digit()));
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

/// Returns the name of the file of a known image.
pub(super) fn file_name(entry: &ImageEntry) -> Option<&str> {
    Path::new(entry.location.first()?).file_name()?.to_str()
}

/// Finds a known image by the name of its module, as `NAME-VERSION` or `NAME/VERSION`, or by the
/// name of its file.
pub(super) fn named<'a>(
    known: &'a BTreeMap<String, ImageEntry>,
    words: &str,
) -> Option<&'a ImageEntry> {
    let module = words.replacen('/', "-", 1);
    known.get(&module).or_else(|| {
        known.values().find(|entry| {
            let file = file_name(entry);
            file.is_some_and(|file| file == words || file.strip_suffix(".sif") == Some(words))
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Catalogue;

    #[test]
    fn images_of_modules_are_known_by_each_of_their_names() {
        let catalogue = Catalogue::built_in().unwrap();
        assert!(catalogue.known.len() > 60, "{}", catalogue.known.len());
        let file = "lumi-pytorch-rocm-6.2.4-python-3.12-pytorch-v2.7.1-dockerhash-0d479e852886";
        let module = "2.7.1-rocm-6.2.4-python-3.12-singularity-20250827";
        let entry = named(&catalogue.known, &format!("PyTorch-{module}")).unwrap();
        assert_eq!(entry.rocm.as_deref(), Some("6.2.4"));
        assert_eq!(entry.python.as_deref(), Some("3.12"));
        assert_eq!(entry.packages["pytorch"], "2.7.1");
        assert_eq!(entry.replacement.as_deref(), Some("lumi-g"));
        for words in [
            format!("PyTorch/{module}"),
            file.to_owned(),
            format!("{file}.sif"),
        ] {
            assert_eq!(named(&catalogue.known, &words), Some(entry), "{words}");
        }
        assert_eq!(named(&catalogue.known, "PyTorch"), None);
    }

    #[test]
    fn a_retired_image_is_replaced_by_the_newest_one_of_its_kind() {
        let catalogue = Catalogue::built_in().unwrap();
        let entry = &catalogue.known["jax-0.4.13-rocm-5.6.1-python-3.10-singularity-20231215"];
        assert!(entry.retired);
        let newest = entry.replacement.as_deref().unwrap();
        assert_eq!(
            newest,
            "jax-0.4.35-rocm-6.2.4-python-3.12-singularity-20250404"
        );
        assert!(!catalogue.known[newest].retired);
        assert_eq!(catalogue.known[newest].replacement, None);
        // AlphaFold has no newer image.
        let name = "AlphaFold-69afc4d-rocm-5.5.1-python-3.9-singularity-20240207";
        assert_eq!(catalogue.known[name].replacement, None);
    }

    /// Table of the guide for users: each of its images is found by its versions.
    #[test]
    fn images_of_the_guide_are_known() {
        let catalogue = Catalogue::built_in().unwrap();
        for (package, rocm, python, version, hash) in [
            ("mpi4py", "6.2.0", "3.12", "3.1.6", "f049c8bd4669"),
            ("pytorch", "5.7.3", "3.12", "2.2.2", "b0bb3b4ea779"),
            ("pytorch", "6.2.0", "3.10", "2.3.0", "187f41102477"),
            ("pytorch", "6.0.3", "3.12", "2.3.1", "2c1c14cafd28"),
            ("pytorch", "6.1.3", "3.12", "2.4.1", "04f2083a6cb0"),
            ("pytorch", "6.2.1", "3.12", "20240918", "3cad1babc4b8"),
        ] {
            let found = catalogue.known.values().find(|entry| {
                entry.rocm.as_deref() == Some(rocm)
                    && entry.python.as_deref() == Some(python)
                    && entry.packages.get(package).is_some_and(|it| it == version)
            });
            let file = found.and_then(file_name).unwrap_or_default();
            assert!(file.contains(hash), "{package} {version}: {file}");
        }
    }
}
