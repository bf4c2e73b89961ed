//! Responsible for what the environment's Python says of itself: a script's shebang names it in the
//! container only, and what a script writes down (`pip install --user`, Jupyter's kernels, job
//! scripts) must be good on the host, too.

use crate::{error::Error, install::Prefix};

/// Finds the wrapper of the interpreter that runs, on PATH.
const FIND: &str = include_str!("steps/wrapped_python.py");

/// Read at every start of Python: one line, so that nothing is compiled ahead, and next to nothing
/// done for other starts.
const PTH: &str = "_condense_executable.pth";

impl Prefix {
    /// Has its Python know itself by its wrapper, where it is started without it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::LeadsOut`].
    pub fn know_wrappers(&self) -> Result<(), Error> {
        let Some(python) = &self.python else {
            return Ok(());
        };
        let (env_dir, dir) = (self.place.open_env()?, python.site_packages());
        env_dir.make_dir(dir)?;
        let mount_point = format!("{}/", self.place.mount_point.display());
        env_dir.write(dir.join(PTH), line(&mount_point))
    }
}

/// Python's quotes and escapes are Rust's for text of ASCII.
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
        // Of two installations the one whose program it is; one that is none has no common.sh.
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
