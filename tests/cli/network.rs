//! Tests of the network settings: every setting of the user is used, and no credential reaches an
//! installation, an image or the cache.

use std::path::Path;

use crate::{
    harness::{CommandOutput, Run, TestEnv},
    support::server::{Act, Door, Server, serve},
};

fn served(test: &TestEnv, door: Door) -> Server {
    serve(&test.path("channel"), door, |_, _| Act::Serve)
}

/// Writes an environment file that installs `tool` from this channel.
fn environment(test: &TestEnv, channel: &str) -> String {
    let text = format!("channels: ['{channel}']\ndependencies: [tool]\n");
    let path = test.write("env.yml", &text);
    path.to_str().unwrap().to_owned()
}

fn build(test: &TestEnv, variables: &[(&str, &str)], more: &[&str]) -> CommandOutput {
    let mut command = test.new_command(more);
    command.envs(variables.iter().copied());
    command.run()
}

/// Returns the first file below `dir` that has the secret in its content or its name.
fn telling(dir: &Path) -> Option<std::path::PathBuf> {
    for entry in fs_err::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let found = if path.is_symlink() {
            None
        } else if path.is_dir() {
            telling(&path)
        } else {
            let bytes = fs_err::read(&path).unwrap();
            let tells = bytes.windows(11).any(|window| window == b"secret-word")
                || path.to_string_lossy().contains("secret-word");
            // The user's own configuration has the secret.
            (tells && !path.ends_with("work/env.yml")).then_some(path)
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

#[test]
fn credentials_reach_neither_the_result_nor_a_log() {
    for door in [Door::Token, Door::Password] {
        let test = TestEnv::new();
        let server = served(&test, door);
        let env = environment(&test, &server.url());
        // Compressed files are unpacked first, because compression would hide the secret.
        let said = build(&test, &[], &["-v", "--compression", "none", &env]).succeeded();
        assert!(!said.stdout.contains("secret-word"), "{said:#?}");
        assert!(!said.stderr.contains("secret-word"), "{said:#?}");
        assert_eq!(telling(&test.path("")), None);
        let input = test.installation().join("share/previous_input/1/env.yml");
        let input = fs_err::read_to_string(input).unwrap();
        assert!(input.contains(&server.open_url()), "{input}");
    }
}

#[test]
fn credentials_come_from_the_files_that_the_variables_name() {
    let test = TestEnv::new();
    let server = served(&test, Door::Password);
    let env = environment(&test, &server.open_url());
    build(&test, &[], &[&env]).failed(1, &["401", "RATTLER_AUTH_FILE"]);
    let netrc = "machine 127.0.0.1 login me password secret-word\n";
    let netrc = test.write("netrc", netrc);
    let json = r#"{"127.0.0.1": {"BasicHTTP": {"username": "me", "password": "secret-word"}}}"#;
    let json = test.write("keys.json", json);
    for (name, path) in [("NETRC", netrc), ("RATTLER_AUTH_FILE", json)] {
        let variable = (name, path.to_str().unwrap());
        build(&test, &[variable], &["--force", &env]).succeeded();
    }
    build(&test, &[("NETRC", "/not/there")], &["--force", &env]).failed(1, &["/not/there"]);
    test.left_nothing();
}

#[test]
fn offline_builds_from_the_cache_or_says_what_it_lacks() {
    let test = TestEnv::new();
    let server = served(&test, Door::Token);
    let env = environment(&test, &server.url());
    let cold = build(&test, &[], &["--offline", &env]);
    let index = format!("the index {}/linux-64", server.open_url());
    let cold = cold.failed(1, &["offline, and not in the cache", &index, "--offline"]);
    assert!(!cold.stdout.contains("secret-word"), "{cold:#?}");
    assert_eq!(server.requests().len(), 0);
    build(&test, &[], &[&env]).succeeded();
    let before = server.requests().len();
    build(&test, &[], &["--offline", "--force", &env]).succeeded();
    for entry in fs_err::read_dir(test.path("cache/archives")).unwrap() {
        fs_err::remove_file(entry.unwrap().path()).unwrap();
    }
    let names = ["tool-1.0-0.conda", "library-2.0-0.conda"];
    build(&test, &[], &["--offline", "--force", &env]).failed(1, &names);
    assert_eq!(server.requests().len(), before);
    test.left_nothing();
}

#[test]
fn offline_and_pip_need_a_word_to_pip() {
    let test = TestEnv::new();
    let text = "channels: [CHANNEL]\ndependencies: [tool, {pip: [six]}]\n";
    let env = test.write("env.yml", text);
    let said = build(&test, &[], &["--offline", env.to_str().unwrap()]);
    said.failed(1, &["pip", "PIP_NO_INDEX=1"]);
    test.left_nothing();
}

#[test]
fn the_configuration_file_has_mirrors() {
    let test = TestEnv::new();
    let server = served(&test, Door::Token);
    let env = environment(&test, "http://127.0.0.1:9/lab");
    let text = format!(
        "[mirrors]\n'http://127.0.0.1:9/lab' = ['http://127.0.0.1:9/dead', '{}']\n[network]\nretries = 0\n",
        server.url()
    );
    let config = test.write("net.toml", &text);
    let variable = ("CONDENSE_CONFIG", config.to_str().unwrap());
    // Without a cache, a dry run cannot solve offline, as a build cannot.
    let dry = ["--dry-run", "--offline", &env];
    let shown = build(&test, &[variable], &dry);
    assert_eq!(shown.status, 1, "{shown:#?}");
    assert!(
        shown.stderr.contains("offline, and not in the cache"),
        "{shown:#?}"
    );
    build(&test, &[variable], &["--dry-run", &env]).succeeded();
    let shown = build(&test, &[variable], &dry);
    assert!(
        shown.stderr.contains("offline, and not in the cache"),
        "{shown:#?}"
    );
    assert!(
        !shown.stderr.contains("index"),
        "its archives are missing: {shown:#?}"
    );
    let shown = build(&test, &[variable], &["--dry-run", &env]).succeeded();
    assert!(shown.stdout.contains(&server.open_url()), "{shown:#?}");
    assert!(!shown.stdout.contains("secret-word"), "{shown:#?}");
    let said = build(&test, &[variable], &[&env]).succeeded();
    assert!(
        said.stdout.contains("mirror `http://127.0.0.1:9`"),
        "{said:#?}"
    );
    let lock = fs_err::read_to_string(test.installation().join("share/condense.lock")).unwrap();
    assert!(
        lock.contains("http://127.0.0.1:9/lab/linux-64/tool"),
        "{lock}"
    );
    fs_err::write(&config, "[miror]\n").unwrap();
    build(&test, &[variable], &["--force", &env]).failed(1, &["net.toml", "miror"]);
}

#[test]
fn proxies_come_from_the_variables() {
    let test = TestEnv::new();
    let server = served(&test, Door::Open);
    let proxy = crate::support::server::proxy();
    let env = environment(&test, &server.url());
    let http = (
        "http_proxy",
        format!("http://me:secret-word@{}", proxy.address),
    );
    let http = (http.0, http.1.as_str());
    let said = build(&test, &[http], &["-v", &env]).succeeded();
    assert!(!said.stdout.contains("secret-word"), "{said:#?}");
    let asked = proxy.asked.lock().unwrap().len();
    assert!(asked > 0);
    let around = ("NO_PROXY", "127.0.0.1");
    let cache = test.path("cache-2");
    let cache = ("CONDENSE_CACHE_DIR", cache.to_str().unwrap());
    build(&test, &[http, around, cache], &["--force", &env]).succeeded();
    assert_eq!(proxy.asked.lock().unwrap().len(), asked);
    let broken = ("http_proxy", "ftp://me:secret-word@host");
    let said = build(&test, &[broken], &["--force", &env]).failed(1, &["http_proxy"]);
    assert!(!said.stdout.contains("secret-word"), "{said:#?}");
}

#[test]
fn a_busy_server_is_spoken_of_and_asked_again() {
    let test = TestEnv::new();
    let server = serve(&test.path("channel"), Door::Open, |request, earlier| {
        if request.path.contains("tool-1.0") && earlier == 0 {
            Act::Say(503, "Retry-After: 0\r\n".to_owned())
        } else {
            Act::Serve
        }
    });
    let env = environment(&test, &server.url());
    let said = build(&test, &[], &["--jobs", "1", &env]).succeeded();
    assert!(said.stdout.contains("503"), "{said:#?}");
    assert_eq!(server.busiest(), 1);
    build(&test, &[("CONDENSE_JOBS", "0")], &["--force", &env]).failed(1, &["CONDENSE_JOBS"]);
}

#[test]
fn conda_s_configuration_is_followed_on_request_only() {
    let test = TestEnv::new();
    let server = served(&test, Door::Token);
    let alias = server.url();
    let alias = alias.trim_end_matches("/channel");
    let text = format!("channel_alias: {alias}\nchannels: [channel]\npinned_packages: [a]\n");
    fs_err::write(test.path("home/.condarc"), text).unwrap();
    let env = test.write("env.yml", "dependencies: [tool]\n");
    let env = env.to_str().unwrap();
    let asked = ("CW_ENABLE_CONDARC", "1");
    let said = build(&test, &[asked], &[env]).succeeded();
    assert!(said.stdout.contains("pinned_packages"), "{said:#?}");
    assert!(!said.stdout.contains("names no channel"), "{said:#?}");
    assert!(!said.stdout.contains("secret-word"), "{said:#?}");
    let lock = fs_err::read_to_string(test.installation().join("share/condense.lock")).unwrap();
    assert!(lock.contains(&server.open_url()), "{lock}");
    let before = server.requests().len();
    let words = ["names no channel", "conda-forge"];
    build(&test, &[], &["--offline", "--force", env]).failed(1, &words);
    assert_eq!(server.requests().len(), before);
}
