//! Tests of the command line of `pip-containerize` without a runtime. Numbers are those of the
//! statements in the list of Tykky's own tests.

use crate::harness::{CommandOutput, Run, TestEnv};

fn tool(test: &TestEnv, words: &[&str]) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.arg("pip-containerize").args(words).run()
}

/// Statements 1 to 7 of the list of Tykky's tests: help and usage errors.
#[test]
fn help_and_usage_are_argparse_s() {
    let test = TestEnv::new();
    for words in [&["-h"][..], &["--help"], &[]] {
        let said = tool(&test, words).succeeded();
        assert!(said.stdout.contains("show this help message"), "{said:?}");
    }
    let said = tool(&test, &["new", "-h"]).succeeded();
    for option in [
        "--post-install",
        "--pre-install",
        "--environ",
        "--wrapper-paths",
        "--uv",
        "--slim",
        "--pyver",
        "--system-site-packages",
        "--nocache",
        "--prefix",
    ] {
        assert!(said.stdout.contains(option), "no `{option}` in {said:?}");
    }
    let said = tool(&test, &["new"]);
    assert_eq!((said.status, said.stdout.as_str()), (2, ""), "{said:?}");
    assert!(said.stderr.contains("arguments are required"), "{said:?}");
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_made() {
    let test = TestEnv::new();
    test.write("req.txt", "rich\n");
    let base = test.path("base");
    let base = base.to_str().unwrap();
    test.fake_program(
        "python3",
        "#!/bin/sh\necho 'no Python at all' >&2\nexit 1\n",
    );
    let site = test.write(
        "site.yml",
        &format!("defaults: {{container_src: {base}}}\n"),
    );
    for (words, expected) in [
        (
            &["new", "--prefix", "x", "no.txt"][..],
            "Requirements file no.txt does not exist",
        ),
        (
            &["new", "--prefix", "x", "req.txt"],
            "cannot carry an environment: no Python at all",
        ),
        (
            &[
                "new",
                "--prefix",
                "x",
                "--interpreter",
                "/no/such",
                "req.txt",
            ],
            "`/no/such` cannot carry an environment",
        ),
        (
            &["new", "--prefix", "x", "--base-image", base, "req.txt"],
            "has no `python3`",
        ),
        (&["update", "dir"], "dir does not exist"),
        (&["advanced", "file"], "No such file"),
    ] {
        let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
        let said = command
            .arg("pip-containerize")
            .args(words)
            .env("CW_GLOBAL_YAML", &site)
            .output()
            .unwrap();
        CommandOutput::from(said).failed(1, &["[ ERROR ] ", expected]);
        assert!(!test.path("work/x").exists(), "{words:?}");
    }
    test.left_nothing();
}
