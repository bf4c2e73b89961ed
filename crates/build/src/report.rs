//! Responsible for what a build reports while it works: messages and the progress of its phases.
//!
//! The program implements [`Reporter`]; everything in this crate takes a [`Report`], which also
//! passes on the progress of the other crates.

mod phase;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use condense_check::Finding;
use condense_image::{BlockKeys, Compression, Image, KnownBlocks, PackOptions};
use condense_prefix::{CodeKey, CompiledCode, KeptPackages, NewPackage, StartFiles, Warning};

use crate::{
    ahead::BlockFormat,
    cache::{BlockCache, FileState, Finished},
    plan::BlockCacheSettings,
};
pub use phase::Phase;

/// Importance of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The reason why a run failed.
    Error,
    /// Something unexpected that does not end the run.
    Warning,
    /// A step or a result.
    Info,
    /// Details of a step.
    Debug,
}

/// Receiver of the messages and the progress of a build. It may be called from several threads at
/// the same time.
pub trait Reporter: Send + Sync {
    /// Takes a message, which may have several lines.
    fn message(&self, level: Level, text: &str);

    /// Starts a phase. `total` is the expected amount of work: bytes if [`Phase::is_in_bytes`],
    /// pieces otherwise, or `None` if it is unknown.
    fn begin(&self, phase: Phase, total: Option<u64>);

    /// Adds to the finished amount of work of a phase.
    fn advance(&self, phase: Phase, amount: u64);

    /// Names the piece of work that a phase has started.
    fn detail(&self, phase: Phase, text: &str);

    /// Takes one line that a program of a build step has printed.
    fn output(&self, line: &str);

    /// Shows the work that the running build step is at, beside its bar.
    fn activity(&self, _text: &str) {}

    /// Keeps the output of a failed step in a file. Returns its path, or `None` if it keeps none.
    fn keep_log(&self, _step: &str, _lines: &[&str]) -> Option<PathBuf> {
        None
    }

    /// Ends a phase of the work.
    fn end(&self, phase: Phase);

    /// Returns the seconds of each phase that has ended, on one line.
    fn timing(&self) -> String;

    /// Returns the flag that is set when the user asks to stop.
    fn cancel_flag(&self) -> Arc<AtomicBool>;
}

/// The reporter of one run. Clones share it.
#[derive(Clone)]
pub struct Report {
    reporter: Arc<dyn Reporter>,
    cancelled: Arc<AtomicBool>,
    /// Findings that were reported and did not end the run.
    findings: Arc<Mutex<Vec<Finding>>>,
    /// Caches of blocks that packing uses, and the same opened.
    block_settings: Arc<OnceLock<BlockCacheSettings>>,
    blocks: Arc<OnceLock<Arc<BlockCache>>>,
    /// Images whose blocks are kept when the result is published.
    held: Arc<Mutex<Vec<Finished>>>,
    /// Packages that were unpacked, which are kept with the images.
    new_packages: Arc<Mutex<Vec<NewPackage>>>,
}

/// Unpacked packages of earlier builds, for an image of one format.
pub(crate) struct PackagesFor {
    blocks: Arc<BlockCache>,
    keys: Option<BlockKeys>,
}

impl KeptPackages for PackagesFor {
    fn open(&self, sha256: &[u8; 32]) -> Option<fs_err::File> {
        self.blocks.package(sha256)
    }

    fn remove(&self, sha256: &[u8; 32]) {
        self.blocks.remove_package(sha256);
    }

    fn knows_block(&self, digest: &[u8]) -> bool {
        let keys = self.keys.as_ref();
        keys.is_some_and(|keys| self.blocks.knows_unread(keys, digest))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report").finish_non_exhaustive()
    }
}

impl Report {
    /// Returns the report that passes everything to a reporter.
    pub fn new(reporter: Arc<dyn Reporter>) -> Self {
        let cancelled = reporter.cancel_flag();
        Self {
            reporter,
            cancelled,
            findings: Arc::default(),
            block_settings: Arc::default(),
            blocks: Arc::default(),
            held: Arc::default(),
            new_packages: Arc::default(),
        }
    }

    /// Reports a step or a result.
    pub fn info(&self, text: impl AsRef<str>) {
        self.reporter.message(Level::Info, text.as_ref());
    }

    /// Reports something unexpected that does not end the run.
    pub fn warning(&self, text: impl AsRef<str>) {
        self.reporter.message(Level::Warning, text.as_ref());
    }

    /// Reports a detail of a step.
    pub fn debug(&self, text: impl AsRef<str>) {
        self.reporter.message(Level::Debug, text.as_ref());
    }

    /// Starts a phase, see [`Reporter::begin`].
    pub fn begin(&self, phase: Phase, total: Option<u64>) {
        self.reporter.begin(phase, total);
    }

    /// Adds to the finished amount of work of a phase.
    pub fn advance(&self, phase: Phase, amount: u64) {
        self.reporter.advance(phase, amount);
    }

    /// Ends a phase of the work.
    pub fn end(&self, phase: Phase) {
        self.reporter.end(phase);
    }

    /// Adds findings that do not end the run.
    pub(crate) fn keep_findings(&self, findings: &[Finding]) {
        let mut kept = self
            .findings
            .lock()
            .expect("no thread panics with the list");
        for finding in findings {
            if !kept.contains(finding) {
                kept.push(finding.clone());
            }
        }
    }

    /// Returns the findings so far that did not end the run.
    pub fn findings(&self) -> Vec<Finding> {
        let kept = self.findings.lock();
        kept.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the caches of blocks that packing uses in this run.
    pub fn use_blocks(&self, settings: Option<&BlockCacheSettings>) {
        if let Some(settings) = settings {
            self.block_settings.get_or_init(|| settings.clone());
        }
    }

    /// Returns the caches of blocks of this run, which the first call opens.
    fn blocks(&self) -> Option<&Arc<BlockCache>> {
        let settings = self.block_settings.get()?;
        let open = || Arc::new(BlockCache::open(settings, self));
        Some(self.blocks.get_or_init(open))
    }

    /// Adds the caches of blocks to the options of packing.
    pub fn with_blocks(&self, options: PackOptions) -> PackOptions {
        let blocks = self
            .blocks()
            .filter(|_| options.compression != Compression::None);
        let Some(blocks) = blocks else {
            return options;
        };
        let options = options.with_known(Arc::clone(blocks) as Arc<dyn KnownBlocks>);
        PackOptions {
            record_blocks: true,
            ..options
        }
    }

    /// Holds an image that was read back until [`Self::keep_blocks`].
    pub fn hold_blocks(&self, image: &Image) {
        if self.block_settings.get().is_none() || image.block_format.is_none() {
            return;
        }
        match Finished::open(image) {
            Ok(finished) => self.held().push(finished),
            Err(error) => self.debug(format!("blocks are not kept: {error}")),
        }
    }

    /// Returns the unpacked packages of earlier builds, if packages are kept. `format` is that of
    /// the image, if it is known.
    pub(crate) fn kept_packages(&self, format: Option<BlockFormat>) -> Option<PackagesFor> {
        let blocks = self.blocks().filter(|blocks| blocks.keeps_packages())?;
        let keys = format.and_then(BlockFormat::keys);
        Some(PackagesFor {
            blocks: Arc::clone(blocks),
            keys,
        })
    }

    /// Removes an unpacked package of the user's cache, which is damaged.
    pub(crate) fn remove_damaged(&self, path: &Path) {
        if let Some(blocks) = self.blocks() {
            blocks.remove_damaged(path);
        }
    }

    /// Holds packages that this build has unpacked until [`Self::keep_blocks`].
    pub(crate) fn hold_packages(&self, new: Vec<NewPackage>) {
        let mut held = self
            .new_packages
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        held.extend(new);
    }

    /// Returns the files that a start reads, if an earlier build has kept them. `key` stands for
    /// everything that the start depends on.
    pub(crate) fn known_start(&self, key: &str) -> Option<StartFiles> {
        self.blocks()?.known_start(key)
    }

    /// Keeps the files that a start reads for later builds.
    pub(crate) fn keep_start(&self, key: &str, files: &StartFiles) {
        if let Some(blocks) = self.blocks() {
            blocks.keep_start(key, files);
        }
    }

    /// Returns the SHA-256 digest of a base image whose file has this state, if an earlier build
    /// has kept it.
    pub(crate) fn known_base(&self, state: &FileState) -> Option<String> {
        self.blocks()?.known_base(state)
    }

    /// Keeps the digest of a base image for later builds.
    pub(crate) fn keep_base(&self, state: &FileState, digest: &str) {
        if let Some(blocks) = self.blocks() {
            blocks.keep_base(state, digest);
        }
    }

    /// Returns the byte code that builds keep, unless this run has no caches.
    pub(crate) fn code(&self) -> Option<Arc<dyn CompiledCode>> {
        self.block_settings.get()?;
        Some(Arc::new(self.clone()))
    }

    /// Forgets the images that are held, because another one is packed in their place.
    pub(crate) fn forget_blocks(&self) {
        self.held().clear();
    }

    /// Keeps the blocks of the images and the packages that are held for later builds, and reports
    /// how much of the images earlier builds had compressed. Call it when the result is published:
    /// it never fails, and a full disk or quota then loses nothing but the cache's part.
    pub fn keep_blocks(&self) {
        let held = std::mem::take(&mut *self.held());
        if let Some(blocks) = self.blocks().filter(|_| !held.is_empty()) {
            blocks.keep(&held, self);
        }
        let mut packages = self
            .new_packages
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let packages = std::mem::take(&mut *packages);
        if let Some(blocks) = self.blocks().filter(|_| !packages.is_empty()) {
            blocks.keep_packages(&packages, &self.cancel_flag());
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<Finished>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a report that passes everything to the same reporter, and has no caches of blocks.
    pub(crate) fn without_blocks(&self) -> Report {
        Report {
            block_settings: Arc::default(),
            blocks: Arc::default(),
            held: Arc::default(),
            new_packages: Arc::default(),
            ..self.clone()
        }
    }

    /// Returns the seconds of each phase that has ended, on one line.
    pub fn timing(&self) -> String {
        self.reporter.timing()
    }

    /// Returns whether the user has asked to stop.
    pub fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Returns the flag that is set when the user asks to stop.
    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancelled)
    }

    /// Reports a warning of the prefix crate. Notices are information.
    pub fn warn_of(&self, warning: &Warning) {
        match warning {
            Warning::Message { .. } | Warning::Notice(_) => self.info(warning.to_string()),
            _ => self.warning(warning.to_string()),
        }
    }
}

impl condense_prefix::Progress for Report {
    fn begin(&self, stage: condense_prefix::Phase, total: Option<u64>) {
        self.reporter.begin(Phase::Prefix(stage), total);
    }

    fn advance(&self, stage: condense_prefix::Phase, amount: u64) {
        self.reporter.advance(Phase::Prefix(stage), amount);
    }

    fn detail(&self, stage: condense_prefix::Phase, text: &str) {
        self.reporter.detail(Phase::Prefix(stage), text);
    }

    fn output(&self, line: &str) {
        self.reporter.output(line);
    }

    fn activity(&self, text: &str) {
        self.reporter.activity(text);
    }

    fn keep_log(&self, step: &str, lines: &[&str]) -> Option<PathBuf> {
        self.reporter.keep_log(step, lines)
    }

    fn end(&self, stage: condense_prefix::Phase, _took: Duration) {
        self.reporter.end(Phase::Prefix(stage));
    }

    fn cancelled(&self) -> bool {
        self.cancelled()
    }

    fn warn(&self, warning: Warning) {
        self.warn_of(&warning);
    }
}

impl CompiledCode for Report {
    fn find(&self, keys: &[CodeKey]) -> Vec<Option<Vec<u8>>> {
        let found = self.blocks().map(|blocks| blocks.known_code(keys));
        let found = found.unwrap_or_default();
        let known = found.iter().flatten().count();
        if known > 0 {
            let all = keys.len();
            self.debug(format!(
                "earlier builds have compiled {known} of {all} batches of sources"
            ));
        }
        found
    }

    fn keep(&self, entries: &[(CodeKey, Vec<u8>)]) {
        if let Some(blocks) = self.blocks() {
            blocks.keep_code(entries);
        }
    }
}

impl condense_oci::Progress for Report {
    fn begin(&self, stage: condense_oci::Phase, bytes: u64) {
        self.reporter.begin(Phase::Pull(stage), Some(bytes));
    }

    fn advance(&self, stage: condense_oci::Phase, bytes: u64) {
        self.reporter.advance(Phase::Pull(stage), bytes);
    }

    fn end(&self, stage: condense_oci::Phase) {
        self.reporter.end(Phase::Pull(stage));
    }

    fn warn(&self, text: String) {
        self.warning(text);
    }
}

impl condense_image::Progress for Report {
    fn packed(&self, bytes: u64) {
        self.reporter.advance(Phase::Pack, bytes);
    }
}

#[cfg(test)]
impl Report {
    /// Returns a report that drops everything.
    pub(crate) fn silent() -> Self {
        Self::with_flag(Arc::default())
    }

    /// Returns a report that drops everything and has a flag for cancellation.
    pub(crate) fn with_flag(cancelled: Arc<AtomicBool>) -> Self {
        Self::heard_with(cancelled).0
    }

    /// Returns a report, and the messages to the user that it receives.
    pub(crate) fn heard() -> (Self, Arc<Mutex<Vec<String>>>) {
        Self::heard_with(Arc::default())
    }

    fn heard_with(cancelled: Arc<AtomicBool>) -> (Self, Arc<Mutex<Vec<String>>>) {
        struct Heard(Arc<AtomicBool>, Arc<Mutex<Vec<String>>>);
        impl Reporter for Heard {
            fn message(&self, level: Level, text: &str) {
                if level != Level::Debug {
                    let mut said = self.1.lock().unwrap_or_else(PoisonError::into_inner);
                    said.push(text.to_owned());
                }
            }
            fn begin(&self, _phase: Phase, _total: Option<u64>) {}
            fn advance(&self, _phase: Phase, _amount: u64) {}
            fn detail(&self, _phase: Phase, _text: &str) {}
            fn output(&self, _line: &str) {}
            fn end(&self, _phase: Phase) {}
            fn timing(&self) -> String {
                String::new()
            }
            fn cancel_flag(&self) -> Arc<AtomicBool> {
                Arc::clone(&self.0)
            }
        }
        let said = Arc::default();
        let report = Self::new(Arc::new(Heard(cancelled, Arc::clone(&said))));
        (report, said)
    }
}
