//! Fuzz target that reads arbitrary bytes as a SIF file.
#![no_main]

#[path = "../exercise.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    exercise::sif(&mut exercise::Memory::new(), bytes);
});
