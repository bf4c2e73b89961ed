//! Tests of the place of a grafted tree.

use std::path::Path;

use condense_image::{Error, Existing, Kind, Tree};

fn base() -> Tree {
    let mut tree = Tree::new();
    tree.add_bytes("usr/lib/a", *b"a", 0o644).unwrap();
    tree.add_bytes("usr/bin/tool", *b"t", 0o755).unwrap();
    tree.add_symlink("lib", "usr/lib").unwrap();
    tree.add_symlink("bin", "/usr/bin").unwrap();
    tree.add_symlink("usr/up", "../../../..").unwrap();
    tree.add_symlink("chain", "usr/up/bin").unwrap();
    tree.add_symlink("dangling", "/not/there").unwrap();
    tree.add_symlink("circle", "circle").unwrap();
    tree
}

fn added() -> Tree {
    let mut tree = Tree::new();
    tree.add_bytes("x", *b"new", 0o644).unwrap();
    tree.add_hard_link("sub/x", "x").unwrap();
    tree
}

fn paths(tree: &Tree) -> Vec<String> {
    tree.walk()
        .map(|(path, _)| path.display().to_string())
        .collect()
}

#[track_caller]
fn check(at: &str, existing: Existing, expected: Result<&str, &str>) {
    let mut tree = base();
    let before = paths(&tree);
    match (tree.graft(at, added(), existing), expected) {
        (Ok(()), Ok(path)) => {
            let path = Path::new(path);
            let (_, entry) = tree
                .walk()
                .find(|(found, _)| *found == path.join("sub/x"))
                .unwrap();
            assert_eq!(entry.links, 2, "{at}");
            // Each directory counts its own subdirectories.
            for (path, entry) in tree.walk() {
                if let Kind::Directory(children) = &entry.kind {
                    let below = tree.walk().filter(|(child, entry)| {
                        child.parent() == Some(&path) && entry.kind.is_directory() && *child != path
                    });
                    assert_eq!(entry.links, 2 + below.count() as u32, "{}", path.display());
                    assert!(
                        children.is_sorted_by_key(condense_image::Child::name),
                        "{}",
                        path.display()
                    );
                }
            }
        }
        (Err(error @ Error::InvalidEntry { .. }), Err(problem)) => {
            assert!(error.to_string().contains(problem), "{at}: {error}");
            assert_eq!(paths(&tree), before, "{at}");
        }
        (result, _) => panic!("{at}: {result:?}"),
    }
}

#[test]
fn parents_are_made_and_links_followed_inside() {
    for (at, expected) in [
        ("opt/new", Ok("opt/new")),
        ("/opt/a/b/c", Ok("opt/a/b/c")),
        ("lib/new", Ok("usr/lib/new")),
        ("/bin/deep/new", Ok("usr/bin/deep/new")),
        ("chain/new", Ok("usr/bin/new")),
        ("usr/up/new", Ok("new")),
        (
            "dangling/new",
            Err("a symlink leads to `not`, which is not there"),
        ),
        ("circle/new", Err("too many symlinks")),
        ("usr/lib/a/new", Err("`a` is not a directory")),
        ("lib/a/new", Err("`a` is not a directory")),
        ("usr/lib/a", Err("it is there already")),
        ("usr", Err("it is there already")),
        ("lib", Err("it is there already")),
        ("/", Err("it is there already")),
        ("usr/../opt", Err("`..` has no meaning here")),
    ] {
        check(at, Existing::Refuse, expected);
    }
}

#[test]
fn existing_entries_are_replaced_or_merged_on_request() {
    let mut tree = base();
    tree.graft("usr", added(), Existing::Replace).unwrap();
    assert!(!paths(&tree).iter().any(|path| path.starts_with("usr/lib")));
    assert!(paths(&tree).contains(&"usr/sub/x".to_owned()));
    check("lib", Existing::Replace, Ok("lib"));
    check("usr/lib/a", Existing::Replace, Ok("usr/lib/a"));
    check("usr", Existing::Merge, Ok("usr"));
    check("lib", Existing::Merge, Ok("usr/lib"));
    check("dangling", Existing::Merge, Ok("dangling"));
    check("/", Existing::Merge, Ok(""));

    let mut other = Tree::new();
    other.add_bytes("lib/a", *b"replaced", 0o600).unwrap();
    other.add_bytes("lib/b/c", *b"c", 0o600).unwrap();
    other
        .add_bytes("usr/bin/tool", *b"replaced", 0o700)
        .unwrap();
    let mut tree = base();
    tree.graft("/", other, Existing::Merge).unwrap();
    for (path, mode) in [
        ("usr/lib/a", 0o600),
        ("usr/lib/b/c", 0o600),
        ("usr/bin/tool", 0o700),
    ] {
        let (_, entry) = tree
            .walk()
            .find(|(found, _)| found == Path::new(path))
            .unwrap();
        assert_eq!(entry.mode, mode, "{path}");
    }
    let lib = tree
        .walk()
        .find(|(path, _)| path == Path::new("lib"))
        .unwrap();
    assert!(matches!(lib.1.kind, Kind::Symlink(_)), "the link stays");

    let mut tree = base();
    tree.graft("/", added(), Existing::Replace).unwrap();
    assert_eq!(paths(&tree), ["", "sub", "sub/x", "x"]);
}
