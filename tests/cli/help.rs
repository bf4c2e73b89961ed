//! Snapshots of every help text, and of the list of codes. The commands are found in the help texts
//! themselves, so that a new command gets a snapshot.

use std::{collections::BTreeSet, sync::OnceLock};

use crate::{
    harness::{CommandOutput, Run, TestEnv, names},
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
    found
}

/// Returns the words of every command and dialect behind `condense`, each with its help.
pub fn every_command() -> &'static [(Vec<String>, CommandOutput)] {
    static FOUND: OnceLock<Vec<(Vec<String>, CommandOutput)>> = OnceLock::new();
    FOUND.get_or_init(find_commands)
}

fn find_commands() -> Vec<(Vec<String>, CommandOutput)> {
    let test = TestEnv::new();
    let mut found = Vec::new();
    let mut waiting = vec![Vec::<String>::new()];
    while let Some(words) = waiting.pop() {
        let mut command = test.condense(&[]);
        let output = command.args(&words).arg("--help").run().succeeded();
        for name in commands(&output.stdout) {
            // clap's own `help` below a command has no help text worth a snapshot.
            if name == "help" && !words.is_empty() {
                continue;
            }
            waiting.push([&words[..], &[name]].concat());
        }
        found.push((words, output));
    }
    found
}

/// Returns the lines of words of every command without commands below it.
pub fn leaves() -> Vec<String> {
    let all = every_command().iter();
    let leaves = all.filter(|(_, help)| commands(&help.stdout).is_empty());
    leaves.map(|(words, _)| words.join(" ")).collect()
}

#[test]
fn the_help_of_every_command_is_as_it_was() {
    let test = TestEnv::new();
    let mut seen = BTreeSet::new();
    for (words, output) in every_command() {
        let mut name = vec!["condense".to_owned()];
        name.extend(words.iter().cloned());
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

#[test]
fn help_is_found_by_words() {
    let test = TestEnv::new();
    let say = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        test.condense(&words).run()
    };
    for (line, same) in [
        ("help", "--help"),
        ("help packages", "packages --help"),
        ("help image pack", "image pack --help"),
        (
            "help conda-containerize new",
            "conda-containerize new --help",
        ),
        ("help cotainr", "cotainr --help"),
        ("help mpi-abi", "explain mpi-abi"),
        ("help [mpi-abi]", "explain mpi-abi"),
    ] {
        let said = say(line).succeeded();
        assert_eq!(said.stdout, say(same).succeeded().stdout, "{line}");
    }
    for (line, words) in [
        ("help mpi", "hint: `condense help mpi-abi`"),
        ("help pakages", "hint: `condense help packages`"),
        ("help image pac", "hint: `condense help image pack`"),
        ("help xyzzy", "hint: `condense help` lists the commands"),
    ] {
        let said = say(line);
        assert_eq!((said.status, said.stdout.as_str()), (2, ""), "{said:?}");
        assert!(said.stderr.contains(words), "{said:?}");
    }
}
