//! Tests with links that lead out of the directory, and with links that do not.
#![allow(clippy::unwrap_used)]
use std::os::unix::fs::symlink;

use super::*;

/// Creates a directory to stay in, and a file beside it that no operation may reach.
fn room() -> (tempfile::TempDir, Within, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs_err::create_dir_all(root.join("lib/site")).unwrap();
    fs_err::create_dir(dir.path().join("outside")).unwrap();
    let victim = dir.path().join("outside/victim");
    fs_err::write(&victim, "victim").unwrap();
    let within = Within::open(&root).unwrap();
    (dir, within, victim)
}

fn is_refused<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
    matches!(result.unwrap_err(), Error::LeadsOut { .. })
}

#[test]
fn links_that_lead_out_are_replaced_and_never_followed() {
    for target in ["../outside/victim", "ABSOLUTE"] {
        let (_room, within, victim) = room();
        let target = if target == "ABSOLUTE" {
            &*victim
        } else {
            target.as_ref()
        };
        symlink(target, within.path("file")).unwrap();
        assert!(is_refused(within.read("file")));
        assert!(!within.is_file("file") && within.has("file"));
        within.write("file", "mine").unwrap();
        assert_eq!(within.read_required("file").unwrap(), b"mine");
        assert!(!within.path("file").is_symlink());
        symlink(target, within.path("program")).unwrap();
        within.write_program("program", "#!").unwrap();
        within.remove("file").unwrap();
        within.remove("file").unwrap();
        assert_eq!(fs_err::read(&victim).unwrap(), b"victim");
    }
}

#[test]
fn directories_that_lead_out_are_refused() {
    for target in ["../outside", "ABSOLUTE", "one", "lib/../../outside"] {
        let (room, within, victim) = room();
        let outside = room.path().join("outside");
        symlink("two", within.path("one")).unwrap();
        symlink(&outside, within.path("two")).unwrap();
        let target = if target == "ABSOLUTE" {
            &*outside
        } else {
            target.as_ref()
        };
        symlink(target, within.path("dir")).unwrap();
        assert!(is_refused(within.write("dir/victim", "mine")));
        assert!(is_refused(within.write_program("dir/new", "mine")));
        assert!(is_refused(within.make_dir("dir/new")));
        assert!(is_refused(within.make_own_dir("dir")));
        assert!(is_refused(within.link("x", "dir/new")));
        within.write("mine", "mine").unwrap();
        let (mine, victim_here) = (Path::new("mine"), Path::new("dir/victim"));
        assert!(is_refused(within.hard_link(mine, victim_here)));
        assert!(is_refused(within.hard_link(victim_here, Path::new("new"))));
        assert!(is_refused(within.move_from(&within, mine, victim_here)));
        assert!(is_refused(within.move_from(&within, victim_here, mine)));
        assert!(is_refused(within.remove("dir/victim")));
        assert!(is_refused(within.read("dir/victim")));
        assert!(is_refused(within.names("dir")));
        assert!(is_refused(within.dir("dir")));
        assert!(!within.is_file("dir/victim") && !within.is_dir("dir"));
        assert_eq!(fs_err::read(&victim).unwrap(), b"victim");
        assert_eq!(fs_err::read_dir(&outside).unwrap().count(), 1);
    }
    let (_room, within, _) = room();
    assert!(is_refused(within.write("../outside/victim", "mine")));
    assert!(is_refused(within.dir("..")));
}

#[test]
fn links_that_stay_inside_go_on_working() {
    let (_room, within, _) = room();
    symlink("lib", within.path("lib64")).unwrap();
    symlink("../lib64/site", within.path("lib/also")).unwrap();
    within.write("lib64/also/x.pth", "mine").unwrap();
    assert_eq!(within.read_required_text("lib/site/x.pth").unwrap(), "mine");
    assert_eq!(within.names("lib64/site").unwrap(), ["x.pth"]);
    assert!(within.is_dir("lib64/also") && within.is_dir(""));
    assert_eq!(within.link_target("lib64").unwrap(), Some("lib".into()));
    assert_eq!(within.link_target("lib").unwrap(), None);
    // The link is replaced by a new file, so the file that it led to stays unchanged.
    symlink("x.pth", within.path("lib/site/y.pth")).unwrap();
    within.write("lib/site/y.pth", "yours").unwrap();
    assert_eq!(within.read_required_text("lib/site/x.pth").unwrap(), "mine");
    symlink("../lib/site/", within.path("lib/over")).unwrap();
    assert_eq!(
        within
            .read_required_text("./lib/over/../site/x.pth")
            .unwrap(),
        "mine"
    );
    symlink("loop", within.path("loop")).unwrap();
    assert!(within.read("loop").is_err() && within.read("loop/x").is_err());
    symlink("lib/later", within.path("later")).unwrap();
    within.make_dir("later/on").unwrap();
    assert!(within.is_dir("lib/later/on"));
    // A link is refused where the build's own directory should be.
    symlink("lib", within.path(".build")).unwrap();
    assert!(is_refused(within.make_own_dir(".build")));
}

#[test]
fn modes_of_files_stay_and_nothing_blocks() {
    let (_room, within, _) = room();
    within.write_program("file", "a").unwrap();
    within.write("file", "b").unwrap();
    let mode = within.stat(Path::new("file")).unwrap().st_mode;
    assert_eq!(mode & MODE, PROGRAM);
    rustix::fs::mkfifoat(rustix::fs::CWD, within.path("fifo"), 0o600.into()).unwrap();
    assert!(within.read("fifo").is_err() && within.read("lib").is_err());
    assert_eq!(within.read("missing/file").unwrap(), None);
    assert!(within.names("missing").unwrap().is_empty());
    assert!(within.write("lib", "a directory").is_err());
    let left = within.names("").unwrap();
    assert_eq!(left, ["fifo", "file", "lib"]);
}

#[test]
fn files_and_links_move_to_another_directory() {
    let (_room, within, victim) = room();
    let other = within.dir("lib").unwrap();
    within.write_program("site", "program").unwrap();
    symlink(&victim, within.path("link")).unwrap();
    for (from, to) in [("site", "tool"), ("link", "site/link")] {
        other
            .move_from(&within, Path::new(from), Path::new(to))
            .unwrap();
        assert!(!within.has(from));
    }
    let mode = other.stat(Path::new("tool")).unwrap().st_mode;
    assert_eq!(mode & MODE, PROGRAM);
    assert_eq!(
        other.link_target("site/link").unwrap(),
        Some(victim.clone())
    );
    // What has the name is replaced, and no link is followed.
    other
        .hard_link(Path::new("tool"), Path::new("second"))
        .unwrap();
    let (second, link) = (Path::new("second"), Path::new("site/link"));
    other.move_from(&other, second, link).unwrap();
    assert_eq!(other.read_required_text("site/link").unwrap(), "program");
    assert_eq!(
        other.stat(link).unwrap().st_ino,
        other.stat(Path::new("tool")).unwrap().st_ino
    );
    assert!(other.hard_link(Path::new("tool"), link).is_err());
    let into_dir = other.move_from(&other, Path::new("tool"), Path::new("site"));
    assert!(into_dir.is_err() && other.has("tool"));
    assert_eq!(fs_err::read(&victim).unwrap(), b"victim");
}
