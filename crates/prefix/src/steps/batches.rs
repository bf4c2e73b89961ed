//! Responsible for which sources the interpreter compiles together, and for what their byte code
//! depends on: with the same key, it is the same in every environment.

use std::{
    collections::{BTreeMap, HashSet},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use condense_within::Within;
use sha2::{Digest, Sha256};

use super::{compile::COMPILE_PY, script::RUN_SH};
use crate::{bytecode, error::Error, held::Held, python::Python};

/// Maximum number of sources of a batch. What an interpreter has compiled before leaks into
/// marshalled bytes, and a process for each source takes longer than its work.
const BATCH: usize = 64;
/// Number of leading parts of a path that sources of one batch share: below `site-packages`, and in
/// the rest of a library.
const GROUP_PARTS: [usize; 2] = [4, 3];
/// Shortest path of an environment that a stand-in can have the place of: what is shorter may be in
/// byte code by chance.
const STAND_IN_BYTES_MIN: usize = 24;

/// Digest of everything that the byte code of a batch depends on.
pub type CodeKey = [u8; 32];

/// Sources that one process compiles, in the order in which it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Paths relative to the environment.
    pub(crate) sources: Vec<PathBuf>,
    /// Digest of what the byte code depends on. `None` if it is neither looked up nor kept.
    pub(crate) key: Option<CodeKey>,
}

/// Puts sources into batches. A batch has sources of one package, as far as their paths tell: those
/// below one name in `site-packages`. A change of another package then changes none of its bytes.
///
/// A path with a line break is left out, since a list has one path a line. The interpreter compiles
/// such a file at every import.
pub(crate) fn batches(sources: &[PathBuf]) -> Vec<Batch> {
    let mut groups: BTreeMap<PathBuf, Vec<&Path>> = BTreeMap::new();
    let is_listed = |path: &&PathBuf| !path.as_os_str().as_bytes().contains(&b'\n');
    for source in sources.iter().filter(is_listed) {
        groups.entry(group(source)).or_default().push(source);
    }
    let mut batches = Vec::new();
    for mut sources in groups.into_values() {
        sources.sort_unstable_by_key(|source| source.as_os_str());
        batches.extend(sources.chunks(BATCH).map(|sources| Batch {
            sources: sources.iter().map(|source| (*source).to_owned()).collect(),
            key: None,
        }));
    }
    batches
}

/// Returns what the sources of a batch have in common, as compile.py does.
fn group(source: &Path) -> PathBuf {
    let is_package = source
        .iter()
        .nth(2)
        .is_some_and(|name| name == "site-packages");
    if is_package {
        source.iter().take(GROUP_PARTS[0]).collect()
    } else {
        let dir = source.parent().unwrap_or(Path::new(""));
        dir.iter().take(GROUP_PARTS[1]).collect()
    }
}

/// Writes batches as compile.py reads them: one path a line, and an empty line between two batches.
pub(crate) fn list(batches: &[Batch]) -> Vec<u8> {
    let lines = |batch: &Batch| {
        let mut text = Vec::new();
        for path in &batch.sources {
            text.extend_from_slice(path.as_os_str().as_bytes());
            text.push(b'\n');
        }
        text
    };
    batches.iter().map(lines).collect::<Vec<_>>().join(&b'\n')
}

/// Returns a digest of what the byte code of a batch depends on: the interpreter, the program that
/// compiles, the path that the environment has meanwhile, and all sources.
pub(super) fn key(
    interpreter: &[u8; 32],
    stand_in: &StandIn<'_>,
    batch: &Batch,
    held: &Held,
    env_dir: &Within,
) -> Result<CodeKey, Error> {
    let mut digest = Sha256::new();
    digest.update(interpreter);
    for text in [COMPILE_PY.as_bytes(), RUN_SH.as_bytes(), stand_in.text()] {
        digest.update(Sha256::digest(text));
    }
    for source in &batch.sources {
        digest.update(Sha256::digest(source.as_os_str().as_bytes()));
        digest.update(Sha256::digest(stand_in.text_of(source, held, env_dir)?));
    }
    Ok(digest.finalize().into())
}

/// Path of the same length that an environment has while it is compiled. Byte code names its source
/// for tracebacks; with the stand-in it is the same in every environment, and the path takes its
/// place as the byte code comes into one: marshalled text has its length before it, and nothing
/// else depends on it. Sources into which linking has written the path get the stand-in, too.
#[derive(Debug)]
pub(super) struct StandIn<'a> {
    text: Vec<u8>,
    path: Vec<u8>,
    patched: &'a HashSet<PathBuf>,
}

impl<'a> StandIn<'a> {
    /// Makes the stand-in of the path at which an environment will be mounted. Of a path that is
    /// short or has other characters than ASCII, it is the path itself.
    pub(super) fn of(path: &Path, patched: &'a HashSet<PathBuf>) -> Self {
        let path = path.as_os_str().as_bytes().to_owned();
        let text = if path.is_ascii() && path.len() >= STAND_IN_BYTES_MIN {
            // No source has these digits.
            let digits = hex::encode(Sha256::digest("path of an environment that is compiled"));
            let text = std::iter::once(b'/').chain(digits.bytes().cycle());
            text.take(path.len()).collect()
        } else {
            path.clone()
        };
        Self {
            text,
            path,
            patched,
        }
    }

    /// Returns the path that byte code has before [`Self::restore`].
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Returns the text of a source, which is held back or in the prefix, as it is compiled.
    pub(super) fn text_of(
        &self,
        source: &Path,
        held: &Held,
        env_dir: &Within,
    ) -> Result<Vec<u8>, Error> {
        let mut text = real_text(source, held, env_dir)?;
        if self.patched.contains(source) {
            replace(&mut text, &self.path, &self.text);
        }
        Ok(text)
    }

    /// Makes byte code that of the environment: with its path, and with the hash of the source that
    /// the environment has.
    pub(super) fn restore(
        &self,
        bytecode: &mut [u8],
        source: &Path,
        python: &Python,
        held: &Held,
        env_dir: &Within,
    ) -> Result<(), Error> {
        replace(bytecode, &self.text, &self.path);
        if self.patched.contains(source) {
            bytecode::set_hash(bytecode, python, &real_text(source, held, env_dir)?);
        }
        Ok(())
    }
}

fn real_text(source: &Path, held: &Held, env_dir: &Within) -> Result<Vec<u8>, Error> {
    match held.part(source) {
        Some(part) => held.read(part),
        None => Ok(env_dir.read_required(source)?),
    }
}

/// Replaces text by other text of the same length.
fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    let (mut from, first) = (0, old.first().copied());
    let is_first = |byte: &u8| Some(*byte) == first;
    while let Some(at) = bytes[from..].iter().position(is_first) {
        let at = from + at;
        if bytes[at..].starts_with(old) {
            bytes[at..at + new.len()].copy_from_slice(new);
            from = at + new.len();
        } else {
            from = at + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches_of(sources: &[&str]) -> Vec<Vec<String>> {
        let sources: Vec<PathBuf> = sources.iter().map(PathBuf::from).collect();
        let names = |batch: Batch| {
            let names = batch.sources.into_iter();
            names.map(|path| path.display().to_string()).collect()
        };
        batches(&sources).into_iter().map(names).collect()
    }

    #[test]
    fn a_batch_has_sources_of_one_package() {
        let found = batches_of(&[
            "lib/python3.11/site-packages/six.py",
            "lib/python3.11/site-packages/a/y.py",
            "lib/python3.11/site-packages/a-b/z.py",
            "lib/python3.11/site-packages/a/x/deep/x.py",
            "lib/python3.11/site-packages/line\nbreak.py",
            "lib/python3.11/os.py",
            "lib/python3.11/abc.py",
            "lib/python3.11/json/tool.py",
            "top.py",
        ]);
        let expected: [&[&str]; 6] = [
            &["top.py"],
            &["lib/python3.11/abc.py", "lib/python3.11/os.py"],
            &["lib/python3.11/json/tool.py"],
            &[
                "lib/python3.11/site-packages/a/x/deep/x.py",
                "lib/python3.11/site-packages/a/y.py",
            ],
            &["lib/python3.11/site-packages/a-b/z.py"],
            &["lib/python3.11/site-packages/six.py"],
        ];
        assert_eq!(found, expected);
    }

    /// Large packages have several batches, which do not depend on the order of the sources.
    #[test]
    fn batches_are_bounded() {
        let mut names: Vec<String> = (0..150)
            .map(|number| format!("lib/python3.11/site-packages/a/m{number:03}.py"))
            .collect();
        let found =
            |names: &[String]| batches_of(&names.iter().map(|it| &**it).collect::<Vec<_>>());
        let batches = found(&names);
        assert_eq!(
            batches.iter().map(Vec::len).collect::<Vec<_>>(),
            [64, 64, 22]
        );
        assert_eq!(batches.concat(), names);
        names.reverse();
        assert_eq!(found(&names), batches);
    }

    #[test]
    fn lists_separate_batches_by_an_empty_line() {
        let sources =
            ["lib/p/site-packages/a.py", "lib/p/b/c.py", "lib/p/b/d.py"].map(PathBuf::from);
        let text = list(&batches(&sources));
        let text = String::from_utf8_lossy(&text);
        assert_eq!(
            text,
            "lib/p/b/c.py\nlib/p/b/d.py\n\nlib/p/site-packages/a.py\n"
        );
        assert!(list(&[]).is_empty());
    }

    #[test]
    fn a_stand_in_has_the_length_of_the_path() {
        let (path, patched) = ("/MOUNT_abc1234/miniforge/envs/env1", HashSet::new());
        let of = |path: &str| StandIn::of(path.as_ref(), &patched);
        let stand_in = of(path);
        let text = String::from_utf8_lossy(stand_in.text()).into_owned();
        assert!(text.len() == path.len() && text != path && text.starts_with('/'));
        let other = of("/MOUNT_xyz9876/miniforge/envs/env1");
        assert_eq!(stand_in.text(), other.text());
        let filled = |with: &str| format!("//{with}/a.py /x{with}{with}/{}", &text[..20]);
        let mut bytes = filled(&text).into_bytes();
        replace(&mut bytes, text.as_bytes(), path.as_bytes());
        assert_eq!(String::from_utf8_lossy(&bytes), filled(path));
        for own in ["/short", "/mounted/with/énvironment/é"] {
            assert_eq!(of(own).text(), own.as_bytes());
        }
    }
}
