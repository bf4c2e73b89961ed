//! Tests with whole files as users have them, in `fixtures/environments`. Beside each file is
//! another one with the expected result or the expected error.

use std::path::{Path, PathBuf};

use super::super::{EnvironmentSpec, SpecContext};
use crate::{secrets::without_secrets, target::Architecture};

/// File name extension of the file with the expected result, which is beside each file.
const READING: &str = "reading";

fn fixtures() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/environments");
    fs_err::canonicalize(root).unwrap()
}

fn context() -> SpecContext {
    SpecContext {
        architecture: Architecture::X86_64,
        variables: [
            ("CHANNEL_HOST", "host.example"),
            ("CHANNEL_TOKEN", "tk-secret"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
    }
}

/// Reads every file of `dir` and compares the result with the file beside it.
fn check(dir: &Path, at_least: usize, read: impl Fn(&Path) -> String) {
    let mut wrong = String::new();
    let mut count = 0;
    for entry in fs_err::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir()
            || path
                .extension()
                .is_some_and(|extension| extension == READING)
        {
            continue;
        }
        count += 1;
        let name = path.file_name().unwrap().to_str().unwrap();
        let expected = fs_err::read_to_string(dir.join(format!("{name}.{READING}")));
        let found = read(&path).replace(fixtures().to_str().unwrap(), "HERE") + "\n";
        assert!(!found.contains("secret"), "a credential is shown: {found}");
        if expected.is_err() || expected.is_ok_and(|expected| expected != found) {
            wrong.push_str(&format!("=== {name}\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "read otherwise:\n{wrong}");
    assert!(count >= at_least, "files are missing, there are {count}");
}

#[test]
fn files_are_read() {
    check(&fixtures(), 15, |path| {
        let spec = EnvironmentSpec::load_by_name(path, &context()).unwrap();
        let mut text = format!("kind: {}", spec.kind().as_str());
        let variables = spec.variables().iter();
        for (name, list) in [
            ("channels", spec.channels()),
            ("specs", spec.conda_specs().map(str::to_owned).collect()),
            ("pip", spec.pip_as_written().to_vec()),
            (
                "pip gets",
                spec.pip()
                    .iter()
                    .map(|line| without_secrets(line).into_owned())
                    .collect(),
            ),
            (
                "paths",
                spec.local_paths()
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect(),
            ),
            (
                "variables",
                variables
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect(),
            ),
            (
                "warnings",
                spec.warnings().iter().map(ToString::to_string).collect(),
            ),
        ] {
            for entry in list {
                text.push_str(&format!("\n{name}: {entry}"));
            }
        }
        text
    });
}

#[test]
fn wrong_files_are_refused_with_the_position_of_the_mistake() {
    let dir = fixtures().join("refused");
    check(&dir, 25, |path| {
        let error = EnvironmentSpec::load(path, &context()).expect_err(path.to_str().unwrap());
        error.to_string()
    });
}

#[test]
fn kept_text_has_no_credentials() {
    for name in [
        "private.yml",
        "explicit.txt",
        "requirements.txt",
        "pip-of-all-kinds.yml",
    ] {
        let spec = EnvironmentSpec::load_by_name(&fixtures().join(name), &context()).unwrap();
        let text = spec.text();
        assert!(
            !text.contains("secret") && !text.contains("token@"),
            "{text}"
        );
    }
}

#[test]
fn lines_for_both_programs_are_read_for_conda_with_a_warning() {
    let file = fixtures().join("requirements-frozen.txt");
    let spec = EnvironmentSpec::load(&file, &context()).unwrap();
    assert_eq!(spec.kind().as_str(), "list");
    assert_eq!(spec.conda_specs().next(), Some("click==8.1.7"));
    assert!(
        spec.warnings()
            .iter()
            .any(|warning| warning.to_string().contains("taken for conda packages"))
    );
    let spec = EnvironmentSpec::load_requirements(&file, &context()).unwrap();
    assert_eq!(
        spec.pip(),
        ["click==8.1.7", "markdown-it-py==3.0.0", "numpy==1.26.4"]
    );
}

#[test]
fn the_suffix_of_an_environment_does_not_depend_on_its_directory() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let digests = dirs.map(|dir| {
        fs_err::create_dir(dir.path().join("project")).unwrap();
        fs_err::write(dir.path().join("project/setup.py"), "").unwrap();
        fs_err::write(dir.path().join("limits.txt"), "rich<14\n").unwrap();
        let file = dir.path().join("env.yml");
        let text = "channels: [c]\ndependencies: [pip, {pip: [./project, -c limits.txt]}]\n";
        fs_err::write(&file, text).unwrap();
        let read = || {
            EnvironmentSpec::load(&file, &context())
                .unwrap()
                .digest_beyond_conda()
        };
        let before = read();
        fs_err::write(dir.path().join("limits.txt"), "rich<13\n").unwrap();
        assert_ne!(read(), before, "what a constraint says counts");
        before
    });
    assert_eq!(digests[0], digests[1]);
}
