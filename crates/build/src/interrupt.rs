//! Responsible for signals. The first signal that asks to stop sets the cancel flag of all stages.
//! The scratch directory is removed in any case.

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

use crate::processes::end_all;

/// Exit status after any signal that asks to stop. It is the one that a shell gives for a program
/// that Ctrl-C has ended.
pub const EXIT_STATUS: u8 = 130;

/// Signals that would end the process without a message. They come from the user, the terminal, a
/// batch system (`sbatch --signal`), or limits and timers. SIGQUIT is not among them and still ends
/// the process at once.
const REQUESTS: [i32; 10] = [
    SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU, SIGIO,
];
/// Signals of which a second one means "at once". The others may come again by themselves.
const INSISTING: [i32; 2] = [SIGINT, SIGTERM];

/// Time that the stages get to stop. They look at the flag at least this often, so a stage that
/// takes longer hangs in a system call.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks for a second signal while the stages stop.
const POLL: Duration = Duration::from_millis(50);

/// Cancel flag of a run, and the directories and commands of its end.
#[derive(Debug, Default)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
    leftovers: Mutex<Vec<PathBuf>>,
    /// Programs that are run at the end, each with its argument.
    commands: Mutex<Vec<(&'static str, String)>>,
}

impl Interrupt {
    /// Returns the flag that the first signal sets.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    /// Adds a directory that is removed if the stages do not stop by themselves.
    ///
    /// # Panics
    /// Panics if another thread has panicked while it added a directory.
    pub fn remove_on_exit(&self, dir: PathBuf) {
        self.leftovers
            .lock()
            .expect("no thread panics while it holds the list")
            .push(dir);
    }

    /// Adds a command that is run if the stages do not stop by themselves.
    ///
    /// # Panics
    /// Panics if another thread has panicked while it added a command.
    pub fn run_on_exit(&self, program: &'static str, argument: &str) {
        self.commands
            .lock()
            .expect("no thread panics while it holds the list")
            .push((program, argument.to_owned()));
    }

    /// Makes signals ask to stop instead of ending the process. A signal that was ignored when the
    /// program was started stays ignored: `nohup` and shells that start a program in the background
    /// rely on it.
    ///
    /// # Errors
    /// Returns an error if the system refuses the handlers, or a thread for them.
    pub fn listen(self: &Arc<Self>) -> anyhow::Result<()> {
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
        end_all();
        let commands = self.commands.lock().map(|list| list.clone());
        for (program, argument) in commands.unwrap_or_default() {
            let _ = std::process::Command::new(program).arg(argument).output();
        }
        let leftovers = self
            .leftovers
            .lock()
            .map(|list| list.clone())
            .unwrap_or_default();
        for dir in leftovers {
            // A directory that cannot be removed now stays, as after SIGKILL.
            let _ = std::fs::remove_dir_all(dir);
        }
        std::process::exit(EXIT_STATUS.into());
    }
}

/// Makes a write beyond `ulimit -f` fail with an error instead of ending the program. The signal
/// gets a handler and is not ignored, since programs that are started would inherit an ignored
/// signal.
pub fn let_writes_fail() {
    if !ignored().has(SIGXFSZ) {
        // If the handler is refused, the signal ends the program, as it does by default.
        let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    }
}

/// A set of signals, with a bit for each.
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

/// Returns the signals that this process ignores. The set is empty if there is no /proc.
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
