//! Tests of `condense run` with a fake runtime.

use crate::harness::{CommandOutput, Run, TestEnv};

/// Returns a test with an installation `installation` and a SIF `mine.sif`, and with a runtime that
/// prints its arguments, one on each line, and ends with 7. The last arguments are the program and
/// its own arguments.
fn prepared() -> TestEnv {
    let test = TestEnv::new();
    let file = test.environment("tool");
    test.build(&[file.to_str().unwrap()]).succeeded();
    let words = "cotainr build --base-image ../base --conda-env env.yml mine.sif";
    let words: Vec<&str> = words.split(' ').collect();
    test.condense(&words).run().succeeded();
    test.fake_program("apptainer", RUNTIME);
    test
}

/// Runtime that prints its arguments, one on each line, and ends with 7.
const RUNTIME: &str = "#!/bin/sh\ncase $1 in --version) echo apptainer version 1.4.5; exit ;; esac\n\
    [ \"${KILL-}\" ] && kill -TERM $$\nfor word; do echo \"$word\"; done\nexit 7\n";

fn run(test: &TestEnv, words: &[&str]) -> CommandOutput {
    test.condense(&[&["run"][..], words].concat()).run()
}

#[track_caller]
fn ends_with(said: &CommandOutput, words: &[&str]) {
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(said.status, 7, "{said:?}");
    assert!(lines.ends_with(words), "{said:?}");
}

#[test]
fn programs_start_through_their_wrappers_or_the_one_for_any_program() {
    let test = prepared();
    let tool = test.installation().join("bin/tool");
    let tool = tool.to_str().unwrap();
    let said = run(&test, &["installation", "tool", "--version", "a b"]);
    ends_with(&said, &[tool, "--version", "a b"]);
    let said = run(&test, &["installation", "--", "tool", "-v"]);
    ends_with(&said, &[tool, "-v"]);
    // The program has no wrapper.
    let said = run(&test, &["installation", "/bin/sh", "-c", "true"]);
    ends_with(&said, &["/bin/sh", "-c", "true"]);
    let said = run(&test, &["installation@1", "tool"]);
    ends_with(&said, &[tool]);
}

#[test]
fn programs_of_a_sif_start_through_the_runtime() {
    let test = prepared();
    let said = run(&test, &["mine.sif", "--", "tool", "--json"]);
    let sif = test.path("work/mine.sif");
    assert_eq!(said.status, 7, "{said:?}");
    let expected = ["-s", "exec", sif.to_str().unwrap(), "tool", "--json"];
    assert_eq!(said.stdout.lines().collect::<Vec<_>>(), expected);
    assert_eq!(said.stderr, "");
}

/// S1: a site's flags are given to the runtime, those for GPUs only where there are some.
#[test]
fn the_flags_of_the_site_are_for_sifs_too() {
    let test = prepared();
    let said = run(&test, &["--site", "polaris", "mine.sif", "tool"]);
    let words: Vec<&str> = said.stdout.lines().take(3).collect();
    assert_eq!(words, ["-s", "exec", "--fakeroot"], "{said:?}");
    // The build finds no runtime, so that it does not try a start.
    fs_err::remove_file(test.path("programs/apptainer")).unwrap();
    let file = test.environment("tool");
    let words = "new --site polaris --prefix other --base-image ../base";
    let words: Vec<&str> = words.split(' ').collect();
    test.program(&words).arg(file).run().succeeded();
    test.fake_program("apptainer", RUNTIME);
    let said = run(&test, &["./other", "tool"]);
    assert!(said.stdout.contains("\n--fakeroot\n"), "{said:?}");
}

#[test]
fn the_end_of_the_program_is_the_end_of_the_command() {
    let test = prepared();
    let mut command = test.condense(&["run", "mine.sif", "tool"]);
    let said = command.env("KILL", "1").run();
    assert_eq!(said.status, 128 + 15, "{said:?}");
}

#[test]
fn a_runtime_must_be_there_for_a_sif() {
    let test = prepared();
    fs_err::remove_file(test.path("programs/apptainer")).unwrap();
    let said = run(&test, &["mine.sif", "tool"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.stderr.contains("neither apptainer nor singularity"),
        "{said:?}"
    );
    let said = run(&test, &["mine.sif"]);
    assert_eq!(said.status, 2, "{said:?}");
}
