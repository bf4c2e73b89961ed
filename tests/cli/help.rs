//! Snapshots of every help text, and of the list of codes. The commands are found in the help texts
//! themselves, so that a new command gets a snapshot.

use std::collections::BTreeSet;

use crate::{
    harness::{Run, TestEnv, names},
    support::snapshot::snapshot,
};

/// Returns the words of each command of which this help text tells: sub-commands, and the dialects
/// of `condense --help`.
fn commands(help: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in help.lines() {
        if !line.starts_with(' ') {
            inside = line == "Commands:" || line.starts_with("Dialects ");
        } else if inside && line.starts_with("  ") && !line.starts_with("   ") {
            found.push(line.split_whitespace().next().unwrap().to_owned());
        }
    }
    found.retain(|name| name != "help");
    found
}

#[test]
fn the_help_of_every_command_is_as_it_was() {
    let test = TestEnv::new();
    let mut seen = BTreeSet::new();
    let mut waiting = vec![Vec::<String>::new()];
    while let Some(words) = waiting.pop() {
        let mut command = test.condense(&[]);
        let output = command.args(&words).arg("--help").run().succeeded();
        for name in commands(&output.stdout) {
            waiting.push([&words[..], &[name]].concat());
        }
        let mut name = vec!["condense".to_owned()];
        name.extend(words);
        let name = name.join("-");
        snapshot!(&format!("help/{name}"), output, test.paths());
        seen.insert(format!("{name}.snap"));
    }
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/snapshots/help");
    assert_eq!(
        names(files.as_ref()).into_iter().collect::<BTreeSet<_>>(),
        seen,
        "snapshots of commands that are gone"
    );
}

#[test]
fn the_list_of_codes_is_as_it_was() {
    let test = TestEnv::new();
    snapshot!("explain", test.condense(&["explain"]).run(), test.paths());
    let one = test.condense(&["explain", "mpi-abi"]).run();
    snapshot!("explain-mpi-abi", one, test.paths());
}
