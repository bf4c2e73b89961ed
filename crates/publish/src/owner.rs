//! Responsible for who has made a staging directory, where a lock alone does not say whether somebody still lives.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use crate::lock::Locking;

/// Locks may be those of one machine only, so that another's is believed to be free after this time alone.
const ANOTHER_MACHINE_S: Duration = Duration::from_secs(24 * 60 * 60);

/// More than such a text ever has, in bytes.
const TEXT_LEN_MAX: u64 = 1024;

/// A process, by what tells it from all others of all machines.
#[derive(Debug, PartialEq, Eq)]
struct Owner<'t> {
    machine: &'t str,
    /// One boot of one machine, and the name space in which the number is one of a process.
    numbers: &'t str,
    process: &'t str,
    started: &'t str,
}

/// What this process writes into its locks.
pub(crate) fn own_text() -> String {
    let process = std::process::id().to_string();
    let started = started(&process).unwrap_or_default();
    format!("{}\n{}\n{process}\n{started}\n", machine(), numbers())
}

/// Whether whoever wrote this lock has ended, when trying to lock it came to this.
pub(crate) fn has_ended(file: &File, locking: Locking) -> bool {
    let mut text = String::new();
    if locking == Locking::Held || file.take(TEXT_LEN_MAX).read_to_string(&mut text).is_err() {
        return false;
    }
    let Some(owner) = parse(&text) else {
        // Killed before it was written, or by a version that wrote none.
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

/// When a process was started, as the kernel counts; nothing where there is none.
fn started(process: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program stands in brackets, and may have any of them itself.
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
    fn who_lives_is_told_from_who_has_ended() {
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
            // Nobody has this number, or somebody else has it now.
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
