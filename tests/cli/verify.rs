//! Tests of `condense verify` with an unchanged installation and with each kind of damage.

use std::path::Path;

use crate::harness::{CommandOutput, Run, TestEnv};

fn verify(test: &TestEnv, dir: &Path) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.args(["verify", "--no-start"]).arg(dir);
    command.run()
}

fn built() -> TestEnv {
    let test = TestEnv::new();
    let env = test.environment("tool");
    test.build(&[env.to_str().unwrap()]).succeeded();
    test
}

#[track_caller]
fn refused(test: &TestEnv, words: &[&str]) {
    let said = verify(test, &test.installation());
    assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{said:?}");
    for word in words {
        assert!(said.stderr.contains(word), "`{word}` is not in {said:?}");
    }
}

#[test]
fn what_was_built_is_as_it_was() {
    let test = built();
    let said = verify(&test, &test.installation()).succeeded();
    assert_eq!(said.stdout, "");
    assert!(said.stderr.contains("img.sqfs"), "{said:?}");
}

#[test]
fn one_changed_byte_of_the_image_is_found() {
    let test = built();
    let image = test.installation().join("img.sqfs");
    let mut bytes = fs_err::read(&image).unwrap();
    bytes[200] ^= 1;
    fs_err::write(&image, bytes).unwrap();
    refused(&test, &["error: ", "img.sqfs", "has changed", "sha256"]);
}

#[test]
fn a_shortened_image_is_found_by_its_size() {
    let test = built();
    let image = test.installation().join("img.sqfs");
    let bytes = fs_err::read(&image).unwrap();
    fs_err::write(&image, &bytes[..100]).unwrap();
    refused(&test, &["img.sqfs", "100 bytes"]);
}

#[test]
fn a_changed_lock_is_found() {
    let test = built();
    fs_err::write(test.installation().join("share/condense.lock"), "x").unwrap();
    refused(&test, &["condense.lock", "has changed"]);
}

#[test]
fn a_base_that_has_gone_is_found() {
    let test = built();
    fs_err::remove_dir_all(test.path("base")).unwrap();
    refused(&test, &["container.sif"]);
}

#[test]
fn wrappers_without_a_program_and_no_wrappers_are_found() {
    let test = built();
    fs_err::remove_file(test.installation().join("_bin/tool")).unwrap();
    refused(&test, &["`tool`", "no link"]);
    for entry in fs_err::read_dir(test.installation().join("_bin")).unwrap() {
        fs_err::remove_file(entry.unwrap().path()).unwrap();
    }
    for entry in fs_err::read_dir(test.installation().join("bin")).unwrap() {
        fs_err::remove_file(entry.unwrap().path()).unwrap();
    }
    refused(&test, &["no wrappers"]);
}

#[test]
fn what_is_no_installation_is_refused_by_name() {
    let test = built();
    for (dir, words) in [
        (test.path("nowhere"), "does not exist"),
        (test.path("work"), "is not an installation"),
    ] {
        let said = verify(&test, &dir);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.stderr.contains(words), "{said:?}");
    }
}

#[test]
fn an_unknown_verb_and_a_missing_argument_are_usage_errors() {
    let test = TestEnv::new();
    for arguments in [&["frobnicate"][..], &["verify"], &["verify", "--frob", "x"]] {
        let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
        let said = command.args(arguments).run();
        assert_eq!((said.status, said.stdout.as_str()), (2, ""), "{said:?}");
        assert!(said.stderr.starts_with("error: "), "{said:?}");
    }
}
