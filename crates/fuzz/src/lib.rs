//! Reads good files with random damage, to find what makes a reader panic, hang or take all memory. Works with the stable
//! toolchain: there is no guidance by coverage, but damage that knows lines, words and nesting.
//!
//! A target is a reader with its good files; [`main`] is the whole program of an example: each target runs in a process of
//! its own, so that a stack overflow ends that process only. The same seed gives the same files, by their numbers.

mod command;
mod damage;
mod error;
mod random;
mod work;

pub use command::main;
pub use damage::{bytes, text};
pub use error::Error;
pub use random::Random;

/// Reads a file; true when it was refused. It runs on several threads.
pub type Read = Box<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// A reader and what it reads.
pub struct Target {
    /// As `--target` names it.
    pub name: &'static str,
    /// Good files; small ones, so that damage hits what matters.
    pub seeds: Vec<Vec<u8>>,
    /// What is done to a file, [`text`] or [`bytes`]; the other files lend their parts.
    pub damage: fn(&mut Vec<u8>, &[Vec<u8>], &mut Random),
    /// The reader that is tried.
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
    /// The file of a number: whoever asks, and in whatever order, gets the same.
    fn file(&self, seed: u64, number: u64) -> Vec<u8> {
        // The good files themselves come first.
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
