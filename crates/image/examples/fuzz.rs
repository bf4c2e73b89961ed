//! Reads images and SIF files with random damage, on all cores: `fuzz [--target image|sif]
//! [--seconds N] [--count N] [--seed N]`. The program ends with an error if reading panics, if a
//! file takes more than five seconds, or if memory exceeds a limit. The file that caused the error
//! is then kept in the temporary directory. The same seed gives the same files.
#![allow(clippy::print_stdout)]

#[path = "../fuzz/exercise.rs"]
mod exercise;

use std::{cell::RefCell, process::ExitCode};

use condense_fuzz::Target;
use condense_image::sif::{DataKind, FileSystem, NewObject, PartitionRole, SifOptions, SifWriter};
use condense_image::{Arch, BlockSize, Compression, PackOptions, Tree, pack};
use exercise::Memory;

type Failure = Box<dyn std::error::Error + Send + Sync>;

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::new(Memory::new());
}

fn main() -> ExitCode {
    let words = std::env::args().skip(1);
    match targets().and_then(|targets| Ok(condense_fuzz::main(targets, words)?)) {
        Ok(told) => {
            println!("{told}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the files to damage: an image of every codec, one image written by the reference tool,
/// and SIF files. All are small, so that damage often hits headers and tables.
fn targets() -> Result<Vec<Target>, Failure> {
    let scratch = std::env::temp_dir().join(format!("fuzz-seeds-{}", std::process::id()));
    std::fs::create_dir(&scratch)?;
    let made = make(&scratch);
    std::fs::remove_dir_all(&scratch)?;
    made
}

fn make(scratch: &std::path::Path) -> Result<Vec<Target>, Failure> {
    let mut tree = Tree::new();
    let noise: Vec<u8> = (0..9000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8)
        .collect();
    tree.add_bytes("a/noise", noise, 0o644)?;
    tree.add_bytes("a/zeros", vec![0; 20_000], 0o644)?;
    tree.add_bytes("a/text", "text ".repeat(1000).into_bytes(), 0o755)?;
    tree.add_bytes("b/tail", *b"tail", 0o644)?;
    tree.add_bytes("b/none", *b"", 0o644)?;
    tree.add_hard_link("b/twin", "a/text")?;
    tree.add_symlink("a/link", "../b/tail")?;
    tree.add_symlink("loop", "loop")?;
    let (mut images, mut sifs) = (Vec::new(), Vec::new());
    for codec in ["gzip", "zstd", "lz4", "xz", "none"] {
        let options = PackOptions {
            compression: codec.parse::<Compression>()?,
            block_size: BlockSize::MIN,
            ..PackOptions::default()
        };
        let image = pack(&tree, &scratch.join(codec), &options)?;
        images.push(std::fs::read(image.path)?);
        let path = scratch.join(codec).with_extension("sif");
        let small = SifOptions {
            slots: 5,
            ..SifOptions::default()
        };
        let mut writer = SifWriter::create(&path, &small)?;
        writer.add(&NewObject::new(DataKind::DefinitionFile), b"from: x\n")?;
        writer.add(
            &NewObject::new(DataKind::Json).named("inspect-metadata.json"),
            b"{}",
        )?;
        let root = NewObject::partition(
            FileSystem::SquashFs,
            PartitionRole::PrimarySystem,
            Arch::X86_64,
        );
        writer.add_file(&root, scratch.join(codec))?;
        writer.finish()?;
        sifs.push(std::fs::read(path)?);
    }
    let target = |name, seeds, read: fn(&mut Memory, &[u8]) -> bool| Target {
        name,
        seeds,
        damage: condense_fuzz::bytes,
        read: Box::new(move |bytes| MEMORY.with_borrow_mut(|memory| read(memory, bytes))),
    };
    let targets = vec![
        target("image", images, exercise::image),
        target("sif", sifs, exercise::sif),
    ];
    for target in &targets {
        if target.seeds.iter().any(|seed| (target.read)(seed)) {
            return Err("a good file was refused".into());
        }
    }
    Ok(targets)
}
