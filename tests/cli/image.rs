//! Tests of `condense image extract|ls|verify|diff|info` with images that mksquashfs wrote.

use std::path::Path;

use crate::harness::{CommandOutput, Run, TestEnv};

fn image(test: &TestEnv, arguments: &[&str]) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.arg("image").args(arguments).run()
}

/// Returns the path of an image from the tests of the reader.
fn stored(codec: &str) -> String {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/image/tests/images");
    let path = images.join(codec).with_extension("sqfs");
    path.to_str().unwrap().to_owned()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn an_image_is_unpacked_once() {
    let test = TestEnv::new();
    let unpacked = image(&test, &["extract", &stored("zstd"), "out"]).succeeded();
    assert_eq!(unpacked.stdout, "");
    assert!(unpacked.stderr.contains("Unpacked"), "{unpacked:?}");
    let text = fs_err::read_to_string(test.path("work/out/etc/os-release")).unwrap();
    assert_eq!(text, "ID=debian\n");
    let again = image(&test, &["extract", &stored("zstd"), "out"]);
    assert_eq!(again.status, 1, "{again:?}");
    assert!(again.stderr.contains("choose another name"), "{again:?}");
    let told = image(&test, &["-q", "extract", "--json", &stored("lz4"), "out2"]);
    let told = json(&told.succeeded().stdout);
    assert_eq!(
        (&told["hard_links"], &told["skipped_count"]),
        (&1.into(), &0.into())
    );
    test.left_nothing();
}

#[test]
fn an_image_s_names_are_listed() {
    let test = TestEnv::new();
    let all = image(&test, &["ls", &stored("xz")]).succeeded().stdout;
    assert!(
        all.starts_with("/\n/empty\n/etc\n/etc/os-release\n"),
        "{all}"
    );
    let some = image(&test, &["ls", &stored("xz"), "lib/os-release", "-l"]).succeeded();
    assert!(
        some.stdout.starts_with("-rw-r-----")
            && some
                .stdout
                .ends_with(" 10 2023-11-14T22:13:20Z /etc/os-release\n"),
        "links are followed inside: {some:?}"
    );
    let long = image(&test, &["ls", "-l", &stored("xz"), "var"])
        .succeeded()
        .stdout;
    assert!(long.contains(" /var/etc -> ../../../../etc\n"), "{long}");
    let listed = json(
        &image(&test, &["ls", "--json", &stored("xz"), "usr/lib"])
            .succeeded()
            .stdout,
    );
    let listed = &listed["entries"];
    assert_eq!(listed[0]["path"], "/usr/lib");
    assert_eq!(listed[0]["kind"], "directory");
    assert!(
        listed
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["links"] == 2 && entry["mode"] == "0640")
    );
    let missing = image(&test, &["ls", &stored("xz"), "nowhere"]);
    assert_eq!((missing.status, &missing.stdout[..]), (1, ""));
    assert!(
        missing.stderr.contains("`nowhere` is not in"),
        "{missing:?}"
    );
}

#[test]
fn whole_images_are_told_from_damaged_ones() {
    let test = TestEnv::new();
    let verified = image(&test, &["verify", &stored("gzip")]).succeeded();
    assert_eq!(verified.stdout, "");
    let told = json(
        &image(&test, &["verify", "--json", &stored("gzip")])
            .succeeded()
            .stdout,
    );
    assert!(told["blocks"].as_u64().unwrap() > 3, "{told}");
    let mut bytes = fs_err::read(stored("gzip")).unwrap();
    bytes[150] ^= 0xff;
    fs_err::write(test.path("work/damaged"), bytes).unwrap();
    let damaged = image(&test, &["verify", "damaged"]);
    assert_eq!((damaged.status, &damaged.stdout[..]), (1, ""));
    assert!(damaged.stderr.contains("damaged"), "{damaged:?}");
}

#[test]
fn differences_are_told_and_counted_in_the_status() {
    let test = TestEnv::new();
    let same = image(&test, &["diff", &stored("gzip"), &stored("zstd")]);
    assert_eq!((same.status, &same.stdout[..]), (0, ""), "{same:?}");
    // The test changes the modification time of the first inode, which is stored uncompressed.
    let mut bytes = fs_err::read(stored("stored")).unwrap();
    let inodes = u64::from_le_bytes(bytes[64..72].try_into().unwrap()) as usize;
    bytes[inodes + 2 + 8] ^= 1;
    fs_err::write(test.path("work/other"), bytes).unwrap();
    let differ = image(&test, &["diff", &stored("stored"), "other"]);
    assert_eq!(differ.status, 1, "{differ:?}");
    assert!(
        differ.stdout.starts_with("~ ")
            && differ.stdout.contains(": time 1700000000 -> 1700000001"),
        "{differ:?}"
    );
    let told = json(&image(&test, &["diff", "--json", &stored("stored"), "other"]).stdout);
    assert_eq!(told["differences"][0]["aspects"][0]["b"], "1700000001");
    let ignored = image(
        &test,
        &["diff", "--ignore-times", &stored("stored"), "other"],
    );
    assert_eq!(
        (ignored.status, &ignored.stdout[..]),
        (0, ""),
        "{ignored:?}"
    );
}

#[test]
fn an_image_says_what_it_is_inside_a_sif_too() {
    let test = TestEnv::new();
    let plain = image(&test, &["info", &stored("lz4")]).succeeded().stdout;
    assert!(plain.contains("codec: lz4\nblock size: 4096\n"), "{plain}");
    let sif = |arguments: &[&str]| {
        let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
        command.arg("sif").args(arguments).run().succeeded()
    };
    sif(&["new", "a.sif"]);
    sif(&[
        "add",
        "a.sif",
        &stored("lz4"),
        "--type",
        "partition",
        "--role",
        "primary",
    ]);
    let told = json(
        &image(&test, &["info", "--json", "a.sif"])
            .succeeded()
            .stdout,
    );
    assert_eq!(
        (&told["codec"], &told["offset"]),
        (&"lz4".into(), &32768.into())
    );
    image(&test, &["verify", "a.sif"]).succeeded();
    image(&test, &["diff", "a.sif", &stored("lz4")]).succeeded();
}
