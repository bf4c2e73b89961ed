//! Responsible for the processes that a desktop has started, which its mark in their environment
//! shows.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::session::MARK;

/// Time that processes get to end after they are asked to.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time that the kernel may take to end killed processes.
const LAST: Duration = Duration::from_secs(3);
/// Time between two looks.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// Ends all processes with the mark of the session in this directory.
pub(crate) fn end_marked(dir: &Path) {
    for (signal, time) in [(Signal::TERM, PATIENCE), (Signal::KILL, LAST)] {
        let until = Instant::now() + time;
        let mut is_asked = false;
        loop {
            let marked = marked(dir);
            if marked.is_empty() {
                return;
            }
            if Instant::now() >= until {
                break;
            }
            if !is_asked || signal == Signal::KILL {
                for process in marked {
                    // A signal may fail because the process has ended meanwhile.
                    let _ = kill_process(process, signal);
                }
                is_asked = true;
            }
            std::thread::sleep(POLL);
        }
    }
}

fn marked(dir: &Path) -> Vec<Pid> {
    let mark = format!("{MARK}={}", dir.display());
    let own = getpid();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        Pid::from_raw(id).filter(|process| *process != own)
    });
    processes
        .filter(|process| {
            let file = format!("/proc/{}/environ", process.as_raw_nonzero());
            // Processes of others, and those that have ended, cannot be read.
            std::fs::read(file).is_ok_and(|variables| {
                let mut variables = variables.split(|byte| *byte == 0);
                variables.any(|variable| variable == mark.as_bytes())
            })
        })
        .collect()
}
