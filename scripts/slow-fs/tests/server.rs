//! Tests of the whole server with real mounts. They need /dev/fuse, and root or `user_allow_other`.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_slow-fs");

/// Each start removes the mounts of killed servers, so that only one test may run at a time.
static ALONE: Mutex<()> = Mutex::new(());

struct Place(
    tempfile::TempDir,
    #[expect(dead_code)] MutexGuard<'static, ()>,
);

impl Place {
    /// Makes a directory with a file of 3 MiB, a link, and two mount points.
    fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("served/sub")).unwrap();
        let data: Vec<u8> = (0..3 << 20)
            .map(|number: u32| (number >> 7) as u8)
            .collect();
        fs::write(place.path().join("served/sub/data"), data).unwrap();
        symlink("sub/data", place.path().join("served/link")).unwrap();
        for node in ["node 1", "node 2"] {
            fs::create_dir(place.path().join(node)).unwrap();
        }
        Self(place, alone)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn serve(&self, options: &[&str]) -> Server {
        let mut child = Command::new(PROGRAM)
            .args(options)
            .args([
                self.path("served"),
                self.path("node 1"),
                self.path("node 2"),
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut server = Server { child, lines };
        assert_eq!(server.line()["ready"].as_array().unwrap().len(), 2);
        server
    }

    fn mounts(&self) -> usize {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let place = self.0.path().to_str().unwrap();
        table.lines().filter(|line| line.contains(place)).count()
    }
}

struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Server {
    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[test]
fn nodes_have_caches_of_their_own_and_are_counted() {
    let place = Place::new();
    let mut server = place.serve(&[]);
    let data = read(&place.path("served/sub/data"));
    for _ in 0..2 {
        assert_eq!(read(&place.path("node 1/link")), data);
    }
    let names: Vec<_> = fs::read_dir(place.path("node 2")).unwrap().collect();
    assert_eq!(names.len(), 2);
    let missing = fs::read(place.path("node 2/missing")).unwrap_err();
    assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
    assert!(fs::write(place.path("node 2/new"), "").is_err());
    server.signal(Signal::SIGUSR1);
    let report = server.line();
    // The second reading was answered by the node's own cache.
    assert_eq!(report["nodes"][0]["bytes"], data.len());
    assert_eq!(report["nodes"][0]["pieces"], 3);
    assert_eq!(report["nodes"][0]["files"][0]["path"], "sub/data");
    assert_eq!(report["nodes"][1]["bytes"], 0);
    assert!(report["nodes"][1]["metadata"].as_u64().unwrap() >= 2);
    assert_eq!(read(&place.path("node 2/link")), data);
    server.signal(Signal::SIGTERM);
    let report = server.line();
    assert_eq!(report["bytes"], 2 * data.len());
    assert!(server.child.wait().unwrap().success());
    assert_eq!(place.mounts(), 0);
}

#[test]
fn the_latency_is_waited_for_and_a_used_mount_ends_too() {
    let place = Place::new();
    let server = place.serve(&["--latency", "30", "--readahead", "64"]);
    let began = Instant::now();
    let open = fs::File::open(place.path("node 1/sub/data")).unwrap();
    // Two names and the opening.
    assert!(began.elapsed().as_millis() >= 90);
    server.signal(Signal::SIGINT);
    let mut server = server;
    assert!(server.child.wait().unwrap().success());
    assert_eq!(place.mounts(), 0);
    drop(open);
}

#[test]
fn the_next_start_removes_the_mounts_of_a_killed_server() {
    let place = Place::new();
    let mut killed = place.serve(&[]);
    let second = Command::new(PROGRAM)
        .args([place.path("served"), place.path("node 1")])
        .output()
        .unwrap();
    assert!(said(&second).contains("another slow-fs is mounted here"));
    killed.signal(Signal::SIGKILL);
    killed.child.wait().unwrap();
    assert_eq!(place.mounts(), 2);
    let server = place.serve(&[]);
    assert_eq!(place.mounts(), 2);
    assert_eq!(read(&place.path("node 2/link")).len(), 3 << 20);
    drop(server);
    let counted = Command::new(PROGRAM)
        .args([&place.path("served"), Path::new("--run"), Path::new("true")])
        .output()
        .unwrap();
    assert!(said(&counted).contains("removed the mount of a killed server"));
    assert_eq!(place.mounts(), 0);
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn one_command_is_counted_and_its_status_is_passed_on() {
    let place = Place::new();
    let script = "head -c 1500000 \"$1/sub/data\" | wc -c; test -e \"$1/missing\"";
    let output = Command::new(PROGRAM)
        .arg(place.path("served"))
        .args(["--run", "sh", "-c", script, "sh", "{}"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(said(&output).trim(), "1500000");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["pieces"].as_u64().unwrap() >= 2, "{report}");
    assert_eq!(report["jumps"], 0);
    let point = report["nodes"][0]["mount_point"].as_str().unwrap();
    assert!(!Path::new(point).exists());
}
