//! Tests of `list-packages` and `init-conda-venv`. `tests/runtime/run_scripts.rs` compares the list
//! with pip's.

use std::process::Command;

use crate::support::{Place, Said, shells};

const COLUMNS: &str = "Package           Version
----------------- -------
numpy             2.2.1
PyYAML            6.0
torch             2.7.1
typing_extensions 4.12
zipp              3.21.0
";

/// Makes an environment of five packages, and puts its Python on PATH.
fn environment() -> Place {
    let place = Place::new();
    for (path, text) in [
        (
            "zipp-3.21.0.dist-info/METADATA",
            "Name: zipp\nVersion: 3.21.0\n\nVersion: 9\n",
        ),
        (
            "torch-2.7.1.dist-info/METADATA",
            "Metadata-Version: 2.1\nVersion: 2.7.1\nName: torch\n",
        ),
        (
            "PyYAML-6.0.egg-info/PKG-INFO",
            "Name: PyYAML\r\nVersion: 6.0\r\n",
        ),
        (
            "typing_extensions-4.12.dist-info/METADATA",
            "Name: typing_extensions\nVersion: 4.12\n",
        ),
        ("numpy-2.2.1.egg-info", "Name: numpy\nVersion: 2.2.1\n"),
    ] {
        place.write(&format!("lib/python3.12/site-packages/{path}"), text);
    }
    fs_err::rename(place.path("bin/python"), place.path("bin/python3.12")).unwrap();
    std::os::unix::fs::symlink("python3.12", place.path("bin/python")).unwrap();
    place
}

fn list(place: &Place, shell: &[&str], arguments: &[&str]) -> Said {
    let mut command = place.command(shell, "list-packages", "");
    command.env(
        "PATH",
        format!("{}:/usr/bin:/bin", place.path("bin").display()),
    );
    command.args(arguments).output().unwrap().into()
}

/// B6: the packages are read from their metadata, and no Python starts.
#[test]
fn packages_are_listed_without_python() {
    let place = environment();
    place.write_program("bin/python3.12", "#!/bin/sh\necho started >&2\nexit 9\n");
    let json = r#"[{"name": "numpy", "version": "2.2.1"}, {"name": "PyYAML", "version": "6.0"}, "#;
    for shell in shells() {
        let said = list(&place, shell, &[]);
        assert_eq!(
            (said.stdout.as_str(), said.status),
            (COLUMNS, 0),
            "{said:?}"
        );
        assert_eq!(said.stderr, "", "{said:?}");
        let said = list(&place, shell, &["--json"]);
        assert!(said.stdout.starts_with(json), "{said:?}");
        assert!(said.stdout.ends_with("\"3.21.0\"}]\n"), "{said:?}");
        let said = list(&place, shell, &["--format=freeze"]);
        assert!(
            said.stdout.starts_with("numpy==2.2.1\nPyYAML==6.0\n"),
            "{said:?}"
        );
    }
    let said = list(&place, &["sh"], &["--what"]);
    assert_eq!(said.status, 2, "{said:?}");
    assert!(
        said.stderr.contains("unknown argument --what\nusage: "),
        "{said:?}"
    );
}

/// A package of a virtual environment hides that of its Python, as on Python's own path.
#[test]
fn a_virtual_environment_comes_before_its_python() {
    let place = environment();
    let venv = |text: &str| place.write("venv/pyvenv.cfg", text);
    let home = place.path("bin").display().to_string();
    place.write_program("venv/bin/python", "#!/bin/sh\n");
    std::os::unix::fs::symlink("python", place.path("venv/bin/python3.12")).unwrap();
    place.write(
        "venv/lib/python3.12/site-packages/Torch-3.0.dist-info/METADATA",
        "Name: Torch\nVersion: 3.0\n",
    );
    let listed = || {
        let mut command = place.command(&["sh"], "list-packages", "");
        let path = format!("{}:/usr/bin:/bin", place.path("venv/bin").display());
        let command = command.env("PATH", path).arg("--format=freeze");
        Said::from(command.output().unwrap())
    };
    venv(&format!(
        "home = {home}\ninclude-system-site-packages = true\n"
    ));
    let said = listed();
    assert!(said.stdout.contains("\nTorch==3.0\n"), "{said:?}");
    assert!(!said.stdout.contains("torch==2.7.1"), "{said:?}");
    assert_eq!(said.stdout.lines().count(), 5, "{said:?}");
    venv(&format!(
        "home = {home}\ninclude-system-site-packages = false\n"
    ));
    assert_eq!(listed().stdout, "Torch==3.0\n");
}

/// Metadata is text of others: what could steer a terminal or break JSON is left out, with a word.
#[test]
fn unreadable_metadata_is_named_and_left_out() {
    let place = environment();
    let bad = "lib/python3.12/site-packages/bad-1.dist-info/METADATA";
    for text in [
        "Name: bad\u{1b}[31m\nVersion: 1\n",
        "Name: a\"b\nVersion: 1\n",
        "Name: bad\n",
        "",
    ] {
        place.write(bad, text);
        let said = list(&place, &["sh"], &[]);
        assert_eq!(said.stdout, COLUMNS, "{said:?}");
        assert!(said.stderr.contains("no name and version in "), "{said:?}");
        assert!(said.stderr.contains("bad-1.dist-info/METADATA"), "{said:?}");
    }
    let nothing = Place::new();
    list(&nothing, &["sh"], &[]).refused("no directory of packages belongs to");
}

/// R4: the script is for sourcing, and activates the user's virtual environment.
#[test]
fn the_virtual_environment_of_the_user_becomes_active() {
    let place = Place::new();
    place.write("venv/bin/activate", "ACTIVE=yes\n");
    let venv = place.path("venv").display().to_string();
    let source = |variables: &[(&str, &str)]| -> Said {
        let script = place.path("run scripts/init-conda-venv");
        let mut command = Command::new("sh");
        command
            .args([
                "-euc",
                "conda() { HAS_CONDA=yes; }; . \"$1\"; echo \"${ACTIVE-} ${HAS_CONDA-}\"",
                "sh",
            ])
            .arg(script)
            .env_clear()
            .envs(variables.iter().copied());
        command.output().unwrap().into()
    };
    assert_eq!(source(&[("VIRTUAL_ENV", &venv)]).stdout, "yes \n");
    assert_eq!(
        source(&[("VIRTUAL_ENV", &venv), ("WITH_CONDA", "true")]).stdout,
        "yes \n"
    );
    let nothing = source(&[]);
    assert_eq!(
        (nothing.stdout.as_str(), nothing.stderr.as_str()),
        (" \n", "")
    );
    let missing = source(&[("VIRTUAL_ENV", "/nonexistent")]);
    assert!(
        missing
            .stderr
            .contains("/nonexistent, which has no bin/activate"),
        "{missing:?}"
    );
    // An image in which conda is not active says how to activate it.
    place.write("conda.sh", "conda\n");
    let with_conda = format!(". {}", place.path("conda.sh").display());
    assert_eq!(source(&[("WITH_CONDA", &with_conda)]).stdout, " yes\n");
}
