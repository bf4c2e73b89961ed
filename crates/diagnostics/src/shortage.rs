//! Responsible for errors about something that is used up where a file is written: bytes, inodes,
//! a quota, or the size that a file may have. The hint names the file system and the way out.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Mutex,
};

use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
};

/// Part of a file system that must be free. With less, it counts as used up: file systems keep
/// some blocks for themselves.
const FREE_PART: u64 = 200;
/// Beginning of the names of scratch directories.
const SCRATCH: &str = "cw-";
const ANOTHER: &str =
    "use another place (`--tmpdir DIR` for scratch, CONDENSE_CACHE_DIR for the cache)";

/// File systems that were full when a directory of the program was removed from them. The hint is
/// made after the removal, when they have room again.
static FULL: Mutex<Vec<Usage>> = Mutex::new(Vec::new());

/// Limit that ends a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// The file system has no free bytes or no free inodes.
    Space,
    /// The quota of the user, the group or the project is used up.
    Quota,
    /// The file would be larger than the file system or `ulimit -f` allows.
    FileSize,
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Usage {
    device: u64,
    bytes: u64,
    free_bytes: u64,
    /// Number of inodes; 0 if the file system has no fixed number.
    inodes: u64,
    free_inodes: u64,
}

impl Usage {
    fn of(dir: &Path) -> Option<Self> {
        let found = rustix::fs::statvfs(dir).ok()?;
        Some(Self {
            device: dir.metadata().ok()?.dev(),
            bytes: found.f_blocks.saturating_mul(found.f_frsize),
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            inodes: found.f_files,
            free_inodes: found.f_favail,
        })
    }

    fn lacks_inodes(&self) -> bool {
        self.inodes > 0 && self.free_inodes <= self.inodes / FREE_PART
    }

    fn lacks_bytes(&self) -> bool {
        self.free_bytes <= self.bytes / FREE_PART
    }
}

/// Remembers the file system of a directory if it is full. It is called before a directory of the
/// program is removed.
pub fn note_usage(dir: &Path) {
    let usage = Usage::of(dir);
    let usage = usage.filter(|usage| usage.lacks_bytes() || usage.lacks_inodes());
    if let (Some(usage), Ok(mut full)) = (usage, FULL.lock()) {
        full.retain(|known| known.device != usage.device);
        full.push(usage);
    }
}

impl Shortage {
    /// Finds the shortage that the text of an error is about, in the words of the C library, of
    /// Python and of shells, or by its number.
    #[must_use]
    pub fn in_text(text: &str) -> Option<Self> {
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if has(&["No space left on device", "(os error 28)"]) {
            Some(Self::Space)
        } else if has(&["uota exceeded", "(os error 122)"]) {
            Some(Self::Quota)
        } else if has(&[
            "File too large",
            "(os error 27)",
            "File size limit exceeded",
        ]) {
            Some(Self::FileSize)
        } else {
            None
        }
    }

    /// Returns the shortage for an error number.
    #[must_use]
    pub fn of_number(number: i32) -> Option<Self> {
        match Errno::from_raw_os_error(number) {
            Errno::NOSPC => Some(Self::Space),
            Errno::DQUOT => Some(Self::Quota),
            Errno::FBIG => Some(Self::FileSize),
            _ => None,
        }
    }

    /// Returns a sentence that names the file system of `path`, says what is used up and what to
    /// do. The path need not exist any more.
    #[must_use]
    pub fn hint(self, path: Option<&Path>) -> String {
        let place = path.and_then(Place::of);
        match self {
            Self::Space => of_space(place.as_ref()),
            Self::Quota => of_quota(place.as_ref()),
            Self::FileSize => of_file_size(place.as_ref(), getrlimit(Resource::Fsize).current),
        }
    }
}

fn of_space(place: Option<&Place>) -> String {
    let Some(place) = place else {
        return "free some space, or write to another file system".to_owned();
    };
    let (name, elsewhere) = (place.name(), place.elsewhere());
    match place.usage() {
        Some(usage) if usage.lacks_inodes() && !usage.lacks_bytes() => format!(
            "{name} has no inodes left, all {} are in use and each file needs one: remove files there, or {elsewhere}",
            usage.inodes
        ),
        Some(usage) => format!(
            "{name} has no space left of its {}: free some, or {elsewhere}",
            size(usage.bytes)
        ),
        None => format!("{name} has no space left: free some, or {elsewhere}"),
    }
}

fn of_quota(place: Option<&Place>) -> String {
    let (name, elsewhere) = match place {
        Some(place) => (place.name(), place.elsewhere()),
        None => ("the file system".to_owned(), ANOTHER),
    };
    format!(
        "your quota of bytes or of files on {name} is used up, `quota -s` or `lfs quota` shows which: remove files there, or {elsewhere}"
    )
}

fn of_file_size(place: Option<&Place>, limit: Option<u64>) -> String {
    match (limit, place) {
        (Some(limit), _) => format!(
            "raise the limit on the size of files: `ulimit -f unlimited`; it is {} here",
            size(limit)
        ),
        (None, Some(place)) => format!(
            "{} takes no file of this size: {}",
            place.name(),
            place.elsewhere()
        ),
        (None, None) => "raise the limit on the size of files: `ulimit -f unlimited`".to_owned(),
    }
}

/// Directory in which something was written, and its file system.
struct Place {
    dir: PathBuf,
    mount_point: PathBuf,
    kind: String,
    in_scratch: bool,
}

impl Place {
    /// Returns the place of a path, or `None` for a device or a pipe.
    fn of(path: &Path) -> Option<Self> {
        if path
            .metadata()
            .is_ok_and(|found| !found.is_file() && !found.is_dir())
        {
            return None;
        }
        let dir = path.ancestors().find(|dir| dir.is_dir())?;
        let dir = std::fs::canonicalize(dir).ok()?;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let (mount_point, kind) = mount_of(&dir, &mounts)?;
        let in_scratch = path
            .components()
            .any(|part| part.as_os_str().to_string_lossy().starts_with(SCRATCH));
        Some(Self {
            dir,
            mount_point,
            kind,
            in_scratch,
        })
    }

    fn name(&self) -> String {
        format!("`{}` ({})", self.mount_point.display(), self.kind)
    }

    fn elsewhere(&self) -> &'static str {
        if self.in_scratch {
            "name another scratch directory with `--tmpdir DIR` or CW_BUILD_TMPDIR"
        } else {
            ANOTHER
        }
    }

    /// Returns the room when it was used up, or else the room now.
    fn usage(&self) -> Option<Usage> {
        let now = Usage::of(&self.dir)?;
        let full = FULL.lock().ok()?;
        let then = full.iter().find(|usage| usage.device == now.device);
        Some(then.copied().unwrap_or(now))
    }
}

/// Returns the mount point and the kind of the file system that a directory is on.
fn mount_of(dir: &Path, mounts: &str) -> Option<(PathBuf, String)> {
    let parse = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let mount_point = unescaped(before.split(' ').nth(4)?);
        let kind = after.split(' ').next()?.to_owned();
        Some((PathBuf::from(mount_point), kind))
    };
    // A later mount hides an earlier one at the same place.
    mounts
        .lines()
        .filter_map(parse)
        .filter(|(mount_point, _)| dir.starts_with(mount_point))
        .enumerate()
        .max_by_key(|(number, (mount_point, _))| (mount_point.components().count(), *number))
        .map(|(_, found)| found)
}

/// Replaces the octal escapes of blanks and backslashes in a path of the kernel's table.
fn unescaped(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (escape, c)| text.replace(escape, c))
}

fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let power = (0..units.len() - 1).take_while(|power| bytes >> (10 * (power + 1)) > 0);
    let power = power.count();
    // The fraction is for people, and a few bytes more or less do not matter.
    #[allow(clippy::cast_precision_loss)]
    let value = bytes as f64 / f64::powi(1024.0, i32::try_from(power).unwrap_or(0));
    if power == 0 || value.fract() == 0.0 {
        format!("{value:.0} {}", units[power])
    } else {
        format!("{value:.1} {}", units[power])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MOUNTS: &str = "\
        21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        22 21 0:30 / /scratch rw shared:1 - lustre mds@tcp:/scratch rw\n\
        23 21 0:31 / /with\\040blank rw - tmpfs tmpfs rw\n\
        24 22 0:32 / /scratch/mine rw - tmpfs tmpfs rw\n\
        25 24 0:33 / /scratch/mine rw - xfs /dev/sdb rw\n";

    fn place(dir: &str, in_scratch: bool) -> Place {
        let (mount_point, kind) = mount_of(Path::new(dir), MOUNTS).unwrap();
        Place {
            dir: dir.into(),
            mount_point,
            kind,
            in_scratch,
        }
    }

    #[test]
    fn the_innermost_mount_names_the_file_system() {
        for (dir, expected) in [
            ("/home/me", "`/` (ext4)"),
            ("/scratch/you", "`/scratch` (lustre)"),
            ("/scratch/mine/a", "`/scratch/mine` (xfs)"),
            ("/with blank", "`/with blank` (tmpfs)"),
            ("/scratching", "`/` (ext4)"),
        ] {
            assert_eq!(place(dir, false).name(), expected, "{dir}");
        }
    }

    /// Row B20: EDQUOT names the quota and not the disk.
    #[test]
    fn a_used_up_quota_is_told_from_a_full_disk() {
        let texts = [
            "Disk quota exceeded (os error 122)",
            "OSError: [Errno 122] Disk quota exceeded",
            "write failed: Quota exceeded",
        ];
        for text in texts {
            assert_eq!(Shortage::in_text(text), Some(Shortage::Quota), "{text}");
        }
        assert_eq!(Shortage::of_number(122), Some(Shortage::Quota));
        let hint = of_quota(Some(&place("/scratch/you/x", true)));
        assert_eq!(
            hint,
            "your quota of bytes or of files on `/scratch` (lustre) is used up, `quota -s` or \
             `lfs quota` shows which: remove files there, or name another scratch directory with \
             `--tmpdir DIR` or CW_BUILD_TMPDIR"
        );
    }

    #[test]
    fn words_and_numbers_of_errors_are_recognised() {
        for (text, expected) in [
            (
                "No space left on device (os error 28)",
                Some(Shortage::Space),
            ),
            (
                "OSError: [Errno 28] No space left on device: 'x'",
                Some(Shortage::Space),
            ),
            ("File too large (os error 27)", Some(Shortage::FileSize)),
            (
                "run.sh: line 3: File size limit exceeded",
                Some(Shortage::FileSize),
            ),
            ("No such file or directory (os error 2)", None),
        ] {
            assert_eq!(Shortage::in_text(text), expected, "{text}");
        }
    }

    /// Row B28: the limit is named.
    #[test]
    fn the_limit_on_files_is_told_from_that_of_a_file_system() {
        let vfat = place("/scratch/mine", false);
        let text = of_file_size(Some(&vfat), Some(2 << 20));
        assert!(
            text.contains("`ulimit -f unlimited`; it is 2 MiB here"),
            "{text}"
        );
        let text = of_file_size(Some(&vfat), None);
        assert!(
            text.starts_with("`/scratch/mine` (xfs) takes no file"),
            "{text}"
        );
    }

    #[test]
    fn a_device_is_no_place() {
        assert!(Place::of(Path::new("/dev/full")).is_none());
        assert!(Place::of(Path::new("/not/there/at/all")).is_some());
    }

    #[test]
    fn sizes_are_rounded_for_people() {
        for (bytes, expected) in [(12, "12 B"), (1 << 20, "1 MiB"), (1536, "1.5 KiB")] {
            assert_eq!(size(bytes), expected);
        }
    }
}
