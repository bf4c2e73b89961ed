//! Responsible for interpreters that do not know where they are: one looks for its library beside the `bin` it is called from,
//! which is a wrapper's.

use std::path::{Path, PathBuf};

/// Files of an installed Python, wherever they are kept.
pub trait Files {
    /// What reading may come to.
    type Error;

    /// The bytes of a file, if it is there.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Whether something is at this path.
    ///
    /// # Errors
    /// When it cannot be told.
    fn exists(&self, path: &Path) -> Result<bool, Self::Error>;
}

/// What `python3.11` below `prefix` has to find beside `bin`; nothing if the prefix was compiled into it.
///
/// # Errors
/// As the files.
pub fn landmarks<F: Files>(
    version: &str,
    prefix: &Path,
    files: &F,
) -> Result<Vec<PathBuf>, F::Error> {
    // As C has it: other paths may begin with the same.
    let wanted = [prefix.as_os_str().as_encoded_bytes(), b"\0"].concat();
    for name in [
        format!("lib/lib{version}.so.1.0"),
        format!("lib/lib{version}.so"),
        format!("bin/{version}"),
    ] {
        let bytes = files.read(Path::new(&name))?.unwrap_or_default();
        if bytes.windows(wanted.len()).any(|window| window == wanted) {
            return Ok(Vec::new());
        }
    }
    let mut found = Vec::new();
    for dir in ["lib", "include"] {
        let path = Path::new(dir).join(version);
        if files.exists(&path)? {
            found.push(path);
        }
    }
    Ok(found)
}
