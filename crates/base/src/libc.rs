//! Responsible for the C library of a base: which one the base's programs use, and its version.

use std::path::{Path, PathBuf};

use condense_image::Arch;

use crate::Error;
use crate::root::Root;

/// Number of bytes at the start of a program that hold its headers and the name of its loader.
const HEAD_LEN: usize = 64 << 10;
/// Maximum number of bytes that are read of a C library. Real ones have less than a tenth of this
/// size.
const LIBC_LEN_MAX: u64 = 32 << 20;
/// Directories in which distributions keep a C library. Those that may also hold 32-bit libraries
/// come last.
pub(crate) const DIRECTORIES: [&str; 10] = [
    "lib64",
    "usr/lib64",
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "lib/powerpc64le-linux-gnu",
    "usr/lib/powerpc64le-linux-gnu",
    "lib",
    "usr/lib",
];
const SHELLS: [&str; 2] = ["bin/sh", "usr/bin/env"];

/// C library and architecture of a base image's programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Libc {
    /// Architecture for which the base's shell, or else its C library, was built.
    pub(crate) arch: Option<Arch>,
    /// Version of the GNU C library, for example `2.36`.
    pub(crate) glibc: Option<String>,
    /// Path of the loader that the shell requests, for example `/lib/ld-musl-x86_64.so.1`.
    pub(crate) loader: Option<PathBuf>,
}

/// Finds the C library of the base's shell, or any C library of a base without a shell.
pub(crate) fn find(root: &Root) -> Result<Libc, Error> {
    let mut libc = Libc::default();
    for shell in SHELLS {
        if let Some(file) = root.locate_file(shell)? {
            let head = file.read_head(HEAD_LEN)?;
            libc.arch = Arch::from_elf(&head);
            libc.loader = parse_loader(&head);
            if libc.arch.is_some() {
                break;
            }
        }
    }
    if libc.loader.is_none() {
        // A statically linked shell names no loader.
        libc.loader = find_musl_loader(root)?;
    }
    let is_musl = libc
        .loader
        .as_deref()
        .and_then(Path::file_name)
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"ld-musl-"));
    if is_musl {
        return Ok(libc);
    }
    let mut directories: Vec<PathBuf> = Vec::new();
    if let Some(loader) = &libc.loader
        && let Some(file) = root.locate_file(loader)?
    {
        directories.extend(file.path.parent().map(Path::to_owned));
    }
    directories.extend(DIRECTORIES.map(PathBuf::from));
    for directory in directories {
        let Some(file) = root.locate_file(directory.join("libc.so.6"))? else {
            continue;
        };
        let bytes = file.read(LIBC_LEN_MAX)?;
        let arch = Arch::from_elf(&bytes);
        if libc.arch.is_some() && arch.is_some() && libc.arch != arch {
            continue;
        }
        if let Some(version) = parse_banner(&bytes) {
            libc.arch = libc.arch.or(arch);
            libc.glibc = Some(version);
            break;
        }
    }
    Ok(libc)
}

fn find_musl_loader(root: &Root) -> Result<Option<PathBuf>, Error> {
    let Some(lib) = root.locate("lib")? else {
        return Ok(None);
    };
    let names = lib.list()?;
    Ok(names
        .into_iter()
        .find(|name| name.as_encoded_bytes().starts_with(b"ld-musl-"))
        .map(|name| Path::new("/lib").join(name)))
}

/// Returns the version in the banner that the library prints when it is started as a program. Every
/// build of the library contains this banner: `GNU C Library (Debian GLIBC 2.36-9+deb12u7) stable
/// release version 2.36.`
fn parse_banner(bytes: &[u8]) -> Option<String> {
    let start = find_bytes(bytes, b"GNU C Library ")?;
    let sentence = &bytes[start..bytes.len().min(start + 256)];
    let sentence = sentence.split(|&b| b == 0 || b == b'\n').next()?;
    let version = find_bytes(sentence, b"release version ")? + b"release version ".len();
    let digits = sentence[version..]
        .iter()
        .take_while(|b| b.is_ascii_digit() || **b == b'.')
        .copied()
        .collect();
    let version = String::from_utf8(digits).ok()?;
    let version = version.trim_end_matches('.');
    let mut parts = version.split('.');
    let is_version = parts.clone().count() >= 2 && parts.all(|part| !part.is_empty());
    is_version.then(|| version.to_owned())
}

fn find_bytes(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = needle[0];
    let mut from = 0;
    loop {
        from += haystack.get(from..)?.iter().position(|&b| b == first)?;
        if haystack[from..].starts_with(needle) {
            return Some(from);
        }
        from += 1;
    }
}

/// Returns the path of the loader that a 64-bit program requests, if the program's headers are in
/// `head`.
fn parse_loader(head: &[u8]) -> Option<PathBuf> {
    const LOADER: u32 = 3;
    Arch::from_elf(head)?;
    let (is_64_bit, is_little) = (*head.get(4)? == 2, *head.get(5)? == 1);
    let number = |at: usize, len: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(len)?)?;
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if is_little {
            bytes.iter().rev().fold(0, fold)
        } else {
            bytes.iter().fold(0, fold)
        })
    };
    if !is_64_bit {
        return None;
    }
    let table = usize::try_from(number(32, 8)?).ok()?;
    let (entry_len, count) = (number(54, 2)? as usize, number(56, 2)? as usize);
    for index in 0..count {
        let entry = table.checked_add(index * entry_len)?;
        if number(entry, 4)? == u64::from(LOADER) {
            let offset = usize::try_from(number(entry.checked_add(8)?, 8)?).ok()?;
            let len = usize::try_from(number(entry.checked_add(32)?, 8)?).ok()?;
            let name = head.get(offset..offset.checked_add(len)?)?;
            let name = name.split(|&b| b == 0).next()?;
            let name = std::str::from_utf8(name).ok()?;
            return name.starts_with('/').then(|| PathBuf::from(name));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_banners() {
        let check = |banner: &str, expected: Option<&str>| {
            let mut bytes = vec![0xff, 0, b'G', b'N', b'U', 0];
            bytes.extend_from_slice(banner.as_bytes());
            bytes.push(0);
            assert_eq!(parse_banner(&bytes).as_deref(), expected, "{banner}");
        };
        check(
            "GNU C Library (Debian GLIBC 2.36-9+deb12u7) stable release version 2.36.\nCopyright",
            Some("2.36"),
        );
        check(
            "GNU C Library (GNU libc) stable release version 2.34.\nCopyright",
            Some("2.34"),
        );
        check(
            "GNU C Library stable release version 2.17, by Roland McGrath et al.\n",
            Some("2.17"),
        );
        check(
            "GNU C Library (GNU libc) development release version 2.41.9000.\n",
            Some("2.41.9000"),
        );
        check("GNU C Library (x)\0 stable release version 2.36.", None);
        check("GNU C Library stable release version two", None);
        check("GNU C Library stable release version 2.", None);
        check("GNU C Librar", None);
    }

    #[test]
    fn the_loader_of_this_very_program_is_found() {
        let program = fs_err::read("/proc/self/exe").expect("a test runs from a file");
        assert_eq!(Arch::from_elf(&program), Arch::host());
        let loader = parse_loader(&program).expect("tests are linked dynamically");
        assert!(loader.exists(), "{}", loader.display());
        for len in 0..200 {
            assert_eq!(parse_loader(&program[..len]), None);
        }
    }
}
