//! Tests of donors that are refused: the error has a hint, and no file is left.

use condense_diagnostics::Hint as _;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use condense_image::reader::Xattr;
use condense_image::{Donor, Error, PackOptions, Tree, pack};

use crate::{Place, facts, foreign, open, pack_and_verify, trees};

#[test]
fn another_codec_or_block_size_is_refused_with_both_ways_out() {
    let place = Place::new();
    let donor = Donor::open(foreign("gzip")).unwrap();
    let tree = donor.tree().unwrap();
    for (compression, block_size, said) in [
        ("zstd:3", "4K", "cannot add zstd to"),
        ("lz4", "4K", "which has gzip"),
        ("gzip:9", "128K", "cannot add blocks of 128K to"),
    ] {
        let options = PackOptions {
            compression: compression.parse().unwrap(),
            block_size: block_size.parse().unwrap(),
            threads: NonZeroUsize::new(2),
            ..PackOptions::onto(donor.clone())
        };
        let error = pack(&tree, &place.path("o"), &options).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("--recompress` (about 1 s)"), "{hint}");
        assert!(hint.contains("overlay"), "{hint}");
        assert!(!place.path("o").exists());
    }
    // Compression levels may differ from the donor's.
    for compression in ["gzip:1", "gzip:12", "none"] {
        let options = PackOptions {
            compression: compression.parse().unwrap(),
            ..PackOptions::onto(donor.clone())
        };
        pack(&tree, &place.path(compression), &options).unwrap();
    }
}

#[test]
fn a_codec_that_is_only_read_is_refused_by_name() {
    let place = Place::new();
    for codec in ["lzo", "lzma"] {
        let error = Donor::open(foreign(codec)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("its codec, {codec}, is only read")),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("--recompress"));
        let tree = Tree::from_image(&Arc::new(open(&foreign(codec)))).unwrap();
        let out = place.path(codec);
        pack_and_verify(&tree, &out, &PackOptions::default());
        facts::check(
            &facts::of(&open(&out)),
            &facts::of(&open(&foreign("zstd"))),
            codec,
        );
    }
}

#[test]
fn a_damaged_donor_is_an_error_that_names_it() {
    let place = Place::new();
    let base = place.image("base", &trees::random(3, 100, 4096), "zstd:3", "4K");
    let bytes = fs_err::read(&base).unwrap();
    for at in (100..bytes.len()).step_by(97) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0xff;
        fs_err::write(place.path("damaged"), bytes).unwrap();
        let Ok(donor) = Donor::open(place.path("damaged")) else {
            continue;
        };
        let Ok(mut tree) = donor.tree() else { continue };
        tree.add_bytes("a-new-file", *b"new", 0o644).unwrap();
        // Blocks are copied without being decompressed, so damage in them is not found here.
        // Packing must not panic or hang in any case.
        let packed = pack(&tree, &place.path("o"), &PackOptions::onto(donor));
        if let Err(error) = packed {
            assert!(error.to_string().contains("damaged"), "{error}");
            assert!(!place.path("o").exists());
        } else {
            fs_err::remove_file(place.path("o")).unwrap();
        }
    }
}

#[test]
fn a_cancelled_copy_leaves_nothing() {
    let place = Place::new();
    let donor = Donor::open(foreign("zstd")).unwrap();
    let options = PackOptions {
        cancel: Some(Arc::new(AtomicBool::new(true))),
        ..PackOptions::onto(donor.clone())
    };
    let error = pack(&donor.tree().unwrap(), &place.path("o"), &options).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
    assert!(!place.path("o").exists());
}

#[test]
fn attributes_that_the_format_cannot_hold_are_refused() {
    let mut tree = Tree::new();
    let xattr = |name: &str, bytes: usize| Xattr {
        name: name.into(),
        value: vec![1; bytes],
    };
    for (xattrs, said) in [
        (
            vec![xattr("system.posix_acl_access", 4)],
            "is not of `user.`",
        ),
        (vec![xattr("lustre.lov", 4)], "is not of `user.`"),
        (vec![xattr("user.", 4)], "is not the name"),
        (vec![xattr("user.large", 65_537)], "more than 65536 bytes"),
        (
            vec![xattr("user.a", 1), xattr("user.b", 1), xattr("user.a", 2)],
            "given twice",
        ),
    ] {
        let error = tree.set_xattrs("", xattrs).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    tree.set_xattrs("", vec![xattr("user.fine", 65_536)])
        .unwrap();
    assert_eq!(tree.xattrs("").unwrap().len(), 1);
    tree.set_xattrs("", Vec::new()).unwrap();
    assert!(tree.xattrs("").unwrap().is_empty());
}
