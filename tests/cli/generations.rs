//! `condense info`, `condense rollback` and `condense gc`.

use crate::harness::{Ended, Stage, ended};

fn condense(stage: &Stage, arguments: &[&str]) -> Ended {
    let mut command = stage.command(env!("CARGO_BIN_EXE_condense"));
    ended(
        &command
            .args(arguments)
            .current_dir(stage.path("work"))
            .output()
            .unwrap(),
    )
}

fn info(stage: &Stage) -> serde_json::Value {
    let said = condense(stage, &["info", "installation", "--json"]).succeeded();
    serde_json::from_str(&said.stdout).unwrap()
}

fn numbers(stage: &Stage) -> Vec<(u64, bool)> {
    let generations = info(stage)["generations"].as_array().unwrap().clone();
    generations
        .iter()
        .map(|generation| {
            (
                generation["number"].as_u64().unwrap(),
                generation["current"].as_bool().unwrap(),
            )
        })
        .collect()
}

#[test]
fn generations_are_shown_brought_back_and_removed() {
    let stage = Stage::new();
    let bin = stage.installation().join("bin");
    for packages in ["tool", "no-programs, tool", "tool, library"] {
        let file = stage.environment(packages);
        stage
            .build(&["--force", file.to_str().unwrap()])
            .succeeded();
    }
    assert_eq!(numbers(&stage), [(1, false), (2, false), (3, true)]);
    assert_eq!(info(&stage)["receipt"]["generation"], 3);
    let said = condense(&stage, &["info", "installation"]).succeeded();
    for words in [
        "mode: conda",
        "base: ",
        "image sha256: ",
        "input: share/",
        "(visible)",
    ] {
        assert!(said.stdout.contains(words), "{said:?}");
    }

    let said = condense(&stage, &["rollback", "installation"]).succeeded();
    assert!(said.stderr.contains("generation 2, "), "{said:?}");
    assert!(said.stdout.is_empty() && bin.join("tool").exists());
    assert_eq!(info(&stage)["receipt"]["generation"], 2);

    let said = condense(&stage, &["gc", "installation", "--dry-run"]).succeeded();
    assert!(
        said.stderr.contains("would remove generation 1, "),
        "{said:?}"
    );
    assert_eq!(numbers(&stage).len(), 3);
    condense(&stage, &["gc", "installation"]).succeeded();
    assert_eq!(numbers(&stage), [(2, true), (3, false)]);
    condense(&stage, &["gc", "installation", "--keep", "0"]).succeeded();
    assert_eq!(numbers(&stage), [(2, true)]);
}

#[test]
fn what_cannot_be_brought_back_is_refused() {
    let stage = Stage::new();
    let file = stage.environment("tool");
    stage.build(&[file.to_str().unwrap()]).succeeded();
    fs_err::create_dir(stage.path("work/other")).unwrap();
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
        (&["gc", "none"], "holds no installation made by condense"),
        (&["info", "other"], "holds no installation made by condense"),
    ] {
        let said = condense(&stage, arguments).failed(1, &[]);
        assert!(said.stderr.contains(words), "{said:?}");
    }
    assert_eq!(numbers(&stage), [(1, true)]);
}
