#![allow(clippy::unwrap_used)]

mod odd;

use std::path::Path;

use super::{Extra, Lock, pip, write};
use crate::{Architecture, Target, pip_package::LockedPip, spec::EnvironmentSpec};

const SHA256: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn target() -> Target {
    Target {
        architecture: Architecture::X86_64,
        glibc: Some("2.31".to_owned()),
        linux: Some("5.14".to_owned()),
        archspec: None,
        cuda: None,
    }
}

fn parse(text: &str, environment: Option<&str>) -> Result<Lock, String> {
    Lock::parse(
        text,
        Path::new("some.lock"),
        Path::new("/folder"),
        environment,
        &target(),
    )
    .map_err(|error| error.to_string())
}

fn spec(text: &str) -> EnvironmentSpec {
    EnvironmentSpec::parse(text, Path::new("env.yml"), Path::new("/")).unwrap()
}

fn conda(file: &str) -> String {
    format!("https://conda.anaconda.org/conda-forge/{file}")
}

/// Returns a pixi.lock of version 6 with two environments and two platforms.
fn pixi_lock() -> String {
    let python = conda("linux-64/python-3.12.1-hab00c5b_1_cpython.conda");
    let arm = conda("linux-aarch64/python-3.12.1-h43d1f9e_1_cpython.conda");
    let numpy = conda("linux-64/numpy-1.26.4-py312heda63a1_0.conda");
    format!(
        "version: 6
environments:
  default:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    indexes:
    - https://pypi.org/simple
    packages:
      linux-64:
      - conda: {python}
      - pypi: https://files.pythonhosted.org/packages/rich-13.7.0-py3-none-any.whl
      - pypi: ./mine
      linux-aarch64:
      - conda: {arm}
  science:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    packages:
      linux-64:
      - conda: {python}
      - conda: {numpy}
packages:
- conda: {python}
  sha256: {SHA256}
  depends:
  - __glibc >=2.17,<3.0.a0
  license: Python-2.0
- conda: {arm}
  sha256: {SHA256}
- conda: {numpy}
  md5: 0123456789abcdef0123456789abcdef
  depends:
  - python >=3.12
- pypi: https://files.pythonhosted.org/packages/rich-13.7.0-py3-none-any.whl
  name: rich
  version: 13.7.0
  sha256: {SHA256}
- pypi: ./mine
  name: mine
  version: '0.1'
  sha256: {SHA256}
"
    )
}

fn names(lock: &Lock) -> Vec<&str> {
    let records = lock.solution.records.iter();
    records
        .map(|record| record.package_record.name.as_normalized())
        .collect()
}

fn pip_of(lock: &Lock) -> Vec<String> {
    let locked = lock.solution.locked_pip.iter().flatten();
    locked.map(LockedPip::identity).collect()
}

#[test]
fn pixi_environments_and_platforms() {
    let lock = parse(&pixi_lock(), None).unwrap();
    assert_eq!(names(&lock), ["python"]);
    assert_eq!(
        pip_of(&lock),
        [
            "mine /folder/mine false".to_owned(),
            format!("rich {SHA256}")
        ]
    );
    let lock = parse(&pixi_lock(), Some("science")).unwrap();
    assert_eq!(names(&lock), ["python", "numpy"]);
    assert!(lock.solution.records[1].package_record.md5.is_some());
    let error = parse(&pixi_lock(), Some("nothing")).unwrap_err();
    assert_eq!(
        error,
        "some.lock: it has no environment `nothing`, only `default`, `science`; name one with `--lock-environment`"
    );
    let mut other = target();
    other.architecture = Architecture::Ppc64le;
    let error = Lock::parse(
        &pixi_lock(),
        Path::new("some.lock"),
        Path::new("/"),
        None,
        &other,
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "some.lock: it has nothing for `linux-ppc64le`, only for `linux-64`, `linux-aarch64`"
    );
}

/// Returns a conda-lock.yml with a package of pip and with a package of
/// another category than `main`.
fn conda_lock() -> String {
    let python = conda("linux-64/python-3.12.1-hab00c5b_1_cpython.conda");
    let pytest = conda("noarch/pytest-8.0.0-pyhd8ed1ab_0.conda");
    format!(
        "version: 1
metadata:
  content_hash:
    linux-64: {SHA256}
  channels:
  - url: conda-forge
    used_env_vars: []
  platforms:
  - linux-64
  sources:
  - environment.yml
package:
- name: python
  version: 3.12.1
  manager: conda
  platform: linux-64
  dependencies:
    __glibc: '>=2.17,<3.0.a0'
  url: {python}
  hash:
    md5: 0123456789abcdef0123456789abcdef
    sha256: {SHA256}
  category: main
  optional: false
- name: pytest
  version: 8.0.0
  manager: conda
  platform: linux-64
  dependencies:
    python: ''
  url: {pytest}
  hash:
    sha256: {SHA256}
  category: dev
  optional: true
- name: rich
  version: 13.7.0
  manager: pip
  platform: linux-64
  dependencies: {{}}
  url: https://files.pythonhosted.org/packages/rich-13.7.0-py3-none-any.whl
  hash:
    sha256: {SHA256}
  category: main
  optional: false
"
    )
}

#[test]
fn conda_lock_and_its_categories() {
    let lock = parse(&conda_lock(), None).unwrap();
    assert_eq!(names(&lock), ["python"]);
    assert_eq!(pip_of(&lock), [format!("rich {SHA256}")]);
    let warnings: Vec<String> = lock.warnings().iter().map(ToString::to_string).collect();
    assert!(
        warnings.len() == 1 && warnings[0].contains("dev"),
        "{warnings:?}"
    );
    let lock = parse(&conda_lock(), Some("dev")).unwrap();
    assert_eq!(names(&lock), ["python", "pytest"]);
    assert_eq!(lock.warnings(), []);
    let error = parse(&conda_lock(), Some("docs")).unwrap_err();
    assert_eq!(error, "some.lock: it has no package of the category `docs`");
}

#[test]
fn other_files_and_locks_without_digests_are_refused() {
    let python = conda("linux-64/python-3.12.1-hab00c5b_1_cpython.conda");
    let unhashed = pixi_lock().replace(&format!("  sha256: {SHA256}\n"), "");
    let newer = pixi_lock().replace("__glibc >=2.17,<3.0.a0", "__glibc >=2.34");
    for (text, expected) in [
        (
            "channels: [conda-forge]\ndependencies: [numpy]\n".to_owned(),
            "this is not a lock file: it has no `version:`; an environment file needs no `--lock`",
        ),
        (
            format!("@EXPLICIT\n{python}#{SHA256}\n"),
            "give it as the environment file",
        ),
        ("version: [".to_owned(), "this is not a lock file: "),
        (
            "version: 99\n".to_owned(),
            "found newer lockfile format version 99",
        ),
        (
            unhashed,
            "`python-3.12.1-hab00c5b_1_cpython.conda` has neither sha256 nor md5",
        ),
        (
            newer,
            "`python-3.12.1-hab00c5b_1_cpython.conda` needs `__glibc >=2.34`",
        ),
    ] {
        let error = parse(&text, None).unwrap_err();
        assert!(
            error.starts_with("some.lock: ") && error.contains(expected),
            "{error}"
        );
    }
    let open = pixi_lock().replace(
        &format!("  name: rich\n  version: 13.7.0\n  sha256: {SHA256}\n"),
        "  name: rich\n  version: 13.7.0\n",
    );
    let error = parse(&open, None).unwrap_err();
    assert!(
        error.contains("`rich`") && error.contains("no sha256"),
        "{error}"
    );
}

#[test]
fn an_environment_file_must_be_satisfied() {
    let check = |file: &str, expected: &[&str]| {
        let mut lock = parse(&pixi_lock(), Some("science")).unwrap();
        let with_pip = parse(&pixi_lock(), None).unwrap();
        lock.solution.locked_pip = with_pip.solution.locked_pip;
        match lock.check_fits(&spec(file)) {
            Ok(()) => assert!(expected.is_empty(), "{file} was accepted"),
            Err(error) => {
                let error = error.to_string();
                assert!(!expected.is_empty(), "{error}");
                for word in expected {
                    assert!(error.contains(word), "`{word}` is not in {error}");
                }
            }
        }
    };
    let file = |lines: &str| format!("channels: [conda-forge]\ndependencies: [{lines}]\n");
    check(&file("python, numpy <2"), &[]);
    check(&file("python"), &[]);
    check(
        &file("python =3.11, scipy"),
        &[
            "`python =3.11` (it has 3.12.1)",
            "`scipy` (it has no such package)",
        ],
    );
    check(
        &file("python, {pip: [rich, Mine, 'numpy>=1.26']}"),
        &["`pip`"],
    );
    let pip = |lines: &str| {
        let mut spec = spec(&file(&format!("python, {{pip: [{lines}]}}")));
        // `pip` was added because of the lines for pip; not every lock has it.
        spec.specs.retain(|requested| requested.written != "pip");
        let mut lock = parse(&pixi_lock(), None).unwrap();
        lock.check_fits(&spec).map_err(|error| error.to_string())
    };
    pip("rich, Mine, 'rich>=13', 'nothing; sys_platform == \"win32\"'").unwrap();
    let error = pip("'rich<13', absent").unwrap_err();
    assert!(error.contains("`rich<13` (it has 13.7.0)"), "{error}");
    assert!(
        error.contains("`absent` (it has no such package)"),
        "{error}"
    );
}

const REPORT: &str = r#"{"version": "1", "pip_version": "26.3", "install": [
  {"download_info": {"url": "https://me:secret@index.example/edge_pip_app-1.0-py3-none-any.whl",
     "archive_info": {"hash": "sha256=SHA", "hashes": {"sha256": "SHA"}}},
   "is_direct": false, "requested": true,
   "metadata": {"name": "Edge.Pip_App", "version": "1.0", "requires_dist": ["edge-pip-lib>=1", "odd ((("], "requires_python": ">=3.9"}},
  {"download_info": {"url": "https://token@git.example/a/b.git", "subdirectory": "sub",
     "vcs_info": {"vcs": "git", "commit_id": "1111111111111111111111111111111111111111", "requested_revision": "v1"}},
   "is_direct": true, "metadata": {"name": "b", "version": "2"}},
  {"download_info": {"url": "file:///home/me/a%20b", "dir_info": {"editable": true}},
   "is_direct": true, "metadata": {"name": "mine", "version": "0.1"}},
  {"download_info": {"url": "file:///wheels/edge_pip_lib-1.1.tar.gz", "archive_info": {"hashes": {"sha256": "SHA"}}},
   "is_direct": false, "metadata": {"name": "edge-pip-lib", "version": "1.1+local.1"}}
]}"#;

#[test]
fn packages_of_a_report_are_the_same_after_writing_and_reading_a_lock() {
    let locked = pip::from_report(&REPORT.replace("SHA", SHA256)).unwrap();
    let identities: Vec<String> = locked.iter().map(LockedPip::identity).collect();
    assert_eq!(
        identities,
        [
            "b git+https://git.example/a/b.git@1111111111111111111111111111111111111111#subdirectory=sub".to_owned(),
            format!("edge-pip-app {SHA256}"),
            format!("edge-pip-lib {SHA256}"),
            "mine /home/me/a b true".to_owned(),
        ]
    );
    let mut lock = parse(&pixi_lock(), Some("science")).unwrap();
    lock.solution.locked_pip = Some(locked.clone());
    let file = spec(
        "dependencies: [python]\nvariables: {GREETING: 'it''s: \"quoted\"', NUMBER: 1, EMPTY: ''}\n",
    );
    let text = write::render_lock(&lock.solution, &file, None, &[]).unwrap();
    assert!(
        !text.contains("secret") && !text.contains("token"),
        "{text}"
    );
    let again = parse(&text, None).unwrap();
    assert_eq!(again.solution.locked_pip.as_ref(), Some(&locked));
    assert_eq!(again.spec().variables(), file.variables());
    assert_eq!(
        crate::mount_point_suffix(&again.spec(), &again.solution),
        crate::mount_point_suffix(&file, &lock.solution)
    );
    let second = write::render_lock(&again.solution, &again.spec(), None, &[]).unwrap();
    assert_eq!(second, text);
}

#[test]
fn lines_for_pip_that_are_not_resolved_stay_unlocked() {
    let mut lock = parse(&pixi_lock(), Some("science")).unwrap();
    lock.solution.locked_pip = None;
    let file = spec("dependencies: [python, numpy, {pip: [rich]}]\n");
    let text = write::render_lock(&lock.solution, &file, None, &[]).unwrap();
    let mut again = parse(&text, None).unwrap();
    assert_eq!(again.unlocked_pip(), ["rich"]);
    assert_eq!(again.solution.locked_pip, None);
    let mut with_conda_pip = file.clone();
    with_conda_pip
        .specs
        .retain(|requested| requested.written != "pip");
    again.check_fits(&with_conda_pip).unwrap();
}

#[test]
fn a_plain_lock_is_rattlers_own() {
    let lock = parse(&pixi_lock(), Some("science")).unwrap();
    let text = write::render(&lock.solution, &[], &Extra::default()).unwrap();
    assert!(!text.contains("condense"), "{text}");
}
