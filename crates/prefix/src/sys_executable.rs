//! Responsible for `sys.executable` of the environment's Python. A shebang names the interpreter's
//! path in the container, which does not exist on the host. Files that a script writes (`pip
//! install --user`, Jupyter's kernels, job scripts) must contain a path that is valid on the host
//! too.

use crate::{error::Error, prefix::Prefix};

/// Python code that finds the wrapper of the running interpreter on PATH.
const FIND: &str = include_str!("steps/wrapped_python.py");

/// Name of a `.pth` file, which Python executes at every start. It has one line, so that no byte
/// code is compiled, and does almost nothing at other starts.
const PTH: &str = "_condense_executable.pth";

impl Prefix {
    /// Makes the environment's Python use the path of its wrapper as `sys.executable`, if it was
    /// started without the wrapper.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the file cannot be written, and [`Error::LeadsOut`] if a link leads
    /// out of the environment.
    pub fn install_executable_hook(&self) -> Result<(), Error> {
        let Some(python) = &self.python else {
            return Ok(());
        };
        let (env_dir, dir) = (self.place.open_env()?, python.site_packages());
        env_dir.make_dir(dir)?;
        let mount_point = format!("{}/", self.place.mount_point.display());
        Ok(env_dir.write(dir.join(PTH), line(&mount_point))?)
    }
}

/// Composes the line of the file. For ASCII texts, Rust's quotes and escapes are valid in Python.
fn line(mount_point: &str) -> String {
    format!(
        "import sys; (sys.executable or \"\").startswith({mount_point:?}) and eval(compile({FIND:?}, {PTH:?}, \"exec\"), {{}})\n"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{os::unix::fs::symlink, process::Command};

    use super::*;

    #[test]
    #[ignore = "needs: python3"]
    fn python_finds_the_wrapper_that_is_itself() {
        assert!(FIND.is_ascii() && line("/M/").lines().count() == 1);
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        // Of two installations, the one that has this program is found; a directory of another kind
        // has no common.sh.
        for (name, target) in [
            ("image/python", "/bin/sh"),
            ("none/bin/python", "../../image/python"),
            ("other/bin/python", "/bin/ls"),
            ("mine/bin/python", "../../image/python"),
        ] {
            fs_err::create_dir_all(path(name).parent().unwrap()).unwrap();
            symlink(target, path(name)).unwrap();
        }
        for name in ["other/common.sh", "mine/common.sh"] {
            fs_err::write(path(name), "").unwrap();
        }
        let check = |started: &str, mount_point: &str, expected: &str| {
            let text = format!(
                "import sys\nsys.executable = sys._base_executable = {:?}\n{}print(sys.executable, sys._base_executable)",
                path(started),
                line(&format!("{}/", path(mount_point).display()))
            );
            let dirs = ["none/bin", "missing", "other/bin", "mine/bin"].map(path);
            let output = Command::new("/usr/bin/python3")
                .args(["-c", &text])
                .env("PATH", std::env::join_paths(dirs).unwrap())
                .output()
                .unwrap();
            let expected = path(expected).display().to_string();
            let said = String::from_utf8(output.stdout).unwrap();
            assert_eq!(
                said,
                format!("{expected} {expected}\n"),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        check("image/python", "image", "mine/bin/python");
        check("image/python", "elsewhere", "image/python");
        check("mine/bin/python", "image", "mine/bin/python");
    }
}
