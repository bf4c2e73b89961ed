#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

fn password(user: &str, password: &str) -> Credentials {
    Credentials::Password {
        user: user.to_owned(),
        password: password.to_owned(),
    }
}

fn find(keyring: &Keyring, name: &str) -> Result<Option<Credentials>, Error> {
    let name = Name::parse(name).unwrap();
    let found = keyring.find(&name, &Cancel::default())?;
    Ok(found.map(|found| found.credentials))
}

fn of_file(text: &str) -> (tempfile::TempDir, Keyring) {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("config.json");
    fs_err::write(&path, text).unwrap();
    let keyring = Keyring {
        docker_files: vec![scratch.path().join("missing.json"), path],
        ..Keyring::default()
    };
    (scratch, keyring)
}

fn program(dir: &Path, name: &str, text: &str) {
    let path = dir.join(format!("docker-credential-{name}"));
    fs_err::write(&path, text).unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The text `dTpw` is `u:p` in base64.
#[test]
fn docker_s_file_is_understood() {
    let (_scratch, keyring) = of_file(
        r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "dTpw"},
            "quay.io": {"username": "qu", "password": "qp"},
            "quay.io/team": {"auth": "dGVhbTpwOnc="},
            "https://old.example/v2/": {"auth": "dTpwAAAA"},
            "ghcr.io": {"identitytoken": "it"},
            "azure.example": {"auth": "PHRva2VuPjp0b2s="},
            "nvcr.io": {"registrytoken": "rt"},
            "kept.example": {},
            "127.0.0.1:5000": {"auth": "dTpw"}
        }, "HttpHeaders": {}}"#,
    );
    for (name, expected) in [
        ("debian", Some(password("u", "p"))),
        ("quay.io/x/y", Some(password("qu", "qp"))),
        ("quay.io/team/deep/x", Some(password("team", "p:w"))),
        ("quay.io/teams/x", Some(password("qu", "qp"))),
        ("old.example/x", Some(password("u", "p"))),
        (
            "ghcr.io/x",
            Some(Credentials::IdentityToken("it".to_owned())),
        ),
        (
            "azure.example/x",
            Some(Credentials::IdentityToken("tok".to_owned())),
        ),
        (
            "nvcr.io/x",
            Some(Credentials::RegistryToken("rt".to_owned())),
        ),
        ("kept.example/x", None),
        ("127.0.0.1:5000/x", Some(password("u", "p"))),
        ("127.0.0.1:5001/x", None),
        ("other.example/x", None),
    ] {
        assert_eq!(find(&keyring, name).unwrap(), expected, "{name}");
    }
}

#[test]
fn credentials_given_for_this_run_come_first() {
    let (scratch, mut keyring) = of_file(r#"{"auths": {"h.example": {"auth": "dTpw"}}}"#);
    let named = scratch.path().join("named.json");
    keyring.auth_file = Some(named.clone());
    assert!(matches!(
        find(&keyring, "h.example/x"),
        Err(Error::Io { .. })
    ));
    fs_err::write(
        &named,
        r#"{"auths": {"h.example": {"username": "n", "password": "n"}}}"#,
    )
    .unwrap();
    assert_eq!(
        find(&keyring, "h.example/x").unwrap(),
        Some(password("n", "n"))
    );
    keyring.given = Some(password("g", "g"));
    assert_eq!(
        find(&keyring, "h.example/x").unwrap(),
        Some(password("g", "g"))
    );
}

#[test]
fn the_runtimes_remote_file_is_understood() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("remote.yaml");
    let text = "Active: SylabsCloud\nCredentials:\n- URI: docker://h.example\n  Auth: Basic dTpw\n  Insecure: false\n\
                - URI: oras://b.example\n  Auth: Bearer tok\n- URI: docker://noted.example\n  Insecure: false\n\
                - URI: docker://odd.example\n  Auth: hunter2\n";
    fs_err::write(&path, text).unwrap();
    let keyring = Keyring {
        remote_files: vec![scratch.path().join("missing"), path.clone()],
        ..Keyring::default()
    };
    assert_eq!(
        find(&keyring, "h.example/x").unwrap(),
        Some(password("u", "p"))
    );
    let token = Credentials::RegistryToken("tok".to_owned());
    assert_eq!(find(&keyring, "b.example/x").unwrap(), Some(token));
    for name in ["c.example/x", "noted.example/x"] {
        assert_eq!(find(&keyring, name).unwrap(), None);
    }
    let error = find(&keyring, "odd.example/x").unwrap_err().to_string();
    assert!(
        error.contains("remote.yaml") && !error.contains("hunter2"),
        "{error}"
    );
    fs_err::write(&path, "").unwrap();
    assert_eq!(find(&keyring, "h.example/x").unwrap(), None);
}

#[test]
fn helpers_are_asked() {
    let (scratch, mut keyring) = of_file(
        r#"{"credsStore": "all", "credHelpers": {"own.example": "own", "gone.example": "gone", "up.example": "../up"},
            "auths": {"unknown.example": {"auth": "dTpw"}}}"#,
    );
    let bin = scratch.path();
    keyring.helper_dirs = vec![bin.to_owned()];
    program(
        bin,
        "all",
        "#!/bin/sh\n[ \"$1\" = get ] || exit 9\nread -r server\ncase $server in\n\
         unknown*) echo 'credentials not found in native keychain'; exit 1;;\n\
         broken*) echo 'keyring is locked: hunter2'; exit 1;;\n\
         odd*) echo hunter2;;\n\
         *) printf '{\"ServerURL\": \"%s\", \"Username\": \"u\", \"Secret\": \"for %s\"}' \"$server\" \"$server\";;\nesac\n",
    );
    program(
        bin,
        "own",
        "#!/bin/sh\necho '{\"Username\": \"<token>\", \"Secret\": \"t\"}'\n",
    );
    assert_eq!(
        find(&keyring, "debian").unwrap(),
        Some(password("u", "for https://index.docker.io/v1/"))
    );
    assert_eq!(
        find(&keyring, "h.example:5000/x").unwrap(),
        Some(password("u", "for h.example:5000"))
    );
    let token = Credentials::IdentityToken("t".to_owned());
    assert_eq!(find(&keyring, "own.example/x").unwrap(), Some(token));
    assert_eq!(
        find(&keyring, "unknown.example/x").unwrap(),
        Some(password("u", "p"))
    );
    for (name, words) in [
        ("broken.example/x", ["docker-credential-all", "failed"]),
        ("odd.example/x", ["docker-credential-all", "protocol"]),
        ("gone.example/x", ["docker-credential-gone", "not on PATH"]),
        ("up.example/x", ["../up", "slash"]),
    ] {
        let error = find(&keyring, name).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_helper_that_never_answers_is_given_up() {
    let scratch = tempfile::tempdir().unwrap();
    program(scratch.path(), "slow", "#!/bin/sh\nexec sleep 600\n");
    let name = Name::parse("h.example/x").unwrap();
    let dirs = [scratch.path().to_owned()];
    let nobody = Cancel::default();
    let soon = Duration::from_millis(50);
    let error = helper::query("slow", &name, &dirs, soon, &nobody).unwrap_err();
    assert!(matches!(error, Error::Helper { .. }), "{error}");
    let cancelled = Cancel(Some(std::sync::Arc::new(true.into())));
    let error = helper::query("slow", &name, &dirs, HELPER_TIMEOUT, &cancelled).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
}

#[test]
fn the_error_for_a_malformed_file_has_the_place_but_no_contents() {
    for text in [
        "{\"auths\": {\"h.example\": \"hunter2\"}}",
        "{\"auths\": {\"h.example\": {\"auth\": \"hunter2\"}}}",
        "hunter2",
        "{\"auths\": {\"h.example\": {\"auth\": \"aHVudGVyMg==\"}}}",
    ] {
        let (_scratch, keyring) = of_file(text);
        let error = find(&keyring, "h.example/x").unwrap_err().to_string();
        assert!(error.contains("config.json"), "{error}");
        assert!(
            !error.contains("hunter2") && !error.contains("aHVu"),
            "{error}"
        );
    }
    let shown = format!("{:?}", password("me", "hunter2"));
    assert!(
        !shown.contains("hunter2") && !shown.contains("me"),
        "{shown}"
    );
}
