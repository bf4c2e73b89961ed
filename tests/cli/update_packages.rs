//! Tests of `update` with conda packages: what is solved near the installed packages, what it
//! costs, and files that several packages share.

use std::{collections::BTreeMap, path::Path, process::Stdio, sync::Arc, time::Duration};

use condense_image::{Kind, Reader, Tree};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    harness::{CommandOutput, Run, TestEnv, finish},
    support::channel::{Package, write_channel},
};

/// Message that the environment must be unpacked.
const WHOLE: &str = "The installed environment is unpacked first: ";

/// Returns a megabyte that does not compress.
fn noise(seed: u32) -> Vec<u8> {
    let mut state = seed;
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    });
    bytes.take(1 << 20).collect()
}

fn packages() -> Vec<Package> {
    vec![
        Package::new("large", "1.0").file("share/large/noise", noise(1)),
        Package::new("kit", "1.0")
            .depends("part")
            .program("bin/kit", "#!/bin/sh\n")
            .file("share/kit/old/only", "1")
            .file("share/kit/same", "same"),
        Package::new("kit", "2.0")
            .depends("part >=2")
            .program("bin/kit", "#!/bin/sh\necho 2\n")
            .file("share/kit/new/only", "2")
            .file("share/kit/same", "same"),
        Package::new("part", "1.0").file("share/part/1", "1"),
        Package::new("part", "2.0").file("share/part/2", "2"),
        Package::new("part", "3.0").file("share/part/3", "3"),
        Package::new("needs-part", "1.0").depends("part <3"),
        // Both have one file.
        Package::new("ours", "1.0").file("share/both", "ours"),
        Package::new("theirs", "1.0")
            .file("share/both", "theirs")
            .file("share/theirs", "x"),
        Package::new("code", "1.0").file("share/code/a.py", "a = 1\n"),
        // The empty directory of one has a file of the other.
        Package::new("hollow", "1.0")
            .file("share/hollow", "x")
            .empty_dir("share/plugins"),
        Package::new("plugin", "1.0").file("share/plugins/one", "1"),
        Package::new("for-gpu", "1.0")
            .depends("__cuda >=12")
            .file("share/gpu", "x"),
        // Both need the shared package, which has a newer version.
        Package::new("user-one", "1.0").depends("part"),
        Package::new("user-two", "1.0").depends("part"),
        Package::new("activated", "1.0").file("etc/conda/env_vars.d/a.json", "{\"A\": \"1\"}"),
    ]
}

fn built(asked: &str) -> TestEnv {
    let test = TestEnv::with(&packages());
    let file = test.environment(asked);
    test.build(&["--compression", "zstd:1", file.to_str().unwrap()])
        .succeeded();
    test
}

fn update(test: &TestEnv, words: &[&str]) -> CommandOutput {
    test.run(&[&["update", "installation"], words].concat())
}

fn generation(test: &TestEnv) -> u64 {
    let text = fs_err::read(test.installation().join("share/receipt.json")).unwrap();
    let receipt: Value = serde_json::from_slice(&text).unwrap();
    receipt["generation"].as_u64().unwrap()
}

/// Returns what is at each path of an image: a link's target, or the digest of a file. Texts with
/// the path of the mount point or the history of requests differ between builds.
fn listing(image: &Path) -> BTreeMap<String, String> {
    let reader = Arc::new(Reader::open(image).unwrap());
    let tree = Tree::from_image(&reader).unwrap();
    let mut found = BTreeMap::new();
    for (path, entry) in tree.walk() {
        let shown = path.display().to_string();
        let differs = shown.ends_with("conda-meta/history") || shown.contains("/conda/");
        let text = match &entry.kind {
            Kind::Directory(_) => "directory".to_owned(),
            Kind::Symlink(target) => String::from_utf8_lossy(target).into_owned(),
            Kind::File { .. } if differs || path.extension() == Some("json".as_ref()) => {
                "file".to_owned()
            }
            Kind::File { .. } => {
                let node = reader.lookup(&path).unwrap().unwrap();
                hex::encode(<sha2::Sha256 as sha2::Digest>::digest(
                    reader.read(&node, 1 << 30).unwrap(),
                ))
            }
            _ => panic!("{shown}"),
        };
        found.insert(shown, format!("{:o} {text}", entry.mode));
    }
    found
}

/// Compares the image with that of a fresh build of its lock.
#[track_caller]
fn check_against_fresh_build(test: &TestEnv) {
    let lock = test.installation().join("share/condense.lock");
    let fresh = test.path("work/fresh");
    let mut command = test.program(&["new", "--force", "--prefix", "fresh", "--base-image"]);
    command.arg(test.path("base")).arg("--lock").arg(&lock);
    command.run().succeeded();
    let (ours, theirs) = (
        listing(&test.installation().join("img.sqfs")),
        listing(&fresh.join("img.sqfs")),
    );
    let differences: Vec<_> = ours
        .iter()
        .filter(|(path, what)| theirs.get(*path) != Some(*what))
        .chain(theirs.iter().filter(|(path, _)| !ours.contains_key(*path)))
        .collect();
    assert!(differences.is_empty(), "{differences:#?}");
    let names = |dir: &Path| crate::harness::names(&dir.join("bin"));
    assert_eq!(names(&test.installation()), names(&fresh));
    fs_err::remove_dir_all(&fresh).unwrap();
}

/// Results 1 and 3: packages come, change and go, and the image has the files of a fresh build.
#[test]
fn a_changed_image_has_the_files_of_a_fresh_build_of_its_lock() {
    let test = built("large, kit=1, part=1");
    for (words, told) in [
        (
            &["code", "needs-part"][..],
            &["Added: code-1.0-0, needs-part-1.0-0"][..],
        ),
        // Both requests of before are for older versions; the newest request counts.
        (
            &["kit=2", "part=2"],
            &[
                "Removed: kit-1.0-0, part-1.0-0",
                "Added: kit-2.0-0, part-2.0-0",
            ],
        ),
        (&["kit<2"], &["Removed: kit-2.0-0", "Added: kit-1.0-0"]),
        (&["--remove", "code"], &["Removed: code-1.0-0"]),
        (
            &["--remove", "kit", "code"],
            &["Removed: kit-1.0-0", "Added: code-1.0-0"],
        ),
    ] {
        let said = update(&test, words).succeeded();
        for told in told {
            assert!(said.stdout.contains(told), "`{told}` is not in {said:?}");
        }
        assert!(!said.stdout.contains(WHOLE), "{said:?}");
        check_against_fresh_build(&test);
    }
    assert_eq!(generation(&test), 6);
    test.left_nothing();
}

/// Result 3: only packages that change are compressed.
#[test]
fn an_update_compresses_what_changes() {
    let test = built("large, part=1");
    let bytes = |test: &TestEnv| {
        let image = test.installation().join("img.sqfs");
        image.metadata().unwrap().len()
    };
    let before = bytes(&test);
    for words in [&["kit=1"][..], &["part=2"], &["--remove", "kit"]] {
        let said = update(&test, words).succeeded();
        let more = bytes(&test).abs_diff(before);
        assert!(more <= 12288, "{more} bytes with {words:?}");
        // The noise is in blocks of its own, and all of them are as they were.
        let taken = said.stdout.split("), ").find_map(|part| {
            let number = part.strip_suffix(" MiB of them taken over as they were\n");
            let number =
                number.or_else(|| part.split_once(" MiB of them taken over").map(|(n, _)| n));
            number?.parse::<f64>().ok()
        });
        assert!(taken.is_some_and(|taken| taken >= 1.0), "{said:?}");
        assert!(!said.stdout.contains(WHOLE), "{said:?}");
    }
}

/// Result 3: a file of two packages is the one of the package that stays, with its record.
#[test]
fn a_shared_file_is_that_of_the_package_that_stays() {
    for (asked, added, gone) in [
        ("ours, theirs", None, "theirs"),
        ("ours, theirs", None, "ours"),
        ("ours", Some("theirs"), "theirs"),
        ("ours", Some("theirs"), "ours"),
        ("theirs", Some("ours"), "ours"),
        ("theirs", Some("ours"), "theirs"),
    ] {
        let test = built(asked);
        if let Some(added) = added {
            update(&test, &[added]).succeeded();
            check_against_fresh_build(&test);
        }
        update(&test, &["--remove", gone]).succeeded();
        check_against_fresh_build(&test);
    }
}

/// An empty directory belongs to its package, also when another package's file in it goes.
#[test]
fn an_empty_directory_stays_with_its_package() {
    let test = built("hollow, plugin");
    update(&test, &["--remove", "plugin"]).succeeded();
    check_against_fresh_build(&test);
    let image = listing(&test.installation().join("img.sqfs"));
    assert!(image.keys().any(|path| path.ends_with("share/plugins")));
}

/// An update solves for the machine that the environment was solved for.
#[test]
fn what_was_overridden_at_the_build_counts_for_updates() {
    let test = TestEnv::with(&packages());
    let file = test.environment("for-gpu");
    let mut command = test.new_command(&[file.to_str().unwrap()]);
    command
        .env("CONDA_OVERRIDE_CUDA", "12.4")
        .env("CONDA_OVERRIDE_GLIBC", "2.39");
    command.run().succeeded();
    let locked = || {
        let lock = fs_err::read_to_string(test.installation().join("share/condense.lock")).unwrap();
        ["__cuda=12.4", "__glibc=2.39"].map(|word| lock.contains(word))
    };
    assert_eq!(locked(), [true, true]);
    let said = update(&test, &["code"]).succeeded();
    assert!(said.stdout.contains("Added: code-1.0-0\n"), "{said:?}");
    assert_eq!(locked(), [true, true]);
}

/// A package that only a removed one has needed keeps its version if an added one needs it.
#[test]
fn what_an_added_package_needs_again_keeps_its_version() {
    let test = built("user-one, large");
    let part = installed_part(&test);
    assert_eq!(part, "part-3.0-0");
    let said = update(&test, &["needs-part", "user-two"]).succeeded();
    assert!(said.stdout.contains("part-2.0-0"), "{said:?}");
    update(&test, &["--remove", "needs-part"]).succeeded();
    assert_eq!(installed_part(&test), "part-2.0-0");
    update(&test, &["--remove", "user-one"]).succeeded();
    let said = update(&test, &["user-one", "--remove", "user-two"]).succeeded();
    assert!(!said.stdout.contains("part-"), "{said:?}");
    assert_eq!(installed_part(&test), "part-2.0-0");
}

fn installed_part(test: &TestEnv) -> String {
    let image = listing(&test.installation().join("img.sqfs"));
    let mut paths = image.keys();
    let record = paths.find_map(|path| path.split_once("conda-meta/part-"));
    let version = record.unwrap().1;
    format!("part-{}", version.trim_end_matches(".json"))
}

/// Result 3: what takes part in the activation is captured anew.
#[test]
fn activation_changes_with_its_package() {
    let test = built("part");
    let common = || fs_err::read_to_string(test.installation().join("common.sh")).unwrap();
    let said = update(&test, &["activated"]);
    // Without a runtime, only packages that set variables can be activated.
    let said = said.succeeded();
    assert!(
        said.stdout.contains("takes part in its activation"),
        "{said:?}"
    );
    check_against_fresh_build(&test);
    let with = common();
    update(&test, &["--remove", "activated"]).succeeded();
    assert_ne!(common(), with);
    check_against_fresh_build(&test);
}

/// Result 1: installed packages stay where they can, unless all may move.
#[test]
fn packages_move_only_if_they_must_or_may() {
    let test = built("part=1, kit");
    // The solver could take a newer part for `needs-part`; the installed one fits.
    let said = update(&test, &["needs-part"]).succeeded();
    assert!(
        said.stdout.contains("Added: needs-part-1.0-0\n"),
        "{said:?}"
    );
    let said = update(&test, &["--update-all"]).succeeded();
    assert!(said.stdout.contains("nothing to do"), "{said:?}");
    // The newest request for a package counts.
    update(&test, &["part"]).succeeded();
    assert_eq!(generation(&test), 2);
    let said = update(&test, &["--update-all", "part>1"]).succeeded();
    let told = "Removed: kit-1.0-0, part-1.0-0\n";
    assert!(said.stdout.contains(told), "{said:?}");
    assert!(
        said.stdout.contains("Added: kit-2.0-0, part-2.0-0\n"),
        "{said:?}"
    );
    check_against_fresh_build(&test);
}

/// Result 1: a channel in a request counts, also for what is installed.
#[test]
fn a_request_names_a_channel() {
    let test = built("part=2");
    let other = write_channel(
        &test.path("other"),
        &[Package::new("part", "2.0").file("share/part/other", "2")],
    );
    let ours = format!("{}::part", test.channel);
    let said = update(&test, &[&ours]).succeeded();
    assert!(said.stdout.contains("nothing to do"), "{said:?}");
    let theirs = format!("{other}::part");
    let said = update(&test, &[&theirs]).succeeded();
    assert!(said.stdout.contains("Added: part-2.0-0\n"), "{said:?}");
    let paths = listing(&test.installation().join("img.sqfs"));
    let has = |name: &str| paths.keys().any(|path| path.ends_with(name));
    assert!(
        has("share/part/other") && !has("share/part/2"),
        "{paths:#?}"
    );
    let said = update(&test, &[&theirs]).succeeded();
    assert!(said.stdout.contains("nothing to do"), "{said:?}");
}

/// Result 1: refusals in one line that names the word.
#[test]
fn bad_requests_are_refused_with_their_position() {
    let test = built("kit=1");
    for (words, told) in [
        (
            &["part", "kit>>1"][..],
            "package 2 of the command line, `kit>>1`: ",
        ),
        (
            &["kit=1=2=3"],
            "package 1 of the command line, `kit=1=2=3`: ",
        ),
        (&["nosuch"], "no channel has `nosuch`"),
        (
            &["--remove", "prat"],
            "there is no package `prat` to remove",
        ),
        (
            &["--remove", "part"],
            "`part` cannot be removed: `kit`, which was asked for, needs it",
        ),
        (&["part=9"], "part"),
    ] {
        let status = if told.contains("command line") { 2 } else { 1 };
        update(&test, words).failed(status, &["[ ERROR ] ", told]);
        assert_eq!(generation(&test), 1, "{words:?}");
        test.left_nothing();
    }
}

/// A package to remove that a new one needs is not removed, with and without a dry run.
#[test]
fn a_removed_package_that_a_new_one_needs_is_refused() {
    let test = built("part=1, code");
    let told = "`part` cannot be removed: `kit`, which was asked for, needs it";
    let file = test.environment("part=2");
    let in_file = "asks for `part`, which `--remove part` removes";
    for dry in [&["--dry-run"][..], &[]] {
        for words in [
            &["kit", "--remove", "part"][..],
            &["kit=1", "--remove", "Part"],
        ] {
            update(&test, &[words, dry].concat()).failed_on_either_stream(1, &["[ ERROR ] ", told]);
        }
        for word in ["part", "part=15", "conda-forge::part>=2"] {
            let told = format!("`{word}` is to be there, and `--remove part` removes it");
            let words = [&["--remove", "Part", word][..], dry].concat();
            update(&test, &words).failed_on_either_stream(1, &["[ ERROR ] ", &told]);
        }
        let words = [&["--remove", "part", file.to_str().unwrap()][..], dry].concat();
        update(&test, &words).failed_on_either_stream(1, &["[ ERROR ] ", in_file]);
        assert_eq!(generation(&test), 1);
        test.left_nothing();
    }
    // Another package takes its place only where nothing needs it.
    update(&test, &["large", "--remove", "part"]).succeeded();
    assert_eq!(generation(&test), 2);
}

/// Result 4: a dry run shows the change of each package.
#[test]
fn a_dry_run_shows_each_change() {
    let test = built("kit=1, part=1, code");
    let words = [
        "update",
        "./installation",
        "kit=2",
        "part=3",
        "large",
        "--remove",
        "code",
    ];
    let said = test
        .condense(&[&words[..], &["--dry-run", "--json"]].concat())
        .run()
        .succeeded();
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    let changes: Vec<String> = found["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            format!(
                "{} {} {} {}",
                one["change"], one["name"], one["from"], one["to"]
            )
        })
        .collect();
    assert_eq!(
        changes.join("\n").replace('"', ""),
        "remove code 1.0-0 null\nupgrade kit 1.0-0 2.0-0\ninstall large null 1.0-0\nupgrade part 1.0-0 3.0-0"
    );
    assert!(!found["steps"].to_string().contains("unpack"), "{found}");
    let said = test
        .condense(&[&words[..], &["--dry-run"]].concat())
        .run()
        .succeeded();
    assert!(
        said.stdout.contains("upgrade  kit    1.0-0  2.0-0\n"),
        "{said:?}"
    );
    assert_eq!(generation(&test), 1);
    test.left_nothing();
}

/// Result 5: an update that is killed or interrupted leaves the old generation as it was, and the
/// next one succeeds.
#[test]
fn an_update_that_is_ended_changes_nothing() {
    let test = TestEnv::with_bulky();
    let file = test.environment("tool");
    test.build(&["--compression", "zstd:1", file.to_str().unwrap()])
        .succeeded();
    let image = fs_err::read(test.installation().join("img.sqfs")).unwrap();
    let mut ended = 0;
    for (signal, delay) in [
        (Signal::INT, 40),
        (Signal::KILL, 80),
        (Signal::KILL, 160),
        (Signal::TERM, 240),
    ] {
        let mut command = test.program(&["update", "installation", "bulky"]);
        let (out, err) = (Stdio::piped(), Stdio::piped());
        let child = command.stdout(out).stderr(err).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        let _ = kill_process(Pid::from_child(&child), signal);
        let said = finish(child);
        if said.status == 0 {
            break;
        }
        ended += 1;
        assert_eq!(generation(&test), 1, "{signal:?} after {delay} ms");
        assert!(fs_err::read(test.installation().join("img.sqfs")).unwrap() == image);
        assert!(!test.installation().join("bin/bulky").exists());
    }
    assert!(ended > 0, "no update was ended");
    update(&test, &["bulky"]).succeeded();
    assert!(test.installation().join("bin/bulky").exists());
    test.left_nothing();
}
