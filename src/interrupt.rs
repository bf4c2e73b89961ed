//! Responsible for Ctrl-C and SIGTERM: the first asks every stage to stop, and the scratch directory goes in any case.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// As a shell says of a program that Ctrl-C has ended.
pub(crate) const EXIT_STATUS: u8 = 130;

/// Stages look at the flag at least this often; longer means that one hangs in a call to the system.
const PATIENCE: Duration = Duration::from_secs(10);

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

    /// From now on signals ask to stop instead of killing.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub(crate) fn listen(self: &Arc<Self>) -> anyhow::Result<()> {
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let this = Arc::clone(self);
        std::thread::spawn(move || {
            let mut asked = false;
            for _ in signals.forever() {
                this.flag.store(true, Ordering::Relaxed);
                if asked {
                    this.leave();
                }
                asked = true;
                let this = Arc::clone(&this);
                std::thread::spawn(move || {
                    std::thread::sleep(PATIENCE);
                    this.leave();
                });
            }
        });
        Ok(())
    }

    #[allow(
        clippy::exit,
        reason = "a stage hangs and the user has asked to stop, this is the only way out"
    )]
    fn leave(&self) -> ! {
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
