//! Responsible for byte-compiling sources that are held back: the interpreter gets their texts in
//! one file, and its byte code is read from a few files.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io::{BufWriter, Read, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use condense_within::{Access, Within};
use rustix::fs::FileType;

use super::{
    batches::{Batch, StandIn},
    known::Whole,
};
use crate::{bytecode, error::Error, held::Held, python::Python};

/// Name of the file with the texts of the sources, in the directory of build steps.
const SOURCES: &str = "sources";
/// Name of the list of the texts.
const INDEX: &str = "sources.index";
/// Name of the file with the path that the environment has in byte code.
const AS: &str = "sources.as";
/// Name of the directory into which the interpreter writes byte code.
const BYTECODE: &str = "bytecode";
/// Largest size of the byte code of one batch.
pub(super) const BYTECODE_MAX: usize = 1 << 30;
/// Longest line before byte code.
const LINE_MAX: usize = 8 << 10;
/// Line behind the byte code of a batch, without its end: nothing of nothing.
const END: &[u8] = b"0 ";

/// Writes the texts of the sources.
///
/// # Errors
/// Returns [`Error::Io`] if a file cannot be written, and [`Error::LeadsOut`] if a link leads out
/// of the environment.
pub(super) fn write_sources(
    held: &Held,
    env_dir: &Within,
    build_dir: &Within,
    to_compile: &[Batch],
    stand_in: &StandIn<'_>,
) -> Result<(), Error> {
    build_dir.make_own_dir(BYTECODE)?;
    let (path, mut offset, mut index) = (build_dir.path(SOURCES), 0, Vec::new());
    let file = fs_err::File::create_new(&path).map_err(Error::io("create", &path))?;
    let mut file = BufWriter::new(file);
    for source in to_compile.iter().flat_map(|batch| &batch.sources) {
        let text = stand_in.text_of(source, held, env_dir)?;
        file.write_all(&text).map_err(Error::io("write", &path))?;
        index.extend_from_slice(format!("{offset} {} ", text.len()).as_bytes());
        index.extend_from_slice(source.as_os_str().as_bytes());
        index.push(b'\n');
        offset += text.len();
    }
    file.flush().map_err(Error::io("write", path))?;
    build_dir.write(AS, stand_in.text())?;
    Ok(build_dir.write(INDEX, index)?)
}

/// Removes what [`write_sources`] has written, so that a later run compiles nothing.
pub(super) fn remove_sources(build_dir: &Within) -> Result<(), Error> {
    for name in [SOURCES, INDEX, AS] {
        build_dir.remove(name)?;
    }
    Ok(())
}

/// Takes the byte code that the interpreter has written. Returns that of whole batches with a key,
/// as it was read.
///
/// # Errors
/// Returns [`Error::Io`] if a file cannot be read, written or understood.
pub(super) fn collect(
    held: &mut Held,
    env_dir: &Within,
    build_dir: &Within,
    python: &Python,
    to_compile: &[Batch],
    stand_in: &StandIn<'_>,
) -> Result<Vec<Whole>, Error> {
    let mut whole = Vec::new();
    for (number, batch) in to_compile.iter().enumerate() {
        let path = Path::new(BYTECODE).join(number.to_string());
        let Some(file) = build_dir.open_file(&path, Access::Read)? else {
            continue;
        };
        let mut bytes = Vec::new();
        let read = file.take(BYTECODE_MAX as u64 + 1).read_to_end(&mut bytes);
        read.map_err(Error::io("read", build_dir.path(&path)))?;
        let parsed = Some(&*bytes).filter(|bytes| bytes.len() <= BYTECODE_MAX);
        let Some(mut compiled) = parsed.and_then(|bytes| Compiled::parse(bytes, batch, python))
        else {
            let kind = std::io::ErrorKind::InvalidData;
            return Err(Error::io("understand", build_dir.path(path))(kind.into()));
        };
        let is_whole = compiled.is_whole;
        compiled.restore(stand_in, python, held, env_dir)?;
        compiled.insert(held, env_dir)?;
        if let Some(key) = batch.key.filter(|_| is_whole) {
            whole.push(Whole { number, key, bytes });
        }
    }
    Ok(whole)
}

/// Byte code of a batch. Sources that do not compile have none.
pub(super) struct Compiled {
    /// Sources with the paths and the contents of their byte code.
    files: Vec<(PathBuf, PathBuf, Vec<u8>)>,
    /// Whether the interpreter has come to the end of the batch.
    pub(super) is_whole: bool,
}

impl Compiled {
    /// Reads byte code with a line `LENGTH PATH` before each file. What follows the last whole file
    /// was written by an interpreter that was killed, which its status shows. Returns `None` if it
    /// is something else, or not of this batch.
    pub(super) fn parse(bytes: &[u8], batch: &Batch, python: &Python) -> Option<Self> {
        let mut sources: HashMap<PathBuf, &Path> = HashMap::new();
        for source in &batch.sources {
            let paths = bytecode::paths_of(source, python).into_iter();
            sources.extend(paths.map(|path| (path, source.as_path())));
        }
        let (mut rest, mut files) = (bytes, Vec::new());
        loop {
            let head = &rest[..rest.len().min(LINE_MAX)];
            let Some(end) = head.iter().position(|byte| *byte == b'\n') else {
                let is_whole = false;
                return (head.len() < LINE_MAX).then_some(Self { files, is_whole });
            };
            let (line, behind) = (&rest[..end], &rest[end + 1..]);
            if line == END {
                let is_whole = true;
                return behind.is_empty().then_some(Self { files, is_whole });
            }
            let at = line.iter().position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(&line[..at]).ok()?.parse().ok()?;
            let path = Path::new(OsStr::from_bytes(&line[at + 1..]));
            let (path, source) = sources.get_key_value(path)?;
            if length > BYTECODE_MAX {
                return None;
            }
            let Some((code, behind)) = behind.split_at_checked(length) else {
                let is_whole = false;
                return Some(Self { files, is_whole });
            };
            files.push((source.to_path_buf(), path.clone(), code.to_vec()));
            rest = behind;
        }
    }

    /// Makes the byte code that of the environment.
    pub(super) fn restore(
        &mut self,
        stand_in: &StandIn<'_>,
        python: &Python,
        held: &Held,
        env_dir: &Within,
    ) -> Result<(), Error> {
        for (source, _, code) in &mut self.files {
            stand_in.restore(code, source, python, held, env_dir)?;
        }
        Ok(())
    }

    /// Adds the byte code to what is held back. That of a source in the prefix is written into the
    /// prefix.
    pub(super) fn insert(self, held: &mut Held, env_dir: &Within) -> Result<(), Error> {
        for (source, path, code) in self.files {
            if held.part(&source).is_some() {
                // A package's link in its place stays, as the interpreter leaves it.
                if held.part(&path).is_some() || !held.has(&path) {
                    held.insert(path, &code)?;
                }
            } else if is_free(env_dir, &path) {
                env_dir.make_dir(path.parent().unwrap_or(Path::new("")))?;
                // A copy of older byte code would count as such.
                held.remove(&path);
                env_dir.write(path, code)?;
            }
        }
        Ok(())
    }
}

/// Returns whether byte code can be written at a path: whether it has nothing or a regular file.
fn is_free(env_dir: &Within, path: &Path) -> bool {
    env_dir
        .stat_of_link(path)
        .is_none_or(|found| FileType::from_raw_mode(found.st_mode) == FileType::RegularFile)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{collections::HashSet, os::unix::fs::symlink, sync::Arc};

    use super::{super::batches::batches, *};
    use crate::spool::Spool;

    struct Setting {
        dir: tempfile::TempDir,
        held: Held,
        env_dir: Within,
        build_dir: Within,
        batches: Vec<Batch>,
    }

    impl Setting {
        /// Makes an environment with one source that is held back and one in the prefix.
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for name in ["env/lib", "build"] {
                fs_err::create_dir_all(dir.path().join(name)).unwrap();
            }
            fs_err::write(dir.path().join("env/lib/disk.py"), "disk").unwrap();
            fs_err::write(dir.path().join("victim"), "precious").unwrap();
            let spool = Arc::new(Spool::create(dir.path()).unwrap());
            let mut held = Held::of(spool, &mut []);
            held.insert("lib/held.py".into(), b"held back").unwrap();
            held.insert("share/other".into(), b"").unwrap();
            Self {
                env_dir: Within::open(dir.path().join("env")).unwrap(),
                build_dir: Within::open(dir.path().join("build")).unwrap(),
                batches: batches(
                    &["lib/disk.py", "lib/held.py", "lib/line\nbreak.py"].map(PathBuf::from),
                ),
                held,
                dir,
            }
        }

        fn prepare(&mut self) {
            self.batches[0].key = Some([7; 32]);
            let (held, batches) = (&self.held, &self.batches);
            let written = write_sources(
                held,
                &self.env_dir,
                &self.build_dir,
                batches,
                &stand_in(&HashSet::new()),
            );
            written.unwrap();
        }

        /// Takes these results of a batch. Returns what is kept.
        fn collect(&mut self, results: &[u8]) -> Result<Vec<Vec<u8>>, String> {
            fs_err::write(self.dir.path().join("build/bytecode/0"), results).unwrap();
            collect(
                &mut self.held,
                &self.env_dir,
                &self.build_dir,
                &Python::new(3, 11),
                &self.batches,
                &stand_in(&HashSet::new()),
            )
            .map(|whole| {
                assert!(whole.iter().all(|one| one.key == [7; 32]));
                whole.into_iter().map(|one| one.bytes).collect()
            })
            .map_err(|error| error.to_string())
        }

        /// Takes these results of a batch from an earlier build.
        fn take(&mut self, results: &[u8]) -> bool {
            let (batch, python) = (&self.batches[0], Python::new(3, 11));
            let parsed = Compiled::parse(results, batch, &python);
            let Some(mut compiled) = parsed.filter(|compiled| compiled.is_whole) else {
                return false;
            };
            let (held, env_dir) = (&mut self.held, &self.env_dir);
            let none = HashSet::new();
            let restored = compiled.restore(&stand_in(&none), &python, held, env_dir);
            restored.unwrap();
            compiled.insert(held, env_dir).unwrap();
            true
        }

        fn held(&self, path: &str) -> Vec<u8> {
            let part = self.held.part(Path::new(path)).unwrap();
            self.held.read(part).unwrap()
        }
    }

    fn stand_in(patched: &HashSet<PathBuf>) -> StandIn<'_> {
        StandIn::of(Path::new("/MOUNT_abc1234/miniforge/envs/env1"), patched)
    }

    const DISK: &str = "lib/__pycache__/disk.cpython-311.pyc";
    const HELD: &str = "lib/__pycache__/held.cpython-311.pyc";

    #[test]
    fn sources_go_to_the_interpreter_and_byte_code_comes_back() {
        let mut setting = Setting::new();
        setting.prepare();
        let text = |name: &str| fs_err::read_to_string(setting.dir.path().join(name)).unwrap();
        assert_eq!(text("build/sources"), "diskheld back");
        assert_eq!(
            text("build/sources.index"),
            "0 4 lib/disk.py\n4 9 lib/held.py\n"
        );
        assert_eq!(
            text("build/sources.as").as_bytes(),
            stand_in(&HashSet::new()).text()
        );
        let code = [stand_in(&HashSet::new()).text(), b"/lib/held.py\n"].concat();
        let results = [
            format!("3 {DISK}\none{} {HELD}\n", code.len()).as_bytes(),
            &code,
        ]
        .concat();
        let kept = setting.collect(&results).unwrap();
        assert!(kept.is_empty(), "the batch may have more");
        let expected = b"/MOUNT_abc1234/miniforge/envs/env1/lib/held.py\n";
        assert_eq!(setting.env_dir.read_required(DISK).unwrap(), b"one");
        assert_eq!(setting.held(HELD), expected);
        assert!(!setting.env_dir.has(HELD));

        // A whole batch is kept as it was written, and is the same in a later build.
        let results = [&*results, b"0 \n"].concat();
        assert_eq!(setting.collect(&results).unwrap(), [&*results]);
        let mut later = Setting::new();
        assert!(later.take(&results));
        assert_eq!(later.env_dir.read_required(DISK).unwrap(), b"one");
        assert_eq!(later.held(HELD), expected);
    }

    /// Sources that do not compile have no byte code in a later build either. A result that is cut
    /// off, or belongs to other sources, is not taken, not even a part of it.
    #[test]
    fn only_whole_batches_of_the_same_sources_are_taken() {
        let mut setting = Setting::new();
        assert!(setting.take(b"0 \n"));
        let good = format!("3 {HELD}\none0 \n");
        for length in 0..good.len() {
            assert!(!setting.take(&good.as_bytes()[..length]), "{length}");
        }
        for bad in [
            format!("{good}{good}"),
            format!("{good}x"),
            format!("3 {HELD}\none3 share/other\nbad0 \n"),
        ] {
            assert!(!setting.take(bad.as_bytes()), "{bad}");
        }
        assert!(!setting.held.has(Path::new(HELD)));
        assert!(setting.take(good.as_bytes()));
        assert_eq!(setting.held(HELD), b"one");
    }

    #[test]
    fn byte_code_of_a_killed_interpreter_is_left_out() {
        let mut setting = Setting::new();
        setting.prepare();
        for results in [
            format!("4 {HELD}\nbad"),
            format!("3 {HELD}"),
            format!("4 {HELD}\n"),
        ] {
            setting.collect(results.as_bytes()).unwrap();
            assert!(!setting.held.has(Path::new(HELD)));
        }
    }

    #[test]
    fn byte_code_of_nothing_that_was_asked_for_is_refused() {
        for results in [
            "3 ../victim\nbad".to_owned(),
            "3 share/other\nbad".to_owned(),
            format!("-3 {HELD}\nbad"),
            format!("99999999999999999999 {HELD}\nbad"),
            format!("{} {HELD}\nbad", u64::MAX),
            "\n\n".to_owned(),
            "x".repeat(20_000),
            format!("3 {HELD}\nold0 \n0 \n"),
        ] {
            let mut setting = Setting::new();
            setting.prepare();
            let said = setting.collect(results.as_bytes()).unwrap_err();
            assert!(said.starts_with("failed to understand"), "{said}");
            assert!(!setting.held.has(Path::new(HELD)));
        }
    }

    #[test]
    fn byte_code_is_not_written_through_links() {
        let mut setting = Setting::new();
        setting.prepare();
        let victim = setting.dir.path().join("victim");
        fs_err::create_dir(setting.dir.path().join("env/lib/__pycache__")).unwrap();
        symlink(&victim, setting.env_dir.path(DISK)).unwrap();
        setting
            .collect(format!("3 {DISK}\nbad").as_bytes())
            .unwrap();
        assert!(setting.env_dir.path(DISK).is_symlink());
        let results = setting.dir.path().join("build/bytecode/0");
        fs_err::remove_file(&results).unwrap();
        symlink(&victim, results).unwrap();
        let batches = &setting.batches;
        let (env_dir, build_dir) = (&setting.env_dir, &setting.build_dir);
        let python = Python::new(3, 11);
        let held = &mut setting.held;
        assert!(
            collect(
                held,
                env_dir,
                build_dir,
                &python,
                batches,
                &stand_in(&HashSet::new())
            )
            .is_err()
        );
        assert_eq!(fs_err::read_to_string(victim).unwrap(), "precious");
    }
}
