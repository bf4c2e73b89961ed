//! Tests of `condense image pack`: a directory is packed alone, into a copy of another image, or as
//! a new version of an older image.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::harness::{CommandOutput, Run, TestEnv};

fn image(test: &TestEnv, arguments: &[&str]) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.arg("image").args(arguments).run()
}

/// Returns the JSON output of `image pack --json`.
fn packed(test: &TestEnv, arguments: &[&str]) -> serde_json::Value {
    let told = image(test, &[&["pack", "--json"], arguments].concat());
    serde_json::from_str(&told.succeeded().stdout).unwrap()
}

/// Returns the path of an image that mksquashfs wrote.
fn stored(codec: &str) -> String {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/image/tests/images");
    let path = images.join(codec).with_extension("sqfs");
    path.to_str().unwrap().to_owned()
}

/// Makes a directory with files of several blocks.
fn write(test: &TestEnv) {
    for number in 0..50_usize {
        let path = test.path(format!("work/dir/sub{}/file-{number}", number % 5));
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes: Vec<u8> = (0..number * 997)
            .map(|at| ((at * number) >> 3) as u8)
            .collect();
        fs_err::write(path, bytes).unwrap();
    }
}

fn names(test: &TestEnv, path: &str) -> String {
    image(test, &["ls", path]).succeeded().stdout
}

#[test]
fn a_directory_becomes_an_image_and_is_left_alone() {
    let test = TestEnv::new();
    write(&test);
    let said = image(&test, &["pack", "dir", "out.sqfs"]).succeeded();
    assert_eq!(said.stdout, "");
    assert!(said.stderr.contains("50 files of"), "{said:?}");
    image(&test, &["extract", "out.sqfs", "again"]).succeeded();
    packed(&test, &["again", "same.sqfs", "--threads", "1"]);
    assert_eq!(
        fs_err::read(test.path("work/out.sqfs")).unwrap(),
        fs_err::read(test.path("work/same.sqfs")).unwrap()
    );
    let before = fs_err::read(test.path("work/out.sqfs")).unwrap();
    let twice = image(&test, &["pack", "dir", "out.sqfs"]);
    assert_eq!(twice.status, 1, "{twice:?}");
    assert!(twice.stderr.contains("choose another name"), "{twice:?}");
    assert_eq!(fs_err::read(test.path("work/out.sqfs")).unwrap(), before);
    for codec in ["zstd:1", "gzip:1", "lz4", "lz4:hc", "xz:0", "none"] {
        let out = format!("{codec}.sqfs");
        let words = ["dir", &out, "--compression", codec, "--block-size", "16K"];
        let told = packed(&test, &words);
        assert_eq!(
            (&told["compression"], &told["block_size"]),
            (&codec.into(), &16_384.into())
        );
        image(&test, &["verify", &out]).succeeded();
        image(&test, &["diff", "out.sqfs", &out]).succeeded();
    }
    test.left_nothing();
}

#[test]
fn a_directory_goes_into_a_copy_of_another_image() {
    let test = TestEnv::new();
    write(&test);
    let base = stored("gzip");
    let into = |out: &str, more: &[&str]| {
        let words = ["pack", "--json", "dir", out, "--onto", &base];
        image(&test, &[&words[..], more].concat())
    };
    // In the image, `lib` is a link to `usr/lib`.
    let told = into("a.sqfs", &["--at", "/lib/env"]).succeeded().stdout;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told["compression"], &told["block_size"]),
        (&"gzip:6".into(), &4096.into())
    );
    assert!(told["taken_bytes"].as_u64().unwrap() > 0);
    let listed = names(&test, "a.sqfs");
    assert!(listed.contains("/usr/lib/env/sub1/file-1\n"), "{listed}");
    assert!(listed.contains("/etc/os-release\n"), "{listed}");
    image(&test, &["verify", "a.sqfs"]).succeeded();

    for (more, said) in [
        (&["--at", "/etc"][..], "it is there already"),
        (
            &["--at", "/etc/os-release/env"],
            "`os-release` is not a directory",
        ),
        (&["--at", "/opt", "--compression", "zstd:3"], "--recompress"),
        (&["--at", "/opt", "--block-size", "1M"], "overlay"),
    ] {
        let refused = into("b.sqfs", more);
        assert_eq!(refused.status, 1, "{refused:?}");
        assert!(refused.stderr.contains(said), "{refused:?}");
        assert!(!test.path("work/b.sqfs").exists());
    }
    into("c.sqfs", &["--at", "/etc", "--replace"]).succeeded();
    assert!(!names(&test, "c.sqfs").contains("os-release\n/usr/lib/blocks"));
    into(
        "d.sqfs",
        &["--at", "/lib/env", "--recompress", "--compression", "xz:0"],
    )
    .succeeded();
    // The two images differ in the compression only.
    image(&test, &["diff", "a.sqfs", "d.sqfs"]).succeeded();
    test.left_nothing();
}

#[test]
fn an_old_image_makes_a_new_one_cheap() {
    let test = TestEnv::new();
    write(&test);
    packed(&test, &["dir", "old.sqfs", "--compression", "gzip"]);
    fs_err::write(test.path("work/dir/sub1/file-1"), "changed").unwrap();
    let told = packed(&test, &["dir", "new.sqfs", "--donor", "old.sqfs"]);
    assert_eq!(told["compression"], "gzip:6");
    // Two of the fifty files are empty or changed.
    assert_eq!(told["unchanged_files"], 48);
    assert!(told["taken_bytes"].as_u64().unwrap() > 0);
    packed(&test, &["dir", "fresh.sqfs"]);
    image(&test, &["diff", "new.sqfs", "fresh.sqfs"]).succeeded();

    let old = fs_err::File::options()
        .write(true)
        .open(test.path("work/old.sqfs"))
        .unwrap();
    old.file()
        .set_modified(SystemTime::now() + Duration::from_secs(60))
        .unwrap();
    let words = ["dir", "quick.sqfs", "--donor", "old.sqfs", "--trust-times"];
    assert_eq!(packed(&test, &words)["unchanged_files"], 48);
    image(&test, &["diff", "quick.sqfs", "fresh.sqfs"]).succeeded();
    test.left_nothing();
}

#[test]
fn impossible_wishes_are_refused() {
    let test = TestEnv::new();
    write(&test);
    for (arguments, status, said) in [
        (&["dir", "o", "--compression", "zstd:23"][..], 2, "zstd:23"),
        (&["dir", "o", "--block-size", "2K"], 2, "2K"),
        (&["dir", "o", "--at", "/opt"], 2, "--onto"),
        (&["dir", "o", "--onto", "b"], 2, "--at"),
        (&["dir", "o", "--trust-times"], 2, "--donor"),
        (&["dir", "o.sif"], 1, "condense sif new"),
        (&["missing", "o"], 1, "work/missing"),
        (&["dir", "missing/o"], 1, "work/missing"),
        (
            &["dir", "o", "--donor", "dir/sub1/file-1"],
            1,
            "not an image",
        ),
    ] {
        let refused = image(&test, &[&["pack"], arguments].concat());
        assert_eq!(refused.status, status, "{refused:?}");
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
    assert!(!test.path("work/o").exists());
    test.left_nothing();
}

/// The zone is shown from the image alone, and in a SIF with its place in that file.
#[test]
fn hot_files_make_a_zone_that_info_shows() {
    let test = TestEnv::new();
    write(&test);
    let hot = "sub4/file-49\n# a comment\nsub1/file-11\n/sub0/file-5\nsub0/none\n";
    fs_err::write(test.path("work/hot.txt"), hot).unwrap();
    let told = packed(&test, &["dir", "hot.sqfs", "--hot", "hot.txt"]);
    let info = |path: &str| {
        let told = image(&test, &["info", "--json", path]).succeeded().stdout;
        serde_json::from_str::<serde_json::Value>(&told).unwrap()["hot_zone"].clone()
    };
    let zone = info("hot.sqfs");
    assert_eq!(zone["files"], 3);
    assert_eq!(
        (&zone["start"], &zone["bytes"]),
        (&told["hot_zone"]["start"], &told["hot_zone"]["bytes"])
    );
    let shown = image(&test, &["info", "hot.sqfs"]).succeeded().stdout;
    let [start, bytes] = ["start", "bytes"].map(|key| zone[key].as_u64().unwrap());
    let line = format!("\nhot zone: 3 files, {bytes} bytes from {start}\n");
    assert!(shown.ends_with(&line), "{shown}");
    image(&test, &["verify", "hot.sqfs"]).succeeded();

    let mut piped = test.command(env!("CARGO_BIN_EXE_condense"));
    piped.args(["image", "pack", "dir", "piped.sqfs", "--hot", "-"]);
    let said = piped.run_with_input(hot.as_bytes()).succeeded();
    assert!(said.stderr.contains("the hot zone has"), "{said:?}");
    let read = |name: &str| fs_err::read(test.path("work").join(name)).unwrap();
    assert_eq!(read("piped.sqfs"), read("hot.sqfs"));

    let sif = |arguments: &[&str]| {
        let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
        command.arg("sif").args(arguments).run().succeeded();
    };
    sif(&["new", "hot.sif"]);
    let partition = ["--type", "partition", "--role", "primary"];
    sif(&[&["add", "hot.sif", "hot.sqfs"][..], &partition].concat());
    let in_sif = info("hot.sif");
    assert_eq!(
        (&in_sif["bytes"], &in_sif["files"]),
        (&zone["bytes"], &3.into())
    );
    assert!(in_sif["start"].as_u64() > zone["start"].as_u64());

    // A new version keeps the zone; a copy of a base has the environment's in front.
    packed(&test, &["dir", "new.sqfs", "--donor", "hot.sqfs"]);
    assert_eq!(info("new.sqfs")["files"], 3);
    fs_err::write(test.path("work/hot.txt"), "opt/env/sub1/file-11\n").unwrap();
    let base = stored("gzip");
    let into = [
        "dir",
        "onto.sqfs",
        "--onto",
        &base,
        "--at",
        "/opt/env",
        "--hot",
        "hot.txt",
    ];
    packed(&test, &into);
    assert_eq!(info("onto.sqfs")["files"], 1);
    assert!(info("onto.sqfs")["start"].as_u64().unwrap() < 256);
    assert!(info(&base).is_null());
}

#[test]
fn a_line_that_is_no_path_is_refused_with_its_place() {
    let test = TestEnv::new();
    write(&test);
    fs_err::write(test.path("work/hot.txt"), "sub1/file-11\n../etc/passwd\n").unwrap();
    let refused = image(&test, &["pack", "dir", "o.sqfs", "--hot", "hot.txt"]);
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("hot.txt:2: `../etc/passwd` has `..`"),
        "{refused:?}"
    );
    let refused = image(&test, &["pack", "dir", "o.sqfs", "--hot", "none.txt"]);
    assert!(refused.stderr.contains("none.txt"), "{refused:?}");
    fs_err::write(test.path("work/hot.txt"), "none\n").unwrap();
    let said = image(&test, &["pack", "dir", "o.sqfs", "--hot", "hot.txt"]).succeeded();
    assert!(said.stderr.contains("there is no hot zone"), "{said:?}");
    test.left_nothing();
}
