//! Benchmarks of the packer's stages, each on a tree for which this stage is nearly all of the
//! work. Run them with `cargo bench -p condense-image`.
#![allow(missing_docs)]

use std::{hint::black_box, path::Path};

use condense_image::{Compression, PackOptions, ScanOptions, Tree, pack};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Returns bytes that compress about as well as programs do.
fn text(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 16);
    while bytes.len() < length {
        // This is xorshift, which gives the same bytes on every machine.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(format!("{:x} ", state % 4096).as_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn packed(tree: &Tree, path: &Path, compression: Compression) -> u64 {
    let options = PackOptions {
        compression,
        ..PackOptions::default()
    };
    pack(tree, path, &options)
        .expect("the tree is packed")
        .size_bytes
}

fn scan(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for number in 0..5000 {
        let folder = dir.path().join(format!("{}", number % 100));
        std::fs::create_dir_all(&folder).expect("a directory");
        std::fs::write(folder.join(format!("{number}.py")), b"pass\n").expect("a file");
    }
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Elements(5000));
    group.bench_function("5,000 files", |bencher| {
        bencher.iter(|| Tree::scan(black_box(dir.path()), &ScanOptions::default()));
    });
    group.finish();
}

fn compress(criterion: &mut Criterion) {
    let out = tempfile::tempdir().expect("a temporary directory");
    let length = 32 << 20;
    let mut tree = Tree::new();
    tree.add_bytes("library.so", text(7, length), 0o755)
        .expect("a new name");
    let mut group = criterion.benchmark_group("compress");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(length as u64));
    for name in ["none", "lz4", "zstd:3", "gzip:6"] {
        let compression = name.parse().expect("a known codec");
        group.bench_function(name, |bencher| {
            let mut number = 0;
            bencher.iter(|| {
                number += 1;
                packed(
                    &tree,
                    &out.path().join(format!("{name}-{number}")),
                    compression,
                )
            });
        });
        for entry in std::fs::read_dir(out.path()).expect("the directory") {
            // The images are deleted because the temporary directory is in memory on many machines.
            std::fs::remove_file(entry.expect("an entry").path()).expect("our own file");
        }
    }
    group.finish();
}

fn sequence(criterion: &mut Criterion) {
    let out = tempfile::tempdir().expect("a temporary directory");
    let mut tree = Tree::new();
    for number in 0..20_000 {
        // One file in ten is a copy of another file.
        let bytes = text(number - number % 10 / 9, 900);
        tree.add_bytes(format!("{}/{number}.py", number % 50), bytes, 0o644)
            .expect("a new name");
    }
    let mut group = criterion.benchmark_group("sequence");
    group.sample_size(10);
    group.throughput(Throughput::Elements(20_000));
    group.bench_function("20,000 small files, none", |bencher| {
        bencher.iter(|| {
            let path = out.path().join("image");
            let size = packed(&tree, &path, Compression::None);
            std::fs::remove_file(path).expect("our own file");
            size
        });
    });
    group.finish();
}

fn tables(criterion: &mut Criterion) {
    let out = tempfile::tempdir().expect("a temporary directory");
    let mut tree = Tree::new();
    for number in 0..50_000 {
        tree.add_symlink(format!("{}/{number}", number % 20), "../target")
            .expect("a new name");
    }
    let mut group = criterion.benchmark_group("tables");
    group.sample_size(10);
    group.throughput(Throughput::Elements(50_000));
    group.bench_function("50,000 symlinks", |bencher| {
        bencher.iter(|| {
            let path = out.path().join("image");
            let size = packed(&tree, &path, Compression::default());
            std::fs::remove_file(path).expect("our own file");
            size
        });
    });
    group.finish();
}

criterion_group!(benches, scan, compress, sequence, tables);
criterion_main!(benches);
