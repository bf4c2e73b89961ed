//! Responsible for an environment in which a start on this machine may have written: nothing keeps
//! the programs of a start from it there, as a container does.

use std::{
    collections::BTreeMap,
    fs::Metadata,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::start::FOUND;
use crate::{error::Error, target::Place};
use condense_within::Within;

/// Attributes of a file by which a change is noticed.
struct Facts {
    mode: u32,
    links: u64,
    /// Size and modification time. Those of a directory are left out, since each new file changes
    /// them.
    content: Option<(u64, [i64; 2])>,
    /// Time of the last status change, which is also that of a new or a removed link.
    changed: [i64; 2],
}

impl Facts {
    fn of(found: &Metadata) -> Self {
        let content = (found.size(), [found.mtime(), found.mtime_nsec()]);
        Self {
            mode: found.mode(),
            links: found.nlink(),
            content: (!found.is_dir()).then_some(content),
            changed: [found.ctime(), found.ctime_nsec()],
        }
    }

    /// Returns whether the file is as it was `before`. A file that has several links, or had them,
    /// may be one of a package cache, where other builds link and remove it.
    fn is_as(&self, before: &Self) -> bool {
        let has_one_link = self.links == 1 && before.links == 1;
        (self.mode, self.content) == (before.mode, before.content)
            && (self.content.is_none() || !has_one_link || self.changed == before.changed)
    }
}

/// Everything in an environment before a start.
pub(super) struct StartGuard {
    env: PathBuf,
    before: BTreeMap<PathBuf, Facts>,
}

impl StartGuard {
    /// Lists the environment at `place`.
    pub(super) fn new(place: &Place) -> Result<Self, Error> {
        let env = place.scratch_env();
        Ok(Self {
            before: list(&env)?,
            env,
        })
    }

    /// Removes what has been added since, and takes it out of the result of the start. If anything
    /// else is different, the start has no result.
    pub(super) fn settle(&self, place: &Place) -> Result<(), Error> {
        let now = list(&self.env)?;
        let build_dir = place.open_build_dir()?;
        let is_changed = |(path, before): &(&PathBuf, &Facts)| {
            now.get(*path).is_none_or(|found| !found.is_as(before))
        };
        if let Some((changed, _)) = self.before.iter().find(is_changed) {
            let shown = changed.display();
            let text = format!("failed it has changed `{shown}` in the environment\n");
            return Ok(build_dir.write(FOUND, text)?);
        }
        let added = now.keys().filter(|path| !self.before.contains_key(*path));
        let added: Vec<&PathBuf> = added.collect();
        let Some(first) = added.first() else {
            return Ok(());
        };
        let env = Within::open(&self.env)?;
        // Each directory goes after everything in it.
        for path in added.iter().rev() {
            env.remove(path)?;
        }
        let found = build_dir.read(FOUND)?.unwrap_or_default();
        let is_kept = |line: &&[u8]| {
            let path = line.strip_prefix(b"file ").map(String::from_utf8_lossy);
            !path.is_some_and(|path| added.iter().any(|added| *added == Path::new(&*path)))
        };
        let lines: Vec<&[u8]> = found.split(|byte| *byte == b'\n').filter(is_kept).collect();
        let mut text = lines.join(&b'\n');
        let shown = first.display();
        let said = format!("failed `{shown}`, which it has written into the environment\n");
        text.extend_from_slice(said.as_bytes());
        Ok(build_dir.write(FOUND, text)?)
    }
}

fn list(env: &Path) -> Result<BTreeMap<PathBuf, Facts>, Error> {
    let mut found = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(below) = pending.pop() {
        let dir = env.join(&below);
        let mut listed = || -> io::Result<()> {
            for entry in std::fs::read_dir(&dir)? {
                let entry = entry?;
                let (path, facts) = (below.join(entry.file_name()), entry.metadata()?);
                if facts.is_dir() {
                    pending.push(path.clone());
                }
                found.insert(path, Facts::of(&facts));
            }
            Ok(())
        };
        listed().map_err(Error::io("read", &dir))?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Runs a program as a child of a start would, in the directory of an environment. Returns the
    /// result of the start, and what is in the environment then.
    fn settled(program: &str) -> (String, Vec<PathBuf>) {
        let root = tempfile::tempdir().unwrap();
        let place = Place {
            root: root.path().to_owned(),
            mount_point: "/MOUNT_abc1234".into(),
            environment: "env".into(),
            packages: root.path().join("packages"),
        };
        fs_err::create_dir_all(place.scratch_env().join("dir")).unwrap();
        fs_err::write(place.scratch_env().join("dir/kept"), "kept").unwrap();
        fs_err::hard_link(
            place.scratch_env().join("dir/kept"),
            place.scratch_env().with_file_name("cached"),
        )
        .unwrap();
        let guard = StartGuard::new(&place).unwrap();
        let found = "file dir/kept\nfile dir/made\nfailed import x: no\n";
        let build_dir = place.open_build_dir().unwrap();
        build_dir.write(FOUND, found).unwrap();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", program]).current_dir(place.scratch_env());
        assert!(shell.status().unwrap().success());
        guard.settle(&place).unwrap();
        let left = list(&place.scratch_env()).unwrap().into_keys().collect();
        let text = build_dir.read_text(FOUND).unwrap().unwrap();
        (text, left)
    }

    #[test]
    fn what_programs_of_a_start_write_is_not_in_the_environment() {
        let kept = ["dir", "dir/kept"].map(PathBuf::from);
        let (found, left) = settled("cat dir/kept >/dev/null");
        assert!(found.contains("file dir/made\n"), "{found}");
        assert_eq!(left, kept);
        let (found, left) = settled("echo 1 >dir/made; mkdir -p new/dir; ln -s /etc new/dir/link");
        let expected = "file dir/kept\nfailed import x: no\n\
                        failed `dir/made`, which it has written into the environment\n";
        assert_eq!(found, expected);
        assert_eq!(left, kept);
        // Another build links a file of a package cache, or removes it there.
        for program in ["ln dir/kept ../linked", "rm ../cached"] {
            let (found, _) = settled(program);
            assert!(!found.contains("changed"), "{found}");
        }
        for program in ["echo twos >dir/kept", "rm dir/kept", "chmod 777 dir"] {
            let (found, _) = settled(program);
            assert!(found.starts_with("failed it has changed `dir"), "{found}");
            assert!(!found.contains("file "), "{found}");
        }
    }
}
