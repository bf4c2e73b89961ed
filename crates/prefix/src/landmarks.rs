//! Responsible for interpreters that find their library by its place beside `bin`. Such an
//! interpreter searches beside the `bin` from which it is called, which is the directory of a
//! wrapper.

use std::path::{Path, PathBuf};

/// Letters that may follow a version in the names of libraries and headers: `t` for free-threaded
/// builds (without a GIL), and `m` for pymalloc (before 3.8).
const FLAGS: [char; 2] = ['t', 'm'];

/// Files of an installed Python, in a directory or in an image.
pub trait Files {
    /// Error of reading a file.
    type Error;

    /// Returns the bytes of a file, or `None` if there is no such file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Returns whether a path exists.
    ///
    /// # Errors
    /// Returns an error if the existence cannot be determined.
    fn exists(&self, path: &Path) -> Result<bool, Self::Error>;
}

/// Lists the paths that `program`, such as `python3.11` below `prefix`, searches beside
/// `bin`. The list is empty if the prefix was compiled into the program, or for a program of
/// another name.
///
/// # Errors
/// Returns any error of `files`.
pub fn landmarks<F: Files>(
    program: &str,
    prefix: &Path,
    files: &F,
) -> Result<Vec<PathBuf>, F::Error> {
    // The prefix ends with NUL, as strings in C do, since longer paths may begin with it.
    let wanted = [prefix.as_os_str().as_encoded_bytes(), b"\0"].concat();
    let version = program.trim_end_matches(FLAGS);
    if !is_versioned(version) {
        return Ok(Vec::new());
    }
    let names = ["", "t", "m"].map(|flag| format!("{version}{flag}"));
    for name in names.iter().flat_map(|name| {
        [
            format!("lib/lib{name}.so.1.0"),
            format!("lib/lib{name}.so"),
            format!("bin/{name}"),
        ]
    }) {
        let bytes = files.read(Path::new(&name))?.unwrap_or_default();
        if memchr::memmem::find(&bytes, &wanted).is_some() {
            return Ok(Vec::new());
        }
    }
    let mut found = Vec::new();
    for path in names
        .iter()
        .flat_map(|name| ["lib", "include"].map(|dir| Path::new(dir).join(name)))
    {
        if files.exists(&path)? {
            found.push(path);
        }
    }
    Ok(found)
}

fn is_versioned(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.strip_prefix("python")
        .and_then(|version| version.split_once('.'))
        .is_some_and(|(major, minor)| is_number(major) && is_number(minor))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{collections::BTreeMap, convert::Infallible};

    use super::*;

    impl Files for BTreeMap<&str, &str> {
        type Error = Infallible;

        fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, Infallible> {
            let text = self.get(path.to_str().unwrap());
            Ok(text.map(|text| text.as_bytes().to_vec()))
        }

        fn exists(&self, path: &Path) -> Result<bool, Infallible> {
            Ok(self.contains_key(path.to_str().unwrap()))
        }
    }

    #[test]
    fn every_name_of_a_python_s_library_is_looked_for() {
        let check = |program: &str, files: &[(&str, &str)], expected: &[&str]| {
            let files: BTreeMap<&str, &str> = files.iter().copied().collect();
            let found = landmarks(program, Path::new("/p"), &files).unwrap();
            assert_eq!(
                found,
                expected.iter().map(PathBuf::from).collect::<Vec<_>>()
            );
        };
        let usual = [("lib/python3.11", ""), ("include/python3.11", "")];
        check(
            "python3.11",
            &usual,
            &["lib/python3.11", "include/python3.11"],
        );
        check("python3", &usual, &[]);
        check("python3.11-config", &usual, &[]);
        let free = [("lib/python3.13t", ""), ("bin/python3.13t", "/q\0")];
        check("python3.13", &free, &["lib/python3.13t"]);
        check("python3.13t", &free, &["lib/python3.13t"]);
        let known = [
            ("lib/python3.13t", ""),
            ("lib/libpython3.13t.so.1.0", "/p\0"),
        ];
        check("python3.13", &known, &[]);
        let old = [("lib/python3.6", ""), ("include/python3.6m", "")];
        check("python3.6", &old, &["lib/python3.6", "include/python3.6m"]);
        let known = [("lib/python3.6", ""), ("lib/libpython3.6m.so.1.0", "/p\0")];
        check("python3.6m", &known, &[]);
        check("python2.7", &[("lib/python2.7", "")], &["lib/python2.7"]);
    }
}
