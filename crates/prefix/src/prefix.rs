//! Responsible for an installed prefix: its paths and its Python.

use std::path::{Path, PathBuf};

use crate::{
    error::Error,
    held::Held,
    landmarks::{Files, landmarks},
    python::Python,
    pyvenv::CreatedVenv,
    target::Place,
};
use condense_within::Within;

/// A prefix in scratch in which all packages of conda are installed.
#[derive(Debug)]
pub struct Prefix {
    pub(crate) place: Place,
    pub(crate) python: Option<Python>,
    /// Interpreter of a virtual environment; `None` for a conda environment.
    pub(crate) venv: Option<CreatedVenv>,
}

impl Prefix {
    /// Returns the path in the container and the version of a virtual environment's interpreter;
    /// `None` for a conda environment.
    pub fn interpreter(&self) -> Option<(&Path, &str)> {
        let venv = self.venv.as_ref()?;
        Some((&venv.program, &venv.version))
    }

    /// Lists the paths, relative to the environment, that its interpreter searches beside its own
    /// `bin`.
    pub(crate) fn landmarks(&self, held: Option<&Held>) -> Result<Vec<PathBuf>, Error> {
        let Some(python) = &self.python else {
            return Ok(Vec::new());
        };
        let (env_dir, version) = (self.place.open_env()?, python.library_name());
        if self.venv.is_some() {
            // If pyvenv.cfg exists, an interpreter uses `bin/..` as its environment.
            let libraries = ["lib", "lib64"].map(|dir| Path::new(dir).join(&version));
            let found = libraries.into_iter().filter(|path| env_dir.is_dir(path));
            return Ok(std::iter::once("pyvenv.cfg".into()).chain(found).collect());
        }
        landmarks(&version, &self.place.mounted_env(), &Below(&env_dir, held))
    }
}

/// Files of an environment, in the prefix and held back, as landmarks are searched in it.
struct Below<'a>(&'a Within, Option<&'a Held>);

impl Files for Below<'_> {
    type Error = Error;

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        if let Some(bytes) = self.0.read(path)? {
            return Ok(Some(bytes));
        }
        self.1.map_or(Ok(None), |held| held.read_following(path))
    }

    fn exists(&self, path: &Path) -> Result<bool, Error> {
        let is_there = self.0.is_file(path) || self.0.is_dir(path);
        Ok(is_there || self.1.is_some_and(|held| held.leads_somewhere(path)))
    }
}
