//! Tests of pulling images from registries that behave and from some that do not, from layouts and
//! from archives.
#![allow(clippy::unwrap_used)]

mod image;
mod local;
mod login;
mod misbehaviour;
mod pull;
mod server;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use condense_base::BaseImage;
use condense_image::Sif;
use condense_oci::Error;
use condense_oci::Reference;
use condense_oci::{self as oci, Access, Cache, Phase, Progress, PullOptions, Pulled, Retry};

/// Returns the contents of a file in a SIF's root file system.
fn content(sif: &Path, path: &str) -> Option<Vec<u8>> {
    let reader = Sif::open(sif).unwrap().reader().unwrap();
    let (_, node) = reader.locate(path).unwrap()?;
    let mut contents = reader.contents(&node).unwrap();
    let mut bytes = Vec::new();
    while let Some(block) = contents.next_block().unwrap() {
        bytes.extend_from_slice(block);
    }
    Some(bytes)
}

/// Directories and options of one test, and the recorded progress.
struct TestDirs {
    scratch: tempfile::TempDir,
    options: PullOptions,
    progress: Arc<RecordedProgress>,
}

#[derive(Default)]
struct RecordedProgress {
    warnings: Mutex<Vec<String>>,
    fetched: AtomicU64,
    expected: AtomicU64,
    cancel: Arc<AtomicBool>,
    /// Number of downloaded bytes at which the pull is cancelled.
    cancel_at: AtomicU64,
}

impl Progress for RecordedProgress {
    fn begin(&self, phase: Phase, bytes: u64) {
        if phase == Phase::Fetch {
            self.expected.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn advance(&self, phase: Phase, bytes: u64) {
        if phase == Phase::Fetch {
            let so_far = self.fetched.fetch_add(bytes, Ordering::Relaxed) + bytes;
            let limit = self.cancel_at.load(Ordering::Relaxed);
            if limit > 0 && so_far >= limit {
                self.cancel.store(true, Ordering::Relaxed);
            }
        }
    }

    fn end(&self, _: Phase) {}

    fn warn(&self, text: String) {
        self.warnings.lock().unwrap().push(text);
    }
}

impl TestDirs {
    fn new() -> TestDirs {
        let scratch = tempfile::tempdir().unwrap();
        for dir in ["spool", "out"] {
            fs_err::create_dir(scratch.path().join(dir)).unwrap();
        }
        let progress = Arc::new(RecordedProgress::default());
        let options = PullOptions {
            access: Access {
                plain_http: true,
                retry: Retry {
                    tries: 3,
                    first_wait: Duration::ZERO,
                    ..Retry::default()
                },
                ..Access::default()
            },
            platform: Some("amd64").and_then(oci::Platform::parse),
            scratch_dir: scratch.path().join("spool"),
            compression: "gzip:1".parse().unwrap(),
            threads: std::num::NonZeroUsize::new(1),
            downloads: std::num::NonZeroUsize::new(2).unwrap(),
            epoch: None,
            cancel: Some(progress.cancel.clone()),
            progress: progress.clone(),
        };
        TestDirs {
            scratch,
            options,
            progress,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn cache(&self) -> Cache {
        Cache::new(self.path("cache"), u64::MAX)
    }

    fn pull(&self, reference: &str, name: &str) -> Result<Pulled, Error> {
        let Reference::Image(source) = Reference::parse(reference)? else {
            panic!("`{reference}` is a path")
        };
        oci::pull(
            &source,
            &self.path("out").join(name),
            &self.cache(),
            &self.options,
        )
    }

    /// Pulls an image that must fail without leaving any file but the cache, and returns the error.
    fn refused(&self, reference: &str) -> Error {
        let error = self.pull(reference, "refused.sif").expect_err(reference);
        for dir in ["out", "spool"] {
            let left = fs_err::read_dir(self.path(dir)).unwrap().count();
            assert_eq!(left, 0, "{reference}: something is left in {dir}");
        }
        error
    }

    /// Returns the paths in a directory of the cache.
    fn cached(&self, dir: &str) -> Vec<PathBuf> {
        let entries = fs_err::read_dir(self.path("cache").join(dir)).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }
}

/// Returns the text of an error with its causes.
fn said(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn assert_says(error: &Error, words: &[&str]) {
    let text = said(error);
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

/// Checks that the file is a SIF that can be used as a base.
fn assert_is_base(path: &Path) {
    BaseImage::open(path).unwrap();
}
