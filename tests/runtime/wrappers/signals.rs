//! Signals to the wrapper's process reach the program, and nothing goes on without it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Account, as_both, finish, shared};

/// A word that no other process of this machine has among its arguments.
fn mark() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!(
        "mark-{}-{}",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    )
}

/// Command lines of running processes with this word.
fn running(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(mark) {
            found.push(line);
        }
    }
    found
}

#[track_caller]
fn assert_gone(mark: &str) {
    let started = Instant::now();
    while !running(mark).is_empty() {
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "still running: {:#?}",
            running(mark)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts a program that waits, and waits until it does.
fn start(account: Account, arguments: &[&str], mark: &str) -> Child {
    let mut command = shared().command(account, "edge-wait", arguments);
    let mut child = command
        .arg(mark)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    // The buffer takes what is there, which is this line.
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child.stdout = Some(stdout.into_inner());
    child
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_program_that_catches_the_signal_ends_its_own_way() {
    as_both(|account| {
        for (signal, number) in [
            (Signal::TERM, 15),
            (Signal::INT, 2),
            (Signal::HUP, 1),
            (Signal::USR1, 10),
        ] {
            let mark = mark();
            let child = start(account, &["--catch"], &mark);
            send(&child, signal);
            let ended = finish(child);
            assert_eq!(
                (ended.status, ended.text()),
                (3, format!("caught {number:02}")),
                "{ended:?}"
            );
            assert_gone(&mark);
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_program_that_does_not_catch_it_dies() {
    as_both(|account| {
        for (signal, number) in [(Signal::TERM, 15), (Signal::INT, 2)] {
            let mark = mark();
            let child = start(account, &[], &mark);
            send(&child, signal);
            assert_eq!(finish(child).status, 128 + number);
            assert_gone(&mark);
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_time_limit_ends_it() {
    as_both(|account| {
        let mark = mark();
        let mut command = account.command("timeout");
        command
            .arg("1")
            .arg(shared().bin("edge-wait"))
            .arg(&mark)
            .stdout(Stdio::null());
        assert_eq!(command.status().unwrap().code(), Some(124));
        assert_gone(&mark);
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn it_stops_and_goes_on() {
    as_both(|account| {
        let mark = mark();
        let child = start(account, &["--catch"], &mark);
        send(&child, Signal::TSTP);
        std::thread::sleep(Duration::from_millis(100));
        send(&child, Signal::CONT);
        send(&child, Signal::TERM);
        assert_eq!(finish(child).status, 3);
        assert_gone(&mark);
    });
}
