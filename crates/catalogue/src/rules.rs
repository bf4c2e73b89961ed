//! Responsible for a site's rules: the binds, the flags of the runtime and the variables with which
//! programs start, each with the images that the rule is for.

use std::path::{Path, PathBuf};

use anyhow::bail;
use condense_base::{BaseFacts, BaseImage};
use condense_installation::{Bind, Launch, SiteVariable, device_of_flag};
use serde::{Deserialize, Serialize};

use super::{
    conditional::{Conditional, RuleKind},
    mpi_rules::MpiRules,
    name::numbers,
};

/// Rules of a site for the start of programs.
#[derive(Debug, Clone, Default)]
pub struct SiteRules {
    /// Files and directories of the host that are visible in a base image named by the user.
    pub binds: Vec<BindRule>,
    /// Flags of the runtime.
    pub flags: Vec<FlagRule>,
    /// Environment variables of programs.
    pub variables: Vec<VariableRule>,
    /// Whether programs do not see the user's own Python packages in `~/.local`.
    pub no_user_site: bool,
    /// The site's own MPI, and the user's wish for it.
    pub mpi: MpiRules,
}

/// File or directory that a site makes visible: SRC or SRC:DST.
pub(crate) type BindRule = Conditional<BindKind>;

/// Flag of the runtime, such as `--rocm`.
pub(crate) type FlagRule = Conditional<FlagKind>;

/// Kind of a bind: its key in a table is `bind`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BindKind;

impl RuleKind for BindKind {
    const NAME: &str = "bind";
    const EXPECTED: &str = "a path, or a table with `bind` and `images`";
}

/// Kind of a flag: its key in a table is `flag`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlagKind;

impl RuleKind for FlagKind {
    const NAME: &str = "flag";
    const EXPECTED: &str = "a flag, or a table with `flag` and `images`";
}

/// Environment variable that a site sets for programs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct VariableRule {
    /// Name of the variable.
    pub name: String,
    /// Value of the variable. `${NAME}` is expanded when a program starts.
    pub value: String,
    /// Path that must exist when a program starts; otherwise the variable is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Range of the site's GPU driver, given as a version of ROCm or CUDA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Condition on the images that the variable is for.
    #[serde(default, skip_serializing_if = "ImageCondition::is_all")]
    pub images: ImageCondition,
}

/// Condition on the images that a rule is for. A field that is `None` matches all images. Ranges
/// are written `6.0..6.2`; both ends are included, and either may be left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ImageCondition {
    /// Range of versions of ROCm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rocm: Option<String>,
    /// Range of versions of the C library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub glibc: Option<String>,
    /// Distribution and a range of its versions, such as `sles 15.4..`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// Name of a library that the image must not contain itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without: Option<String>,
}

/// Base image and its facts, by which rules are chosen.
#[derive(Debug, Clone, Copy)]
pub struct BaseView<'a> {
    /// Files of the image.
    pub base: &'a BaseImage,
    /// Facts that were read from the files.
    pub facts: &'a BaseFacts,
}

impl SiteRules {
    /// Takes the flags and the variables of existing wrappers, as rules for all images. The binds
    /// are not taken: the wrappers have them already.
    pub fn of_launch(launch: Option<&Launch>) -> Self {
        let variable = |variable: &SiteVariable| VariableRule {
            name: variable.name.clone(),
            value: variable.value.clone(),
            path: variable
                .path
                .as_ref()
                .map(|path| path.display().to_string()),
            driver: None,
            images: ImageCondition::default(),
        };
        launch.map_or_else(Self::default, |launch| Self {
            binds: Vec::new(),
            flags: launch.flags.iter().cloned().map(Into::into).collect(),
            variables: launch.variables.iter().map(variable).collect(),
            no_user_site: launch.no_user_site,
            mpi: MpiRules::default().following(launch.host_mpi.as_ref()),
        })
    }

    /// Returns the binds for this image.
    ///
    /// # Errors
    /// Returns an error if a path cannot be bound, or if the image cannot be read.
    pub fn binds_for(&self, image: BaseView) -> anyhow::Result<Vec<Bind>> {
        let mut binds = Vec::new();
        for rule in &self.binds {
            if rule.images.include(image)? {
                let (source, destination) = rule.paths();
                binds.push(Bind::path(source, destination)?);
            }
        }
        Ok(binds)
    }

    /// Returns the flags of the runtime for this image.
    ///
    /// # Errors
    /// Returns an error if the image cannot be read.
    pub fn flags_for(&self, image: BaseView) -> anyhow::Result<Vec<String>> {
        let mut flags = Vec::new();
        for rule in &self.flags {
            if rule.images.include(image)? {
                flags.push(rule.text.clone());
            }
        }
        Ok(flags)
    }

    /// Returns the variables for this image.
    ///
    /// # Errors
    /// Returns an error if the image cannot be read.
    pub fn variables_for(&self, image: BaseView) -> anyhow::Result<Vec<SiteVariable>> {
        let mut variables = Vec::new();
        for rule in &self.variables {
            if rule.images.include(image)? {
                variables.push(SiteVariable {
                    name: rule.name.clone(),
                    value: rule.value.clone(),
                    path: rule.path.as_ref().map(Into::into),
                });
            }
        }
        Ok(variables)
    }

    /// Returns the flags and the variables that are for all images.
    pub fn of_all_images(&self) -> (Vec<String>, Vec<SiteVariable>) {
        let flags = self.flags.iter().filter(|rule| rule.images.is_all());
        let variables = self.variables.iter().filter(|rule| rule.images.is_all());
        let variables = variables.map(|rule| SiteVariable {
            name: rule.name.clone(),
            value: rule.value.clone(),
            path: rule.path.as_ref().map(Into::into),
        });
        let flags = flags.map(|rule| rule.text.clone());
        (flags.collect(), variables.collect())
    }

    /// Returns the flags that each container of the site needs, those of build steps included.
    pub fn flags_of_every_start(&self) -> Vec<String> {
        let (mut flags, _) = self.of_all_images();
        flags.retain(|flag| device_of_flag(flag).is_none());
        flags
    }
}

impl VariableRule {
    /// Checks the ranges of the rule, so that mistakes are reported when the catalogue is read and
    /// not during a build.
    ///
    /// # Errors
    /// Returns an error if a text is not a range.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        check_range("environment", "driver", self.driver.as_deref())?;
        self.images.check()
    }

    /// Returns whether the rule is for a site whose driver has this version. `None` means that the
    /// version is unknown.
    pub(super) fn is_for_driver(&self, version: Option<&str>) -> bool {
        let mut range = self.driver.iter();
        range.all(|range| is_between(version, range))
    }
}

impl BindRule {
    /// Returns the path on the host and the path in the container.
    pub fn paths(&self) -> (PathBuf, PathBuf) {
        let text = &self.text;
        let (source, destination) = text.split_once(':').unwrap_or((text, text));
        (Path::new(source).into(), Path::new(destination).into())
    }
}

impl ImageCondition {
    pub(super) fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the ranges of the condition, so that mistakes are reported when the catalogue is read
    /// and not during a build.
    ///
    /// # Errors
    /// Returns an error if a text is not a range.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let os = self.os.as_ref().and_then(|os| os.split_once(' '));
        let ranges = [
            ("rocm", self.rocm.as_deref()),
            ("glibc", self.glibc.as_deref()),
            ("os", os.map(|(_, range)| range)),
        ];
        ranges
            .into_iter()
            .try_for_each(|(key, range)| check_range("images", key, range))
    }

    fn include(&self, image: BaseView) -> anyhow::Result<bool> {
        if !self.include_facts(image.facts) {
            return Ok(false);
        }
        let Some(library) = &self.without else {
            return Ok(true);
        };
        for directory in image.base.library_directories()? {
            if image.base.exists(directory.join(library))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn include_facts(&self, facts: &BaseFacts) -> bool {
        let fits = |range: &Option<String>, version: &Option<String>| {
            range
                .as_ref()
                .is_none_or(|range| is_between(version.as_deref(), range))
        };
        let of_os = self.os.as_ref().is_none_or(|wanted| {
            let Some(there) = &facts.distribution else {
                return false;
            };
            let (id, range) = wanted.split_once(' ').unwrap_or((wanted, ".."));
            there.id.as_deref() == Some(id) && is_between(there.version_id.as_deref(), range)
        });
        of_os && fits(&self.rocm, &facts.rocm) && fits(&self.glibc, &facts.glibc)
    }
}

fn check_range(of: &str, key: &str, range: Option<&str>) -> anyhow::Result<()> {
    if let Some(range) = range.filter(|range| !range.contains("..")) {
        bail!("`{of}`: `{key} = \"{range}\"` is no range such as 6.0..6.2");
    }
    Ok(())
}

/// Returns whether a version is in a range. An unknown version is only in the range without ends.
fn is_between(version: Option<&str>, range: &str) -> bool {
    let Some((first, last)) = range.split_once("..") else {
        return false;
    };
    let Some(version) = version else {
        return first.is_empty() && last.is_empty();
    };
    let (version, first, last) = (numbers(version), numbers(first), numbers(last));
    // 6.2.4 counts as 6.2, so only as many numbers are compared as the end has.
    let upto = &version[..version.len().min(last.len())];
    version >= first && (last.is_empty() || upto <= &last[..])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn versions_lie_in_ranges() {
        for (range, version, expected) in [
            ("6.0..6.2", Some("6.2.4"), true),
            ("6.0..6.2", Some("6.3"), false),
            ("6.0..6.2", Some("5.7.3"), false),
            ("..6.2", Some("5.7.3"), true),
            ("6.3..", Some("7.0"), true),
            ("6.3..", Some("6.2.4"), false),
            ("6.3..", None, false),
            ("..", None, true),
            ("..2.31", Some("2.31"), true),
            ("..2.31", Some("2.35"), false),
        ] {
            assert_eq!(is_between(version, range), expected, "{range} {version:?}");
        }
    }

    /// Makes a base image for a test. A directory serves as one.
    fn base(libraries: &[&str]) -> (tempfile::TempDir, BaseImage) {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "usr/lib/os-release",
            "opt/rocm/.info/version",
            "lib/x86_64-linux-gnu/libc.so.6",
        ]
        .iter()
        .chain(libraries)
        {
            let path = dir.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            let text = match *name {
                "usr/lib/os-release" => "ID=ubuntu\nVERSION_ID=\"22.04\"\n",
                "opt/rocm/.info/version" => "6.2.4-140\n",
                _ => "GNU C Library (Ubuntu GLIBC 2.35-0ubuntu3) stable release version 2.35.\n",
            };
            fs_err::write(path, text).unwrap();
        }
        let base = BaseImage::open(dir.path()).unwrap();
        (dir, base)
    }

    #[derive(Deserialize)]
    struct All {
        binds: Vec<BindRule>,
        flags: Vec<FlagRule>,
        variables: Vec<VariableRule>,
    }

    #[test]
    fn binds_flags_and_variables_are_chosen_by_the_facts_of_the_base() {
        let check = |key: &str, word: &str, libraries: &[&str], expected: bool| {
            let (_dir, base) = base(libraries);
            let facts = base.facts().unwrap();
            let text = format!(
                "binds = [\"/always\", {{ bind = \"/src:/dst\", images = {{ {key} = \"{word}\" }} }}]\n\
                 flags = [\"--always\", {{ flag = \"--rocm\", images = {{ {key} = \"{word}\" }} }}]\n\
                 variables = [{{ name = \"X\", value = \"1\", images = {{ {key} = \"{word}\" }} }}]\n"
            );
            let All {
                binds,
                flags,
                variables,
            } = toml::from_str(&text).unwrap();
            let rules = SiteRules {
                binds,
                flags,
                variables,
                no_user_site: false,
                mpi: MpiRules::default(),
            };
            let known = BaseView {
                base: &base,
                facts: &facts,
            };
            let binds = rules.binds_for(known).unwrap();
            let shown: Vec<&Path> = binds.iter().map(Bind::destination).collect();
            let all: &[&str] = if expected {
                &["/always", "/dst"]
            } else {
                &["/always"]
            };
            let all: Vec<&Path> = all.iter().map(Path::new).collect();
            assert_eq!(shown, all, "{key} {word} {facts:?}");
            let flags = rules.flags_for(known).unwrap();
            assert_eq!(flags.len(), 1 + usize::from(expected), "{key} {word}");
            let variables = rules.variables_for(known).unwrap();
            assert_eq!(variables.len(), usize::from(expected), "{key} {word}");
        };
        check("rocm", "..6.2", &[], true);
        check("rocm", "6.3..", &[], false);
        check("glibc", "..2.31", &[], false);
        check("glibc", "2.31..2.35", &[], true);
        check("os", "ubuntu", &[], true);
        check("os", "ubuntu ..20.04", &[], false);
        check("os", "sles", &[], false);
        let jansson = "libjansson.so.4";
        check("without", jansson, &[], true);
        let inside = format!("usr/lib/x86_64-linux-gnu/{jansson}");
        check("without", jansson, &[&inside], false);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        let check = |images: ImageCondition, expected: bool| {
            assert_eq!(images.check().is_ok(), expected, "{images:?}");
        };
        let word = |text: &str| Some(text.to_owned());
        let rocm = |text: &str| ImageCondition {
            rocm: word(text),
            ..ImageCondition::default()
        };
        check(rocm("6.2"), false);
        check(rocm("..6.2"), true);
        let os = |text: &str| ImageCondition {
            os: word(text),
            ..ImageCondition::default()
        };
        check(os("ubuntu 22.04"), false);
        check(os("ubuntu 22.04.."), true);
        check(os("ubuntu"), true);
    }
}
