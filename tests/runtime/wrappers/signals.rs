//! Tests of signals: the program receives them, and no process continues without it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Account, CommandOutput, Run, as_both, finish, parts, shared};

/// Waiting program, and all processes that were started for it: the runtime, the processes that
/// mount images, and the program itself.
struct Started {
    child: Child,
    family: Vec<u32>,
}

fn parents() -> Vec<(u32, u32)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(|id: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name in parentheses may hold any characters; state and parent follow it.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        if fields.next()? == "Z" {
            return None;
        }
        Some((id, fields.next()?.parse().ok()?))
    })
    .collect()
}

fn family(id: u32) -> Vec<u32> {
    let parents = parents();
    let mut family = vec![id];
    let mut seen = 0;
    while let Some(&parent) = family.get(seen) {
        family.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(child, _)| *child),
        );
        seen += 1;
    }
    family
}

/// Starts a waiting program, and returns when it waits.
fn start(mut command: Command) -> Started {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    // The buffer holds only this line.
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child.stdout = Some(stdout.into_inner());
    let family = family(child.id());
    assert!(
        family.len() > 1,
        "the program is not a process below the wrapper's"
    );
    Started { child, family }
}

impl Started {
    /// Waits for the end of the wrapper, and checks that all its processes end soon after it.
    #[track_caller]
    fn finished(self) -> CommandOutput {
        let output = finish(self.child);
        let started = Instant::now();
        loop {
            let running: Vec<u32> = parents()
                .into_iter()
                .map(|(id, _)| id)
                .filter(|id| self.family.contains(id))
                .collect();
            if running.is_empty() {
                return output;
            }
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "still running: {running:?}, {output:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn wait(account: Account, arguments: &[&str]) -> Command {
    shared().command(account, "edge-wait", arguments)
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
            let started = start(wait(account, &["--catch"]));
            send(&started.child, signal);
            let output = started.finished();
            assert_eq!(
                (output.status, output.text()),
                (3, format!("caught {number:02}")),
                "{output:?}"
            );
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_program_that_does_not_catch_it_dies() {
    as_both(|account| {
        for (signal, number) in [(Signal::TERM, 15), (Signal::INT, 2)] {
            let started = start(wait(account, &[]));
            send(&started.child, signal);
            assert_eq!(started.finished().status, 128 + number);
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_time_limit_ends_it() {
    as_both(|account| {
        let mut command = account.command("timeout");
        command.arg("8").arg(shared().bin("edge-wait"));
        assert_eq!(start(command).finished().status, 124);
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn it_stops_and_goes_on() {
    as_both(|account| {
        let started = start(wait(account, &["--catch"]));
        send(&started.child, Signal::TSTP);
        std::thread::sleep(Duration::from_millis(100));
        send(&started.child, Signal::CONT);
        send(&started.child, Signal::TERM);
        assert_eq!(started.finished().status, 3);
    });
}

/// `condense run` puts the wrapper in its own place.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_program_that_condense_runs_gets_signals_and_gives_its_status() {
    as_both(|account| {
        let run = |words: &[&str]| {
            let mut command = account.command(parts().path("programs/condense"));
            command.arg("run").arg(&shared().dir).args(words);
            command
        };
        let started = start(run(&["edge-wait", "--catch"]));
        send(&started.child, Signal::TERM);
        let output = started.finished();
        assert_eq!((output.status, output.text()), (3, "caught 15".to_owned()));
        let script = "import sys; print(sys.executable, sys.argv[1:]); sys.exit(42)";
        let output = run(&["--", "python", "-c", script, "a b", "--json"]).run();
        let python = shared().bin("python");
        assert_eq!(
            (output.status, output.text()),
            (42, format!("{} ['a b', '--json']", python.display())),
            "{output:?}"
        );
        // A program without a wrapper has the same environment.
        let script = "echo $CONDA_DEFAULT_ENV; exit 7";
        let output = run(&["/bin/sh", "-c", script]).run();
        assert_eq!((output.status, output.text().is_empty()), (7, false));
    });
}
