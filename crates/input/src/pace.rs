//! Responsible for detecting transfers that never end because a few bytes keep arriving.

use std::time::Duration;

/// The rate in bytes per second below which a transfer counts as stalled. A modem of 1990 was three
/// times as fast.
const SLOWEST: u64 = 512;

/// A measurement of how fast data arrives. Only the time spent waiting for data counts, so a slow
/// reader does not make the sender look slow.
#[derive(Debug, Clone)]
pub struct Pace {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

/// The error for a transfer that is so slow that it counts as stalled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it sends less than {least} bytes in {} s", window.as_secs_f32())]
pub struct TooSlow {
    least: u64,
    window: Duration,
}

impl Pace {
    /// Measures each period of length `window` separately. A sender may be slow for that long
    /// before the transfer is given up.
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// Counts `bytes` that arrived after a wait of `waited`.
    ///
    /// # Errors
    /// Returns [`TooSlow`] if a window has ended with less than 512 bytes per second.
    pub fn count(&mut self, waited: Duration, bytes: usize) -> Result<(), TooSlow> {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < self.window {
            return Ok(());
        }
        let waited = u64::try_from(self.waited.as_millis()).unwrap_or(u64::MAX);
        let least = SLOWEST.saturating_mul(waited) / 1000;
        if self.bytes < least {
            return Err(TooSlow {
                least,
                window: self.waited,
            });
        }
        self.waited = Duration::ZERO;
        self.bytes = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use std::time::Duration;

    #[test]
    fn a_stalled_transfer_is_distinguished_from_a_slow_one() {
        for (bytes_a_second, ends) in [(1, true), (511, true), (512, false), (100_000, false)] {
            let mut pace = Pace::new(Duration::from_mins(1));
            let hour = (0..3600).map(|_| pace.count(Duration::from_secs(1), bytes_a_second));
            let ended = hour.take_while(Result::is_ok).count();
            assert_eq!(ended == 59, ends, "{bytes_a_second}: {ended}");
        }
    }

    #[test]
    fn bytes_that_were_not_waited_for_are_never_too_slow() {
        let mut pace = Pace::new(Duration::from_secs(1));
        for _ in 0..100_000 {
            pace.count(Duration::ZERO, 1).expect("nobody waited");
        }
    }
}
