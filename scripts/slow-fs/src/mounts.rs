//! Responsible for finding and ending mounts of this program.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
    sys::statfs::statfs,
};

/// Name of the source in the table of mounts, by which leftover mounts are found.
pub(crate) const SOURCE: &str = "slow-fs";

/// A mount of this program, as the kernel lists it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Directory at which it is mounted.
    pub(crate) point: PathBuf,
    /// Device number as `MAJOR:MINOR`.
    pub(crate) device: String,
}

/// Lists the mounts of this program, also those of other processes of it.
pub(crate) fn of_this_program() -> io::Result<Vec<Mount>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

fn parse(table: &[u8]) -> Vec<Mount> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
            let separator = words.iter().position(|word| *word == b"-")?;
            let (kind, source) = (words.get(separator + 1)?, words.get(separator + 2)?);
            (kind.starts_with(b"fuse") && *source == SOURCE.as_bytes()).then_some(())?;
            Some(Mount {
                point: unescaped(words.get(4)?),
                device: String::from_utf8_lossy(words.get(2)?).into_owned(),
            })
        })
        .collect()
}

/// Undoes the octal escapes of blanks and backslashes.
fn unescaped(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, others)) = rest.split_first() {
        let code = others
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) if *first == b'\\' => {
                bytes.push(code);
                rest = &others[3..];
            }
            _ => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Removes a mount from the tree of directories, even while it is in use.
pub(crate) fn detach(point: &Path) -> io::Result<()> {
    match umount2(point, MntFlags::MNT_DETACH) {
        Ok(()) => Ok(()),
        // Only fusermount3 may unmount for an ordinary user.
        Err(Errno::EPERM) => {
            let status = Command::new("fusermount3")
                .arg("-uqz")
                .arg(point)
                .status()?;
            if status.success() {
                Ok(())
            } else {
                Err(io::Error::other(format!("fusermount3 ended with {status}")))
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes the mounts of servers that were killed, and returns their mount points.
pub(crate) fn remove_leftovers() -> io::Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for mount in of_this_program()? {
        // Attributes may be answered from the cache of the kernel; this question is not.
        let is_dead = statfs(&mount.point).is_err_and(|error| error == Errno::ENOTCONN);
        if is_dead && detach(&mount.point).is_ok() {
            removed.push(mount.point);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_of_this_program_are_listed() {
        let table = b"\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 22 0:51 / /tmp/a\\040node rw,nosuid,nodev shared:3 - fuse slow-fs rw,user_id=0
41 22 0:52 / /tmp/other rw - fuse.squashfuse squashfuse rw
42 22 0:53 / /tmp/fake rw - tmpfs slow-fs rw
";
        assert_eq!(
            parse(table),
            [Mount {
                point: "/tmp/a node".into(),
                device: "0:51".into(),
            }]
        );
    }
}
