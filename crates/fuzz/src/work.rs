//! Responsible for one run of one target, in a process that damaged files may crash.

use std::{
    collections::BTreeMap,
    os::unix::fs::FileExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{Error, Target};

/// The longest time that a file may take.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(5);
/// The interval at which time and memory are checked.
const LOOK: Duration = Duration::from_millis(50);
/// The largest number of different panics that are reported; further ones are dropped.
const KINDS_MAX: usize = 20;

/// The limits and the seed of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    /// The largest number of files.
    pub(crate) count: u64,
    /// The largest amount of memory, in MiB.
    pub(crate) memory_mib: u64,
}

/// The results of a run.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) files: u64,
    pub(crate) refused: u64,
    pub(crate) slowest: Duration,
    pub(crate) slowest_number: u64,
    pub(crate) peak_mib: u64,
    /// The descriptions of problems, each with the number of the first file that had it.
    pub(crate) wrong: BTreeMap<String, u64>,
}

/// The file that a thread is reading now.
#[derive(Debug, Default)]
struct Present {
    number: AtomicU64,
    /// The start of reading: milliseconds since the run began, plus one; 0 between files.
    since: AtomicU64,
}

/// The state that the threads share.
struct Shared {
    target: Target,
    run: Run,
    start: Instant,
    next: AtomicU64,
    ended: AtomicU64,
    present: Vec<Present>,
    seen: Mutex<Seen>,
}

/// Reads files until the time is over or the number of files is reached. Each thread first writes
/// the number of its file to `dir`, so that the parent process can find the file if this process
/// dies. A thread that hangs is left behind, so the process must end after it has given its answer.
pub(crate) fn work(target: Target, run: &Run, dir: &Path) -> Result<Seen, Error> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let shared = Arc::new(Shared {
        target,
        run: run.clone(),
        start: Instant::now(),
        next: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        present: (0..threads).map(|_| Present::default()).collect(),
        seen: Mutex::new(Seen::default()),
    });
    remember_places();
    for thread in 0..threads {
        let log = fs_err::File::create(dir.join(thread.to_string()))?;
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || {
            shared.read_files(thread, log.file());
            shared.ended.fetch_add(1, Ordering::Relaxed);
        });
    }
    let mut found = None;
    while found.is_none() && shared.ended.load(Ordering::Relaxed) < threads as u64 {
        std::thread::sleep(LOOK);
        found = too_much(&shared.present, shared.start, run.memory_mib)?;
    }
    let mut seen = std::mem::take(&mut *shared.seen());
    seen.wrong.extend(found);
    seen.peak_mib = memory_mib("VmHWM:")?;
    Ok(seen)
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_files(&self, thread: usize, log: &std::fs::File) {
        let end = Duration::from_secs(self.run.seconds);
        let present = &self.present[thread];
        while self.start.elapsed() < end {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.run.count {
                return;
            }
            let _ = log.write_all_at(&number.to_le_bytes(), 0);
            let file = self.target.file(self.run.seed, number);
            present.number.store(number, Ordering::Relaxed);
            let began = self.start.elapsed();
            let since = began.as_millis() as u64 + 1;
            present.since.store(since, Ordering::Release);
            let read = catch_panic(|| (self.target.read)(&file));
            present.since.store(0, Ordering::Release);
            let took = self.start.elapsed().saturating_sub(began);
            note(&mut self.seen(), number, took, read);
        }
    }
}

thread_local! {
    static PLACE: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

/// Runs `read`. The error for a panic starts with the source location of the panic, which
/// distinguishes one kind of panic from another.
fn catch_panic(read: impl FnOnce() -> bool) -> Result<bool, String> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| PLACE.with(|place| place.borrow().clone()))
}

/// Installs a panic hook that keeps the source location and message of each panic for its thread.
fn remember_places() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let payload = panic.payload();
        let text = match payload.downcast_ref::<String>() {
            Some(text) => text.as_str(),
            None => payload.downcast_ref::<&str>().copied().unwrap_or_default(),
        };
        let text: String = text.chars().take(100).collect();
        PLACE.with(|kept| {
            *kept.borrow_mut() = format!("panicked at {}: {text}", place.unwrap_or_default());
        });
    }));
}

fn note(seen: &mut Seen, number: u64, took: Duration, read: Result<bool, String>) {
    seen.files += 1;
    if took > seen.slowest {
        (seen.slowest, seen.slowest_number) = (took, number);
    }
    match read {
        Ok(refused) => seen.refused += u64::from(refused),
        Err(what) => {
            if seen.wrong.len() < KINDS_MAX {
                seen.wrong.entry(what).or_insert(number);
            }
        }
    }
}

/// Returns a file that must end the run, with the reason: one that takes too long or, when the
/// process takes too much memory, the one that has been read the longest.
fn too_much(
    present: &[Present],
    start: Instant,
    memory_max_mib: u64,
) -> Result<Option<(String, u64)>, Error> {
    let now = start.elapsed().as_millis() as u64 + 1;
    let running = present.iter().filter_map(|present| {
        let since = present.since.load(Ordering::Acquire);
        (since > 0).then(|| {
            (
                now.saturating_sub(since),
                present.number.load(Ordering::Relaxed),
            )
        })
    });
    let Some((took, number)) = running.max() else {
        return Ok(None);
    };
    if took > TIME_MAX.as_millis() as u64 {
        return Ok(Some((
            format!("takes more than {} s", TIME_MAX.as_secs()),
            number,
        )));
    }
    if memory_mib("VmRSS:")? > memory_max_mib {
        return Ok(Some((
            format!("takes more than {memory_max_mib} MiB"),
            number,
        )));
    }
    Ok(None)
}

/// Returns the memory of this process in MiB: `VmRSS:` is the present amount, `VmHWM:` the peak.
fn memory_mib(line: &str) -> Result<u64, Error> {
    let status = fs_err::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|found| found.strip_prefix(line));
    let digits = line.and_then(|rest| rest.split_whitespace().next());
    let kib: Option<u64> = digits.and_then(|digits| digits.parse().ok());
    Ok(kib.ok_or(Error::Memory)? / 1024)
}
