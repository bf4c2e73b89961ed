//! Keeps the house in order: arrows between crates, words that belong to one room, documents that
//! tell the truth.
#![allow(clippy::unwrap_used)]

mod comments;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    fs_err::read_to_string(root().join(path)).unwrap()
}

fn files(dir: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs_err::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The arrows between the crates, each with the crates that it may use. `src` may use all of them.
#[test]
fn arrows_between_crates_are_those_of_the_design() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("activation", &["diagnostics", "within"][..]),
        (
            "build",
            &[
                "activation",
                "base",
                "catalogue",
                "check",
                "definition",
                "desktop",
                "diagnostics",
                "env-vars",
                "image",
                "input",
                "installation",
                "jobs",
                "modules",
                "oci",
                "prefix",
                "publish",
                "threads",
                "within",
            ],
        ),
        (
            "catalogue",
            &[
                "base",
                "check",
                "diagnostics",
                "env-vars",
                "image",
                "input",
                "installation",
                "jobs",
            ],
        ),
        ("env-vars", &["diagnostics"]),
        ("base", &["diagnostics", "image", "input"]),
        ("check", &["diagnostics", "image", "input", "threads"]),
        ("definition", &["diagnostics"]),
        ("desktop", &["diagnostics"]),
        ("diagnostics", &[]),
        ("fuzz", &[]),
        ("image", &["diagnostics", "input", "publish", "threads"]),
        ("input", &[]),
        ("jobs", &["diagnostics"]),
        (
            "installation",
            &["activation", "diagnostics", "input", "publish"],
        ),
        (
            "modules",
            &[
                "diagnostics",
                "image",
                "input",
                "installation",
                "jobs",
                "publish",
            ],
        ),
        (
            "oci",
            &["diagnostics", "image", "input", "publish", "threads"],
        ),
        (
            "prefix",
            &["activation", "diagnostics", "input", "threads", "within"],
        ),
        ("publish", &["diagnostics"]),
        ("threads", &["diagnostics"]),
        ("within", &["diagnostics", "input"]),
    ]);
    let crates: Vec<String> = fs_err::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for name in &crates {
        let arrows = allowed
            .get(name.as_str())
            .unwrap_or_else(|| panic!("crates/{name} has no arrows in this test"));
        let manifest = read(format!("crates/{name}/Cargo.toml"));
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap();
        for other in &crates {
            let is_used = dependencies.contains(&format!("condense-{other}."))
                || dependencies.contains(&format!("condense-{other} ="));
            assert_eq!(
                is_used,
                arrows.contains(&other.as_str()),
                "crates/{name} -> crates/{other}"
            );
        }
    }
}

/// A crate whose error type has hints is asked for them where errors are shown.
#[test]
fn every_error_type_with_hints_is_asked_for_them() {
    let asked = read("crates/build/src/hints.rs");
    let mut found = 0;
    for path in files("crates", "rs") {
        if path.ends_with("src/error.rs") && read(&path).contains("impl Hint for Error") {
            let name = path.strip_prefix(root().join("crates")).unwrap();
            let name = name.components().next().unwrap().as_os_str();
            let name = name.to_str().unwrap().replace('-', "_");
            assert!(
                asked.contains(&format!("hint_of::<condense_{name}::Error>")),
                "crates/build/src/hints.rs does not ask condense_{name}::Error"
            );
            found += 1;
        }
    }
    assert!(found >= 6, "only {found} error types have hints");
}

/// Files outside crates/env-vars that read the process's variables, each to hand them to a program
/// that a build starts or to read the variables of its own test.
const READERS_OF_VARIABLES: [&str; 5] = [
    "crates/build/src/container.rs",
    "crates/build/src/privacy.rs",
    "crates/installation/src/user_settings.rs",
    "crates/prefix/src/steps/host.rs",
    "crates/prefix/src/steps/surroundings.rs",
];

#[test]
fn variables_are_read_in_one_crate() {
    for path in files("src", "rs").into_iter().chain(files("crates", "rs")) {
        let name = path.strip_prefix(root()).unwrap();
        let is_program = name.starts_with("src")
            || name
                .components()
                .nth(2)
                .is_some_and(|dir| dir.as_os_str() == "src");
        let is_test = name
            .components()
            .any(|part| part.as_os_str() == "tests.rs" || part.as_os_str() == "tests");
        if !is_program
            || is_test
            || name.starts_with("crates/env-vars")
            || READERS_OF_VARIABLES
                .iter()
                .any(|reader| name.starts_with(reader))
        {
            continue;
        }
        let text = read(&path);
        let program = text.split("#[cfg(test)]").next().unwrap();
        for call in ["env::var(", "env::var_os(", "env::vars(", "env::vars_os("] {
            assert!(
                !program.contains(call),
                "{} reads variables with {call}…)",
                name.display()
            );
        }
    }
}

/// One foreign noun, one room.
#[test]
fn foreign_nouns_stay_in_their_room() {
    for (noun, room) in [
        ("rattler_", "crates/prefix"),
        ("backhand::", "crates/image"),
        ("zstd_safe", "crates/image"),
        ("FileHeader64", "crates/check"),
    ] {
        for path in files("src", "rs").into_iter().chain(files("crates", "rs")) {
            if !path.starts_with(root().join(room)) {
                let text = read(&path);
                assert!(!text.contains(noun), "{} knows `{noun}`", path.display());
            }
        }
    }
}

#[test]
fn only_the_report_prints() {
    for path in files("src", "rs").into_iter().chain(files("crates", "rs")) {
        if path.ends_with("src/console.rs")
            || path.components().any(|part| {
                matches!(
                    part.as_os_str().to_str(),
                    Some("examples" | "benches" | "tests")
                )
            })
        {
            continue;
        }
        let text = read(&path);
        for word in ["println!(", "eprintln!(", "print!(", "dbg!("] {
            let found = text
                .lines()
                .any(|line| line.contains(word) && !line.trim_start().starts_with("//"));
            assert!(!found, "{} prints with {word}…)", path.display());
        }
    }
}

#[test]
fn the_changelog_has_the_current_version() {
    let version = env!("CARGO_PKG_VERSION");
    let changelog = read("CHANGELOG.md");
    assert!(
        changelog.contains("## Unreleased") || changelog.contains(&format!("## {version}")),
        "CHANGELOG.md lacks {version}"
    );
}

#[test]
fn fixtures_stay_small() {
    for extension in ["yml", "txt", "sh", "py", "md", "json"] {
        for path in files("fixtures", extension) {
            let size = fs_err::metadata(&path).unwrap().len();
            assert!(size <= 64 * 1024, "{} has {size} bytes", path.display());
        }
    }
}

/// Snapshots are those of a test, hold nothing of the machine that wrote them, and are not waiting
/// for a review.
#[test]
fn every_snapshot_belongs_to_a_test() {
    let unreviewed = files("tests", "new");
    assert!(unreviewed.is_empty(), "{unreviewed:?}");
    let mut seen = 0;
    for dir in ["tests", "crates"] {
        for path in files(dir, "snap") {
            let text = read(&path);
            let source = text
                .lines()
                .find_map(|line| line.strip_prefix("source: "))
                .unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap();
            // Modules of the test come first where the test has not said otherwise.
            let name = name.rsplit("__").next().unwrap();
            // Names of help texts are found by their test, which looks for others itself.
            let is_named = read(source).contains(&format!("\"{name}\""))
                || read(source).contains(&format!("/{name}\""))
                || path.parent().unwrap().ends_with("help");
            assert!(is_named, "{} has no test in {source}", path.display());
            for word in ["/tmp/", " /root", "/home/"] {
                let found = text
                    .lines()
                    .find(|line| line.contains(word) && !line.starts_with('$'));
                assert_eq!(found, None, "{}", path.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen} snapshots");
}
