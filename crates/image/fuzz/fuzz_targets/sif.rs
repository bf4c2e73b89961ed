//! Any bytes as a SIF.
#![no_main]

#[path = "../exercise.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    exercise::sif(&mut exercise::Memory::new(), bytes);
});
