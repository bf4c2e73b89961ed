//! Responsible for choosing a place for copies on a node, and for checking its space.

use std::path::{Path, PathBuf};

use anyhow::bail;
use condense_diagnostics::UserError;
use condense_installation::NodeDir;
use indicatif::HumanBytes;

use crate::doctor::IN_MEMORY;

/// `f_type` of file systems that are on the disks of one node, or in its memory.
const LOCAL: [i64; 12] = [
    0xEF53,      // ext2, ext3 and ext4
    0x5846_5342, // XFS
    0x9123_683E, // Btrfs
    0x2FC1_2FC1, // ZFS
    0xCA45_1A4E, // bcachefs
    0xF2F5_2010, // F2FS
    0x3153_464A, // JFS
    0x5265_4973, // ReiserFS
    0x3434,      // NILFS
    0x794C_7630, // overlayfs, as in containers
    IN_MEMORY[0],
    IN_MEMORY[1],
];
/// Name of all file systems that are neither known as local nor as shared.
const UNKNOWN: &str = "a file system of unknown kind";
/// `f_type` of file systems that nodes share.
const SHARED: [(i64, &str); 12] = [
    (0x0BD0_0BD0, "Lustre"),
    (0x6969, "NFS"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x00C3_6400, "Ceph"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB"),
    (0x5346_414F, "AFS"),
    (0xAAD7_AAEA, "PanFS"),
    (0x6573_5546, "FUSE"),
    (0x0116_1970, "GFS2"),
    (0x7461_636F, "OCFS2"),
];
/// Part of the free memory that copies may take where files are in memory: one in this number.
const MEMORY_PART: u64 = 2;

/// Parent of the directory of copies on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Path of the parent.
    pub path: PathBuf,
    /// Whether its files are in memory.
    pub in_memory: bool,
    /// Name of its file system, if nodes share it or may share it.
    pub shared: Option<&'static str>,
}

impl Place {
    /// Returns the properties of a path. For a missing directory, they are those of the nearest
    /// parent.
    pub fn of(path: &Path) -> Self {
        let kind = existing(path).and_then(|there| rustix::fs::statfs(there).ok());
        #[allow(clippy::unnecessary_cast, reason = "its type differs between machines")]
        let kind = kind.map(|kind| kind.f_type as i64);
        Self::of_kind(path, kind)
    }

    fn of_kind(path: &Path, kind: Option<i64>) -> Self {
        let found = SHARED.iter().find(|(magic, _)| Some(*magic) == kind);
        Self {
            path: path.to_owned(),
            in_memory: kind.is_some_and(|kind| IN_MEMORY.contains(&kind)),
            shared: match found {
                Some((_, name)) => Some(name),
                None if kind.is_some_and(|kind| LOCAL.contains(&kind)) => None,
                None => Some(UNKNOWN),
            },
        }
    }
}

fn existing(path: &Path) -> Option<&Path> {
    path.ancestors().find(|dir| dir.is_dir())
}

/// Chooses the first candidate on a disk of the node, else the first one in its memory.
///
/// # Errors
/// Returns an error if all candidates are missing, cannot be written, or are on file systems that
/// nodes share.
pub fn choose_place(candidates: &[PathBuf]) -> anyhow::Result<Place> {
    let may_write = rustix::fs::Access::WRITE_OK.union(rustix::fs::Access::EXEC_OK);
    let usable = |path: &&PathBuf| {
        path.is_absolute()
            && path.is_dir()
            && rustix::fs::access(*path, may_write).is_ok()
            && NodeDir::check_parent(path).is_ok()
    };
    let places = candidates.iter().filter(usable).map(|path| Place::of(path));
    let places: Vec<Place> = places.collect();
    choose(&places).ok_or_else(|| {
        let tried: Vec<String> = candidates
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        UserError::new(
            format!(
                "no place of this node's own was found: {}",
                tried.join(", ")
            ),
            "name a directory on the node's disk or in its memory with `--to`",
        )
        .into()
    })
}

fn choose(places: &[Place]) -> Option<Place> {
    let own = places.iter().filter(|place| place.shared.is_none());
    let on_disk = own.clone().find(|place| !place.in_memory).cloned();
    on_disk.or_else(|| own.clone().next().cloned())
}

/// Checks that a directory has room for some bytes, on its file system and, where its files are in
/// memory, in the memory that this session may use.
///
/// # Errors
/// Returns an error that names both numbers.
pub(super) fn check_room(dir: &Path, bytes: u64) -> anyhow::Result<()> {
    let there = existing(dir).unwrap_or(Path::new("/"));
    let space = rustix::fs::statvfs(there)?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let memory = Place::of(there)
        .in_memory
        .then(|| condense_check::doctor::free_memory(Path::new("/")))
        .flatten();
    judge_room(dir, bytes, free, memory)
}

fn judge_room(dir: &Path, bytes: u64, free: u64, memory: Option<u64>) -> anyhow::Result<()> {
    let (shown, wanted) = (dir.display(), HumanBytes(bytes));
    if bytes > free {
        bail!(UserError::new(
            format!(
                "the copy of {wanted} does not fit into `{shown}`, which has {} free",
                HumanBytes(free)
            ),
            "`condense stage --clean` removes copies; or name another place with `--to`",
        ));
    }
    if let Some(memory) = memory.filter(|memory| bytes > memory / MEMORY_PART) {
        bail!(UserError::new(
            format!(
                "the copy of {wanted} would take more than half of the memory that is free, {}: `{shown}` is in memory",
                HumanBytes(memory)
            ),
            "ask for more memory with `--mem`, or name a place on a disk with `--to`",
        ));
    }
    Ok(())
}

impl Place {
    /// Returns why copies in this place may be in vain.
    pub fn doubt(&self) -> Option<String> {
        let system = self.shared?;
        let share = if system == UNKNOWN {
            "may share"
        } else {
            "share"
        };
        Some(format!(
            "`{}` is on {system}, which nodes {share}: copies there make no start faster",
            self.path.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_disk_of_the_node_comes_before_its_memory_and_shared_places_never() {
        let place = |name: &str, kind: i64| Place::of_kind(Path::new(name), Some(kind));
        let chosen = |places: &[(&str, i64)]| {
            let places = places.iter().map(|(name, kind)| place(name, *kind));
            choose(&places.collect::<Vec<Place>>()).map(|place| place.path)
        };
        let (lustre, tmpfs, ext4) = (0x0BD0_0BD0, 0x0102_1994, 0xEF53);
        let all = [("/scratch", lustre), ("/dev/shm", tmpfs), ("/nvme", ext4)];
        assert_eq!(chosen(&all), Some("/nvme".into()));
        assert_eq!(chosen(&all[..2]), Some("/dev/shm".into()));
        assert_eq!(chosen(&all[..1]), None);
        assert_eq!(place("/scratch", lustre).shared, Some("Lustre"));
        // The numbers of CVMFS, VAST and others may change or are not known: none of them is
        // taken for a disk of the node.
        for kind in [0x2003_0528, 0x0102_1997, 0x6462_671F, 0] {
            assert_eq!(place("/other", kind).shared, Some(UNKNOWN), "{kind:x}");
            assert_eq!(chosen(&[("/other", kind)]), None);
        }
        assert_eq!(
            Place::of_kind(Path::new("/gone"), None).shared,
            Some(UNKNOWN)
        );
        for kind in LOCAL {
            assert_eq!(place("/local", kind).shared, None, "{kind:x}");
        }
        let error = choose_place(&["/none".into(), "relative".into()]).unwrap_err();
        assert!(error.to_string().contains("/none, relative"), "{error}");
    }

    #[test]
    fn room_is_that_of_the_file_system_and_of_memory() {
        let judge = |free, memory| judge_room(Path::new("/tmp"), 100, free, memory);
        judge(100, None).unwrap();
        judge(100, Some(200)).unwrap();
        let disk = judge(99, None).unwrap_err().to_string();
        assert!(
            disk.contains("does not fit into `/tmp`, which has 99 B free"),
            "{disk}"
        );
        let memory = judge(100, Some(199)).unwrap_err().to_string();
        assert!(memory.contains("`/tmp` is in memory"), "{memory}");
        let scratch = tempfile::tempdir().unwrap();
        check_room(scratch.path(), 1).unwrap();
        check_room(scratch.path(), u64::MAX).unwrap_err();
    }
}
