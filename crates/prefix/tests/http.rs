//! Channels behind a real HTTP server on loopback, which asks for a password and misbehaves where it is told to.
#![allow(clippy::unwrap_used, clippy::case_sensitive_file_extension_comparisons)]

#[path = "../../../tests/support/channel.rs"]
mod channel;
#[path = "../../../tests/support/server.rs"]
mod server;

use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Duration,
};

use channel::{Package, write_channel};
use condense_prefix::{
    Architecture, EnvironmentSpec, Error, Network, Place, Progress, Stage, Target, Warning, fetch,
    install, render_lock, solve,
};
use server::{Mood, Server, serve};

struct Silent;

impl Progress for Silent {
    fn begin(&self, _: Stage, _: Option<u64>) {}
    fn advance(&self, _: Stage, _: u64) {}
    fn detail(&self, _: Stage, _: &str) {}
    fn output(&self, _: &str) {}
    fn end(&self, _: Stage, _: Duration) {}
    fn cancelled(&self) -> bool {
        false
    }
    fn warn(&self, _: Warning) {}
}

fn build(server: &Server, dir: &Path) -> Result<(PathBuf, String), Error> {
    let text = format!("channels: ['{}']\ndependencies: [tool]\n", server.url);
    let spec = EnvironmentSpec::parse(&text, Path::new("env.yml"), dir)?;
    assert!(!spec.text().contains("secret-word"));
    let target = Target {
        architecture: Architecture::X86_64,
        glibc: Some("2.36".to_owned()),
        linux: Some("6.1".to_owned()),
        archspec: None,
        cuda: None,
    };
    let number = std::fs::read_dir(dir).unwrap().count();
    let place = Place {
        root: dir.join(format!("root{number}")),
        mount_point: "/MOUNT_0000000".into(),
        environment: "env".into(),
        packages: dir.join(format!("packages{number}")),
    };
    let network = Network {
        cache_dir: dir.join("cache"),
        concurrent_downloads: 4,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut solution = runtime.block_on(solve(&spec, &target, &network, dir, &Silent))?;
    let archives = runtime.block_on(fetch(&solution, &network, &Silent))?;
    install(&spec, &mut solution, &archives, &place, &Silent)?;
    Ok((place.root.clone(), render_lock(&solution)?))
}

fn channel() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    // Noise, so that half of an archive is really not the whole.
    let noise: Vec<u8> = (0..200_000_u64)
        .map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8)
        .collect();
    write_channel(
        dir.path(),
        &[Package::new("tool", "1.0")
            .program("bin/tool", "#!/bin/sh\n")
            .file("share/noise", noise)],
    );
    dir
}

fn holds(dir: &Path, word: &str) -> Option<PathBuf> {
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
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

#[test]
fn a_password_opens_the_channel_and_stays_behind() {
    let (channel, work) = (channel(), tempfile::tempdir().unwrap());
    let server = serve(channel.path(), Mood::Good);
    let (root, lock) = build(&server, work.path()).unwrap();
    assert!(root.join("env/bin/tool").exists());
    assert_eq!(holds(&root, "secret-word"), None);
    assert!(
        !lock.contains("secret-word") && lock.contains("http://127.0.0.1"),
        "{lock}"
    );
}

#[test]
fn what_is_cached_is_not_asked_for_again() {
    let (channel, work) = (channel(), tempfile::tempdir().unwrap());
    let server = serve(channel.path(), Mood::Good);
    build(&server, work.path()).unwrap();
    build(&server, work.path()).unwrap();
    assert_eq!(server.archives_asked.load(Ordering::SeqCst), 1);
    let cached: Vec<_> = std::fs::read_dir(work.path().join("cache/archives"))
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(cached.len(), 1, "{cached:?}");
}

#[test]
fn a_damaged_archive_in_the_cache_is_noticed() {
    let (channel, work) = (channel(), tempfile::tempdir().unwrap());
    let server = serve(channel.path(), Mood::Good);
    build(&server, work.path()).unwrap();
    let cached = std::fs::read_dir(work.path().join("cache/archives"))
        .unwrap()
        .flatten()
        .next()
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&cached).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&cached, bytes).unwrap();
    let error = build(&server, work.path()).unwrap_err();
    assert!(
        matches!(&error, Error::Damaged { problem, .. } if problem.contains("hash mismatch")),
        "{error}"
    );
    // It is gone from the cache, so that the next build fetches it anew.
    build(&server, work.path()).unwrap();
}

#[test]
fn a_busy_server_and_a_broken_stream_are_tried_again() {
    for mood in [Mood::BusyAtFirst, Mood::BreaksAtFirst] {
        let (channel, work) = (channel(), tempfile::tempdir().unwrap());
        let server = serve(channel.path(), mood);
        build(&server, work.path()).unwrap();
        assert!(server.archives_asked.load(Ordering::SeqCst) >= 2);
    }
}

#[test]
fn what_cannot_be_had_is_named_without_the_password() {
    for mood in [Mood::Missing, Mood::AlwaysBreaks] {
        let (channel, work) = (channel(), tempfile::tempdir().unwrap());
        let server = serve(channel.path(), mood);
        let error = build(&server, work.path()).unwrap_err();
        let text = format!(
            "{error} {:?}",
            std::error::Error::source(&error).map(ToString::to_string)
        );
        assert!(matches!(error, Error::Download { .. }), "{text}");
        assert!(
            text.contains("tool-1.0-0.conda") && !text.contains("secret-word"),
            "{text}"
        );
        let left: Vec<_> = std::fs::read_dir(work.path().join("cache/archives"))
            .unwrap()
            .flatten()
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_wrong_password_is_an_error_that_names_the_channel() {
    let (channel, work) = (channel(), tempfile::tempdir().unwrap());
    let mut server = serve(channel.path(), Mood::Good);
    server.url = server.url.replace("secret-word", "guessed-word");
    let error = build(&server, work.path()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Channel { .. }), "{text}");
    assert!(
        text.contains("127.0.0.1") && !text.contains("guessed-word"),
        "{text}"
    );
}
