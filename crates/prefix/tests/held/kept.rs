//! Tests of packages that an earlier build has unpacked and kept.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use condense_prefix::{Held, KeptPackages, Runner};

use crate::{
    Listener, Nobody, assert_same, build,
    channel::{self, Package},
    installed, packages, write_channel,
};

/// Hash of `timed = 1\n` for a Python 3.11, by `importlib.util.source_hash`.
const HASH: [u32; 2] = [0x12ac_a4f3, 0xe2c8_ea3c];

/// Unpacked packages that are kept in a directory.
pub(crate) struct Shelf {
    dir: tempfile::TempDir,
    /// Number of packages that were found.
    pub(crate) found: Mutex<usize>,
    /// Whether an image finds all blocks.
    knows_blocks: bool,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            found: Mutex::default(),
            knows_blocks: false,
        }
    }

    fn path(&self, sha256: &[u8; 32]) -> PathBuf {
        self.dir.path().join(format!("{sha256:02x?}"))
    }

    pub(crate) fn keep(&self, held: &mut Held) {
        for package in held.take_new_packages() {
            let file = fs_err::File::create_new(self.path(package.sha256())).unwrap();
            package.write(file.file(), &|| false).unwrap();
        }
    }
}

impl KeptPackages for Shelf {
    fn open(&self, sha256: &[u8; 32]) -> Option<fs_err::File> {
        let found = fs_err::File::open(self.path(sha256)).ok()?;
        *self.found.lock().unwrap() += 1;
        Some(found)
    }

    fn remove(&self, sha256: &[u8; 32]) {
        fs_err::remove_file(self.path(sha256)).unwrap();
    }

    fn knows_block(&self, _: &[u8]) -> bool {
        self.knows_blocks
    }
}

/// Compares the whole blocks of a file with their digests, if it has some.
pub(super) fn compare_digests(file: &[u8], digests: Option<(&Arc<[u8]>, usize)>) {
    let Some((all, first)) = digests else {
        return;
    };
    for (number, block) in file.chunks_exact(128 << 10).enumerate() {
        let digest = condense_prefix::block_digest(block);
        let known = &all[(first + number) * digest.len()..][..digest.len()];
        assert_eq!(known, digest);
    }
}

/// Byte code fits a source or not as in the archive: also if an earlier build has kept the package,
/// and there is another source beside the byte code now.
#[test]
fn byte_code_of_kept_packages_is_judged_as_in_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let time = u32::try_from(channel::TIMESTAMP / 1000).unwrap();
    let site_packages = |path: &str| format!("lib/python3.11/site-packages/{path}");
    let with_code = |name: &str, file: &str, code: Vec<u8>| {
        Package::new(name, "1.0")
            .depends("python")
            .file(&site_packages(&format!("{file}.py")), "timed = 1\n")
            .file(
                &site_packages(&format!("__pycache__/{file}.cpython-311.pyc")),
                code,
            )
    };
    let timed = |name: &str, file: &str| with_code(name, file, bytecode(0, [time, 10]));
    let hashed = |name: &str, file: &str, flags| with_code(name, file, bytecode(flags, HASH));
    let source = |name: &str, file: &str| {
        let path = site_packages(&format!("{file}.py"));
        Package::new(name, "1.0")
            .depends("python")
            .file(&path, "other = 1\n")
    };
    let more = vec![
        timed("a-timed", "one"),
        source("z-source", "one"),
        timed("z-timed", "two"),
        source("a-source", "two"),
        hashed("b-hashed", "three", 1),
        source("y-source", "three"),
        hashed("y-hashed", "four", 3),
        source("b-source", "four"),
    ];
    let url = write_channel(dir.path(), &[packages(), more].concat());
    let shelf = Shelf::new();
    let with_code = "python, a-timed, z-timed, b-hashed, y-hashed";
    build(&url, with_code, Some(&shelf));
    let sources = "z-source, a-source, y-source, b-source";
    for packages in [with_code, &format!("{with_code}, {sources}")] {
        *shelf.found.lock().unwrap() = 0;
        let kept = build(&url, packages, Some(&shelf));
        assert_eq!(*shelf.found.lock().unwrap(), 5);
        assert_same(&kept, &build(&url, packages, None));
    }
}

/// Blocks that an image would find are not compared when a package is attached. The packer reads
/// those of byte code that has got another header.
#[test]
fn damage_of_large_byte_code_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let time = u32::try_from(channel::TIMESTAMP / 1000).unwrap();
    let code = [bytecode(0, [time, 1]), vec![7; 300 << 10]].concat();
    let large = Package::new("large", "1.0")
        .file("lib/python3.11/large.py", "#")
        .file("lib/python3.11/__pycache__/large.cpython-311.pyc", code);
    let url = write_channel(dir.path(), &[packages(), vec![large]].concat());
    let shelf = Shelf {
        knows_blocks: true,
        ..Shelf::new()
    };
    build(&url, "python, large", Some(&shelf));
    build(&url, "python, large", Some(&shelf));
    let mut damaged = 0;
    for entry in fs_err::read_dir(shelf.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs_err::read(&path).unwrap();
        if let Some(at) = bytes.windows(1000).position(|part| part == [7; 1000]) {
            bytes[at + 5000] ^= 1;
            fs_err::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1);
    let (dir, listener) = (tempfile::tempdir().unwrap(), Listener::default());
    let (_, steps) = installed(dir.path(), &url, "python, large", Some(&shelf), &listener);
    let error = steps.finish(Runner::Host(&Nobody), &listener).unwrap_err();
    let said = std::error::Error::source(&error).unwrap().to_string();
    assert!(said.contains("its contents have changed"), "{said}");
}

/// Byte code of a Python 3.11 with this text of a source and this time of it.
pub(crate) fn bytecode(flags: u32, fields: [u32; 2]) -> Vec<u8> {
    let mut bytes = vec![0xa7, 0x0d, 0x0d, 0x0a];
    for word in [flags, fields[0], fields[1]] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(b"marshalled");
    bytes
}
