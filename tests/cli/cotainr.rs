//! `cotainr`, offline: its command line and its words, and the images it makes, read without a
//! runtime. Names begin with the numbers that these behaviours have in the list of cotainr's own
//! tests.

mod images;
mod words;

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use crate::harness::{Ended, Stage, ended};

fn command(stage: &Stage, words: &[&str]) -> Command {
    let mut command = stage.command(env!("CARGO_BIN_EXE_condense"));
    command.arg("cotainr").args(words);
    command
}

/// With nothing on standard input.
fn cotainr(stage: &Stage, words: &[&str]) -> Ended {
    ended(&command(stage, words).stdin(Stdio::null()).output().unwrap())
}

fn answering(stage: &Stage, words: &[&str], answers: &str) -> Ended {
    let mut child = command(stage, words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(answers.as_bytes()).unwrap();
    drop(stdin);
    ended(&child.wait_with_output().unwrap())
}

/// `condense` itself, to look into what was made.
fn condense(stage: &Stage, words: &[&str]) -> String {
    let output = stage
        .command(env!("CARGO_BIN_EXE_condense"))
        .args(words)
        .output()
        .unwrap();
    ended(&output).succeeded().stdout
}

/// A file of the root file system of an image in the stage's working directory.
fn file_in(stage: &Stage, image: &str, path: &str) -> String {
    let dir = stage.path("unpacked");
    let _ = std::fs::remove_dir_all(&dir);
    condense(stage, &["image", "extract", image, dir.to_str().unwrap()]);
    fs_err::read_to_string(dir.join(Path::new(path).strip_prefix("/").unwrap())).unwrap()
}
