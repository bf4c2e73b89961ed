//! Responsible for byte-compiling sources that are held back: the interpreter gets their texts in
//! one file, and its byte code is read from a few files.

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead, BufReader, BufWriter, Read, Write},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use condense_within::{Access, Within};
use rustix::fs::FileType;

use super::compile::is_listed;
use crate::{bytecode, error::Error, held::Held, python::Python};

/// Name of the file with the texts of the sources, in the directory of build steps.
const SOURCES: &str = "sources";
/// Name of the list of the texts.
const INDEX: &str = "sources.index";
/// Name of the directory into which the interpreter writes byte code.
const BYTECODE: &str = "bytecode";
/// Largest size of the byte code of one source.
const BYTECODE_MAX: usize = 1 << 30;
/// Longest line before byte code.
const LINE_MAX: u64 = 8 << 10;

/// Writes the texts of the sources, and copies the interpreter's own files into the prefix.
///
/// # Errors
/// Returns [`Error::Io`] if a file cannot be written, and [`Error::LeadsOut`] if a link
/// leads out of the environment.
pub(super) fn prepare(
    held: &mut Held,
    env_dir: &Within,
    build_dir: &Within,
    interpreter: &HashSet<PathBuf>,
    to_compile: &[PathBuf],
) -> Result<(), Error> {
    held.copy_out(env_dir, &|path| interpreter.contains(path))?;
    write_sources(held, env_dir, build_dir, to_compile)
}

/// Writes the texts of the sources.
///
/// # Errors
/// Returns [`Error::Io`] if a file cannot be written, and [`Error::LeadsOut`] if a link leads out
/// of the environment.
pub(super) fn write_sources(
    held: &Held,
    env_dir: &Within,
    build_dir: &Within,
    to_compile: &[PathBuf],
) -> Result<(), Error> {
    build_dir.make_own_dir(BYTECODE)?;
    let (path, mut offset, mut index) = (build_dir.path(SOURCES), 0, Vec::new());
    let file = fs_err::File::create_new(&path).map_err(Error::io("create", &path))?;
    let mut file = BufWriter::new(file);
    for source in to_compile.iter().filter(|source| is_listed(source)) {
        let text = match held.part(source) {
            Some(part) => held.read(part)?,
            None => env_dir.read_required(source)?,
        };
        file.write_all(&text).map_err(Error::io("write", &path))?;
        index.extend_from_slice(format!("{offset} {} ", text.len()).as_bytes());
        index.extend_from_slice(source.as_os_str().as_bytes());
        index.push(b'\n');
        offset += text.len();
    }
    file.flush().map_err(Error::io("write", path))?;
    Ok(build_dir.write(INDEX, index)?)
}

/// Takes the byte code that the interpreter has written. Byte code of a source in the prefix is
/// written into the prefix.
///
/// # Errors
/// Returns [`Error::Io`] if a file cannot be read, written or understood.
pub(super) fn collect(
    held: &mut Held,
    env_dir: &Within,
    build_dir: &Within,
    python: &Python,
    to_compile: &[PathBuf],
) -> Result<(), Error> {
    let mut sources: HashMap<PathBuf, &Path> = HashMap::new();
    for source in to_compile {
        let paths = bytecode::paths_of(source, python).into_iter();
        sources.extend(paths.map(|path| (path, source.as_path())));
    }
    for name in build_dir.names(BYTECODE)? {
        let path = Path::new(BYTECODE).join(name);
        let Some(file) = build_dir.open_file(&path, Access::Read)? else {
            continue;
        };
        let mut reader = BufReader::new(file);
        let damaged = || {
            let kind = std::io::ErrorKind::InvalidData;
            Error::io("understand", build_dir.path(&path))(kind.into())
        };
        while let Some((length, name)) =
            next_line(&mut reader).map_err(Error::io("read", build_dir.path(&path)))?
        {
            let length = length.filter(|length| *length <= BYTECODE_MAX);
            let (Some(length), Some(source)) = (length, sources.get(&name)) else {
                return Err(damaged());
            };
            let mut bytes = Vec::new();
            let read = reader.by_ref().take(length as u64).read_to_end(&mut bytes);
            read.map_err(Error::io("read", build_dir.path(&path)))?;
            if bytes.len() != length {
                // The interpreter was killed while it wrote, which its status shows.
                break;
            }
            if held.part(source).is_some() {
                // A package's link in its place stays, as the interpreter leaves it.
                if held.part(&name).is_some() || !held.has(&name) {
                    held.insert(name, &bytes)?;
                }
            } else if is_free(env_dir, &name) {
                env_dir.make_dir(name.parent().unwrap_or(Path::new("")))?;
                env_dir.write(name, bytes)?;
            }
        }
    }
    Ok(())
}

/// Reads the line `LENGTH PATH` before byte code. Returns `None` at the end of the file, even if it
/// is in the middle of a line.
fn next_line(reader: &mut impl BufRead) -> std::io::Result<Option<(Option<usize>, PathBuf)>> {
    let mut line = Vec::new();
    reader.take(LINE_MAX).read_until(b'\n', &mut line)?;
    let is_cut = !line.ends_with(b"\n") && (line.len() as u64) < LINE_MAX;
    if is_cut {
        return Ok(None);
    }
    let end = line.strip_suffix(b"\n").unwrap_or_default();
    let mut words = end.splitn(2, |byte| *byte == b' ');
    let length = words.next().and_then(|word| std::str::from_utf8(word).ok());
    let length = length.and_then(|word| word.parse().ok());
    let path = words.next().unwrap_or_default().to_vec();
    Ok(Some((length, std::ffi::OsString::from_vec(path).into())))
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
    use std::{os::unix::fs::symlink, sync::Arc};

    use super::*;
    use crate::spool::Spool;

    struct Setting {
        dir: tempfile::TempDir,
        held: Held,
        env_dir: Within,
        build_dir: Within,
        sources: Vec<PathBuf>,
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
            held.insert("bin/python".into(), b"program").unwrap();
            held.insert("share/other".into(), b"").unwrap();
            Self {
                env_dir: Within::open(dir.path().join("env")).unwrap(),
                build_dir: Within::open(dir.path().join("build")).unwrap(),
                sources: ["lib/disk.py", "lib/held.py", "lib/line\nbreak.py"]
                    .map(PathBuf::from)
                    .into(),
                held,
                dir,
            }
        }

        fn prepare(&mut self) {
            let interpreter = HashSet::from(["bin/python".into()]);
            prepare(
                &mut self.held,
                &self.env_dir,
                &self.build_dir,
                &interpreter,
                &self.sources,
            )
            .unwrap();
        }

        /// Takes these results of a batch.
        fn collect(&mut self, results: &[u8]) -> Result<(), String> {
            fs_err::write(self.dir.path().join("build/bytecode/0"), results).unwrap();
            let python = Python::new(3, 11);
            collect(
                &mut self.held,
                &self.env_dir,
                &self.build_dir,
                &python,
                &self.sources,
            )
            .map_err(|error| error.to_string())
        }
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
        assert_eq!(text("env/bin/python"), "program");
        assert!(!setting.env_dir.has("share/other"), "only the interpreter");
        assert!(setting.held.has_copy(Path::new("bin/python")));
        let results = format!("3 {DISK}\none4 {HELD}\ntw\no");
        setting.collect(results.as_bytes()).unwrap();
        assert_eq!(setting.env_dir.read_required(DISK).unwrap(), b"one");
        assert_eq!(
            setting.held.read_required(Path::new(HELD)).unwrap(),
            b"tw\no"
        );
        assert!(!setting.env_dir.has(HELD));
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
        symlink(&victim, setting.dir.path().join("build/bytecode/1")).unwrap();
        assert!(setting.collect(b"").is_err());
        assert_eq!(fs_err::read_to_string(victim).unwrap(), "precious");
    }
}
