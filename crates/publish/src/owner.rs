//! Responsible for identifying the maker of a staging directory, for cases where a lock alone does
//! not show whether that process still runs.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use crate::lock::Locking;

/// The age at which a directory of another machine counts as left over. Some file systems keep
/// locks on one machine only, so a free lock of another machine proves nothing before.
const ANOTHER_MACHINE_S: Duration = Duration::from_secs(24 * 60 * 60);

/// The maximum length of the text in a lock, in bytes. Real texts are shorter.
const TEXT_LEN_MAX: u64 = 1024;

/// A process, identified by what distinguishes it from all others on all machines.
#[derive(Debug, PartialEq, Eq)]
struct Owner<'t> {
    machine: &'t str,
    /// The boot of the machine and the PID namespace, within which a process number is unique.
    numbers: &'t str,
    process: &'t str,
    started: &'t str,
}

/// Returns the text that this process writes into its locks.
pub(crate) fn own_text() -> String {
    let process = std::process::id().to_string();
    let started = started(&process).unwrap_or_default();
    format!("{}\n{}\n{process}\n{started}\n", machine(), numbers())
}

/// Returns whether the process that wrote this lock has ended. `locking` is the result of an
/// attempt to take the lock.
pub(crate) fn has_ended(file: &File, locking: Locking) -> bool {
    let mut text = String::new();
    if locking == Locking::Held || file.take(TEXT_LEN_MAX).read_to_string(&mut text).is_err() {
        return false;
    }
    let Some(owner) = parse(&text) else {
        // The process was killed before it wrote the text, or its version wrote none.
        return locking == Locking::Free;
    };
    if locking == Locking::Free {
        let age = || file.metadata().ok()?.modified().ok()?.elapsed().ok();
        return owner.machine == machine() || age().is_some_and(|age| age > ANOTHER_MACHINE_S);
    }
    owner.numbers == numbers() && started(owner.process).as_deref() != Some(owner.started)
}

fn parse(text: &str) -> Option<Owner<'_>> {
    let mut lines = text.lines();
    Some(Owner {
        machine: lines.next()?,
        numbers: lines.next()?,
        process: lines.next()?,
        started: lines.next()?,
    })
}

fn machine() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

fn numbers() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{} {}", boot.trim(), space.display())
}

/// Returns the start time of a process in the kernel's clock ticks, or `None` if there is no such
/// process.
fn started(process: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The program's name is in parentheses, and may itself contain parentheses.
    let (_, fields) = text.rsplit_once(") ")?;
    fields.split(' ').nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;
    use std::time::SystemTime;

    use super::*;

    fn ended(text: &str, age_s: u64, locking: Locking) -> bool {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let time = SystemTime::now() - Duration::from_secs(age_s);
        file.as_file().set_modified(time).unwrap();
        has_ended(&File::open(file.path()).unwrap(), locking)
    }

    #[test]
    fn running_and_ended_processes_are_distinguished() {
        let own = own_text();
        let parsed = parse(&own).unwrap();
        assert!(parsed.started.parse::<u64>().unwrap() > 0);
        let with = |machine: &str, process: &str, started: &str| {
            format!("{machine}\n{}\n{process}\n{started}\n", parsed.numbers)
        };
        let here = |process: &str, started: &str| with(parsed.machine, process, started);
        let day = 25 * 60 * 60;
        for (text, age_s, locking, expected) in [
            (own.clone(), 0, Locking::Held, false),
            (own.clone(), 0, Locking::Free, true),
            (own.clone(), day, Locking::Unknown, false),
            // These process numbers are unused, or belong to another process now.
            (here("4194305", "7"), 0, Locking::Unknown, true),
            (here(parsed.process, "7"), 0, Locking::Unknown, true),
            (own.replace("pid:[", "pid:[9"), day, Locking::Unknown, false),
            (with("another", "1", "7"), 0, Locking::Free, false),
            (with("another", "1", "7"), day, Locking::Free, true),
            (String::new(), 0, Locking::Free, true),
            (String::new(), day, Locking::Unknown, false),
        ] {
            assert_eq!(ended(&text, age_s, locking), expected, "{text} {locking:?}");
        }
    }
}
