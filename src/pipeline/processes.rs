//! Responsible for the processes that a build starts: what they start themselves comes to this
//! process when it is orphaned, and nothing of it stays.
//!
//! A process may leave its parent's group and session, and let its parent end; it cannot leave the
//! one that adopts orphans. That is this process only while a build step runs: what other programs
//! leave behind on purpose, such as an agent that keeps passwords, is none of a build's.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};

/// Set for every process of a build step, and so for what it starts.
const MARK: &str = "CONDENSE_BUILD_STEP";
/// How often processes are looked for while they end.
const POLL: Duration = Duration::from_millis(20);
/// How long the kernel may take to end what was killed.
const LAST: Duration = Duration::from_secs(5);

/// Steps that run now.
static RUNNING: Mutex<Running> = Mutex::new(Running {
    leaders: BTreeSet::new(),
    steps: 0,
    before: None,
});

struct Running {
    leaders: BTreeSet<i32>,
    steps: usize,
    /// Children that were here before the first step, of whoever became this program.
    before: Option<BTreeSet<i32>>,
}

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One step, from before its process starts until nothing of it is left.
#[derive(Debug)]
pub(super) struct Step {
    leader: Option<i32>,
    /// All that was found so far.
    seen: RefCell<BTreeSet<i32>>,
}

impl Step {
    /// From now on orphans come here.
    pub(super) fn begin() -> Self {
        let mut running = running();
        if running.before.is_none() {
            running.before = Some(children(&Processes::look()).collect());
        }
        running.steps += 1;
        // Linux has it since 3.4; without it only what keeps its parent is found.
        let _ = set_child_subreaper(Some(getpid()));
        Self {
            leader: None,
            seen: RefCell::default(),
        }
    }

    /// Makes the process that will be started, and all that it starts, known.
    pub(super) fn mark(command: &mut Command) {
        command.env(MARK, "1");
        // By these it comes into a container that gets nothing of the environment.
        command.env(format!("APPTAINERENV_{MARK}"), "1");
        command.env(format!("SINGULARITYENV_{MARK}"), "1");
    }

    /// The process that was started.
    pub(super) fn lead(&mut self, leader: Pid) {
        self.leader = Some(leader.as_raw_nonzero().get());
        running().leaders.insert(leader.as_raw_nonzero().get());
    }

    /// Ends what the step's first process has left: lets it end by itself, asks it to, then makes
    /// it. Returns the names of those that had to be asked.
    pub(super) fn end_rest(&self, patience: Duration) -> Vec<String> {
        if self.wait(patience) {
            return Vec::new();
        }
        let names = self.signal(Signal::TERM);
        if !self.wait(patience) {
            self.kill();
        }
        names
    }

    /// Ends all, whatever they do about it.
    pub(super) fn kill(&self) {
        let until = Instant::now() + LAST;
        while !self.signal(Signal::KILL).is_empty() && Instant::now() < until {
            std::thread::sleep(POLL);
        }
    }

    /// Whether all have ended by themselves in this time.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        loop {
            if self.members(&Processes::look()).is_empty() {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(POLL);
        }
    }

    fn signal(&self, signal: Signal) -> Vec<String> {
        let processes = Processes::look();
        let members = self.members(&processes);
        // One that ends meanwhile is as it should be.
        for member in members.iter().filter_map(|member| Pid::from_raw(*member)) {
            let _ = kill_process(member, signal);
        }
        let names = members.iter().map(|member| processes.name(*member));
        names.collect()
    }

    /// What of this step runs now, besides its leader; what has ended and belongs to nobody else is
    /// taken notice of.
    fn members(&self, processes: &Processes) -> BTreeSet<i32> {
        let running = running();
        let mut members = BTreeSet::new();
        if let Some(leader) = self.leader {
            processes.add_below(leader, &mut members);
        }
        // Of orphans it is known that they are of a step, not of which.
        if running.steps == 1 {
            for child in children(processes) {
                if !running.leaders.contains(&child) && is_marked(child) {
                    members.insert(child);
                    processes.add_below(child, &mut members);
                }
            }
        }
        let mut seen = self.seen.borrow_mut();
        // What has ended shows its mark no more.
        members.extend(children(processes).filter(|child| seen.contains(child)));
        seen.extend(&members);
        let (ended, members): (BTreeSet<i32>, _) = members
            .into_iter()
            .partition(|member| processes.has_ended(*member));
        for member in ended {
            take_notice(processes, member);
        }
        members
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let mut running = running();
        running.steps = running.steps.saturating_sub(1);
        if let Some(leader) = self.leader {
            running.leaders.remove(&leader);
        }
        if running.steps == 0 {
            let _ = set_child_subreaper(None);
        }
    }
}

/// Ends every process that steps have left, for the end of a run: nobody waits for children any
/// more.
pub(crate) fn end_all() {
    let Some(before) = running().before.clone() else {
        return;
    };
    let until = Instant::now() + LAST;
    loop {
        let processes = Processes::look();
        let mut left = BTreeSet::new();
        for child in children(&processes).filter(|child| !before.contains(child)) {
            if !take_notice(&processes, child) {
                left.insert(child);
                processes.add_below(child, &mut left);
            }
        }
        if left.is_empty() || Instant::now() >= until {
            return;
        }
        for process in left.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(process, Signal::KILL);
        }
        std::thread::sleep(POLL);
    }
}

/// Whether a child of this process has ended, and is gone now.
fn take_notice(processes: &Processes, process: i32) -> bool {
    let is_child = processes.parent(process) == Some(own());
    is_child
        && Pid::from_raw(process)
            .is_some_and(|process| !matches!(waitpid(Some(process), WaitOptions::NOHANG), Ok(None)))
}

fn own() -> i32 {
    getpid().as_raw_nonzero().get()
}

fn children(processes: &Processes) -> impl Iterator<Item = i32> {
    processes.below(own()).iter().copied()
}

/// Whether it was started by a build step, as far as it lets itself be looked at.
fn is_marked(process: i32) -> bool {
    let mark = format!("{MARK}=1");
    std::fs::read(format!("/proc/{process}/environ")).is_ok_and(|variables| {
        variables
            .split(|byte| *byte == 0)
            .any(|v| v == mark.as_bytes())
    })
}

/// What runs on this machine at one moment.
#[derive(Debug, Default)]
struct Processes {
    known: HashMap<i32, Process>,
    below: BTreeMap<i32, Vec<i32>>,
}

#[derive(Debug)]
struct Process {
    name: String,
    parent: i32,
    has_ended: bool,
}

impl Processes {
    /// Nothing where there is no /proc.
    fn look() -> Self {
        let mut found = Self::default();
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        for entry in entries {
            let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let stat = std::fs::read(entry.path().join("stat")).unwrap_or_default();
            if let Some(process) = Process::parse(&String::from_utf8_lossy(&stat)) {
                found.below.entry(process.parent).or_default().push(id);
                found.known.insert(id, process);
            }
        }
        found
    }

    fn below(&self, parent: i32) -> &[i32] {
        self.below.get(&parent).map_or(&[], Vec::as_slice)
    }

    fn add_below(&self, parent: i32, found: &mut BTreeSet<i32>) {
        let mut waiting = vec![parent];
        while let Some(parent) = waiting.pop() {
            let new = self.below(parent).iter().filter(|id| found.insert(**id));
            waiting.extend(new.copied());
        }
    }

    fn parent(&self, id: i32) -> Option<i32> {
        self.known.get(&id).map(|process| process.parent)
    }

    fn name(&self, id: i32) -> String {
        self.known
            .get(&id)
            .map_or_else(String::new, |process| process.name.clone())
    }

    fn has_ended(&self, id: i32) -> bool {
        self.known.get(&id).is_none_or(|process| process.has_ended)
    }
}

impl Process {
    /// Reads `ID (NAME) STATE PARENT …`, in which the name may have any characters.
    fn parse(stat: &str) -> Option<Self> {
        let (before, after) = stat.rsplit_once(')')?;
        let mut words = after.split_whitespace();
        let state = words.next()?;
        Some(Self {
            name: before.split_once('(')?.1.to_owned(),
            parent: words.next()?.parse().ok()?,
            has_ended: matches!(state, "Z" | "X"),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_with_parentheses_are_names() {
        let process = Process::parse("12 (a) b (c) S 7 12 12 0").unwrap();
        assert_eq!((process.name.as_str(), process.parent), ("a) b (c", 7));
        assert!(!process.has_ended);
        assert!(Process::parse("12 (a) Z 1 1").unwrap().has_ended);
        assert!(Process::parse("").is_none() && Process::parse("12 (a").is_none());
    }
}
