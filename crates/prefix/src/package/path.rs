//! Responsible for checking the paths in packages: they must not lead out of
//! the package's directory.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path, PathBuf},
};

/// Longest name in bytes that file systems can hold.
const MAX_NAME_BYTES: usize = 255;

/// Longest path in bytes. Together with the path of the scratch directory, it fits into PATH_MAX.
const MAX_PATH_BYTES: usize = 2048;

/// Number of characters of a path that a message shows.
const MAX_SHOWN_CHARS: usize = 120;

/// Returns the path without `.` and double slashes, if it stays below the directory that it starts
/// in.
///
/// # Errors
/// Returns a description of the mistake, which follows the path in a message.
pub(super) fn judged(bytes: &[u8]) -> Result<PathBuf, &'static str> {
    if bytes.is_empty() {
        return Err("is no path: it is empty");
    }
    if bytes.contains(&0) {
        return Err("has a NUL byte");
    }
    if bytes.len() > MAX_PATH_BYTES {
        return Err("is longer than 2,048 bytes");
    }
    let path = Path::new(std::ffi::OsStr::from_bytes(bytes));
    let mut inside = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) if name.len() > MAX_NAME_BYTES => {
                return Err("has a name of more than 255 bytes");
            }
            Component::Normal(name) => inside.push(name),
            Component::CurDir => {}
            Component::ParentDir => return Err("leads out of the package with `..`"),
            Component::RootDir | Component::Prefix(_) => return Err("is an absolute path"),
        }
    }
    if inside.as_os_str().is_empty() {
        return Err("is no path: it names the package's own directory");
    }
    Ok(inside)
}

/// Checks a [`Path`] like [`judged`].
///
/// # Errors
/// Returns the errors of [`judged`].
pub(crate) fn judged_path(path: &Path) -> Result<PathBuf, &'static str> {
    judged(path.as_os_str().as_bytes())
}

/// Checks a path in a JSON file. Python writes a byte that is not UTF-8 as half of a surrogate
/// pair. serde_json returns that as the three bytes that UTF-8 would have for it.
///
/// # Errors
/// Returns the errors of [`judged`].
pub(super) fn judged_json(bytes: &[u8]) -> Result<PathBuf, &'static str> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        if let [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, after @ ..] = rest {
            let unit = 0xD000 | (u32::from(second & 0x3F) << 6) | u32::from(third & 0x3F);
            if !(0xDC80..=0xDCFF).contains(&unit) {
                return Err("has half of a surrogate pair in its name");
            }
            decoded.push((unit & 0xFF) as u8);
            rest = after;
        } else {
            decoded.push(*first);
            rest = after;
        }
    }
    judged(&decoded)
}

/// Returns the path for a message: in one line, without control characters, and shortened.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut short = String::new();
    for (at, char) in text.chars().enumerate() {
        if at == MAX_SHOWN_CHARS {
            short.push('…');
            break;
        }
        if char.is_control() {
            short.extend(char.escape_default());
        } else {
            short.push(char);
        }
    }
    short
}

/// Returns the path like [`shown`].
pub(crate) fn shown_path(path: &Path) -> String {
    shown(path.as_os_str().as_bytes())
}

/// Returns the path in UTF-8, for files that cannot contain other bytes.
pub(crate) fn lossy(path: PathBuf) -> PathBuf {
    match path.into_os_string().into_string() {
        Ok(text) => text.into(),
        Err(name) => String::from_utf8_lossy(&OsString::into_vec(name))
            .into_owned()
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_stay_inside_are_normalised() {
        for (written, path) in [
            ("bin/tool", "bin/tool"),
            ("./bin//tool", "bin/tool"),
            ("lib/./h/", "lib/h"),
            ("...", "..."),
            ("a/..b", "a/..b"),
            ("a\\..\\b", "a\\..\\b"),
        ] {
            assert_eq!(judged(written.as_bytes()), Ok(path.into()), "{written}");
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        let long = "n".repeat(256);
        let deep = "d/".repeat(2000);
        for written in [
            "",
            ".",
            "./",
            "/",
            "/etc/passwd",
            "//etc",
            "..",
            "../x",
            "a/../b",
            "a/..",
            "./../x",
            "a\0b",
            &long,
            &deep,
        ] {
            assert!(judged(written.as_bytes()).is_err(), "{written}");
        }
    }

    #[test]
    fn surrogates_of_python_are_bytes() {
        let latin = judged_json(b"share/caf\xED\xB3\xA9").expect("a path");
        assert_eq!(latin.as_os_str().as_bytes(), b"share/caf\xE9");
        assert!(judged_json(b"share/\xED\xA0\x80").is_err());
        assert_eq!(judged_json("share/é".as_bytes()), Ok("share/é".into()));
        // U+DC2E and U+DC2F would decode to `.` and `/`.
        assert!(judged_json(b"\xED\xB0\xAE\xED\xB0\xAE\xED\xB0\xAFx").is_err());
    }

    #[test]
    fn shown_paths_are_one_harmless_line() {
        assert_eq!(shown(b"a\x1b[31m\nb"), "a\\u{1b}[31m\\nb");
        assert!(shown("x".repeat(5000).as_bytes()).chars().count() < 130);
    }
}
