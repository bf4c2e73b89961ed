//! Result files that the user names. They are either replaced completely or left unchanged.

use std::{
    io::{Read, Seek},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use crate::harness::{Ended, Stage, ended};

fn condense(stage: &Stage, words: &[&str]) -> Ended {
    let mut command = stage.command(env!("CARGO_BIN_EXE_condense"));
    ended(&command.args(words).output().unwrap())
}

#[test]
fn a_result_takes_the_place_of_the_old_one_in_one_step() {
    let stage = Stage::new();
    let file = stage.environment("tool");
    stage.build(&[file.to_str().unwrap()]).succeeded();
    for words in [
        &["lock", "env.yml", "-o", "named"][..],
        &["report", "installation", "-o", "named"],
    ] {
        let target = stage.write("target", "the old one\n");
        let mode = std::fs::Permissions::from_mode(0o640);
        fs_err::set_permissions(&target, mode).unwrap();
        let named = stage.path("work/named");
        symlink("target", &named).unwrap();
        let mut old = fs_err::File::open(&target).unwrap();
        condense(&stage, words).succeeded();
        // A program that has opened the old file can still read all of it after the replacement.
        let mut text = String::new();
        old.rewind().unwrap();
        old.read_to_string(&mut text).unwrap();
        assert_eq!(text, "the old one\n", "{words:?}");
        assert!(named.is_symlink());
        let new = fs_err::metadata(&target).unwrap();
        assert!(new.len() > 100 && new.mode() & 0o777 == 0o640, "{words:?}");
        fs_err::remove_file(named).unwrap();
    }
    assert_eq!(stage.beside(), [""; 0]);
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_and_the_old_one_stays() {
    let stage = Stage::new();
    stage.environment("tool");
    stage.write("old", "the old one\n");
    let words = ["lock", "env.yml", "-o"];
    let said = condense(&stage, &[&words[..], &["/dev/full"]].concat());
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.stderr.contains("No space left"), "{said:?}");
    // The limit on the size of files has the same effect here as a quota.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
    let mut command = stage.command("/bin/sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_condense")]);
    let said = ended(&command.args(words).arg("old").output().unwrap());
    assert_eq!(said.status, 1, "{said:?}");
    let old = fs_err::read_to_string(stage.path("work/old")).unwrap();
    assert_eq!(old, "the old one\n");
    stage.left_nothing();
}

#[test]
fn pipes_and_standard_output_are_written_to() {
    let stage = Stage::new();
    stage.environment("tool");
    let expected = condense(&stage, &["lock", "env.yml"]).succeeded().stdout;
    let said = condense(&stage, &["lock", "env.yml", "-o", "/dev/stdout"]).succeeded();
    assert_eq!(said.stdout, expected);
    let script = "\"$1\" lock env.yml -o /dev/stdout >out && cat out";
    let mut command = stage.command("/bin/sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_condense")]);
    let said = ended(&command.output().unwrap()).succeeded();
    assert_eq!(said.stdout, expected);
}
