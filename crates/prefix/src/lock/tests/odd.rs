//! Tests of malformed packages in locks. If they are not needed, they are ignored. If they are
//! needed, they are read or refused by name.

use super::{SHA256, conda, conda_lock, names, parse, pip_of, pixi_lock};

const ODD: &str = "- [this, is, no package]\n";

/// Returns a conda-lock.yml with one more package.
fn with_entry(fields: &str) -> String {
    format!(
        "{}- {}\n",
        conda_lock(),
        fields.trim_end().replace('\n', "\n  ")
    )
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = parse(text, None).unwrap_err();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn any_text_of_dependencies_is_read() {
    let of_pip = format!(
        "name: app\nversion: 1.0.0\nmanager: pip\nplatform: linux-64\ncategory: main\n\
         url: https://files.example/app-1.0.0-py3-none-any.whl\nhash: {{sha256: {SHA256}}}\n\
         dependencies: {{lib: '*', core: 2.14.3, other: '>=2.0.2,<3.0.5 || >3.0.5', more: null, odd: '~~', n: 1.5}}"
    );
    let lock = parse(&with_entry(&of_pip), None).unwrap();
    assert_eq!(pip_of(&lock)[0], format!("app {SHA256}"));
    let of_conda = format!(
        "name: tool\nversion: '1.0'\nmanager: conda\nplatform: linux-64\ncategory: main\n\
         url: {}\nhash: {{md5: '', sha256: {SHA256}}}\nsource: {{url: x}}\n\
         dependencies: {{python: '>=3.12', blas: 1.0 mkl, odd: '=== what', n: 1.5, none: null}}",
        conda("linux-64/tool-1.0-0.conda")
    );
    let lock = parse(&with_entry(&of_conda), None).unwrap();
    let tool = &lock.solution.records[1].package_record;
    assert_eq!(
        tool.depends,
        ["python >=3.12", "blas 1.0 mkl", "odd", "n 1.5", "none"]
    );
    assert!(tool.md5.is_none() && tool.sha256.is_some());
}

#[test]
fn malformed_packages_for_others_are_ignored_in_a_conda_lock() {
    for fields in [
        "name: __osx\nversion: '11.0'\nmanager: conda\nplatform: osx-64\ndependencies: {}\n\
         url: file:///tmp/x/osx-64/__osx-11.0-0.tar.bz2\nhash: {md5: '', sha256: null}\ncategory: main",
        "name: a\nmanager: npm\nplatform: win-64\ncategory: main",
        "name: b\nmanager: npm\nplatform: linux-64\ncategory: dev",
        "name: c\nplatform: some-new-platform\ncategory: main",
        "name: __glibc\nmanager: conda\nplatform: linux-64\nversion: '2.17'\ncategory: main",
    ] {
        let text =
            with_entry(fields).replace("  - linux-64\n", "  - linux-64\n  - some-new-platform\n");
        let lock = parse(&text, None).expect(fields);
        assert_eq!(names(&lock), ["python"], "{fields}");
    }
}

#[test]
fn entries_that_are_needed_are_refused_by_name() {
    let entry = |rest: &str| {
        let url = conda("linux-64/tool-1.0-0.conda");
        with_entry(&format!(
            "name: tool\nplatform: linux-64\ncategory: main\nurl: {url}\n{rest}"
        ))
    };
    for (rest, expected) in [
        (
            "manager: npm",
            "`tool` is a package of `npm`, expected `manager: conda`",
        ),
        ("version: '1'", "`tool` has no `manager:`"),
        (
            "manager: conda\nhash: {md5: '', sha256: null}",
            "`tool` has neither sha256 nor md5",
        ),
        (
            "manager: conda\nhash: {sha256: abc}",
            "the sha256 of `tool` is none",
        ),
        (
            "manager: conda\nhash: {md5: 1}",
            "the md5 of `tool` is none",
        ),
    ] {
        refused(&entry(rest), expected);
    }
    let odd_version = format!("manager: conda\nversion: [1]\nhash: {{sha256: {SHA256}}}");
    refused(&entry(&odd_version), "`tool` cannot be read: ");
    refused(
        &format!("{}{ODD}", conda_lock()),
        "`- this` has no `platform:`",
    );
    refused(&with_entry("name: tool"), "`tool` has no `platform:`");
    let foreign = conda_lock().replace("platform: linux-64", "platform: osx-64");
    refused(&foreign, "it has nothing for `linux-64`, only for `osx-64`");
}

#[test]
fn malformed_packages_for_others_are_ignored_in_a_pixi_lock() {
    let text = pixi_lock()
        .replace(
            "packages:\n- conda:",
            &format!("packages:\n{ODD}- npm: left-pad\n- conda:"),
        )
        .replace(
            "      linux-aarch64:\n",
            "      linux-aarch64:\n      - npm: left-pad\n",
        )
        .replace(
            "  science:\n",
            "  odd:\n    channels: nothing\n  science:\n",
        );
    let lock = parse(&text, None).unwrap();
    assert_eq!((names(&lock), pip_of(&lock).len()), (vec!["python"], 2));
    let arm = pixi_lock().replace(
        "h43d1f9e_1_cpython.conda\n  sha256: ",
        "h43d1f9e_1_cpython.conda\n  sha256: odd",
    );
    parse(&arm, None).unwrap();
    let platform = pixi_lock().replace("      linux-aarch64:\n", "      some-new-platform:\n");
    parse(&platform, None).unwrap();
}

#[test]
fn unknown_packages_of_the_environment_are_refused_by_name() {
    let foreign = pixi_lock().replace("      - pypi: ./mine\n", "      - npm: left-pad\n");
    refused(
        &foreign,
        "`npm: left-pad` is a kind of package that is not known here",
    );
    let source = pixi_lock().replace(
        "      - pypi: ./mine\n",
        "      - conda_source: 'mine[0] @ ./mine'\n",
    );
    refused(&source, "`mine[0] @ ./mine` is built from source by pixi");
    let odd = pixi_lock().replace(
        "  name: rich\n  version: 13.7.0\n",
        "  name: rich\n  version: what\n",
    );
    refused(&odd, "`rich` cannot be read: ");
}

/// The fuzzer has found these cases.
#[test]
fn what_fuzzing_has_found_is_read_or_refused() {
    // pep508_rs panics at names and extras like these.
    let dist = pixi_lock().replace(
        "  name: rich\n",
        "  name: rich\n  requires_dist: ['ipy-(>=7)', 'rich[a-]', 'markdown-it-py>=2.2', 1]\n",
    );
    assert_eq!(pip_of(&parse(&dist, None).unwrap()).len(), 2);
    let pip = conda_lock().replace(
        "dependencies: {}",
        "dependencies: {'pygm...': '*', a_: '>=1'}",
    );
    assert_eq!(pip_of(&parse(&pip, None).unwrap()).len(), 1);
    let report = "{\"install\": [{\"download_info\": {\"url\": \"https://x/a\", \"archive_info\": {\"hashes\": \
                  {\"sha256\": \"00\"}}}, \"metadata\": {\"name\": \"a\", \"version\": \"1\", \"requires_dist\": [\"b-; x\"]}}]}";
    assert_eq!(super::pip::from_report(report).unwrap().len(), 1);
    let large = conda_lock().replace("python-3.12.1-", "python-184467440737095516163.12.1-");
    refused(
        &large,
        "`python` comes from `python-184467440737095516163.12.1-",
    );
    let name = conda_lock().replace("name: python", "name: p{thon");
    refused(&name, "`p{thon` is no name of a conda package");
    let odd = conda_lock().replace("python-3.12.1-", "python-3.1${X}2.1-");
    refused(
        &odd,
        "`python` comes from `python-3.1$%7BX%7D2.1-hab00c5b_1_cpython.conda`",
    );
    let fragment = conda_lock().replace("https://conda.", "https://con#da.");
    refused(&fragment, "`python` comes from ``");
    // A lock with this file name could be written, but not be read again.
    let file = conda_lock().replace("_cpython.conda", "_cpython.co%2e%2e%2fnda");
    refused(
        &file,
        "`python` comes from `python-3.12.1-hab00c5b_1_cpython.co%2e%2e%2fnda`",
    );
}

#[test]
fn packages_of_pip_without_python_are_refused_where_they_are_installed() {
    let text = conda_lock().replace("name: python", "name: tool");
    let lock = parse(&text, None).unwrap();
    assert!(lock.solution.lacks_python_for_locked_pip());
    let lock = parse(&conda_lock(), None).unwrap();
    assert!(!lock.solution.lacks_python_for_locked_pip());
}

#[test]
fn an_empty_environment_is_called_empty() {
    let text =
        "version: 6\nenvironments:\n  default:\n    channels: []\n    packages: {}\npackages: []\n";
    refused(
        text,
        "its environment `default` is empty, it has packages for no platform",
    );
    let two = text.replace("packages: []", "packages: []\n").replace(
        "  default:\n",
        "  tools:\n    channels: []\n    packages: {linux-64: []}\n  default:\n",
    );
    refused(&two, "name another with `--lock-environment`: `tools`");
}

#[test]
fn variables_that_are_not_text_are_refused() {
    let text = format!("{}condense:\n  variables: {{A: '1', B: 2}}\n", pixi_lock());
    refused(
        &text,
        "`variables:` of `condense:` must have texts in quotes, found `B: 2`",
    );
}

#[test]
fn aliases_that_multiply_are_refused() {
    let wide = format!(
        "version: 6\na: &a [{}]\nb: [{}]\n",
        "x,".repeat(5000),
        "*a,".repeat(5000)
    );
    let deep = format!("version: 6\na: {}\n", "[".repeat(200_000));
    refused(&deep, "it has too many brackets inside of each other");
    refused(&wide, "its aliases (`*name`) mean more than can be read");
}
