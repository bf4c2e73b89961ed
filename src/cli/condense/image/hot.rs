//! Responsible for the list of files that are read first, which `condense image pack --hot` takes.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;
use condense_diagnostics::UserError;

/// Maximum length of a path in bytes, as in the kernel.
const PATH_MAX: usize = 4095;

/// Reads the list: one path a line. Empty lines and lines that begin with `#` are skipped.
///
/// # Errors
/// Returns an error if the list cannot be read, or with the place of the first line that is no path
/// below the root.
pub(super) fn read(list: &Path, cwd: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let bytes = if list == Path::new("-") {
        let mut bytes = Vec::new();
        let mut input = std::io::stdin().take(condense_input::TEXT_MOST + 1);
        input
            .read_to_end(&mut bytes)
            .context("failed to read the list of hot files from standard input")?;
        bytes
    } else {
        condense_input::read_named(cwd.join(list), condense_input::TEXT_MOST)?
    };
    let mut paths = Vec::new();
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        if let Some(problem) = problem(line) {
            return Err(UserError::in_file(list, number, problem, Some(HINT.to_owned())).into());
        }
        paths.push(PathBuf::from(OsStr::from_bytes(line)));
    }
    Ok(paths)
}

const HINT: &str = "name one file a line, relative to the root of the image";

/// Returns the reason why a line cannot be the path of a file in the image.
fn problem(line: &[u8]) -> Option<String> {
    let path = Path::new(OsStr::from_bytes(line));
    if line.contains(&0) {
        Some("a path with a zero byte names no file".to_owned())
    } else if line.len() > PATH_MAX {
        Some(format!("a path of {} bytes is too long", line.len()))
    } else if path.components().any(|part| part == Component::ParentDir) {
        Some(format!("`{}` has `..`", path.display()))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_line_is_a_path_or_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let read = |text: &[u8]| {
            fs_err::write(scratch.path().join("list"), text).unwrap();
            super::read(Path::new("list"), scratch.path()).map_err(|error| error.to_string())
        };
        let good = read(b"# libraries first\n/lib/libz.so\r\n\n./#odd\na b\xff").unwrap();
        let expected: Vec<&OsStr> = [&b"/lib/libz.so"[..], b"./#odd", b"a b\xff"]
            .map(OsStr::from_bytes)
            .into();
        assert_eq!(good, expected);
        let long = [b"fine\n".as_slice(), &[b'a'; 4096]].concat();
        for (text, said) in [
            (&b"a\n\nlib/../b\n"[..], "list:3: `lib/../b` has `..`"),
            (b"a\0b", "list:1: a path with a zero byte names no file"),
            (&long, "list:2: a path of 4096 bytes is too long"),
        ] {
            assert_eq!(read(text).unwrap_err(), said);
        }
    }
}
