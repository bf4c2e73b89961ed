//! The order of channels, both with conda's default and with the setting of a condarc.

use crate::{
    harness::{CommandOutput, Run, TestEnv},
    support::channel::{Package, write_channel},
};

/// Writes two channels. The first one lacks the `library` version that its `tool` needs.
fn write_channels(test: &TestEnv) -> [String; 2] {
    let first = [
        Package::new("library", "1.0").file("share/library", "1"),
        Package::new("other", "1.0").file("share/other", "1"),
        Package::new("tool", "1.0").depends("library >=2"),
    ];
    let second = [
        Package::new("library", "2.0").file("share/library", "2"),
        Package::new("other", "9.0").file("share/other", "9"),
        Package::new("tool", "9.0").depends("library >=2"),
    ];
    [
        write_channel(&test.path("first"), &first),
        write_channel(&test.path("second"), &second),
    ]
}

fn lock(test: &TestEnv, channels: &[String], variables: &[(&str, &str)]) -> CommandOutput {
    let text = format!("channels: {channels:?}\ndependencies: [tool, other]\n");
    test.write("priority.yml", &text);
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command
        .args(["lock", "priority.yml"])
        .envs(variables.iter().copied());
    command.run()
}

#[track_caller]
fn check_packages(said: &CommandOutput, expected: &[&str]) {
    let lines = said.stdout.lines().filter_map(|line| {
        let file = line.trim().strip_prefix("- conda: ")?.rsplit_once('/')?.1;
        let channel = line.rsplit('/').nth(2)?;
        Some(format!("{channel}/{}", file.strip_suffix("-0.conda")?))
    });
    let mut found: Vec<String> = lines.collect();
    found.sort();
    found.dedup();
    assert_eq!(found, expected, "{said:#?}");
}

#[test]
fn a_later_channel_has_what_the_first_has_not() {
    let test = TestEnv::new();
    let channels = write_channels(&test);
    let said = lock(&test, &channels, &[]).succeeded();
    check_packages(
        &said,
        &["first/other-1.0", "first/tool-1.0", "second/library-2.0"],
    );
    let told = format!("library 2.0 ({})", channels[1]);
    assert!(said.stderr.contains(&told), "{said:#?}");
    assert!(!said.stderr.contains("other 1.0"), "{said:#?}");
    let again = lock(&test, &channels, &[]).succeeded();
    assert_eq!(again.stdout, said.stdout);
    // The first channel has all packages once the two are swapped, so no message is necessary.
    let [first, second] = channels;
    let said = lock(&test, &[second, first], &[]).succeeded();
    check_packages(
        &said,
        &["second/library-2.0", "second/other-9.0", "second/tool-9.0"],
    );
    assert!(!said.stderr.contains("first channel"), "{said:#?}");
    test.left_nothing();
}

#[test]
fn the_priority_of_a_condarc_is_followed_on_request() {
    let test = TestEnv::new();
    let channels = write_channels(&test);
    let asked = [("CW_ENABLE_CONDARC", "1")];
    let condarc = |priority: &str| {
        let text = format!("channel_priority: {priority}\n");
        fs_err::write(test.path("home/.condarc"), text).unwrap();
    };
    condarc("strict");
    let said = lock(&test, &channels, &asked);
    assert_eq!(said.status, 1, "{said:#?}");
    assert!(said.stderr.contains("library >=2"), "{said:#?}");
    lock(&test, &channels, &[]).succeeded();
    condarc("disabled");
    let said = lock(&test, &channels, &asked).succeeded();
    check_packages(
        &said,
        &["second/library-2.0", "second/other-9.0", "second/tool-9.0"],
    );
    condarc("flexible");
    let said = lock(&test, &channels, &asked).succeeded();
    assert!(!said.stderr.contains("not followed"), "{said:#?}");
    test.left_nothing();
}
