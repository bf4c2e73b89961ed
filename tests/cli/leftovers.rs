//! Directories that killed commands left behind, and their removal. Those of running commands stay.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

use crate::harness::{Ended, Stage, ended, names};

fn condense(stage: &Stage, words: &[&str]) -> Ended {
    let mut command = stage.command(env!("CARGO_BIN_EXE_condense"));
    ended(&command.args(words).output().unwrap())
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
fn leave(stage: &Stage) -> Vec<PathBuf> {
    let work = stage.path("work");
    let removed = work.join(".condense-removed-abcdef");
    fs_err::create_dir_all(removed.join(".condense/1/bin")).unwrap();
    fs_err::create_dir_all(work.join(".condense-empty1/.condense")).unwrap();
    for dir in [
        work.join(".condense-abcdef"),
        work.join(".other.condense-abcdef"),
        stage.path("tmp/cw-ABCDEF"),
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
    let stage = Stage::new();
    let file = stage.environment("tool");
    stage.build(&[file.to_str().unwrap()]).succeeded();
    condense(&stage, &["sif", "new", "old.sif"]).succeeded();
    stage.write("object", "object");
    condense(
        &stage,
        &["sif", "add", "old.sif", "object", "--type", "generic"],
    )
    .succeeded();
    let image = stage.installation().join("img.sqfs");
    let base = stage.path("base");
    let commands: [&[&str]; 10] = [
        &["sif", "new", "new.sif"],
        &["sif", "dump", "old.sif", "1", "-o", "dumped"],
        &["image", "pack", "installation", "packed"],
        &["image", "extract", image.to_str().unwrap(), "unpacked"],
        &["lock", "env.yml", "-o", "lock"],
        &["report", "installation", "-o", "page"],
        &["conda-containerize", "update", "installation"],
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
        let living = leave(&stage);
        let locks: Vec<File> = living.iter().map(|dir| begun(dir)).collect();
        condense(&stage, &words).succeeded();
        let left = hidden(&stage.path("work"));
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
            assert_eq!(names(&stage.path("tmp")), ["cw-LIVING"], "{words:?}");
        }
        drop(locks);
        for dir in living {
            fs_err::remove_dir_all(dir).unwrap();
        }
    }
}

#[test]
fn who_only_looks_neither_removes_nor_fails() {
    let stage = Stage::new();
    let file = stage.environment("tool");
    stage.build(&[file.to_str().unwrap()]).succeeded();
    leave(&stage);
    let before = (hidden(&stage.path("work")), names(&stage.path("tmp")));
    for words in [
        &["list"][..],
        &["info", "installation"],
        &["verify", "--no-start", "installation"],
    ] {
        let mut command = stage.command(env!("CARGO_BIN_EXE_condense"));
        command.env("TYKKY_PATH", stage.path("work")).args(words);
        ended(&command.output().unwrap()).succeeded();
        let after = (hidden(&stage.path("work")), names(&stage.path("tmp")));
        assert_eq!(after, before, "{words:?}");
    }
}

/// The program does not handle these signals, so they end it immediately.
#[test]
fn a_killed_build_is_cleared_away_by_the_next() {
    for signal in [rustix::process::Signal::KILL, rustix::process::Signal::QUIT] {
        let stage = Stage::with_bulky();
        let file = stage.environment("bulky");
        let mut build = stage
            .new_command(&[file.to_str().unwrap()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while names(&stage.path("tmp")).is_empty() {
            assert!(started.elapsed() < Duration::from_secs(60), "no scratch");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(50));
        rustix::process::kill_process(rustix::process::Pid::from_child(&build), signal).unwrap();
        build.wait().unwrap();
        stage.build(&[file.to_str().unwrap()]).succeeded();
        stage.left_nothing();
    }
}

/// A scratch directory that the user wants to inspect is not a leftover.
#[test]
fn scratch_that_was_to_be_kept_is_kept() {
    let stage = Stage::new();
    let file = stage.environment("tool");
    let mut command = stage.new_command(&[file.to_str().unwrap()]);
    ended(&command.env("CW_DEBUG_KEEP_FILES", "1").output().unwrap()).succeeded();
    let kept = names(&stage.path("tmp"));
    assert_eq!(kept.len(), 1);
    stage
        .build(&["--force", file.to_str().unwrap()])
        .succeeded();
    assert_eq!(names(&stage.path("tmp")), kept);
}
