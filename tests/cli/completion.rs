//! Tests of the words that completion gets from the program. `tests/runtime/shells.rs` asks the
//! shells themselves.

use std::time::{Duration, Instant};

use crate::{
    contents::{look, prepared},
    harness::{CommandOutput, Run, TestEnv},
};

/// Returns the output for a line, whose last word is at the cursor.
fn said(test: &TestEnv, line: &str) -> CommandOutput {
    look(test, &format!("complete words {line}"))
}

/// Returns the words, without their explanations.
#[track_caller]
fn words(said: &CommandOutput) -> Vec<&str> {
    assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{said:?}");
    let lines = said.stdout.lines();
    lines.map(|line| line.split('\t').next().unwrap()).collect()
}

/// B14: generations, packages and programs of an installation are completed.
#[test]
fn what_an_installation_has_is_completed() {
    let test = prepared();
    for (line, expected) in [
        ("condense info m", &["mine", "mine.sif"][..]),
        ("condense info mine@", &["mine@1", "mine@2"]),
        ("condense diff mine@1 mine@", &["mine@1", "mine@2"]),
        ("condense diff mine@1 mine.", &["mine.lock", "mine.sif"]),
        ("condense rollback mine --to ", &["1", "2"]),
        ("condense why mine li", &["library"]),
        ("condense why mine.lock to", &["tool"]),
        ("condense why mine.sif to", &["tool"]),
        ("condense packages mine@1 ga", &["gated"]),
        ("condense update mine --remove no", &["no-programs"]),
        ("condense update mine no", &["no-programs"]),
        ("condense tree --depth 2 mine li", &["library"]),
        ("condense run mine to", &["tool", "tool-link"]),
        ("condense run --site local mine -- oth", &["other tool"]),
        ("condense run nothing to", &[]),
        ("condense why nothing x", &[]),
    ] {
        assert_eq!(words(&said(&test, line)), expected, "{line}");
    }
    let told = said(&test, "condense why mine libr");
    assert_eq!(told.stdout, "library\t2.0\n");
}

/// Completion in a prompt is quick, and says nothing but words, whatever is broken.
#[test]
fn completion_is_quick_and_never_fails() {
    let test = TestEnv::new();
    let started = Instant::now();
    assert!(words(&said(&test, "condense check --site lumi-")).contains(&"lumi-g"));
    // Debug builds are slower than those that are installed, which take a fifth of this.
    let most = Duration::from_millis(if cfg!(debug_assertions) { 1500 } else { 300 });
    assert!(started.elapsed() < most, "{:?}", started.elapsed());
    for bad in ["bad.toml", "bad.json"] {
        test.write(bad, "{ this is neither");
    }
    for (variable, value) in [
        ("CONDENSE_CATALOGUE", "bad.toml"),
        ("CONDENSE_CONFIG", "bad.toml"),
        ("CONDENSE_SYSTEMS", "bad.json"),
        ("CW_GLOBAL_YAML", "bad.toml"),
        ("TYKKY_PATH", "/no/such/place"),
        ("CW_LOG_LEVEL", "3"),
    ] {
        for line in [
            "complete words condense check --site ",
            "complete words condense info ",
            "complete words cotainr build --system ",
            "complete words condense new x --base-image ",
            "complete words",
            "complete words condense",
            "complete line condense con",
            "complete token condense \"",
            "complete frobnicate",
            "complete",
        ] {
            let list: Vec<&str> = line.split(' ').collect();
            let said = test.condense(&list).env(variable, value).run();
            assert_eq!(
                (said.status, said.stderr.as_str()),
                (0, ""),
                "{variable} {line}: {said:?}"
            );
        }
    }
    // The built-in sites are there although a file of the user has a mistake.
    let mut command = test.condense(&["complete", "words", "condense", "check", "--site", "lumi-"]);
    let told = command.env("CONDENSE_CATALOGUE", "bad.toml").run();
    assert!(words(&told).contains(&"lumi-g"), "{told:?}");
}

/// Bash gives the line and the part behind the last `=` or `:`.
#[test]
fn words_of_a_line_are_split_as_the_shell_does() {
    let test = prepared();
    fs_err::write(test.path("work/two words.sif"), "").unwrap();
    for (form, typed, last, expected) in [
        (
            "line",
            "condense check --site=lumi-g",
            "lumi-g",
            &["lumi-g"][..],
        ),
        ("line", "condense info mine@", "@", &["@1", "@2"]),
        ("line", "condense info 'two w", "two w", &["two words.sif"]),
        (
            "line",
            r"condense info two\ w",
            r"two\ w",
            &["two words.sif"],
        ),
        ("line", "condense pull docker:", "", &["//"]),
        ("line", "condense expl", "expl", &["explain"]),
    ] {
        let mut command = test.condense(&["complete", form, typed, last]);
        let told = command.env("TYKKY_PATH", test.path("work/envs")).run();
        assert_eq!(words(&told), expected, "{typed}");
    }
    let told = test
        .condense(&["complete", "token", "condense", "info", r"two\ w"])
        .run();
    assert_eq!(words(&told), ["two words.sif"]);
}

/// The verb is for shells only.
#[test]
fn the_verb_is_not_offered() {
    let test = TestEnv::new();
    let told = said(&test, "condense co");
    assert_eq!(words(&told), ["config", "conda-containerize", "cotainr"]);
    let help = test.condense(&["--help"]).run().succeeded();
    assert!(!help.stdout.contains("  complete"), "{help:?}");
}
