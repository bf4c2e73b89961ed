//! `condense verify`: an installation that is as it was built, and every way in which it may not
//! be.

use std::path::Path;

use crate::harness::{Ended, Stage, ended};

fn verify(stage: &Stage, dir: &Path) -> Ended {
    let mut command = stage.command(env!("CARGO_BIN_EXE_condense"));
    command.args(["verify", "--no-start"]).arg(dir);
    ended(&command.output().unwrap())
}

fn built() -> Stage {
    let stage = Stage::new();
    let env = stage.environment("tool");
    stage.build(&[env.to_str().unwrap()]).succeeded();
    stage
}

#[track_caller]
fn refused(stage: &Stage, words: &[&str]) {
    let said = verify(stage, &stage.installation());
    assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{said:?}");
    for word in words {
        assert!(said.stderr.contains(word), "`{word}` is not in {said:?}");
    }
}

#[test]
fn what_was_built_is_as_it_was() {
    let stage = built();
    let said = verify(&stage, &stage.installation()).succeeded();
    assert_eq!(said.stdout, "");
    assert!(said.stderr.contains("img.sqfs"), "{said:?}");
}

#[test]
fn one_changed_byte_of_the_image_is_found() {
    let stage = built();
    let image = stage.installation().join("img.sqfs");
    let mut bytes = fs_err::read(&image).unwrap();
    bytes[200] ^= 1;
    fs_err::write(&image, bytes).unwrap();
    refused(&stage, &["error: ", "img.sqfs", "has changed", "sha256"]);
}

#[test]
fn a_shortened_image_is_found_by_its_size() {
    let stage = built();
    let image = stage.installation().join("img.sqfs");
    let bytes = fs_err::read(&image).unwrap();
    fs_err::write(&image, &bytes[..100]).unwrap();
    refused(&stage, &["img.sqfs", "100 bytes"]);
}

#[test]
fn a_changed_lock_is_found() {
    let stage = built();
    fs_err::write(stage.installation().join("share/condense.lock"), "x").unwrap();
    refused(&stage, &["condense.lock", "has changed"]);
}

#[test]
fn a_base_that_has_gone_is_found() {
    let stage = built();
    fs_err::remove_dir_all(stage.path("base")).unwrap();
    refused(&stage, &["container.sif"]);
}

#[test]
fn wrappers_without_a_program_and_no_wrappers_are_found() {
    let stage = built();
    fs_err::remove_file(stage.installation().join("_bin/tool")).unwrap();
    refused(&stage, &["`tool`", "no link"]);
    for entry in fs_err::read_dir(stage.installation().join("_bin")).unwrap() {
        fs_err::remove_file(entry.unwrap().path()).unwrap();
    }
    for entry in fs_err::read_dir(stage.installation().join("bin")).unwrap() {
        fs_err::remove_file(entry.unwrap().path()).unwrap();
    }
    refused(&stage, &["no wrappers"]);
}

#[test]
fn what_is_no_installation_is_refused_by_name() {
    let stage = built();
    for (dir, words) in [
        (stage.path("nowhere"), "does not exist"),
        (stage.path("work"), "is not an installation"),
    ] {
        let said = verify(&stage, &dir);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.stderr.contains(words), "{said:?}");
    }
}

#[test]
fn an_unknown_verb_and_a_missing_argument_are_usage_errors() {
    let stage = Stage::new();
    for arguments in [&["frobnicate"][..], &["verify"], &["verify", "--frob", "x"]] {
        let mut command = stage.command(env!("CARGO_BIN_EXE_condense"));
        let said = ended(&command.args(arguments).output().unwrap());
        assert_eq!((said.status, said.stdout.as_str()), (2, ""), "{said:?}");
        assert!(said.stderr.starts_with("error: "), "{said:?}");
    }
}
