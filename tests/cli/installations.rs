//! Tests of installations that are called by name: `condense list`, `condense remove`, and the
//! other commands that accept a name.

use std::{os::unix::fs::symlink, path::Path};

use crate::harness::{CommandOutput, Run, TestEnv};

/// Runs `condense` with these arguments and with a TYKKY_PATH of two directories: one that does not
/// exist, and `work/envs`, which has the installations.
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
    let rows = &rows["installations"];
    assert_eq!(rows[0]["made_by"], "condense");
    assert!(rows[0]["bytes"].as_u64().unwrap() > 0);
    assert_eq!(rows[1]["bytes"], 1000);

    for verb in [&["info", "mine"][..], &["verify", "--no-start", "mine"]] {
        condense(&test, verb).succeeded();
    }
    // A name means the installation in TYKKY_PATH, not a directory of that name in the working
    // directory; a path with `/` means the directory.
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
        (&["remove", "--yes", "nothing"], "there is no installation"),
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
