//! Tests of `condense cache`.

use std::time::{Duration, SystemTime};

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
