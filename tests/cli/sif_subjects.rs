//! Tests of B15: `info` and `verify` take a SIF, JSON of `info` has a form of its own, and options
//! of a command stand before its sub-commands or behind them.

use crate::harness::{CommandOutput, Run, TestEnv};

fn condense(test: &TestEnv, words: &[&str]) -> CommandOutput {
    test.condense(words).run()
}

fn json(test: &TestEnv, words: &[&str]) -> serde_json::Value {
    serde_json::from_str(&condense(test, words).succeeded().stdout).unwrap()
}

fn with_sif() -> TestEnv {
    let test = TestEnv::new();
    test.environment("tool");
    for words in [
        &["--base-image", "../base", "base.sif"][..],
        &[
            "--base-image",
            "base.sif",
            "--conda-env",
            "env.yml",
            "a.sif",
        ],
    ] {
        condense(&test, &[&["cotainr", "build"], words].concat()).succeeded();
    }
    test
}

#[test]
fn info_of_a_sif_says_where_it_comes_from_and_what_is_in_it() {
    let test = with_sif();
    let said = condense(&test, &["info", "./a.sif"]).succeeded().stdout;
    for words in [
        "container image: ",
        "base: base.sif\nbase digest: sha256:",
        "packages: 2 of conda, 0 of pip",
        "lock: /.singularity.d/condense/condense.lock in the image",
        "  cotainr.version: ",
    ] {
        assert!(said.contains(words), "`{words}` is not in {said}");
    }
    let found = json(&test, &["info", "--json", "./a.sif"]);
    assert_eq!(found["schema"], "condense.info/1");
    assert_eq!(found["subject"]["kind"], "sif");
    assert_eq!(found["base"]["reference"], "base.sif");
    let names = found["packages"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|package| &package["name"]).collect();
    assert_eq!(names, ["library", "tool"]);
    assert_eq!(found["packages"][1]["requested"], true);
    // A SIF that was made without an environment has neither packages nor a lock.
    let found = json(&test, &["info", "--json", "./base.sif"]);
    assert_eq!(found["lock"], serde_json::Value::Null);
    assert_eq!(found["packages"], serde_json::json!([]));
}

#[test]
fn json_of_an_installation_has_packages_and_no_internals() {
    let test = TestEnv::new();
    test.environment("tool");
    test.build(&["env.yml"]).succeeded();
    let text = condense(&test, &["info", "--json", "installation"]).succeeded();
    for word in ["remembered", "literal", "\"before\"", "launch"] {
        assert!(
            !text.stdout.contains(word),
            "`{word}` is in {}",
            text.stdout
        );
    }
    let found: serde_json::Value = serde_json::from_str(&text.stdout).unwrap();
    assert_eq!(found["schema"], "condense.info/1");
    assert_eq!(found["mode"], "conda");
    assert_eq!(found["packages"].as_array().unwrap().len(), 2);
    assert_eq!(found["generations"][0]["visible"], true);
    let said = condense(&test, &["info", "installation"])
        .succeeded()
        .stdout;
    assert!(said.contains("packages: 2 of conda, 0 of pip"), "{said}");
}

#[test]
fn verify_of_a_sif_finds_a_changed_block() {
    let test = with_sif();
    let said = condense(&test, &["verify", "--no-start", "./a.sif"]).succeeded();
    assert!(said.stderr.contains("): whole, "), "{said:#?}");
    let path = test.path("work/a.sif");
    let mut bytes = fs_err::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0x5a);
    fs_err::write(&path, &bytes).unwrap();
    let said = condense(&test, &["verify", "--no-start", "./a.sif"]);
    assert_eq!(said.status, 1, "{said:#?}");
    assert!(said.stderr.contains("a.sif"), "{said:#?}");
}

#[test]
fn what_is_no_subject_is_refused_in_one_line() {
    let test = with_sif();
    test.build(&["env.yml"]).succeeded();
    let bare = "is a bare image, and this command takes";
    for (words, expected) in [
        (["info", "installation/img.sqfs"], bare),
        (["verify", "installation/img.sqfs"], bare),
        (
            ["info", "installation/share/condense.lock"],
            "is a lock, and this command takes",
        ),
        (["verify", "./env.yml"], "asks for packages"),
    ] {
        let said = condense(&test, &words);
        assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{said:#?}");
        assert!(said.stderr.contains(expected), "{said:#?}");
    }
}

#[test]
fn options_of_a_command_with_sub_commands_stand_on_either_side() {
    let test = with_sif();
    for (one, other) in [
        (
            &["base", "--site", "lumi-c", "ls"][..],
            &["base", "ls", "--site", "lumi-c"][..],
        ),
        (
            &["sif", "--json", "list", "a.sif"],
            &["sif", "list", "a.sif", "--json"],
        ),
        (
            &["image", "--json", "info", "a.sif"],
            &["image", "info", "--json", "a.sif"],
        ),
        (&["cache", "--json", "info"], &["cache", "info", "--json"]),
    ] {
        let (one, other) = (condense(&test, one), condense(&test, other));
        assert_eq!(one.status, other.status, "{one:#?} {other:#?}");
        assert_eq!(one.stdout, other.stdout);
        assert!(one.status != 2, "{one:#?}");
    }
    for words in [
        ["-q", "sif", "list", "a.sif"],
        ["sif", "-q", "list", "a.sif"],
        ["sif", "list", "a.sif", "-q"],
    ] {
        condense(&test, &words).succeeded();
    }
    for words in [
        ["--log-json", "image", "info", "none"],
        ["image", "--log-json", "info", "none"],
        ["image", "info", "none", "--log-json"],
    ] {
        let said = condense(&test, &words);
        assert!(said.stderr.starts_with('{'), "{said:#?}");
    }
}

#[test]
fn report_of_a_sif_has_its_sizes_labels_and_lock() {
    let test = with_sif();
    let page = condense(&test, &["report", "./a.sif"]).succeeded().stdout;
    for words in [
        "condense.base.digest",
        "tool 1.0",
        "/tool-1.0-0.conda",
        "cotainr build --base-image base.sif --lock condense.lock",
    ] {
        assert!(page.contains(words), "`{words}` is not in {page}");
    }
    test.build(&["env.yml"]).succeeded();
    condense(&test, &["report", "installation/img.sqfs"])
        .failed_on_either_stream(1, &["is neither an installation nor a .sif"]);
}
