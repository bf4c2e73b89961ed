//! `condense lock`, and `conda-containerize new --lock`, without a runtime.

use std::process::Command;

use crate::harness::{Ended, Stage, ended};

fn lock(stage: &Stage, arguments: &[&str]) -> Ended {
    let mut command: Command = stage.command(env!("CARGO_BIN_EXE_condense"));
    ended(&command.arg("lock").args(arguments).output().unwrap())
}

fn mount_point(stage: &Stage) -> String {
    let text = fs_err::read(stage.installation().join("share/receipt.json")).unwrap();
    let receipt: serde_json::Value = serde_json::from_slice(&text).unwrap();
    receipt["mount_point"].as_str().unwrap().to_owned()
}

fn built_lock(stage: &Stage) -> String {
    fs_err::read_to_string(stage.installation().join("share/condense.lock")).unwrap()
}

#[test]
fn a_lock_is_printed_or_written_and_nothing_stays() {
    let stage = Stage::new();
    stage.environment("tool");
    let printed = lock(&stage, &["env.yml"]).succeeded().stdout;
    assert!(printed.starts_with("version: "), "{printed}");
    assert!(printed.contains("tool-1.0-0.conda"), "{printed}");
    assert!(printed.contains("- __glibc=2.28"), "{printed}");
    let base = stage.path("base");
    let base = base.to_str().unwrap();
    let said = lock(&stage, &["env.yml", "-o", "my.lock", "--base-image", base]);
    assert_eq!(said.succeeded().stdout, "");
    let written = fs_err::read_to_string(stage.path("work/my.lock")).unwrap();
    assert!(written.contains("- __glibc=2.36"), "{written}");
    stage.left_nothing();
    let ended = lock(
        &stage,
        &[
            "env.yml",
            "--base-image",
            base,
            "--platform",
            "linux-aarch64",
        ],
    );
    assert_eq!(ended.status, 1, "{ended:#?}");
    assert!(
        ended
            .stderr
            .contains("the base image is for linux-64, not for linux-aarch64"),
        "{ended:#?}"
    );
    let ended = lock(&stage, &["env.yml", "--platform", "win-64"]);
    assert!(
        ended.status == 1 && ended.stderr.contains("`win-64` is not a platform"),
        "{ended:#?}"
    );
}

#[test]
fn lines_for_pip_stay_open_by_name_where_no_container_runs() {
    let stage = Stage::new();
    let text = "channels: [CHANNEL]\ndependencies: [tool, {pip: [rich]}]\n";
    stage.write("env.yml", text);
    let ended = lock(&stage, &["env.yml"]);
    // The channel has no pip, which is added for the sake of the line.
    assert!(
        ended.stderr.contains("PackagesNotFoundError") && ended.stderr.contains("`pip`"),
        "{ended:#?}"
    );
    assert!(
        ended.stderr.contains("not locked") && ended.stderr.contains("rich"),
        "{ended:#?}"
    );
}

#[test]
fn a_lock_is_built_with_its_file_and_alone() {
    let stage = Stage::new();
    stage.write(
        "env.yml",
        "channels: [CHANNEL]\ndependencies: [tool]\nvariables: {GREETING: hello}\n",
    );
    lock(&stage, &["env.yml", "-o", "my.lock"]).succeeded();
    stage.build(&["env.yml", "--lock", "my.lock"]).succeeded();
    let (first, place) = (built_lock(&stage), mount_point(&stage));
    assert!(
        first.contains("tool-1.0-0.conda") && first.contains("GREETING: hello"),
        "{first}"
    );
    fs_err::remove_dir_all(stage.installation()).unwrap();
    stage.build(&["--lock", "my.lock"]).succeeded();
    assert_eq!((built_lock(&stage), mount_point(&stage)), (first, place));
    let input = stage.installation().join("share/previous_input/1/my.lock");
    assert!(input.exists(), "the lock is not among the inputs");
}

#[test]
fn a_lock_that_is_not_the_files_is_refused_by_name() {
    let stage = Stage::new();
    stage.environment("tool");
    lock(&stage, &["env.yml", "-o", "my.lock"]).succeeded();
    stage.environment("tool, gated =2, library <2");
    stage.build(&["env.yml", "--lock", "my.lock"]).failed(
        1,
        &[
            "my.lock: it does not have what the environment file asks for",
            "`gated =2` (it has no such package)",
            "`library <2` (it has 2.0)",
        ],
    );
    stage.left_nothing();
    let ended = stage.build(&["env.yml", "--lock", "env.yml"]);
    ended.failed(1, &["env.yml: this is not a lock file"]);
    let ended = stage.build(&["--lock", "my.lock", "--lock-environment", "other"]);
    ended.failed(1, &["it has no environment `other`, only `default`"]);
    let ended = stage.build(&["--lock", "nothing.lock"]);
    ended.failed(1, &["nothing.lock does not exist"]);
    let ended = stage.build(&[]);
    assert_eq!(ended.status, 2, "{ended:#?}");
    stage.left_nothing();
}
