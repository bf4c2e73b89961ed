//! Tests of servers that are busy, break off, fall silent, send wrong data, or never finish.

use std::{sync::atomic::Ordering, time::Duration};

use condense_prefix::Error;

use crate::{
    channel, noisy,
    server::{Act, Door, Request, Server, serve},
    test_dir, whole, write_channel,
};

/// Starts a server whose archives fail as `script` says.
fn with_archives(
    channel: &tempfile::TempDir,
    script: impl Fn(&Request, usize) -> Act + Send + Sync + 'static,
) -> Server {
    serve(channel.path(), Door::Password, move |request, earlier| {
        if request.is_archive() {
            script(request, earlier)
        } else {
            Act::Serve
        }
    })
}

fn starts(server: &Server) -> Vec<Option<usize>> {
    server
        .archive_requests()
        .iter()
        .map(Request::start)
        .collect()
}

#[test]
fn what_is_cached_is_not_asked_for_again() {
    let (channel, test_dir) = (channel(), test_dir());
    let server = with_archives(&channel, |_, _| Act::Serve);
    test_dir.build(&server.url()).unwrap();
    test_dir.build(&server.url()).unwrap();
    assert_eq!(server.archive_requests().len(), 1);
    assert_eq!(test_dir.archives().len(), 1);
}

#[test]
fn a_damaged_archive_in_the_cache_is_noticed() {
    let (channel, test_dir) = (channel(), test_dir());
    let server = with_archives(&channel, |_, _| Act::Serve);
    test_dir.build(&server.url()).unwrap();
    let cached = test_dir.cached();
    let mut bytes = std::fs::read(&cached).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&cached, bytes).unwrap();
    let error = test_dir.build(&server.url()).unwrap_err();
    assert!(
        matches!(&error, Error::Damaged { problem, .. } if problem.contains("hash mismatch")),
        "{error}"
    );
    // The archive was removed from the cache, so the next build downloads it again.
    test_dir.build(&server.url()).unwrap();
}

#[test]
fn a_busy_server_is_asked_again() {
    for status in [503, 500, 429, 408] {
        let (channel, test_dir) = (channel(), test_dir());
        let server = with_archives(&channel, move |_, earlier| match earlier {
            0 | 1 => Act::Say(status, String::new()),
            _ => Act::Serve,
        });
        test_dir.build(&server.url()).unwrap();
        assert_eq!(server.archive_requests().len(), 3);
        let said = test_dir.said();
        assert!(
            said[0].contains(&status.to_string()) && said[0].contains("1 of 3"),
            "{said:?}"
        );
        assert!(!said.concat().contains("secret-word"), "{said:?}");
    }
}

#[test]
fn the_retry_time_of_a_server_is_respected() {
    // A server with a limit on requests is also asked again, if it names a time.
    for status in [503, 403] {
        let (channel, mut test_dir) = (channel(), test_dir());
        // The client's own delay would be far too long for the test.
        test_dir.settings.backoff = Duration::from_hours(1);
        let server = with_archives(&channel, move |_, earlier| match earlier {
            0 => Act::Say(status, "Retry-After: 0\r\n".to_owned()),
            _ => Act::Serve,
        });
        test_dir.build(&server.url()).unwrap();
        assert_eq!(server.archive_requests().len(), 2);
    }
}

#[test]
fn what_is_not_there_is_not_asked_for_again() {
    for status in [404, 403, 410] {
        let (channel, test_dir) = (channel(), test_dir());
        let server = with_archives(&channel, move |_, _| Act::Say(status, String::new()));
        let error = test_dir.build(&server.url()).unwrap_err();
        let text = whole(&error);
        assert!(matches!(error, Error::Download { .. }), "{text}");
        assert!(text.contains("tool-1.0-0.conda"), "{text}");
        assert!(text.contains(&status.to_string()), "{text}");
        assert!(!text.contains("secret-word"), "{text}");
        assert_eq!(server.archive_requests().len(), 1);
        assert_eq!(test_dir.archives(), [] as [&str; 0]);
    }
}

#[test]
fn a_server_that_stays_busy_is_given_up() {
    let (channel, test_dir) = (channel(), test_dir());
    let server = with_archives(&channel, |_, _| Act::Say(503, String::new()));
    let error = test_dir.build(&server.url()).unwrap_err();
    let text = whole(&error);
    assert!(matches!(error, Error::Download { .. }), "{text}");
    assert!(text.contains("503"), "{text}");
    assert_eq!(server.archive_requests().len(), 4);
}

#[test]
fn a_broken_stream_goes_on_where_it_broke() {
    let (channel, test_dir) = (channel(), test_dir());
    let server = with_archives(&channel, |_, earlier| match earlier {
        0..=5 => Act::Half,
        _ => Act::Serve,
    });
    test_dir.build(&server.url()).unwrap();
    // There are more attempts than the limit of three, because each one received some data.
    let starts = starts(&server);
    assert_eq!(starts.len(), 7, "{starts:?}");
    assert!(starts.is_sorted() && starts[0].is_none(), "{starts:?}");
    assert!(starts[1..].iter().all(Option::is_some), "{starts:?}");
}

#[test]
fn a_server_without_ranges_starts_anew_and_is_given_up_in_the_end() {
    let (first, last) = (test_dir(), test_dir());
    let channel = channel();
    let server = with_archives(&channel, |_, earlier| match earlier {
        0 => Act::Half,
        _ => Act::ServeWhole,
    });
    first.build(&server.url()).unwrap();
    assert_eq!(server.archive_requests().len(), 2);

    let server = serve(channel.path(), Door::Open, |request, _| {
        // The answer has no range, whatever the request contained.
        if request.is_archive() && request.start().is_none() {
            Act::Half
        } else if request.is_archive() {
            Act::Say(200, String::new())
        } else {
            Act::Serve
        }
    });
    let error = last.build(&server.url()).unwrap_err();
    assert!(
        matches!(error, Error::Damaged { .. } | Error::Download { .. }),
        "{error}"
    );
}

#[test]
fn what_a_broken_build_has_fetched_is_not_fetched_again() {
    let (channel, mut test_dir) = (channel(), test_dir());
    test_dir.settings.retries = 0;
    let server = with_archives(&channel, |_, earlier| match earlier {
        0 => Act::Half,
        1 => Act::Say(503, String::new()),
        _ => Act::Serve,
    });
    let error = test_dir.build(&server.url()).unwrap_err();
    assert!(matches!(error, Error::Download { .. }), "{error}");
    assert!(test_dir.cached().to_string_lossy().ends_with(".part"));
    let arrived = std::fs::metadata(test_dir.cached()).unwrap().len();
    test_dir.build(&server.url()).unwrap();
    let arrived = Some(usize::try_from(arrived).unwrap());
    assert_eq!(starts(&server), [None, arrived, arrived]);
    assert!(test_dir.cached().to_string_lossy().ends_with(".conda"));
}

#[test]
fn a_partial_download_of_another_archive_is_detected() {
    for length in [1000, usize::MAX, usize::MAX - 1] {
        let (channel, test_dir) = (channel(), test_dir());
        let server = with_archives(&channel, |_, _| Act::Serve);
        test_dir.build(&server.url()).unwrap();
        let cached = test_dir.cached();
        let whole = std::fs::read(&cached).unwrap();
        let length = match length {
            usize::MAX => whole.len(),
            other if other > whole.len() => whole.len() + 1,
            other => other,
        };
        std::fs::remove_file(&cached).unwrap();
        let part = cached.with_file_name(format!(
            "{}.part",
            cached.file_name().unwrap().to_str().unwrap()
        ));
        std::fs::write(&part, vec![7; length]).unwrap();
        test_dir.build(&server.url()).unwrap();
        assert_eq!(std::fs::read(test_dir.cached()).unwrap(), whole);
    }
}

#[test]
fn what_is_not_what_the_channel_promised_is_damaged() {
    for (bytes, expected) in [
        (None, "more than"),
        (Some(vec![7; 1000]), "it has 1000 bytes"),
        (Some(Vec::new()), "it has 0 bytes"),
    ] {
        let (channel, test_dir) = (channel(), test_dir());
        let server = with_archives(&channel, move |_, _| match &bytes {
            None => Act::Endless,
            Some(bytes) => Act::Send(bytes.clone()),
        });
        let error = test_dir.build(&server.url()).unwrap_err();
        let text = whole(&error);
        assert!(matches!(error, Error::Damaged { .. }), "{text}");
        assert!(text.contains(expected), "{text}");
        assert_eq!(server.archive_requests().len(), 1);
        // The cache holds nothing from which a later build could continue.
        assert_eq!(test_dir.archives(), [] as [&str; 0]);
    }
}

#[test]
fn a_server_that_falls_silent_is_asked_again() {
    for silence in [|| Act::Silence, || Act::HalfThenSilence] {
        let (channel, mut test_dir) = (channel(), test_dir());
        test_dir.settings.read_timeout = Duration::from_millis(500);
        let server = with_archives(&channel, move |_, earlier| match earlier {
            0 => silence(),
            _ => Act::Serve,
        });
        test_dir.build(&server.url()).unwrap();
        assert!(server.archive_requests().len() >= 2);
    }
}

#[test]
fn a_silent_server_does_not_keep_the_user_from_stopping() {
    let (channel, test_dir) = (channel(), test_dir());
    let server = with_archives(&channel, |_, _| Act::Silence);
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            while server.archive_requests().is_empty() {
                std::thread::sleep(Duration::from_millis(5));
            }
            test_dir.listener.stop.store(true, Ordering::SeqCst);
        });
        test_dir.build(&server.url()).unwrap_err()
    });
    assert!(matches!(error, Error::Interrupted), "{error}");
}

#[test]
fn the_index_is_asked_for_again_as_well() {
    for act in [|| Act::Say(503, String::new()), || Act::Half] {
        let (channel, test_dir) = (channel(), test_dir());
        let server = serve(channel.path(), Door::Open, move |request, earlier| {
            if request.path.ends_with("repodata.json") && earlier == 0 {
                act()
            } else {
                Act::Serve
            }
        });
        test_dir.build(&server.url()).unwrap();
    }
}

#[test]
fn a_server_that_is_down_is_named() {
    let (channel, test_dir) = (channel(), test_dir());
    let server = serve(channel.path(), Door::Password, |_, _| {
        Act::Say(503, String::new())
    });
    let error = test_dir.build(&server.url()).unwrap_err();
    let text = whole(&error);
    assert!(matches!(error, Error::Channel { .. }), "{text}");
    assert!(text.contains("127.0.0.1") && text.contains("503"), "{text}");
    assert!(!text.contains("secret-word"), "{text}");
}

#[test]
fn no_more_is_asked_for_at_a_time_than_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["tool", "b", "c", "d", "e", "f"];
    let packages: Vec<_> = (0..).zip(names).map(|(n, name)| noisy(name, n)).collect();
    write_channel(dir.path(), &packages);
    for (jobs, expected) in [(1, 1), (3, 3)] {
        let mut test_dir = test_dir();
        test_dir.packages = names.join(", ");
        test_dir.settings.concurrent_downloads = jobs;
        let server = serve(dir.path(), Door::Open, |request, _| {
            if request.is_archive() {
                std::thread::sleep(Duration::from_millis(50));
            }
            Act::Serve
        });
        test_dir.build(&server.url()).unwrap();
        assert_eq!(server.archive_requests().len(), names.len());
        assert!(server.busiest() <= expected, "{}", server.busiest());
    }
}

#[test]
fn a_channel_that_is_not_there_is_named() {
    let (channel, test_dir) = (channel(), test_dir());
    let server = serve(channel.path(), Door::Open, |_, _| Act::Serve);
    let error = test_dir
        .build(&format!("{}-typo", server.url()))
        .unwrap_err();
    let text = whole(&error);
    assert!(matches!(error, Error::Channel { .. }), "{text}");
    assert!(text.contains("channel-typo"), "{text}");
}
