//! `condense sif`: files made, filled, looked into and emptied, without a runtime.

use std::path::Path;

use crate::harness::{Ended, Stage, ended};

fn sif(stage: &Stage, arguments: &[&str]) -> Ended {
    let mut command = stage.command(env!("CARGO_BIN_EXE_condense"));
    ended(&command.arg("sif").args(arguments).output().unwrap())
}

#[track_caller]
fn refused(stage: &Stage, arguments: &[&str], status: i32, words: &[&str]) {
    let said = sif(stage, arguments);
    assert_eq!(
        (said.status, said.stdout.as_str()),
        (status, ""),
        "{said:?}"
    );
    for word in words {
        assert!(said.stderr.contains(word), "`{word}` is not in {said:?}");
    }
}

/// One of the images that the reader is tested with.
fn image() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/image/tests/images/zstd.sqfs");
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_is_added_is_listed_dumped_and_deleted() {
    let stage = Stage::new();
    sif(&stage, &["new", "a.sif"]).succeeded();
    stage.write("def", "bootstrap: scratch\n");
    stage.write(
        "inspect-metadata.json",
        r#"{"data":{"attributes":{"labels":{"b":"2","a":"1"},"deffile":"from: x","runscript":"echo hi"}},"type":"container"}"#,
    );
    let add = |arguments: &[&str]| {
        let arguments = [&["add", "a.sif"], arguments].concat();
        sif(&stage, &arguments).succeeded().stdout
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

    let listed = sif(&stage, &["list", "a.sif"]).succeeded().stdout;
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
    let json = sif(&stage, &["list", "--json", "a.sif"]).succeeded().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["objects"][2]["partition"]["role"], "primary");
    assert_eq!(json["arch"], "aarch64");
    assert_eq!(json["created"], serde_json::Value::Null);
    assert_eq!(json["objects"][3]["link_group"], 1);

    let inspected = sif(&stage, &["inspect", "a.sif"]).succeeded().stdout;
    assert!(inspected.contains("architecture: aarch64\n"), "{inspected}");
    assert!(inspected.ends_with("\na: 1\nb: 2\n"), "{inspected}");
    let script = sif(&stage, &["inspect", "--runscript", "a.sif"]).succeeded();
    assert_eq!(script.stdout, "echo hi\n");
    let json = sif(&stage, &["inspect", "--json", "a.sif"])
        .succeeded()
        .stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["labels"]["a"], &json["deffile"]),
        (&"1".into(), &"from: x".into())
    );

    let dumped = sif(&stage, &["dump", "a.sif", "1"]).succeeded();
    assert_eq!(dumped.stdout, "bootstrap: scratch\n");
    sif(&stage, &["dump", "a.sif", "3", "-o", "root"]).succeeded();
    let root = fs_err::read(stage.path("work/root")).unwrap();
    assert_eq!(root, fs_err::read(image()).unwrap());
    refused(&stage, &["dump", "a.sif", "3", "-o", "root"], 1, &["root"]);

    sif(&stage, &["del", "a.sif", "2", "4", "--compact", "--wipe"]).succeeded();
    let listed = sif(&stage, &["list", "a.sif"]).succeeded().stdout;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    // Without the metadata the definition still says where it comes from.
    let definition = sif(&stage, &["inspect", "--deffile", "a.sif"]).succeeded();
    assert_eq!(definition.stdout, "bootstrap: scratch\n");
    stage.left_nothing();
}

#[test]
fn times_come_from_the_user_alone() {
    let stage = Stage::new();
    stage.write("def", "x");
    let add = ["add", "a.sif", "def", "--type", "deffile"];
    sif(&stage, &["new", "a.sif"]).succeeded();
    sif(&stage, &add).succeeded();
    let first = fs_err::read(stage.path("work/a.sif")).unwrap();
    fs_err::remove_file(stage.path("work/a.sif")).unwrap();
    sif(&stage, &["new", "a.sif"]).succeeded();
    sif(&stage, &add).succeeded();
    assert_eq!(first, fs_err::read(stage.path("work/a.sif")).unwrap());

    let mut command = stage.command(env!("CARGO_BIN_EXE_condense"));
    command
        .env("SOURCE_DATE_EPOCH", "86400")
        .arg("sif")
        .args(add);
    ended(&command.output().unwrap()).succeeded();
    let json = sif(&stage, &["list", "--json", "a.sif"]).succeeded().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["created"], serde_json::Value::Null);
    assert_eq!(json["modified"], "1970-01-02T00:00:00Z");
    assert_eq!(json["objects"][1]["created"], "1970-01-02T00:00:00Z");
    let mut command = stage.command(env!("CARGO_BIN_EXE_condense"));
    command
        .env("SOURCE_DATE_EPOCH", "soon")
        .arg("sif")
        .args(add);
    let said = ended(&command.output().unwrap());
    assert!(said.stderr.contains("SOURCE_DATE_EPOCH `soon`"), "{said:?}");
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let stage = Stage::new();
    sif(&stage, &["new", "a.sif"]).succeeded();
    stage.write("text", "no image");
    refused(
        &stage,
        &["new", "a.sif"],
        1,
        &["a.sif", "hint: remove it first"],
    );
    refused(
        &stage,
        &["list", "text"],
        1,
        &["text", "does not begin as a SIF"],
    );
    refused(&stage, &["list", "nowhere.sif"], 1, &["nowhere.sif"]);
    refused(
        &stage,
        &["dump", "a.sif", "7"],
        1,
        &["object 7", "is not in"],
    );
    refused(
        &stage,
        &["del", "a.sif", "7"],
        1,
        &["object 7", "is not in"],
    );
    let partition = ["add", "a.sif", "text", "--type", "partition"];
    refused(&stage, &partition, 2, &["--role"]);
    let overlay = [&partition[..], &["--role", "overlay"]].concat();
    refused(&stage, &overlay, 1, &["does not begin as a SquashFS image"]);
    fs_err::write(
        stage.path("work/short"),
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
    refused(&stage, &overlay, 1, &["short"]);
    for wrong in [
        ["--link", "x"],
        ["--group", "0"],
        ["--arch", "pdp11"],
        ["--align", "0"],
    ] {
        let add = [&["add", "a.sif", "text", "--type", "generic"][..], &wrong].concat();
        refused(&stage, &add, 2, &[wrong[0]]);
    }
    let listed = sif(&stage, &["list", "a.sif"]).succeeded().stdout;
    assert_eq!(listed.lines().count(), 1, "nothing was added: {listed}");
}

/// A key that the signatures' own tests use.
fn key(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/image/tests/keys");
    path.join(name).to_str().unwrap().to_owned()
}

#[test]
fn what_is_signed_is_verified() {
    let stage = Stage::new();
    stage.write("def", "from: x\n");
    sif(&stage, &["new", "a.sif"]).succeeded();
    sif(&stage, &["add", "a.sif", "def", "--type", "deffile"]).succeeded();
    refused(
        &stage,
        &["verify", "a.sif"],
        1,
        &["group 1 has no signature"],
    );
    refused(
        &stage,
        &["sign", "a.sif"],
        1,
        &["no key to sign with", "--key FILE"],
    );
    let locked = key("locked.secret.asc");
    let sign = ["sign", "a.sif", "--key", &locked];
    refused(&stage, &sign, 1, &["is the passphrase right?"]);
    stage.write("passphrase", "open sesame\n");
    let signed = sif(
        &stage,
        &[&sign[..], &["--passphrase-file", "passphrase"]].concat(),
    );
    assert_eq!(signed.succeeded().stdout, "2\n");

    let (public, all) = (key("locked.asc"), key("all.gpg"));
    for ring in [&public, &all] {
        let verified = sif(&stage, &["verify", "a.sif", "--key", ring]).succeeded();
        assert!(
            verified
                .stdout
                .starts_with("group 1: signature 2 by Locked Tester"),
            "{verified:?}"
        );
    }
    let other = sif(
        &stage,
        &["verify", "--json", "a.sif", "--key", &key("plain.asc")],
    );
    assert_eq!(other.status, 1, "{other:?}");
    let told: serde_json::Value = serde_json::from_str(&other.stdout).unwrap();
    assert_eq!(told[0]["holds"], false);
    assert!(
        told[0]["problem"]
            .as_str()
            .unwrap()
            .contains("not among those")
    );

    // Without --key, a runtime's own keys are looked at.
    let keys = stage.path("home/.apptainer/keys");
    fs_err::create_dir_all(&keys).unwrap();
    fs_err::copy(&all, keys.join("pgp-public")).unwrap();
    sif(&stage, &["verify", "a.sif"]).succeeded();
    let added = sif(&stage, &["add", "a.sif", "def", "--type", "generic"]).succeeded();
    assert!(
        added
            .stderr
            .contains("signature 2 of group 1 does not hold"),
        "{added:?}"
    );
    let verified = sif(&stage, &["verify", "a.sif"]);
    assert_eq!(verified.status, 1, "{verified:?}");
    assert!(
        verified
            .stdout
            .contains("does not hold: group 1 has other objects")
    );
}
