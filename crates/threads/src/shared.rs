//! Responsible for rayon's own threads, which libraries use without asking: rayon breaks down where
//! it gets none.

use std::{error::Error as _, num::NonZeroUsize};

use rayon::ThreadPoolBuilder;

use crate::Error;

/// Starts rayon's threads before a library does: as many as there can be, up to one for each core.
/// Later calls do nothing.
///
/// # Errors
/// When there is not even one.
pub fn shared() -> Result<(), Error> {
    let wanted = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let count = crate::available(wanted)?;
    match ThreadPoolBuilder::new().num_threads(count).build_global() {
        // Only a refusal by the system has a cause; otherwise they are there already.
        Err(error) if error.source().is_some() => Err(std::io::Error::other(error).into()),
        _ => Ok(()),
    }
}
