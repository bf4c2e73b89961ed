//! Responsible for byte code that earlier builds have compiled: it is taken from them, and kept for
//! later ones.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    ffi::OsString,
    io::Read,
    path::PathBuf,
};

use condense_within::Within;
use sha2::{Digest, Sha256};

use super::{
    BuildSteps,
    batches::{Batch, CodeKey, StandIn, batches, key},
    feed::{BYTECODE_MAX, Compiled},
    runner::{CompiledCode, StepRunner},
};
use crate::{error::Error, progress::Progress};

/// Level of the compression of entries: byte code has a third of its size then, at the speed of a
/// disk.
const LEVEL: i32 = 1;
/// Name of the step in which the interpreter compiles.
pub(super) const STEP: &str = "compiling Python files";
/// Maximum number of threads.
const WORKERS_MAX: usize = 8;

impl BuildSteps {
    /// Puts the sources of packages, and those that pip has added to them, into batches, and takes
    /// the byte code of those that earlier builds have compiled. Returns the batches that are left.
    pub(super) fn take_known(
        &mut self,
        env_dir: &Within,
        to_compile: [&[PathBuf]; 2],
        progress: &dyn Progress,
    ) -> Result<Vec<Batch>, Error> {
        let mut batches = to_compile.map(batches).concat();
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

/// Keeps byte code of whole batches for later builds, if it is as the interpreter has written it:
/// activation scripts of packages run in the same container, and must change no other environment.
pub(super) fn keep(
    code: &dyn CompiledCode,
    whole: &[Whole],
    digests: &Digests,
) -> Result<(), Error> {
    let digests = &*digests.told.borrow();
    let packed = in_parallel(whole, &|one: &Whole| {
        let told = digests.get(&one.number);
        let is_own = told.is_some_and(|told| *told == hex::encode(Sha256::digest(&one.bytes)));
        let packed = is_own.then(|| zstd::bulk::compress(&one.bytes, LEVEL).ok());
        Ok(packed.flatten().map(|packed| (one.key, packed)))
    })?;
    let entries: Vec<_> = packed.into_iter().flatten().collect();
    if !entries.is_empty() {
        code.keep(&entries);
    }
    Ok(())
}

/// Byte code of a whole batch.
pub(super) struct Whole {
    /// Number of the batch in the run.
    pub(super) number: usize,
    pub(super) key: CodeKey,
    pub(super) bytes: Vec<u8>,
}

/// Digests of byte code, as the interpreter has told them before anything else could run.
#[derive(Debug, Default)]
pub(super) struct Digests {
    /// Digests by the number of the batch.
    told: RefCell<HashMap<usize, String>>,
    /// Whether the interpreter has begun, and whether something else runs since.
    state: Cell<(bool, bool)>,
}

impl Digests {
    /// Takes a line of the output of the steps. Returns false if it is none with a digest.
    pub(super) fn hear(&self, line: &str) -> bool {
        let (has_begun, is_over) = self.state.get();
        if let Some(step) = line.strip_prefix("::condense-step ") {
            self.state
                .set((has_begun || step == STEP, is_over || has_begun));
        }
        let Some(rest) = line.strip_prefix("::condense-code ") else {
            return false;
        };
        if let (true, Some((number, digest))) = (has_begun && !is_over, rest.split_once(' '))
            && let Ok(number) = number.parse()
        {
            let mut told = self.told.borrow_mut();
            told.entry(number).or_insert_with(|| digest.to_owned());
        }
        true
    }
}

/// Container whose steps tell the digests of byte code.
pub(super) struct Telling<'a> {
    pub(super) runner: &'a dyn StepRunner,
    pub(super) digests: &'a Digests,
}

impl StepRunner for Telling<'_> {
    fn run(
        &self,
        argv: &[OsString],
        line: &mut dyn FnMut(&str),
    ) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
        self.runner.run(argv, &mut |text| {
            if !self.digests.hear(text) {
                line(text);
            }
        })
    }
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
    condense_threads::try_map(condense_threads::cores(WORKERS_MAX), items, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Activation scripts run behind the interpreter, and can print anything.
    #[test]
    fn only_the_interpreter_tells_digests() {
        let digests = Digests::default();
        let step = format!("::condense-step {STEP}");
        for (line, is_one) in [
            ("::condense-code 0 before", true),
            (&step, false),
            ("::condense-code 1 own", true),
            ("::condense-code 1 second", true),
            ("::condense-code x", true),
            ("a line", false),
            ("::condense-step capturing the activation", false),
            ("::condense-code 2 forged", true),
            (&step, false),
            ("::condense-code 3 forged", true),
            ("::condense-code 1 forged", true),
        ] {
            assert_eq!(digests.hear(line), is_one, "{line}");
        }
        let told = digests.told.into_inner();
        assert_eq!(told, HashMap::from([(1, "own".to_owned())]));
    }
}
