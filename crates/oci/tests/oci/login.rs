//! Tests with registries that request a login.

use condense_diagnostics::Hint as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use condense_oci::Credentials;
use condense_oci::Error;

use crate::image::Image;
use crate::server::{Answer, ReceivedRequest, Server};
use crate::{TestDirs, assert_says, said};

/// Header value for the user `me` with the password `hunter2`.
const BASIC: &str = "Basic bWU6aHVudGVyMg==";

fn password() -> Credentials {
    Credentials::Password {
        user: "me".to_owned(),
        password: "hunter2".to_owned(),
    }
}

/// A registry with tokens that are valid for two requests each. It gives tokens to requests that
/// `lets_in` accepts.
fn token_registry(image: &Image, lets_in: fn(&ReceivedRequest) -> bool) -> Server {
    let given = AtomicUsize::new(0);
    let used = AtomicUsize::new(0);
    Server::with_rule(&[("1", image)], move |asked, _| {
        if asked.path.starts_with("/token") {
            if !lets_in(asked) {
                return Some(Answer::new(401).body("hunter2 is wrong"));
            }
            let number = given.fetch_add(1, Ordering::SeqCst) + 1;
            used.store(0, Ordering::SeqCst);
            return Some(
                Answer::new(200).body(format!(r#"{{"token": "t{number}", "expires_in": 1}}"#)),
            );
        }
        let current = format!("Bearer t{}", given.load(Ordering::SeqCst));
        if asked.header("authorization") == current && used.fetch_add(1, Ordering::SeqCst) < 2 {
            return None;
        }
        let host = asked.header("host");
        let challenge = format!(
            r#"Bearer realm="http://{host}/token?x=1",service="the registry",scope="repository:test/image:pull""#
        );
        Some(Answer::new(401).with("www-authenticate", challenge))
    })
}

#[test]
fn tokens_are_fetched_with_the_password_and_again_when_they_end() {
    let server = token_registry(&Image::new("x"), |asked| {
        asked.header("authorization") == BASIC
    });
    let mut dirs = TestDirs::new();
    dirs.options.access.keyring.given = Some(password());
    // The layers are fetched one after the other, so that it is known when a token expires.
    dirs.options.downloads = std::num::NonZeroUsize::MIN;
    dirs.pull(&server.reference("1"), "x.sif").unwrap();
    let tokens = server.asked(|asked| asked.path.starts_with("/token"));
    assert_eq!(tokens.len(), 2);
    assert_eq!(
        tokens[0].path,
        "/token?x=1&scope=repository%3Atest%2Fimage%3Apull&service=the+registry"
    );
    let with_password = server.asked(|asked| {
        asked.path.starts_with("/v2/") && asked.header("authorization").starts_with("Basic")
    });
    assert!(
        with_password.is_empty(),
        "the password goes to one place only"
    );
}

#[test]
fn tokens_are_fetched_anonymously_and_with_an_identity_token() {
    let image = Image::new("x");
    let anonymous = token_registry(&image, |asked| asked.header("authorization").is_empty());
    let mut dirs = TestDirs::new();
    dirs.options.downloads = std::num::NonZeroUsize::MIN;
    dirs.pull(&anonymous.reference("1"), "x.sif").unwrap();

    let server = token_registry(&image, |asked| {
        asked.method == "POST"
            && asked.body.contains("grant_type=refresh_token")
            && asked.body.contains("refresh_token=left%2B1")
    });
    let mut dirs = TestDirs::new();
    dirs.options.downloads = std::num::NonZeroUsize::MIN;
    dirs.options.access.keyring.given = Some(Credentials::IdentityToken("left+1".to_owned()));
    dirs.pull(&server.reference("1"), "x.sif").unwrap();

    let server = Server::with_rule(&[("1", &image)], |asked, _| {
        let fits = asked.header("authorization") == "Bearer as-it-is";
        (!fits)
            .then(|| Answer::new(401).with("www-authenticate", "Bearer realm=\"http://no/where\""))
    });
    let mut dirs = TestDirs::new();
    dirs.options.access.keyring.given = Some(Credentials::RegistryToken("as-it-is".to_owned()));
    dirs.pull(&server.reference("1"), "x.sif").unwrap();
}

#[test]
fn passwords_are_sent_when_they_are_asked_for() {
    let server = Server::with_rule(&[("1", &Image::new("x"))], |asked, _| {
        let fits = asked.header("authorization") == BASIC;
        (!fits).then(|| Answer::new(401).with("www-authenticate", "Basic realm=\"x\""))
    });
    let mut dirs = TestDirs::new();
    let file = dirs.path("config.json");
    let text = format!(
        r#"{{"auths": {{"{}": {{"auth": "bWU6aHVudGVyMg=="}}}}}}"#,
        server.host()
    );
    fs_err::write(&file, text).unwrap();
    dirs.options.access.keyring.docker_files = vec![file];
    dirs.pull(&server.reference("1"), "x.sif").unwrap();
    assert!(
        server.asked(|_| true)[0].header("authorization").is_empty(),
        "not unasked"
    );

    // The cache must contain nothing of the password.
    for dir in ["blobs", "partial", "sif"] {
        for path in dirs.cached(dir) {
            let bytes = fs_err::read(path).unwrap();
            assert!(!bytes.windows(7).any(|part| part == b"hunter2"));
        }
    }
}

#[test]
fn a_refused_login_is_reported_with_reason_and_hint() {
    let image = Image::new("x");
    let wrong_token = token_registry(&image, |_| false);
    let wrong_basic = Server::with_rule(&[("1", &image)], |_, _| {
        Some(
            Answer::new(401)
                .with("www-authenticate", "Basic realm=\"x\"")
                .body(r#"{"errors":[{"message":"access\nrefused"}]}"#),
        )
    });
    let forbidden = Server::with_rule(&[("1", &image)], |_, _| Some(Answer::new(403)));
    let silent = Server::with_rule(&[("1", &image)], |_, _| Some(Answer::new(401)));
    for (server, with_password, words) in [
        (
            &wrong_token,
            true,
            &["login from the environment is refused"][..],
        ),
        (&wrong_token, false, &["wants a login"]),
        (&wrong_basic, true, &["the environment", "access refused"]),
        (&wrong_basic, false, &["wants a login"]),
        (&forbidden, true, &["Forbidden"]),
        (&silent, true, &["how to log in"]),
    ] {
        let mut dirs = TestDirs::new();
        if with_password {
            dirs.options.access.keyring.given = Some(password());
        }
        let error = dirs.refused(&server.reference("1"));
        assert!(matches!(error, Error::Denied { .. }), "{error}");
        assert_says(&error, words);
        assert!(!said(&error).contains("hunter2"), "{}", said(&error));
        assert!(error.hint().unwrap().contains(&server.host()));
    }
    let loops = wrong_basic.asked(|_| true).len();
    assert!(loops <= 4, "asked {loops} times");
}
