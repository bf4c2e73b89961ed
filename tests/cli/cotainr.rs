//! Tests of `cotainr` without a network: its command line, its messages, and the images that it
//! builds, which are read without a runtime. Test names begin with the numbers of the statements in
//! the list of cotainr's own tests.

mod images;
mod words;

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use crate::harness::{CommandOutput, Run, TestEnv};

fn command(test: &TestEnv, words: &[&str]) -> Command {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.arg("cotainr").args(words);
    command
}

/// Runs `cotainr` with an empty standard input.
fn cotainr(test: &TestEnv, words: &[&str]) -> CommandOutput {
    command(test, words).stdin(Stdio::null()).run()
}

fn answering(test: &TestEnv, words: &[&str], answers: &str) -> CommandOutput {
    let mut child = command(test, words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(answers.as_bytes()).unwrap();
    drop(stdin);
    CommandOutput::from(child.wait_with_output().unwrap())
}

/// Runs `condense` to read what a command has built.
fn condense(test: &TestEnv, words: &[&str]) -> String {
    let output = test
        .command(env!("CARGO_BIN_EXE_condense"))
        .args(words)
        .output()
        .unwrap();
    CommandOutput::from(output).succeeded().stdout
}

/// Returns the text of a file in the root file system of an image in the test's working directory.
fn file_in(test: &TestEnv, image: &str, path: &str) -> String {
    let dir = test.path("unpacked");
    let _ = std::fs::remove_dir_all(&dir);
    condense(test, &["image", "extract", image, dir.to_str().unwrap()]);
    fs_err::read_to_string(dir.join(Path::new(path).strip_prefix("/").unwrap())).unwrap()
}
