//! Fuzz target that reads arbitrary bytes as an image.
#![no_main]

#[path = "../exercise.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    exercise::image(&mut exercise::Memory::new(), bytes);
});
