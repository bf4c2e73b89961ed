//! Tests of `condense config`, and of the effect of the configuration on builds.

use serde_json::Value;

use crate::harness::{CommandOutput, Run, TestEnv};

fn config(test: &TestEnv, words: &[&str]) -> CommandOutput {
    let words = [&["config"][..], words].concat();
    // The harness sets this variable, which would count before the file.
    let mut command = test.condense(&words);
    command.env_remove("CONDENSE_CACHE_DIR").run()
}

fn file(test: &TestEnv) -> String {
    fs_err::read_to_string(test.path("home/.config/condense/config.toml")).unwrap_or_default()
}

/// Returns the value and the source of a key.
fn listed(test: &TestEnv, key: &str, variables: &[(&str, &str)]) -> (Value, String) {
    let mut command = test.condense(&["config", "list", "--json"]);
    command.env_remove("CONDENSE_CACHE_DIR");
    let said = command.envs(variables.iter().copied()).run().succeeded();
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(value["schema"], "condense.config-list/1");
    let keys = value["keys"].as_array().unwrap();
    let found = keys.iter().find(|entry| entry["key"] == key).unwrap();
    let from = found["from"].as_str().unwrap().to_owned();
    (found["value"].clone(), from)
}

#[test]
fn values_are_written_with_their_comments_kept() {
    let test = TestEnv::new();
    let dir = test.path("home/.config/condense");
    fs_err::create_dir_all(&dir).unwrap();
    let before = "# mine\nsite = \"local\" # here\n\n[network]\nretries = 5 # patient\n";
    fs_err::write(dir.join("config.toml"), before).unwrap();
    config(&test, &["set", "network.retries", "7"]).succeeded();
    config(&test, &["set", "channels", "conda-forge", "bioconda"]).succeeded();
    config(&test, &["set", "compression", "gzip:6"]).succeeded();
    let expected = "# mine\nsite = \"local\" # here\n\
        channels = [\"conda-forge\", \"bioconda\"]\ncompression = \"gzip:6\"\n\n\
        [network]\nretries = 7 # patient\n";
    assert_eq!(file(&test), expected);
    assert_eq!(
        config(&test, &["get", "network.retries"])
            .succeeded()
            .stdout,
        "7\n"
    );
    let said = config(&test, &["get", "channels"]).succeeded();
    assert_eq!(said.stdout, "conda-forge\nbioconda\n");
    config(&test, &["unset", "channels"]).succeeded();
    config(&test, &["unset", "compression"]).succeeded();
    config(&test, &["set", "network.retries", "5"]).succeeded();
    assert_eq!(file(&test), before);
}

#[test]
fn the_source_of_each_value_is_shown() {
    let test = TestEnv::new();
    assert_eq!(
        listed(&test, "compression", &[]),
        ("zstd:3".into(), "built in".to_owned())
    );
    config(&test, &["set", "concurrency.downloads", "3"]).succeeded();
    config(&test, &["set", "tmpdir", "/big/tmp"]).succeeded();
    let path = test.path("home/.config/condense/config.toml");
    let (value, from) = listed(&test, "tmpdir", &[]);
    assert_eq!(value, "/big/tmp");
    assert_eq!(from, format!("{}:1", path.display()));
    let (value, from) = listed(&test, "concurrency.downloads", &[]);
    assert_eq!((value, from), ("3".into(), format!("{}:3", path.display())));
    let of_variable = listed(&test, "tmpdir", &[("CW_BUILD_TMPDIR", "/x")]);
    assert_eq!(
        of_variable,
        ("/x".into(), "variable CW_BUILD_TMPDIR".to_owned())
    );
    let said = config(&test, &["list"]).succeeded();
    assert!(said.stdout.starts_with("KEY "), "{said:?}");
    assert!(
        said.stderr.contains("base-images.toml (not there)"),
        "{said:?}"
    );
}

#[test]
fn unknown_keys_and_invalid_values_are_refused() {
    let test = TestEnv::new();
    for (words, status, expected) in [
        (vec!["get", "base_image"], 2, "did you mean `base-image`?"),
        (
            vec!["set", "retries", "3"],
            2,
            "did you mean `network.retries`?",
        ),
        (vec!["set", "site", "lumi-x"], 1, "lumi"),
        (
            vec!["set", "compression", "zstd:99"],
            1,
            "`compression` cannot be `zstd:99`",
        ),
        (vec!["set", "cache-size", "much"], 1, "it is not a size"),
        (
            vec!["set", "network.read-timeout", "0"],
            1,
            "a number from 1",
        ),
        (
            vec!["set", "base-image", "./none.sif"],
            1,
            "there is no base image",
        ),
        (vec!["set", "tmpdir", "/a", "/b"], 1, "takes one value"),
        (vec!["set", "mirrors.nonsense", "x"], 1, "[mirrors]"),
        (vec!["get", "base-image"], 1, "`base-image` is not set"),
    ] {
        let said = config(&test, &words);
        assert_eq!(
            (said.status, said.stdout.as_str()),
            (status, ""),
            "{said:?}"
        );
        assert!(said.stderr.contains(expected), "{words:?}: {said:?}");
        assert_eq!(file(&test), "", "{words:?}");
    }
}

#[test]
fn builds_follow_the_configuration() {
    let test = TestEnv::new();
    let cache = test.path("work/my cache");
    let scratch = test.path("work/scratch");
    fs_err::create_dir(&scratch).unwrap();
    for (key, value) in [
        ("base-image", "../base"),
        ("cache-dir", "my cache"),
        ("tmpdir", "scratch"),
        ("compression", "gzip:1"),
        ("channels", &test.channel),
    ] {
        config(&test, &["set", key, value]).succeeded();
    }
    let env = test.environment("tool");
    let dir = test.installation();
    let words = [
        "conda-containerize",
        "new",
        "--prefix",
        dir.to_str().unwrap(),
        env.to_str().unwrap(),
    ];
    let plan = [&words[..], &["--force", "--dry-run"]].concat();
    let run = |words: &[&str]| {
        let mut command = test.condense(words);
        command.env_remove("CONDENSE_CACHE_DIR").run().succeeded()
    };
    let said = run(&plan);
    for part in [
        test.path("base").display().to_string(),
        cache.display().to_string(),
        scratch.display().to_string(),
    ] {
        assert!(said.stdout.contains(&part), "{part}: {said:?}");
    }
    run(&words);
    assert!(cache.join("archives").is_dir());
    let receipt = fs_err::read(dir.join("share/receipt.json")).unwrap();
    let receipt: Value = serde_json::from_slice(&receipt).unwrap();
    assert_eq!(receipt["image"]["compression"], "gzip:1");
    // A package that is named without a channel comes from the configured one.
    run(&[
        "cotainr",
        "build",
        "--base-image",
        "../base",
        "--packages",
        "library",
        "x.sif",
    ]);
    // An option and a variable count before the file.
    let said = run(&[&plan[..], &["--compression", "xz"]].concat());
    assert!(said.stdout.contains("SquashFS, xz"), "{said:?}");
    let mut command = test.condense(&plan);
    let said = command.env("CONDENSE_COMPRESSION", "lz4").run().succeeded();
    assert!(said.stdout.contains("SquashFS, lz4"), "{said:?}");
}

#[test]
fn a_link_to_the_file_stays_one() {
    let test = TestEnv::new();
    let dir = test.path("home/.config/condense");
    fs_err::create_dir_all(&dir).unwrap();
    let real = test.path("home/dotfiles.toml");
    fs_err::write(&real, "").unwrap();
    std::os::unix::fs::symlink(&real, dir.join("config.toml")).unwrap();
    config(&test, &["set", "site", "local"]).succeeded();
    assert_eq!(fs_err::read_to_string(real).unwrap(), "site = \"local\"\n");
    assert!(dir.join("config.toml").is_symlink());
}
