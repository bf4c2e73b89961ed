//! Tests of locks with packages of pip: written by a build and by `condense lock`, and built again
//! to the same bytes.

use std::path::{Path, PathBuf};

use crate::harness::{Account, CommandOutput, Run, TestDir, parts};

const PIP: &str = "python=3.11, pip, {pip: [edge-pip-app]}";

/// Returns the command `condense` with the hand-made wheels as the only source of pip.
fn condense(test: &TestDir, arguments: &[&str]) -> CommandOutput {
    test.command(parts().path("programs/condense"))
        .args(arguments)
        .env("TMPDIR", test.scratch())
        .env("CONDENSE_CACHE_DIR", test.path("cache"))
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
        .run()
}

fn build_locked(test: &TestDir, lock: &Path) -> String {
    let installation = test.installation();
    test.program(["new", "--prefix"])
        .arg(&installation.dir)
        .arg("--base-image")
        .arg(parts().base())
        .arg("--lock")
        .arg(lock)
        // No configuration of the user may change a lock.
        .env("PIP_CONSTRAINT", "/nowhere/constraints.txt")
        .env("PIP_NO_INDEX", "1")
        .run()
        .succeeded();
    digest(test)
}

fn digest(test: &TestDir) -> String {
    let sum = test
        .command("sha256sum")
        .arg(test.installation().image())
        .run()
        .succeeded()
        .text();
    sum.split(' ').next().unwrap().to_owned()
}

/// Returns the lock of an installation without the properties of its image, which `condense lock`
/// does not know.
fn written(test: &TestDir) -> String {
    let lock = test.installation().dir.join("share/condense.lock");
    let text = fs_err::read_to_string(lock).unwrap();
    let (packages, _image) = text.split_once("  image:\n").unwrap();
    packages.to_owned()
}

fn lock_of(test: &TestDir, packages: &str) -> PathBuf {
    test.environment(packages);
    let base = parts().base();
    condense(
        test,
        &[
            "lock",
            "env.yml",
            "-o",
            "my.lock",
            "--base-image",
            base.to_str().unwrap(),
        ],
    )
    .succeeded();
    test.left_nothing();
    test.path("my.lock")
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn two_builds_of_one_lock_are_the_same_bytes() {
    let test = TestDir::new(Account::Root, "lock");
    let lock = lock_of(&test, PIP);
    let text = fs_err::read_to_string(&lock).unwrap();
    for word in ["name: edge-pip-app", "edge_pip_lib-1.1-py3-none-any.whl"] {
        assert!(text.contains(word), "`{word}` is not in {text}");
    }
    let first = build_locked(&test, &lock);
    assert_eq!(written(&test), text, "the lock that was built is another");
    let said = test
        .installation()
        .command(Account::Ordinary, "edge-pip-app", [""; 0])
        .run();
    said.says("edge-pip-app 1.0 with edge-pip-lib 1.1");
    // The records of the packages do not show that the wheels were downloaded before the
    // installation.
    let direct = "import importlib.metadata as m; d = m.distribution('edge-pip-lib'); print(d.read_text('direct_url.json'), d.read_text('INSTALLER').strip())";
    test.installation()
        .python(Account::Root, direct)
        .run()
        .says("None pip");
    let list = test
        .installation()
        .command(Account::Root, "list-packages", [""; 0])
        .run()
        .succeeded()
        .text();
    assert!(
        list.lines()
            .any(|line| line.starts_with("edge-pip-app ") && line.ends_with("pypi")),
        "{list}"
    );

    let other = TestDir::new(Account::Ordinary, "lock-again");
    assert_eq!(build_locked(&other, &lock), first);
    // A build writes the same lock.
    let third = TestDir::new(Account::Root, "lock-of-build");
    third
        .new_command(&third.installation().dir, &third.environment(PIP))
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
        .run()
        .succeeded();
    assert_eq!(written(&third), text);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_wheel_that_is_not_the_locked_one_is_refused() {
    let test = TestDir::new(Account::Root, "lock-digest");
    let lock = lock_of(&test, PIP);
    let text = fs_err::read_to_string(&lock).unwrap();
    let at = text.find("name: edge-pip-lib").unwrap();
    let digest = text[at..].find("sha256: ").unwrap() + at + "sha256: ".len();
    let wrong = format!(
        "{}{}{}",
        &text[..digest],
        "0".repeat(64),
        &text[digest + 64..]
    );
    fs_err::write(&lock, wrong).unwrap();
    let output = test
        .new_command(&test.installation().dir, &test.path("env.yml"))
        .arg("--lock")
        .arg(&lock)
        .run();
    test.refused(output, &["has another digest than the file asks for"]);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_environment_without_pip_gets_its_wheels_and_no_pip() {
    let test = TestDir::new(Account::Ordinary, "lock-pixi");
    let lock = lock_of(&test, PIP);
    // pixi writes such locks: they have no conda package of pip.
    let text = fs_err::read_to_string(&lock).unwrap();
    let mut kept = String::new();
    let mut inside = false;
    for line in text.lines() {
        let of_pip = |name: &str| line.contains(&format!("/{name}-")) && line.contains("conda:");
        if line.starts_with("- ") || line.trim_start().starts_with("- conda:") {
            inside = ["pip", "setuptools", "wheel"]
                .iter()
                .any(|name| of_pip(name));
        } else if !line.starts_with("  ") {
            inside = false;
        }
        if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    assert!(!kept.contains("/pip-"), "{kept}");
    fs_err::write(&lock, kept).unwrap();
    build_locked(&test, &lock);
    let python = "import edge_pip_app, importlib.util; print(importlib.util.find_spec('pip'))";
    test.installation()
        .python(Account::Ordinary, python)
        .run()
        .says("None");
}
