//! Tests with registries, proxies and disks that do not behave.

use condense_diagnostics::Hint as _;
use std::sync::atomic::Ordering;

use condense_oci::Error;
use serde_json::json;

use crate::image::{Image, digest, gzip, tar};
use crate::server::{Answer, Server};
use crate::{TestDirs, assert_says, content};

#[test]
fn a_download_goes_on_where_it_broke_off() {
    let image = Image::new("x");
    let (lowest, size) = image.lowest();
    let blob = image.blobs[&lowest].clone();
    let wanted = lowest.clone();
    // Four answers break off after a part of the blob. Without progress, the third failure would be
    // the last one.
    let server = Server::with_rule(&[("1", &image)], move |asked, earlier| {
        if !asked.is_blob(&wanted) || earlier >= 4 {
            return None;
        }
        let from = 50_000 * earlier;
        assert_eq!(asked.header("range").is_empty(), from == 0);
        Some(Answer {
            cut_at: Some(50_000),
            ..Answer::new(if from == 0 { 200 } else { 206 }).body(&blob[from..])
        })
    });
    let dirs = TestDirs::new();
    let pulled = dirs.pull(&server.reference("1"), "x.sif").unwrap();
    assert_eq!(content(&pulled.path, "changed").unwrap(), b"second");
    let ranges: Vec<String> = server
        .asked(|asked| asked.is_blob(&lowest))
        .iter()
        .map(|asked| asked.header("range").to_owned())
        .collect();
    assert_eq!(
        ranges,
        [
            "",
            "bytes=50000-",
            "bytes=100000-",
            "bytes=150000-",
            "bytes=200000-"
        ]
    );
    assert!(size > 250_000);
}

#[test]
fn the_next_run_resumes_a_download_with_or_without_ranges() {
    let image = Image::new("x");
    let (lowest, _) = image.lowest();
    let blob = image.blobs[&lowest].clone();
    let wanted = lowest.clone();
    let broken = Server::with_rule(&[("1", &image)], move |asked, _| {
        asked.is_blob(&wanted).then(|| Answer {
            cut_at: Some(if asked.header("range").is_empty() {
                50_000
            } else {
                0
            }),
            ..Answer::new(200).body(blob.clone())
        })
    });
    let dirs = TestDirs::new();
    let error = dirs.refused(&broken.reference("1"));
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    // Downloads of other blobs may have begun as well.
    let name = lowest.replace(':', "-");
    let mut left = dirs.cached("partial").into_iter();
    let left = left.find(|path| path.ends_with(&name)).unwrap();
    assert_eq!(left.metadata().unwrap().len(), 50_000);

    // This registry ignores ranges and always sends a blob from its beginning.
    let blob = image.blobs[&lowest].clone();
    let wanted = lowest.clone();
    let stubborn = Server::with_rule(&[("1", &image)], move |asked, _| {
        asked
            .is_blob(&wanted)
            .then(|| Answer::new(200).body(blob.clone()))
    });
    dirs.pull(&stubborn.reference("1"), "x.sif").unwrap();
    let asked = stubborn.asked(|asked| asked.is_blob(&lowest));
    assert_eq!(asked[0].header("range"), "bytes=50000-");
    assert!(dirs.cached("partial").is_empty());
}

#[test]
fn temporary_failures_are_retried_and_permanent_ones_are_reported() {
    let image = Image::new("x");
    let server = Server::with_rule(&[("1", &image)], |_, earlier| match earlier {
        0 => Some(Answer::new(429).with("retry-after", "0")),
        1 => Some(Answer::new(503)),
        _ => None,
    });
    TestDirs::new()
        .pull(&server.reference("1"), "x.sif")
        .unwrap();

    let down = Server::with_rule(&[("1", &image)], |_, _| {
        Some(Answer::new(502).body(r#"{"errors":[{"message":"out for lunch"}]}"#))
    });
    let error = TestDirs::new().refused(&down.reference("1"));
    assert_says(&error, &["502", "out for lunch", &down.host()]);
    assert_eq!(down.asked(|_| true).len(), 3);

    let busy = Server::with_rule(&[("1", &image)], |_, _| {
        Some(Answer::new(429).with("retry-after", "3600"))
    });
    assert_says(&TestDirs::new().refused(&busy.reference("1")), &["429"]);
    assert_eq!(busy.asked(|_| true).len(), 1, "an hour is not waited");

    let server = Server::start(&[("1", &image)]);
    let error = TestDirs::new().refused(&server.reference("other"));
    assert!(matches!(error, Error::NoSuchImage { .. }), "{error}");
    assert_says(&error, &["nothing here"]);
    assert_eq!(server.asked(|_| true).len(), 1);
}

#[test]
fn an_unreachable_registry_is_reported() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = TestDirs::new().refused(&format!("docker://{gone}/x:1"));
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");

    // The client speaks HTTPS to a registry that speaks HTTP.
    let server = Server::start(&[("1", &Image::new("x"))]);
    let mut dirs = TestDirs::new();
    dirs.options.access.plain_http = false;
    let error = dirs.refused(&server.reference("1"));
    assert!(
        error.hint().unwrap().contains("--no-https"),
        "{:?}",
        error.hint()
    );
    assert!(server.asked(|_| true).is_empty());
}

#[test]
fn wrong_bytes_never_become_an_image() {
    let image = Image::new("x");
    let (lowest, size) = image.lowest();
    let config = digest(&image.config);
    for (wrong, words) in [(&lowest, "something else"), (&config, "something else")] {
        let wanted = wrong.clone();
        let len = image.blobs[wrong].len();
        let server = Server::with_rule(&[("1", &image)], move |asked, _| {
            asked
                .is_blob(&wanted)
                .then(|| Answer::new(200).body(vec![b'x'; len]))
        });
        let dirs = TestDirs::new();
        assert_says(&dirs.refused(&server.reference("1")), &[words, wrong]);
        let kept = dirs.cached("partial");
        let hex = &wrong["sha256:".len()..];
        assert!(
            !kept.iter().any(|path| path.to_string_lossy().contains(hex)),
            "wrong bytes are not kept"
        );
    }
    let wanted = lowest.clone();
    let blob = image.blobs[&lowest].clone();
    let longer = Server::with_rule(&[("1", &image)], move |asked, _| {
        let more = [&blob[..], b"more"].concat();
        asked.is_blob(&wanted).then(|| Answer::new(200).body(more))
    });
    assert_says(
        &TestDirs::new().refused(&longer.reference("1")),
        &["more than", &size.to_string()],
    );
    let other = Server::with_rule(&[("1", &image)], |asked, _| {
        asked.is_manifest().then(|| Answer::new(200).body("{}"))
    });
    let by_digest = other.reference(&digest(&image.manifest));
    assert_says(&TestDirs::new().refused(&by_digest), &["is not sha256:"]);
}

#[test]
fn damaged_blobs_in_the_cache_are_fetched_again() {
    let image = Image::new("x");
    let (lowest, _) = image.lowest();
    let server = Server::start(&[("1", &image)]);
    let dirs = TestDirs::new();
    let one = dirs.pull(&server.reference("1"), "one.sif").unwrap();
    for path in dirs.cached("blobs") {
        let mut bytes = fs_err::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs_err::write(&path, bytes).unwrap();
    }
    let two = dirs.pull(&server.reference("1"), "two.sif").unwrap();
    assert_eq!(
        fs_err::read(&one.path).unwrap(),
        fs_err::read(&two.path).unwrap()
    );

    // The bytes of an earlier attempt are wrong from the start.
    for path in dirs.cached("blobs") {
        let partial = dirs.path("cache/partial").join(path.file_name().unwrap());
        fs_err::rename(&path, &partial).unwrap();
        fs_err::write(&partial, b"wrong from the start").unwrap();
    }
    let before = server.asked(|asked| asked.is_blob(&lowest)).len();
    let three = dirs.pull(&server.reference("1"), "three.sif").unwrap();
    assert_eq!(
        fs_err::read(&one.path).unwrap(),
        fs_err::read(&three.path).unwrap()
    );
    let asked = server.asked(|asked| asked.is_blob(&lowest));
    assert_eq!(asked.len(), before + 2, "resumed, and from the start");
}

#[test]
fn malformed_documents_are_refused() {
    let image = Image::new("x");
    let config = json!({"mediaType": "x", "digest": digest(&image.config), "size": 1});
    let with = |document: &serde_json::Value| {
        let mut other = image.clone();
        other.set_manifest(document);
        other
    };
    let bad_digest = with(
        &json!({"schemaVersion": 2, "config": config, "layers": [{"digest": "sha256:../x", "size": 1}]}),
    );
    let chart = with(&json!({"schemaVersion": 2, "config": config, "layers": [
        {"mediaType": "application/vnd.cncf.helm.chart", "digest": digest(b""), "size": 1}]}));
    let old = with(&json!({"schemaVersion": 1, "fsLayers": []}));
    let mut itself = Image::default();
    itself.set_manifest(&json!({"manifests": [], "schemaVersion": 2}));
    let broken = Image::of(vec![b"no archive".to_vec()], "amd64");
    let file_below_file = Image::of(vec![tar(&[("a", b""), ("a/b", b"")])], "amd64");
    let server = Server::start(&[
        ("digest", &bad_digest),
        ("chart", &chart),
        ("old", &old),
        ("empty", &itself),
        ("broken", &broken),
        ("below", &file_below_file),
    ]);
    for (tag, words) in [
        ("digest", &["sha256:../x"][..]),
        ("chart", &["helm", "no layer"]),
        ("old", &["schema 1"]),
        ("empty", &["linux/amd64"]),
        ("broken", &[&digest(&gzip(b"no archive")), "tar archive"]),
        ("below", &["a/b", "not a directory"]),
    ] {
        assert_says(&TestDirs::new().refused(&server.reference(tag)), words);
    }
    let huge = Server::with_rule(&[], |_, _| {
        Some(Answer::new(200).with("content-length", "99999999999"))
    });
    assert_says(
        &TestDirs::new().refused(&huge.reference("1")),
        &["more than"],
    );
}

#[test]
fn stopping_leaves_nothing_but_the_cache() {
    let image = Image::new("x");
    let server = Server::start(&[("1", &image)]);
    let dirs = TestDirs::new();
    dirs.progress.cancel_at.store(60_000, Ordering::Relaxed);
    let error = dirs.refused(&server.reference("1"));
    assert!(matches!(error, Error::Cancelled), "{error}");

    // This registry never answers.
    let silent = Server::with_rule(&[("1", &image)], |_, _| {
        std::thread::sleep(std::time::Duration::from_secs(3600));
        None
    });
    let dirs = TestDirs::new();
    dirs.progress.cancel.store(true, Ordering::Relaxed);
    assert!(matches!(
        dirs.refused(&silent.reference("1")),
        Error::Cancelled
    ));
}

#[test]
fn a_scratch_that_cannot_be_written_ends_the_work() {
    let server = Server::start(&[("1", &Image::new("x"))]);
    let mut dirs = TestDirs::new();
    dirs.options.scratch_dir = dirs.path("missing");
    let error = dirs.refused(&server.reference("1"));
    assert_says(&error, &["missing"]);
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[test]
fn a_registry_that_sends_too_slowly_is_given_up() {
    let image = Image::new("x");
    let (lowest, _) = image.lowest();
    let blob = image.blobs[&lowest].clone();
    let wanted = lowest.clone();
    let server = Server::with_rule(&[("1", &image)], move |asked, _| {
        asked.is_blob(&wanted).then(|| Answer {
            drips: true,
            ..Answer::new(200).body(blob.clone())
        })
    });
    let mut dirs = TestDirs::new();
    dirs.options.access.retry.silence = std::time::Duration::from_millis(200);
    let began = std::time::Instant::now();
    let error = dirs.refused(&server.reference("1"));
    assert_says(&error, &["it sends less than"]);
    assert_eq!(server.asked(|asked| asked.is_blob(&lowest)).len(), 3);
    assert!(began.elapsed() < std::time::Duration::from_secs(30));
}

#[test]
fn a_registry_that_breaks_off_after_each_byte_is_given_up() {
    let image = Image::new("x");
    let (lowest, _) = image.lowest();
    let blob = image.blobs[&lowest].clone();
    let wanted = lowest.clone();
    let server = Server::with_rule(&[("1", &image)], move |asked, earlier| {
        asked.is_blob(&wanted).then(|| Answer {
            cut_at: Some(1),
            ..Answer::new(if earlier == 0 { 200 } else { 206 }).body(&blob[earlier..])
        })
    });
    TestDirs::new().refused(&server.reference("1"));
    assert_eq!(server.asked(|asked| asked.is_blob(&lowest)).len(), 3);
}

#[test]
fn layers_are_checked_against_their_diff_ids() {
    let with_ids = |ids: serde_json::Value| {
        let mut image = Image::new("x");
        let mut config: serde_json::Value = serde_json::from_slice(&image.config).unwrap();
        config["rootfs"]["diff_ids"] = ids;
        let config = image.add(
            "application/vnd.oci.image.config.v1+json",
            config.to_string().into_bytes(),
        );
        let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
        manifest["config"] = config;
        image.set_manifest(&manifest);
        image
    };
    let image = Image::new("x");
    let [base, top] = [0, 1].map(|at| digest(&image.layers[at]));
    for (ids, word) in [
        (json!([base, base]), "its layer"),
        (json!([top, base]), "its layer"),
        (
            json!([base]),
            "it has 2 layers, and its configuration names 1",
        ),
        (json!([base, "sha256:0"]), "`sha256:0` is not a digest"),
    ] {
        let server = Server::start(&[("1", &with_ids(ids))]);
        let dirs = TestDirs::new();
        assert_says(&dirs.refused(&server.reference("1")), &[word]);
        // The second attempt finds the blobs in the cache.
        assert_says(&dirs.refused(&server.reference("1")), &[word]);
    }
    for ids in [json!([base, top]), json!([]), json!(null)] {
        let server = Server::start(&[("1", &with_ids(ids))]);
        TestDirs::new()
            .pull(&server.reference("1"), "x.sif")
            .unwrap();
    }
}
