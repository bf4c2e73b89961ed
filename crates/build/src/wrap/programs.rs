//! Responsible for finding the programs that are wrapped, and the files by which a Python among
//! them finds its prefix.

use std::{
    ffi::OsString,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::bail;
use condense_diagnostics::UserError;
use condense_installation::Program;

use super::Wrap;
use crate::plan::Wrapped;

/// Maximum number of bytes that are read of an interpreter or its library. None has more.
const PYTHON_LEN_MAX: u64 = 1 << 28;

impl Wrap<'_> {
    /// Returns the programs at all paths that were named, in the directory or in the base.
    ///
    /// # Errors
    /// Returns an error if there is no program at a path, or if two programs have one name.
    pub(super) fn find_programs(&self) -> anyhow::Result<Vec<Program>> {
        let mut programs: Vec<Program> = Vec::new();
        for path in &self.plan.output.generation.wrapper_paths {
            let found = self.programs_at(path)?;
            if found.is_empty() {
                bail!(UserError::new(
                    format!("there is no program at `{}`", path.display()),
                    "`-w` takes files and directories of programs: absolute in the container, or relative to what is installed",
                ));
            }
            for (name, target) in found {
                if let Some(other) = programs.iter().find(|other| other.name == name) {
                    if other.target == target {
                        continue;
                    }
                    bail!(UserError::new(
                        format!(
                            "Multiple binaries with the same name: `{}` and `{}`",
                            other.target.display(),
                            target.display()
                        ),
                        "name one of them with `-w`",
                    ));
                }
                programs.push(Program { name, target });
            }
        }
        programs.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(programs)
    }

    fn programs_at(&self, path: &Path) -> anyhow::Result<Vec<(OsString, PathBuf)>> {
        if let Wrapped::Directory { dir, .. } = &self.plan.input.what {
            let below = if path.is_absolute() {
                path.strip_prefix(&self.mount_point)
                    .or_else(|_| path.strip_prefix(dir))
                    .ok()
            } else {
                Some(path)
            };
            if let Some(below) = below {
                return programs_on_disk(dir, below, &self.mount_point);
            }
        }
        Ok(self.prepared.base.image.programs(path)?)
    }

    /// Returns the files beside `bin` by which the Pythons among the programs find their prefix,
    /// with their paths in the container.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read.
    pub(super) fn landmarks(
        &self,
        programs: &[Program],
    ) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
        let mut found = Vec::new();
        for program in programs {
            let name = program.name.to_str();
            let prefix = program.target.parent().and_then(Path::parent);
            let (Some(name), Some(prefix)) = (name, prefix) else {
                continue;
            };
            let files = Below { wrap: self, prefix };
            let paths = condense_prefix::landmarks(name, prefix, &files)?;
            found.extend(paths.into_iter().map(|path| {
                let target = prefix.join(&path);
                (path, target)
            }));
        }
        Ok(found)
    }
}

/// Files below a directory in the container.
struct Below<'a> {
    wrap: &'a Wrap<'a>,
    prefix: &'a Path,
}

impl Below<'_> {
    /// Returns the path of a file on disk, if it is not in the base.
    fn on_disk(&self, path: &Path) -> Option<PathBuf> {
        let Wrapped::Directory { dir, .. } = &self.wrap.plan.input.what else {
            return None;
        };
        let below = self.prefix.strip_prefix(&self.wrap.mount_point).ok()?;
        Some(dir.join(below).join(path))
    }
}

impl condense_prefix::Files for Below<'_> {
    type Error = anyhow::Error;

    fn read(&self, path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
        match self.on_disk(path) {
            Some(path) if path.is_file() => Ok(Some(condense_input::read(
                path,
                condense_input::RECORD_MOST,
            )?)),
            Some(_) => Ok(None),
            None => Ok(self
                .wrap
                .prepared
                .base
                .image
                .read(self.prefix.join(path), PYTHON_LEN_MAX)?),
        }
    }

    fn exists(&self, path: &Path) -> anyhow::Result<bool> {
        match self.on_disk(path) {
            Some(path) => Ok(path.exists()),
            None => Ok(self
                .wrap
                .prepared
                .base
                .image
                .exists(self.prefix.join(path))?),
        }
    }
}

/// Returns the programs of a directory on disk, with their paths in the container.
fn programs_on_disk(
    dir: &Path,
    below: &Path,
    mount_point: &Path,
) -> anyhow::Result<Vec<(OsString, PathBuf)>> {
    let path = dir.join(below);
    let Ok(metadata) = fs_err::metadata(&path) else {
        return Ok(Vec::new());
    };
    let candidates: Vec<PathBuf> = if metadata.is_dir() {
        let entries = fs_err::read_dir(&path)?;
        entries
            .map(|entry| entry.map(|entry| below.join(entry.file_name())))
            .collect::<Result<_, _>>()?
    } else {
        vec![below.to_owned()]
    };
    let mut programs = Vec::new();
    for below in candidates {
        // A link that is broken on this machine may have a target in the container, but it cannot
        // be known that the target is a program.
        let executable = fs_err::metadata(dir.join(&below))
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
        if executable {
            let name = below.file_name().unwrap_or_default().to_owned();
            programs.push((name, mount_point.join(&below)));
        }
    }
    programs.sort();
    Ok(programs)
}
