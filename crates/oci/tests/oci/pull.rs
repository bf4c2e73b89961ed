//! Tests of pulling images from registries that behave.

use condense_diagnostics::Hint as _;
use serde_json::json;

use crate::image::{INDEX, Image, noise, tar};
use crate::server::{Answer, Server};
use crate::{TestDirs, assert_is_base, assert_says, content};

#[test]
fn an_image_becomes_a_base_of_the_same_bytes_each_time() {
    let server = Server::start(&[("1", &Image::new("x"))]);
    let dirs = TestDirs::new();
    let one = dirs.pull(&server.reference("1"), "one.sif").unwrap();
    assert_is_base(&one.path);
    assert_eq!(content(&one.path, "changed").unwrap(), b"second");
    assert_eq!(content(&one.path, "large").unwrap(), noise(1, 300_000));
    let environment = content(&one.path, ".singularity.d/env/10-docker2singularity.sh").unwrap();
    assert!(String::from_utf8(environment).unwrap().contains("A='1'"));
    let sif = condense_image::Sif::open(&one.path).unwrap();
    let names: Vec<_> = sif
        .descriptors()
        .iter()
        .map(|object| object.name.clone())
        .collect();
    assert_eq!(names[1..3], ["inspect-metadata.json", "oci-config.json"]);
    let config = sif.read(&sif.descriptors()[2], 4096).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["WorkingDir"], "/w", "what is not used is kept");
    let count =
        |number: &std::sync::atomic::AtomicU64| number.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(
        count(&dirs.progress.fetched),
        count(&dirs.progress.expected)
    );
    assert!(dirs.progress.warnings.lock().unwrap().is_empty());

    // The second pull takes the layers from the cache. The third one is by digest, with its own
    // cache.
    let blobs = || server.asked(|asked| asked.path.contains("/blobs/")).len();
    let before = blobs();
    let two = dirs.pull(&server.reference("1"), "two.sif").unwrap();
    assert_eq!(blobs(), before + 1, "the configuration alone");
    assert_eq!(
        fs_err::read(&one.path).unwrap(),
        fs_err::read(&two.path).unwrap()
    );
    let elsewhere = TestDirs::new();
    let by_digest = elsewhere
        .pull(&server.reference(&one.digest), "x.sif")
        .unwrap();
    assert_eq!(by_digest.digest, one.digest);
}

#[test]
fn a_finished_image_is_fetched_once() {
    let server = Server::start(&[("1", &Image::new("x"))]);
    let dirs = TestDirs::new();
    let Ok(condense_oci::Reference::Image(source)) =
        condense_oci::Reference::parse(&server.reference("1"))
    else {
        panic!("it is an image")
    };
    let fetch = || condense_oci::fetch(&source, &dirs.cache(), &dirs.options).unwrap();
    let one = fetch();
    let layers = server.asked(|asked| asked.path.contains("/blobs/")).len();
    assert_eq!(one.path, fetch().path);
    let again = server.asked(|asked| asked.path.contains("/blobs/")).len();
    assert_eq!(again, layers + 1, "the configuration alone");
    assert_is_base(&one.path);
}

#[test]
fn layers_that_are_named_twice_are_fetched_once() {
    let layer = tar(&[("bin/sh", b"x")]);
    let image = Image::of(vec![layer.clone(), tar(&[("y", b"y")]), layer], "amd64");
    let server = Server::start(&[("1", &image)]);
    let dirs = TestDirs::new();
    dirs.pull(&server.reference("1"), "x.sif").unwrap();
    let (digest, _) = image.lowest();
    assert_eq!(server.asked(|asked| asked.is_blob(&digest)).len(), 1);
}

#[test]
fn the_platform_is_chosen_or_the_available_ones_are_named() {
    let of = |architecture: &str, name: &str| {
        Image::of(
            vec![tar(&[("bin/sh", b""), ("name", name.as_bytes())])],
            architecture,
        )
    };
    let images = [of("arm64", "arm"), of("amd64", "v3"), of("amd64", "plain")];
    let index = |entries: serde_json::Value| {
        let mut image = Image::default();
        image.set_manifest(&json!({"manifests": entries, "mediaType": INDEX, "schemaVersion": 2}));
        image
    };
    let inner = index(json!([
        images[0].entry("linux/arm64/v8"),
        images[1].entry("linux/amd64/v3"),
        images[2].entry("linux/amd64"),
    ]));
    let mut entry = inner.entry("linux/amd64");
    entry["mediaType"] = INDEX.into();
    let outer = index(json!([entry]));
    let server = Server::start(&[
        ("multi", &inner),
        ("nested", &outer),
        ("arm", &images[0]),
        ("b", &images[1]),
        ("c", &images[2]),
    ]);
    let mut dirs = TestDirs::new();
    for tag in ["multi", "nested"] {
        let pulled = dirs
            .pull(&server.reference(tag), &format!("{tag}.sif"))
            .unwrap();
        assert_eq!(content(&pulled.path, "name").unwrap(), b"plain");
    }
    dirs.options.platform = condense_oci::Platform::parse("aarch64");
    let arm = dirs.pull(&server.reference("multi"), "arm.sif").unwrap();
    let arch = condense_image::Sif::open(&arm.path).unwrap().arch();
    assert_eq!(arch, Some(condense_image::Arch::Aarch64));
    let elsewhere = TestDirs::new();
    assert_says(
        &elsewhere.refused(&server.reference("arm")),
        &["linux/amd64", "linux/arm64"],
    );
    let mut other = TestDirs::new();
    other.options.platform = condense_oci::Platform::parse("s390x");
    let error = other.refused(&server.reference("multi"));
    assert_says(
        &error,
        &["linux/s390x", "linux/arm64/v8, linux/amd64/v3, linux/amd64"],
    );
    assert!(error.hint().unwrap().contains("--arch"));
}

#[test]
fn a_sif_in_a_registry_is_copied_byte_for_byte() {
    let dirs = TestDirs::new();
    let server = Server::start(&[("1", &Image::new("x"))]);
    let made = dirs.pull(&server.reference("1"), "made.sif").unwrap();
    let bytes = fs_err::read(&made.path).unwrap();
    let server = Server::start(&[
        ("sif", &Image::of_sif(bytes.clone())),
        ("junk", &Image::of_sif(b"no SIF".to_vec())),
        ("layers", &Image::new("x")),
    ]);
    let oras = |tag: &str| server.reference(tag).replace("docker://", "oras://");
    for name in ["a.sif", "b.sif"] {
        let pulled = dirs.pull(&oras("sif"), name).unwrap();
        assert_eq!(fs_err::read(&pulled.path).unwrap(), bytes);
    }
    let elsewhere = TestDirs::new();
    assert_says(&elsewhere.refused(&oras("layers")), &["docker://"]);
    assert_says(&elsewhere.refused(&server.reference("sif")), &["oras://"]);
    assert_says(&elsewhere.refused(&oras("junk")), &["SIF"]);
}

#[test]
fn properties_that_are_lost_are_reported() {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Char);
    header.set_mode(0o666);
    header.set_size(0);
    archive
        .append_data(&mut header, "dev/null", &b""[..])
        .unwrap();
    let image = Image::of(
        vec![tar(&[("bin/sh", b"")]), archive.into_inner().unwrap()],
        "amd64",
    );
    let server = Server::start(&[("1", &image)]);
    let dirs = TestDirs::new();
    let pulled = dirs.pull(&server.reference("1"), "x.sif").unwrap();
    assert_eq!(content(&pulled.path, "dev/null").unwrap(), b"");
    assert!(dirs.progress.warnings.lock().unwrap()[0].contains("1 device"));
}

#[test]
fn blobs_may_be_on_another_host_which_gets_no_login() {
    let image = Image::new("x");
    let store = Server::start(&[("1", &image)]);
    let to = store.host();
    let server = Server::with_rule(&[("1", &image)], move |asked, _| {
        if asked.header("authorization").is_empty() {
            return Some(Answer::new(401).with("www-authenticate", "Basic realm=\"x\""));
        }
        let is_blob = asked.path.contains("/blobs/");
        is_blob.then(|| Answer::new(307).with("location", format!("http://{to}{}", asked.path)))
    });
    let mut dirs = TestDirs::new();
    dirs.options.access.keyring.given = Some(condense_oci::Credentials::Password {
        user: "me".to_owned(),
        password: "hunter2".to_owned(),
    });
    dirs.pull(&server.reference("1"), "x.sif").unwrap();
    let asked = store.asked(|_| true);
    assert_eq!(asked.len(), 3);
    assert!(
        asked
            .iter()
            .all(|asked| asked.header("authorization").is_empty())
    );
}

#[test]
fn a_mirror_is_asked_first_and_may_fail() {
    let (own, other) = (
        Server::start(&[("1", &Image::new("x")), ("2", &Image::new("x"))]),
        Server::start(&[("1", &Image::new("x"))]),
    );
    let host = |server: &Server| {
        let reference = server.reference("1");
        let host = reference
            .strip_prefix("docker://")
            .unwrap()
            .split('/')
            .next();
        host.unwrap().to_owned()
    };
    let mirror = |address: &str| {
        let registry = format!("docker://{}", host(&own));
        condense_oci::Mirror::parse(&registry, address).unwrap()
    };
    let address = format!("http://{}", host(&other));
    let mut dirs = TestDirs::new();
    dirs.options.access.mirrors = vec![mirror("http://127.0.0.1:1"), mirror(&address)];
    dirs.pull(&own.reference("1"), "one.sif").unwrap();
    assert_eq!(own.asked(|_| true).len(), 0);
    assert!(!other.asked(|_| true).is_empty());
    // An image that the mirror does not have comes from the registry.
    dirs.options.access.mirrors = vec![mirror(&format!("{address}/of-hub"))];
    dirs.pull(&own.reference("2"), "two.sif").unwrap();
    assert!(!own.asked(|_| true).is_empty());
    let asked = other.asked(|asked| asked.path.contains("/of-hub/"));
    assert!(!asked.is_empty());
}
