//! Directories that killed commands left behind, and their removal. Those of running commands stay.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

use crate::harness::{CommandOutput, Run, TestEnv, names};

fn condense(test: &TestEnv, words: &[&str]) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.args(words).run()
}

/// Makes the directory of a command that is still running. It is locked for as long as the returned
/// file is open.
fn begun(dir: &Path) -> File {
    fs_err::create_dir_all(dir.join(".condense")).unwrap();
    fs_err::write(dir.join("half"), "half").unwrap();
    let file = File::create(dir.join(".condense/lock")).unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    file
}

fn hidden(dir: &Path) -> Vec<String> {
    let all = names(dir).into_iter();
    all.filter(|name| name.starts_with('.')).collect()
}

/// Makes all kinds of leftovers, both beside a destination and in scratch space. Returns paths for
/// the directories of commands that still run.
fn leave(test: &TestEnv) -> Vec<PathBuf> {
    let work = test.path("work");
    let removed = work.join(".condense-removed-abcdef");
    fs_err::create_dir_all(removed.join(".condense/1/bin")).unwrap();
    fs_err::create_dir_all(work.join(".condense-empty1/.condense")).unwrap();
    for dir in [
        work.join(".condense-abcdef"),
        work.join(".other.condense-abcdef"),
        test.path("tmp/cw-ABCDEF"),
    ] {
        drop(begun(&dir));
    }
    [
        ".condense-living",
        ".an.condense-living",
        "../tmp/cw-LIVING",
    ]
    .map(|name| work.join(name))
    .into()
}

/// Each command that writes a result removes the leftovers beside that result.
#[test]
fn the_next_command_removes_what_killed_ones_left() {
    let test = TestEnv::new();
    let file = test.environment("tool");
    test.build(&[file.to_str().unwrap()]).succeeded();
    condense(&test, &["sif", "new", "old.sif"]).succeeded();
    test.write("object", "object");
    condense(
        &test,
        &["sif", "add", "old.sif", "object", "--type", "generic"],
    )
    .succeeded();
    let image = test.installation().join("img.sqfs");
    let base = test.path("base");
    let commands: [&[&str]; 10] = [
        &["sif", "new", "new.sif"],
        &["sif", "dump", "old.sif", "1", "-o", "dumped"],
        &["image", "pack", "installation", "packed"],
        &["image", "extract", image.to_str().unwrap(), "unpacked"],
        &["lock", "env.yml", "-o", "lock"],
        &["report", "installation", "-o", "page"],
        &[
            "conda-containerize",
            "update",
            "installation",
            "-w",
            "/bin/sh",
        ],
        &["rollback", "installation"],
        &["gc", "installation"],
        &["remove", "--yes", "installation"],
    ];
    let builds: [&[&str]; 3] = [
        &[
            "conda-containerize",
            "new",
            "--prefix",
            "new",
            "env.yml",
            "--base-image",
        ],
        &["wrap-container", "-w/bin", "--prefix", "wrapped"],
        &[
            "cotainr",
            "build",
            "--yes",
            "c.sif",
            "--conda-env",
            "env.yml",
            "--base-image",
        ],
    ];
    let builds = builds.map(|words| [words, &[base.to_str().unwrap()]].concat());
    let all = commands.map(<[&str]>::to_vec).into_iter().chain(builds);
    for words in all {
        let living = leave(&test);
        let locks: Vec<File> = living.iter().map(|dir| begun(dir)).collect();
        condense(&test, &words).succeeded();
        let left = hidden(&test.path("work"));
        assert_eq!(
            left,
            [".an.condense-living", ".condense-living"],
            "{words:?}"
        );
        for dir in &living {
            assert!(dir.join("half").exists(), "{words:?}");
        }
        // Only commands that need scratch space remove the leftovers there.
        if ["conda-containerize", "lock", "cotainr", "wrap-container"].contains(&words[0]) {
            assert_eq!(names(&test.path("tmp")), ["cw-LIVING"], "{words:?}");
        }
        drop(locks);
        for dir in living {
            fs_err::remove_dir_all(dir).unwrap();
        }
    }
}

#[test]
fn who_only_looks_neither_removes_nor_fails() {
    let test = TestEnv::new();
    let file = test.environment("tool");
    test.build(&[file.to_str().unwrap()]).succeeded();
    leave(&test);
    let before = (hidden(&test.path("work")), names(&test.path("tmp")));
    for words in [
        &["list"][..],
        &["info", "installation"],
        &["verify", "--no-start", "installation"],
    ] {
        let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
        command.env("TYKKY_PATH", test.path("work")).args(words);
        command.run().succeeded();
        let after = (hidden(&test.path("work")), names(&test.path("tmp")));
        assert_eq!(after, before, "{words:?}");
    }
}

/// The program does not handle these signals, so they end it immediately.
#[test]
fn a_killed_build_is_cleared_away_by_the_next() {
    for signal in [rustix::process::Signal::KILL, rustix::process::Signal::QUIT] {
        let test = TestEnv::with_bulky();
        let file = test.environment("bulky");
        let mut build = test
            .new_command(&[file.to_str().unwrap()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while names(&test.path("tmp")).is_empty() {
            assert!(started.elapsed() < Duration::from_secs(60), "no scratch");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(50));
        rustix::process::kill_process(rustix::process::Pid::from_child(&build), signal).unwrap();
        build.wait().unwrap();
        test.build(&[file.to_str().unwrap()]).succeeded();
        test.left_nothing();
    }
}

/// A scratch directory that the user wants to inspect is not a leftover.
#[test]
fn scratch_that_was_to_be_kept_is_kept() {
    let test = TestEnv::new();
    let file = test.environment("tool");
    let mut command = test.new_command(&[file.to_str().unwrap()]);
    command.env("CW_DEBUG_KEEP_FILES", "1").run().succeeded();
    let kept = names(&test.path("tmp"));
    assert_eq!(kept.len(), 1);
    test.build(&["--force", file.to_str().unwrap()]).succeeded();
    assert_eq!(names(&test.path("tmp")), kept);
}
