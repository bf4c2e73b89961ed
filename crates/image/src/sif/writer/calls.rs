//! Responsible for the calls that change a file. Each call may fail, and tests choose the call that
//! fails.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Returns an error if a test has planned a failure of the current call.
#[allow(clippy::unnecessary_wraps, reason = "only tests have it fail")]
pub(super) fn check() -> io::Result<()> {
    #[cfg(test)]
    faults::meet()?;
    Ok(())
}

pub(super) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    #[cfg(test)]
    if let Err(error) = faults::meet() {
        // Half of the bytes are written, as on a disk that becomes full.
        file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
        return Err(error);
    }
    file.write_all_at(bytes, offset)
}

pub(super) fn set_len(file: &File, len: u64) -> io::Result<()> {
    check()?;
    file.set_len(len)
}

pub(super) fn sync(file: &File) -> io::Result<()> {
    check()?;
    file.sync_data()
}

#[cfg(test)]
pub(super) mod faults {
    use std::cell::Cell;
    use std::io;

    /// Plan of the calls of a thread that fail.
    #[derive(Clone, Copy, Default)]
    struct Plan {
        calls_before: u32,
        all_that_follow: bool,
        met: bool,
    }

    thread_local! {
        static PLAN: Cell<Option<Plan>> = const { Cell::new(None) };
    }

    /// Plans a failure of the call that this thread makes after `calls_before` other calls. With
    /// `all_that_follow`, all later calls fail too.
    pub(in super::super) fn begin(calls_before: u32, all_that_follow: bool) {
        PLAN.set(Some(Plan {
            calls_before,
            all_that_follow,
            met: false,
        }));
    }

    /// Ends the plan, so that no further call fails. Returns whether any call has failed.
    pub(in super::super) fn end() -> bool {
        PLAN.take().is_some_and(|plan| plan.met)
    }

    pub(super) fn meet() -> io::Result<()> {
        let Some(mut plan) = PLAN.get() else {
            return Ok(());
        };
        let fails = plan.calls_before == 0 && (plan.all_that_follow || !plan.met);
        plan.met |= fails;
        plan.calls_before = plan.calls_before.saturating_sub(1);
        PLAN.set(Some(plan));
        if fails {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}
