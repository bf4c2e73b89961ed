//! condense.
fn main() {}
