//! Tests of mirrors, proxies and private certificate authorities.

use condense_diagnostics::Hint as _;
use std::{net::TcpListener, sync::Arc};

use condense_prefix::{Error, Network};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};

use crate::{
    channel,
    server::{Act, Door, proxy, serve, serve_secure, socks_proxy},
    test_dir, whole,
};

/// Channel that the user names; no server listens at this address.
const CHANNEL: &str = "http://127.0.0.1:9/conda-forge";

#[test]
fn a_mirror_is_asked_instead_and_the_lock_names_the_channel() {
    let (channel, mut test_dir) = (channel(), test_dir());
    let mirror = serve(channel.path(), Door::Open, |_, _| Act::Serve);
    let mirrors = &mut test_dir.settings.mirrors;
    mirrors.insert(CHANNEL, &[mirror.url()]).unwrap();
    let built = test_dir.build(CHANNEL).unwrap();
    assert!(built.lock.contains(CHANNEL), "{}", built.lock);
    let port = mirror.address.port().to_string();
    assert!(!built.lock.contains(&port), "{}", built.lock);
    assert_eq!(test_dir.said(), [] as [&str; 0]);
}

#[test]
fn a_mirror_may_be_a_directory() {
    let channel = channel();
    let absent = "/no/such/mirror".to_owned();
    let path = channel.path().display().to_string();
    for places in [
        vec![format!("file://{path}")],
        vec![format!("{path}/")],
        vec![absent, path],
    ] {
        let mut test_dir = test_dir();
        let mirrors = &mut test_dir.settings.mirrors;
        mirrors.insert(CHANNEL, &places).unwrap();
        let built = test_dir.build(CHANNEL).unwrap();
        assert!(built.root.join("env/bin/tool").exists());
        assert!(built.lock.contains(CHANNEL), "{}", built.lock);
        // A download that broke off is continued where it stopped.
        let whole = std::fs::read(test_dir.cached()).unwrap();
        let cached = test_dir.cached();
        let part = format!("{}.part", cached.display());
        std::fs::write(part, &whole[..whole.len() / 2]).unwrap();
        std::fs::remove_file(&cached).unwrap();
        test_dir.build(CHANNEL).unwrap();
        assert_eq!(std::fs::read(cached).unwrap(), whole);
    }
}

#[test]
fn a_mirror_that_fails_is_followed_by_the_next_one() {
    let dead = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/x", listener.local_addr().unwrap())
    };
    let channel = channel();
    let busy = serve(channel.path(), Door::Open, |_, _| {
        Act::Say(503, String::new())
    });
    let lagging = serve(channel.path(), Door::Open, |request, _| {
        if request.is_archive() {
            Act::Say(404, String::new())
        } else {
            Act::Serve
        }
    });
    let lying = serve(channel.path(), Door::Open, |request, _| {
        if request.is_archive() {
            Act::Send(vec![7; 1000])
        } else {
            Act::Serve
        }
    });
    let breaking = serve(channel.path(), Door::Open, |request, _| {
        if request.is_archive() {
            Act::Half
        } else {
            Act::Serve
        }
    });
    for (first, complains) in [
        (dead, true),
        (busy.url(), true),
        (lagging.url(), false),
        (lying.url(), false),
        (breaking.url(), false),
    ] {
        let mut test_dir = test_dir();
        let good = serve(channel.path(), Door::Open, |_, _| Act::Serve);
        let mirrors = &mut test_dir.settings.mirrors;
        mirrors.insert(CHANNEL, &[&first, &good.url()]).unwrap();
        test_dir.build(CHANNEL).unwrap();
        assert_eq!(good.archive_requests().len(), 1);
        assert_eq!(
            !test_dir.said().is_empty(),
            complains,
            "{:?}",
            test_dir.said()
        );
    }
    // A mirror that failed once is not the first choice again: it gets one request in total.
    assert_eq!(breaking.archive_requests().len(), 1);
    assert_eq!(lying.archive_requests().len(), 1);
}

#[test]
fn a_channel_whose_mirrors_are_all_bad_is_an_error() {
    let mut test_dir = test_dir();
    let mirrors = &mut test_dir.settings.mirrors;
    let bad = ["http://127.0.0.1:9/a", "http://127.0.0.1:9/b"];
    mirrors.insert(CHANNEL, &bad).unwrap();
    let error = test_dir.build(CHANNEL).unwrap_err();
    assert!(matches!(error, Error::Channel { .. }), "{error}");
}

#[test]
fn a_proxy_is_used_with_its_password_but_not_around_it() {
    let channel = channel();
    let server = serve(channel.path(), Door::Open, |_, _| Act::Serve);
    let proxy = proxy();
    let address = proxy.address;
    for (http, all, no_proxy, expected) in [
        (
            Some(format!("http://me:secret-word@{address}")),
            None,
            None,
            true,
        ),
        (Some(address.to_string()), None, Some("example.org"), true),
        (None, Some(address.to_string()), None, true),
        (Some(address.to_string()), None, Some("127.0.0.1"), false),
        (
            Some(address.to_string()),
            None,
            Some("10.0.0.0/8, 127.0.0.0/8"),
            false,
        ),
        (Some(address.to_string()), None, Some("*"), false),
        (None, None, None, false),
    ] {
        let mut test_dir = test_dir();
        let proxies = &mut test_dir.settings.proxies;
        (proxies.http, proxies.all) = (http.clone(), all);
        proxies.no_proxy = no_proxy.map(str::to_owned);
        assert!(!format!("{:?}", test_dir.settings).contains("secret-word"));
        proxy.asked.lock().unwrap().clear();
        test_dir.build(&server.url()).unwrap();
        let asked = proxy.asked.lock().unwrap().clone();
        assert_eq!(!asked.is_empty(), expected, "{http:?} {no_proxy:?}");
        if http.is_some_and(|http| http.contains('@')) {
            let basic = Some(crate::server::PASSWORD.to_owned());
            assert!(asked.iter().all(|(_, who)| *who == basic), "{asked:?}");
        }
    }
}

#[test]
fn a_socks_proxy_finds_the_host_s_address_itself() {
    let (channel, mut test_dir) = (channel(), test_dir());
    let server = serve(channel.path(), Door::Open, |_, _| Act::Serve);
    let proxy = socks_proxy();
    test_dir.settings.proxies.all = Some(format!("socks5h://{}", proxy.address));
    let url = server.url().replace("127.0.0.1", "localhost");
    test_dir.build(&url).unwrap();
    let asked = proxy.asked.lock().unwrap();
    let by_name = asked.iter().all(|(host, _)| host == "localhost");
    assert!(!asked.is_empty() && by_name, "{asked:?}");
}

#[test]
fn a_proxy_that_is_none_is_refused_without_its_password() {
    let test_dir = test_dir();
    for text in [
        "ftp://me:secret-word@host",
        "http://",
        "http://me:secret-word@:80",
    ] {
        let mut settings = test_dir.settings.clone();
        settings.proxies.http = Some(text.to_owned());
        let said = Network::open(settings).unwrap_err().to_string();
        assert!(said.starts_with("http_proxy"), "{said}");
        assert!(!said.contains("secret-word"), "{said}");
    }
}

/// Returns a private authority's certificate as PEM, and the configuration of a server with a
/// certificate of that authority.
fn authority() -> (String, ServerConfig) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &root).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    (root.pem(), config)
}

#[test]
fn a_private_authority_is_trusted_when_it_is_named() {
    let channel = channel();
    let (pem, config) = authority();
    let config = Arc::new(config);
    let server = serve_secure(channel.path(), move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        Box::new(StreamOwned::new(connection, stream))
    });
    let certificates = tempfile::tempdir().unwrap();
    let file = certificates.path().join("ca.pem");
    std::fs::write(&file, format!("Our own authority\n{pem}")).unwrap();
    let dir = certificates.path().to_owned();

    let stranger = test_dir();
    let error = stranger.build(&server.url()).unwrap_err();
    let text = whole(&error);
    assert!(matches!(error, Error::Channel { .. }), "{text}");
    assert!(text.contains("certificate"), "{text}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("SSL_CERT_FILE"), "{hint}");
    // The request was not repeated, since the certificate would be the same.
    assert_eq!(stranger.said(), [] as [&str; 0]);

    for (files, dirs, extra) in [
        (vec![file.clone()], vec![], vec![]),
        (vec![], vec![dir.clone()], vec![]),
        (vec![], vec![], vec![file.clone()]),
        (vec![], vec![], vec![dir]),
    ] {
        let mut test_dir = test_dir();
        let trust = &mut test_dir.settings.trust;
        (trust.files, trust.dirs, trust.extra) = (files, dirs, extra);
        test_dir.build(&server.url()).unwrap();
    }

    let mut careless = test_dir();
    careless.settings.trust.verify = false;
    careless.build(&server.url()).unwrap();
    assert!(careless.said()[0].contains("not checked"));

    // The same authority is accepted for a connection through a proxy's tunnel.
    let (mut test_dir, proxy) = (test_dir(), proxy());
    test_dir.settings.trust.files = vec![file];
    test_dir.settings.proxies.https = Some(proxy.address.to_string());
    test_dir.build(&server.url()).unwrap();
    let asked = proxy.asked.lock().unwrap();
    let tunnel = format!("CONNECT {} HTTP/1.1", server.address);
    assert!(
        !asked.is_empty() && asked.iter().all(|(line, _)| *line == tunnel),
        "{asked:?}"
    );
}

#[test]
fn files_without_certificates_are_refused_by_name() {
    let test_dir = test_dir();
    let empty = test_dir.path().join("empty.pem");
    std::fs::write(&empty, "nothing\n").unwrap();
    for path in [empty, test_dir.path().join("missing.pem")] {
        let mut settings = test_dir.settings.clone();
        settings.trust.files = vec![path.clone()];
        let said = Network::open(settings).unwrap_err().to_string();
        assert!(said.contains(&path.display().to_string()), "{said}");
    }
}

/// Usability row B13: a certificate that nobody vouches for is named as the reason.
#[test]
fn a_server_with_a_certificate_of_its_own_is_explained() {
    let channel = channel();
    let (_, config) = authority();
    let config = Arc::new(config);
    let server = serve_secure(channel.path(), move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        Box::new(StreamOwned::new(connection, stream))
    });
    let cache = tempfile::tempdir().unwrap();
    let settings = condense_prefix::NetworkSettings::new(cache.path());
    let address = format!("{}/noarch/repodata.json", server.url());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let reach = |settings: &condense_prefix::NetworkSettings| {
        let addresses = [address.parse().unwrap()];
        let asking = condense_prefix::reach(settings, &addresses);
        runtime.block_on(asking).unwrap().remove(0)
    };
    match reach(&settings) {
        condense_prefix::Reach::Failure { reason, advice } => {
            assert!(reason.contains("certificate is not trusted"), "{reason}");
            assert!(advice.contains("SSL_CERT_FILE"), "{advice}");
        }
        other @ condense_prefix::Reach::Answer { .. } => panic!("{other:?}"),
    }
    let trusting = condense_prefix::NetworkSettings {
        trust: condense_prefix::Trust {
            verify: false,
            ..condense_prefix::Trust::default()
        },
        ..settings
    };
    let answer = reach(&trusting);
    let is_answer = matches!(answer, condense_prefix::Reach::Answer { status: 200, .. });
    assert!(is_answer, "{answer:?}");
}
