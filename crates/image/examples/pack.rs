//! Packs a directory: `pack SRC OUT [--compression CODEC[:LEVEL]] [--block-size BYTES] [--threads N] [--verify]`.
//! Times the packer as a program of its own; scripts/bench holds it against mksquashfs.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use condense_image::{PackOptions, Tree, pack, verify};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (mut paths, mut options, mut check) = (Vec::new(), PackOptions::default(), false);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            "--compression" => options.compression = value()?.parse()?,
            "--block-size" => options.block_size = value()?.parse()?,
            "--threads" => options.threads = Some(value()?.parse()?),
            "--verify" => check = true,
            _ => paths.push(PathBuf::from(word)),
        }
    }
    let [source, target] = paths.as_slice() else {
        return Err("usage: pack SRC OUT [options]".into());
    };
    let tree = Tree::scan(source, &condense_image::ScanOptions::default())?;
    let image = pack(&tree, target, &options)?;
    if check {
        verify(&image, &tree, options.threads)?;
    }
    println!(
        "{} inodes, {} bytes in, {} bytes out, {} duplicates",
        image.inodes, image.bytes_in, image.size_bytes, image.duplicate_files
    );
    Ok(())
}
