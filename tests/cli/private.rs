//! The user's private data: which parts of it build steps can see, and whose caches are trusted.
//! These tests use a fake runtime that records what it was asked for.

use std::{
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::{Run, TestEnv, names};

/// Installs a fake runtime that records what build steps receive.
fn with_witness() -> (TestEnv, PathBuf) {
    let test = TestEnv::new();
    let seen = test.path("seen");
    test.fake_program(
        "apptainer",
        &format!(
            "#!/bin/sh\ncase $1 in --version) echo apptainer version 1.4.5; exit ;; esac\n\
            case \"$*\" in *run.sh*) {{ env; echo \"ARGUMENTS $*\"; }} >{0}; echo ::condense-done ;; esac\n",
            seen.display()
        ),
    );
    test.write("post.sh", ":\n");
    test.environment("tool");
    fs_err::create_dir_all(test.path("home/.config/pip")).unwrap();
    fs_err::write(
        test.path("home/.config/pip/pip.conf"),
        "[global]\nindex-url = https://index.site/simple\n",
    )
    .unwrap();
    (test, seen)
}

fn with_secrets(command: &mut Command) -> &mut Command {
    command
        .env("GITHUB_TOKEN", "secret-1")
        .env("AWS_SECRET_ACCESS_KEY", "secret-2")
        .env("SSH_AUTH_SOCK", "/secret-3")
        .env("MY_PASSWORD", "secret-4")
        .env("SINGULARITYENV_OTHER_TOKEN", "secret-5")
        .env("APPTAINERENV_XDG_RUNTIME_DIR", "/secret-6")
        .env("WANTED_TOKEN", "wanted")
        .env("APPTAINER_BIND", "/of/the/user")
        .env("PIP_EXTRA_INDEX_URL", "https://me:word@index.site/simple")
        .env("CC", "gcc")
}

#[test]
fn build_steps_see_no_credentials_unless_they_are_let_in() {
    let (test, seen) = with_witness();
    let mut command =
        test.new_command(&["--post-install", "post.sh", "--build-env", "WANTED_TOKEN"]);
    command.args(["--build-env=OTHER", "env.yml"]);
    with_secrets(&mut command).run().succeeded();
    let seen = fs_err::read_to_string(seen).unwrap();
    assert!(!seen.contains("secret-"), "{seen}");
    // D14: a bind mount of a loaded module may have no place in the base.
    assert!(!seen.contains("/of/the/user"), "{seen}");
    for expected in [
        "WANTED_TOKEN=wanted\n",
        "PIP_EXTRA_INDEX_URL=https://me:word@index.site/simple\n",
        "CC=gcc\n",
        " --no-home ",
    ] {
        assert!(seen.contains(expected), "{expected}: {seen}");
    }
    let receipt = test.installation().join("share/receipt.json");
    let receipt = fs_err::read_to_string(receipt).unwrap();
    let receipt: serde_json::Value = serde_json::from_str(&receipt).unwrap();
    let remembered = receipt.pointer("/remembered/build-env");
    assert_eq!(
        remembered.unwrap(),
        &serde_json::json!(["WANTED_TOKEN", "OTHER"])
    );
    assert!(!receipt.to_string().contains("wanted"));
}

#[test]
fn an_update_lets_in_what_the_build_has() {
    let (test, seen) = with_witness();
    let mut command =
        test.new_command(&["--post-install", "post.sh", "--build-env", "WANTED_TOKEN"]);
    with_secrets(command.arg("env.yml")).run().succeeded();
    fs_err::remove_file(&seen).unwrap();
    let mut command = test.program(&["update", "--post-install", "post.sh"]);
    command.arg(test.installation());
    with_secrets(&mut command).run().succeeded();
    let seen = fs_err::read_to_string(seen).unwrap();
    assert!(
        seen.contains("WANTED_TOKEN=wanted\n") && !seen.contains("secret-"),
        "{seen}"
    );
}

#[test]
fn the_home_directory_is_let_in_by_its_name() {
    let (test, seen) = with_witness();
    let mut command = test.new_command(&["--post-install", "post.sh", "--build-env", "HOME"]);
    command.arg("env.yml").run().succeeded();
    assert!(!fs_err::read_to_string(&seen).unwrap().contains("--no-home"));
    let words = [
        "`--build-env A=b` does not name a variable",
        "name it alone",
    ];
    test.build(&["--build-env", "A=b", "env.yml"])
        .failed(1, &words);
}

fn build_without_home(test: &TestEnv) -> crate::harness::CommandOutput {
    test.environment("tool");
    let mut command = test.new_command(&["env.yml"]);
    command.env_remove("HOME").env_remove("CONDENSE_CACHE_DIR");
    command.run().succeeded()
}

fn own_place(test: &TestEnv) -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    test.path("tmp").join(format!("condense-{user}"))
}

fn mode(path: &Path) -> u32 {
    fs_err::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn without_a_home_the_cache_is_closed_to_others() {
    let test = TestEnv::new();
    let own = own_place(&test);
    build_without_home(&test);
    assert_eq!(mode(&own), 0o700);
    assert!(!test.path("tmp/condense").exists());
    // Other users may have put harmful files into a cache that was open to them.
    fs_err::set_permissions(&own, std::fs::Permissions::from_mode(0o777)).unwrap();
    fs_err::write(own.join("index/poison"), "").unwrap();
    let said = build_without_home_again(&test);
    assert!(said.contains("could be written by others"), "{said}");
    assert_eq!(mode(&own), 0o700);
    assert!(!own.join("index/poison").exists());
}

fn build_without_home_again(test: &TestEnv) -> String {
    let mut command = test.new_command(&["--force", "env.yml"]);
    command.env_remove("HOME").env_remove("CONDENSE_CACHE_DIR");
    let output = command.run().succeeded();
    output.stdout + &output.stderr
}

#[test]
fn a_cache_that_others_own_or_write_is_not_used() {
    let test = TestEnv::new();
    test.environment("tool");
    let shared = test.path("shared");
    fs_err::create_dir(&shared).unwrap();
    let build = || {
        let mut command = test.new_command(&["--force", "env.yml"]);
        command.env("CONDENSE_CACHE_DIR", &shared);
        let output = command.run().succeeded();
        output.stdout + &output.stderr
    };
    fs_err::set_permissions(&shared, std::fs::Permissions::from_mode(0o777)).unwrap();
    let said = build();
    assert!(said.contains("everybody can write into"), "{said}");
    assert!(said.contains("CONDENSE_CACHE_DIR"), "{said}");
    assert_eq!(names(&shared), [""; 0]);
    // A project's group shares archives, and each user has blocks of images.
    fs_err::set_permissions(&shared, std::fs::Permissions::from_mode(0o2770)).unwrap();
    let said = build();
    assert!(!said.contains("the cache"), "{said}");
    let blocks = format!("blocks-{}", rustix::process::geteuid().as_raw());
    assert_eq!(names(&shared), ["CACHEDIR.TAG", "archives", &blocks]);
    assert!(test.path("home/.cache/condense/index").is_dir());
    if rustix::process::geteuid().is_root() {
        fs_err::set_permissions(&shared, std::fs::Permissions::from_mode(0o755)).unwrap();
        chown(&shared, Some(12345), Some(12345)).unwrap();
        let said = build();
        assert!(said.contains("belongs to another user"), "{said}");
    }
}
