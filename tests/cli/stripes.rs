//! Tests of H3: images on Lustre get a layout by size from `lfs` before their first byte. A
//! stand-in for `lfs` notes its calls, and `CONDENSE_STRIPES=1` stands for the file system.

use std::os::unix::fs::PermissionsExt;

use crate::harness::{CommandOutput, Run, TestEnv};
use crate::pull::layout;

/// Layout that CSCS advises.
const LAYOUT: &str = "setstripe -E 4M -c 1 -E 64M -c 4 -E -1 -c 32 -S 4M ";

/// Makes a test with a stand-in for `lfs` that creates its file, then runs `end`.
fn with_lfs(end: &str) -> TestEnv {
    let test = TestEnv::new();
    let calls = test.path("calls");
    test.fake_program(
        "lfs",
        &format!(
            "#!/bin/sh\n[ \"$1\" = setstripe ] || exit 0\nprintf '%s\\n' \"$*\" >>'{}'\n\
             for file; do :; done\n[ ! -e \"$file\" ] || exit 17\n: >\"$file\"\n{end}\n",
            calls.display()
        ),
    );
    test
}

/// Returns the names of the files that got a layout since the last call.
fn striped(test: &TestEnv) -> Vec<String> {
    let path = test.path("calls");
    let text = fs_err::read_to_string(&path).unwrap_or_default();
    let _ = fs_err::remove_file(path);
    let name = |line: &str| {
        let file = line.strip_prefix(LAYOUT).unwrap();
        let name = file.rsplit('/').next().unwrap();
        // A build packs the image into scratch, and renames or copies it.
        name.trim_end_matches(".tmp").to_owned()
    };
    text.lines().map(name).collect()
}

fn condense(test: &TestEnv, words: &[&str]) -> CommandOutput {
    test.condense(words).env("CONDENSE_STRIPES", "1").run()
}

#[test]
fn each_command_that_makes_an_image_gives_it_a_layout() {
    let test = with_lfs("");
    let env = test.environment("tool");
    let env = env.to_str().unwrap();
    let new = ["new", "./installation", env, "--base-image", "../base"];
    condense(&test, &new).succeeded();
    assert_eq!(striped(&test), ["img.sqfs"]);
    assert!(test.installation().join("img.sqfs").is_file());
    condense(&test, &["update", "installation", "no-programs"]).succeeded();
    assert_eq!(striped(&test), ["img.sqfs"]);

    fs_err::create_dir(test.path("work/dir")).unwrap();
    condense(&test, &["image", "pack", "dir", "an image.sqfs"]).succeeded();
    assert_eq!(striped(&test), ["an image.sqfs"]);

    layout(&test);
    condense(&test, &["pull", "oci:layout", "base.sif"]).succeeded();
    assert_eq!(striped(&test), ["base.sif"]);
    let build = ["cotainr", "build", "a.sif", "--base-image", "base.sif"];
    condense(&test, &[&build[..], &["--conda-env", env]].concat()).succeeded();
    assert_eq!(striped(&test), ["a.sif"]);

    // A copy of a base gets a layout as well, unless the file system shares its blocks.
    let copied = [
        "new",
        "./copied",
        env,
        "--base-image",
        "base.sif",
        "--copy-base",
    ];
    condense(&test, &copied).succeeded();
    let receipt = fs_err::read(test.path("work/copied/share/receipt.json")).unwrap();
    let receipt: serde_json::Value = serde_json::from_slice(&receipt).unwrap();
    let mut found = striped(&test);
    found.sort();
    match receipt["base"]["placement"].as_str().unwrap() {
        "copy" => assert_eq!(found, ["container.sif", "img.sqfs"]),
        placement => assert_eq!((placement, found), ("reflink", vec!["img.sqfs".to_owned()])),
    }
}

#[test]
fn a_layout_that_cannot_be_set_is_a_detail() {
    for (end, reason) in [
        ("exit 1", "lfs ended with exit status: 1"),
        ("kill -9 $$", "lfs ended with signal: 9"),
        ("echo x >\"$file\"", "lfs has made something else"),
    ] {
        let test = with_lfs(end);
        fs_err::create_dir(test.path("work/dir")).unwrap();
        let pack = ["image", "pack", "dir", "out.sqfs"];
        let said = test
            .condense(&pack)
            .envs([("CONDENSE_STRIPES", "1"), ("CW_LOG_LEVEL", "3")])
            .run()
            .succeeded();
        assert!(
            said.stderr.contains("gets no layout for Lustre"),
            "{said:?}"
        );
        assert!(said.stderr.contains(reason), "{said:?}");
        condense(&test, &["image", "verify", "out.sqfs"]).succeeded();
        fs_err::remove_file(test.path("work/out.sqfs")).unwrap();
        let quiet = condense(&test, &pack).succeeded();
        assert!(!quiet.stderr.contains("Lustre"), "{quiet:?}");
    }
}

#[test]
fn no_process_starts_elsewhere_or_when_switched_off() {
    let test = with_lfs("");
    fs_err::create_dir(test.path("work/dir")).unwrap();
    for (number, value) in ["", "0"].iter().enumerate() {
        let out = format!("{number}.sqfs");
        let words = ["image", "pack", "dir", out.as_str()];
        let mut command = test.condense(&words);
        command.env("CONDENSE_STRIPES", value).run().succeeded();
    }
    assert_eq!(striped(&test), [""; 0]);
}

/// A new image has the mode that the umask lets through, also if `lfs` has made it with another.
#[test]
fn a_layout_does_not_change_the_mode() {
    let test = with_lfs("/bin/chmod 644 \"$file\"");
    fs_err::create_dir(test.path("work/dir")).unwrap();
    for (umask, expected) in [
        ("002", 0o664),
        ("022", 0o644),
        ("027", 0o640),
        ("077", 0o600),
    ] {
        let out = format!("{umask}.sqfs");
        let line = "umask \"$1\"; shift; exec \"$@\"";
        let mut command = test.command("/bin/sh");
        command
            .args(["-c", line, "sh", umask, env!("CARGO_BIN_EXE_condense")])
            .args(["image", "pack", "dir", &out])
            .env("CONDENSE_STRIPES", "1");
        command.run().succeeded();
        assert_eq!(striped(&test), [&*out]);
        let found = fs_err::metadata(test.path("work").join(&out)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, expected, "{umask}");
    }
}
