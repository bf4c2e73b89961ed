//! Tests with one unusual package each, which is installed as conda would install it.

use std::os::unix::{ffi::OsStrExt, fs::PermissionsExt};

use serde_json::json;
use tar::EntryType::{self, Regular, Symlink};

use super::{
    Range,
    archive::{Archive, header},
    refused::{command, noarch, python, x},
};

#[track_caller]
fn installs(package: impl Fn(&Range) -> Archive) -> Range {
    let range = Range::new();
    let package = package(&range);
    range.link(&[python(), package]).unwrap();
    range.is_untouched("installs");
    range
}

#[test]
fn a_link_listed_with_a_placeholder_is_not_read() {
    let r = installs(|r| {
        let target = r.at("outside/secret");
        x().unlisted("l", Symlink, &target, 0o777, "").lists_entry(
            json!({ "_path": "l", "path_type": "hardlink", "prefix_placeholder": "secret", "file_mode": "text" }),
        )
    });
    let target = fs_err::read_link(r.env("l")).unwrap();
    assert_eq!(target, r.dir.path().join("outside/secret"));
}

#[test]
fn the_archive_says_what_is_a_link() {
    let r = installs(|r| {
        x().unlisted("l", Symlink, &r.at("victim"), 0o777, "")
            .lists("l", "hardlink")
            .unlisted("f", Regular, "", 0o644, "file")
            .lists("f", "softlink")
    });
    assert!(r.env("l").is_symlink());
    assert_eq!(r.text("f"), "file");
}

#[test]
fn the_last_of_several_entries_counts_and_is_not_written_through_the_first() {
    let r = installs(|r| {
        x().unlisted("f", Symlink, &r.at("victim"), 0o777, "")
            .file("f", "file")
            .unlisted("g", EntryType::Link, "f", 0o644, "")
            .lists("g", "hardlink")
            .unlisted("f", Regular, "", 0o644, "new")
            .lists("f", "hardlink")
    });
    assert_eq!((r.text("f"), r.text("g")), ("new".into(), "file".into()));
    assert!(!r.env("f").is_symlink());
}

#[test]
fn a_command_is_not_written_through_a_link() {
    let r = installs(|r| command("tool = a.b:main").link("bin/tool", &r.at("victim")));
    assert!(!r.env("bin/tool").is_symlink());
    assert!(r.text("bin/tool").contains("from a.b import main"));
    let mode = fs_err::metadata(r.env("bin/tool"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o775);
    let record = r.text("conda-meta/x-1.0-0.json");
    assert!(record.contains("unix_python_entry_point"), "{record}");
    // The link may belong to another package.
    let r = Range::new();
    let other = Archive::new("other").link("bin/tool", &r.at("victim"));
    r.link(&[python(), other, command("tool = a.b:main")])
        .unwrap();
    r.is_untouched("another's link");
}

#[test]
fn the_prefix_s_own_files_are_not_made_through_links() {
    let r = installs(|r| x().link("CACHEDIR.TAG", &r.at("outside/new")));
    super::open_prefix(&r.env("")).unwrap();
    r.is_untouched("CACHEDIR.TAG");
}

#[test]
fn directories_without_rights_are_filled_and_removed() {
    let r = installs(|_| {
        x().unlisted("d/", EntryType::Directory, "", 0o000, "")
            .unlisted("d/e/", EntryType::Directory, "", 0o555, "")
            .file("d/e/f", "deep")
    });
    assert_eq!(r.text("d/e/f"), "deep");
    let unpacked = r.dir.path().join("scratch/packages/1/d");
    assert_eq!(
        fs_err::metadata(&unpacked).unwrap().permissions().mode() & 0o700,
        0o700
    );
}

#[test]
fn modes_are_those_of_owners_who_can_read() {
    let r = installs(|_| {
        x().unlisted("s", Regular, "", 0o6755, "s")
            .lists("s", "hardlink")
            .unlisted("z", Regular, "", 0, "z")
            .lists("z", "hardlink")
    });
    let mode = |path| fs_err::metadata(r.env(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("s"), mode("z")), (0o755, 0o400));
}

#[test]
fn empty_directories_are_made() {
    let r = installs(|_| {
        noarch()
            .lists("site-packages/a/b", "directory")
            .lists("var/empty", "directory")
    });
    assert!(r.env("lib/python3.11/site-packages/a/b").is_dir() && r.env("var/empty").is_dir());
    assert!(r.text("conda-meta/x-1.0-0.json").contains("var/empty"));
}

#[test]
fn names_that_are_not_utf_8_are_linked() {
    let listed =
        br#"{"paths":[{"_path":"share/caf\udce9","path_type":"hardlink"}],"paths_version":1}"#;
    let r = installs(|_| {
        x().paths_json(*listed)
            .raw(header(b"share/caf\xE9", Regular, "", 0o644, 1), "x")
    });
    let found = fs_err::read_dir(r.env("share"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(found.file_name().as_bytes(), b"caf\xE9");
    let record = r.text("conda-meta/x-1.0-0.json");
    let record: rattler_conda_types::PrefixRecord = serde_json::from_str(&record).unwrap();
    assert_eq!(record.files, [std::path::Path::new("share/caf\u{FFFD}")]);
}

#[test]
fn the_channel_s_name_counts() {
    let index =
        r#"{"name":"Inside","version":1,"build":["x"],"depends":"none","build_number":"many"}"#;
    let r = Range::new();
    let said = r.link(&[x().index(index)]).unwrap();
    assert!(
        said.concat()
            .contains("`x-1.0-0.tar.bz2` calls itself `Inside`"),
        "{said:?}"
    );
    assert_eq!(r.text("bin/x"), "#!/bin/sh\n");
    assert!(r.env("conda-meta/x-1.0-0.json").is_file());
}

#[test]
fn entries_that_are_listed_twice_are_linked_once() {
    let r = installs(|_| x().lists("bin/x", "hardlink").lists("./bin//x", "softlink"));
    let record: serde_json::Value =
        serde_json::from_str(&r.text("conda-meta/x-1.0-0.json")).unwrap();
    assert_eq!(record["files"], json!(["bin/x"]));
}

#[test]
fn older_packages_install() {
    let r = installs(|_| {
        x().paths_json("")
            .unlisted("p", Regular, "", 0o644, "at /old/place\n")
            .unlisted("l", Symlink, "p", 0o777, "")
            .info("info/files", "bin/x\np\nl\n\n")
            .info("info/has_prefix", "/old/place text p\n\n")
            .info("info/no_link", "p\n")
    });
    assert_eq!(r.text("p"), "at /MOUNT_abc1234/env\n");
    assert!(r.env("l").is_symlink() && r.env("bin/x").is_file());
}

#[test]
fn an_index_that_claims_to_be_huge_is_no_reason_to_panic() {
    let r = Range::new();
    for conda in [false, true] {
        let huge = header(b"info/index.json", Regular, "", 0o644, usize::MAX >> 2);
        let package = x().no_index().raw(huge, "");
        let package = if conda { package.conda() } else { package };
        let path = package.write(r.dir.path());
        assert!(super::package::index_of(&path).is_err());
        assert!(r.link(&[package]).is_err());
        let whole = x().write(r.dir.path());
        let index = super::package::index_of(&whole).unwrap();
        assert_eq!(index.name.as_normalized(), "x");
        fs_err::remove_dir_all(r.dir.path().join("scratch/packages/0")).unwrap();
    }
}
