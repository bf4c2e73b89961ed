//! Builds of installations: where the base image is placed, which modes files get, and what a
//! killed build leaves.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use condense_installation::{
    Assembly, BaseMode, Destination, HostView, Placement, Program, Receipt, State,
};

use super::{ENV_PREFIX, MOUNT_POINT, PROGRAMS, build, shared};

#[test]
fn a_base_on_another_file_system_is_linked_to_unless_it_moves() {
    let far = tempfile::tempdir_in("/dev/shm").unwrap();
    let near = tempfile::tempdir().unwrap();
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    assert_ne!(
        device(far.path()),
        device(near.path()),
        "this test needs two file systems"
    );
    fs::write(far.path().join("base.sif"), "base").unwrap();
    symlink("base.sif", far.path().join("latest.sif")).unwrap();
    let launch = shared::launch(MOUNT_POINT, ENV_PREFIX, None, HostView::Host);
    for (base, mode, expected) in [
        ("base.sif", BaseMode::Link, Placement::Symlink),
        ("latest.sif", BaseMode::Link, Placement::Copy),
        ("base.sif", BaseMode::Copy, Placement::Copy),
    ] {
        let image = near.path().join("img");
        fs::write(&image, "image").unwrap();
        let dir = near.path().join(format!("{base}-{mode:?}"));
        let staged = Destination::inspect(&dir)
            .unwrap()
            .claim(false)
            .unwrap()
            .stage(&Assembly {
                image: Some(&image),
                base: &far.path().join(base),
                base_mode: mode,
                launch: &launch,
                landmarks: &[],
                programs: &[Program {
                    name: "x".into(),
                    target: "/x".into(),
                }],
                share: &[],
                receipt: &shared::receipt(&launch),
            })
            .unwrap();
        assert_eq!(staged.receipt().base.placement, expected, "{base} {mode:?}");
        // Only a symbolic link needs the digest, to detect a change of its target.
        assert_eq!(
            staged.receipt().base.sha256.is_some(),
            expected == Placement::Symlink
        );
        staged.publish().unwrap();
        assert_eq!(
            fs::read_to_string(dir.join("container.sif")).unwrap(),
            "base"
        );
        assert_eq!(Receipt::load(&dir).unwrap().base.placement, expected);
    }
}

/// The digest of the image is computed while a wrapper is started.
#[test]
fn a_generation_without_the_digest_of_its_image_stays_invisible() {
    let scratch = tempfile::tempdir().unwrap();
    let launch = shared::launch(MOUNT_POINT, ENV_PREFIX, None, HostView::Host);
    let mut receipt = shared::receipt(&launch);
    receipt.image.as_mut().unwrap().sha256.clear();
    let dir = scratch.path().join("env");
    let stage = || {
        let image = scratch.path().join("img");
        fs::write(&image, "image").unwrap();
        fs::write(scratch.path().join("base.sif"), "base").unwrap();
        let claim = Destination::inspect(&dir).unwrap().claim(false).unwrap();
        let assembly = Assembly {
            image: Some(&image),
            base: &scratch.path().join("base.sif"),
            base_mode: BaseMode::Copy,
            launch: &launch,
            landmarks: &[],
            programs: &[Program {
                name: "x".into(),
                target: "/x".into(),
            }],
            share: &[],
            receipt: &receipt,
        };
        claim.stage(&assembly).unwrap()
    };
    let error = stage().publish().unwrap_err().to_string();
    assert!(error.contains("the digest of the image"), "{error}");
    assert!(!dir.exists());
    let mut staged = stage();
    let digest = "cd".repeat(32);
    staged.set_image_digest(digest.clone()).unwrap();
    assert_eq!(staged.receipt().image.as_ref().unwrap().sha256, digest);
    staged.publish().unwrap();
    let published = Receipt::load(&dir).unwrap();
    assert_eq!(published.image.unwrap().sha256, digest);
    let common = fs::read_to_string(dir.join("common.sh")).unwrap();
    assert!(common.contains(&digest), "{common}");
}

/// Builds into the directory that the environment variable names. Without this variable, the test
/// builds twice into a directory of its own.
#[test]
fn builder() {
    let launch = shared::launch(MOUNT_POINT, ENV_PREFIX, None, HostView::Host);
    if let Some(dir) = std::env::var_os("CONDENSE_TEST_BUILD_INTO").map(PathBuf::from) {
        std::io::stderr().write_all(b"building\n").unwrap();
        build(&dir, dir.parent().unwrap(), &launch, PROGRAMS);
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    for generation in [1, 2] {
        let built = build(
            &scratch.path().join("inst"),
            scratch.path(),
            &launch,
            PROGRAMS,
        );
        assert_eq!((built.generation, built.wrappers), (generation, PROGRAMS));
    }
}

#[test]
fn a_group_can_read_what_a_careful_user_builds() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("inst");
    let output = Command::new("sh")
        .args(["-c", "umask 077; exec \"$0\" --exact builds::builder"])
        .arg(std::env::current_exe().unwrap())
        .env("CONDENSE_TEST_BUILD_INTO", &dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    for (name, mode) in [
        ("", 0o755),
        (".condense", 0o755),
        (".condense/1", 0o755),
        ("bin", 0o755),
        ("_bin", 0o755),
        ("bin/python3", 0o755),
        ("common.sh", 0o644),
        ("img.sqfs", 0o644),
        ("share", 0o755),
        ("share/receipt.json", 0o644),
        ("share/conf.yaml", 0o644),
        ("share/VERSION.yml", 0o644),
    ] {
        let metadata = fs::metadata(dir.join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{name}");
    }
}

#[test]
fn a_killed_build_leaves_nothing_or_everything() {
    const MOMENTS: u32 = 10;
    let complete = |dir: &Path| {
        let wrappers = fs::read_dir(dir.join("bin")).unwrap().count();
        let links = fs::read_dir(dir.join("_bin")).unwrap().count();
        wrappers == PROGRAMS + 2
            && links == PROGRAMS
            && fs::read_to_string(dir.join("img.sqfs")).unwrap() == "image"
            && Receipt::load(dir).is_ok()
    };
    let launch = shared::launch(MOUNT_POINT, ENV_PREFIX, None, HostView::Host);
    let start = |dir: &Path| {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "builds::builder", "--nocapture"])
            .env("CONDENSE_TEST_BUILD_INTO", dir)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "building"));
        child
    };
    let scratch = tempfile::tempdir().unwrap();
    let mut child = start(&scratch.path().join("inst"));
    let started = Instant::now();
    child.wait().unwrap();
    let whole_build = started.elapsed();

    let (mut nothing, mut everything) = (0, 0);
    for moment in 0..3 * MOMENTS {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("inst");
        let (kind, moment) = (moment % 3, moment / 3);
        match kind {
            0 => {}
            1 => fs::create_dir(&dir).unwrap(),
            _ => drop(build(&dir, scratch.path(), &launch, PROGRAMS)),
        }
        let mut child = start(&dir);
        if moment + 1 == MOMENTS {
            child.wait().unwrap();
        } else {
            std::thread::sleep(whole_build.mul_f64(f64::from(moment) / f64::from(MOMENTS - 2)));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        match Destination::inspect(&dir).unwrap().state() {
            State::Absent | State::Empty if kind < 2 => nothing += 1,
            State::Condense { .. } => {
                assert!(complete(&dir), "{kind} {moment}");
                everything += 1;
            }
            other => panic!("{kind} {moment}: {other:?}"),
        }
        // The next build clears away what is left and succeeds.
        build(&dir, scratch.path(), &launch, PROGRAMS);
        assert!(complete(&dir));
        let hidden = fs::read_dir(scratch.path()).unwrap().filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with(".inst.condense-")
                // A sibling of a build that was killed before it had a lock is removed only at an
                // age at which no live build can own it.
                && entry.as_ref().unwrap().path().extension() != Some(OsStr::new("new"))
        });
        assert_eq!(hidden.count(), 0, "{kind} {moment}");
    }
    assert!(
        nothing > 0 && everything > 0,
        "the moments are badly chosen: {nothing} {everything}"
    );
}
