//! Tests of unpacked packages in the cache: they are found, and no state of the cache changes an
//! image or ends a build.

use std::{
    os::unix::fs::chown,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use super::harness::{Run, TestEnv};

/// Returns the command that builds `tool` and `library` without a start at a destination.
fn command(test: &TestEnv, destination: &str) -> Command {
    let file = test.path("work/env.yml");
    if !file.exists() {
        test.environment("tool, no-programs");
    }
    let mut command = test.program(&["new", "--no-warm", "--verbose", "--prefix", destination]);
    command.arg("--base-image").arg(test.path("base")).arg(file);
    command
}

/// Builds, and returns the image and how many packages were found.
#[track_caller]
fn build(test: &TestEnv) -> (Vec<u8>, usize) {
    let said = command(test, "built").run().succeeded();
    let image = fs_err::read(test.path("work/built/img.sqfs")).unwrap();
    fs_err::remove_dir_all(test.path("work/built")).unwrap();
    let lines = said.stdout.lines().chain(said.stderr.lines());
    let mut found = lines.filter_map(|line| {
        let (before, _) = line.split_once(" packages were unpacked by earlier builds")?;
        before.split_whitespace().rev().nth(2)?.parse().ok()
    });
    (image, found.next().unwrap_or(0))
}

fn kept(test: &TestEnv) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(test.path("cache/blocks"));
    let paths = entries.into_iter().flatten().map(|it| it.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "package"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn packages_are_unpacked_once_and_images_stay_the_same() {
    let test = TestEnv::new();
    let mut off = command(&test, "off");
    off.env("CONDENSE_BLOCK_CACHE_SIZE", "0").run().succeeded();
    let plain = fs_err::read(test.path("work/off/img.sqfs")).unwrap();
    assert!(kept(&test).is_empty());
    assert!(build(&test) == (plain.clone(), 0));
    assert_eq!(kept(&test).len(), 3, "tool, its library and no-programs");
    assert!(build(&test) == (plain.clone(), 3));
    // Another environment finds what it shares.
    let other = "channels: [CHANNEL]\ndependencies: [library, gated]\n";
    let other = test.write("other.yml", other);
    let said = test.build(&["--no-warm", "--verbose", other.to_str().unwrap()]);
    let said = said.succeeded();
    assert!(
        said.stdout.contains("1 of 2 packages were unpacked")
            || said.stderr.contains("1 of 2 packages were unpacked"),
        "{said:?}"
    );
    let verified = test.condense(&["cache", "verify"]).run().succeeded();
    assert!(
        verified.stderr.contains("4 unpacked packages"),
        "{verified:?}"
    );
    test.condense(&["cache", "clean", "--blocks"])
        .run()
        .succeeded();
    assert!(kept(&test).is_empty());
    assert!(build(&test) == (plain, 0));
}

/// Change to the file of a package.
type Damage = fn(&PathBuf);

#[test]
fn damaged_and_foreign_packages_are_as_if_they_were_not_there() {
    let test = TestEnv::new();
    let (plain, _) = build(&test);
    let damages: [(&str, Damage); 4] = [
        ("flipped", |path| {
            let mut bytes = fs_err::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs_err::write(path, bytes).unwrap();
        }),
        ("cut off", |path| {
            let bytes = fs_err::read(path).unwrap();
            fs_err::write(path, &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("empty", |path| fs_err::write(path, "").unwrap()),
        ("a link", |path| {
            let elsewhere = path.with_extension("moved");
            fs_err::rename(path, &elsewhere).unwrap();
            std::os::unix::fs::symlink(elsewhere, path).unwrap();
        }),
    ];
    for (what, damage) in damages {
        kept(&test).iter().for_each(damage);
        let verified = test.condense(&["cache", "verify"]).run();
        assert_ne!(verified.status, 0, "{what}: {verified:?}");
        assert!(build(&test) == (plain.clone(), 0), "{what}");
        // The build has replaced them.
        assert!(build(&test) == (plain.clone(), 3), "{what}");
    }
    // A whole package under the name of another one.
    let paths = kept(&test);
    fs_err::copy(&paths[0], &paths[1]).unwrap();
    assert!(build(&test) == (plain.clone(), 2), "a wrong name");
    if rustix::process::geteuid().is_root() {
        for path in kept(&test) {
            chown(path, Some(12_345), Some(12_345)).unwrap();
        }
        assert!(build(&test) == (plain, 0), "another user's");
    }
}

#[test]
fn builds_at_once_and_killed_ones_leave_whole_packages() {
    let test = TestEnv::with_bulky();
    let plain = {
        let mut off = command(&test, "off");
        off.env("CONDENSE_BLOCK_CACHE_SIZE", "0").run().succeeded();
        fs_err::read(test.path("work/off/img.sqfs")).unwrap()
    };
    let file = test.write(
        "bulky.yml",
        "channels: [CHANNEL]\ndependencies: [tool, bulky]\n",
    );
    for delay in [60, 120, 250, 500] {
        let mut killed = test.new_command(&["--no-warm", file.to_str().unwrap()]);
        let killed = killed.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = killed.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        let _ = child.kill();
        child.wait().unwrap();
        test.condense(&["cache", "verify"]).run().succeeded();
    }
    let start = |number: usize| {
        let mut one = command(&test, &format!("at-once-{number}"));
        one.stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut children: Vec<_> = (0..16).map(start).collect();
    // Every fifth is killed while the others use what it has written.
    std::thread::sleep(Duration::from_millis(100));
    for child in children.iter_mut().step_by(5) {
        let _ = child.kill();
    }
    for (number, mut child) in children.into_iter().enumerate() {
        let status = child.wait().unwrap();
        assert!(status.success() || number % 5 == 0, "{number}: {status}");
        if status.success() {
            let image = format!("work/at-once-{number}/img.sqfs");
            assert!(fs_err::read(test.path(image)).unwrap() == plain, "{number}");
        }
    }
    test.condense(&["cache", "verify"]).run().succeeded();
}

#[test]
fn packages_take_at_most_half_of_the_cache() {
    let test = TestEnv::with_bulky();
    let file = test.environment("tool, bulky");
    for (size, bulky) in [("40M", false), ("60M", true)] {
        let mut new = test.new_command(&["--no-warm", "--force", file.to_str().unwrap()]);
        new.env("CONDENSE_BLOCK_CACHE_SIZE", size).run().succeeded();
        let is_large = |path: &PathBuf| path.metadata().unwrap().len() > 20_000_000;
        assert_eq!(kept(&test).iter().any(is_large), bulky, "{size}");
        assert!(kept(&test).len() >= 2, "smaller ones are kept");
    }
}

/// Changes the byte at a position of the kept package that is large. Returns its path and bytes.
fn damage_large_package(test: &TestEnv, at: usize) -> (PathBuf, Vec<u8>) {
    let is_large = |path: &PathBuf| path.metadata().unwrap().len() > 500_000;
    let package = kept(test).into_iter().find(is_large).unwrap();
    let mut bytes = fs_err::read(&package).unwrap();
    bytes[at] ^= 1;
    fs_err::write(&package, &bytes).unwrap();
    (package, bytes)
}

/// Blocks that are in the cache are not read from a package, and one with a damaged block that an
/// image of another codec needs is unpacked again.
#[test]
fn damage_in_a_known_block_reaches_no_image() {
    let test = TestEnv::with_large_text();
    let file = test.environment("tool, large-text");
    let build = |compression: &str, size: &str| {
        let mut new = test.new_command(&["--no-warm", "--verbose", "--compression", compression]);
        new.arg(&file).env("CONDENSE_BLOCK_CACHE_SIZE", size);
        let said = new.run().succeeded();
        let image = fs_err::read(test.installation().join("img.sqfs")).unwrap();
        fs_err::remove_dir_all(test.installation()).unwrap();
        let said = said.stdout + &said.stderr;
        (image, said.contains("3 of 3 packages were unpacked"))
    };
    let plain = ["zstd:3", "gzip:6"].map(|compression| build(compression, "0").0);
    assert!(build("zstd:3", "1G") == (plain[0].clone(), false));
    let (package, bytes) = damage_large_package(&test, 300_000);
    assert!(build("zstd:3", "1G") == (plain[0].clone(), true));
    assert!(
        fs_err::read(package).unwrap() == bytes,
        "nobody has read it"
    );
    assert!(build("gzip:6", "1G") == (plain[1].clone(), false));
    assert!(
        build("gzip:6", "1G") == (plain[1].clone(), true),
        "it is whole again"
    );
    test.condense(&["cache", "verify"]).run().succeeded();
}

/// Checks read libraries, whatever the image knows of them.
#[test]
fn a_damaged_library_is_unpacked_again_by_the_same_build() {
    let test = TestEnv::with_large_text();
    let file = test.environment("tool, large-library");
    let build = |size: &str| {
        let mut new = test.new_command(&["--no-warm", "--compression", "zstd:3"]);
        new.arg(&file).env("CONDENSE_BLOCK_CACHE_SIZE", size);
        let said = new.run().succeeded();
        let image = fs_err::read(test.installation().join("img.sqfs")).unwrap();
        fs_err::remove_dir_all(test.installation()).unwrap();
        test.left_nothing();
        let said = said.stdout + &said.stderr;
        (image, said.contains("is damaged, and is unpacked again"))
    };
    let plain = build("0").0;
    assert!(build("1G") == (plain.clone(), false));
    damage_large_package(&test, 30_000);
    assert!(build("1G") == (plain.clone(), true));
    assert!(build("1G") == (plain, false));
    test.condense(&["cache", "verify"]).run().succeeded();
}
