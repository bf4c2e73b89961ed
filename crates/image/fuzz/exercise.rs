//! Responsible for reading arbitrary bytes as an image or a SIF file. Everything that can be read
//! is read, and reading must not panic, hang or take unbounded memory. Shared by the fuzz targets
//! and by `cargo run --example fuzz`, which needs no other toolchain.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use condense_image::reader::NodeKind;
use condense_image::{CheckOptions, Reader, Sif, check};

/// Maximum number of names that are read from one image. The content of an image decides how much a
/// walk costs, and even a valid image may cost much.
const NAMES_MAX: usize = 2000;
/// Maximum number of bytes that are read of one file.
const FILE_MAX: u64 = 1 << 20;

/// File in memory, which readers open by its path.
#[derive(Debug)]
pub(crate) struct Memory(std::fs::File);

impl Memory {
    /// Creates an empty file.
    pub(crate) fn new() -> Memory {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let fd = rustix::fs::memfd_create("fuzz", flags).expect("Linux has files in memory");
        Memory(fd.into())
    }

    /// Replaces the content of the file by `bytes`. Returns the path of the file.
    pub(crate) fn fill(&mut self, bytes: &[u8]) -> PathBuf {
        let file = &mut self.0;
        file.set_len(0).expect("a file in memory can be cut");
        std::io::Seek::rewind(file).expect("a file in memory can be rewound");
        file.write_all(bytes).expect("there is memory");
        PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
    }
}

/// Reads an image: every name, every byte and the attributes, and then checks all its tables
/// against each other. Returns whether anything in the image was invalid.
pub(crate) fn image(memory: &mut Memory, bytes: &[u8]) -> bool {
    match Reader::open_raw(memory.fill(bytes)) {
        Ok(reader) => read_all(&reader) || check(&reader, &one_thread()).is_err(),
        Err(_) => true,
    }
}

/// Reads a SIF file: its table, every object, and the root file system. Returns whether anything in
/// the file was invalid.
pub(crate) fn sif(memory: &mut Memory, bytes: &[u8]) -> bool {
    let Ok(sif) = Sif::open(memory.fill(bytes)) else {
        return true;
    };
    let mut failed = false;
    for object in sif.descriptors() {
        failed |= sif.read(object, FILE_MAX).is_err();
        let _ = object.partition();
    }
    let _ = (sif.arch(), sif.header().uuid());
    match sif.reader() {
        Ok(reader) => failed | read_all(&reader),
        Err(_) => true,
    }
}

fn one_thread() -> CheckOptions {
    CheckOptions {
        threads: std::num::NonZeroUsize::new(1),
        ..CheckOptions::default()
    }
}

fn read_all(reader: &Reader) -> bool {
    let mut failed = false;
    let Ok(walk) = reader.walk() else {
        return true;
    };
    for item in walk.take(NAMES_MAX) {
        let Ok((path, node)) = item else {
            return true;
        };
        failed |= match node.kind {
            NodeKind::File => reader.read(&node, FILE_MAX).is_err(),
            NodeKind::Symlink => reader.read_link(&node).is_err(),
            _ => false,
        };
        failed |= reader.xattrs(&node).is_err();
        assert!(
            path.is_relative()
                && path
                    .components()
                    .all(|it| matches!(it, std::path::Component::Normal(_))),
            "{} leads out",
            path.display()
        );
    }
    for path in ["a/link", "a/../../b", "loop", "a/none"] {
        failed |= reader.resolve(path).is_err();
    }
    failed
}
