//! Responsible for a process of a build while it runs: its lines as they come, and its end, which may be asked for.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{RecvTimeoutError, sync_channel},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::report::Report;

/// How often a quiet process is asked whether the user wants to stop.
const POLL: Duration = Duration::from_millis(100);
/// Bytes of one line of a program; a longer one comes in pieces.
const LINE_MOST: u64 = 64 << 10;
/// Lines that wait to be said. A program that talks faster waits for us, not in our memory.
const LINES_WAITING: usize = 1024;

/// What ends when it is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// A container's runtime, which takes along what it has started.
    Process,
    /// A shell and its children.
    Group,
}

/// Runs it, each line to `line`, whose error ends it. Returns its status, 128 + n for signal n; 130 where the user has stopped it.
pub(super) fn attend(
    mut command: Command,
    reach: Reach,
    report: &Report,
    line: &mut dyn FnMut(&str) -> anyhow::Result<()>,
) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if reach == Reach::Group {
        command.process_group(0);
    }
    let mut child = command.spawn()?;
    // The script joins its own streams; what comes by the second one is the runtime's.
    let (sender, lines) = sync_channel(LINES_WAITING);
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child
            .stdout
            .take()
            .map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        child
            .stderr
            .take()
            .map(|stream| Box::new(stream) as Box<dyn Read + Send>),
    ];
    for stream in streams.into_iter().flatten() {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut bytes = Vec::new();
            while (&mut reader)
                .take(LINE_MOST)
                .read_until(b'\n', &mut bytes)
                .is_ok_and(|length| length > 0)
            {
                // pip repaints its bar with carriage returns: what counts is what stands there last.
                let text = String::from_utf8_lossy(&bytes);
                let text = text.trim_end_matches(['\n', '\r']);
                let text = text.rsplit('\r').next().unwrap_or(text).to_owned();
                bytes.clear();
                if sender.send(text).is_err() {
                    break;
                }
            }
        });
    }
    drop(sender);
    loop {
        match lines.recv_timeout(POLL) {
            // A container's own is in the terminal's group and hears of it as we do.
            Ok(_) if reach == Reach::Group && report.cancelled() => {
                stop(&mut child, reach);
                return Ok(130);
            }
            Ok(text) => {
                if let Err(refusal) = line(&text) {
                    stop(&mut child, reach);
                    // As the error that it is, so that its hint is found.
                    return Err(refusal.reallocate_into_boxed_dyn_error_without_backtrace());
                }
            }
            Err(RecvTimeoutError::Timeout) if report.cancelled() => {
                stop(&mut child, reach);
                return Ok(130);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(status_number(child.wait()?))
}

/// Asks it to end, then makes it.
fn stop(child: &mut Child, reach: Reach) {
    if let Some(id) = Pid::from_raw(child.id().cast_signed()) {
        let kill = |signal| match reach {
            Reach::Process => kill_process(id, signal),
            Reach::Group => kill_process_group(id, signal),
        };
        // Either may fail because it has ended by itself, which is what was wanted.
        let _ = kill(Signal::TERM);
        for _ in 0..20 {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(POLL);
        }
        let _ = kill(Signal::KILL);
    }
    let _ = child.wait();
}

fn status_number(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;
    use crate::report::Level;

    /// A shell that waits for a child, whose number it says first.
    fn shell() -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 600 & echo $!; wait; echo over"]);
        command
    }

    /// Waits until this process has ended, however long the kernel takes.
    fn has_ended(id: &str) -> bool {
        (0..600).any(|_| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat"));
            // Nobody may have taken notice yet.
            let runs = stat.is_ok_and(|stat| !stat.contains(") Z"));
            if runs {
                std::thread::sleep(POLL);
            }
            !runs
        })
    }

    #[test]
    fn what_a_line_says_may_end_it_with_all_that_it_has_started() {
        let report = Report::new(Level::Error, false, Arc::default());
        let mut child = String::new();
        let ended = attend(shell(), Reach::Group, &report, &mut |line| {
            line.clone_into(&mut child);
            anyhow::bail!("enough")
        });
        assert_eq!(ended.unwrap_err().to_string(), "enough");
        assert!(has_ended(&child), "{child}");
    }

    #[test]
    fn the_user_may_end_a_quiet_one() {
        let cancelled = Arc::new(AtomicBool::new(false));
        let report = Report::new(Level::Error, false, Arc::clone(&cancelled));
        let mut child = String::new();
        let status = attend(shell(), Reach::Group, &report, &mut |line| {
            line.clone_into(&mut child);
            cancelled.store(true, Ordering::SeqCst);
            Ok(())
        });
        assert_eq!(status.unwrap(), 130);
        assert!(has_ended(&child), "{child}");
    }

    #[test]
    fn its_lines_and_its_status_come_back() {
        let report = Report::new(Level::Error, false, Arc::default());
        for (script, expected) in [("exit 7", 7), ("kill -9 $$", 137)] {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", &format!("printf '10%%\\r20%%\\nend'; {script}")]);
            let mut lines = Vec::new();
            let status = attend(command, Reach::Group, &report, &mut |line| {
                lines.push(line.to_owned());
                Ok(())
            });
            assert_eq!((status.unwrap(), &*lines.join(",")), (expected, "20%,end"));
        }
    }
}
