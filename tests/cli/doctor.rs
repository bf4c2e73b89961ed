//! Tests of the servers that `condense doctor` asks, with servers on the loopback interface.

use std::{net::TcpListener, time::Duration};

use serde_json::Value;

use crate::{
    harness::{CommandOutput, Run, TestEnv},
    support::server::{Act, Door, serve},
};

fn doctor(test: &TestEnv, variables: &[(&str, &str)], words: &[&str]) -> CommandOutput {
    test.fake_program("apptainer", "#!/bin/sh\necho apptainer version 1.4.5\n");
    let mut command = test.condense(&["doctor"]);
    command.args(words).envs(variables.iter().copied()).run()
}

/// Returns an address at which nobody listens.
fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Usability row B13: the doctor says which servers answer, which are slow and which are missing.
#[test]
fn servers_are_asked_and_judged() {
    let test = TestEnv::new();
    let good = serve(&test.path("channel"), Door::Open, |_, _| Act::Serve);
    let empty = serve(&test.path("tmp"), Door::Open, |_, _| Act::Serve);
    let slow = serve(&test.path("channel"), Door::Open, |_, _| {
        std::thread::sleep(Duration::from_millis(2300));
        Act::Say(200, String::new())
    });
    let registry = serve(&test.path("tmp"), Door::Open, |_, _| {
        Act::Say(401, String::new())
    });
    let channels = [good.open_url(), empty.open_url(), slow.open_url()].join(",");
    let pypi = format!("{}/simple/", closed());
    let base = format!("docker://{}/me/base:1", registry.address);
    let variables = [
        ("CONDENSE_CHANNELS", channels.as_str()),
        ("PIP_INDEX_URL", pypi.as_str()),
        ("CONDENSE_BASE_IMAGE", base.as_str()),
        ("APPTAINER_NOHTTPS", "1"),
    ];
    let said = doctor(&test, &variables, &["--json"]);
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(value["schema"], "condense.doctor/1", "{said:?}");
    let servers = value["servers"].as_array().unwrap();
    let answers: Vec<(&str, &str)> = servers
        .iter()
        .map(|server| {
            let text = |key: &str| server[key].as_str().unwrap();
            (text("role"), text("answer"))
        })
        .collect();
    assert_eq!(
        answers,
        [
            ("channel", "available"),
            ("channel", "missing"),
            ("channel", "available"),
            ("PyPI", "unreachable"),
            ("registry", "available"),
        ]
    );
    assert_eq!(servers[1]["status"], 404);
    let findings = value["findings"].as_array().unwrap().iter();
    let codes: Vec<&str> = findings
        .map(|finding| finding["code"].as_str().unwrap())
        .collect();
    for code in ["unreachable", "missing-index", "slow-server"] {
        assert!(codes.contains(&code), "{code}: {codes:?}");
    }
    assert_eq!(good.requests()[0].method, "HEAD");
    let text = doctor(&test, &variables, &[]);
    for words in [
        "channel           http://127.0.0.1:",
        "/noarch/repodata.json answers in ",
        "/simple/: connection refused",
        "the channel took 2.",
        "fix:  compute nodes often reach nothing but a proxy",
    ] {
        assert!(text.stdout.contains(words), "{words}: {text:?}");
    }
}

/// Usability row B13: the reason and the way out of a refusal are said.
#[test]
fn refusals_are_explained() {
    let test = TestEnv::new();
    let proxy = serve(&test.path("tmp"), Door::Open, |_, _| {
        Act::Say(407, "Proxy-Authenticate: Basic\r\n".to_owned())
    });
    let proxy = format!("http://{}", proxy.address);
    let closed_door = serve(&test.path("channel"), Door::Password, |_, _| Act::Serve);
    for (variables, words) in [
        (
            vec![
                ("CONDENSE_CHANNELS", "http://channel.example/c"),
                ("http_proxy", &proxy),
            ],
            "the proxy wants a password (407)",
        ),
        (
            vec![("CONDENSE_CHANNELS", "http://no-such-host.invalid/c")],
            "its name is not known here",
        ),
        (
            vec![("CONDENSE_CHANNELS", &closed_door.open_url())],
            "the server wants a password (401)",
        ),
    ] {
        let index = [("PIP_NO_INDEX", "1")];
        let said = doctor(&test, &[&variables[..], &index].concat(), &[]);
        assert!(said.stdout.contains(words), "{words}: {said:?}");
        assert!(said.stdout.contains("warning[unreachable]"), "{said:?}");
        assert!(!said.stdout.contains("PyPI   "), "{said:?}");
    }
}

#[test]
fn offline_the_doctor_asks_nobody() {
    let test = TestEnv::new();
    let server = serve(&test.path("channel"), Door::Open, |_, _| Act::Serve);
    let channel = server.open_url();
    let said = doctor(&test, &[("CONDENSE_CHANNELS", &channel)], &["--offline"]);
    assert!(server.requests().is_empty());
    assert!(!said.stdout.contains("repodata.json"), "{said:?}");
}

#[test]
fn the_index_of_pip_is_the_configured_one() {
    let test = TestEnv::new();
    let dir = test.path("home/.config/pip");
    fs_err::create_dir_all(&dir).unwrap();
    let server = serve(&test.path("tmp"), Door::Open, |_, _| {
        Act::Say(200, String::new())
    });
    let text = format!(
        "[freeze]\nindex-url = http://wrong\n[global]\nindex_url = {}/\n",
        server.open_url()
    );
    fs_err::write(dir.join("pip.conf"), text).unwrap();
    let channel = test.channel.as_str();
    let said = doctor(&test, &[("CONDENSE_CHANNELS", channel)], &[]);
    assert_eq!(server.requests().len(), 1, "{said:?}");
}

/// M14: the bind mounts in force are shown, by the rule of the runtime.
#[test]
fn bind_mounts_in_force_are_shown() {
    let test = TestEnv::new();
    let said = doctor(&test, &[("SINGULARITY_BIND", "")], &["--offline"]);
    assert!(!said.stdout.contains("bind mounts"), "{said:?}");
    let variables = [
        ("SINGULARITY_BIND", "/hidden"),
        ("APPTAINER_BIND", "/a:/b"),
        ("SINGULARITY_BINDPATH", "/c"),
    ];
    let said = doctor(&test, &variables, &["--offline"]);
    let line = "bind mounts       APPTAINER_BIND=/a:/b SINGULARITY_BINDPATH=/c\n";
    assert!(said.stdout.contains(line), "{said:?}");
}

/// D11: whether proot works is tried and not guessed.
#[test]
fn a_proot_is_tried() {
    let test = TestEnv::new();
    let said = doctor(&test, &[], &["--offline"]);
    for words in ["\nscripts as root   ", "\nproot             not on PATH\n"] {
        assert!(said.stdout.contains(words), "`{words}` is not in {said:?}");
    }
    test.fake_program("proot", "#!/bin/sh\nexit 0\n");
    let said = doctor(&test, &[], &["--offline"]);
    let words = "\nproot             does not work: a ";
    assert!(said.stdout.contains(words), "{said:?}");
    test.left_nothing();
}
