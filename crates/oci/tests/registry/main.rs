//! Tests that pull images of real tools from a real registry, and compare the results with those of
//! a real runtime.
#![allow(clippy::unwrap_used)]

mod listing;
mod test_registry;

use condense_diagnostics::Hint as _;
use std::path::Path;
use std::process::Command;

use condense_oci::Credentials;
use condense_oci::Error;

use listing::{Listing, listing};
use test_registry::{PASSWORD, TestRegistry, USER, run};

/// Checks whether the files at a path are compared. The runtime's own files are compared by their
/// behaviour.
fn is_compared(path: &str) -> bool {
    !path.starts_with(".singularity.d")
}

/// Checks whether a difference at a path has a known reason.
fn explained(path: &str, theirs: Option<&String>, ours: Option<&String>) -> bool {
    match path {
        // The runtime's file has the time of the pull, and condense's file has the image's own
        // time.
        "etc/hosts" | "etc/resolv.conf" => {
            let without_time = |entry: &String| entry.rsplit_once(' ').unwrap().0.to_owned();
            theirs.map(without_time) == ours.map(without_time)
        }
        // The runtime unpacks these files as an ordinary user, who cannot read them, so their
        // contents are lost. Condense never unpacks them.
        "s/m000" => ours.is_some_and(|entry| entry.contains("f 0000 6 ")),
        "s/d000" | "s/d000/in" => theirs.is_none() && ours.is_some(),
        _ => false,
    }
}

fn compare(tag: &str, theirs: &Listing, ours: &Listing) {
    let mut different = Vec::new();
    let mut paths: Vec<&String> = theirs.keys().chain(ours.keys()).collect();
    paths.sort();
    paths.dedup();
    assert!(paths.len() > 10, "{tag}: hardly anything is there");
    for path in paths.into_iter().filter(|path| is_compared(path)) {
        let [theirs, ours] = [theirs.get(path), ours.get(path)];
        if theirs != ours && !explained(path, theirs, ours) {
            different.push(format!("{path:?}: theirs {theirs:?}, ours {ours:?}"));
        }
    }
    assert!(different.is_empty(), "{tag}:\n{}", different.join("\n"));
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn every_file_is_as_the_runtime_leaves_it() {
    let registry = TestRegistry::new();
    for tag in registry.tags() {
        registry.push(
            &format!("oci:{}:{tag}", registry.images.join("layout").display()),
            &tag,
            &[],
        );
    }
    registry.push(
        &format!("oci:{}:1", registry.images.join("umoci").display()),
        "umoci",
        &[],
    );
    // The image has docker's own manifest format and layers that are compressed with zstd, as
    // skopeo writes them.
    let layout = format!("oci:{}:whiteouts", registry.images.join("layout").display());
    registry.push(&layout, "docker", &["--format", "v2s2"]);
    for tag in registry
        .tags()
        .into_iter()
        .chain(["umoci".into(), "docker".into()])
    {
        let ours = registry.pull(&tag);
        // The runtime takes the first matching entry of an index, even if it is for a later
        // processor, so the digest is given.
        let reference = format!("docker://{}/test/{tag}@{}", registry.host, ours.digest);
        let theirs = registry.pull_with_runtime(&reference, &tag);
        compare(&tag, &listing(&theirs), &listing(&ours.path));
        fs_err::remove_file(&theirs).unwrap();
    }
}

/// Returns the output of a program in a SIF that a runtime starts.
fn says(registry: &TestRegistry, sif: &Path, action: &[&str], arguments: &[&str]) -> String {
    let mut command = registry.runtime();
    command
        .args(action)
        .arg("--cleanenv")
        .arg(sif)
        .args(arguments);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn every_image_runs_as_the_runtime_s_own() {
    let registry = TestRegistry::new();
    for tag in ["whiteouts", "entry-only", "cmd-only", "odd-env"] {
        let layout = format!("oci:{}:{tag}", registry.images.join("layout").display());
        registry.push(&layout, tag, &[]);
    }
    for tag in ["whiteouts", "entry-only", "cmd-only"] {
        let ours = registry.pull(tag).path;
        let theirs = registry.pull_with_runtime(&registry.reference(tag), tag);
        let both = |action: &[&str], arguments: &[&str]| {
            let [theirs, ours] =
                [&theirs, &ours].map(|sif| says(&registry, sif, action, arguments));
            assert_eq!(ours, theirs, "{tag}: {action:?} {arguments:?}");
            ours
        };
        both(&["run"], &[]);
        both(&["run"], &["/bin/echo", "a b", "$HOME"]);
        both(&["run", "--no-eval"], &["/bin/echo", "a b", "$HOME"]);
        for name in [
            "PLAIN",
            "SPACES",
            "EMPTY",
            "EQ",
            "UTF8",
            "PATH",
            "LD_LIBRARY_PATH",
            "PS1",
        ] {
            both(&["exec"], &["/bin/sh", "-c", &format!("echo \"${name}\"")]);
        }
        both(
            &["exec", "--env", "PLAIN=mine"],
            &["/bin/sh", "-c", "echo $PLAIN"],
        );
        fs_err::remove_file(&theirs).unwrap();
    }
    // The runtime's image is wrong here: because of one backtick, every variable is lost.
    let odd = registry.pull("odd-env").path;
    let shown = says(
        &registry,
        &odd,
        &["exec"],
        &[
            "/bin/sh",
            "-c",
            "printf '<%s>' \"$PLAIN\" \"$QUOTES\" \"$DOLLAR\" \"$BS\" \"$NL\" \"$TICK\"",
        ],
    );
    assert_eq!(
        shown,
        "<one><it's \"quoted\"><$HOME/${PLAIN}><back\\slash><line1\nline2><`id`>"
    );
    let labels = run(registry
        .runtime()
        .args(["inspect", "--labels"])
        .arg(&registry.pull("whiteouts").path));
    assert!(labels.contains("with.quote: a \"b\" 'c'"), "{labels}");
    assert!(labels.contains("org.label-schema.usage.singularity.deffile.bootstrap: docker"));
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_registry_with_a_password_and_an_authority_of_its_own_is_used() {
    let mut registry = TestRegistry::secured();
    let layout = format!("oci:{}:cmd-only", registry.images.join("layout").display());
    registry.push(&layout, "private", &[]);
    let refused = registry.try_pull("private").unwrap_err();
    assert!(matches!(refused, Error::Unreachable { .. }), "{refused}");
    assert!(refused.hint().unwrap().contains("SSL_CERT_FILE"));

    registry.trust();
    let refused = registry.try_pull("private").unwrap_err();
    assert!(matches!(refused, Error::Denied { .. }), "{refused}");

    let password = |password: &str| Credentials::Password {
        user: USER.to_owned(),
        password: password.to_owned(),
    };
    registry.options.access.keyring.given = Some(password("hunter2"));
    let refused = registry.try_pull("private").unwrap_err();
    assert!(matches!(refused, Error::Denied { .. }), "{refused}");
    registry.options.access.keyring.given = Some(password(PASSWORD));
    let pulled = registry.try_pull("private").unwrap();

    // The credentials come from docker's file, and then from a login with the runtime.
    registry.options.access.keyring.given = None;
    registry.options.access.keyring.docker_files = vec![registry.docker_config()];
    let again = registry.try_pull("private").unwrap();
    assert_eq!(again.digest, pulled.digest);
    let [docker, remote] = registry.runtime_login();
    registry.options.access.keyring.docker_files = vec![docker];
    registry.options.access.keyring.remote_files = vec![remote];
    registry.try_pull("private").unwrap();
    for secret in [PASSWORD, "hunter2"] {
        let bytes = fs_err::read(&again.path).unwrap();
        let found = bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!found, "a password is in the image");
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_sif_that_the_runtime_pushed_comes_back_as_it_was() {
    let registry = TestRegistry::new();
    let layout = format!("oci:{}:cmd-only", registry.images.join("layout").display());
    registry.push(&layout, "cmd-only", &[]);
    let theirs = registry.pull_with_runtime(&registry.reference("cmd-only"), "pushed");
    let reference = format!("oras://{}/sif/x:1", registry.host);
    run(registry
        .runtime()
        .args(["push", "--no-https"])
        .arg(&theirs)
        .arg(&reference));
    let ours = registry.pull_reference(&reference, "pulled.sif").unwrap();
    assert_eq!(
        fs_err::read(theirs).unwrap(),
        fs_err::read(ours.path).unwrap()
    );
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn archives_that_skopeo_writes_are_read() {
    let registry = TestRegistry::new();
    let layout = format!("oci:{}:whiteouts", registry.images.join("layout").display());
    registry.push(&layout, "whiteouts", &[]);
    let expected = listing(&registry.pull("whiteouts").path);
    for (scheme, rest) in [("docker-archive", ":test/x:1"), ("oci-archive", ":x")] {
        let path = registry.path(&format!("{scheme}.tar"));
        let target = format!("{scheme}:{}{rest}", path.display());
        run(Command::new("skopeo").args(["--insecure-policy", "copy", "-q", &layout, &target]));
        let reference = format!("{scheme}:{}", path.display());
        let pulled = registry
            .pull_reference(&reference, &format!("{scheme}.sif"))
            .unwrap();
        compare(scheme, &expected, &listing(&pulled.path));
    }
}
