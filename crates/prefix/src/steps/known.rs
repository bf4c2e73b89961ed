//! Responsible for byte code that earlier builds have compiled: it is taken from them, and kept for
//! later ones.

use std::{
    io::Read,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use condense_within::Within;

use super::{
    BuildSteps,
    batches::{Batch, CodeKey, StandIn, batches, key},
    feed::{BYTECODE_MAX, Compiled},
    runner::CompiledCode,
};
use crate::{error::Error, progress::Progress};

/// Level of the compression of entries: byte code has a third of its size then, at the speed of a
/// disk.
const LEVEL: i32 = 1;
/// Maximum number of threads.
const WORKERS_MAX: usize = 8;

impl BuildSteps {
    /// Puts the sources into batches, and takes the byte code of those that earlier builds have
    /// compiled. Returns the batches that are left.
    pub(super) fn take_known(
        &mut self,
        env_dir: &Within,
        to_compile: &[PathBuf],
        progress: &dyn Progress,
    ) -> Result<Vec<Batch>, Error> {
        let mut batches = batches(to_compile);
        let (Some(code), Some(interpreter), Some(held), Some(python)) = (
            &self.code,
            &self.interpreter_digest,
            &mut self.held,
            &self.prefix.python,
        ) else {
            return Ok(batches);
        };
        let stand_in = StandIn::of(&self.prefix.place.mounted_env(), &self.patched);
        let key_of = |batch: &Batch| key(interpreter, &stand_in, batch, held, env_dir);
        let keys = in_parallel(&batches, &key_of)?;
        for (batch, key) in batches.iter_mut().zip(&keys) {
            batch.key = Some(*key);
        }
        let mut known = code.find(&keys).into_iter();
        let batches: Vec<_> = batches
            .into_iter()
            .map(|batch| (batch, known.next().flatten()))
            .collect();
        let read = |(batch, entry): &(Batch, Option<Vec<u8>>)| {
            let Some(bytes) = entry.as_ref().and_then(|entry| unpacked(entry)) else {
                return Ok(None);
            };
            if progress.cancelled() {
                return Err(Error::Interrupted);
            }
            let Some(mut compiled) = Compiled::parse(&bytes, batch, python) else {
                return Ok(None);
            };
            compiled.restore(&stand_in, python, held, env_dir)?;
            Ok(compiled.is_whole.then_some(compiled))
        };
        let taken = in_parallel(&batches, &read)?;
        let mut rest = Vec::new();
        for ((batch, _), compiled) in batches.into_iter().zip(taken) {
            match compiled {
                Some(compiled) => compiled.insert(held, env_dir)?,
                None => rest.push(batch),
            }
        }
        Ok(rest)
    }
}

/// Keeps byte code of whole batches for later builds.
pub(super) fn keep(code: &dyn CompiledCode, whole: &[(CodeKey, Vec<u8>)]) -> Result<(), Error> {
    let packed = in_parallel(whole, &|(key, bytes)| {
        let packed = zstd::bulk::compress(bytes, LEVEL);
        Ok(packed.ok().map(|packed| (*key, packed)))
    })?;
    let entries: Vec<_> = packed.into_iter().flatten().collect();
    if !entries.is_empty() {
        code.keep(&entries);
    }
    Ok(())
}

/// Decompresses an entry. Returns `None` if it is not one.
fn unpacked(entry: &[u8]) -> Option<Vec<u8>> {
    let decoder = zstd::stream::read::Decoder::with_buffer(entry).ok()?;
    let mut bytes = Vec::new();
    let read = decoder
        .take(BYTECODE_MAX as u64 + 1)
        .read_to_end(&mut bytes);
    (read.is_ok() && bytes.len() <= BYTECODE_MAX).then_some(bytes)
}

/// Calls `work` for all items, in several threads. Returns the results in the order of the items.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: &(dyn Fn(&T) -> Result<R, Error> + Sync),
) -> Result<Vec<R>, Error> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let worker = || {
        while let Some((number, item)) = {
            let number = next.fetch_add(1, Ordering::Relaxed);
            items.get(number).map(|item| (number, item))
        } {
            let result = work(item);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((number, result));
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    condense_threads::all(workers.min(WORKERS_MAX), worker);
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}
