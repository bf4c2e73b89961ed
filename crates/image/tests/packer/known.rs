//! Tests of known blocks: images are the same with and without them, and whatever a source of
//! known blocks does wrong that it can see is a block that is compressed.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use condense_image::{
    BlockDigests, BlockKey, Entry, FileRange, Image, ImageBlocks, Kind, KnownBlock, KnownBlocks,
    PackOptions, Source, Tree, pack, pack_at, verify,
};

use crate::{Place, options, pack_and_verify, trees};

fn recording(compression: &str, block_size: &str, threads: usize) -> PackOptions {
    PackOptions {
        record_blocks: true,
        ..options(compression, block_size, threads)
    }
}

fn knowing(options: PackOptions, image: &Image) -> PackOptions {
    PackOptions {
        known: Some(Arc::new(ImageBlocks::new(image).unwrap())),
        ..options
    }
}

/// Returns the number of bytes before compression of the blocks that were not known.
fn compressed_bytes(image: &Image) -> u64 {
    let anew = image.blocks.iter().filter(|block| !block.was_known);
    anew.map(|block| u64::from(block.length)).sum()
}

#[test]
fn cold_and_hot_packs_of_a_tree_are_the_same_for_each_codec_and_thread_count() {
    let place = Place::new();
    let tree = trees::random(7, 400, 64 << 10);
    for compression in [
        "zstd:1", "zstd:3", "gzip:6", "lz4", "lz4:hc", "xz:1", "none",
    ] {
        let name = |what: &str| place.path(&format!("{compression}-{what}"));
        let plain = pack(&tree, &name("plain"), &options(compression, "16K", 2)).unwrap();
        let cold = pack(&tree, &name("cold"), &recording(compression, "16K", 1)).unwrap();
        assert!(plain.blocks.is_empty());
        assert!(cold.blocks.len() > 300, "{}", cold.blocks.len());
        let plain = plain.sha256().unwrap();
        assert_eq!(cold.sha256().unwrap(), plain, "{compression}");
        for threads in [1, 2] {
            let out = name(&format!("hot-{threads}"));
            let options = knowing(recording(compression, "16K", threads), &cold);
            let hot = pack_and_verify(&tree, &out, &options).unwrap();
            assert_eq!(hot.sha256().unwrap(), plain, "{compression}");
            assert_eq!(compressed_bytes(&hot), 0, "{compression}");
            assert_eq!(hot.blocks.len(), cold.blocks.len());
        }
    }
}

#[test]
fn recorded_blocks_lie_where_the_record_says() {
    let place = Place::new();
    let tree = trees::random(8, 200, 64 << 10);
    let out = place.path("within");
    fs_err::write(&out, [7; 4096]).unwrap();
    let image = pack_at(&tree, &out, 4096, &recording("zstd", "8K", 2)).unwrap();
    let bytes = fs_err::read(&out).unwrap();
    let mut end = 0;
    for block in &image.blocks {
        assert!(block.position >= end, "blocks are in their order");
        end = block.position + u64::from(block.packed);
        let from = (image.offset_bytes + block.position) as usize;
        let found = &bytes[from..][..block.packed as usize];
        assert_eq!(xxhash_rust::xxh3::xxh3_64(found), block.checksum);
        assert_eq!(block.is_stored, block.packed == block.length);
    }
    assert!(end <= image.tables_start);
    // The file of an image serves its blocks after it has been removed.
    let options = knowing(recording("zstd", "8K", 2), &image);
    fs_err::remove_file(&out).unwrap();
    let again = pack_and_verify(&tree, &place.path("again"), &options).unwrap();
    assert_eq!(compressed_bytes(&again), 0);
}

#[test]
fn keys_tell_codecs_levels_and_block_sizes_apart() {
    let place = Place::new();
    let mut tree = Tree::new();
    tree.add_bytes("a", b"some text ".repeat(100), 0o644)
        .unwrap();
    let mut keys = HashSet::new();
    let formats = [
        ("zstd:3", "4K"),
        ("zstd:4", "4K"),
        ("zstd:3", "8K"),
        ("gzip:6", "4K"),
        ("gzip:7", "4K"),
        ("xz:0", "4K"),
        ("xz:9", "4K"),
        ("lz4", "4K"),
        ("lz4:hc", "4K"),
        ("none", "4K"),
    ];
    for (number, (compression, block_size)) in formats.into_iter().enumerate() {
        let out = place.path(&number.to_string());
        let image = pack(&tree, &out, &recording(compression, block_size, 1)).unwrap();
        assert_eq!(image.blocks.len(), 1);
        keys.insert(image.blocks[0].key);
    }
    assert_eq!(keys.len(), formats.len());
}

/// Source that has something for each key.
struct Liar {
    kind: usize,
    calls: AtomicUsize,
}

impl KnownBlocks for Liar {
    fn find(&self, _: &BlockKey, block: &[u8], out: &mut Vec<u8>) -> Option<KnownBlock> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match self.kind {
            // Nothing at all, as much as the block has, more than that, less than there was.
            0 => {}
            1 => out.extend(vec![1; block.len()]),
            2 => out.extend(vec![2; block.len() * 3]),
            _ => {
                out.extend([3; 5]);
                return None;
            }
        }
        Some(KnownBlock::Compressed)
    }
}

#[test]
fn impossible_answers_are_blocks_that_are_not_known() {
    let place = Place::new();
    let tree = trees::random(9, 100, 32 << 10);
    let plain = pack(&tree, &place.path("plain"), &options("zstd", "8K", 2)).unwrap();
    for kind in 0..4 {
        let liar = Arc::new(Liar {
            kind,
            calls: AtomicUsize::new(0),
        });
        let options = PackOptions {
            known: Some(liar.clone()),
            ..options("zstd", "8K", 2)
        };
        let image = pack_and_verify(&tree, &place.path(&kind.to_string()), &options).unwrap();
        assert_eq!(image.sha256().unwrap(), plain.sha256().unwrap(), "{kind}");
        assert!(liar.calls.load(Ordering::Relaxed) > 50);
    }
}

#[test]
fn a_changed_byte_or_a_short_file_of_an_image_is_a_block_that_is_not_known() {
    let place = Place::new();
    let mut tree = Tree::new();
    for number in 0..100 {
        let text = format!("{number} and {}\n", number * number).repeat(4000);
        tree.add_bytes(number.to_string(), text.into_bytes(), 0o644)
            .unwrap();
    }
    let cold = pack(&tree, &place.path("cold"), &recording("gzip", "8K", 2)).unwrap();
    let plain = cold.sha256().unwrap();
    let options = knowing(recording("gzip", "8K", 2), &cold);
    let mut bytes = fs_err::read(&cold.path).unwrap();
    let damaged = cold.blocks.iter().step_by(3).filter(|it| !it.is_stored);
    for block in damaged {
        bytes[(block.position + 2) as usize] ^= 16;
    }
    bytes.truncate(bytes.len() / 2);
    fs_err::write(&cold.path, bytes).unwrap();
    let hot = pack_and_verify(&tree, &place.path("hot"), &options).unwrap();
    assert_eq!(hot.sha256().unwrap(), plain);
    let known = hot.blocks.iter().filter(|it| it.was_known).count();
    let all = hot.blocks.len();
    assert!(known > all / 4 && known < all / 2, "{known} of {all}");
}

/// Returns a tree of small files in directories, as packages have them. `skip` is left out.
fn packages(skip: Option<usize>) -> (Tree, u64) {
    let mut tree = Tree::new();
    let mut random = trees::Random(11);
    let mut skipped = 0;
    for package in 0..40 {
        for file in 0..50 {
            let size = 200 + random.below(8000) as usize;
            let bytes = random.bytes(size);
            if skip == Some(package) {
                skipped += bytes.len() as u64;
                continue;
            }
            let extension = ["py", "pyc", "so", "txt"][file % 4];
            let path = format!("package-{package}/{file}.{extension}");
            tree.add_bytes(path, bytes, 0o644).unwrap();
        }
    }
    (tree, skipped)
}

#[test]
fn a_package_more_and_hot_files_change_few_shared_blocks() {
    let place = Place::new();
    let (all, _) = packages(None);
    for package in [3, 21, 36] {
        let (without, own) = packages(Some(package));
        let out = place.path(&format!("{package}-without"));
        let without = pack(&without, &out, &recording("zstd:1", "32K", 2)).unwrap();
        let options = knowing(recording("zstd:1", "32K", 2), &without);
        let with = pack(&all, &place.path(&format!("{package}-with")), &options).unwrap();
        // The files of a package are in four places, one for each extension.
        let around = compressed_bytes(&with) - own;
        assert!(
            around < 4 * 6 * (32 << 10),
            "{around} bytes around {package}"
        );
    }
    let cold = pack(&all, &place.path("cold"), &recording("zstd:1", "32K", 2)).unwrap();
    let files = (0..50)
        .step_by(4)
        .map(|file| format!("package-5/{file}.py"));
    let hot = PackOptions {
        hot: files.map(Into::into).collect(),
        ..knowing(recording("zstd:1", "32K", 2), &cold)
    };
    let hot = pack_and_verify(&all, &place.path("hot"), &hot).unwrap();
    let bytes = compressed_bytes(&hot);
    assert!(bytes < 9 * (32 << 10), "{bytes} for one hot run of files");
}

/// Source that says of all blocks of an image that they were compared before.
struct ComparedBefore(ImageBlocks);

impl KnownBlocks for ComparedBefore {
    fn find(&self, key: &BlockKey, block: &[u8], out: &mut Vec<u8>) -> Option<KnownBlock> {
        Some(match self.0.find(key, block, out)? {
            KnownBlock::Stored => KnownBlock::Stored,
            _ => KnownBlock::Verified,
        })
    }

    fn find_unread(&self, key: &BlockKey, length: usize, out: &mut Vec<u8>) -> bool {
        // Blocks that are stored as they are need their content.
        let found = self.0.find(key, &vec![0; length], out);
        found == Some(KnownBlock::Compressed)
    }
}

fn knowing_verified(options: PackOptions, image: &Image) -> PackOptions {
    PackOptions {
        known: Some(Arc::new(ComparedBefore(ImageBlocks::new(image).unwrap()))),
        ..options
    }
}

/// Packs a tree with holes, large files, shared blocks and duplicates, whose blocks are all known
/// to be right.
fn pack_verified(place: &Place, threads: usize) -> (Tree, Image) {
    let mut tree = trees::random(12, 300, 64 << 10);
    let mut with_hole = vec![7; 100 << 10];
    with_hole[8 << 10..64 << 10].fill(0);
    for name in ["hole", "same-hole"] {
        tree.add_bytes(name, with_hole.clone(), 0o644).unwrap();
    }
    tree.add_bytes("zeros", vec![0; 64 << 10], 0o644).unwrap();
    let cold = pack(
        &tree,
        &place.path("cold"),
        &recording("zstd", "8K", threads),
    )
    .unwrap();
    let options = knowing_verified(options("zstd", "8K", threads), &cold);
    let hot = pack(&tree, &place.path("hot"), &options).unwrap();
    assert_eq!(hot.sha256().unwrap(), cold.sha256().unwrap());
    assert!(hot.blocks.iter().all(|block| block.is_verified));
    (tree, hot)
}

#[test]
fn blocks_that_were_compared_before_are_compared_in_their_compressed_form() {
    let place = Place::new();
    let (tree, image) = pack_verified(&place, 2);
    for threads in [1, 2, 5] {
        verify(&image, &tree, NonZeroUsize::new(threads)).unwrap();
    }
    let bytes = fs_err::read(&image.path).unwrap();
    for block in image.blocks.iter().step_by(20) {
        let mut changed = bytes.clone();
        changed[(block.position + u64::from(block.packed) - 1) as usize] ^= 1;
        fs_err::write(&image.path, changed).unwrap();
        let error = verify(&image, &tree, None).unwrap_err().to_string();
        let expected = format!("the block at {}", block.position);
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn files_with_the_blocks_of_others_have_another_content() {
    let place = Place::new();
    let mut random = trees::Random(13);
    let contents = [random.bytes(16 << 10), random.bytes(16 << 10)];
    // Both images have the same blocks at the same places, but for different files.
    let pack_pair = |names: [&str; 2], known: &Image| {
        let mut tree = Tree::new();
        for (name, bytes) in names.into_iter().zip(&contents) {
            tree.add_bytes(name, bytes.clone(), 0o644).unwrap();
        }
        let options = PackOptions {
            hot: names.map(Into::into).to_vec(),
            ..knowing_verified(options("zstd", "8K", 1), known)
        };
        let out = place.path(&format!("{}-{}", names.concat(), known.blocks.len()));
        (pack(&tree, &out, &options).unwrap(), tree)
    };
    let empty = pack(
        &Tree::new(),
        &place.path("empty"),
        &recording("zstd", "8K", 1),
    )
    .unwrap();
    let (first, _) = pack_pair(["a", "b"], &empty);
    let (image, tree) = pack_pair(["a", "b"], &first);
    assert!(image.blocks.iter().all(|block| block.is_verified));
    verify(&image, &tree, None).unwrap();
    let (other, _) = pack_pair(["b", "a"], &first);
    assert_eq!(other.size_bytes, image.size_bytes);
    assert_eq!(other.blocks, image.blocks);
    fs_err::rename(&other.path, &image.path).unwrap();
    let error = verify(&image, &tree, None).unwrap_err().to_string();
    assert!(error.contains("its content is another"), "{error}");
}

/// Adds a file of these bytes to a tree. Its source has `stored` in their place.
fn add_with_digests(tree: &mut Tree, path: &str, bytes: &[u8], stored: &[u8]) {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, stored).unwrap();
    let blocks = bytes.chunks_exact(BlockDigests::BLOCK_BYTES);
    let digests: Vec<u8> = blocks.flat_map(BlockDigests::compute).collect();
    let file = Arc::new(fs_err::File::from_parts(file, "stored"));
    let range = FileRange::new(file, 0).with_digests(Some(BlockDigests::new(digests.into(), 0)));
    let entry = Entry {
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: 0,
        links: 1,
        kind: Kind::File {
            size: bytes.len() as u64,
            source: Source::Range(range),
        },
    };
    tree.add_entry(path, entry).unwrap();
}

/// Returns contents of several blocks: text, with a block of zeros, and with a short end.
fn contents_of_blocks() -> Vec<Vec<u8>> {
    let block = BlockDigests::BLOCK_BYTES;
    let text = |seed: usize, length: usize| {
        let lines = (0..).map(|line: usize| format!("{}\n", line * (seed + 7)));
        let mut text = lines.take(length / 4).collect::<String>().into_bytes();
        text.truncate(length);
        text
    };
    let mut with_zeros = text(3, 3 * block);
    with_zeros[block..2 * block].fill(0);
    vec![
        text(1, 2 * block),
        text(2, 2 * block + 5000),
        with_zeros,
        text(4, block + block * 3 / 4),
        text(1, 2 * block),
        text(5, 2 * block),
    ]
}

#[test]
fn blocks_with_known_digests_are_packed_without_being_read() {
    let place = Place::new();
    let contents = contents_of_blocks();
    let tree_of = |stored: &dyn Fn(&[u8]) -> Vec<u8>| {
        let mut tree = Tree::new();
        for (number, bytes) in contents.iter().enumerate() {
            add_with_digests(&mut tree, &number.to_string(), bytes, &stored(bytes));
        }
        tree
    };
    // Whole blocks are others on disk.
    let without_blocks = |bytes: &[u8]| {
        let mut stored = bytes.to_vec();
        for block in stored.chunks_exact_mut(BlockDigests::BLOCK_BYTES) {
            block.fill(7);
        }
        stored
    };
    let whole = tree_of(&|bytes| bytes.to_vec());
    let cold = pack_and_verify(&whole, &place.path("cold"), &recording("zstd", "128K", 2)).unwrap();
    assert_eq!(cold.duplicate_files, 1);
    let tree = tree_of(&without_blocks);
    for threads in [1, 2] {
        let out = place.path(&format!("hot-{threads}"));
        let options = knowing_verified(options("zstd", "128K", threads), &cold);
        let hot = pack_and_verify(&tree, &out, &options).unwrap();
        assert_eq!(hot.sha256().unwrap(), cold.sha256().unwrap());
    }
    // What is not known is read, and is not what it was.
    for options in [
        options("zstd", "128K", 2),
        knowing_verified(options("zstd:4", "128K", 2), &cold),
    ] {
        let error = pack(&tree, &place.path("changed"), &options).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            source.contains("its contents have changed"),
            "{error} {source}"
        );
    }
    // Files that are read before they are packed are compared as well.
    for (path, entry) in tree.walk().skip(1) {
        let mut reader = entry.open().unwrap().unwrap();
        let read = std::io::Read::read_to_end(&mut reader, &mut Vec::new());
        assert!(read.is_err(), "{}", path.display());
        let good = whole.entry_at(&path).unwrap();
        let mut found = Vec::new();
        let mut reader = good.open().unwrap().unwrap();
        std::io::Read::read_to_end(&mut reader, &mut found).unwrap();
        let number: usize = path.to_str().unwrap().parse().unwrap();
        assert!(found == contents[number]);
    }
    // Digests are of blocks of one size only.
    let small = pack_and_verify(&whole, &place.path("small"), &options("zstd", "64K", 2)).unwrap();
    assert_eq!(small.duplicate_files, 1);
}

#[test]
fn changed_blocks_are_noticed_where_files_of_one_size_are_compared() {
    let place = Place::new();
    let contents = contents_of_blocks();
    let mut tree = Tree::new();
    let mut changed = contents[0].clone();
    changed[70_000] ^= 1;
    add_with_digests(&mut tree, "a", &contents[0], &changed);
    tree.add_bytes("b", contents[0].clone(), 0o644).unwrap();
    let error = pack(&tree, &place.path("out"), &options("zstd", "128K", 1)).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        source.contains("its contents have changed"),
        "{error} {source}"
    );
}
