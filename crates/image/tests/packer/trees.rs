//! Trees to pack: one with special cases on disk, and random ones that are the same for one seed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use condense_image::Tree;

/// Pseudo-random numbers that are the same on every machine (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Returns bytes of one of four kinds: text-like, noise, zeros, or zeros with some noise at the
    /// end.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let kind = self.below(4);
        let mut bytes = vec![0; length];
        let from = match kind {
            2 => length,
            3 => length - length / 5,
            _ => 0,
        };
        for byte in &mut bytes[from..] {
            *byte = self.next() as u8;
            if kind == 0 {
                *byte = b"etaoin shrdlu\n"[usize::from(*byte) % 14];
            }
        }
        bytes
    }

    /// Returns a size near the limits of a block, often one that was returned before.
    fn size(&mut self, block: u64) -> usize {
        let size = match self.below(8) {
            0 => 0,
            1 => block,
            2 => block - 1,
            3 => block + 1,
            4 => block * (1 + self.below(5)) + self.below(block),
            5 => 1,
            6 => 100,
            _ => self.below(block),
        };
        size as usize
    }
}

/// Returns a random tree in memory with all kinds of entries except devices, for blocks of `block`
/// bytes.
pub(crate) fn random(seed: u64, entries: usize, block: u64) -> Tree {
    let mut random = Random(seed);
    let mut tree = Tree::new();
    tree.set_mtime_of_additions(1_700_000_000);
    let mut directories = vec![String::new()];
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for number in 0..entries {
        let parent = &directories[random.below(directories.len() as u64) as usize];
        let extension = ["", ".py", ".pyc", ".so", ".so.1"][random.below(5) as usize];
        let path = format!("{parent}/{:x}-{number}{extension}", random.below(1 << 20));
        match random.below(10) {
            0 | 1 => {
                tree.add_directory(&path).unwrap();
                directories.push(path);
            }
            2 => {
                let target = "x/".repeat(1 + random.below(400) as usize);
                tree.add_symlink(&path, target).unwrap();
            }
            3 if !files.is_empty() => {
                let existing = &files[random.below(files.len() as u64) as usize].0;
                tree.add_hard_link(&path, existing).unwrap();
            }
            4 | 5 if !files.is_empty() => {
                let copied = random.below(files.len() as u64) as usize;
                let bytes = files[copied].1.clone();
                tree.add_bytes(&path, bytes, 0o644).unwrap();
            }
            kind => {
                let size = random.size(block);
                let bytes = random.bytes(size);
                let mode = if kind == 6 { 0o755 } else { 0o644 };
                tree.add_bytes(&path, bytes.clone(), mode).unwrap();
                files.push((path, bytes));
            }
        }
    }
    tree
}

/// Writes a tree to disk with everything that an unprivileged user can create.
pub(crate) fn odd(root: &Path) {
    let write = |name: &str, bytes: &[u8]| {
        let path = root.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    };
    let mut random = Random(7);
    write("empty", b"");
    write("hello.txt", b"hello\n");
    write("copy.txt", b"hello\n");
    write("other.txt", b"hullo\n");
    write("bin/tool", b"#!/bin/sh\n");
    write("noise", &random.bytes(300_000));
    let large = [vec![b'a'; 200_000], random.bytes(200_000)].concat();
    write("large.so", &large);
    write("lib/large-copy.so", &large);
    // This file differs from the others of its size only after the first bytes that are compared.
    write(
        "lib/large-not.so",
        &[vec![b'a'; 399_999], vec![b'z']].concat(),
    );
    write("a/b/c/d/e/f/deep", b"deep");
    fs_err::create_dir_all(root.join("nothing/in/here")).unwrap();
    let mode = |name: &str, mode| {
        fs_err::set_permissions(root.join(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    mode("bin/tool", 0o4750);
    mode("hello.txt", 0o600);
    fs_err::hard_link(root.join("hello.txt"), root.join("a/b/hard")).unwrap();
    fs_err::hard_link(root.join("large.so"), root.join("a/hard.so")).unwrap();
    symlink("hello.txt", root.join("soft")).unwrap();
    symlink("nowhere/".repeat(40), root.join("soft-long")).unwrap();
    symlink("n".repeat(4095), root.join("soft-longest")).unwrap();
    fs_err::hard_link(root.join("soft"), root.join("soft-again")).unwrap();
    write(&"n".repeat(255), b"a long name");
    fs_err::write(root.join(OsStr::from_bytes(b"not-\xff\xfe-utf8")), b"x").unwrap();
    fs_err::write(root.join("new\nline and \"quote\""), b"y").unwrap();
    let sparse = fs_err::File::create(root.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    sparse
        .file()
        .write_all_at(b"in the middle", 1 << 20)
        .unwrap();
    let hole = fs_err::File::create(root.join("hole")).unwrap();
    hole.set_len(1 << 20).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    let here = rustix::fs::CWD;
    rustix::fs::mknodat(here, root.join("fifo"), fifo, 0o600.into(), 0).unwrap();
    drop(std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap());
}
