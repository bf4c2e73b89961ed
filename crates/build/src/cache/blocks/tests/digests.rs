//! Tests of blocks that are found by digests.

use super::*;

#[test]
fn blocks_are_known_by_digests_of_their_content() {
    let block = vec![1; BlockDigests::BLOCK_BYTES];
    assert_eq!(
        BlockDigests::compute(&block),
        condense_prefix::block_digest(&block),
        "both crates have one format"
    );
    let text = |number: u32| {
        let lines = (0..).flat_map(|line: u32| format!("{number} {line}\n").into_bytes());
        lines.take(BlockDigests::BLOCK_BYTES).collect::<Vec<u8>>()
    };
    let mut state = 1_u64;
    let mut random = vec![0; BlockDigests::BLOCK_BYTES];
    for byte in &mut random {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        *byte = (state >> 56) as u8;
    }
    let mut tree = Tree::new();
    for (name, bytes) in [("a", text(1)), ("b", text(2)), ("random", random.clone())] {
        tree.add_bytes(name, bytes, 0o644).unwrap();
    }
    let cache = Cache::new();
    let settings = cache.settings();
    let report = Report::silent();
    report.use_blocks(Some(&settings));
    let options = report.with_blocks(PackOptions::default());
    let image = pack(&tree, &cache.path("image"), &options).unwrap();
    verify(&image, &tree, None).unwrap();
    report.hold_blocks(&image);
    report.keep_blocks();

    let keys = |level| {
        let compression = condense_image::Compression::Zstd { level };
        BlockKeys::of_format(compression, PackOptions::default().block_size).unwrap()
    };
    let knows = |settings: &BlockCacheSettings, level, content: &[u8]| {
        let cache = BlockCache::open(settings, &Report::silent());
        cache.knows_unread(&keys(level), &BlockDigests::compute(content))
    };
    let zeros = vec![0; BlockDigests::BLOCK_BYTES];
    for (level, content, is_known, why) in [
        (3, text(1), true, "its own"),
        (3, zeros, true, "nothing is stored for it"),
        (3, text(3), false, "new"),
        (4, text(1), false, "of another level"),
        (3, random, false, "stored as it is"),
    ] {
        assert_eq!(knows(&settings, level, &content), is_known, "{why}");
    }
    let own = BlockCacheSettings {
        dir: cache.path("own"),
        own: cache.path("own"),
        sites: vec![cache.path("cache")],
        ..settings
    };
    assert!(!knows(&own, 3, &text(1)), "a site's need the content");
}
