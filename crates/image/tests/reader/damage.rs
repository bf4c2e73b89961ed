//! Tests of damaged images: reading ends in bounded memory and without a panic.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use condense_image::Reader;
use condense_image::reader::NodeKind;

use crate::{IMAGES, image};

/// Marsaglia's xorshift, which is the same on every machine, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Writes one to three wrong values over the image: bits, bytes, or numbers at the limits of sizes
/// and positions.
fn damage(bytes: &mut [u8], random: &mut Random) {
    for _ in 0..=random.below(3) {
        // The superblock and the tables at the end determine how everything else is read, so most
        // of the damage is in them.
        let at = match random.below(4) {
            0 => random.below(96),
            1 => random.below(bytes.len()),
            _ => bytes.len() - 1 - random.below(bytes.len() * 3 / 4),
        };
        let value: u64 = match random.below(6) {
            0 => {
                bytes[at] ^= 1 << random.below(8);
                continue;
            }
            1 => {
                bytes[at] = random.next() as u8;
                continue;
            }
            2 => 0,
            3 => u64::MAX,
            4 => i64::MAX as u64,
            _ => random.next() >> random.below(64),
        };
        let len = [2, 4, 8][random.below(3)].min(bytes.len() - at);
        bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    }
}

/// Reads everything that can be read. Returns whether there was an error.
fn read_all(reader: &Reader) -> bool {
    let mut failed = false;
    let Ok(walk) = reader.walk() else {
        return true;
    };
    for item in walk {
        let Ok((_, node)) = item else {
            return true;
        };
        failed |= match node.kind {
            NodeKind::File => reader.read(&node, 1 << 20).is_err(),
            NodeKind::Symlink => reader.read_link(&node).is_err(),
            _ => false,
        };
    }
    for path in [
        "lib/twin",
        "var/etc/os-release",
        "var/circle",
        "var/deep/299",
    ] {
        failed |= reader.resolve(path).is_err();
    }
    failed
}

/// Returns the peak memory of this process in KiB.
fn peak_memory_kib() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let digits = line.unwrap().split_whitespace().nth(1).unwrap();
    digits.parse().unwrap()
}

/// Reads each of the images that `change` makes.
fn check(count: usize, change: impl Fn(&mut Vec<u8>, &mut Random)) {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for name in IMAGES {
        let whole = fs_err::read(image(name)).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut failures = 0;
        for round in 0..count {
            let mut bytes = whole.clone();
            change(&mut bytes, &mut random);
            file.as_file_mut().set_len(0).unwrap();
            file.as_file_mut().write_all_at(&bytes, 0).unwrap();
            file.flush().unwrap();
            let start = Instant::now();
            let failed = match Reader::open_raw(file.path()) {
                Ok(reader) => read_all(&reader),
                Err(_) => true,
            };
            let took = start.elapsed();
            assert!(
                took < Duration::from_secs(60),
                "{name}, round {round}: {took:?}"
            );
            failures += usize::from(failed);
        }
        assert!(
            failures * 3 > count,
            "{name}: damage was hardly ever noticed"
        );
    }
    let peak = peak_memory_kib();
    assert!(peak < 256 << 10, "{peak} KiB of memory");
}

#[test]
fn damaged_images_are_errors() {
    check(600, |bytes, random| damage(bytes, random));
}

#[test]
fn truncated_images_are_errors() {
    check(60, |bytes, random| {
        bytes.truncate(random.below(bytes.len()));
    });
}
