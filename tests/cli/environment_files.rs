//! Tests of `condense spec`, and of environment files in other formats than environment.yml.

use rattler_digest::{Md5, Sha256, compute_file_digest};

use crate::harness::{CommandOutput, Run, TestEnv};

fn spec(test: &TestEnv, arguments: &[&str]) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.arg("spec").args(arguments).run()
}

fn url(test: &TestEnv, package: &str) -> String {
    format!(
        "{}/linux-64/{package}.conda",
        test.channel.trim_end_matches('/')
    )
}

fn digests(test: &TestEnv, package: &str) -> (String, String) {
    let path = test.path(format!("channel/linux-64/{package}.conda"));
    (
        hex::encode(compute_file_digest::<Md5>(&path).unwrap()),
        hex::encode(compute_file_digest::<Sha256>(&path).unwrap()),
    )
}

#[test]
fn explicit_files_are_installed_as_they_say() {
    let test = TestEnv::new();
    let (md5, _) = digests(&test, "library-2.0-0");
    let (_, sha256) = digests(&test, "tool-1.0-0");
    let (tool, library) = (url(&test, "tool-1.0-0"), url(&test, "library-2.0-0"));
    // The packages are listed before their dependencies, and one has no digest.
    let text = format!(
        "# platform: linux-64\n@EXPLICIT\n{tool}#sha256:{sha256}\n{library}#{md5}\n{}\n",
        url(&test, "no-programs-1.0-0")
    );
    let list = test.write("explicit.txt", &text);
    let said = test.build(&[list.to_str().unwrap()]).succeeded();
    assert_eq!(said.stdout.matches("WARNING").count(), 1, "{said:?}");
    let installation = test.installation();
    let target = fs_err::read_link(installation.join("_bin/tool")).unwrap();
    assert!(
        target.ends_with("miniforge/envs/env1/bin/tool"),
        "{target:?}"
    );
    let lock = fs_err::read_to_string(installation.join("share/condense.lock")).unwrap();
    assert_eq!(lock.matches("sha256: ").count(), 3, "{lock}");
    assert!(lock.contains(&sha256) && lock.contains(&md5), "{lock}");
    assert!(
        lock.contains("library >=2"),
        "what the archive says is not there: {lock}"
    );
    assert_eq!(
        fs_err::read_to_string(installation.join("share/previous_input/1/explicit.txt")).unwrap(),
        text
    );
    test.left_nothing();
}

#[test]
fn explicit_files_that_lie_are_refused() {
    let test = TestEnv::new();
    let none = "0".repeat(64);
    let tool = url(&test, "tool-1.0-0");
    let elsewhere = tool.replace("linux-64", "osx-arm64");
    for (line, words) in [
        (
            format!("{tool}#{}", &none[..32]),
            "hash mismatch: its md5 is",
        ),
        (
            format!("{tool}#sha256:{none}"),
            "hash mismatch: its sha256 is",
        ),
        (format!("{tool}#{none}"), "hash mismatch: its sha256 is"),
        (elsewhere, "is for osx-arm64"),
        (url(&test, "absent-1.0-0"), "failed to download"),
        (
            url(&test, "absent"),
            "list.txt:2:1: `absent.conda` is not the name of a package",
        ),
    ] {
        let list = test.write("list.txt", &format!("@EXPLICIT\n{line}\n"));
        test.build(&[list.to_str().unwrap()])
            .failed(1, &["[ ERROR ] ", words]);
        assert!(!test.installation().exists());
        test.left_nothing();
    }
    fs_err::copy(
        test.path("channel/linux-64/tool-1.0-0.conda"),
        test.path("channel/linux-64/tool-9.0-0.conda"),
    )
    .unwrap();
    let list = test.write(
        "list.txt",
        &format!("@EXPLICIT\n{}\n", url(&test, "tool-9.0-0")),
    );
    test.build(&[list.to_str().unwrap()])
        .failed(1, &["it holds tool-1.0-0"]);
}

#[test]
fn what_an_explicit_file_lacks_is_said() {
    let test = TestEnv::new();
    let list = test.write(
        "list.txt",
        &format!("@EXPLICIT\n{}\n", url(&test, "tool-1.0-0")),
    );
    let said = test.build(&[list.to_str().unwrap()]).succeeded();
    let words = "`tool` needs `library >=2`, which is not there";
    assert!(said.stdout.contains(words), "{said:?}");
}

#[test]
fn lists_of_packages_are_solved() {
    let test = TestEnv::new();
    let list = test.write(
        "list.txt",
        "# platform: linux-64\nCHANNEL::tool=1.0=0\nCHANNEL::gated >=1\n",
    );
    test.build(&[list.to_str().unwrap()]).succeeded();
    assert!(test.installation().join("bin/tool").exists());
    assert!(test.installation().join("bin/new").exists());
}

#[test]
fn digests_of_packages_by_url_are_checked() {
    let test = TestEnv::new();
    let (_, sha256) = digests(&test, "no-programs-1.0-0");
    let package = url(&test, "no-programs-1.0-0");
    let environment = |line: &str| {
        test.write(
            "env.yml",
            &format!("channels: [CHANNEL]\ndependencies:\n  - tool\n  - {line}\n"),
        )
    };
    let wrong = environment(&format!("{package}#sha256:{}", "0".repeat(64)));
    let said = test
        .build(&[wrong.to_str().unwrap()])
        .failed(1, &["[ ERROR ] "]);
    assert!(said.stdout.contains("no-programs"), "{said:?}");
    assert!(!test.installation().exists());
    let right = environment(&format!("{package}#sha256:{sha256}"));
    test.build(&[right.to_str().unwrap()]).succeeded();
}

#[test]
fn requirements_are_refused_with_the_way_out() {
    let test = TestEnv::new();
    test.write("requirements.txt", "rich[jupyter]\n--pre\n");
    test.build(&["requirements.txt"]).failed(
        1,
        &[
            "`requirements.txt` is a requirements file for pip",
            "`pip-containerize new --prefix DIR requirements.txt`",
        ],
    );
    test.left_nothing();
}

#[test]
fn spec_shows_how_a_file_is_read() {
    let test = TestEnv::new();
    test.write(
        "env.yml",
        "name: x\nchannels: ['https://u:p@host.example/c', nodefaults]\nfoo: 1\ndependencies:\n- python =3.11\n- pip:\n  - rich >13\n  - git+https://t@h/x\nvariables: {A: 1}\n",
    );
    let said = spec(&test, &["env.yml", "--json"]).succeeded();
    let json: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "schema": "condense.spec/1",
            "kind": "environment",
            "channels": ["https://host.example/c/"],
            "specs": ["python =3.11"],
            "pip": ["rich >13", "git+https://h/x"],
            "variables": ["A=1"],
            "warnings": [
                "env.yml:3: `foo:` means nothing here and is ignored",
                "there is a `pip:` section but no `pip` among the packages, so `pip` was added",
            ],
        })
    );
    let said = spec(&test, &["env.yml"]).succeeded();
    assert!(
        said.stdout.starts_with(
            "kind: environment\nchannels:\n  https://host.example/c/\nspecs:\n  python =3.11\n"
        ),
        "{said:?}"
    );
    test.write("requirements.txt", "rich==13.7.1\n");
    let said = spec(&test, &["requirements.txt", "--json"]).succeeded();
    assert!(
        said.stdout.contains("\"kind\": \"requirements\""),
        "{said:?}"
    );
    test.write("bad.yml", "dependencies:\n- python\n- numpy >=\n");
    let said = spec(&test, &["bad.yml"]).failed(1, &[]);
    assert!(said.stdout.is_empty(), "{said:?}");
    assert!(
        said.stderr
            .contains("bad.yml:3:3: `numpy >=` is not a package spec"),
        "{said:?}"
    );
}

#[test]
fn channels_may_come_from_variables() {
    let test = TestEnv::new();
    test.write("env.yml", "channels: ['${MINE}']\ndependencies: [tool]\n");
    test.build(&["env.yml"]).failed(
        1,
        &["env.yml:1:12: the environment variable `MINE` of `${MINE}` is not set"],
    );
    let mut command = test.new_command(&["env.yml"]);
    command.env("MINE", &test.channel);
    command.run().succeeded();
}

#[test]
fn what_cannot_be_followed_is_said_by_every_command_before_anything_is_fetched() {
    let test = TestEnv::new();
    test.write(
        "env.yml",
        "channels: [CHANNEL]\ndependencies:\n- tool\n- pip:\n  - certifi @ file:///croot/certifi_1690232220950/work/certifi\n",
    );
    test.write(
        "pixi.lock",
        "version: 6\nenvironments:\n  default:\n    channels: []\n    packages: {}\npackages: []\n",
    );
    for (file, words) in [
        ("env.yml", ["env.yml:5:5: ", "pip list --format=freeze"]),
        ("pixi.lock", ["this is a lock file", "--lock"]),
    ] {
        // The command `check` has a separate exit status for checks that could not start.
        for (command, status) in [("spec", 1), ("check", 2)] {
            let mut program = test.command(env!("CARGO_BIN_EXE_condense"));
            let said = program.args([command, file]).run();
            assert_eq!(said.status, status, "{said:?}");
            for word in words {
                assert!(said.stderr.contains(word), "{said:?}");
            }
        }
        test.build(&[file]).failed(1, &words);
        test.left_nothing();
    }
    test.build(&["--lock", "pixi.lock"]).failed(
        1,
        &["pixi.lock: its environment `default` is empty, it has packages for no platform"],
    );
    test.left_nothing();
}

#[test]
fn files_of_powershell_are_built() {
    let test = TestEnv::new();
    let text = format!(
        "\u{feff}channels: ['{}']\r\ndependencies:\r\n- tool\r\n",
        test.channel
    );
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs_err::write(test.path("work/env.yml"), bytes).unwrap();
    test.build(&["env.yml"]).succeeded();
    assert!(test.installation().join("bin/tool").exists());
}
