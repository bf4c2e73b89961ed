#![allow(clippy::unwrap_used)]
use std::path::Path;

use condense_image::{PackOptions, Reader, Tree, pack};

use super::{Category, Contents, PackageKind};

/// Writes an environment of conda packages and wheels, and returns its contents as an image has
/// them.
fn contents(files: &[(&str, &str)]) -> Contents {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    let out = tempfile::tempdir().unwrap();
    let image = out.path().join("img.sqfs");
    let tree = Tree::scan(dir.path(), &condense_image::ScanOptions::default()).unwrap();
    pack(&tree, &image, &PackOptions::default()).unwrap();
    Contents::of_image(&Reader::open(&image).unwrap()).unwrap()
}

const SITE: &str = "env/lib/python3.12/site-packages";

fn environment() -> Contents {
    let site = |name: &str| format!("{SITE}/{name}");
    let files = [
        (
            "env/conda-meta/python-3.12.4-h1.json".to_owned(),
            r#"{"name": "python", "version": "3.12.4", "build": "h1", "subdir": "linux-64",
                "channel": "https://conda.anaconda.org/conda-forge/linux-64", "depends": ["zlib >=1.2,<2", "__glibc >=2.17"],
                "files": ["bin/python", "lib/libpython3.12.a"], "requested_specs": ["python 3.12.*"]}"#,
        ),
        (
            "env/conda-meta/zlib-1.3-0.json".to_owned(),
            r#"{"name": "zlib", "version": "1.3", "build": "0", "files": ["lib/libz.so"], "requested_spec": "None"}"#,
        ),
        (
            "env/conda-meta/pytorch-2.5-0.json".to_owned(),
            r#"{"name": "pytorch", "version": "2.5", "build": "0", "depends": ["python"], "requested_specs": ["pytorch"],
                "files": ["lib/python3.12/site-packages/torch/x.py", "lib/python3.12/site-packages/torch-2.5.dist-info/METADATA"]}"#,
        ),
        (
            "env/conda-meta/state".to_owned(),
            r#"{"version": 1, "env_vars": {"A": "1"}}"#,
        ),
        ("env/bin/python".to_owned(), "python"),
        ("env/lib/libpython3.12.a".to_owned(), "archive"),
        ("env/lib/libz.so".to_owned(), "zlib"),
        (site("torch/x.py"), "torch"),
        (site("torch/__pycache__/x.cpython-312.pyc"), "code of torch"),
        (
            site("torch-2.5.dist-info/METADATA"),
            "Name: torch\nVersion: 2.5\n",
        ),
        (
            site("rich-13.0.dist-info/METADATA"),
            "Metadata-Version: 2.1\nName: Rich\nVersion: 13.0\nRequires-Dist: Torch>=2 ; sys_platform == 'linux'\n\
             Requires-Dist: tomli ; python_version < '3.11'\nRequires-Dist: help-er[fast]\n\nRequires-Dist: text\n",
        ),
        (
            site("rich-13.0.dist-info/RECORD"),
            "rich.py,,\n../../../bin/rich,,\n\"rich,data\",,\n",
        ),
        (site("rich-13.0.dist-info/REQUESTED"), ""),
        (site("rich.py"), "rich"),
        (site("rich,data"), "data"),
        ("env/bin/rich".to_owned(), "#!python"),
        (
            site("help_er-1.dist-info/METADATA"),
            "Name: help_er\nVersion: 1\nRequires-Dist: zlib ; extra == 'fast'\nRequires-Dist: absent\n",
        ),
        (
            site("help_er-1.dist-info/direct_url.json"),
            r#"{"url": "https://me:secret@host/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}"#,
        ),
        ("env/etc/left".to_owned(), "of no package"),
        ("usr/bin/base".to_owned(), "of the base"),
    ];
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), *text))
        .collect();
    contents(&files)
}

fn names(contents: &Contents, indices: &[usize]) -> Vec<String> {
    let names = indices
        .iter()
        .map(|index| contents.packages[*index].name.clone());
    names.collect()
}

#[test]
fn packages_of_conda_and_pip_are_found_with_their_files() {
    let contents = environment();
    let shown: Vec<(&str, &str, &str, u64, bool)> = contents
        .packages
        .iter()
        .map(|package| {
            (
                package.name.as_str(),
                package.version.as_str(),
                package.kind.as_str(),
                package.space.unwrap().files,
                package.is_requested(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("help-er", "1", "pip", 2, false),
            ("python", "3.12.4", "conda", 3, true),
            ("pytorch", "2.5", "conda", 4, true),
            ("rich", "13.0", "pip", 6, true),
            ("zlib", "1.3", "conda", 2, false),
        ]
    );
    assert_eq!(contents.packages[1].channel.as_deref(), Some("conda-forge"));
    assert_eq!(contents.packages[0].environment, Path::new("env"));
    let url = contents.packages[0].direct_url.as_deref().unwrap();
    assert!(
        url.starts_with("git+https://") && url.ends_with("@abc") && !url.contains("secret"),
        "{url}"
    );
    // The byte code of torch counts to conda's package.
    assert!(contents.packages[2].space.unwrap().bytes > 18);
    assert_eq!((contents.other.files, contents.outside.files), (2, 1));
    assert_eq!(contents.variables, [("A".to_owned(), "1".to_owned())]);
    let categories: Vec<Category> = contents.categories.iter().map(|one| one.category).collect();
    assert_eq!(categories, [Category::ByteCode, Category::StaticLibraries]);
}

#[test]
fn dependencies_lead_to_the_packages_of_the_same_environment() {
    let contents = environment();
    let needed = |index: usize| -> Vec<(String, Option<String>)> {
        let package = &contents.packages[index];
        let depends = package.depends.iter();
        depends
            .map(|needed| {
                let found = needed.package.map(|at| contents.packages[at].name.clone());
                (needed.name.clone(), found)
            })
            .collect()
    };
    let found = |name: &str, of: &str| (name.to_owned(), Some(of.to_owned()));
    assert_eq!(needed(1), [found("zlib", "zlib")]);
    assert_eq!(
        needed(3),
        [found("torch", "pytorch"), found("help-er", "help-er")]
    );
    // The extra that rich requires brings another dependency.
    assert_eq!(
        needed(0),
        [found("zlib", "zlib"), ("absent".to_owned(), None)]
    );
    assert_eq!(
        names(&contents, &contents.roots()),
        ["python", "pytorch", "rich"]
    );
    let zlib = contents.find("zlib")[0];
    let chains: Vec<Vec<String>> = contents
        .chains_to(zlib)
        .iter()
        .map(|chain| names(&contents, chain))
        .collect();
    assert_eq!(
        chains,
        [
            &["python", "zlib"][..],
            &["pytorch", "python", "zlib"],
            &["rich", "help-er", "zlib"]
        ]
    );
    let dependents: Vec<usize> = contents.dependents(zlib).iter().map(|one| one.0).collect();
    assert_eq!(names(&contents, &dependents), ["help-er", "python"]);
}

#[test]
fn packages_are_found_by_other_spellings() {
    let contents = environment();
    assert_eq!(names(&contents, &contents.find("Help.Er")), ["help-er"]);
    assert_eq!(names(&contents, &contents.find("torch")), ["pytorch"]);
    assert!(contents.find("numpy").is_empty());
    assert_eq!(contents.closest_name("pytorh"), Some("pytorch"));
    assert_eq!(contents.closest_name("xyzzy"), None);
}

#[test]
fn roots_without_requests_are_what_nothing_needs_or_a_member_of_a_cycle() {
    let record = |name: &str, depends: &str| {
        (
            format!("conda-meta/{name}-1-0.json"),
            format!(
                r#"{{"name": "{name}", "version": "1", "build": "0", "depends": [{depends}]}}"#
            ),
        )
    };
    let files = [
        record("a", r#""b""#),
        record("b", r#""c[version='>=1']""#),
        record("c", r#""conda-forge::b""#),
        record("d", r#""e=1""#),
        record("e", r#""d""#),
    ];
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    let contents = contents(&files);
    assert_eq!(names(&contents, &contents.roots()), ["a", "d"]);
    assert_eq!(contents.packages[0].kind, PackageKind::Conda);
}

#[test]
fn content_that_is_stored_once_counts_once() {
    let text = "the same content".repeat(10_000);
    let contents = contents(&[("one", text.as_str()), ("other", text.as_str())]);
    assert_eq!(contents.shared.files, 1);
    assert_eq!(contents.shared.bytes, text.len() as u64);
    assert_eq!(contents.outside.bytes, 2 * text.len() as u64);
    assert!(contents.outside.stored < contents.shared.stored * 2);
}

/// Packages that carry copies of other ones, as `bleach/_vendor` and `setuptools/_vendor` do, are
/// one package each, whichever of the directories comes first by name.
#[test]
fn copies_of_packages_inside_of_another_one_are_not_packages() {
    let site = |name: &str| format!("{SITE}/{name}");
    let files = [
        (
            "env/conda-meta/setuptools-80-0.json".to_owned(),
            r#"{"name": "setuptools", "version": "80", "build": "0", "files": [
                "lib/python3.12/site-packages/setuptools/_vendor/wheel-0.45.dist-info/METADATA",
                "lib/python3.12/site-packages/setuptools-80.dist-info/METADATA"]}"#,
        ),
        (
            site("setuptools-80.dist-info/METADATA"),
            "Name: setuptools\nVersion: 80\n",
        ),
        (
            site("setuptools/_vendor/wheel-0.45.dist-info/METADATA"),
            "Name: wheel\nVersion: 0.45\n",
        ),
        (
            site("bleach/_vendor/html5lib-1.1.dist-info/METADATA"),
            "Name: html5lib\nVersion: 1.1\n",
        ),
        (
            site("bleach/_vendor/html5lib-1.1.dist-info/RECORD"),
            "html5lib/x.py,,\n",
        ),
        (
            site("bleach-6.4.dist-info/METADATA"),
            "Name: bleach\nVersion: 6.4\n",
        ),
        (
            site("bleach-6.4.dist-info/RECORD"),
            "bleach/_vendor/html5lib-1.1.dist-info/METADATA,,\n",
        ),
    ];
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), *text))
        .collect();
    let contents = contents(&files);
    let all: Vec<usize> = (0..contents.packages.len()).collect();
    assert_eq!(names(&contents, &all), ["bleach", "setuptools"]);
    assert_eq!(contents.packages[1].provides, ["setuptools"]);
}
