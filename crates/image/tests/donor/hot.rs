//! Tests of the hot zone of images with a donor: the donor's zone stays in front, and what is hot
//! joins it.

use std::path::{Path, PathBuf};

use condense_image::{Donor, Existing, HotZone, Image, PackOptions, Reader, Tree};

use crate::{Place, facts, onto, open, pack_and_verify, trees};

/// Returns the bytes of module `number`, which no other has.
fn module(number: u64, version: u64) -> Vec<u8> {
    let mut random = trees::Random(1000 * version + number + 1);
    let noise = (0..600).map(|_| random.below(256) as u8);
    let text = format!("module {number}, version {version}; ").into_bytes();
    text.into_iter().chain(noise).collect()
}

/// Returns a tree of 400 modules and four libraries, and a profile of every fifth module and one
/// library.
fn tree(version: u64) -> (Tree, Vec<PathBuf>) {
    let (mut tree, mut hot) = (Tree::new(), Vec::new());
    for number in 0..400 {
        let path = format!("lib/m{number}.pyc");
        let version = if number % 50 == 0 { version } else { 1 };
        tree.add_bytes(&path, module(number, version), 0o644)
            .unwrap();
        if number % 5 == 0 {
            hot.push(PathBuf::from(path));
        }
    }
    for number in 0..4 {
        let path = format!("lib/l{number}.so");
        let bytes: Vec<u8> = (0..40)
            .flat_map(|part| module(number * 100 + part, 7))
            .collect();
        tree.add_bytes(&path, bytes, 0o755).unwrap();
    }
    hot.push("lib/l2.so".into());
    (tree, hot)
}

fn zone(image: &Image) -> (Reader, HotZone) {
    let reader = open(&image.path);
    let zone = reader.hot_zone().unwrap().unwrap();
    assert_eq!(image.hot_zone, Some(zone));
    condense_image::check(&reader, &condense_image::CheckOptions::default()).unwrap();
    (reader, zone)
}

fn is_in(reader: &Reader, zone: HotZone, path: impl AsRef<Path>) -> bool {
    let node = reader.lookup(path).unwrap().unwrap();
    reader.is_in_zone(&node, zone).unwrap()
}

#[test]
fn an_update_keeps_the_zone_and_adds_what_is_new_in_it() {
    let place = Place::new();
    let (before, hot) = tree(1);
    let options = PackOptions {
        hot: hot.clone(),
        block_size: "8K".parse().unwrap(),
        ..PackOptions::default()
    };
    let old = pack_and_verify(&before, &place.path("old"), &options);
    let donor = Donor::open(&old.path).unwrap();
    let (after, _) = tree(2);
    let mut sha256 = None;
    for threads in [1, 3] {
        let mut after = after.clone();
        let options = PackOptions {
            hot: hot.clone(),
            garbage_percent_max: None,
            ..onto(&donor, threads)
        };
        let kept = after.keep_unchanged(&options).unwrap();
        assert_eq!(kept.files, 404 - 8);
        let image = pack_and_verify(&after, &place.path(&format!("new-{threads}")), &options);
        let (reader, zone) = zone(&image);
        assert!(zone.start < 256);
        assert!(hot.iter().all(|path| is_in(&reader, zone, path)));
        assert!(!is_in(&reader, zone, "lib/m1.pyc") && !is_in(&reader, zone, "lib/l1.so"));
        // New hot files share no block with others, and lie in front of the donor's zone.
        let at = |path: &str| reader.runs(&reader.lookup(path).unwrap().unwrap()).unwrap()[0].0;
        assert_eq!(at("lib/m0.pyc"), zone.start);
        assert!(at("lib/m0.pyc") < at("lib/m5.pyc"));
        let found = image.sha256().unwrap();
        assert!(sha256.is_none_or(|known| known == found));
        sha256 = Some(found);
        let fresh = pack_and_verify(&tree(2).0, &place.path("fresh"), &PackOptions::default());
        facts::check(
            &facts::of(&reader),
            &facts::of(&open(&fresh.path)),
            "update",
        );
        fs_err::remove_file(fresh.path).unwrap();
    }
    // Without a profile the zone of the donor is still the first part, also if all is packed anew.
    for percent in [100, 0] {
        let mut tree = tree(2).0;
        let options = PackOptions {
            garbage_percent_max: Some(percent),
            ..onto(&donor, 2)
        };
        tree.keep_unchanged(&options).unwrap();
        let image = pack_and_verify(&tree, &place.path(&format!("none-{percent}")), &options);
        assert_eq!(image.taken_bytes == 0, percent == 0);
        let (reader, zone) = zone(&image);
        let is_kept = |path: &&PathBuf| !path.ends_with("m0.pyc") && !path.ends_with("m50.pyc");
        let known = hot.iter().filter(is_kept).filter(|path| {
            let text = path.to_string_lossy();
            !(text.ends_with("50.pyc") || text.ends_with("00.pyc"))
        });
        assert!(known.clone().count() > 60);
        assert!(known.into_iter().all(|path| is_in(&reader, zone, path)));
        assert!(!is_in(&reader, zone, "lib/m1.pyc") && !is_in(&reader, zone, "lib/l1.so"));
    }
}

/// An image without a zone may come from one with a zone, whether its blocks are reused or not.
#[test]
fn the_zone_of_a_donor_can_be_dropped() {
    let place = Place::new();
    let (before, hot) = tree(1);
    let options = PackOptions {
        hot,
        block_size: "8K".parse().unwrap(),
        ..PackOptions::default()
    };
    let old = pack_and_verify(&before, &place.path("old"), &options);
    assert!(old.hot_zone.is_some());
    let donor = Donor::open(&old.path).unwrap();
    for percent in [100, 0] {
        let mut after = tree(2).0;
        let options = PackOptions {
            drop_zone: true,
            garbage_percent_max: Some(percent),
            ..onto(&donor, 2)
        };
        after.keep_unchanged(&options).unwrap();
        let image = pack_and_verify(&after, &place.path(&format!("new-{percent}")), &options);
        assert_eq!(image.taken_bytes == 0, percent == 0);
        assert_eq!(image.hot_zone, None);
        let reader = open(&image.path);
        assert_eq!(reader.hot_zone().unwrap(), None);
        condense_image::check(&reader, &condense_image::CheckOptions::default()).unwrap();
    }
}

#[test]
fn an_environment_on_a_base_has_its_zone_in_front_of_the_base() {
    let place = Place::new();
    let (mut base, _) = tree(1);
    base.add_bytes("etc/os-release", *b"ID=debian\n", 0o644)
        .unwrap();
    let image = place.image("base", &base, "zstd:3", "8K");
    let donor = Donor::open(&image).unwrap();
    let mut whole = donor.tree().unwrap();
    let (mut environment, hot) = tree(3);
    // This library is the base's, so its blocks move.
    let same: Vec<u8> = (0..40).flat_map(|part| module(300 + part, 7)).collect();
    environment.add_bytes("lib/same.so", same, 0o755).unwrap();
    whole
        .graft("/opt/env", environment, Existing::Refuse)
        .unwrap();
    let mut hot: Vec<PathBuf> = hot
        .iter()
        .map(|path| Path::new("opt/env").join(path))
        .collect();
    hot.push("opt/env/lib/same.so".into());
    // Files of the base can be hot as well: blocks of large ones move alone.
    hot.push("/lib/l0.so".into());
    let options = PackOptions {
        hot: hot.clone(),
        ..onto(&donor, 2)
    };
    let image = pack_and_verify(&whole, &place.path("new"), &options);
    let (reader, zone) = zone(&image);
    assert!(image.taken_bytes > 0 && zone.start < 256);
    assert!(hot.iter().all(|path| is_in(&reader, zone, path)));
    assert!(!is_in(&reader, zone, "etc/os-release") && !is_in(&reader, zone, "lib/l1.so"));
    assert!(!is_in(&reader, zone, "opt/env/lib/m1.pyc"));
    facts::check(
        &facts::of(&reader),
        &facts::of(&open(
            &pack_and_verify(&whole, &place.path("o"), &onto(&donor, 1)).path,
        )),
        "base",
    );
}
