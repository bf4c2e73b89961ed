#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;

use super::*;
use crate::xattr::Xattr;
use crate::{Donor, Entry, Kind, PackOptions, Source, pack, verify};

/// Packs a root file system with an entry of each kind.
fn base(dir: &Path) -> Donor {
    let mut tree = Tree::new();
    tree.set_mtime_of_additions(1_600_000_000);
    tree.add_bytes("usr/bin/tool", vec![7; 300_000], 0o4755)
        .unwrap();
    tree.add_bytes("etc/shadow", *b"root:*", 0o000).unwrap();
    tree.add_bytes("etc/passwd", *b"root:x:0:0", 0o644).unwrap();
    tree.add_hard_link("usr/bin/twin", "usr/bin/tool").unwrap();
    tree.add_symlink("etc/resolv.conf", "/run/resolv.conf")
        .unwrap();
    tree.add_symlink("out", "/").unwrap();
    tree.add_directory("empty").unwrap();
    let entry = |mode, kind| Entry {
        mode,
        uid: 3,
        gid: 4,
        mtime: 1_500_000_000,
        links: 1,
        kind,
    };
    tree.add_entry("dev/null", entry(0o666, Kind::CharacterDevice(0x103)))
        .unwrap();
    tree.add_entry("run/pipe", entry(0o600, Kind::Fifo))
        .unwrap();
    let bytes = Source::Bytes(Arc::from(*b"mail"));
    let file = Kind::File {
        size: 4,
        source: bytes,
    };
    tree.add_entry("var/mail", entry(0o2664, file)).unwrap();
    let capability = Xattr {
        name: "security.capability".into(),
        value: vec![1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    };
    tree.set_xattrs("usr/bin/tool", vec![capability]).unwrap();
    pack(&tree, &dir.join("base.sqfs"), &PackOptions::default()).unwrap();
    Donor::open(dir.join("base.sqfs")).unwrap()
}

fn listing(tree: &Tree) -> Vec<String> {
    let shown = tree.walk().map(|(path, entry)| {
        let kind = match &entry.kind {
            Kind::Directory(_) => "directory".to_owned(),
            Kind::File { size, .. } => format!("file of {size}"),
            other => format!("{other:?}"),
        };
        let xattrs = tree.xattrs(&path).unwrap().len();
        format!(
            "{} {:o} {}:{} {} {} {xattrs} {kind}",
            path.display(),
            entry.mode,
            entry.uid,
            entry.gid,
            entry.mtime,
            entry.links
        )
    });
    shown.collect()
}

fn unpacked(donor: &Donor, root: &Path) -> Unpacked {
    let options = UnpackOptions {
        placeholders: vec!["etc/resolv.conf".into(), "/.script".into()],
        ..UnpackOptions::default()
    };
    donor.tree().unwrap().unpack(root, &options).unwrap()
}

#[test]
fn what_nobody_changes_comes_back_as_it_was_and_is_not_compressed_again() {
    let dir = tempfile::tempdir().unwrap();
    let donor = base(dir.path());
    let root = dir.path().join("root");
    let unpacked = unpacked(&donor, &root);
    let mode = |path: &str| std::fs::symlink_metadata(root.join(path)).unwrap().mode();
    assert_eq!(mode("usr/bin/tool") & 0o7777, 0o4755);
    assert_eq!(mode("etc/resolv.conf") & 0o170_000, 0o100_000);
    assert_eq!(
        std::fs::read(root.join("usr/bin/twin")).unwrap().len(),
        300_000
    );
    let (tree, changes) = unpacked.read_back(None).unwrap();
    assert_eq!(changes, Changes::default());
    assert_eq!(listing(&tree), listing(&donor.tree().unwrap()));
    let all_are_the_donors = tree.walk().all(|(_, entry)| {
        !matches!(&entry.kind, Kind::File { source, .. } if !matches!(source, Source::Image(_)))
    });
    assert!(all_are_the_donors);
    let out = dir.path().join("again.sqfs");
    let image = pack(&tree, &out, &PackOptions::onto(donor)).unwrap();
    verify(&image, &tree, None).unwrap();
    assert_eq!(image.garbage_bytes, 0);
}

#[test]
fn only_changes_are_new_and_keep_their_owners() {
    let dir = tempfile::tempdir().unwrap();
    let donor = base(dir.path());
    let root = dir.path().join("root");
    let unpacked = unpacked(&donor, &root);
    let write = |path: &str, text: &str| std::fs::write(root.join(path), text).unwrap();
    // A file with the same bytes, one with others of the same length, a new one, and modes.
    write("etc/passwd", "root:x:0:0");
    write("var/mail", "MAIL");
    write("usr/new", "new");
    let set = |path: &str, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(root.join(path), mode).unwrap();
    };
    set("usr/bin/tool", 0o755);
    set("var/mail", 0o2600);
    set("usr/new", 0o111);
    write(".script", "true");
    std::fs::remove_dir(root.join("empty")).unwrap();
    symlink("/etc", root.join("empty")).unwrap();
    let (tree, changes) = unpacked.read_back(Some(1_700_000_000)).unwrap();
    assert_eq!((changes.files, changes.bytes), (2, 7));
    let entry = |path: &str| tree.entry_at(path).unwrap();
    let is_old = |path: &str| {
        matches!(
            &entry(path).kind,
            Kind::File {
                source: Source::Image(_),
                ..
            }
        )
    };
    assert!(is_old("etc/passwd") && entry("etc/passwd").mtime == 1_600_000_000);
    assert!(is_old("usr/bin/tool") && entry("usr/bin/twin").mode == 0o755);
    assert!(!is_old("var/mail"));
    let mail = entry("var/mail");
    assert_eq!((mail.mode, mail.uid, mail.gid), (0o2600, 3, 4));
    let new = entry("usr/new");
    assert_eq!((new.mode, new.uid, new.mtime), (0o111, 0, 1_700_000_000));
    assert!(matches!(entry("empty").kind, Kind::Symlink(_)));
    assert!(tree.entry_at(".script").is_none());
    assert!(matches!(entry("etc/resolv.conf").kind, Kind::Symlink(_)));
    assert!(matches!(
        entry("dev/null").kind,
        Kind::CharacterDevice(0x103)
    ));
    // The time of a directory whose names are the same is that of before.
    assert_eq!(
        entry("etc").mtime,
        donor.tree().unwrap().entry_at("etc").unwrap().mtime
    );
    pack(
        &tree,
        &dir.path().join("new.sqfs"),
        &PackOptions::onto(donor),
    )
    .unwrap();
}

#[test]
fn what_is_removed_stays_removed() {
    let dir = tempfile::tempdir().unwrap();
    let donor = base(dir.path());
    let root = dir.path().join("root");
    let unpacked = unpacked(&donor, &root);
    std::fs::remove_dir_all(root.join("usr")).unwrap();
    std::fs::remove_dir_all(root.join("dev")).unwrap();
    let (tree, changes) = unpacked.read_back(None).unwrap();
    assert_eq!(changes, Changes::default());
    for path in ["usr", "dev", "dev/null"] {
        assert!(tree.entry_at(path).is_none(), "{path}");
    }
}

#[test]
fn links_of_a_tree_lead_nothing_out_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let mut tree = Tree::new();
    tree.add_symlink("etc", &outside).unwrap();
    let options = UnpackOptions {
        placeholders: vec!["etc/resolv.conf".into()],
        ..UnpackOptions::default()
    };
    let unpacked = tree.unpack(&dir.path().join("root"), &options).unwrap();
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    let (tree, _) = unpacked.read_back(None).unwrap();
    assert!(matches!(
        tree.entry_at("etc").unwrap().kind,
        Kind::Symlink(_)
    ));
}

#[test]
fn a_tree_that_does_not_fit_is_refused_before_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new();
    let huge = Kind::File {
        size: 1 << 60,
        source: Source::Bytes(Arc::from(*b"")),
    };
    let entry = Entry {
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: 0,
        links: 1,
        kind: huge,
    };
    tree.add_entry("huge", entry).unwrap();
    let error = tree.unpack(&dir.path().join("root"), &UnpackOptions::default());
    assert!(matches!(error, Err(Error::NoSpace { .. })));
}

/// Returns the value of `security.capability` in the form of a revision.
fn capability(revision: u8, tail: &[u8]) -> Vec<u8> {
    let mut value = vec![1, 0, 0, revision, 0, 4, 0, 0];
    value.resize(20, 0);
    value.extend(tail);
    value
}

#[test]
fn capabilities_are_those_of_root_and_stay_when_a_mode_changes() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let donor = base(dir.path());
    let root = dir.path().join("root");
    let unpacked = unpacked(&donor, &root);
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(root.join("usr/bin/tool"), mode).unwrap();
    std::fs::write(root.join("usr/bin/ping"), "x").unwrap();
    // Root of the namespace of user 1000 has set it.
    let value = capability(3, &1000_u32.to_le_bytes());
    let flags = rustix::fs::XattrFlags::empty();
    let ping = root.join("usr/bin/ping");
    rustix::fs::setxattr(&ping, "security.capability", &value, flags).unwrap();
    let (tree, _) = unpacked.read_back(None).unwrap();
    for path in ["usr/bin/tool", "usr/bin/ping"] {
        let xattrs = tree.xattrs(path).unwrap();
        assert_eq!(xattrs.len(), 1, "{path}");
        assert_eq!(xattrs[0].value, capability(2, &[]), "{path}");
    }
    assert_eq!(tree.entry_at("usr/bin/tool").unwrap().mode, 0o755);
}
