//! Reads good files with random damage, to find files at which a reader panics, hangs or takes all
//! memory. Works with the stable toolchain: coverage does not guide it, but the damage respects
//! lines, words and nesting.
//!
//! A target is a reader with its good files, and [`main`] is the whole program of an example. Each
//! target runs in a process of its own, so that a stack overflow ends only that process. The same
//! seed and number always give the same file.

mod command;
mod damage;
mod error;
mod random;
mod work;

pub use command::main;
pub use damage::{bytes, text};
pub use error::Error;
pub use random::Random;

/// A function that reads a file and returns true when it refuses the file. Several threads call it.
pub type Read = Box<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// A reader and the files that it reads.
pub struct Target {
    /// The name that `--target` takes.
    pub name: &'static str,
    /// The good files. They are small, so that damage hits bytes that matter.
    pub seeds: Vec<Vec<u8>>,
    /// The function that damages a file: [`text`] or [`bytes`]. It also gets all good files, to
    /// copy parts from them.
    pub damage: fn(&mut Vec<u8>, &[Vec<u8>], &mut Random),
    /// The reader under test.
    pub read: Read,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .field("seeds", &self.seeds.len())
            .finish_non_exhaustive()
    }
}

impl Target {
    /// Returns the file of a number. The same seed and number give the same file in any order of
    /// calls.
    fn file(&self, seed: u64, number: u64) -> Vec<u8> {
        // The first numbers are the good files themselves.
        if let Some(good) = usize::try_from(number)
            .ok()
            .and_then(|number| self.seeds.get(number))
        {
            return good.clone();
        }
        let mut random = Random::new(seed, number);
        let mut file = self.seeds[random.below(self.seeds.len())].clone();
        (self.damage)(&mut file, &self.seeds, &mut random);
        file
    }
}
