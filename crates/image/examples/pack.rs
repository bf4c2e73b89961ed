//! Packs a directory: `pack SRC OUT [--compression CODEC[:LEVEL]] [--block-size BYTES] [--threads
//! N] [--verify]`. With `--onto BASE --at PATH`, the directory is packed into a copy of an image.
//! With `--donor OLD` (and `--trust-times`), it is packed as a new version of an image. The example
//! makes the packer a program of its own, so that its run time can be measured; scripts/bench
//! compares it with mksquashfs.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use condense_image::{Donor, Existing, PackOptions, ScanOptions, Tree, pack, verify};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (mut paths, mut options, mut check) = (Vec::new(), PackOptions::default(), false);
    let (mut base, mut at, mut old, mut trust_times) = (None, None, None, false);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            "--compression" => options.compression = value()?.parse()?,
            "--block-size" => options.block_size = value()?.parse()?,
            "--threads" => options.threads = Some(value()?.parse()?),
            "--onto" => base = Some(Donor::open(value()?)?),
            "--at" => at = Some(value()?),
            "--donor" => old = Some(Donor::open(value()?)?),
            "--trust-times" => trust_times = true,
            "--verify" => check = true,
            _ => paths.push(PathBuf::from(word)),
        }
    }
    let [source, target] = paths.as_slice() else {
        return Err("usage: pack SRC OUT [options]".into());
    };
    let scan = ScanOptions::default();
    let threads = options.threads;
    let tree = if let (Some(donor), Some(at)) = (base, at) {
        let mut whole = donor.tree()?;
        whole.graft(at, Tree::scan(source, &scan)?, Existing::Refuse)?;
        options = PackOptions::onto(donor);
        whole
    } else {
        if let Some(donor) = old {
            options = PackOptions::repack(donor);
            options.trust_times = trust_times;
        }
        Tree::scan_changes(source, &scan, &options)?.0
    };
    options.threads = threads;
    let image = pack(&tree, target, &options)?;
    if check {
        verify(&image, &tree, options.threads)?;
    }
    println!(
        "{} inodes, {} bytes in, {} bytes out, {} duplicates, {} bytes taken, {} of them garbage",
        image.inodes,
        image.bytes_in,
        image.size_bytes,
        image.duplicate_files,
        image.taken_bytes,
        image.garbage_bytes
    );
    Ok(())
}
