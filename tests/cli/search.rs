//! Tests of `condense search` with a hand-made channel.

use serde_json::Value;

use crate::harness::{CommandOutput, Run, TestEnv, packages};
use crate::support::channel::Package;

fn prepared() -> TestEnv {
    let mut all = packages();
    all.extend([
        Package::new("pytorch", "2.4.0"),
        Package::new("pytorch", "2.10.0").depends("library"),
        Package::new("torchvision", "0.19"),
    ]);
    TestEnv::with(&all)
}

fn search(test: &TestEnv, words: &[&str]) -> CommandOutput {
    let channel = ["search", "--channel", &test.channel];
    test.condense(&[&channel[..], words].concat()).run()
}

/// Returns the first two words of each row of the table.
fn rows(said: &CommandOutput) -> Vec<String> {
    let lines = said.stdout.lines().skip(1);
    lines
        .map(|line| {
            line.split_whitespace()
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

#[test]
fn versions_are_listed_newest_first() {
    let test = prepared();
    let said = search(&test, &["pytorch"]).succeeded();
    let header = said.stdout.lines().next().unwrap();
    let header: Vec<&str> = header.split_whitespace().collect();
    assert_eq!(
        header,
        ["PACKAGE", "VERSION", "BUILD", "BUILDS", "SIZE", "CHANNEL"]
    );
    assert_eq!(rows(&said), ["pytorch 2.10.0", "pytorch 2.4.0"], "{said:?}");
    assert!(said.stdout.contains(&test.channel), "{said:?}");
    let said = search(&test, &["pytorch<2.5"]).succeeded();
    assert_eq!(rows(&said), ["pytorch 2.4.0"]);
}

#[test]
fn a_pattern_lists_the_newest_version_of_each_package() {
    let test = prepared();
    let said = search(&test, &["*torch*"]).succeeded();
    assert_eq!(rows(&said), ["pytorch 2.10.0", "torchvision 0.19"]);
    let said = search(&test, &["*torch*<2.5"]).succeeded();
    assert_eq!(rows(&said), ["pytorch 2.4.0", "torchvision 0.19"]);
}

#[test]
fn a_search_without_result_says_what_there_is() {
    let test = prepared();
    for (spec, hint) in [
        ("pytorh", "hint: did you mean `pytorch`?"),
        ("pytorch>3", "hint: there are 2.10.0, 2.4.0"),
        ("*zzz*", "hint: search with `*`"),
    ] {
        let said = search(&test, &[spec]);
        assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{said:?}");
        assert!(said.stderr.contains(hint), "{said:?}");
    }
    let said = search(&test, &["--json", "pytorch 2 2 2 2"]);
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(value["schema"], "condense.error/1");
    let said = said.stderr;
    assert!(said.contains("cannot stand in the build string"), "{said}");
}

#[test]
fn the_result_can_be_read_by_programs() {
    let test = prepared();
    let said = search(&test, &["--json", "pytorch"]).succeeded();
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(value["schema"], "condense.search/1");
    let newest = &value["packages"][0];
    assert_eq!(newest["version"], "2.10.0");
    assert_eq!(newest["depends"], serde_json::json!(["library"]));
    assert!(newest["bytes"].as_u64().unwrap() > 0, "{newest}");
    assert!(crate::harness::names(&test.path("tmp")).is_empty());
}

#[test]
fn without_an_option_the_configured_channels_are_searched() {
    let test = prepared();
    let mut command = test.condense(&["search", "torchvision"]);
    let said = command.env("CONDENSE_CHANNELS", &test.channel).run();
    assert_eq!(rows(&said.succeeded()), ["torchvision 0.19"]);
}
