//! Responsible for deciding whether a cache can be trusted. A user who can write into a cache
//! decides which files are installed, unless their digests are known.

mod blocks;
mod clean;

use std::{
    fs::Metadata,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::bail;
use condense_oci::Cache;
use condense_prefix::NetworkSettings;
use rustix::process::{getegid, geteuid, getgroups};

use crate::{
    plan::{CacheLimit, PackageSettings},
    report::Report,
};
pub use blocks::BlocksChecked;
pub(crate) use blocks::{BlockCache, FileState, Finished};
pub use clean::{CacheCleaned, CacheCleaning, CacheDirs, CachePart, CacheUse};
use condense_diagnostics::UserError;

/// Parts of a cache whose contents are not checked when they are used: indices, finished images,
/// layers, and blocks, whose checksums come with them.
const UNCHECKED: [&str; 3] = ["index", "oci", blocks::DIR];
/// The part of a cache whose contents are checked by their digests.
const CHECKED: &str = "archives";
const OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;
/// Mode bits that give other users any access at all.
const ALL_OTHERS: u32 = 0o077;

/// Users who can change the contents of a directory.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// This user and root alone.
    Own,
    /// Also a group. Either this user has opened the directory to it, or the directory is open to a
    /// group that this user is a member of.
    Shared,
    /// Another user, for the reason in the text.
    Foreign(String),
}

/// The user and groups of this process, and the users that count as the system.
#[derive(Debug)]
struct Myself {
    user: u32,
    groups: Vec<u32>,
    /// The numbers that root is seen as. In a container without root, that is the overflow user.
    root: Vec<u32>,
}

impl Myself {
    fn look() -> Self {
        let mut groups: Vec<u32> = getgroups()
            .unwrap_or_default()
            .into_iter()
            .map(rustix::fs::Gid::as_raw)
            .collect();
        groups.push(getegid().as_raw());
        let mut root = vec![0];
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        // The map is `0 0 4294967295` if all users are mapped. Otherwise owners that are not mapped
        // are shown as the overflow user.
        if !map.split_whitespace().eq(["0", "0", "4294967295"]) {
            let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowuid");
            root.extend(
                overflow
                    .ok()
                    .and_then(|text| text.trim().parse::<u32>().ok()),
            );
        }
        Self {
            user: geteuid().as_raw(),
            groups,
            root,
        }
    }

    fn is_trusted(&self, found: &Metadata) -> bool {
        found.uid() == self.user || self.root.contains(&found.uid())
    }

    /// Judges a directory above the cache by the users who can put another directory in the cache's
    /// place. Members of its group may be able to, but then the new directory belongs to them,
    /// which [`Myself::judge`] detects.
    fn judge_parent(&self, path: &Path, found: &Metadata) -> Standing {
        let shown = path.display();
        if found.mode() & 0o002 != 0 && found.mode() & STICKY == 0 {
            return Standing::Foreign(format!("everybody can write into `{shown}`"));
        }
        if self.is_trusted(found) || self.groups.contains(&found.gid()) {
            return Standing::Own;
        }
        Standing::Foreign(format!("`{shown}` belongs to another user"))
    }

    /// Judges the cache itself or something in it.
    fn judge(&self, path: &Path, found: &Metadata) -> Standing {
        let shown = path.display();
        if found.mode() & 0o002 != 0 && !found.is_symlink() {
            return Standing::Foreign(format!("everybody can write into `{shown}`"));
        }
        match (self.is_trusted(found), found.mode() & OTHERS != 0) {
            (true, false) => Standing::Own,
            (true, true) => Standing::Shared,
            // An owner can always change a directory. One that this user's group may write is meant
            // to be shared.
            (false, true) if self.groups.contains(&found.gid()) => Standing::Shared,
            (false, _) => Standing::Foreign(format!("`{shown}` belongs to another user")),
        }
    }

    /// Judges a directory that exists, with all that is above it and the unchecked parts in it.
    fn standing(&self, dir: &Path) -> std::io::Result<Standing> {
        let dir = fs_err::canonicalize(dir)?;
        for parent in dir.ancestors().skip(1) {
            let standing = self.judge_parent(parent, &fs_err::metadata(parent)?);
            if standing != Standing::Own {
                return Ok(standing);
            }
        }
        let found = fs_err::metadata(&dir)?;
        let standing = self.judge(&dir, &found);
        if standing != Standing::Own || found.mode() & ALL_OTHERS == 0 {
            // Other users cannot enter a closed directory, so its contents need not be judged.
            return Ok(standing);
        }
        let mut ahead: Vec<PathBuf> = UNCHECKED.iter().map(|name| dir.join(name)).collect();
        ahead.push(dir.join(CHECKED));
        while let Some(path) = ahead.pop() {
            let Ok(found) = std::fs::symlink_metadata(&path) else {
                continue;
            };
            let standing = if found.is_symlink() && !self.is_trusted(&found) {
                Standing::Foreign(format!("`{}` belongs to another user", path.display()))
            } else if found.is_symlink() {
                Standing::Own
            } else {
                self.judge(&path, &found)
            };
            if standing != Standing::Own {
                return Ok(standing);
            }
            // Archives are checked by their digests, so they need not be judged one by one.
            if found.is_dir() && !path.ends_with(CHECKED) {
                for entry in fs_err::read_dir(&path)? {
                    ahead.push(entry?.path());
                }
            }
        }
        Ok(standing)
    }
}

/// Makes a directory that is missing, for this user alone.
fn make(dir: &Path) -> std::io::Result<()> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    made.map_err(|error| std::io::Error::new(error.kind(), error.to_string()))
}

/// Closes the user's own cache to others if an earlier umask has left it open. The unchecked parts
/// are removed, since others may have written into them.
fn close(dir: &Path, report: &Report) -> std::io::Result<()> {
    let found = fs_err::symlink_metadata(dir)?;
    let open = |path: &Path| {
        let found = std::fs::symlink_metadata(path);
        found.is_ok_and(|found| found.is_dir() && found.mode() & OTHERS != 0)
    };
    let is_open = open(dir) || UNCHECKED.iter().any(|name| open(&dir.join(name)));
    if !found.is_dir() || found.uid() != geteuid().as_raw() || !is_open {
        return Ok(());
    }
    fs_err::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    for name in UNCHECKED {
        let part = dir.join(name);
        if part.is_dir() {
            fs_err::remove_dir_all(part)?;
        }
    }
    report.info(format!(
        "the cache `{}` could be written by others: it is yours alone now, and its indices and images are fetched again",
        dir.display()
    ));
    Ok(())
}

/// Makes this user's own cache if it is missing, closes it to others, tries to write into it, and
/// judges it.
fn own(dir: &Path, report: &Report) -> std::io::Result<Standing> {
    make(dir)?;
    close(dir, report)?;
    tempfile::Builder::new().prefix(".cw-").tempfile_in(dir)?;
    Myself::look().standing(dir)
}

impl PackageSettings {
    /// Returns access to the channels, with a cache that can be trusted. A cache that users
    /// outside of this user's groups can change is not used at all. From a cache that a group
    /// shares, only archives with known digests are used. The rest is kept in the user's own
    /// cache, or in `scratch` if that one cannot be trusted.
    pub(super) fn trusted_network(&self, scratch: &Path, report: &Report) -> NetworkSettings {
        let dir = &self.network.cache_dir;
        let for_this_build = scratch.join("cache");
        let refused = |why: String| {
            report.warning(format!(
                "the cache `{}` {why}: archives are kept for this build only; name another place with CONDENSE_CACHE_DIR",
                dir.display()
            ));
            for_this_build.clone()
        };
        let standing = if *dir == self.own_cache {
            own(dir, report)
        } else {
            make(dir)
                .and_then(|()| tempfile::Builder::new().prefix(".cw-").tempfile_in(dir))
                .and_then(|_| Myself::look().standing(dir))
        };
        let (cache_dir, private_dir) = match standing {
            Ok(Standing::Own) => (dir.clone(), None),
            Ok(Standing::Shared) => {
                let private = match own(&self.own_cache, report) {
                    Ok(Standing::Own) => self.own_cache.clone(),
                    _ => for_this_build,
                };
                report.debug(format!(
                    "`{}` is shared: indices are kept in `{}`",
                    dir.display(),
                    private.display()
                ));
                (dir.clone(), Some(private))
            }
            Ok(Standing::Foreign(why)) => (refused(format!("is not used, since {why}")), None),
            Err(error) => (refused(format!("cannot be written ({error})")), None),
        };
        NetworkSettings {
            cache_dir,
            private_dir,
            ..self.network.clone()
        }
    }
}

impl CacheLimit {
    /// Opens a cache of images that can be trusted. Finished images are used without a check, so
    /// the cache must be the user's own.
    ///
    /// # Errors
    /// Returns an error if neither this cache nor the user's default one belongs to this user
    /// alone.
    pub(super) fn open(&self, report: &Report) -> anyhow::Result<Cache> {
        let parent = |dir: &Path| dir.parent().unwrap_or(dir).to_owned();
        let mut why = Vec::new();
        for dir in [&self.dir, &self.own] {
            let place = parent(dir);
            let standing = make(&place).and_then(|()| {
                if *dir == self.own {
                    close(&place, report)?;
                }
                Myself::look().standing(&place)
            });
            let problem = match standing {
                Ok(Standing::Own) => return Ok(Cache::new(dir, self.size_max)),
                Ok(Standing::Shared) => format!("`{}` is shared with others", place.display()),
                Ok(Standing::Foreign(why)) => why,
                Err(error) => error.to_string(),
            };
            if !why.contains(&problem) {
                why.push(problem);
            }
        }
        bail!(UserError::new(
            format!(
                "there is no place for images that is yours alone: {}",
                why.join("; ")
            ),
            "name a directory of your own with CONDENSE_CACHE_DIR, or make the cache yours with `chmod -R go-w`",
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    struct TestDir {
        dir: tempfile::TempDir,
        myself: Myself,
    }

    impl TestDir {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
                myself: Myself {
                    groups: vec![4242],
                    ..Myself::look()
                },
            }
        }

        fn make(&self, name: &str, mode: u32) -> PathBuf {
            let path = self.dir.path().join(name);
            make(&path).unwrap();
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        }

        fn standing(&self, dir: &Path) -> Standing {
            self.myself.standing(dir).unwrap()
        }

        fn is_foreign(&self, dir: &Path, word: &str) -> bool {
            matches!(self.standing(dir), Standing::Foreign(why) if why.contains(word))
        }
    }

    #[test]
    fn a_cache_is_its_user_s_when_nobody_else_can_write_into_it() {
        let test_dir = TestDir::new();
        let cache = test_dir.make("cache", 0o755);
        test_dir.make("cache/index", 0o755);
        assert_eq!(test_dir.standing(&cache), Standing::Own);
        let index = test_dir.dir.path().join("cache/index/x.json");
        fs_err::write(&index, "x").unwrap();
        for (mode, standing) in [(0o644, Standing::Own), (0o664, Standing::Shared)] {
            fs_err::set_permissions(&index, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(test_dir.standing(&cache), standing);
        }
        // Other users cannot enter the directory any more.
        test_dir.make("cache", 0o700);
        assert_eq!(test_dir.standing(&cache), Standing::Own);
        test_dir.make("cache", 0o2770);
        assert_eq!(test_dir.standing(&cache), Standing::Shared);
        test_dir.make("cache", 0o777);
        assert!(test_dir.is_foreign(&cache, "everybody can write"));
        test_dir.make("cache", 0o1777);
        assert!(test_dir.is_foreign(&cache, "everybody can write"));
    }

    #[test]
    fn directories_on_the_way_count_but_for_those_of_a_project_and_sticky_ones() {
        let test_dir = TestDir::new();
        let cache = test_dir.make("project/cache", 0o700);
        for (mode, own) in [
            (0o755, true),
            (0o2775, true),
            (0o1777, true),
            (0o777, false),
        ] {
            test_dir.make("project", mode);
            assert_eq!(test_dir.standing(&cache) == Standing::Own, own, "{mode:o}");
        }
    }

    #[test]
    fn another_user_s_is_not_believed() {
        if !geteuid().is_root() {
            return;
        }
        let test_dir = TestDir::new();
        let cache = test_dir.make("tmp/condense", 0o700);
        test_dir.make("tmp", 0o1777);
        chown(&cache, Some(12345), Some(12345)).unwrap();
        assert!(test_dir.is_foreign(&cache, "another user"));
        // A directory of a project's group is shared.
        chown(&cache, Some(12345), Some(4242)).unwrap();
        assert!(test_dir.is_foreign(&cache, "another user"));
        test_dir.make("tmp/condense", 0o2770);
        assert_eq!(test_dir.standing(&cache), Standing::Shared);
        chown(&cache, Some(0), Some(0)).unwrap();
        let index = test_dir.make("tmp/condense/index", 0o755);
        test_dir.make("tmp/condense", 0o755);
        assert_eq!(test_dir.standing(&cache), Standing::Own);
        chown(&index, Some(12345), Some(12345)).unwrap();
        assert!(test_dir.is_foreign(&cache, "another user"));
        fs_err::remove_dir(&index).unwrap();
        symlink("/nowhere", &index).unwrap();
        std::os::unix::fs::lchown(&index, Some(12345), None).unwrap();
        assert!(test_dir.is_foreign(&cache, "another user"));
        chown(test_dir.dir.path().join("tmp"), Some(12345), Some(12345)).unwrap();
        assert!(test_dir.is_foreign(&cache, "another user"));
    }

    #[test]
    fn the_user_s_own_place_is_closed_and_cleaned() {
        let test_dir = TestDir::new();
        let cache = test_dir.make("cache", 0o775);
        for name in ["index", "oci/sif", "archives"] {
            test_dir.make(&format!("cache/{name}"), 0o755);
            fs_err::write(cache.join(name).join("x"), "x").unwrap();
        }
        let report = Report::silent();
        assert_eq!(own(&cache, &report).unwrap(), Standing::Own);
        assert!(!cache.join("index").exists() && !cache.join("oci").exists());
        assert!(cache.join("archives/x").exists());
        assert_eq!(fs_err::metadata(&cache).unwrap().mode() & 0o777, 0o700);
        fs_err::create_dir(cache.join("index")).unwrap();
        assert_eq!(own(&cache, &report).unwrap(), Standing::Own);
        assert!(cache.join("index").exists());
    }
}
