//! Installations by their names: `condense list`, `condense remove`, and the verbs that take a
//! name.

use std::{os::unix::fs::symlink, path::Path};

use crate::harness::{CommandOutput, Run, TestEnv};

/// With the installations in `work/envs`, and an older directory before it.
fn condense(test: &TestEnv, arguments: &[&str]) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    let roots = [test.path("work/missing"), test.path("work/envs")];
    command
        .args(arguments)
        .env("TYKKY_PATH", std::env::join_paths(roots).unwrap())
        .current_dir(test.path("work"));
    command.run()
}

fn build(test: &TestEnv, place: &str) {
    let file = test.environment("tool");
    let place = test.path("work").join(place);
    let words = ["--prefix", place.to_str().unwrap(), file.to_str().unwrap()];
    test.build(&words).succeeded();
}

fn by_tykky(dir: &Path) {
    for name in ["bin", "_bin", "share"] {
        fs_err::create_dir_all(dir.join(name)).unwrap();
    }
    for name in ["common.sh", "img.sqfs", "container.sif"] {
        fs_err::write(dir.join(name), "x".repeat(1000)).unwrap();
    }
}

#[test]
fn they_are_listed_and_found_by_name() {
    let test = TestEnv::new();
    let said = condense(&test, &["list"]).succeeded();
    assert!(
        said.stdout.is_empty() && said.stderr.contains("there are no installations in "),
        "{said:?}"
    );
    build(&test, "envs/mine");
    by_tykky(&test.path("work/envs/older"));
    fs_err::create_dir_all(test.path("work/envs/other/bin")).unwrap();
    let said = condense(&test, &["list"]).succeeded();
    let lines: Vec<Vec<&str>> = said
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines.len(), 3, "{said:?}");
    assert_eq!(lines[1][..3], ["mine", "condense", "conda"]);
    assert_eq!(lines[2][..3], ["older", "Tykky", "-"]);
    let json = condense(&test, &["list", "--json"]).succeeded();
    let rows: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(rows[0]["made_by"], "condense");
    assert!(rows[0]["bytes"].as_u64().unwrap() > 0);
    assert_eq!(rows[1]["bytes"], 1000);

    for verb in [&["info", "mine"][..], &["verify", "--no-start", "mine"]] {
        condense(&test, verb).succeeded();
    }
    // One of that name here is not meant where there is one in TYKKY_PATH; with a `/` it is.
    by_tykky(&test.path("work/mine"));
    condense(&test, &["info", "mine"]).succeeded();
    let said = condense(&test, &["info", "./mine"]);
    assert!(!said.stdout.contains("made of"), "{said:?}");
}

#[test]
fn one_is_removed_whole_or_not_at_all() {
    let test = TestEnv::new();
    for place in ["envs/mine", "here"] {
        build(&test, place);
    }
    by_tykky(&test.path("work/envs/older"));
    symlink("here", test.path("work/link")).unwrap();
    let dir = test.path("work/envs/mine");

    fs_err::write(dir.join("notes"), "mine").unwrap();
    for (words, expected) in [
        (&["remove", "mine"][..], "has `notes` in it"),
        (&["remove", "here"], "nobody can be asked"),
        (&["remove", "--yes", "link"], "is a link to `here`"),
        (&["remove", "--yes", "envs"], "holds no installation"),
        (&["remove", "--yes", "nothing"], "holds no installation"),
    ] {
        let said = condense(&test, words);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.stderr.contains(expected), "{said:?}");
    }
    fs_err::remove_file(dir.join("notes")).unwrap();

    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.args(["remove", "--yes"]).arg(&dir);
    command.env(
        "PATH",
        format!("{}:/usr/bin:/bin", dir.join("bin").display()),
    );
    let said = command.run();
    assert!(
        said.status == 1 && said.stderr.contains("is active"),
        "{said:?}"
    );
    assert!(dir.join("bin/tool").exists());

    for words in [
        &["remove", "--yes", "mine"][..],
        &["remove", "-y", "./here"],
        &["remove", "--yes", "older"],
    ] {
        condense(&test, words).succeeded();
    }
    let mut left: Vec<_> = fs_err::read_dir(test.path("work"))
        .unwrap()
        .chain(fs_err::read_dir(test.path("work/envs")).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["env.yml", "envs", "link"]);
}
