//! Reads files that users and channels bring, with random damage: `fuzz_files [--target NAME]
//! [--seconds N] [--seed N]`. Ends with an error at a panic, at a file that takes more than five
//! seconds, or when memory exceeds a limit. Such files are kept in the temporary directory.
//! `--replay FILE` reads one of them.
#![allow(clippy::print_stdout)]

mod channel;
mod files;
mod packages;

use std::{path::Path, process::ExitCode};

use condense_fuzz::{Error, Target};

fn main() -> ExitCode {
    let words = std::env::args().skip(1);
    match targets().and_then(|targets| condense_fuzz::main(targets, words)) {
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

fn targets() -> Result<Vec<Target>, Error> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fuzz_files/seeds");
    let mut targets = files::targets(&seeds)?;
    targets.extend(packages::targets(&seeds)?);
    targets.extend(channel::targets(&seeds)?);
    Ok(targets)
}

/// Reads the good files of a target: those whose names begin with the target's name.
fn seeds(dir: &Path, name: &str) -> Result<Vec<Vec<u8>>, Error> {
    let mut paths = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_file() && file.starts_with(name) && !file.ends_with(".reading") {
            paths.push(path);
        }
    }
    paths.sort();
    let files = paths.into_iter().map(|path| Ok(fs_err::read(path)?));
    files.collect()
}
