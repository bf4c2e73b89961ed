//! Tests of `condense sif` without a runtime: SIF files are created, extended, listed and emptied.

use std::path::Path;

use crate::harness::{CommandOutput, Run, TestEnv};

fn sif(test: &TestEnv, arguments: &[&str]) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.arg("sif").args(arguments).run()
}

#[track_caller]
fn refused(test: &TestEnv, arguments: &[&str], status: i32, words: &[&str]) {
    let said = sif(test, arguments);
    assert_eq!(
        (said.status, said.stdout.as_str()),
        (status, ""),
        "{said:?}"
    );
    for word in words {
        assert!(said.stderr.contains(word), "`{word}` is not in {said:?}");
    }
}

/// Returns the path of an image from the tests of the reader.
fn image() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/image/tests/images/zstd.sqfs");
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_is_added_is_listed_dumped_and_deleted() {
    let test = TestEnv::new();
    sif(&test, &["new", "a.sif"]).succeeded();
    test.write("def", "bootstrap: scratch\n");
    test.write(
        "inspect-metadata.json",
        r#"{"data":{"attributes":{"labels":{"b":"2","a":"1"},"deffile":"from: x","runscript":"echo hi"}},"type":"container"}"#,
    );
    let add = |arguments: &[&str]| {
        let arguments = [&["add", "a.sif"], arguments].concat();
        sif(&test, &arguments).succeeded().stdout
    };
    assert_eq!(add(&["def", "--type", "deffile"]), "1\n");
    assert_eq!(add(&["inspect-metadata.json", "--type", "json"]), "2\n");
    let root = [
        "--type",
        "partition",
        "--role",
        "primary",
        "--arch",
        "aarch64",
    ];
    assert_eq!(add(&[&[image().as_str()][..], &root].concat()), "3\n");
    assert_eq!(
        add(&[
            "def", "--type", "generic", "--group", "none", "--link", "group:1"
        ]),
        "4\n"
    );

    let listed = sif(&test, &["list", "a.sif"]).succeeded().stdout;
    let lines: Vec<Vec<&str>> = listed
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[1], ["1", "1", "-", "32176", "19", "deffile"]);
    assert_eq!(
        lines[3][5..],
        ["partition", "squashfs", "primary", "aarch64"]
    );
    assert_eq!(lines[4][1..4], ["-", "group", "1"]);
    let json = sif(&test, &["list", "--json", "a.sif"]).succeeded().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["objects"][2]["partition"]["role"], "primary");
    assert_eq!(json["arch"], "aarch64");
    assert_eq!(json["created"], serde_json::Value::Null);
    assert_eq!(json["objects"][3]["link_group"], 1);

    let inspected = sif(&test, &["inspect", "a.sif"]).succeeded().stdout;
    assert!(inspected.contains("architecture: aarch64\n"), "{inspected}");
    assert!(inspected.ends_with("\na: 1\nb: 2\n"), "{inspected}");
    let script = sif(&test, &["inspect", "--runscript", "a.sif"]).succeeded();
    assert_eq!(script.stdout, "echo hi\n");
    let json = sif(&test, &["inspect", "--json", "a.sif"])
        .succeeded()
        .stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["labels"]["a"], &json["deffile"]),
        (&"1".into(), &"from: x".into())
    );

    let dumped = sif(&test, &["dump", "a.sif", "1"]).succeeded();
    assert_eq!(dumped.stdout, "bootstrap: scratch\n");
    sif(&test, &["dump", "a.sif", "3", "-o", "root"]).succeeded();
    let root = fs_err::read(test.path("work/root")).unwrap();
    assert_eq!(root, fs_err::read(image()).unwrap());
    refused(&test, &["dump", "a.sif", "3", "-o", "root"], 1, &["root"]);

    sif(&test, &["del", "a.sif", "2", "4", "--compact", "--wipe"]).succeeded();
    let listed = sif(&test, &["list", "a.sif"]).succeeded().stdout;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    // Without the metadata, the definition file still names the base.
    let definition = sif(&test, &["inspect", "--deffile", "a.sif"]).succeeded();
    assert_eq!(definition.stdout, "bootstrap: scratch\n");
    test.left_nothing();
}

#[test]
fn times_come_from_the_user_alone() {
    let test = TestEnv::new();
    test.write("def", "x");
    let add = ["add", "a.sif", "def", "--type", "deffile"];
    sif(&test, &["new", "a.sif"]).succeeded();
    sif(&test, &add).succeeded();
    let first = fs_err::read(test.path("work/a.sif")).unwrap();
    fs_err::remove_file(test.path("work/a.sif")).unwrap();
    sif(&test, &["new", "a.sif"]).succeeded();
    sif(&test, &add).succeeded();
    assert_eq!(first, fs_err::read(test.path("work/a.sif")).unwrap());

    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command
        .env("SOURCE_DATE_EPOCH", "86400")
        .arg("sif")
        .args(add);
    command.run().succeeded();
    let json = sif(&test, &["list", "--json", "a.sif"]).succeeded().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["created"], serde_json::Value::Null);
    assert_eq!(json["modified"], "1970-01-02T00:00:00Z");
    assert_eq!(json["objects"][1]["created"], "1970-01-02T00:00:00Z");
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command
        .env("SOURCE_DATE_EPOCH", "soon")
        .arg("sif")
        .args(add);
    let said = command.run();
    assert!(said.stderr.contains("SOURCE_DATE_EPOCH `soon`"), "{said:?}");
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let test = TestEnv::new();
    sif(&test, &["new", "a.sif"]).succeeded();
    test.write("text", "no image");
    refused(
        &test,
        &["new", "a.sif"],
        1,
        &["a.sif", "hint: remove it first"],
    );
    refused(
        &test,
        &["list", "text"],
        1,
        &["text", "does not begin as a SIF"],
    );
    refused(&test, &["list", "nowhere.sif"], 1, &["nowhere.sif"]);
    refused(
        &test,
        &["dump", "a.sif", "7"],
        1,
        &["object 7", "is not in"],
    );
    refused(&test, &["del", "a.sif", "7"], 1, &["object 7", "is not in"]);
    let partition = ["add", "a.sif", "text", "--type", "partition"];
    refused(&test, &partition, 2, &["--role"]);
    let overlay = [&partition[..], &["--role", "overlay"]].concat();
    refused(&test, &overlay, 1, &["does not begin as a SquashFS image"]);
    fs_err::write(
        test.path("work/short"),
        &fs_err::read(image()).unwrap()[..1000],
    )
    .unwrap();
    let overlay = [
        "add",
        "a.sif",
        "short",
        "--type",
        "partition",
        "--role",
        "data",
    ];
    refused(&test, &overlay, 1, &["short"]);
    for wrong in [
        ["--link", "x"],
        ["--group", "0"],
        ["--arch", "pdp11"],
        ["--align", "0"],
    ] {
        let add = [&["add", "a.sif", "text", "--type", "generic"][..], &wrong].concat();
        refused(&test, &add, 2, &[wrong[0]]);
    }
    let listed = sif(&test, &["list", "a.sif"]).succeeded().stdout;
    assert_eq!(listed.lines().count(), 1, "nothing was added: {listed}");
}

/// Returns the path of a key from the tests of signatures.
fn key(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/image/tests/keys");
    path.join(name).to_str().unwrap().to_owned()
}

#[test]
fn what_is_signed_is_verified() {
    let test = TestEnv::new();
    test.write("def", "from: x\n");
    sif(&test, &["new", "a.sif"]).succeeded();
    sif(&test, &["add", "a.sif", "def", "--type", "deffile"]).succeeded();
    refused(
        &test,
        &["verify", "a.sif"],
        1,
        &["group 1 has no signature"],
    );
    refused(
        &test,
        &["sign", "a.sif"],
        1,
        &["no key to sign with", "--key FILE"],
    );
    let locked = key("locked.secret.asc");
    let sign = ["sign", "a.sif", "--key", &locked];
    refused(&test, &sign, 1, &["is the passphrase right?"]);
    test.write("passphrase", "open sesame\n");
    let signed = sif(
        &test,
        &[&sign[..], &["--passphrase-file", "passphrase"]].concat(),
    );
    assert_eq!(signed.succeeded().stdout, "2\n");

    let (public, all) = (key("locked.asc"), key("all.gpg"));
    for ring in [&public, &all] {
        let verified = sif(&test, &["verify", "a.sif", "--key", ring]).succeeded();
        assert!(
            verified
                .stdout
                .starts_with("group 1: signature 2 by Locked Tester"),
            "{verified:?}"
        );
    }
    let other = sif(
        &test,
        &["verify", "--json", "a.sif", "--key", &key("plain.asc")],
    );
    assert_eq!(other.status, 1, "{other:?}");
    let told: serde_json::Value = serde_json::from_str(&other.stdout).unwrap();
    let told = &told["signatures"];
    assert_eq!(told[0]["holds"], false);
    assert!(
        told[0]["problem"]
            .as_str()
            .unwrap()
            .contains("not among those")
    );

    // Without --key, the keys of the container runtime are used.
    let keys = test.path("home/.apptainer/keys");
    fs_err::create_dir_all(&keys).unwrap();
    fs_err::copy(&all, keys.join("pgp-public")).unwrap();
    sif(&test, &["verify", "a.sif"]).succeeded();
    let added = sif(&test, &["add", "a.sif", "def", "--type", "generic"]).succeeded();
    assert!(
        added
            .stderr
            .contains("signature 2 of group 1 does not hold"),
        "{added:?}"
    );
    let verified = sif(&test, &["verify", "a.sif"]);
    assert_eq!(verified.status, 1, "{verified:?}");
    assert!(
        verified
            .stdout
            .contains("does not hold: group 1 has other objects")
    );
}
