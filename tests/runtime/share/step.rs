//! Harness of the tests of shared containers: the programs of a job step on one node, and a look at
//! the processes and files that must be gone after them.

use std::{
    collections::BTreeSet,
    fs::read_link,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::harness::{Account, CommandOutput, TestDir, names, shared};

/// Program of a task: it waits for a file, reads more of the image, and prints its mount namespace.
pub(super) const WAITS: &str = r#"
import os, sys, time
work, number = sys.argv[1:3]
if sys.argv[3:]: __import__(sys.argv[3])
open(f"{work}/here.{number}", "w").close()
while not os.path.exists(f"{work}/go"): time.sleep(0.05)
import decimal, sqlite3
print(os.readlink("/proc/self/ns/mnt"))
"#;

/// Programs of a step on one node, and what must be gone after them.
pub(super) struct Step {
    pub(super) test: TestDir,
    pub(super) tasks: usize,
    /// The tests of this file look for leftovers, so only one runs at a time.
    _alone: MutexGuard<'static, ()>,
}

impl Step {
    pub(super) fn new(name: &str, tasks: usize) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            test: TestDir::new(Account::Ordinary, name),
            tasks,
            _alone: alone,
        }
    }

    /// Gives a command the variables of a task.
    pub(super) fn task(&self, number: usize, mut command: Command) -> Command {
        command
            .env("SLURM_JOB_ID", "4242")
            .env("SLURM_STEP_ID", "0")
            .env("SLURM_NODEID", "1")
            .env("SLURM_STEP_TASKS_PER_NODE", format!("1,{}", self.tasks))
            .env("SLURM_STEP_NUM_TASKS", (self.tasks + 1).to_string())
            .env("SLURM_PROCID", number.to_string())
            .current_dir(self.test.dir());
        command
    }

    /// Returns a program that waits for [`Self::go`], or for the end of the test.
    pub(super) fn waiting(&self, number: usize, modules: &[&str]) -> Command {
        let mut command = shared().python(Account::Ordinary, WAITS);
        command.arg(self.test.dir()).arg(number.to_string());
        command.args(modules);
        self.task(number, command)
    }

    /// Starts a program that waits for [`Self::go`].
    pub(super) fn start_waiting(&self, number: usize, share: &str) -> Child {
        self.waiting(number, &["numpy"])
            .env("CW_SHARE", share)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Starts all programs, and returns when they have begun.
    pub(super) fn start_all(&self, share: &str) -> Vec<Child> {
        let tasks = (0..self.tasks)
            .map(|number| self.start_waiting(number, share))
            .collect();
        self.wait_for(self.tasks);
        tasks
    }

    pub(super) fn wait_for(&self, tasks: usize) {
        let here = || {
            let names = names(self.test.dir());
            names
                .iter()
                .filter(|name| name.starts_with("here."))
                .count()
        };
        eventually("all tasks begin", || here() >= tasks);
    }

    /// Makes the test's directory empty for the next programs.
    pub(super) fn clear(&self) {
        for name in names(self.test.dir()) {
            fs_err::remove_file(self.test.path(name)).unwrap();
        }
    }

    pub(super) fn go(&self) {
        self.test.write("go", "");
    }

    /// Lets all programs end well, and returns their mount namespaces.
    #[track_caller]
    pub(super) fn end(&self, tasks: Vec<Child>) -> BTreeSet<String> {
        self.go();
        tasks
            .into_iter()
            .map(|task| ended(task).succeeded().text())
            .collect()
    }
}

/// Checks that the ordinary user has no shared container and no process of one.
#[track_caller]
pub(super) fn left_nothing() {
    let id = Account::Ordinary.id();
    let place = PathBuf::from(format!("/dev/shm/condense-{id}"));
    eventually("the directory in /dev/shm is gone", || !place.exists());
    eventually("no process is left", || {
        keepers().is_empty() && image_processes().is_empty()
    });
}

pub(super) fn ended(task: Child) -> CommandOutput {
    task.wait_with_output().unwrap().into()
}

#[track_caller]
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "waited in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Returns the processes of the ordinary account with their command lines.
pub(super) fn processes() -> Vec<(u32, String)> {
    let id = Account::Ordinary.id();
    let pids = names(Path::new("/proc"))
        .into_iter()
        .filter_map(|name| name.parse().ok());
    pids.filter_map(|pid: u32| {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        let words = std::fs::read(dir.join("cmdline")).ok()?;
        let is_own = dir.metadata().ok()?.uid() == id;
        is_own.then(|| (pid, String::from_utf8_lossy(&words).replace('\0', " ")))
    })
    .collect()
}

pub(super) fn keepers() -> Vec<u32> {
    let is_keeper = |words: &String| words.contains("/container-keeper ");
    let mut found: Vec<u32> = processes()
        .into_iter()
        .filter(|(_, words)| is_keeper(words))
        .map(|(pid, _)| pid)
        .collect();
    found.sort_unstable();
    found
}

/// Returns the processes that mount the images of the shared installation for a user.
pub(super) fn image_processes() -> Vec<u32> {
    let dir = shared().dir.canonicalize().unwrap();
    let has_image = |pid: u32| {
        let files = PathBuf::from(format!("/proc/{pid}/fd"));
        names_of_open(&files)
            .iter()
            .any(|file| file.starts_with(&dir))
    };
    let found = processes()
        .into_iter()
        .filter(|(_, words)| words.contains("squashfuse"));
    found
        .map(|(pid, _)| pid)
        .filter(|pid| has_image(*pid))
        .collect()
}

pub(super) fn names_of_open(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| read_link(entry.path()).ok())
        .collect()
}

/// Returns how many bytes these processes have read.
pub(super) fn bytes_read(processes: &[u32]) -> u64 {
    let read = |pid: &u32| {
        let text = fs_err::read_to_string(format!("/proc/{pid}/io")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
        line.unwrap().parse::<u64>().unwrap()
    };
    processes.iter().map(read).sum()
}

/// Returns a number of rounds or tasks: `few`, or what the caller of the tests has asked for.
pub(super) fn rounds(few: usize) -> usize {
    let asked = std::env::var("CONDENSE_TEST_ROUNDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(few)
}

#[track_caller]
pub(super) fn kill(signal: &str, process: &str) {
    let status = Command::new("/bin/kill")
        .args([signal, "--", process])
        .status();
    assert!(status.unwrap().success(), "{process}");
}

/// Returns the processes of the runtime that wait for the program of a container.
pub(super) fn runtimes() -> Vec<u32> {
    let all = processes().into_iter();
    all.filter(|(_, words)| words.starts_with("Apptainer runtime parent"))
        .map(|(pid, _)| pid)
        .collect()
}
