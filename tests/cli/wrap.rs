//! Tests of `wrap-container` and `wrap-install` without a runtime: the installations that they
//! make, and the inputs that they refuse.

use std::{os::unix::fs::PermissionsExt, path::Path};

use crate::harness::{CommandOutput, Run, TestEnv, names};

fn tool(test: &TestEnv, name: &str, words: &[&str]) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.arg(name).args(words).run()
}

/// Makes a directory with installed software.
fn software(test: &TestEnv) -> std::path::PathBuf {
    let dir = test.path("work/software");
    for (name, mode) in [
        ("bin/one", 0o755),
        ("bin/data", 0o600),
        ("libexec/two", 0o755),
        ("lib/x", 0o644),
    ] {
        let path = dir.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, "#!/bin/sh\n").unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    dir
}

#[test]
fn help_and_usage_are_argparse_s() {
    let test = TestEnv::new();
    for name in ["wrap-container", "wrap-install"] {
        for words in [&["-h"][..], &["--help"], &[]] {
            let said = tool(&test, name, words).succeeded();
            for option in ["show this help message", "--environ", "--wrapper-paths"] {
                assert!(said.stdout.contains(option), "no `{option}` in {said:?}");
            }
        }
        let said = tool(&test, name, &["--prefix", "x"]);
        assert_eq!((said.status, said.stdout.as_str()), (2, ""), "{said:?}");
        assert!(said.stderr.contains("arguments are required"), "{said:?}");
    }
    let said = tool(&test, "wrap-install", &["-h"]).succeeded();
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.args(["wrap-container", "--help"]);
    let help = command.run().succeeded();
    assert!(help.stdout.contains("docker://NAME"), "{help:#?}");
    for option in ["--post-install", "--pre-install", "--mask"] {
        assert!(said.stdout.contains(option), "no `{option}` in {said:?}");
    }
}

#[test]
fn a_container_s_programs_are_wrapped_without_an_image() {
    let test = TestEnv::new();
    fs_err::write(test.path("work/hook.sh"), "export HOOK=1\n").unwrap();
    let said = tool(
        &test,
        "wrap-container",
        &[
            "-w/bin",
            "../base",
            "--prefix",
            "wrapped",
            "--environ",
            "hook.sh",
        ],
    )
    .succeeded();
    assert!(said.stdout.contains("export PATH="), "{said:?}");
    let dir = test.path("work/wrapped");
    assert_eq!(
        names(&dir),
        [
            ".condense",
            "_bin",
            "bin",
            "common.sh",
            "container.sif",
            "share"
        ]
    );
    assert_eq!(
        names(&dir.join("bin")),
        ["_debug_exec", "_debug_shell", "sh"]
    );
    assert_eq!(
        fs_err::read_link(dir.join("_bin/sh")).unwrap(),
        Path::new("/bin/sh")
    );
    let common = fs_err::read_to_string(dir.join("common.sh")).unwrap();
    assert!(
        common.contains("export HOOK=1") && common.contains("_CW_IS_ISOLATED=yes"),
        "{common}"
    );
    let conf = fs_err::read_to_string(dir.join("share/conf.yaml")).unwrap();
    assert!(
        conf.contains("mode: wrapcont") && !conf.contains("sqfs_image"),
        "{conf}"
    );
    test.left_nothing();
}

#[test]
fn a_directory_is_packed_and_left_as_it_is() {
    let test = TestEnv::new();
    let dir = software(&test);
    let before = names(&dir);
    let base = test.path("base");
    let said = tool(
        &test,
        "wrap-install",
        &[
            "--base-image",
            base.to_str().unwrap(),
            "-w",
            "bin,libexec/two",
            "--prefix",
            "packed",
            "software",
        ],
    )
    .succeeded();
    assert!(said.stdout.contains("files of"), "{said:?}");
    let packed = test.path("work/packed");
    assert_eq!(
        names(&packed.join("bin")),
        ["_debug_exec", "_debug_shell", "one", "two"]
    );
    let target = fs_err::read_link(packed.join("_bin/two")).unwrap();
    let target = target.to_str().unwrap();
    assert!(
        target.starts_with("/LOCAL_TYKKY_") && target.ends_with("/libexec/two"),
        "{target}"
    );
    assert_eq!(names(&dir), before, "the directory has changed");
    let said = tool(
        &test,
        "wrap-install",
        &[
            "--base-image",
            base.to_str().unwrap(),
            "-w",
            "bin",
            "--prefix",
            "masked",
            "--mask",
            "software",
        ],
    );
    said.succeeded();
    let target = fs_err::read_link(test.path("work/masked/_bin/one")).unwrap();
    assert_eq!(target, dir.canonicalize().unwrap().join("bin/one"));
    test.left_nothing();
}

#[test]
fn what_cannot_be_wrapped_is_refused_by_name() {
    let test = TestEnv::new();
    software(&test);
    let base = test.path("base");
    let base = base.to_str().unwrap();
    for (name, words, expected) in [
        (
            "wrap-container",
            &["-w", "bin", base][..],
            "is not an absolute path",
        ),
        (
            "wrap-container",
            &["-w", "/nowhere", base],
            "no program at `/nowhere`",
        ),
        (
            "wrap-container",
            &["-w", "/bin", "nowhere.sif"],
            "nowhere.sif",
        ),
        (
            "wrap-container",
            &["-w", "/bin", "library://x/y:1"],
            "library://",
        ),
        (
            "wrap-install",
            &["-w", "bin", "--base-image", base, "nowhere"],
            "nowhere is not a directory",
        ),
        (
            "wrap-install",
            &["-w", "share", "--base-image", base, "software"],
            "no program at `share`",
        ),
        (
            "wrap-install",
            &["-w", "bin/data", "--base-image", base, "software"],
            "no program at `bin/data`",
        ),
        (
            "wrap-install",
            &[
                "-w",
                "bin",
                "--base-image",
                base,
                "--post",
                "nowhere.sh",
                "software",
            ],
            "nowhere.sh does not exist",
        ),
    ] {
        let mut words = words.to_vec();
        words.extend(["--prefix", "out"]);
        let said = tool(&test, name, &words);
        assert_eq!(said.status, 1, "{words:?}: {said:?}");
        assert!(
            said.stdout.contains("[ ERROR ] ") && said.stdout.contains(expected),
            "{words:?}: {said:?}"
        );
        assert!(!test.path("work/out").exists(), "{words:?}");
        test.left_nothing();
    }
}

#[test]
fn two_programs_of_one_name_are_refused() {
    let test = TestEnv::new();
    let dir = software(&test);
    fs_err::create_dir(dir.join("more")).unwrap();
    fs_err::copy(dir.join("bin/one"), dir.join("more/one")).unwrap();
    let base = test.path("base");
    let base = base.to_str().unwrap();
    let said = tool(
        &test,
        "wrap-install",
        &[
            "-w",
            "bin,more",
            "--base-image",
            base,
            "--prefix",
            "out",
            "software",
        ],
    );
    said.failed(1, &["Multiple binaries with the same name"]);
}
