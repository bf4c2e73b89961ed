#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{PermissionsExt, symlink};

use condense_diagnostics::{Hint, Location};

use super::*;

/// Directory with files of every kind that is copied.
fn scene() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs_err::create_dir_all(at("src/sub")).unwrap();
    fs_err::write(at("src/a.txt"), "a").unwrap();
    fs_err::write(at("src/b.txt"), "b").unwrap();
    fs_err::write(at("src/sub/c"), "c").unwrap();
    fs_err::write(at("tool"), "t").unwrap();
    for (name, mode) in [
        ("src/a.txt", 0o600),
        ("src/b.txt", 0o666),
        ("src/sub", 0o700),
        ("src/sub/c", 0o644),
        ("tool", 0o4755),
        ("src", 0o755),
    ] {
        let permissions = std::fs::Permissions::from_mode(mode);
        fs_err::set_permissions(at(name), permissions).unwrap();
    }
    symlink("a.txt", at("src/link")).unwrap();
    symlink("sub", at("src/dirlink")).unwrap();
    symlink("circle", at("circle")).unwrap();
    symlink("none", at("nowhere")).unwrap();
    fs_err::create_dir(at("turns")).unwrap();
    symlink(".", at("turns/again")).unwrap();
    for (name, target) in [("dangles", "none"), ("circles", "link")] {
        fs_err::create_dir(at(name)).unwrap();
        symlink(target, at(name).join("link")).unwrap();
    }
    let mode = rustix::fs::Mode::from(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), mode).unwrap();
    dir
}

fn transfer(source: &str, destination: &str) -> Transfer {
    Transfer {
        source: source.to_owned(),
        destination: (!destination.is_empty()).then(|| destination.to_owned()),
        location: Location::new(Path::new("my.def"), 4, 3),
    }
}

fn shown(tree: &Tree) -> Vec<String> {
    let entries = tree.walk().filter(|(path, _)| !path.as_os_str().is_empty());
    entries
        .map(|(path, entry)| {
            let kind = match &entry.kind {
                Kind::Directory(_) => 'd',
                Kind::File { .. } => 'f',
                Kind::Symlink(_) => 'l',
                _ => '?',
            };
            format!("{kind} {:o} {}", entry.mode, path.display())
        })
        .collect()
}

fn copied(lines: &[(&str, &str)]) -> anyhow::Result<Tree> {
    let dir = scene();
    let mut tree = Tree::new();
    tree.add_directory("opt")?;
    tree.add_symlink("data", "/opt/data")?;
    for (source, destination) in lines {
        from_host(&mut tree, &transfer(source, destination), dir.path())?;
    }
    Ok(tree)
}

/// Row D8: links of the host are followed, modes lose what the mask of a build takes.
#[test]
fn directories_are_copied_with_their_links_followed() {
    let tree = copied(&[("src", "/new")]).unwrap();
    assert_eq!(
        shown(&tree),
        [
            "l 777 data",
            "d 755 new",
            "f 600 new/a.txt",
            "f 664 new/b.txt",
            "d 700 new/dirlink",
            "f 644 new/dirlink/c",
            "f 600 new/link",
            "d 700 new/sub",
            "f 644 new/sub/c",
            "d 755 opt",
        ]
    );
}

/// Row D8: a missing destination, a directory as destination, several files, links of the image.
#[test]
fn destinations_are_those_of_cp() {
    for (source, destination, expected) in [
        ("tool", "", "f 755 tool"),
        ("tool", "/opt", "f 755 opt/tool"),
        ("tool", "/opt/new", "f 755 opt/new"),
        ("tool", "/opt/a/b/", "f 755 opt/a/b/tool"),
        ("tool", "/data/x", "f 755 opt/data/x"),
        ("tool", "../../up", "f 755 up"),
        ("src/.", "/opt", "f 600 opt/a.txt"),
        ("src/", "/opt", "f 600 opt/src/a.txt"),
        ("src/*.txt", "/opt/t/", "f 664 opt/t/b.txt"),
        ("src/{b,a}.txt", "/one", "f 664 one"),
        ("src/../tool", "", "f 755 tool"),
    ] {
        let tree = copied(&[(source, destination)]).unwrap();
        let shown = shown(&tree);
        assert!(
            shown.iter().any(|line| line == expected),
            "{source} {destination}: {shown:?}"
        );
    }
    let again = copied(&[
        ("tool", "/x"),
        ("src/a.txt", "/x"),
        ("src", "/opt"),
        ("src", "/opt"),
    ]);
    let again = shown(&again.unwrap());
    assert!(again.contains(&"f 755 x".to_owned()), "{again:?}");
    assert!(
        !again.iter().any(|line| line.contains("src/src")),
        "{again:?}"
    );
}

/// Row D8: what cannot be copied is named with its line.
#[test]
fn a_source_that_cannot_be_copied_is_named_with_its_line() {
    let said = |source: &str, destination: &str| {
        let error = copied(&[(source, destination)]).unwrap_err();
        let hint = error.downcast_ref::<UserError>().unwrap().hint();
        format!("{error}\n    {}\n", hint.unwrap())
    };
    for (source, words) in [
        ("pipe", "is a device, a pipe or a socket\n    leave it out"),
        ("turns", "go in a circle at `"),
        ("turns", "\n    remove the link"),
        ("dangles", "/dangles/link`: No such file"),
        (
            "dangles",
            "\n    make what the link leads to, or leave it out",
        ),
        (
            "circles",
            "/circles/link`: Too many levels of symbolic links",
        ),
        ("circles", "\n    remove the link"),
        (
            "/proc/self/pagemap",
            "is a file of the kernel with more than 16 MiB\n    copy what you",
        ),
        ("/proc/self/mem", "failed to read `/proc/"),
        ("/proc/self/mem", "\n    copy what you need of it"),
    ] {
        let said = said(source, "/x");
        assert!(said.contains(words), "{said}");
    }
    let said = [
        said("tol", "/x"),
        said("src/*.md", "/x/"),
        said("src/*", "/one"),
        said("/dev/null", "/x"),
        said("/", "/x"),
        said("circle", "/x"),
        said("nowhere", "/x"),
    ];
    insta::assert_snapshot!("uncopied", said.concat());
}

#[test]
fn hints_fit_the_reason() {
    let of = |kind| hint_for(&anyhow::Error::new(std::io::Error::from(kind)));
    assert!(of(ErrorKind::PermissionDenied).starts_with("make it readable"));
    assert!(hint_for(&anyhow::anyhow!("there is a directory")).starts_with("`DST/`"));
}

/// The kernel says that such a file has 0 bytes, or a page.
#[test]
fn files_of_the_kernel_are_copied_to_their_end() {
    let tree = copied(&[("/proc/version", "/v"), ("/proc/version", "/v")]).unwrap();
    let version = fs_err::read("/proc/version").unwrap();
    assert_eq!(tree.read("v", 1 << 20).unwrap().unwrap(), version);
}

/// Row D4: links of a stage are kept, but for the named one; modes stay.
#[test]
fn files_of_a_stage_keep_their_links_and_modes() {
    let mut stage = Tree::new();
    stage
        .add_bytes("opt/.view/abc/tool", *b"x", 0o4755)
        .unwrap();
    stage.add_symlink("opt/.view/abc/link", "tool").unwrap();
    stage.add_symlink("opt/view", "/opt/.view/abc").unwrap();
    stage.set_mode("opt/.view/abc", 0o700).unwrap();
    let copied = |source: &str, destination: &str| {
        let mut tree = Tree::new();
        tree.add_bytes("opt/view/tool", *b"old", 0o600).unwrap();
        tree.add_symlink("there", "opt").unwrap();
        from_stage(&mut tree, &transfer(source, destination), &stage, "one").map(|()| shown(&tree))
    };
    for (source, destination, expected) in [
        ("/opt/view", "/new", "d 755 new"),
        ("/opt/view", "/new", "l 777 new/link"),
        ("/opt/view", "/new", "f 4755 new/tool"),
        ("opt/view", "", "f 4755 opt/view/view/tool"),
        ("/opt/view/", "/opt/view", "f 4755 opt/view/tool"),
        ("/opt/view/link", "/x/", "f 4755 x/link"),
        ("/opt/v*/t*", "/there/", "f 4755 opt/tool"),
        ("/opt/.view", "/y", "d 700 y/abc"),
    ] {
        let shown = copied(source, destination).unwrap();
        assert!(
            shown.iter().any(|line| line == expected),
            "{source} {destination}: {shown:?}"
        );
    }
    let error = copied("/none", "/x").unwrap_err();
    assert_eq!(
        error.to_string(),
        "my.def:4:3: `/none` is not in the stage `one`"
    );
}
