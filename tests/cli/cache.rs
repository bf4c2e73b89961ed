//! Tests of `condense cache`.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use crate::harness::{CommandOutput, Run, TestEnv};

fn cache(test: &TestEnv, words: &[&str]) -> CommandOutput {
    test.condense(&[&["cache"][..], words].concat()).run()
}

/// Writes a file into the cache that was last used this number of days ago.
fn write(test: &TestEnv, name: &str, days: u64) {
    let path = test.path("cache").join(name);
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(&path, [1; 9000]).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let age = Duration::from_secs(days * 86_400);
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn the_cache_is_shown_and_cleaned() {
    let test = TestEnv::new();
    write(&test, "archives/old-1-0.conda", 40);
    write(&test, "archives/new-1-0.conda", 2);
    write(&test, "oci/blobs/sha256-ab", 40);
    let said = cache(&test, &["info"]).succeeded();
    let lines: Vec<Vec<&str>> = said
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[1][..2], ["packages", "2"], "{said:?}");
    assert_eq!(lines[2][..2], ["images", "1"], "{said:?}");

    let said = cache(&test, &["clean", "--older-than", "30d", "--dry-run"]).succeeded();
    assert!(said.stderr.contains("would remove 1 files"), "{said:?}");
    let file = |name: &str| test.path("cache").join(name);
    assert!(file("archives/old-1-0.conda").exists());
    cache(&test, &["clean", "--packages", "--older-than", "4w"]).succeeded();
    assert!(!file("archives/old-1-0.conda").exists());
    assert!(file("archives/new-1-0.conda").exists() && file("oci/blobs/sha256-ab").exists());
    cache(&test, &["clean"]).succeeded();
    assert!(!file("archives/new-1-0.conda").exists() && !file("oci/blobs/sha256-ab").exists());
    cache(&test, &["clean", "--older-than", "soon"]).failed(2, &[]);
}

#[test]
fn the_json_has_its_shape() {
    let test = TestEnv::new();
    write(&test, "archives/a-1-0.conda", 1);
    let said = cache(&test, &["info", "--json"]).succeeded();
    let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["schema"], "condense.cache-info/1");
    let part = &found["parts"][0];
    assert_eq!(
        (&part["part"], &part["files"]),
        (&"packages".into(), &1.into())
    );
    assert!(
        part["bytes"].as_u64().unwrap() >= 9000 && part["oldest"].is_u64(),
        "{found}"
    );
    assert!(part["dir"].is_string() && part["note"].is_null(), "{found}");
    assert!(found["images_max_bytes"].is_u64(), "{found}");
    let said = cache(&test, &["clean", "--packages", "--json"]).succeeded();
    let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["schema"], "condense.cache-clean/1");
    assert_eq!(found["dry_run"], false);
    let part = &found["parts"][0];
    for (key, expected) in [("files", 1), ("in_use", 0), ("foreign", 0)] {
        assert_eq!(part[key], expected, "{found}");
    }
}

/// Writes files of text that is different in each.
fn write_text(test: &TestEnv, files: u32) {
    fs_err::create_dir(test.path("work/tree")).unwrap();
    for number in 1..=files {
        let lines = (0..9000_u32).map(|line| line.wrapping_mul(number * 77_777).to_string() + "\n");
        let path = test.path(format!("work/tree/{number}"));
        fs_err::write(path, lines.collect::<String>()).unwrap();
    }
}

fn pack(test: &TestEnv, name: &str) -> Vec<u8> {
    let mut packing = test.condense(&["image", "pack", "tree", name, "--keep-blocks"]);
    packing.run().succeeded();
    let bytes = fs_err::read(test.path("work").join(name)).unwrap();
    fs_err::remove_file(test.path("work").join(name)).unwrap();
    bytes
}

#[test]
fn blocks_are_kept_found_and_verified() {
    let test = TestEnv::new();
    write_text(&test, 10);
    let mut off = test.condense(&["image", "pack", "tree", "off.sqfs"]);
    let off = off.env("CONDENSE_BLOCK_CACHE_SIZE", "0").run().succeeded();
    assert!(!off.stderr.contains("earlier") && !test.path("cache/blocks").exists());
    let plain = fs_err::read(test.path("work/off.sqfs")).unwrap();
    let mut reads = test.condense(&["image", "pack", "tree", "reads.sqfs"]);
    reads.run().succeeded();
    let kept = fs_err::read_dir(test.path("cache/blocks"));
    assert!(
        kept.map_or(0, Iterator::count) == 0,
        "nothing is kept unasked"
    );
    assert!(pack(&test, "cold.sqfs") == plain);
    let hot = test
        .condense(&["image", "pack", "tree", "hot.sqfs", "--keep-blocks"])
        .run()
        .succeeded();
    assert!(
        hot.stderr.contains("compressed by earlier builds, 0 B by"),
        "{hot:?}"
    );
    assert!(fs_err::read(test.path("work/hot.sqfs")).unwrap() == plain);

    let said = cache(&test, &["info", "--json"]).succeeded();
    let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["parts"][3]["part"], "blocks");
    assert_eq!(found["parts"][3]["files"], 1);
    assert_eq!(found["blocks_max_bytes"], 4_u64 << 30);
    cache(&test, &["verify"]).succeeded();

    let mut files = fs_err::read_dir(test.path("cache/blocks")).unwrap();
    let path = files.next().unwrap().unwrap().path();
    let mut bytes = fs_err::read(&path).unwrap();
    bytes[5000] ^= 1;
    fs_err::write(&path, bytes).unwrap();
    let said = cache(&test, &["verify"]).failed(1, &[]);
    assert!(said.stderr.contains("blocks are damaged"), "{said:?}");
    let mut off = test.condense(&["cache", "verify"]);
    off.env("CONDENSE_BLOCK_CACHE_SIZE", "0")
        .run()
        .failed(1, &[]);
    assert!(pack(&test, "again.sqfs") == plain);
    cache(&test, &["verify"]).succeeded();
    cache(&test, &["clean", "--blocks"]).succeeded();
    assert_eq!(
        fs_err::read_dir(test.path("cache/blocks")).unwrap().count(),
        0
    );
}

#[test]
fn builds_that_are_killed_leave_a_cache_that_is_right() {
    let test = TestEnv::new();
    write_text(&test, 60);
    let mut off = test.condense(&["image", "pack", "tree", "off.sqfs"]);
    off.env("CONDENSE_BLOCK_CACHE_SIZE", "0").run().succeeded();
    let plain = fs_err::read(test.path("work/off.sqfs")).unwrap();
    for delay in [40, 90, 140, 200] {
        let mut killed = test.condense(&["image", "pack", "tree", "killed.sqfs", "--keep-blocks"]);
        let mut child = killed.stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        let _ = child.kill();
        child.wait().unwrap();
        let _ = fs_err::remove_file(test.path("work/killed.sqfs"));
        cache(&test, &["verify"]).succeeded();
    }
    // A file that a killed build has begun goes when it is a minute old.
    let left = || {
        let found = std::fs::read_dir(test.path("cache/blocks"));
        let paths = found.into_iter().flatten().map(|it| it.unwrap().path());
        let is_begun = |path: &PathBuf| path.display().to_string().contains("/.new-");
        paths.filter(is_begun).collect::<Vec<_>>()
    };
    let long_ago = SystemTime::now() - Duration::from_secs(100);
    for path in left() {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    assert!(pack(&test, "after.sqfs") == plain);
    assert!(left().is_empty(), "{:?}", left());
}

#[test]
fn a_link_to_blocks_is_followed_and_another_file_in_their_place_hides_no_part() {
    let test = TestEnv::new();
    write_text(&test, 4);
    write(&test, "archives/a-1-0.conda", 1);
    let elsewhere = test.path("elsewhere");
    fs_err::create_dir(&elsewhere).unwrap();
    fs_err::write(elsewhere.join("thesis.tex"), "years").unwrap();
    let blocks = test.path("cache/blocks");
    std::os::unix::fs::symlink(&elsewhere, &blocks).unwrap();
    pack(&test, "one.sqfs");
    let kept = || fs_err::read_dir(&elsewhere).unwrap().count() - 1;
    assert_eq!(kept(), 1);
    let said = cache(&test, &["info"]).succeeded();
    let line = said.stdout.lines().find(|line| line.starts_with("blocks"));
    assert!(
        line.unwrap().split_whitespace().nth(1) == Some("1"),
        "{said:?}"
    );
    let said = cache(&test, &["verify"]).succeeded();
    assert!(said.stderr.contains("in 1 files"), "{said:?}");
    let said = cache(&test, &["clean", "--blocks"]).succeeded();
    assert!(said.stderr.contains("removed 1 files"), "{said:?}");
    let stays = "thesis.tex` stays: condense has not written it";
    assert!(said.stderr.contains(stays) && kept() == 0, "{said:?}");

    fs_err::remove_file(&blocks).unwrap();
    fs_err::write(&blocks, "mine").unwrap();
    let sentence = format!("`{}` is no directory", blocks.display());
    let said = cache(&test, &["info"]).succeeded();
    assert!(said.stdout.contains(&sentence), "{said:?}");
    assert!(said.stdout.contains("packages      1"), "{said:?}");
    let said = cache(&test, &["clean"]).failed(1, &[]);
    assert!(said.stderr.contains(&sentence), "{said:?}");
    assert!(!test.path("cache/archives/a-1-0.conda").exists());
    let said = cache(&test, &["verify"]).failed(1, &[]);
    assert!(said.stderr.contains(&sentence), "{said:?}");
    let mut packing = test.condense(&["image", "pack", "tree", "two.sqfs", "--keep-blocks"]);
    let said = packing.run().succeeded();
    assert_eq!(said.stderr.matches(&sentence).count(), 1, "{said:?}");
    assert!(blocks.is_file());
}
