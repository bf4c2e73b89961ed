//! Responsible for the calls that change a file. Each of them may fail, and tests choose which one
//! does.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Returns an error if a test wants the present call to fail.
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

    /// The plan that says which calls of a thread fail.
    #[derive(Clone, Copy, Default)]
    struct Plan {
        calls_before: u32,
        all_that_follow: bool,
        met: bool,
    }

    thread_local! {
        static PLAN: Cell<Option<Plan>> = const { Cell::new(None) };
    }

    /// Makes the call fail that this thread makes after `calls_before` others. With
    /// `all_that_follow`, all later calls fail too.
    pub(in super::super) fn begin(calls_before: u32, all_that_follow: bool) {
        PLAN.set(Some(Plan {
            calls_before,
            all_that_follow,
            met: false,
        }));
    }

    /// Makes no further call fail. Returns whether any call has failed.
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
