//! Tests of copies: what is whole is found, what is not never gets a name.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;

use super::*;

struct Scene {
    dir: tempfile::TempDir,
    node: NodeDir,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeDir::create(&dir.path().join("node\nwith a line")).unwrap();
        Self { dir, node }
    }

    fn source(&self, name: &str, bytes: &[u8], recorded: bool) -> NodeSource {
        let path = self.dir.path().join(name);
        fs_err::write(&path, bytes).unwrap();
        NodeSource {
            file: NodeFile::Image,
            size_bytes: bytes.len() as u64,
            sha256: recorded.then(|| hex::encode(Sha256::digest(bytes))),
            owner: path.clone(),
            path,
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs_err::read_dir(self.node.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != LOCK_FILE)
            .collect();
        names.sort();
        names
    }
}

const QUIET: CopyProgress<'static> = CopyProgress {
    advance: &|_| {},
    cancelled: &|| false,
};

#[test]
fn a_copy_is_found_by_its_digest_or_by_its_original() {
    let scene = Scene::new();
    for recorded in [true, false] {
        let source = scene.source("an image", format!("{recorded}").as_bytes(), recorded);
        assert_eq!(scene.node.find_copy(&source), None);
        let counted = Cell::new(0);
        let progress = CopyProgress {
            advance: &|bytes| counted.set(counted.get() + bytes),
            cancelled: &|| false,
        };
        let copy = scene.node.copy(&source, progress).unwrap();
        assert_eq!(counted.get(), source.size_bytes);
        assert_eq!(
            fs_err::read(&copy.path).unwrap(),
            fs_err::read(&source.path).unwrap()
        );
        assert_eq!(scene.node.find_copy(&source), Some(copy.clone()));
        // Another process that has copied the same image finds that one was faster.
        assert_eq!(scene.node.copy(&source, QUIET).unwrap(), copy);
    }
    // An original without a record that has changed is another one.
    let changed = scene.source("an image", b"other", false);
    assert_eq!(scene.node.find_copy(&changed), None);
    assert_eq!(scene.names().len(), 2);
}

/// Two originals with the same bytes have one copy, and each of them finds it.
#[test]
fn originals_with_the_same_bytes_share_a_copy() {
    let scene = Scene::new();
    let one = scene.source("one", b"bytes", false);
    let copy = scene.node.copy(&one, QUIET).unwrap();
    let two = scene.source("two", b"bytes", false);
    assert_eq!(scene.node.find_copy(&two), None);
    assert_eq!(scene.node.copy(&two, QUIET).unwrap(), copy);
    assert_eq!(scene.node.find_copy(&two), Some(copy.clone()));
    assert_eq!(scene.node.find_copy(&one), Some(copy.clone()));
    // The first one is written again, with the same bytes and a later time.
    let touched = fs_err::File::options()
        .append(true)
        .open(&one.path)
        .unwrap();
    touched
        .file()
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    assert_eq!(scene.node.find_copy(&one), None);
    let known = NodeSource {
        sha256: Some(copy.sha256.clone()),
        ..one.clone()
    };
    scene.node.note_owner(&copy, &known).unwrap();
    assert_eq!(scene.node.find_copy(&one), Some(copy.clone()));
    // A part of an installation says nothing about the file at its path now.
    let changed = scene.source("two", b"other", false);
    let part = NodeSource {
        owner: scene.dir.path().join("installation"),
        sha256: Some(copy.sha256.clone()),
        ..changed.clone()
    };
    scene.node.note_owner(&copy, &part).unwrap();
    assert_eq!(scene.node.find_copy(&changed), None);
    // The copy stays until the last owner has gone.
    for (owner, left) in [(&one.owner, 0), (&two.owner, 0), (&part.owner, 1)] {
        assert_eq!(scene.node.clean(Some(owner), &[]).unwrap().len(), left);
    }
}

/// A build that links a container image into an installation meanwhile does not disturb the copy.
/// One that writes to it does.
#[test]
fn links_to_an_original_are_no_change_of_it() {
    let scene = Scene::new();
    let link = scene.dir.path().join("installation.sif");
    let copied_while = |source: &NodeSource, change: &dyn Fn()| {
        let progress = CopyProgress {
            advance: &|_| change(),
            cancelled: &|| false,
        };
        scene.node.copy(source, progress)
    };
    let source = scene.source("base.sif", b"bytes", false);
    let add_link = || fs_err::hard_link(&source.path, &link).unwrap();
    let copy = copied_while(&source, &add_link).unwrap();
    assert_eq!(scene.node.find_copy(&source), Some(copy));
    let source = scene.source("other.sif", b"more bytes", false);
    let write = || fs_err::write(&source.path, "other").unwrap();
    let error = copied_while(&source, &write).unwrap_err();
    let said = format!(
        "`{}` was changed while it was copied",
        source.path.display()
    );
    assert_eq!(error.to_string(), said);
    assert_eq!(scene.names().len(), 1);
}

#[test]
fn what_differs_from_its_record_gets_no_name() {
    let scene = Scene::new();
    let mut source = scene.source("image", b"bytes", true);
    source.sha256 = Some("0".repeat(64));
    let error = scene.node.copy(&source, QUIET).unwrap_err();
    assert!(matches!(error, Error::NodeCopyDiffers { .. }), "{error}");
    assert_eq!(scene.names(), [""; 0]);
    let stopped = CopyProgress {
        advance: &|_| {},
        cancelled: &|| true,
    };
    scene.node.copy(&source, stopped).unwrap_err();
    assert_eq!(scene.names(), [""; 0]);
    // A copy that was cut short is made again.
    let source = scene.source("image", b"bytes", true);
    let copy = scene.node.copy(&source, QUIET).unwrap();
    fs_err::remove_file(&copy.path).unwrap();
    fs_err::write(&copy.path, "byt").unwrap();
    assert_eq!(scene.node.find_copy(&source), None);
    scene.node.copy(&source, QUIET).unwrap();
    assert_eq!(fs_err::read(&copy.path).unwrap(), b"bytes");
}

#[test]
fn incoming_bytes_are_taken_only_when_they_are_whole() {
    let scene = Scene::new();
    let source = scene.source("image", b"bytes", true);
    let sha256 = source.sha256.clone().unwrap();
    let incoming = scene.node.incoming(&sha256, "7");
    let adopt = || {
        let adopted = scene.node.adopt(&source, &sha256, &incoming, &|| false);
        adopted.unwrap()
    };
    assert_eq!(adopt(), None);
    for bytes in ["byt", "other"] {
        fs_err::write(&incoming, bytes).unwrap();
        assert_eq!(adopt(), None);
        assert_eq!(scene.names(), [""; 0]);
    }
    std::os::unix::fs::symlink(&source.path, &incoming).unwrap();
    assert_eq!(adopt(), None);
    fs_err::write(&incoming, "bytes").unwrap();
    let copy = adopt().unwrap();
    assert_eq!(scene.node.find_copy(&source), Some(copy));
    assert_eq!(scene.names(), [sha256]);
}

#[test]
fn one_process_at_a_time_and_the_others_wait() {
    let scene = Scene::new();
    let source = scene.source("image", &vec![7; 3 << 20], true);
    let copied = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let _lock = scene.node.lock(&|| false).unwrap();
                if scene.node.find_copy(&source).is_none() {
                    scene.node.copy(&source, QUIET).unwrap();
                    copied.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(copied.into_inner(), 1);
    assert_eq!(scene.names().len(), 1);
    let _lock = scene.node.lock(&|| false).unwrap();
    assert!(scene.node.lock(&|| true).is_err());
}

#[test]
fn old_copies_go_unless_they_are_used() {
    let scene = Scene::new();
    let owner = scene.dir.path().join("installation");
    let mut copies = Vec::new();
    for name in ["one", "two", "three"] {
        let source = NodeSource {
            owner: owner.clone(),
            ..scene.source(name, name.as_bytes(), true)
        };
        copies.push(scene.node.copy(&source, QUIET).unwrap());
    }
    let other = scene.dir.path().join("other");
    let shared = NodeSource {
        owner: other.clone(),
        ..scene.source("one", b"one", true)
    };
    scene.node.note_owner(&copies[0], &shared).unwrap();
    let open = fs_err::File::open(&copies[1].path).unwrap();
    // Files of a program that was killed: one is new and may still be written.
    fs_err::write(scene.node.incoming("1", "1"), "").unwrap();
    let long_ago = std::time::SystemTime::now() - 2 * INCOMING_AGE;
    let old = fs_err::File::create(scene.node.incoming("2", "1")).unwrap();
    old.file().set_modified(long_ago).unwrap();
    let kept = [copies[2].sha256.clone()];
    let removed = scene.node.clean(Some(&owner), &kept).unwrap();
    assert_eq!(removed.len(), 1);
    assert!(removed[0].is_in_use && removed[0].copy == copies[1]);
    assert_eq!(scene.names().len(), 4, "{:?}", scene.names());
    drop(open);
    // A child of another test has the file open until it executes its program.
    for _ in 0..500 {
        if !uses::is_in_use(&copies[1].path, Path::new("/")) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    let removed = scene.node.clean(Some(&other), &[]).unwrap();
    assert_eq!((removed.len(), removed[0].is_in_use), (1, false));
    assert_eq!(removed[0].copy, copies[0]);
    assert_eq!(scene.node.clean(None, &[]).unwrap().len(), 2);
    assert_eq!(scene.names(), ["incoming-1-1"]);
}

#[test]
fn the_directory_must_be_private() {
    let scratch = tempfile::tempdir().unwrap();
    let path = NodeDir::path_below(scratch.path());
    assert_eq!(NodeDir::find(scratch.path()).unwrap(), None);
    let refused = || {
        let error = NodeDir::create(scratch.path()).unwrap_err();
        assert!(matches!(error, Error::NodeDir { .. }), "{error}");
    };
    std::os::unix::fs::symlink(scratch.path(), &path).unwrap();
    refused();
    fs_err::remove_file(&path).unwrap();
    fs_err::create_dir(&path).unwrap();
    let open = std::fs::Permissions::from_mode(0o777);
    fs_err::set_permissions(&path, open).unwrap();
    refused();
    let closed = std::fs::Permissions::from_mode(0o700);
    fs_err::set_permissions(&path, closed).unwrap();
    NodeDir::create(scratch.path()).unwrap();
}

/// Other users who can write into a directory above could put another one in the place of the
/// copies, unless the sticky bit keeps them from it.
#[test]
fn nobody_else_may_replace_the_directory() {
    let scratch = tempfile::tempdir().unwrap();
    let (above, parent) = (
        scratch.path().join("above"),
        scratch.path().join("above/in"),
    );
    NodeDir::create(&parent).unwrap();
    let set = |dir: &Path, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        fs_err::set_permissions(dir, mode).unwrap();
    };
    for dir in [&parent, &above] {
        for (mode, is_open) in [
            (0o775, true),
            (0o707, true),
            (0o1777, false),
            (0o755, false),
        ] {
            set(dir, mode);
            let results = [
                NodeDir::create(&parent).map(drop),
                NodeDir::find(&parent).map(drop),
            ];
            for result in results {
                let refused = matches!(&result, Err(Error::NodeParent { path }) if path == dir);
                assert_eq!((refused, result.is_err()), (is_open, is_open), "{mode:o}");
            }
        }
    }
    // The path is that of the directory itself.
    std::os::unix::fs::symlink(&parent, scratch.path().join("link")).unwrap();
    let through = NodeDir::create(&scratch.path().join("link")).unwrap();
    let parent = parent.canonicalize().unwrap();
    assert_eq!(through.path(), NodeDir::path_below(&parent));
}
