//! Responsible for starting rayon's global thread pool, which some libraries use implicitly. rayon
//! panics if it cannot start a thread of the pool.

use std::{error::Error as _, num::NonZeroUsize};

use rayon::ThreadPoolBuilder;

use crate::Error;

/// Starts rayon's global threads before a library does: as many as the system allows, up to one for
/// each core. Later calls do nothing.
///
/// # Errors
/// Returns an error if the system refuses to start even one thread.
pub fn shared() -> Result<(), Error> {
    let wanted = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let count = crate::available(wanted)?;
    match ThreadPoolBuilder::new().num_threads(count).build_global() {
        // Only an error from the system has a source. Otherwise the pool exists already.
        Err(error) if error.source().is_some() => Err(std::io::Error::other(error).into()),
        _ => Ok(()),
    }
}
