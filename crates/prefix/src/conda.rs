//! Responsible for the `conda` command of an environment: its scripts, and the files from which it
//! answers.

mod answers;
mod settings;

use std::path::{Path, PathBuf};

use crate::{
    error::Error, pip_package::PipPackage, shell::quote, solution::Solution, spec::EnvironmentSpec,
    target::Place,
};
use condense_within::Within;

use answers::Answers;
pub use settings::CondaSettings;

const CONDA_SH: &str = include_str!("conda/conda.sh");
const HOOK_SH: &str = include_str!("conda/hook.sh");

/// Contents of an environment that its `conda` command reports.
#[derive(Debug)]
pub struct CondaFacts<'a> {
    /// Packages installed by conda.
    pub solution: &'a Solution,
    /// Requested packages and channels.
    pub spec: &'a EnvironmentSpec,
    /// Names and versions of the packages installed by pip.
    pub pip_packages: &'a [PipPackage],
    /// Names of conda packages whose Python package pip has replaced.
    pub replaced_by_pip: &'a [String],
    /// Settings that the build follows.
    pub settings: &'a CondaSettings,
}

impl CondaFacts<'_> {
    /// Writes `conda` and `mamba` to their paths in a Miniforge, and the files from which they
    /// answer. Earlier files are replaced.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if a file cannot be written, and [`Error::LeadsOut`] if a link leads
    /// out of the environment.
    pub fn write(&self, place: &Place) -> Result<(), Error> {
        let Some(root) = root_of(place) else {
            return Ok(());
        };
        let mounted = place.mount_point.join(&root);
        let within = place.open_root()?;
        within.make_dir(&root)?;
        let within = within.dir(&root)?;
        for dir in ["bin", "condabin", "etc/profile.d", ".condense"] {
            within.make_dir(dir)?;
        }
        // An environment with a conda of its own, such as one made by Tykky, keeps its conda.
        if !within.is_dir("conda-meta") {
            write_scripts(&within, place)?;
        }
        for (name, text) in Answers::new(self, &mounted, &place.mounted_env()).texts() {
            if !text.is_empty() {
                // A process that reads the file at the same time gets either the old or the new
                // text.
                within.write(Path::new(".condense").join(name), text)?;
            }
        }
        Ok(())
    }
}

/// Returns the directory of a conda below the root of a place: `miniforge` for
/// `miniforge/envs/env1`, and the root itself for `envs/NAME`. Returns `None` for environments that
/// are not in an `envs` directory.
pub(crate) fn root_of(place: &Place) -> Option<PathBuf> {
    let environments = place.environment.parent()?;
    let root = environments.parent()?;
    environments.ends_with("envs").then(|| root.to_owned())
}

impl Place {
    /// Returns the path of the environment's `conda` command in the container, or `None` for an
    /// environment that is not in an `envs` directory.
    pub fn conda_command(&self) -> Option<PathBuf> {
        Some(self.mount_point.join(root_of(self)?).join("bin/conda"))
    }
}

/// Writes `conda` and `mamba`, the file that shells source, and the files that older scripts
/// source.
fn write_scripts(within: &Within, place: &Place) -> Result<(), Error> {
    let hook = hook_for(place);
    let source = |verb: &str| {
        format!("# Sourced, as conda's own; written by condense.\n{hook}conda {verb} \"$@\"\n")
    };
    for (name, text) in [
        ("bin/conda", script_for(place)),
        ("bin/activate", source("activate")),
        ("bin/deactivate", source("deactivate")),
    ] {
        within.write_program(name, text)?;
    }
    within.write("etc/profile.d/conda.sh", &hook)?;
    for (name, target) in [
        ("bin/mamba", "conda"),
        ("condabin/conda", "../bin/conda"),
        ("condabin/mamba", "../bin/conda"),
        ("condabin/activate", "../bin/activate"),
        ("condabin/deactivate", "../bin/deactivate"),
        ("etc/profile.d/mamba.sh", "conda.sh"),
    ] {
        // The scripts are written again when packages have changed. The links stay the same.
        if !within.has(name) {
            within.link(target, name)?;
        }
    }
    Ok(())
}

fn hook_for(place: &Place) -> String {
    let root = place.mount_point.join(root_of(place).unwrap_or_default());
    let name = place.environment.file_name().unwrap_or_default();
    HOOK_SH
        .replace("@ROOT@", &quote(&root.to_string_lossy()))
        .replace("@NAME@", &quote(&name.to_string_lossy()))
}

fn script_for(place: &Place) -> String {
    let name = place.environment.file_name().unwrap_or_default();
    CONDA_SH
        .replace("@NAME@", &quote(&name.to_string_lossy()))
        .replace(
            "@QUEUE@",
            &quote(&place.mounted_build_dir().join("conda").to_string_lossy()),
        )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_environments_where_conda_has_them_have_a_conda() {
        let place = |environment: &str| Place {
            root: "/scratch".into(),
            mount_point: "/M".into(),
            environment: environment.into(),
            packages: "/scratch/packages".into(),
        };
        assert_eq!(
            root_of(&place("miniforge/envs/env1")),
            Some("miniforge".into())
        );
        assert_eq!(root_of(&place("envs/other")), Some("".into()));
        assert_eq!(
            place("envs/other").conda_command(),
            Some("/M/bin/conda".into())
        );
        for other in ["env1", "miniforge/env1", "venvs/other"] {
            assert_eq!(root_of(&place(other)), None);
        }
        assert_eq!(root_of(&place("")), None);
        let script = script_for(&place("envs/it's"));
        assert!(script.contains("name='it'\\''s' queue='/M/.condense-build/conda'\n"));
        assert!(!script.contains("@NAME") && !script.contains("@QUEUE"));
    }
}
