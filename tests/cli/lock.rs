//! Tests of `condense lock` and of `conda-containerize new --lock` without a runtime.

use std::process::Command;

use crate::harness::{CommandOutput, Run, TestEnv};

fn lock(test: &TestEnv, arguments: &[&str]) -> CommandOutput {
    let mut command: Command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.arg("lock").args(arguments).run()
}

fn mount_point(test: &TestEnv) -> String {
    let text = fs_err::read(test.installation().join("share/receipt.json")).unwrap();
    let receipt: serde_json::Value = serde_json::from_slice(&text).unwrap();
    receipt["mount_point"].as_str().unwrap().to_owned()
}

fn built_lock(test: &TestEnv) -> String {
    fs_err::read_to_string(test.installation().join("share/condense.lock")).unwrap()
}

#[test]
fn a_lock_is_printed_or_written_and_nothing_stays() {
    let test = TestEnv::new();
    test.environment("tool");
    let printed = lock(&test, &["env.yml"]).succeeded().stdout;
    assert!(printed.starts_with("version: "), "{printed}");
    assert!(printed.contains("tool-1.0-0.conda"), "{printed}");
    assert!(printed.contains("- __glibc=2.28"), "{printed}");
    let base = test.path("base");
    let base = base.to_str().unwrap();
    let said = lock(&test, &["env.yml", "-o", "my.lock", "--base-image", base]);
    assert_eq!(said.succeeded().stdout, "");
    let written = fs_err::read_to_string(test.path("work/my.lock")).unwrap();
    assert!(written.contains("- __glibc=2.36"), "{written}");
    test.left_nothing();
    let output = lock(
        &test,
        &[
            "env.yml",
            "--base-image",
            base,
            "--platform",
            "linux-aarch64",
        ],
    );
    assert_eq!(output.status, 1, "{output:#?}");
    assert!(
        output
            .stderr
            .contains("the base image is for linux-64, not for linux-aarch64"),
        "{output:#?}"
    );
    let output = lock(&test, &["env.yml", "--platform", "win-64"]);
    assert!(
        output.status == 1 && output.stderr.contains("`win-64` is not a platform"),
        "{output:#?}"
    );
}

#[test]
fn lines_for_pip_stay_open_by_name_where_no_container_runs() {
    let test = TestEnv::new();
    let text = "channels: [CHANNEL]\ndependencies: [tool, {pip: [rich]}]\n";
    test.write("env.yml", text);
    let output = lock(&test, &["env.yml"]);
    // The line for pip makes the solver add `pip`, which the channel does not have.
    assert!(
        output.stderr.contains("PackagesNotFoundError") && output.stderr.contains("`pip`"),
        "{output:#?}"
    );
    assert!(
        output.stderr.contains("not locked") && output.stderr.contains("rich"),
        "{output:#?}"
    );
}

#[test]
fn a_lock_is_built_with_its_file_and_alone() {
    let test = TestEnv::new();
    test.write(
        "env.yml",
        "channels: [CHANNEL]\ndependencies: [tool]\nvariables: {GREETING: hello}\n",
    );
    lock(&test, &["env.yml", "-o", "my.lock"]).succeeded();
    test.build(&["env.yml", "--lock", "my.lock"]).succeeded();
    let (first, place) = (built_lock(&test), mount_point(&test));
    assert!(
        first.contains("tool-1.0-0.conda") && first.contains("GREETING: hello"),
        "{first}"
    );
    fs_err::remove_dir_all(test.installation()).unwrap();
    test.build(&["--lock", "my.lock"]).succeeded();
    assert_eq!((built_lock(&test), mount_point(&test)), (first, place));
    let input = test.installation().join("share/previous_input/1/my.lock");
    assert!(input.exists(), "the lock is not among the inputs");
}

#[test]
fn a_lock_that_is_not_the_files_is_refused_by_name() {
    let test = TestEnv::new();
    test.environment("tool");
    lock(&test, &["env.yml", "-o", "my.lock"]).succeeded();
    test.environment("tool, gated =2, library <2");
    test.build(&["env.yml", "--lock", "my.lock"]).failed(
        1,
        &[
            "my.lock: it does not have what the environment file asks for",
            "`gated =2` (it has no such package)",
            "`library <2` (it has 2.0)",
        ],
    );
    test.left_nothing();
    let output = test.build(&["env.yml", "--lock", "env.yml"]);
    output.failed(1, &["env.yml: this is not a lock file"]);
    let output = test.build(&["--lock", "my.lock", "--lock-environment", "other"]);
    output.failed(1, &["it has no environment `other`, only `default`"]);
    let output = test.build(&["--lock", "nothing.lock"]);
    output.failed(1, &["nothing.lock does not exist"]);
    let output = test.build(&[]);
    assert_eq!(output.status, 2, "{output:#?}");
    test.left_nothing();
}
