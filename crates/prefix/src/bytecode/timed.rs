//! Responsible for the byte code of Pythons before 3.7. It holds the modification time of its
//! source, and every import ignores byte code whose time differs. All files in an image have the
//! same time, so byte code that fits its source gets that time.

use std::{
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

use super::{compiled, find_sources, make_writable, tag_of};
use crate::{error::Error, python::Python, target::Place};
use condense_within::{Access, Within};

/// Offset of the time in bytes. The magic number comes before it.
const TIME_AT: u64 = 4;

/// Returns whether byte code was made of its source in its current state. If `magic` is given, the
/// byte code must also come from an interpreter with this magic number.
pub(super) fn fits(
    env_dir: &Within,
    path: &Path,
    source: &Path,
    python: &Python,
    magic: Option<[u8; 4]>,
) -> Result<bool, Error> {
    let found = env_dir.stat(source)?;
    let Some(mut file) = env_dir.open_file(path, Access::Read)? else {
        return Ok(false);
    };
    // The header of Python 2 does not contain the length of the source.
    let mut header = vec![0; if python.major < 3 { 8 } else { 12 }];
    if file.read_exact(&mut header).is_err() || magic.is_some_and(|magic| header[..4] != magic) {
        return Ok(false);
    }
    // Time and length are kept modulo 2^32 in the file.
    let word = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Ok(
        i64::from(word(&header[4..])) == found.st_mtime & 0xffff_ffff
            && header
                .get(8..12)
                .is_none_or(|bytes| word(bytes) == found.st_size.cast_unsigned() as u32),
    )
}

/// Sets the time in the byte code of Pythons before 3.7 that fits its source. The time is the one
/// that all files will have in the image, in seconds since 1970. The sources get the same time, so
/// that source and byte code fit at any moment.
///
/// # Errors
/// Returns [`Error::Io`] if a file cannot be read or written.
pub fn stamp_bytecode(place: &Place, time: u32) -> Result<(), Error> {
    let env_dir = place.open_env()?;
    for site_packages in crate::python::all_site_packages(&env_dir)? {
        let library = site_packages.parent().unwrap_or(&site_packages);
        let Some(python) = from_library(library).filter(|python| !python.hashes_sources()) else {
            continue;
        };
        let mut sources = Vec::new();
        find_sources(&env_dir, library, &mut sources)?;
        for source in sources {
            stamp(&env_dir, &source, &python, time)?;
        }
    }
    Ok(())
}

fn from_library(library: &Path) -> Option<Python> {
    let version = library.file_name()?.to_str()?.strip_prefix("python")?;
    let (major, minor) = version.split_once('.')?;
    Some(Python::new(major.parse().ok()?, minor.parse().ok()?))
}

fn stamp(env_dir: &Within, source: &Path, python: &Python, time: u32) -> Result<(), Error> {
    let mut is_stamped = false;
    for path in compiled(source, tag_of(python).as_deref()) {
        if !make_writable(env_dir, &path)? || !fits(env_dir, &path, source, python, None)? {
            continue;
        }
        let Some(mut file) = env_dir.open_file(&path, Access::Change)? else {
            continue;
        };
        file.seek(SeekFrom::Start(TIME_AT))
            .and_then(|_| file.write_all(&time.to_le_bytes()))
            .map_err(Error::io("write", env_dir.path(&path)))?;
        is_stamped = true;
    }
    if !is_stamped {
        return Ok(());
    }
    let when = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time.into());
    let Some(file) = env_dir.open_file(source, Access::Read)? else {
        return Ok(());
    };
    file.set_modified(when)
        .map_err(Error::io("change", env_dir.path(source)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// The headers are those that Python 2.7 and 3.6 write.
    #[test]
    fn byte_code_that_fits_gets_the_image_s_time_and_what_does_not_fit_stays() {
        for (version, compiled, has_length) in [
            ("2.7", "x.pyc", false),
            ("3.6", "__pycache__/x.cpython-36.pyc", true),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let place = Place {
                root: dir.path().to_owned(),
                mount_point: "/M".into(),
                environment: "env".into(),
                packages: dir.path().join("packages"),
            };
            let library = dir.path().join(format!("env/lib/python{version}"));
            fs_err::create_dir_all(library.join("site-packages")).unwrap();
            fs_err::create_dir_all(library.join("__pycache__")).unwrap();
            let (source, compiled) = (library.join("x.py"), library.join(compiled));
            fs_err::write(&source, "pass\n").unwrap();
            let made = |time: u32, length: u32| {
                let mut bytes = b"MMMM".to_vec();
                bytes.extend(time.to_le_bytes());
                if has_length {
                    bytes.extend(length.to_le_bytes());
                }
                bytes.extend(b"code");
                bytes
            };
            let now = u32::try_from(fs_err::metadata(&source).unwrap().mtime()).unwrap();
            let stale = made(now - 1, 5);
            fs_err::write(&compiled, &stale).unwrap();
            stamp_bytecode(&place, 1_000).unwrap();
            assert_eq!(fs_err::read(&compiled).unwrap(), stale);
            fs_err::write(&compiled, made(now, 5)).unwrap();
            stamp_bytecode(&place, 1_000).unwrap();
            assert_eq!(fs_err::read(&compiled).unwrap(), made(1_000, 5));
            assert_eq!(fs_err::metadata(&source).unwrap().mtime(), 1_000);
            // The second call recognises the byte code that the first one has stamped.
            stamp_bytecode(&place, 2_000).unwrap();
            assert_eq!(fs_err::read(&compiled).unwrap(), made(2_000, 5));
        }
    }

    #[test]
    fn pythons_of_directories() {
        let found = |name: &str| from_library(Path::new(name)).map(|p| (p.major, p.minor));
        assert_eq!(found("lib/python2.7"), Some((2, 7)));
        assert_eq!(found("lib/python3.6"), Some((3, 6)));
        for other in ["lib/python3.13t", "lib/pypy3.9", "lib/python3"] {
            assert_eq!(found(other), None);
        }
    }
}
