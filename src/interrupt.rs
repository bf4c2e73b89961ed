//! Responsible for signals: the first that asks to stop asks every stage, and the scratch directory
//! goes in any case.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{
        SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU,
        SIGXFSZ,
    },
    iterator::Signals,
};

use crate::pipeline;

/// As a shell says of a program that Ctrl-C has ended; whatever signal it was.
pub(crate) const EXIT_STATUS: u8 = 130;

/// All that would end the process without a word: the user's, the terminal's, a batch system's
/// (`sbatch --signal`), and those of limits and timers. SIGQUIT still ends it at once.
const REQUESTS: [i32; 10] = [
    SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU, SIGIO,
];
/// Those of which a second one means "at once"; others come again by themselves.
const INSISTING: [i32; 2] = [SIGINT, SIGTERM];

/// Stages look at the flag at least this often; longer means that one hangs in a call to the
/// system.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often somebody who waits for the stages looks whether the user insists.
const POLL: Duration = Duration::from_millis(50);

/// Whether to stop, and what must not stay behind.
#[derive(Debug, Default)]
pub(crate) struct Interrupt {
    flag: Arc<AtomicBool>,
    leftovers: Mutex<Vec<PathBuf>>,
}

impl Interrupt {
    /// Set by the first signal.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    /// A directory that is removed when stages do not stop by themselves.
    pub(crate) fn remove_on_exit(&self, dir: PathBuf) {
        self.leftovers
            .lock()
            .expect("no thread panics while it holds the list")
            .push(dir);
    }

    /// From now on signals ask to stop instead of killing. What was ignored when the program was started stays so:
    /// `nohup` and shells that start something in the background mean it.
    ///
    /// # Errors
    /// When the system refuses the handlers, or a thread for them.
    pub(crate) fn listen(self: &Arc<Self>) -> anyhow::Result<()> {
        let ignored = ignored();
        let heard = REQUESTS.iter().filter(|signal| !ignored.has(**signal));
        let mut signals = Signals::new(heard)?;
        let this = Arc::clone(self);
        condense_threads::spawn(move || {
            if signals.forever().next().is_some() {
                this.flag.store(true, Ordering::Relaxed);
                let until = Instant::now() + PATIENCE;
                while Instant::now() < until
                    && !signals.pending().any(|signal| INSISTING.contains(&signal))
                {
                    std::thread::sleep(POLL);
                }
                this.leave();
            }
        })?;
        Ok(())
    }

    #[allow(
        clippy::exit,
        reason = "a stage hangs and the user has asked to stop, this is the only way out"
    )]
    fn leave(&self) -> ! {
        pipeline::end_all();
        let leftovers = self
            .leftovers
            .lock()
            .map(|list| list.clone())
            .unwrap_or_default();
        for dir in leftovers {
            // What cannot be removed now stays, as after SIGKILL; the README says so.
            let _ = std::fs::remove_dir_all(dir);
        }
        std::process::exit(EXIT_STATUS.into());
    }
}

/// From now on a file that grows over `ulimit -f` is an error of the write, not the end of the
/// program. It is a handler and not "ignored", which programs that are started would inherit.
pub(crate) fn let_writes_fail() {
    if !ignored().has(SIGXFSZ) {
        // Without it the signal ends the program, as ever.
        let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    }
}

/// Signals, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Set(u64);

impl Set {
    fn has(self, signal: i32) -> bool {
        u32::try_from(signal - 1)
            .ok()
            .and_then(|bit| 1_u64.checked_shl(bit))
            .is_some_and(|bit| self.0 & bit != 0)
    }
}

/// What this process ignores; nothing where there is no /proc.
fn ignored() -> Set {
    parse_ignored(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn parse_ignored(status: &str) -> Set {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    Set(mask.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_kernel_s_mask() {
        let of_nohup = parse_ignored("Name:\tx\nSigBlk:\t0000\nSigIgn:\t0000000000001001\n");
        assert!(of_nohup.has(SIGHUP) && !of_nohup.has(SIGINT) && !of_nohup.has(SIGXFSZ));
        assert_eq!(parse_ignored("Name:\tx\n"), Set(0));
        assert!(!Set(u64::MAX).has(0) && Set(u64::MAX).has(64) && !Set(u64::MAX).has(65));
    }
}
