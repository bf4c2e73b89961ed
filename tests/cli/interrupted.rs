//! Tests of signals and `kill -9` during a build, without a runtime.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::harness::{TestEnv, finish};

fn signal(child: &Child, name: &str) {
    let status = std::process::Command::new("kill")
        .args([name, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn signals_leave_nothing_but_the_cache() {
    let test = TestEnv::with_bulky();
    let env = test.environment("bulky");
    for name in [
        "-INT", "-TERM", "-HUP", "-USR1", "-USR2", "-ALRM", "-XCPU", "-VTALRM", "-PROF",
    ] {
        for delay in [60, 250, 500] {
            let mut command =
                test.new_command(&["--compression", "zstd:19", env.to_str().unwrap()]);
            let child = command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(delay));
            signal(&child, name);
            let asked = Instant::now();
            let said = finish(child);
            assert!(
                asked.elapsed() < Duration::from_secs(60),
                "took {:?} to stop",
                asked.elapsed()
            );
            // A signal that arrives before the handlers are installed ends the process.
            let by_signal = Command::new("kill").args(["-l", &name[1..]]).output();
            let number = String::from_utf8(by_signal.unwrap().stdout).unwrap();
            let killed = 128 + number.trim().parse::<i32>().unwrap();
            assert!(said.status == 130 || said.status == killed, "{said:?}");
            assert!(!test.installation().exists(), "{name} after {delay} ms");
            test.left_nothing();
        }
    }
}

#[test]
fn killed_at_any_moment_the_destination_is_absent_or_complete() {
    let test = TestEnv::with_bulky();
    let env = test.environment("tool, bulky");
    let env = env.to_str().unwrap();
    let started = Instant::now();
    test.build(&[env]).succeeded();
    let whole = started.elapsed();
    fs_err::remove_dir_all(test.installation()).unwrap();
    let mut complete = 0;
    for moment in 1..=10_u32 {
        let mut child = test
            .new_command(&[env])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * moment / 10);
        signal(&child, "-KILL");
        child.wait().unwrap();
        let dir = test.installation();
        if dir.exists() {
            for path in [
                "bin/tool",
                "img.sqfs",
                "share/receipt.json",
                "container.sif",
                "common.sh",
                "_bin",
            ] {
                assert!(
                    dir.join(path).symlink_metadata().is_ok(),
                    "{path} is missing after {moment}/10"
                );
            }
            complete += 1;
            fs_err::remove_dir_all(dir).unwrap();
        }
    }
    // Leftovers of killed builds do not stop the next build, which removes them.
    test.build(&[env]).succeeded();
    assert_eq!(test.beside(), [""; 0], "{complete} complete");
}

#[test]
fn two_builds_into_one_place_do_not_mix() {
    let test = TestEnv::with_bulky();
    let env = test.environment("bulky");
    let spawn = || {
        let mut command = test.new_command(&["--compression", "zstd:15", env.to_str().unwrap()]);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let first = spawn();
    // The build holds its lock from the moment at which one of its files is beside the destination.
    let started = Instant::now();
    while test.beside().is_empty() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it never began"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(100));
    let second = finish(spawn());
    let first = finish(first);
    assert_eq!(first.status, 0, "{first:?}");
    second.failed(1, &["is running"]);
    assert!(test.installation().join("bin/bulky").exists());
}
