//! Responsible for reading `pyvenv.cfg`, the file that makes a directory a virtual environment.

use std::path::{Path, PathBuf};

use crate::{error::Error, python::Python};
use condense_within::Within;

/// Interpreter that a finished virtual environment records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CreatedVenv {
    pub(crate) program: PathBuf,
    pub(crate) version: String,
}

impl CreatedVenv {
    /// Returns the interpreter of the environment in `env_dir`.
    pub(crate) fn python(&self, env_dir: &Within) -> Python {
        let mut numbers = self
            .version
            .split('.')
            .map(|part| part.parse().unwrap_or(0));
        let (major, minor) = (numbers.next().unwrap_or(3), numbers.next().unwrap_or(0));
        Python::found_in(env_dir, major, minor)
    }

    /// Reads `pyvenv.cfg` as written by `venv` or uv.
    pub(crate) fn read(env_dir: &Within) -> Result<Self, Error> {
        let text = env_dir.read_required_text("pyvenv.cfg")?;
        let value = |wanted: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| name.trim() == wanted)
                .map(|(_, value)| value.trim().to_owned())
        };
        let home = value("home").unwrap_or_default();
        let version = value("version").or_else(|| value("version_info"));
        let link = env_dir.link_target("bin/python")?;
        let program = match link {
            Some(link) if link.is_absolute() => link,
            // The link is `python -> python3` or `python -> python3.11`; `home` names the directory
            // of its target.
            Some(link) => Path::new(&home).join(link),
            None => Path::new(&home).join("python3"),
        };
        Ok(Self {
            program,
            version: version.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_makers_of_environments_are_read() {
        for (text, link, program, version) in [
            (
                "home = /opt/p/bin\ninclude-system-site-packages = false\nversion = 3.11.7\n",
                "python3",
                "/opt/p/bin/python3",
                "3.11.7",
            ),
            (
                "home = /m/uv/python/x/bin\nimplementation = CPython\nuv = 0.5\nversion_info = 3.12.1\n",
                "/m/uv/python/x/bin/python3.12",
                "/m/uv/python/x/bin/python3.12",
                "3.12.1",
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs_err::create_dir(dir.path().join("bin")).unwrap();
            fs_err::write(dir.path().join("pyvenv.cfg"), text).unwrap();
            fs_err::os::unix::fs::symlink(link, dir.path().join("bin/python")).unwrap();
            let made = CreatedVenv::read(&Within::open(dir.path()).unwrap()).unwrap();
            assert_eq!(
                (made.program.to_str().unwrap(), made.version.as_str()),
                (program, version)
            );
        }
    }
}
