#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;

const EPOCH: u32 = 1_700_000_000;

/// Makes a layer from short texts: `d path`, `f path=content`, `l path=target`, `h path=target`, `c
/// path`, `p path`.
fn layer(words: &[&str]) -> Layer {
    let mut archive = tar::Builder::new(Vec::new());
    for (number, word) in words.iter().enumerate() {
        let (kind, rest) = word.split_once(' ').unwrap();
        let (path, value) = rest.split_once('=').unwrap_or((rest, ""));
        let (kind, mode) = match kind {
            "d" => (tar::EntryType::Directory, 0o700),
            "f" => (tar::EntryType::Regular, 0o640),
            "l" => (tar::EntryType::Symlink, 0o777),
            "h" => (tar::EntryType::Link, 0o600),
            "c" => (tar::EntryType::Char, 0o666),
            _ => (tar::EntryType::Fifo, 0o622),
        };
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(number as u64);
        // The name is written unchanged, with everything that a tar builder would refuse.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        let is_file = kind == tar::EntryType::Regular;
        if !is_file {
            let target = &mut header.as_gnu_mut().unwrap().linkname;
            target[..value.len()].copy_from_slice(value.as_bytes());
        }
        let content = if is_file { value } else { "" };
        header.set_size(content.len() as u64);
        header.set_cksum();
        archive.append(&header, content.as_bytes()).unwrap();
    }
    of_archive(archive.into_inner().unwrap())
}

fn of_archive(archive: Vec<u8>) -> Layer {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("layer.tar");
    fs_err::write(&path, archive).unwrap();
    let file = fs_err::File::open(&path).unwrap();
    let origin = crate::layer::Origin::Stored {
        size: file.metadata().unwrap().len(),
        file: Arc::new(file),
        offset: 0,
    };
    let nobody = crate::cancel::Cancel::default;
    let check = crate::layer::Check::default();
    let stream = crate::layer::Stream::new(origin, check, nobody(), nobody());
    Layer::read(stream, scratch.path()).unwrap()
}

fn apply(layers: &[&[&str]]) -> Result<RootFs, String> {
    let mut root = RootFs::new(EPOCH);
    for words in layers {
        root.apply(&layer(words))?;
    }
    Ok(root)
}

/// Returns the merged tree in the notation of the layers, with sizes instead of contents.
fn listing(root: RootFs) -> BTreeMap<String, String> {
    let tree = root.into_tree().unwrap();
    tree.walk()
        .map(|(path, entry)| {
            let kind = match &entry.kind {
                Kind::Directory(_) => "d".to_owned(),
                Kind::File { size, .. } => format!("f{size}"),
                Kind::Symlink(target) => format!("l {}", String::from_utf8_lossy(target)),
                Kind::Fifo => "p".to_owned(),
                other => format!("{other:?}"),
            };
            let links = match entry.links {
                links if links > 1 && !entry.kind.is_directory() => format!(" {links} names"),
                _ => String::new(),
            };
            (path.display().to_string(), format!("{kind}{links}"))
        })
        .filter(|(path, _)| !path.is_empty())
        .collect()
}

fn check(layers: &[&[&str]], expected: &[(&str, &str)]) {
    let found = listing(apply(layers).unwrap_or_else(|problem| panic!("{layers:?}: {problem}")));
    let expected: BTreeMap<String, String> = expected
        .iter()
        .map(|(path, kind)| ((*path).to_owned(), (*kind).to_owned()))
        .collect();
    assert_eq!(found, expected, "{layers:?}");
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_else() {
    let below: &[&str] = &["d w", "f w/keep=1", "f w/gone=1", "d w/dir", "f w/dir/x=1"];
    check(
        &[below, &["f w/.wh.gone", "f w/.wh.dir", "f w/.wh.nothing"]],
        &[("w", "d"), ("w/keep", "f1")],
    );
    // The whiteout and the new file are in one layer, in either order.
    for words in [
        ["f w/.wh.dir", "d w/dir", "f w/dir/new=22"],
        ["d w/dir", "f w/dir/new=22", "f w/.wh.dir"],
    ] {
        check(
            &[&["d w", "d w/dir", "f w/dir/x=1"], &words],
            &[("w", "d"), ("w/dir", "d"), ("w/dir/new", "f2")],
        );
    }
    check(&[below, &["f .wh.w"]], &[]);
    check(&[&["f a=1"], &["f .wh..wh.plnk"]], &[("a", "f1")]);
    check(&[&["f a=1"], &["f missing/.wh.a"]], &[("a", "f1")]);
    // The file is hidden twice, and then created again.
    check(
        &[&["f a=1"], &["f .wh.a"], &["f .wh.a"], &["f a=22"]],
        &[("a", "f2")],
    );
}

#[test]
fn opaque_directories_show_only_their_own_layer() {
    let below: &[&str] = &["d o", "f o/old=1", "d o/sub", "f o/sub/old=1"];
    for words in [
        ["f o/.wh..wh..opq", "f o/new=22", "f o/sub/new=22"],
        ["f o/new=22", "f o/sub/new=22", "f o/.wh..wh..opq"],
    ] {
        check(
            &[below, &words],
            &[
                ("o", "d"),
                ("o/new", "f2"),
                ("o/sub", "d"),
                ("o/sub/new", "f2"),
            ],
        );
    }
    check(&[below, &["f .wh..wh..opq", "f x=1"]], &[("x", "f1")]);
}

#[test]
fn a_file_of_another_kind_replaces_a_file() {
    let below: &[&str] = &[
        "f f2d=1",
        "d d2f",
        "f d2f/x=1",
        "d d2l",
        "f d2l/x=1",
        "l l2d=w",
        "d w",
        "f again=1",
    ];
    let above: &[&str] = &[
        "d f2d",
        "f f2d/x=22",
        "f d2f=22",
        "l d2l=w",
        "d l2d",
        "f l2d/x=22",
        "f again=333",
        "f again=4444",
    ];
    check(
        &[below, above],
        &[
            ("again", "f4"),
            ("d2f", "f2"),
            ("d2l", "l w"),
            ("f2d", "d"),
            ("f2d/x", "f2"),
            ("l2d", "d"),
            ("l2d/x", "f2"),
            ("w", "d"),
        ],
    );
}

#[test]
fn hard_links_reach_into_lower_layers() {
    check(
        &[
            &["f a=shared", "h b=a", "h c=a"],
            &["h d=a", "f .wh.b"],
            &["f c=broken", "h h=/../../a"],
        ],
        &[
            ("a", "f6 3 names"),
            ("c", "f6"),
            ("d", "f6 3 names"),
            ("h", "f6 3 names"),
        ],
    );
    check(&[&["f a=1", "h a=a"]], &[("a", "f1")]);
    check(
        &[&["l s=x", "h t=s"]],
        &[("s", "l x 2 names"), ("t", "l x 2 names")],
    );
    for (words, word) in [
        (["f a=1", "h b=missing"], "not there"),
        (["d a", "h b=a"], "directory"),
        (["f a=1", "h b=a/x"], "not there"),
        (["f a=1", "h b=/"], "not there"),
    ] {
        let problem = apply(&[&words]).unwrap_err();
        assert!(
            problem.contains(word) && problem.contains("`b`"),
            "{problem}"
        );
    }
}

#[test]
fn nothing_leaves_the_root() {
    check(
        &[
            &["f ../../up=1", "f a/../../up2=1", "f /abs=1", "f ./dot=1"],
            &["l out=/tmp", "l climb=../../..", "l dangling=no/where"],
            &["f out/x=1", "f climb/y=1", "f dangling/z=1"],
        ],
        &[
            ("abs", "f1"),
            ("climb", "l ../../.."),
            ("dangling", "l no/where"),
            ("dot", "f1"),
            ("no", "d"),
            ("no/where", "d"),
            ("no/where/z", "f1"),
            ("out", "l /tmp"),
            ("tmp", "d"),
            ("tmp/x", "f1"),
            ("up", "f1"),
            ("up2", "f1"),
            ("y", "f1"),
        ],
    );
    // A whiteout below a link hides a file in the link's target.
    check(
        &[&["d t", "f t/gone=1", "l link=t"], &["f link/.wh.gone"]],
        &[("link", "l t"), ("t", "d")],
    );
    for (words, word) in [
        (["l loop=loop", "f loop/x=1"], "loop"),
        (["f file=1", "f file/x=1"], "not a directory"),
    ] {
        let problem = apply(&[&words]).unwrap_err();
        assert!(problem.contains(word), "{problem}");
    }
}

#[test]
fn attributes_are_the_last_entry_s() {
    let root = apply(&[
        &["d keep", "f keep/x=1", "c dev", "p fifo"],
        &["f keep/y=1", "f implied/deep/f=1", "d ./"],
    ])
    .unwrap();
    let tree = root.into_tree().unwrap();
    let found: BTreeMap<String, (u16, u32)> = tree
        .walk()
        .map(|(path, entry)| (path.display().to_string(), (entry.mode, entry.mtime)))
        .collect();
    assert_eq!(found[""], (0o700, 2), "the root has an entry");
    assert_eq!(found["keep"], (0o700, 0), "no entry in the second layer");
    assert_eq!(found["implied/deep"], (0o775, EPOCH));
    assert_eq!(found["dev"], (0o666, 2));
    assert_eq!(found["fifo"], (0o622, 3));
    assert!(
        tree.walk()
            .all(|(_, entry)| (entry.uid, entry.gid) == (0, 0))
    );
}

#[test]
fn paths_longer_than_the_kernel_s_limit_are_refused_even_through_links() {
    let deep = "a/".repeat(1990);
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |kind: tar::EntryType, path: &str, target: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_mtime(0);
        header.set_size(0);
        if target.is_empty() {
            archive.append_data(&mut header, path, &b""[..]).unwrap();
        } else {
            archive.append_link(&mut header, path, target).unwrap();
        }
    };
    add(tar::EntryType::Directory, &deep, "");
    add(tar::EntryType::Symlink, "link", &deep);
    let depth_of_one = RootFs::new(EPOCH).apply(&of_archive(archive.get_ref().clone()));
    assert_eq!(depth_of_one, Ok(()));
    let mut add = |path: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_mtime(0);
        header.set_size(0);
        archive.append_data(&mut header, path, &b""[..]).unwrap();
    };
    add(&format!("link/{deep}"));
    let problem = RootFs::new(EPOCH)
        .apply(&of_archive(archive.into_inner().unwrap()))
        .unwrap_err();
    assert!(
        problem.contains("deeper than any path reaches"),
        "{problem}"
    );
}
