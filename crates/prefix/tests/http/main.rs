//! Tests with channels behind a real HTTP server on loopback. The server asks for credentials, and
//! misbehaves as each test demands.
#![allow(clippy::unwrap_used, clippy::case_sensitive_file_extension_comparisons)]

#[path = "../../../../tests/support/channel.rs"]
mod channel;
mod hostile;
mod index_in_parts;
mod keys;
mod mirrors_proxies;
mod offline;
#[path = "../../../../tests/support/server.rs"]
mod server;
mod trouble;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use channel::{Package, write_channel};
use condense_prefix::{
    Architecture, EnvironmentSpec, Error, Network, NetworkSettings, Phase, Place, Progress, Target,
    Warning, fetch, install, render_lock, solve,
};

/// Listener that records warnings.
#[derive(Default)]
struct Listener {
    said: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Progress for Listener {
    fn begin(&self, _: Phase, _: Option<u64>) {}
    fn advance(&self, _: Phase, _: u64) {}
    fn detail(&self, _: Phase, _: &str) {}
    fn output(&self, _: &str) {}
    fn end(&self, _: Phase, _: Duration) {}
    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
    fn warn(&self, warning: Warning) {
        self.said.lock().unwrap().push(warning.to_string());
    }
}

/// Temporary directory for a build, and its settings.
struct TestDir {
    dir: tempfile::TempDir,
    settings: NetworkSettings,
    listener: Listener,
    packages: String,
}

/// Result of a build.
#[derive(Debug)]
struct Built {
    root: PathBuf,
    lock: String,
}

/// Creates a test directory with short delays, so that failures are fast. Tests that need time
/// change the settings.
fn test_dir() -> TestDir {
    let dir = tempfile::tempdir().unwrap();
    let settings = NetworkSettings {
        backoff: Duration::from_millis(1),
        ..NetworkSettings::new(dir.path().join("cache"))
    };
    TestDir {
        dir,
        settings,
        listener: Listener::default(),
        packages: "tool".to_owned(),
    }
}

impl TestDir {
    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Builds the package of `channel` into a prefix and a lock.
    fn build(&self, channel: &str) -> Result<Built, Error> {
        let text = format!(
            "channels: ['{channel}']\ndependencies: [{}]\n",
            self.packages
        );
        let spec = EnvironmentSpec::parse(&text, Path::new("env.yml"), self.path())?;
        assert!(!spec.text().contains("secret-word"));
        let target = Target {
            architecture: Architecture::X86_64,
            glibc: Some("2.36".to_owned()),
            linux: Some("6.1".to_owned()),
            archspec: None,
            cuda: None,
        };
        let number = std::fs::read_dir(self.path()).unwrap().count();
        let place = Place {
            root: self.path().join(format!("root{number}")),
            mount_point: "/MOUNT_0000000".into(),
            environment: "env".into(),
            packages: self.path().join(format!("packages{number}")),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let network = Network::open(self.settings.clone())?;
        let progress = &self.listener;
        let mut solution =
            runtime.block_on(solve(&spec, &target, &network, self.path(), progress))?;
        let archives = runtime.block_on(fetch(&solution, &network, progress))?;
        install(&spec, &mut solution, &archives, &place, progress)?;
        Ok(Built {
            root: place.root.clone(),
            lock: render_lock(&solution, &spec, None, &[])?,
        })
    }

    /// Lists the names in the cache of archives.
    fn archives(&self) -> Vec<String> {
        let dir = self.settings.cache_dir.join("archives");
        let entries = std::fs::read_dir(dir).unwrap().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn cached(&self) -> PathBuf {
        let names = self.archives();
        assert_eq!(names.len(), 1, "{names:?}");
        self.settings.cache_dir.join("archives").join(&names[0])
    }

    fn said(&self) -> Vec<String> {
        self.listener.said.lock().unwrap().clone()
    }
}

/// Joins the message of an error and those of its causes.
fn whole(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!("\n{error}"));
        cause = error.source();
    }
    text
}

/// Makes a package of random bytes, so that half of its compressed archive is clearly shorter than
/// the whole.
fn noisy(name: &str, seed: u64) -> Package {
    let noise: Vec<u8> = (seed..seed + 200_000)
        .map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8)
        .collect();
    Package::new(name, "1.0")
        .program(&format!("bin/{name}"), "#!/bin/sh\n")
        .file(&format!("share/noise-{name}"), noise)
}

fn channel() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_channel(dir.path(), &[noisy("tool", 0)]);
    dir
}

/// Returns the first file below `dir` that contains this word or has it in its path.
fn holds(dir: &Path, word: &str) -> Option<PathBuf> {
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().contains(word) {
                return Some(path);
            } else if path.is_dir() {
                dirs.push(path);
            } else if std::fs::read(&path)
                .unwrap()
                .windows(word.len())
                .any(|window| window == word.as_bytes())
            {
                return Some(path);
            }
        }
    }
    None
}
