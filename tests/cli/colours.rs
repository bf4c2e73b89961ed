//! Tests of colours: on a terminal that can show them, and nowhere else.

use std::process::Stdio;

use crate::harness::{CommandOutput, Run, TestEnv};

/// Runs `condense` with these words in a pseudo-terminal.
fn in_terminal(test: &TestEnv, words: &str, variables: &[(&str, &str)]) -> CommandOutput {
    let mut command = test.command("/usr/bin/script");
    command
        // `script` gives the exit status of the command with -e.
        .args(["-qec", &format!("\"$CONDENSE\" {words}"), "/dev/null"])
        .env("CONDENSE", env!("CARGO_BIN_EXE_condense"))
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    command.run()
}

/// Returns a test in which `check` finds an error and a warning, and `doctor` has findings.
fn prepared() -> TestEnv {
    let test = TestEnv::new();
    test.write(
        "env.yml",
        "channels: [CHANNEL]\ndependencies: [pytorch-cuda]\n",
    );
    test
}

const CHECK: &str = "check --site lumi-g env.yml";
const DOCTOR: &str = "doctor --offline --site lumi-g";

/// B29: findings of `check` and `doctor` have colours on a terminal, by their severity.
#[test]
fn findings_have_colours_on_a_terminal() {
    let test = prepared();
    for (words, status) in [(CHECK, 1), (DOCTOR, 1)] {
        let said = in_terminal(&test, words, &[]);
        assert_eq!(said.status, status, "{said:?}");
        let coloured = said.stdout.contains("\x1b[1;31merror[");
        assert!(coloured, "{words}: {said:?}");
        // The colour ends before the text.
        for line in said.stdout.lines().filter(|line| line.contains("\x1b[1;")) {
            assert!(line.contains("]\x1b[0m: "), "{line:?}");
        }
    }
}

/// B29: colours are off where somebody said so, on a terminal that has none, and in a pipe.
#[test]
fn colours_can_be_turned_off() {
    let test = prepared();
    for words in [CHECK, DOCTOR] {
        for variable in [
            ("NO_COLOR", "1"),
            ("CLICOLOR", "0"),
            ("TERM", "dumb"),
            ("TERM", ""),
            ("USE_COLOR", "no"),
        ] {
            let said = in_terminal(&test, words, &[variable]);
            assert!(said.stdout.contains("error["), "{variable:?}: {said:?}");
            assert!(!said.stdout.contains('\x1b'), "{variable:?}: {said:?}");
        }
        for variable in [("NO_COLOR", ""), ("CLICOLOR", "1"), ("USE_COLOR", "yes")] {
            let said = in_terminal(&test, words, &[variable]);
            assert!(
                said.stdout.contains("\x1b[1;31merror["),
                "{variable:?}: {said:?}"
            );
        }
        // JSON and pipes have none, although the terminal would have.
        let said = in_terminal(&test, &format!("{words} --json"), &[]);
        assert!(!said.stdout.contains('\x1b'), "{said:?}");
        let list: Vec<&str> = words.split(' ').collect();
        let said = test.condense(&list).env("TERM", "xterm").run();
        assert!(
            said.stdout.contains("error[") && !said.stdout.contains('\x1b'),
            "{said:?}"
        );
    }
}

/// Tykky's format colours the prefixes of messages by the same rules.
#[test]
fn messages_of_tykky_have_colours_by_the_same_rules() {
    let test = prepared();
    let words = "conda-containerize new --prefix out none.yml";
    let said = in_terminal(&test, words, &[]);
    assert!(said.stdout.contains("\x1b["), "{said:?}");
    for variable in [("NO_COLOR", "1"), ("CLICOLOR", "0"), ("TERM", "dumb")] {
        let said = in_terminal(&test, words, &[variable]);
        assert!(said.stdout.contains("ERROR"), "{said:?}");
        assert!(!said.stdout.contains('\x1b'), "{variable:?}: {said:?}");
    }
}
