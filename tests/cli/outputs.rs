//! Result files that the user names. They are either replaced completely or left unchanged.

use std::{
    io::{Read, Seek},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use crate::harness::{CommandOutput, Run, TestEnv};

fn condense(test: &TestEnv, words: &[&str]) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.args(words).run()
}

#[test]
fn a_result_takes_the_place_of_the_old_one_in_one_step() {
    let test = TestEnv::new();
    let file = test.environment("tool");
    test.build(&[file.to_str().unwrap()]).succeeded();
    for words in [
        &["lock", "env.yml", "-o", "named"][..],
        &["report", "installation", "-o", "named"],
    ] {
        let target = test.write("target", "the old one\n");
        let mode = std::fs::Permissions::from_mode(0o640);
        fs_err::set_permissions(&target, mode).unwrap();
        let named = test.path("work/named");
        symlink("target", &named).unwrap();
        let mut old = fs_err::File::open(&target).unwrap();
        condense(&test, words).succeeded();
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
    assert_eq!(test.beside(), [""; 0]);
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_and_the_old_one_stays() {
    let test = TestEnv::new();
    test.environment("tool");
    test.write("old", "the old one\n");
    let words = ["lock", "env.yml", "-o"];
    let said = condense(&test, &[&words[..], &["/dev/full"]].concat());
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.stderr.contains("No space left"), "{said:?}");
    // The limit on the size of files has the same effect here as a quota.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
    let mut command = test.command("/bin/sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_condense")]);
    let said = command.args(words).arg("old").run();
    assert_eq!(said.status, 1, "{said:?}");
    let old = fs_err::read_to_string(test.path("work/old")).unwrap();
    assert_eq!(old, "the old one\n");
    test.left_nothing();
}

#[test]
fn pipes_and_standard_output_are_written_to() {
    let test = TestEnv::new();
    test.environment("tool");
    let expected = condense(&test, &["lock", "env.yml"]).succeeded().stdout;
    let said = condense(&test, &["lock", "env.yml", "-o", "/dev/stdout"]).succeeded();
    assert_eq!(said.stdout, expected);
    let script = "\"$1\" lock env.yml -o /dev/stdout >out && cat out";
    let mut command = test.command("/bin/sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_condense")]);
    let said = command.run().succeeded();
    assert_eq!(said.stdout, expected);
}
