//! Tests of reading ahead what a start needs of the image: who reads, which parts, and that the
//! program is not disturbed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use condense_installation::HostView;

use crate::{ENV_PREFIX, MOUNT_POINT, build, each_shell, shared};

/// Runtime that lets a reader work for a moment, shows that it has no other child, and has an exit
/// status of its own.
const RUNTIME: &str = "#!/bin/sh
case $1 in --version) echo 'apptainer version 9.8.7'; exit 0 ;; esac
sleep \"${RUN_SECONDS-0.3}\"
cat /proc/$$/task/$$/children 2>/dev/null
exit 7
";

/// Program that writes down how it was called.
const DD: &str = "#!/bin/sh
echo \"$*\" >>\"$DD_LOG\"
exec sleep \"${DD_SECONDS-0}\"
";

fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

struct Scene {
    scratch: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        // The reader leaves images in /tmp alone, where this repository may be as well.
        let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
        let runtime = scratch.path().join("apptainer");
        program(&runtime, RUNTIME);
        program(&scratch.path().join("dd"), DD);
        let mut launch = shared::launch(MOUNT_POINT, ENV_PREFIX, Some(&runtime), HostView::Host);
        launch.hot_parts = vec![(0, 6), (40, 1)];
        build(&scratch.path().join("dir"), scratch.path(), &launch, 1);
        Self { scratch }
    }

    fn command(&self, shell: &[&str], variables: &[(&str, &str)]) -> Command {
        let path = self.scratch.path();
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg(path.join("dir/bin/python3"));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("DD_LOG", path.join("log"))
            .envs(variables.iter().copied())
            .current_dir("/");
        command
    }

    /// Returns the parts that were read, each as it is skipped to.
    fn read(&self) -> Vec<String> {
        let log = self.scratch.path().join("log");
        let text = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(log);
        let skipped = |line: &str| {
            let words = line.split(' ');
            let words: Vec<&str> = words
                .filter_map(|word| word.strip_prefix("skip="))
                .collect();
            words.concat()
        };
        text.lines().map(skipped).collect()
    }
}

#[test]
fn the_first_task_of_a_node_reads_ahead_in_jobs_of_several() {
    let scene = Scene::new();
    let all = ["0", "4", "40"];
    let none: [&str; 0] = [];
    let nodes = ("SLURM_JOB_NUM_NODES", "2");
    each_shell(|shell| {
        let output = scene
            .command(shell, &[nodes, ("SLURM_LOCALID", "0")])
            .output()
            .unwrap();
        assert_eq!(
            (output.status.code(), output.stderr.len()),
            (Some(7), 0),
            "{shell:?}"
        );
        let children = String::from_utf8(output.stdout).unwrap();
        assert!(
            children.split_whitespace().count() <= 1,
            "no reader: {children}"
        );
        // The shell of busybox has a dd of its own.
        let read = scene.read();
        assert!(read == all || shell[0] == "busybox", "{shell:?}: {read:?}");
    });
    for (variables, expected) in [
        (&[][..], &none[..]),
        (&[("CONDENSE_PREFETCH", "1")], &all),
        (&[nodes, ("CONDENSE_PREFETCH", "0")], &none),
        (&[nodes, ("SLURM_LOCALID", "10")], &none),
        (
            &[("CONDENSE_PREFETCH", "1"), ("PALS_LOCAL_RANKID", "3")],
            &none,
        ),
        (
            &[
                ("PMI_SIZE", "8"),
                ("PMI_LOCAL_SIZE", "4"),
                ("PMI_LOCAL_RANK", "0"),
            ],
            &all,
        ),
        (
            &[
                ("PMI_SIZE", "4"),
                ("PMI_LOCAL_SIZE", "4"),
                ("PMI_LOCAL_RANK", "0"),
            ],
            &none,
        ),
        (
            &[
                ("OMPI_COMM_WORLD_SIZE", "8"),
                ("OMPI_COMM_WORLD_LOCAL_SIZE", "4"),
            ],
            &all,
        ),
        // Variables of hydra, the starter of MPICH and Intel MPI.
        (
            &[
                ("PMI_RANK", "0"),
                ("PMI_SIZE", "4"),
                ("MPI_LOCALNRANKS", "4"),
                ("MPI_LOCALRANKID", "0"),
            ],
            &none,
        ),
        (
            &[
                ("PMI_RANK", "4"),
                ("PMI_SIZE", "8"),
                ("MPI_LOCALNRANKS", "4"),
                ("MPI_LOCALRANKID", "0"),
            ],
            &all,
        ),
        (
            &[
                ("PMI_RANK", "5"),
                ("PMI_SIZE", "8"),
                ("MPI_LOCALNRANKS", "4"),
                ("MPI_LOCALRANKID", "1"),
            ],
            &none,
        ),
        (&[("PMI_RANK", "0"), ("PMI_SIZE", "4")], &none),
        (&[nodes, ("TMPDIR", "/var/tmp")], &none),
        (&[nodes, ("TMPDIR", "/var/tmp//")], &none),
        (&[nodes, ("TMPDIR", "/")], &all),
    ] {
        let output = scene.command(&["sh"], variables).output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{variables:?}");
        assert_eq!(scene.read(), expected, "{variables:?}");
    }
}

/// The reader holds no stream that somebody waits for, and reads no more than the part that it is
/// at when the program has ended.
#[test]
fn a_reader_ends_with_the_program() {
    let scene = Scene::new();
    let slow = [
        ("CONDENSE_PREFETCH", "1"),
        ("RUN_SECONDS", "0.1"),
        ("DD_SECONDS", "1"),
    ];
    let started = Instant::now();
    let output = scene
        .command(&["sh"], &slow)
        .stdin(Stdio::piped())
        .output()
        .unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(output.status.code(), Some(7));
    std::thread::sleep(Duration::from_millis(1300));
    assert_eq!(scene.read(), ["0"]);
}

/// A copy of `condense stage` is on the node already, wherever that is.
#[test]
fn a_copy_on_the_node_is_not_read_ahead() {
    let scene = Scene::new();
    let nodes = ("SLURM_JOB_NUM_NODES", "2");
    let parent = scene.scratch.path().join("node");
    // A later line of the settings counts.
    let common = scene.scratch.path().join("dir/common.sh");
    let text = fs::read_to_string(&common).unwrap();
    fs::write(&common, text + "\nimage_digest=feed\n").unwrap();
    let copies = parent.join("condense-stage-0/feed");
    fs::create_dir_all(&copies).unwrap();
    fs::write(copies.join("img.sqfs"), "").unwrap();
    let read = || {
        let stage = ("CW_STAGE", parent.to_str().unwrap());
        let output = scene.command(&["sh"], &[nodes, stage]).output().unwrap();
        assert_eq!(output.status.code(), Some(7));
        scene.read().len()
    };
    assert_eq!(read(), 0);
    fs::remove_file(copies.join("img.sqfs")).unwrap();
    assert_eq!(read(), 3);
}

/// A lock that the caller of the wrapper has open is free when the program has ended, however long
/// the reader goes on.
#[test]
fn a_reader_holds_no_lock_of_the_caller() {
    let scene = Scene::new();
    let lock = scene.scratch.path().join("lock");
    let slow = [
        ("CONDENSE_PREFETCH", "1"),
        ("RUN_SECONDS", "0.1"),
        ("DD_SECONDS", "2"),
    ];
    for (shell, number) in [("sh", 9), ("sh", 3), ("bash", 200)] {
        let wrapper = scene.scratch.path().join("dir/bin/python3");
        let script = "exec NUMBER>\"$1\"; flock -n NUMBER || exit 8; shift; \"$@\"; exit $?";
        let script = script.replace("NUMBER", &number.to_string());
        let started = Instant::now();
        let output = Command::new("bash")
            .args(["-c", &script, "bash"])
            .args([lock.as_path(), Path::new(shell), &wrapper])
            .envs(slow)
            .env("DD_LOG", scene.scratch.path().join("log"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        // The reader is at its first part now, and holds the lock if it has it open.
        let free = Command::new("flock")
            .arg("-n")
            .arg(&lock)
            .arg("true")
            .status();
        assert!(free.unwrap().success(), "{shell} {number}");
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

/// A program that has ended, but whose parent has not taken its status, has ended.
#[test]
fn a_reader_ends_although_nobody_asks_for_the_status() {
    let scene = Scene::new();
    let quick = [
        ("CONDENSE_PREFETCH", "1"),
        ("RUN_SECONDS", "0"),
        ("DD_SECONDS", "0.4"),
    ];
    let mut child = scene
        .command(&["sh"], &quick)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(scene.read(), ["0"]);
    assert_eq!(child.wait().unwrap().code(), Some(7));
}
