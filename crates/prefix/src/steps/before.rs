//! Responsible for the state of a prefix before its steps run, with which the state after them is
//! compared.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use condense_within::Within;

use super::distributions::{self, Changes, Distributions};
use crate::{error::Error, prefix::Prefix, progress::Progress};

/// State of a prefix before its steps run, for comparison with the state after them.
pub(super) struct StateBefore {
    distributions: Distributions,
    conda_records: HashSet<PathBuf>,
    pub(super) activation_inputs: Vec<(PathBuf, i64)>,
}

impl StateBefore {
    pub(super) fn read(prefix: &Prefix, env_dir: &Within) -> Result<Self, Error> {
        Ok(Self {
            distributions: Distributions::read(env_dir, prefix.python.as_ref())?,
            conda_records: distributions::conda_records(env_dir)?,
            activation_inputs: activation_inputs(env_dir),
        })
    }

    /// Returns the changes that pip has made to the prefix.
    pub(super) fn changes_by_pip(
        &self,
        prefix: &Prefix,
        progress: &dyn Progress,
    ) -> Result<Changes, Error> {
        let env_dir = prefix.place.open_env()?;
        let now = Distributions::read(&env_dir, prefix.python.as_ref())?;
        let mut changes = now.changes_since(&self.distributions, &env_dir, &|warning| {
            progress.warn(warning);
        })?;
        // A user script may have installed packages with conda.
        changes.exclude(&distributions::of_new_records(
            &env_dir,
            &self.conda_records,
        )?);
        Ok(changes)
    }
}

/// Lists the files from which the activation is composed, with their lengths, sorted.
pub(super) fn activation_inputs(env_dir: &Within) -> Vec<(PathBuf, i64)> {
    let mut found = Vec::new();
    for dir in ["etc/conda/activate.d", "etc/conda/env_vars.d"] {
        // A directory that leads out of the environment is refused when it is read.
        for name in env_dir.names(dir).unwrap_or_default() {
            let path = Path::new(dir).join(name);
            let length = env_dir.stat_of_link(&path).map_or(0, |found| found.st_size);
            found.push((path, length));
        }
    }
    found
}
