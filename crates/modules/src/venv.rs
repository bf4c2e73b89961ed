//! Responsible for the virtual environment in `/user-software`, on top of the image's Python. It
//! is made of a few files and needs no container.

use std::path::Path;

use crate::error::Result;

/// Virtual environment on top of an interpreter of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Venv {
    /// Name of the environment, which is its directory below `venv`.
    pub name: String,
    /// Directory of the interpreter in the container, such as `/opt/miniconda3/envs/pytorch/bin`.
    pub home: String,
    /// Version of the interpreter with two numbers, such as `3.12`.
    pub version: String,
    /// Whether the image has pip.
    pub has_pip: bool,
}

const PIP: &str = "#!/user-software/venv/@NAME@/bin/python
import sys
from pip._internal.cli.main import main

if __name__ == \"__main__\":
    sys.exit(main())
";

const ACTIVATE: &str = r"# Written by condense: source this file in a container to activate the environment.
deactivate() {
    PATH=$_OLD_VIRTUAL_PATH
    export PATH
    unset VIRTUAL_ENV _OLD_VIRTUAL_PATH
    unset -f deactivate
    hash -r 2>/dev/null
}
VIRTUAL_ENV=/user-software/venv/@NAME@
_OLD_VIRTUAL_PATH=${_OLD_VIRTUAL_PATH-$PATH}
PATH=$VIRTUAL_ENV/bin:$_OLD_VIRTUAL_PATH
export VIRTUAL_ENV PATH
hash -r 2>/dev/null
";

impl Venv {
    /// Returns the path of the environment in the container.
    pub fn path(&self) -> String {
        format!("/user-software/venv/{}", self.name)
    }

    /// Writes the files of the environment into the directory that containers see as
    /// `/user-software`. Packages in it stay.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written.
    pub(crate) fn write(&self, user_software: &Path) -> Result<()> {
        let dir = user_software.join("venv").join(&self.name);
        let bin = dir.join("bin");
        let python = format!("python{}", self.version);
        fs_err::create_dir_all(&bin)?;
        fs_err::create_dir_all(dir.join("lib").join(&python).join("site-packages"))?;
        let configuration = format!(
            "home = {}\ninclude-system-site-packages = true\nversion = {}\nexecutable = {}/{python}\n",
            self.home, self.version, self.home
        );
        condense_publish::write(&dir.join("pyvenv.cfg"), configuration.as_bytes())?;
        let interpreter = format!("{}/{python}", self.home);
        link(&interpreter, &bin.join(&python))?;
        link(&python, &bin.join("python3"))?;
        link("python3", &bin.join("python"))?;
        let activate = ACTIVATE.replace("@NAME@", &self.name);
        condense_publish::write(&bin.join("activate"), activate.as_bytes())?;
        if self.has_pip {
            let text = PIP.replace("@NAME@", &self.name);
            for name in ["pip", "pip3", &format!("pip{}", self.version)] {
                let path = bin.join(name);
                condense_publish::write(&path, text.as_bytes())?;
                make_executable(&path)?;
            }
        }
        Ok(())
    }
}

/// Lets everyone execute a file who can read it.
pub(crate) fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut permissions = fs_err::metadata(path)?.permissions();
    let mode = permissions.mode();
    permissions.set_mode(mode | (mode & 0o444) >> 2);
    Ok(fs_err::set_permissions(path, permissions)?)
}

/// Makes a link, or replaces one. Another file of this name stays.
pub(crate) fn link(target: &str, path: &Path) -> Result<()> {
    match fs_err::read_link(path) {
        Ok(found) if found == Path::new(target) => return Ok(()),
        Ok(_) => fs_err::remove_file(path)?,
        Err(_) if path.symlink_metadata().is_ok() => return Ok(()),
        Err(_) => {}
    }
    Ok(fs_err::os::unix::fs::symlink(target, path)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_environment_is_written_twice_and_keeps_its_packages() {
        let dir = tempfile::tempdir().unwrap();
        let mut venv = Venv {
            name: "pytorch".to_owned(),
            home: "/opt/conda/envs/pytorch/bin".to_owned(),
            version: "3.12".to_owned(),
            has_pip: true,
        };
        venv.write(dir.path()).unwrap();
        let at = |path: &str| dir.path().join("venv/pytorch").join(path);
        let own = at("lib/python3.12/site-packages/mine.py");
        fs_err::write(&own, "").unwrap();
        venv.home = "/opt/other/bin".to_owned();
        venv.write(dir.path()).unwrap();
        let target = fs_err::read_link(at("bin/python3.12")).unwrap();
        assert_eq!(target, Path::new("/opt/other/bin/python3.12"));
        let text = fs_err::read_to_string(at("pyvenv.cfg")).unwrap();
        assert!(text.starts_with("home = /opt/other/bin\n"), "{text}");
        let text = fs_err::read_to_string(at("bin/pip")).unwrap();
        assert!(text.starts_with("#!/user-software/venv/pytorch/bin/python\n"));
        assert!(own.exists());
    }

    /// E10: a new image may have another Python. Its packages are separate from those of the old
    /// one, which come back with it.
    #[test]
    fn an_environment_of_another_python_keeps_the_packages_of_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut venv = Venv {
            name: "python".to_owned(),
            home: "/usr/bin".to_owned(),
            version: "3.11".to_owned(),
            has_pip: true,
        };
        venv.write(dir.path()).unwrap();
        let at = |path: &str| dir.path().join("venv/python").join(path);
        let own = at("lib/python3.11/site-packages/mine.py");
        fs_err::write(&own, "").unwrap();
        for (version, packages) in [("3.12", 0), ("3.11", 1)] {
            venv.version = version.to_owned();
            venv.write(dir.path()).unwrap();
            let target = fs_err::read_link(at("bin/python3")).unwrap();
            assert_eq!(target, Path::new(&format!("python{version}")));
            let text = fs_err::read_to_string(at("pyvenv.cfg")).unwrap();
            assert!(text.contains(&format!("version = {version}\n")), "{text}");
            let lib = at(&format!("lib/python{version}/site-packages"));
            assert_eq!(fs_err::read_dir(lib).unwrap().count(), packages);
            assert!(at(&format!("bin/pip{version}")).is_file());
        }
    }
}
