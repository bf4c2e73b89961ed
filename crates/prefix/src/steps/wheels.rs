//! Responsible for the files of wheels that pip has installed beside an environment: they become
//! files of the environment, in which files of packages are held back.

use std::{
    collections::HashSet,
    ffi::OsStr,
    path::{Component, Path, PathBuf},
};

use condense_within::{Access, Within};
use rustix::fs::FileType;

use super::distributions::{Changes, Distributions};
use crate::{bytecode, error::Error, held::Held, python::Python};

/// Size of files that go into the spool, in bytes: every image of what is held back has a copy of
/// each file in the prefix.
const LARGE_BYTES: i64 = 1 << 20;

/// Result of an installation beside the environment.
#[derive(Debug, Default)]
pub(super) struct Wheels {
    pub(super) changes: Changes,
    /// Sources, relative to the environment, that must be compiled.
    pub(super) sources: Vec<PathBuf>,
}

/// Environment whose files are held back or are in the prefix.
pub(super) struct Parts<'a> {
    pub(super) held: &'a mut Held,
    pub(super) env_dir: &'a Within,
    pub(super) python: &'a Python,
}

impl Parts<'_> {
    /// Moves the files that pip has installed below `root` into the environment, which will be at
    /// the absolute path `environment`. `removed` lists what pip has removed, one path of the
    /// environment a line. Returns the reason if pip would have done more than to add and replace
    /// files; then the environment has not changed.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if a file cannot be read or moved, and [`Error::LeadsOut`] if a link
    /// leads out of the environment.
    pub(super) fn take(
        &mut self,
        root: &Within,
        environment: &Path,
        removed: &str,
    ) -> Result<Result<Wheels, String>, Error> {
        let below = environment.strip_prefix("/").unwrap_or(environment);
        let mut found = Vec::new();
        list(root, Path::new(""), &mut found)?;
        let mut files = Vec::new();
        for (path, kind) in found {
            let Ok(file) = path.strip_prefix(below) else {
                let path = path.display();
                return Ok(Err(format!("a wheel has `/{path}`, which is elsewhere")));
            };
            if let Some(reason) = self.reason_against(file, kind) {
                return Ok(Err(reason));
            }
            files.push(file.to_owned());
        }
        if files.is_empty() {
            return Ok(Ok(Wheels::default()));
        }
        let new = root.dir(below)?;
        let changes = Changes {
            installed: Distributions::read(&new, Some(self.python))?.packages(),
            replaced: Vec::new(),
        };
        let is_name = |part| matches!(part, Component::Normal(_));
        let removed = removed.lines().map(Path::new);
        for path in removed.filter(|path| path.components().all(is_name)) {
            self.held.remove(path);
            self.env_dir.remove(path)?;
        }
        let mut made = HashSet::new();
        for file in &files {
            let parent = file.parent().unwrap_or(Path::new(""));
            if made.insert(parent) {
                self.env_dir.make_dir(parent)?;
            }
            self.take_file(&new, file)?;
        }
        let sources = files.into_iter().filter(|file| self.is_source(file));
        let sources = sources.collect();
        let sources = bytecode::lacking(self.env_dir, self.held, self.python, sources)?;
        Ok(Ok(Wheels { changes, sources }))
    }

    /// Returns why a new file cannot simply be added to the environment: pip would follow a link,
    /// or fail, or the file changes the activation.
    fn reason_against(&self, file: &Path, kind: FileType) -> Option<String> {
        if file.starts_with("etc/conda") {
            return Some("a wheel brings activation scripts".to_owned());
        }
        let kind_there = |path: &Path| {
            let found = self.env_dir.stat_of_link(path)?;
            Some(FileType::from_raw_mode(found.st_mode))
        };
        let is_other = |path: &Path, usual| kind_there(path).is_some_and(|kind| kind != usual);
        let is_no_dir = |dir: &&Path| self.held.has_name(dir) || is_other(dir, FileType::Directory);
        let parents = file.ancestors().skip(1).find(is_no_dir);
        let is_unusual = kind != FileType::RegularFile
            || self.held.is_link(file)
            || self.held.below(file).next().is_some()
            || is_other(file, FileType::RegularFile);
        let at = parents.or(is_unusual.then_some(file))?;
        Some(format!(
            "a wheel does not fit what is at `{}`",
            at.display()
        ))
    }

    fn take_file(&mut self, new: &Within, file: &Path) -> Result<(), Error> {
        if new.stat(file)?.st_size < LARGE_BYTES {
            self.held.remove(file);
            return Ok(self.env_dir.move_from(new, file, file)?);
        }
        if let Some(opened) = new.open_file(file, Access::Read)? {
            self.held.insert_file(file.to_owned(), opened)?;
            self.env_dir.remove(file)?;
            new.remove(file)?;
        }
        Ok(())
    }

    /// Returns whether an interpreter imports this file: whether it is in its library.
    fn is_source(&self, file: &Path) -> bool {
        let Python { major, minor, .. } = self.python;
        let names = [self.python.library_name(), format!("python{major}.{minor}")];
        let mut parts = file.iter();
        let (lib, library) = (parts.next(), parts.next());
        file.extension() == Some(OsStr::new("py"))
            && lib.is_some_and(|lib| lib == "lib" || lib == "lib64")
            && library.is_some_and(|library| names.iter().any(|name| library == &**name))
            && parts.all(|part| part != "__pycache__")
    }
}

/// Lists all files below a directory with their kinds.
fn list(root: &Within, dir: &Path, found: &mut Vec<(PathBuf, FileType)>) -> Result<(), Error> {
    for (name, kind) in root.entries(dir)? {
        let path = dir.join(name);
        if kind == FileType::Directory {
            list(root, &path, found)?;
        } else {
            found.push((path, kind));
        }
    }
    Ok(())
}
