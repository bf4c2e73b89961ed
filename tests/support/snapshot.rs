//! Responsible for snapshots of what a user sees.
//!
//! A test fails while a snapshot differs from its file. `INSTA_UPDATE=always cargo test` writes the
//! files anew; `git diff` then shows what a user would see otherwise.
