//! Unpacks an image: `unpack IMAGE DIR [--threads N]`. With `--check`, and without DIR, the image
//! is read and checked instead. The example makes the reader a program of its own, so that its run
//! time can be compared with unsquashfs.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use condense_image::{CheckOptions, ExtractOptions, Reader, check, extract};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (mut paths, mut threads, mut only_check) = (Vec::new(), None, false);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--threads" => threads = Some(words.next().ok_or("--threads wants a value")?.parse()?),
            "--check" => only_check = true,
            _ => paths.push(PathBuf::from(word)),
        }
    }
    match paths.as_slice() {
        [image] if only_check => {
            let options = CheckOptions {
                threads,
                ..CheckOptions::default()
            };
            println!("{:?}", check(&Reader::open(image)?, &options)?);
        }
        [image, target] if !only_check => {
            let options = ExtractOptions {
                threads,
                ..ExtractOptions::default()
            };
            println!("{:?}", extract(&Reader::open(image)?, target, &options)?);
        }
        _ => return Err("usage: unpack IMAGE DIR | unpack --check IMAGE".into()),
    }
    Ok(())
}
