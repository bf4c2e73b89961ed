//! Responsible for the processes that a build starts. Processes that those start come to this
//! process when they are orphaned, and none of them stays.
//!
//! A process may leave its parent's group and session, and let its parent end. It cannot leave the
//! process that adopts orphans. This process adopts them only while a build step runs. Other
//! programs may leave processes behind on purpose, such as an agent that keeps passwords. Those are
//! not ended.

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

/// Variable that is set for every process of a build step. Its children inherit it.
const MARK: &str = "CONDENSE_BUILD_STEP";
/// Time between two looks at processes that are to end.
const POLL: Duration = Duration::from_millis(20);
/// Time that the kernel may take to end killed processes.
const LAST: Duration = Duration::from_secs(5);

/// The build steps that run now.
static RUNNING: Mutex<Running> = Mutex::new(Running {
    leaders: BTreeSet::new(),
    steps: 0,
    before: None,
});

struct Running {
    leaders: BTreeSet<i32>,
    steps: usize,
    /// Children of this process from before the first step. They belong to a program that has
    /// turned into this one by `exec`.
    before: Option<BTreeSet<i32>>,
}

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One build step, from before its process starts until none of its processes is left.
#[derive(Debug)]
pub(super) struct Step {
    leader: Option<i32>,
    /// All processes of the step that were found so far.
    seen: RefCell<BTreeSet<i32>>,
}

impl Step {
    /// Begins a step. From now on this process adopts orphans.
    pub(super) fn begin() -> Self {
        let mut running = running();
        if running.before.is_none() {
            running.before = Some(children(&Processes::look()).collect());
        }
        running.steps += 1;
        // Linux has this call since 3.4. Without it, only processes that keep their parent are
        // found.
        let _ = set_child_subreaper(Some(getpid()));
        Self {
            leader: None,
            seen: RefCell::default(),
        }
    }

    /// Marks the process that will be started, and thus all its children.
    pub(super) fn mark(command: &mut Command) {
        command.env(MARK, "1");
        // These variables bring the mark into a container that gets nothing else of the
        // environment.
        command.env(format!("APPTAINERENV_{MARK}"), "1");
        command.env(format!("SINGULARITYENV_{MARK}"), "1");
    }

    /// Sets the process that was started as the leader of the step.
    pub(super) fn lead(&mut self, leader: Pid) {
        self.leader = Some(leader.as_raw_nonzero().get());
        running().leaders.insert(leader.as_raw_nonzero().get());
    }

    /// Ends the processes that the leader has left behind. They first get time to end by
    /// themselves, then they are asked to end, then they are killed. Returns the names of those
    /// that had to be asked.
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

    /// Kills all processes of the step, even those that do not end when they are asked to.
    pub(super) fn kill(&self) {
        let until = Instant::now() + LAST;
        while !self.signal(Signal::KILL).is_empty() && Instant::now() < until {
            std::thread::sleep(POLL);
        }
    }

    /// Returns whether all processes of the step have ended by themselves in this time.
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
        // A signal may fail because the process has ended meanwhile, which is the goal.
        for member in members.iter().filter_map(|member| Pid::from_raw(*member)) {
            let _ = kill_process(member, signal);
        }
        let names = members.iter().map(|member| processes.name(*member));
        names.collect()
    }

    /// Returns the processes of this step that run now, besides its leader. Processes that have
    /// ended and have become children of this one are reaped.
    fn members(&self, processes: &Processes) -> BTreeSet<i32> {
        let running = running();
        let mut members = BTreeSet::new();
        if let Some(leader) = self.leader {
            processes.add_below(leader, &mut members);
        }
        // An orphan is known to belong to a step, but not to which one.
        if running.steps == 1 {
            for child in children(processes) {
                if !running.leaders.contains(&child) && is_marked(child) {
                    members.insert(child);
                    processes.add_below(child, &mut members);
                }
            }
        }
        let mut seen = self.seen.borrow_mut();
        // The mark of a process cannot be read any more once it has ended.
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

/// Ends every process that steps have left. It is called at the end of a run, when nothing waits
/// for child processes any more.
pub fn end_all() {
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

/// Reaps a process, and returns whether it was a child of this one that had ended.
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

/// Returns whether a build step has started the process, as far as its environment can be read.
fn is_marked(process: i32) -> bool {
    let mark = format!("{MARK}=1");
    std::fs::read(format!("/proc/{process}/environ")).is_ok_and(|variables| {
        variables
            .split(|byte| *byte == 0)
            .any(|v| v == mark.as_bytes())
    })
}

/// The processes on this machine at one moment.
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
    /// Reads the processes from /proc. There are none in the result if there is no /proc.
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
    /// Reads the beginning of `/proc/ID/stat`: `ID (NAME) STATE PARENT`. The name may contain any
    /// characters.
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
