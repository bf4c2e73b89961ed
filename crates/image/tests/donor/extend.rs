//! Tests of grafting trees into an existing image: the old content is unchanged, byte for byte, and
//! the new content is beside it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use condense_image::reader::Xattr;
use condense_image::sif::{FileSystem, NewObject, PartitionRole, SifOptions, SifWriter};
use condense_image::{
    Arch, Donor, Entry, Existing, Kind, PackOptions, Source, Tree, pack, pack_at, verify,
};

use crate::{Place, facts, foreign, onto, open, pack_and_verify, trees};

/// Returns a tree with an entry of each kind, and with all attributes that only the tables hold.
fn special() -> Tree {
    let mut tree = trees::random(5, 300, 4096);
    let entry = |kind| Entry {
        mode: 0o4751,
        uid: 1000,
        gid: 70_000,
        mtime: 123_456_789,
        links: 1,
        kind,
    };
    for (path, kind) in [
        ("dev/null", Kind::CharacterDevice(0x103)),
        ("dev/disk", Kind::BlockDevice(0x800)),
        ("run/fifo", Kind::Fifo),
        ("run/socket", Kind::Socket),
        ("run", Kind::Directory(Vec::new())),
        (
            "setuid",
            Kind::File {
                size: 3,
                source: Source::Bytes((*b"abc").into()),
            },
        ),
    ] {
        tree.add_entry(path, entry(kind)).unwrap();
    }
    tree.add_hard_link("setuid-again", "setuid").unwrap();
    tree.add_hard_link("dev/zero", "dev/null").unwrap();
    let xattr = |name: &str, value: &[u8]| Xattr {
        name: name.into(),
        value: value.to_vec(),
    };
    for path in [
        "setuid",
        "run",
        "dev/null",
        "dev/disk",
        "run/fifo",
        "run/socket",
    ] {
        let own = xattr("user.path", path.as_bytes());
        let shared = xattr("security.capability", &[1, 0, 0, 2, 0, 32, 0, 0]);
        tree.set_xattrs(path, vec![own, shared]).unwrap();
    }
    tree.set_xattrs("", vec![xattr("user.root", &[7; 9000])])
        .unwrap();
    tree.add_symlink("link", "x").unwrap();
    tree.set_xattrs("link", vec![xattr("trusted.of-a-link", b"")])
        .unwrap();
    tree
}

#[test]
fn images_of_every_codec_and_block_size_are_extended() {
    let place = Place::new();
    let base = special();
    let added = trees::random(6, 200, 4096);
    for (number, (codec, block_size)) in [
        ("zstd:19", "4K"),
        ("zstd:3", "128K"),
        ("gzip:9", "8K"),
        ("gzip:3", "128K"),
        ("lz4", "4K"),
        ("lz4:hc", "1M"),
        ("xz:1", "8K"),
        ("none", "4K"),
    ]
    .into_iter()
    .enumerate()
    {
        let base = place.image(&format!("base-{number}"), &base, codec, block_size);
        let alone = place.image(&format!("alone-{number}"), &added, codec, block_size);
        let donor = Donor::open(&base).unwrap();
        let mut tree = donor.tree().unwrap();
        tree.graft("opt/new", added.clone(), Existing::Refuse)
            .unwrap();
        let out = place.path(&format!("out-{number}"));
        let image = pack_and_verify(&tree, &out, &onto(&donor, 2));
        assert!(image.taken_bytes > 0, "{codec}");
        assert_eq!(image.garbage_bytes, 0, "{codec}");

        let mut expected = facts::of(&open(&base));
        expected.extend(facts::below("opt/new", &facts::of(&open(&alone))));
        let mut found = facts::of(&open(&out));
        let made = [
            found.remove(Path::new("opt")),
            found.remove(Path::new("opt/new")),
        ];
        assert!(made.iter().all(Option::is_some));
        facts::check(&found, &expected, codec);
        let root = |path| {
            let reader = open(path);
            reader.xattrs(&reader.root().unwrap()).unwrap()
        };
        assert_eq!(root(&out), root(&base), "{codec}");

        // No unused bytes are between the blocks of the base image, so the copied blocks are the
        // same bytes.
        let (old, new) = (fs_err::read(&base).unwrap(), fs_err::read(&out).unwrap());
        let taken = 96..96 + image.taken_bytes as usize;
        assert_eq!(old[taken.clone()], new[taken], "{codec}");

        for threads in [1, 4] {
            let again = place.path("again");
            assert_eq!(
                pack(&tree, &again, &onto(&donor, threads))
                    .unwrap()
                    .sha256()
                    .unwrap(),
                image.sha256().unwrap()
            );
            fs_err::remove_file(again).unwrap();
        }
    }
}

#[test]
fn images_of_mksquashfs_are_extended() {
    let place = Place::new();
    for name in ["gzip", "lz4", "stored", "xz", "zstd"] {
        let donor = Donor::open(foreign(name)).unwrap();
        let mut tree = donor.tree().unwrap();
        let mut added = Tree::new();
        added.add_bytes("new", vec![b'n'; 10_000], 0o644).unwrap();
        // The parent is a symlink in that tree.
        tree.graft("lib/python", added, Existing::Refuse).unwrap();
        let out = place.path(name);
        pack_and_verify(&tree, &out, &onto(&donor, 2));
        let mut found = facts::of(&open(&out));
        for path in ["usr/lib/python", "usr/lib/python/new"] {
            assert!(found.remove(Path::new(path)).is_some(), "{name}: {path}");
        }
        let mut expected = facts::of(&open(&foreign(name)));
        // The parent has one more directory now.
        expected.get_mut(Path::new("usr/lib")).unwrap().nlink += 1;
        facts::check(&found, &expected, name);
    }
}

#[test]
fn a_sif_is_a_donor_and_the_result_lies_in_another() {
    let place = Place::new();
    let base = place.image("base", &special(), "gzip:6", "128K");
    let partition = NewObject::partition(
        FileSystem::SquashFs,
        PartitionRole::PrimarySystem,
        Arch::X86_64,
    );
    let mut sif = SifWriter::create(place.path("base.sif"), &SifOptions::default()).unwrap();
    sif.add_file(&partition, &base).unwrap();
    sif.finish().unwrap();

    let donor = Donor::open(place.path("base.sif")).unwrap();
    let mut tree = donor.tree().unwrap();
    tree.graft("opt/new", trees::random(8, 50, 4096), Existing::Refuse)
        .unwrap();
    let alone = pack_and_verify(&tree, &place.path("alone"), &onto(&donor, 2));
    let mut sif = SifWriter::create(place.path("new.sif"), &SifOptions::default()).unwrap();
    sif.add_with(&partition, |slot| {
        let image = pack_at(&tree, slot.path, slot.offset, &onto(&donor, 2))?;
        verify(&image, &tree, None)?;
        assert_eq!(image.sha256().unwrap(), alone.sha256().unwrap());
        Ok(image.size_bytes)
    })
    .unwrap();
    let sif = sif.finish().unwrap();
    let found = facts::of(&sif.reader().unwrap());
    facts::check(&found, &facts::of(&open(&place.path("alone"))), "sif");
}

#[test]
fn what_the_donor_has_is_not_stored_twice() {
    let place = Place::new();
    let mut random = trees::Random(21);
    let large: Vec<u8> = (0..500_000).map(|_| random.below(256) as u8).collect();
    let mut almost = large.clone();
    almost[300_000] ^= 1;
    let mut base = Tree::new();
    base.add_bytes("usr/lib/large.so", large.clone(), 0o644)
        .unwrap();
    base.add_bytes("usr/lib/cert.pem", *b"certificate", 0o644)
        .unwrap();
    base.add_bytes("usr/lib/other.pem", *b"CERTIFICATE", 0o644)
        .unwrap();
    let base = place.image("base", &base, "zstd:3", "128K");
    let donor = Donor::open(&base).unwrap();
    let mut added = Tree::new();
    added.add_bytes("renamed.so", large, 0o644).unwrap();
    added.add_bytes("almost.so", almost, 0o644).unwrap();
    added.add_bytes("cert.pem", *b"certificate", 0o644).unwrap();
    added
        .add_bytes("other.pem", *b"certificate", 0o644)
        .unwrap();
    let mut tree = donor.tree().unwrap();
    tree.graft("new", added, Existing::Refuse).unwrap();
    let image = pack_and_verify(&tree, &place.path("o"), &onto(&donor, 2));
    assert_eq!(image.duplicate_files, 3);
    let base_bytes = base.metadata().unwrap().size();
    assert!(image.size_bytes < base_bytes + 510_000, "almost.so only");
    assert!(image.size_bytes > base_bytes + 490_000, "almost.so too");
}

/// Files of another image than the donor are read and compressed like files on disk.
#[test]
fn without_a_donor_images_are_packed_anew() {
    let place = Place::new();
    let base = place.image("base", &special(), "gzip:6", "1M");
    let tree = Donor::open(&base).unwrap().tree().unwrap();
    for (codec, block_size) in [("zstd:3", "4K"), ("xz:1", "1M"), ("lz4", "128K")] {
        let options = PackOptions {
            compression: codec.parse().unwrap(),
            block_size: block_size.parse().unwrap(),
            ..PackOptions::default()
        };
        let out = place.path(codec);
        let image = pack_and_verify(&tree, &out, &options);
        assert_eq!(image.taken_bytes, 0);
        let same = place.image(&format!("{codec}-direct"), &special(), codec, block_size);
        assert_eq!(
            fs_err::read(out).unwrap(),
            fs_err::read(same).unwrap(),
            "{codec}"
        );
    }
}

#[test]
fn what_is_removed_leaves_no_blocks_behind() {
    let place = Place::new();
    let mut random = trees::Random(31);
    let mut noise = || -> Vec<u8> { (0..300_000).map(|_| random.below(256) as u8).collect() };
    let mut base = Tree::new();
    for name in ["a", "b", "c"] {
        base.add_bytes(format!("d/{name}"), noise(), 0o644).unwrap();
    }
    let base = place.image("base", &base, "zstd:3", "128K");
    let donor = Donor::open(&base).unwrap();
    let mut tree = donor.tree().unwrap();
    tree.remove("d/b").unwrap();
    let image = pack_and_verify(&tree, &place.path("o"), &onto(&donor, 2));
    let mut expected = facts::of(&open(&base));
    expected.remove(Path::new("d/b"));
    facts::check(&facts::of(&open(&image.path)), &expected, "removed");
    // The ends of all three files share a block, and a third of that block is unused.
    assert!(image.size_bytes < 650_000, "{}", image.size_bytes);
    assert!(
        (30_000..50_000).contains(&image.garbage_bytes),
        "{}",
        image.garbage_bytes
    );
}
