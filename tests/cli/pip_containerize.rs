//! `pip-containerize`, offline: its command line and what it refuses; numbers are those of Tykky's
//! own tests.

use crate::harness::{Ended, Stage, ended};

fn tool(stage: &Stage, words: &[&str]) -> Ended {
    let mut command = stage.command(env!("CARGO_BIN_EXE_condense"));
    ended(
        &command
            .arg("pip-containerize")
            .args(words)
            .output()
            .unwrap(),
    )
}

/// 1 to 7.
#[test]
fn help_and_usage_are_argparse_s() {
    let stage = Stage::new();
    for words in [&["-h"][..], &["--help"], &[]] {
        let said = tool(&stage, words).succeeded();
        assert!(said.stdout.contains("show this help message"), "{said:?}");
    }
    let said = tool(&stage, &["new", "-h"]).succeeded();
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
    let said = tool(&stage, &["new"]);
    assert_eq!((said.status, said.stdout.as_str()), (2, ""), "{said:?}");
    assert!(said.stderr.contains("arguments are required"), "{said:?}");
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_made() {
    let stage = Stage::new();
    stage.write("req.txt", "rich\n");
    let base = stage.path("base");
    let base = base.to_str().unwrap();
    stage.fake_program(
        "python3",
        "#!/bin/sh\necho 'no Python at all' >&2\nexit 1\n",
    );
    let site = stage.write(
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
            "the making of a virtual environment must run in a container",
        ),
        (&["update", "dir"], "dir does not exist"),
        (&["advanced", "file"], "No such file"),
    ] {
        let mut command = stage.command(env!("CARGO_BIN_EXE_condense"));
        let said = command
            .arg("pip-containerize")
            .args(words)
            .env("CW_GLOBAL_YAML", &site)
            .output()
            .unwrap();
        ended(&said).failed(1, &["[ ERROR ] ", expected]);
        assert!(!stage.path("work/x").exists(), "{words:?}");
    }
    stage.left_nothing();
}
