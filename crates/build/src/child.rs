//! Responsible for a running process of a build: its lines are passed on as they come, and it is
//! ended on request.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::processes::Step;
use crate::report::Report;

/// Time between two looks at the cancel flag while a process prints nothing.
const POLL: Duration = Duration::from_millis(100);
/// Maximum number of bytes of one line of a program. A longer line comes in pieces.
const LINE_MOST: u64 = 64 << 10;
/// Maximum number of lines that wait to be reported. A program that writes faster has to wait, so
/// that its lines do not fill this program's memory.
const LINES_WAITING: usize = 1024;

/// Time that processes get to end after they were asked to.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time that processes started by a step may go on once the step itself has ended.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// The processes that are asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalScope {
    /// A container's runtime, which ends the processes that it has started.
    Process,
    /// A shell and its children.
    Group,
    /// A program that begins with making a session of its own, and its children.
    Session,
}

/// Runs a command and passes each line of its output to `line`. An error of `line` ends the
/// command. Returns the exit status: 128 + n for signal n, and 130 if the user has stopped the
/// command. All processes that the command has started have ended by then.
pub(super) fn run_streaming(
    mut command: Command,
    reach: SignalScope,
    report: &Report,
    line: &mut dyn FnMut(&str) -> anyhow::Result<()>,
) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if reach == SignalScope::Group {
        command.process_group(0);
    }
    Step::mark(&mut command);
    let mut step = Step::begin();
    let child = command.spawn()?;
    step.lead(Pid::from_child(&child));
    let mut attended = Attended { child, step, reach };
    let lines = match attended.lines() {
        Ok(lines) => lines,
        Err(refusal) => {
            attended.stop();
            return Err(refusal.into());
        }
    };
    let mut ended = None;
    loop {
        match lines.recv_timeout(POLL) {
            // A runtime is in the terminal's group and gets the signal of the terminal itself.
            Ok(_) if reach != SignalScope::Process && report.cancelled() => {
                attended.stop();
                return Ok(130);
            }
            Ok(text) => {
                if let Err(refusal) = line(&text) {
                    attended.stop();
                    // The error keeps its type, so that its hint is found.
                    return Err(refusal.reallocate_into_boxed_dyn_error_without_backtrace());
                }
            }
            Err(RecvTimeoutError::Timeout) if report.cancelled() => {
                attended.stop();
                return Ok(130);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        // Processes that the command has left behind may keep its streams open for ever.
        match ended {
            None if matches!(attended.child.try_wait(), Ok(Some(_))) => {
                ended = Some(Instant::now());
            }
            Some(since) if since.elapsed() > AFTERWARDS => break,
            _ => {}
        }
    }
    let status = attended.child.wait()?;
    let left = attended.step.end_rest(AFTERWARDS);
    // A process that had to be killed because it kept the streams open may have written lines
    // before.
    while let Ok(text) = lines.recv_timeout(POLL) {
        line(&text).map_err(anyhow::Error::reallocate_into_boxed_dyn_error_without_backtrace)?;
    }
    if !left.is_empty() {
        report.warning(format!(
            "a build step has left processes behind, which were ended: {}",
            left.join(", ")
        ));
    }
    Ok(status_number(status))
}

/// A running process of the build.
struct Attended {
    child: Child,
    step: Step,
    reach: SignalScope,
}

impl Attended {
    /// Returns the lines of both streams of the process, as they come.
    fn lines(&mut self) -> Result<Receiver<String>, condense_threads::Error> {
        // The script writes both of its streams to the first one. The second one carries what the
        // runtime itself writes.
        let (sender, lines) = sync_channel(LINES_WAITING);
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            self.child
                .stdout
                .take()
                .map(|stream| Box::new(stream) as Box<dyn Read + Send>),
            self.child
                .stderr
                .take()
                .map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        ];
        for stream in streams.into_iter().flatten() {
            let sender = sender.clone();
            condense_threads::spawn(move || read_lines(stream, &sender))?;
        }
        Ok(lines)
    }

    /// Asks the process and all processes that it has started to end, and kills them if they do
    /// not.
    fn stop(&mut self) {
        let id = Pid::from_child(&self.child);
        let kill = |signal| match self.reach {
            SignalScope::Process => kill_process(id, signal),
            SignalScope::Group | SignalScope::Session => kill_process_group(id, signal),
        };
        // A signal may fail because the process has ended by itself, which is the goal.
        let _ = kill(Signal::TERM);
        let until = Instant::now() + PATIENCE;
        while !matches!(self.child.try_wait(), Ok(Some(_))) && Instant::now() < until {
            std::thread::sleep(POLL);
        }
        let rest = until.saturating_duration_since(Instant::now());
        if !self.step.wait(rest) {
            self.step.kill();
        }
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = kill(Signal::KILL);
            let _ = self.child.wait();
            // The end of the process may have orphaned further ones, which are found only now.
            self.step.kill();
        }
    }
}

fn read_lines(stream: Box<dyn Read + Send>, sender: &SyncSender<String>) {
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    while (&mut reader)
        .take(LINE_MOST)
        .read_until(b'\n', &mut bytes)
        .is_ok_and(|length| length > 0)
    {
        // pip repaints its progress bar with carriage returns. Only the text after the last one
        // counts.
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches(['\n', '\r']);
        let text = text.rsplit('\r').next().unwrap_or(text).to_owned();
        bytes.clear();
        if sender.send(text).is_err() {
            break;
        }
    }
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

    /// Starts a shell that prints the number of a child and waits for it.
    fn shell() -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 600 & echo $!; wait; echo over"]);
        command
    }

    /// Waits until this process has ended, however long the kernel takes.
    fn has_ended(id: &str) -> bool {
        (0..600).any(|_| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat"));
            // The process may not have been reaped yet.
            let runs = stat.is_ok_and(|stat| !stat.contains(") Z"));
            if runs {
                std::thread::sleep(POLL);
            }
            !runs
        })
    }

    #[test]
    fn what_a_line_says_may_end_it_with_all_that_it_has_started() {
        let report = Report::silent();
        let mut child = String::new();
        let ended = run_streaming(shell(), SignalScope::Group, &report, &mut |line| {
            line.clone_into(&mut child);
            anyhow::bail!("enough")
        });
        assert_eq!(ended.unwrap_err().to_string(), "enough");
        assert!(has_ended(&child), "{child}");
    }

    #[test]
    fn the_user_may_end_a_quiet_one() {
        let cancelled = Arc::new(AtomicBool::new(false));
        let report = Report::with_flag(Arc::clone(&cancelled));
        let mut child = String::new();
        let status = run_streaming(shell(), SignalScope::Group, &report, &mut |line| {
            line.clone_into(&mut child);
            cancelled.store(true, Ordering::SeqCst);
            Ok(())
        });
        assert_eq!(status.unwrap(), 130);
        assert!(has_ended(&child), "{child}");
    }

    /// Runs a script with a shell, and stops it when it prints a line that ends with `!`. Returns
    /// the last line, without the `!`, and the status.
    fn shell_says(script: &str) -> (String, i32) {
        let cancelled = Arc::new(AtomicBool::new(false));
        let report = Report::with_flag(Arc::clone(&cancelled));
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let mut said = String::new();
        let status = run_streaming(command, SignalScope::Group, &report, &mut |line| {
            if let Some(line) = line.strip_suffix('!') {
                cancelled.store(true, Ordering::SeqCst);
                line.clone_into(&mut said);
            } else {
                line.clone_into(&mut said);
            }
            Ok(())
        });
        (said, status.unwrap())
    }

    #[test]
    fn what_it_leaves_behind_ends_with_it() {
        for script in [
            "sleep 600 & echo $!",
            // The sleeping process is in another session, and its parent there ends at once.
            "setsid sh -c 'sleep 600 & echo $!; exit' & wait",
            "(trap '' TERM HUP; sleep 600) >/dev/null 2>&1 & echo $!",
            // The sleeping process has neither the streams nor the variables of the step, but is
            // still a child of it.
            "env -i setsid sleep 600 >/dev/null 2>&1 & echo $!; sleep 0.1",
        ] {
            let started = Instant::now();
            let (child, status) = shell_says(script);
            assert_eq!(status, 0, "{script}");
            assert!(started.elapsed() < Duration::from_secs(60), "{script}");
            if !script.contains("env -i") {
                assert!(has_ended(&child), "{script}: {child}");
            }
        }
    }

    #[test]
    fn who_ignores_that_it_is_to_end_is_killed_with_all_that_it_has_started() {
        for script in [
            "trap '' TERM; sleep 600 & echo $!!; wait",
            // The first process of the group ends when it is asked to, others do not.
            "(trap '' TERM; while :; do sleep 1; done) & echo $!!; wait",
            "setsid sh -c 'trap \"\" TERM; echo $$!; while :; do sleep 1; done' & wait",
        ] {
            let (child, status) = shell_says(script);
            assert_eq!(status, 130, "{script}");
            assert!(has_ended(&child), "{script}: {child}");
        }
    }

    #[test]
    fn its_lines_and_its_status_come_back() {
        let report = Report::silent();
        for (script, expected) in [("exit 7", 7), ("kill -9 $$", 137)] {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", &format!("printf '10%%\\r20%%\\nend'; {script}")]);
            let mut lines = Vec::new();
            let status = run_streaming(command, SignalScope::Group, &report, &mut |line| {
                lines.push(line.to_owned());
                Ok(())
            });
            assert_eq!((status.unwrap(), &*lines.join(",")), (expected, "20%,end"));
        }
    }
}
