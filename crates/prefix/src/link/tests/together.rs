//! Tests with several packages that form one tree.

use super::{Range, archive::Archive};
use condense_within::Within;

fn python() -> Archive {
    let mut python = Archive::new("python")
        .link("lib/python3.1", "python3.10")
        .file("lib/python3.10/os.py", "");
    python.version = "3.10.1".to_owned();
    python
}

#[test]
fn files_below_another_package_s_link_are_moved_to_its_target() {
    for _ in 0..20 {
        let range = Range::new();
        let module = Archive::new("mod")
            .depends("python >=3")
            .file("lib/python3.1/site-packages/mod.py", "m")
            .link("lib/python3.1/l", "os.py")
            .lists("lib/python3.1/empty", "directory");
        range.link(&[module, python()]).unwrap();
        assert!(range.env("lib/python3.1").is_symlink());
        assert_eq!(range.text("lib/python3.10/site-packages/mod.py"), "m");
        assert!(range.env("lib/python3.10/l").is_symlink());
        assert!(range.env("lib/python3.10/empty").is_dir());
        let record = range.text("conda-meta/mod-1.0-0.json");
        assert!(
            record.contains("lib/python3.10/site-packages/mod.py"),
            "{record}"
        );
        range.is_untouched("link");
    }
}

#[test]
fn links_to_links_are_followed_to_the_end() {
    let range = Range::new();
    let a = Archive::new("a")
        .link("lib/a", "./b")
        .link("lib/b", "../share/./c");
    let b = Archive::new("b").file("lib/a/x/y", "y");
    range.link(&[a, b]).unwrap();
    assert_eq!(range.text("share/c/x/y"), "y");
    assert_eq!(range.text("lib/a/x/y"), "y");
    assert!(range.env("lib/a").is_symlink() && range.env("lib/b").is_symlink());
}

#[test]
fn links_of_an_environment_that_is_there_are_followed() {
    let range = Range::new();
    fs_err::create_dir_all(range.env("lib/real")).unwrap();
    std::os::unix::fs::symlink("real", range.env("lib/l")).unwrap();
    std::os::unix::fs::symlink(range.at("outside"), range.env("lib/out")).unwrap();
    let one = Archive::new("one").file("lib/l/x", "x");
    range.link(&[one]).unwrap();
    assert_eq!(range.text("lib/real/x"), "x");
    let range_of_two = range.link(&[Archive::new("two").file("lib/out/secret", "two")]);
    let said = range_of_two.unwrap_err();
    assert!(
        said.contains("in the environment and a directory in `two-1.0-0.tar.bz2`"),
        "{said}"
    );
    assert_eq!(range.text("../../../outside/secret"), "secret");
}

#[test]
fn packages_that_cannot_form_one_tree_are_refused() {
    let a = || Archive::new("a");
    let b = || Archive::new("b").file("lib/h/secret", "b");
    let range = Range::new();
    let cases = [
        (
            a().file("lib/h", "file"),
            b(),
            "`lib/h` is a file in `a-1.0-0.tar.bz2` and a directory in `b-1.0-0.tar.bz2`",
        ),
        (
            a().link("lib/h", &range.at("outside")),
            b(),
            "and the link leads out of the environment",
        ),
        (
            a().link("lib/h", "../../../../outside"),
            b(),
            "and the link leads out of the environment",
        ),
        (
            a().link("lib/h", "/"),
            b(),
            "is a link to `/` in `a-1.0-0.tar.bz2`",
        ),
        (
            a().link("lib/h", ".."),
            b(),
            "and the link leads to the environment itself",
        ),
        (a().link("lib/h", "h"), b(), "and the link leads to itself"),
        (
            a().link("lib/h", "g").link("lib/g", "h"),
            b(),
            "and the link leads to itself",
        ),
        (
            a().link("lib/h", "g").depends("b"),
            b(),
            "which has to be there first",
        ),
        (
            a().link("lib/h", "g"),
            b().file("lib/g/secret", ""),
            "something else of it is there",
        ),
        (
            a().link("lib/h", "g").file("lib/g", ""),
            b(),
            "`lib/g` is a file in `a-1.0-0.tar.bz2` and a directory",
        ),
        (
            a(),
            Archive::new("b").file("bin/a/x", ""),
            "`bin/a` is a file in",
        ),
    ];
    let mut wrong = Vec::new();
    for (one, other, words) in cases {
        for swapped in [false, true] {
            let range_now = Range::new();
            let both = if swapped {
                vec![other.clone(), one.clone()]
            } else {
                vec![one.clone(), other.clone()]
            };
            match range_now.link(&both) {
                Err(said) if said.contains(words) => {}
                other => wrong.push((words, other)),
            }
            range_now.is_untouched(words);
            range.is_untouched(words);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_name_that_is_there_twice_is_refused() {
    let range = Range::new();
    let mut second = Archive::new("a");
    second.version = "2.0".to_owned();
    let said = range.link(&[Archive::new("a"), second]).unwrap_err();
    assert!(
        said.contains("`a-1.0-0.tar.bz2` is another package of this name"),
        "{said}"
    );
}

#[test]
fn the_directory_of_site_packages_stays_inside() {
    for path in ["../../../outside", "/usr/lib", ""] {
        let range = Range::new();
        let mut python = python();
        python.site_packages = Some(path.to_owned());
        let module = Archive::new("mod")
            .noarch_python()
            .file("site-packages/secret", "m");
        let result = range.link(&[python, module]);
        if path.is_empty() {
            result.unwrap();
            assert_eq!(range.text("secret"), "m");
        } else {
            let said = result.unwrap_err();
            assert!(said.contains("`mod-1.0-0.tar.bz2`"), "{said}");
        }
        range.is_untouched(path);
    }
}

#[test]
fn a_noarch_package_needs_a_python() {
    let range = Range::new();
    let module = Archive::new("mod")
        .noarch_python()
        .file("site-packages/m.py", "");
    let said = range.link(&[module]).unwrap_err();
    assert!(
        said.contains("`mod-1.0-0.tar.bz2`") && said.contains("python"),
        "{said}"
    );
}

#[test]
fn records_remove_nothing_outside() {
    let range = Range::new();
    range
        .link(&[Archive::new("a").file("lib/l/f", "f")])
        .unwrap();
    let path = range.env("conda-meta/a-1.0-0.json");
    let text = fs_err::read_to_string(&path).unwrap();
    let remove = |text: &str| {
        let record: rattler_conda_types::PrefixRecord = serde_json::from_str(text).unwrap();
        let env = Within::open(range.env("")).unwrap();
        super::remove_linked(&env, &record, &|_| false).map_err(|error| error.to_string())
    };
    for path in [range.up("victim"), range.at("victim")] {
        let said = remove(&text.replace("bin/a", &path)).unwrap_err();
        assert!(said.contains("refused"), "{said}");
    }
    fs_err::remove_dir_all(range.env("lib/l")).unwrap();
    std::os::unix::fs::symlink(range.at("outside"), range.env("lib/l")).unwrap();
    let said = remove(&text.replace("lib/l/f", "lib/l/secret")).unwrap_err();
    assert!(said.contains("leads out of"), "{said}");
    range.is_untouched("records");
    assert!(remove(&text).is_err());
    fs_err::remove_file(range.env("lib/l")).unwrap();
    remove(&text).unwrap();
    assert!(!range.env("bin/a").exists());
}
