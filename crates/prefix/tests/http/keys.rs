//! Tests of credentials: they open their channel, are sent to no other host, and are not stored.

use crate::{
    channel, holds,
    server::{Act, Door, serve},
    test_dir, whole,
};
use condense_prefix::Error;

#[test]
fn credentials_in_the_url_open_the_channel_and_are_not_stored() {
    for door in [Door::Password, Door::Token] {
        let (channel, test_dir) = (channel(), test_dir());
        let server = serve(channel.path(), door, |_, _| Act::Serve);
        let built = test_dir.build(&server.url()).unwrap();
        assert!(built.root.join("env/bin/tool").exists());
        assert!(built.lock.contains(&server.open_url()), "{}", built.lock);
        // The secret is neither in the environment nor in the lock, the cache, or the build
        // directory.
        assert_eq!(holds(test_dir.path(), "secret-word"), None);
        assert!(!built.lock.contains("secret-word"), "{}", built.lock);
        assert_eq!(test_dir.said(), [] as [&str; 0]);
    }
}

#[test]
fn a_package_by_its_url_is_opened_by_it() {
    let (channel, mut test_dir) = (channel(), test_dir());
    let server = serve(channel.path(), Door::Password, |_, _| Act::Serve);
    test_dir.packages = format!("'{}/linux-64/tool-1.0-0.conda'", server.url());
    let built = test_dir.build(&server.url()).unwrap();
    assert!(built.root.join("env/bin/tool").exists());
    assert_eq!(holds(test_dir.path(), "secret-word"), None);
    assert!(!built.lock.contains("secret-word"), "{}", built.lock);
}

#[test]
fn a_wrong_password_is_an_error_that_names_the_channel() {
    let (channel, test_dir) = (channel(), test_dir());
    let server = serve(channel.path(), Door::Password, |_, _| Act::Serve);
    let url = server.url().replace("secret-word", "guessed-word");
    let error = test_dir.build(&url).unwrap_err();
    let text = whole(&error);
    assert!(matches!(error, Error::Channel { .. }), "{text}");
    assert!(text.contains("127.0.0.1") && text.contains("401"), "{text}");
    assert!(!text.contains("guessed-word"), "{text}");
    // A second request would fail too, and some servers lock accounts after several.
    let indices = server.requests();
    assert!(
        indices.iter().all(|asked| asked.method == "HEAD"
            || indices
                .iter()
                .filter(|other| other.target == asked.target)
                .count()
                <= 2),
        "{indices:?}"
    );
}

#[test]
fn rattler_s_file_and_netrc_know_passwords_and_tokens() {
    let netrc = "machine 127.0.0.1\n  login me\n  password secret-word\n";
    let basic = r#"{"127.0.0.1": {"BasicHTTP": {"username": "me", "password": "secret-word"}}}"#;
    let bearer = r#"{"127.0.0.1": {"BearerToken": "secret-word"}}"#;
    let token = r#"{"127.0.0.1": {"CondaToken": "secret-word"}}"#;
    for (door, file, text) in [
        (Door::Password, "netrc", netrc),
        (Door::Password, "auth.json", basic),
        (Door::Bearer, "auth.json", bearer),
        (Door::Token, "auth.json", token),
    ] {
        let (channel, mut test_dir) = (channel(), test_dir());
        let server = serve(channel.path(), door, |_, _| Act::Serve);
        // The file is outside of the test directory, which is searched for the secret afterwards.
        let keys = tempfile::tempdir().unwrap();
        let path = keys.path().join(file);
        std::fs::write(&path, text).unwrap();
        let error = test_dir.build(&server.open_url()).unwrap_err();
        assert!(matches!(error, Error::Channel { .. }), "{error}");
        if file == "netrc" {
            test_dir.settings.netrc = Some(path);
        } else {
            test_dir.settings.auth_files = vec![path];
        }
        let built = test_dir.build(&server.open_url()).unwrap();
        assert!(built.lock.contains(&server.open_url()), "{}", built.lock);
        assert_eq!(holds(test_dir.path(), "secret-word"), None);
    }
}

#[test]
fn an_error_does_not_say_the_token_that_a_file_knows() {
    let (channel, mut test_dir) = (channel(), test_dir());
    let server = serve(channel.path(), Door::Token, |request, _| {
        if request.is_archive() {
            Act::Say(404, String::new())
        } else {
            Act::Serve
        }
    });
    let path = test_dir.path().join("auth.json");
    std::fs::write(&path, r#"{"127.0.0.1": {"CondaToken": "secret-word"}}"#).unwrap();
    test_dir.settings.auth_files = vec![path];
    let text = whole(&test_dir.build(&server.open_url()).unwrap_err());
    assert!(
        text.contains("tool-1.0-0.conda") && text.contains("404"),
        "{text}"
    );
    assert!(!text.contains("secret-word"), "{text}");
}

#[test]
fn files_that_were_named_must_be_there_and_make_sense() {
    let test_dir = test_dir();
    for (text, expected) in [
        (None, "failed to read"),
        (Some("{"), "is not a file of credentials"),
    ] {
        let path = test_dir.path().join("keys");
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let mut settings = test_dir.settings.clone();
        settings.auth_files = vec![path.clone()];
        let error = condense_prefix::Network::open(settings).unwrap_err();
        let said = error.to_string();
        assert!(said.contains(expected) && said.contains("keys"), "{said}");
        if text.is_none() {
            let mut settings = test_dir.settings.clone();
            settings.netrc = Some(path);
            condense_prefix::Network::open(settings).unwrap_err();
        }
    }
}

#[test]
fn a_netrc_that_cannot_be_understood_is_named_and_does_not_stop_others() {
    let (channel, mut test_dir) = (channel(), test_dir());
    let server = serve(channel.path(), Door::Open, |_, _| Act::Serve);
    let path = test_dir.path().join("netrc");
    std::fs::write(&path, "machine\n").unwrap();
    test_dir.settings.netrc = Some(path);
    test_dir.build(&server.url()).unwrap();
    let said = test_dir.said();
    assert!(said.len() == 1 && said[0].contains("netrc"), "{said:?}");
}

#[test]
fn nothing_is_told_to_the_host_that_a_server_redirects_to() {
    for door in [Door::Password, Door::Token] {
        let (channel, test_dir) = (channel(), test_dir());
        let other = serve(channel.path(), Door::Open, |_, _| Act::Serve);
        let away = other.open_url();
        let server = serve(channel.path(), door, move |request, _| {
            if request.is_archive() {
                Act::Say(302, format!("Location: {away}/{}\r\n", request.path))
            } else {
                Act::Serve
            }
        });
        test_dir.build(&server.url()).unwrap();
        let asked = other.requests();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(!format!("{asked:?}").contains("secret-word"), "{asked:?}");
        assert_eq!(asked[0].header("authorization"), None);
        assert_eq!(asked[0].header("referer"), None);
    }
}

#[test]
fn a_mirror_gets_its_own_key_and_not_the_channel_s() {
    let (channel, mut test_dir) = (channel(), test_dir());
    let mirror = serve(channel.path(), Door::Token, |_, _| Act::Serve);
    let prefix = "http://127.0.0.1:9/private";
    let mirrors = &mut test_dir.settings.mirrors;
    mirrors.insert(prefix, &[mirror.url()]).unwrap();
    let built = test_dir
        .build("http://me:other-word@127.0.0.1:9/private")
        .unwrap();
    assert!(built.lock.contains(prefix), "{}", built.lock);
    let asked = mirror.requests();
    assert!(
        asked.iter().all(
            |request| request.target.starts_with("/t/secret-word/channel/")
                && request.header("authorization").is_none()
        ),
        "{asked:?}"
    );
    for word in ["secret-word", "other-word"] {
        assert_eq!(holds(test_dir.path(), word), None);
    }
}
