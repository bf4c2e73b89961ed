//! What is done with bytes that may be anything: all that can be read is read, and nothing may
//! panic, hang or take memory without a bound. Shared by the fuzz targets and by `cargo run
//! --example fuzz`, which needs no other toolchain.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use condense_image::reader::NodeKind;
use condense_image::{CheckOptions, Reader, Sif, check};

/// Names that are looked at: images decide for themselves how much a walk costs, and one that is
/// right may cost much.
const NAMES_MAX: usize = 2000;
/// The most of a file that is read.
const FILE_MAX: u64 = 1 << 20;

/// A file in memory, which readers open by its path.
#[derive(Debug)]
pub(crate) struct Memory(std::fs::File);

impl Memory {
    /// An empty one.
    pub(crate) fn new() -> Memory {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let fd = rustix::fs::memfd_create("fuzz", flags).expect("Linux has files in memory");
        Memory(fd.into())
    }

    /// Holds these bytes and no others.
    pub(crate) fn fill(&mut self, bytes: &[u8]) -> PathBuf {
        let file = &mut self.0;
        file.set_len(0).expect("a file in memory can be cut");
        std::io::Seek::rewind(file).expect("a file in memory can be rewound");
        file.write_all(bytes).expect("there is memory");
        PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
    }
}

/// Reads an image: every name, every byte, its attributes, and all of it once more with its tables
/// against each other. Says whether there was anything wrong with it.
pub(crate) fn image(memory: &mut Memory, bytes: &[u8]) -> bool {
    match Reader::open(memory.fill(bytes)) {
        Ok(reader) => read_all(&reader) || check(&reader, &one_thread()).is_err(),
        Err(_) => true,
    }
}

/// Reads a SIF: its table, every object, and the root file system.
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
