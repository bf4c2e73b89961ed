//! Tests of `condense info`, `condense rollback` and `condense gc`.

use crate::harness::{CommandOutput, Run, TestEnv};

fn condense(test: &TestEnv, arguments: &[&str]) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.args(arguments).current_dir(test.path("work")).run()
}

fn info(test: &TestEnv) -> serde_json::Value {
    let said = condense(test, &["info", "installation", "--json"]).succeeded();
    serde_json::from_str(&said.stdout).unwrap()
}

fn numbers(test: &TestEnv) -> Vec<(u64, bool)> {
    let generations = info(test)["generations"].as_array().unwrap().clone();
    generations
        .iter()
        .map(|generation| {
            (
                generation["number"].as_u64().unwrap(),
                generation["visible"].as_bool().unwrap(),
            )
        })
        .collect()
}

#[test]
fn generations_are_shown_brought_back_and_removed() {
    let test = TestEnv::new();
    let bin = test.installation().join("bin");
    for packages in ["tool", "no-programs, tool", "tool, library"] {
        let file = test.environment(packages);
        test.build(&["--force", file.to_str().unwrap()]).succeeded();
    }
    assert_eq!(numbers(&test), [(1, false), (2, false), (3, true)]);
    let said = condense(&test, &["info", "installation"]).succeeded();
    for words in [
        "mode: conda",
        "base: ",
        "image sha256: ",
        "input: share/",
        "(visible)",
    ] {
        assert!(said.stdout.contains(words), "{said:?}");
    }

    let said = condense(&test, &["rollback", "installation"]).succeeded();
    assert!(said.stderr.contains("generation 2, "), "{said:?}");
    assert!(said.stdout.is_empty() && bin.join("tool").exists());
    assert_eq!(numbers(&test), [(1, false), (2, true), (3, false)]);

    let said = condense(&test, &["gc", "installation", "--dry-run"]).succeeded();
    assert!(
        said.stderr.contains("would remove generation 1, "),
        "{said:?}"
    );
    assert_eq!(numbers(&test).len(), 3);
    condense(&test, &["gc", "installation"]).succeeded();
    assert_eq!(numbers(&test), [(2, true), (3, false)]);
    condense(&test, &["gc", "installation", "--keep", "0"]).succeeded();
    assert_eq!(numbers(&test), [(2, true)]);
}

#[test]
fn what_cannot_be_brought_back_is_refused() {
    let test = TestEnv::new();
    let file = test.environment("tool");
    test.build(&[file.to_str().unwrap()]).succeeded();
    fs_err::create_dir(test.path("work/other")).unwrap();
    for (arguments, words) in [
        (&["rollback", "installation"][..], "has no older generation"),
        (
            &["rollback", "installation", "--to", "5"],
            "has no generation 5",
        ),
        (
            &["rollback", "other"],
            "holds no installation made by condense",
        ),
        (&["gc", "none"], "there is no installation `none`"),
        (&["info", "other"], "holds no installation made by condense"),
    ] {
        let said = condense(&test, arguments).failed(1, &[]);
        assert!(said.stderr.contains(words), "{said:?}");
    }
    assert_eq!(numbers(&test), [(1, true)]);
}
