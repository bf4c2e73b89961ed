#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::os::unix::fs::FileExt;

use super::*;
use crate::cancel::Cancel;
use crate::digest::Digest;

fn header(kind: EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o4755);
    header.set_mtime(7);
    header
}

/// Returns an archive with one entry of each kind.
fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |kind, path: &str, bytes: &[u8]| {
        let mut header = header(kind, bytes.len() as u64);
        archive.append_data(&mut header, path, bytes).unwrap();
    };
    add(EntryType::Directory, "d/", b"");
    add(EntryType::Regular, "d/one", b"first");
    add(EntryType::Regular, &"long/".repeat(60), b"");
    add(EntryType::Continuous, "d/two", &[b'x'; 3000]);
    add(EntryType::Char, "d/null", b"");
    add(EntryType::Fifo, "d/fifo", b"");
    let mut link = |kind, path: &str, target: &str| {
        archive
            .append_link(&mut header(kind, 0), path, target)
            .unwrap();
    };
    link(EntryType::Symlink, "d/link", "/x");
    link(EntryType::Link, "d/hard", "d/one");
    archive
        .append_pax_extensions([
            ("mtime", b"99.5".as_slice()),
            ("SCHILY.xattr.user.note", b"hi"),
        ])
        .unwrap();
    archive
        .append_data(&mut header(EntryType::Regular, 4), "d/pax", &b"last"[..])
        .unwrap();
    archive.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// A skippable frame, which may come before, between and after other frames.
const SKIPPED: &[u8] = b"\x50\x2a\x4d\x18\x04\0\0\0abcd";

fn read(bytes: &[u8], check: Check) -> Result<Layer, Failure> {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("blob");
    // The blob does not begin at the file's start, as in an archive of layers.
    fs_err::write(&path, [b"before", bytes, b"behind"].concat()).unwrap();
    let origin = Origin::Stored {
        file: Arc::new(fs_err::File::open(&path).unwrap()),
        offset: 6,
        size: bytes.len() as u64,
    };
    let stream = Stream::new(origin, check, Cancel::default(), Cancel::default());
    Layer::read(stream, scratch.path())
}

fn contents(layer: &Layer, path: &str) -> Vec<u8> {
    let entry = layer
        .entries
        .iter()
        .find(|entry| entry.path == path.as_bytes());
    let EntryKind::File { size, place } = entry.unwrap().kind else {
        panic!("{path} is no file")
    };
    let (file, offset) = layer.locate(place);
    let mut bytes = vec![0; size as usize];
    file.file().read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

#[test]
fn every_compression_gives_the_same_entries() {
    let plain = archive();
    let (front, back) = plain.split_at(plain.len() / 2);
    let blobs = [
        plain.clone(),
        gzip(&plain),
        [gzip(front), gzip(back)].concat(),
        zstd(&plain),
        [zstd(front), SKIPPED.to_vec(), zstd(back), SKIPPED.to_vec()].concat(),
        [SKIPPED.to_vec(), zstd(&plain)].concat(),
    ];
    for (number, blob) in blobs.iter().enumerate() {
        let checks = [
            Check::default(),
            Check::stored(Digest::sha256(blob)),
            Check::default().and_unpacked(Some(Digest::sha256(&plain))),
        ];
        for check in checks {
            let layer = read(blob, check).unwrap_or_else(|error| panic!("{number}: {error}"));
            assert_eq!(contents(&layer, "d/one"), b"first");
            assert_eq!(contents(&layer, "d/two"), [b'x'; 3000]);
            assert_eq!(contents(&layer, "d/pax"), b"last");
            let kinds: Vec<&EntryKind> = layer.entries.iter().map(|entry| &entry.kind).collect();
            assert_eq!(kinds.len(), 9);
            assert!(matches!(kinds[0], EntryKind::Directory));
            assert!(matches!(kinds[2], EntryKind::Directory), "by its name");
            assert!(matches!(kinds[4], EntryKind::Device));
            assert!(matches!(kinds[5], EntryKind::Fifo));
            assert_eq!(*kinds[6], EntryKind::Symlink(b"/x".to_vec()));
            assert_eq!(*kinds[7], EntryKind::HardLink(b"d/one".to_vec()));
            assert_eq!(layer.entries[2].path.len(), 300);
            assert_eq!((layer.entries[1].mode, layer.entries[1].mtime), (0o4755, 7));
            assert_eq!(layer.entries[8].mtime, 99);
            let dropped = Dropped {
                devices: 1,
                attributes: 0,
            };
            let note = (b"user.note".to_vec(), b"hi".to_vec());
            assert_eq!(layer.entries[8].attributes, [note]);
            assert_eq!(layer.dropped, dropped);
        }
    }
}

#[test]
fn an_archive_may_lack_its_end_but_not_a_byte_of_a_file() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut of_five = header(EntryType::Regular, 5);
    builder
        .append_data(&mut of_five, "f", &b"12345"[..])
        .unwrap();
    let whole = builder.into_inner().unwrap();
    for pack in [|bytes: &[u8]| bytes.to_vec(), gzip] {
        let layer = read(&pack(&whole[..512 + 5]), Check::default()).unwrap();
        assert_eq!(contents(&layer, "f"), b"12345");
        for len in [512 + 4, 512, 511, 100] {
            let failure = read(&pack(&whole[..len]), Check::default()).unwrap_err();
            assert!(failure.is_damage(), "{len}: {failure}");
        }
        assert!(
            read(&pack(&[]), Check::default())
                .unwrap()
                .entries
                .is_empty()
        );
    }
}

#[test]
fn files_that_are_no_layer_are_refused() {
    let plain = archive();
    let packed = gzip(&plain);
    let other = Digest::sha256(b"other");
    for check in [
        Check::stored(other.clone()),
        Check::default().and_unpacked(Some(other)),
    ] {
        let failure = read(&packed, check).unwrap_err();
        assert!(matches!(failure, Failure::Mismatch), "{failure}");
    }
    let mut sparse = tar::Builder::new(Vec::new());
    sparse
        .append_pax_extensions([("GNU.sparse.major", b"1".as_slice())])
        .unwrap();
    let mut empty = header(EntryType::Regular, 0);
    sparse.append_data(&mut empty, "s", &b""[..]).unwrap();
    let mut unknown = tar::Builder::new(Vec::new());
    let mut odd = header(EntryType::new(b'Z'), 0);
    unknown.append_data(&mut odd, "odd", &b""[..]).unwrap();
    for (bytes, word) in [
        (packed[..packed.len() / 2].to_vec(), "it"),
        (zstd(&plain)[..100].to_vec(), "it"),
        (b"<html>not found</html>".repeat(100), "tar archive"),
        (b"\xfd7zXZ\0rest".to_vec(), "xz"),
        (b"BZh9rest".to_vec(), "bzip2"),
        (sparse.into_inner().unwrap(), "sparse"),
        (unknown.into_inner().unwrap(), "unknown type `Z`"),
    ] {
        let failure = read(&bytes, Check::default()).unwrap_err();
        assert!(failure.is_damage(), "{failure}");
        assert!(failure.to_string().contains(word), "{failure}");
    }
}

#[test]
fn reading_stops_when_the_pull_is_cancelled() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("blob");
    fs_err::write(&path, archive()).unwrap();
    let set = || Cancel(Some(Arc::new(true.into())));
    for (cancel, stop) in [(set(), Cancel::default()), (Cancel::default(), set())] {
        let origin = Origin::Stored {
            file: Arc::new(fs_err::File::open(&path).unwrap()),
            offset: 0,
            size: 100,
        };
        let stream = Stream::new(origin, Check::default(), cancel, stop);
        assert!(Layer::read(stream, scratch.path()).is_err());
    }
}

#[test]
fn owners_are_written_as_umoci_writes_them() {
    for (owner, expected) in [
        ([0, 0], None),
        ([0, 50], Some("08ffffffff0f1032")),
        ([12345, 54321], Some("08b96010b1a803")),
        ([1000, 1000], Some("08e80710e807")),
        ([4_000_000, 0], Some("088092f40110ffffffff0f")),
        ([3_000_000_000, 2_999_999], Some("0880bcc1960b10bf8db701")),
    ] {
        let written = render_owner(owner).map(|(name, value)| {
            assert_eq!(name, b"user.rootlesscontainers");
            hex::encode(value)
        });
        assert_eq!(written.as_deref(), expected, "{owner:?}");
    }
}

#[test]
fn paths_longer_than_the_kernel_s_limit_are_refused_at_once() {
    let entry = |kind, path: &str, target: &str| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = header(kind, 0);
        if target.is_empty() {
            builder.append_data(&mut header, path, &b""[..]).unwrap();
        } else {
            builder.append_link(&mut header, path, target).unwrap();
        }
        builder.into_inner().unwrap()
    };
    let began = std::time::Instant::now();
    let file = |path: &str| entry(EntryType::Regular, path, "");
    for (bytes, word) in [
        (file(&"a/".repeat(40_000)), "a path of 80000 bytes"),
        (file(&"long/".repeat(820)), "a path of 4100 bytes"),
        (file(&"n".repeat(256)), "a name of 256 bytes"),
        (
            file(&format!("d/{}", "n".repeat(4000))),
            "a name of 4000 bytes",
        ),
        (file(&"n".repeat(70_000)), "a path of 70000 bytes"),
        (
            entry(EntryType::Symlink, "l", &"x/".repeat(2100)),
            "a path of 4200 bytes",
        ),
        (
            entry(EntryType::Link, "l", &"x".repeat(5000)),
            "a path of 5000 bytes",
        ),
    ] {
        let failure = read(&gzip(&bytes), Check::default()).unwrap_err();
        assert!(failure.to_string().contains(word), "{failure}");
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(5));
    for bytes in [
        file(&"n".repeat(255)),
        file(&"a/".repeat(2000)),
        // No file can have this name, but it may be the target of a link.
        entry(EntryType::Symlink, "l", &"z".repeat(300)),
    ] {
        assert_eq!(read(&bytes, Check::default()).unwrap().entries.len(), 1);
    }
}

#[test]
fn headers_of_an_entry_are_limited() {
    for kind in [b'L', b'K', b'x'] {
        let size = 64 << 20;
        let mut header = header(EntryType::new(kind), size);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize(512 + size as usize, b'n');
        let failure = read(&zstd(&bytes), Check::default()).unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("too much in front of it"), "{text}");
    }
    // Large contents are allowed, and so are the headers of the entry that follows them.
    let mut builder = tar::Builder::new(Vec::new());
    for name in ["one", "two"] {
        let bytes = vec![0; 5 << 20];
        let mut header = header(EntryType::Regular, bytes.len() as u64);
        builder.append_data(&mut header, name, &*bytes).unwrap();
    }
    let layer = read(&zstd(&builder.into_inner().unwrap()), Check::default()).unwrap();
    assert_eq!(layer.entries.len(), 2);
}
