//! Tests of the forms of users' files: merge keys, encodings, mistakes in long files, and lock
//! files given as environment files.

use condense_diagnostics::Hint as _;
use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::{super::SpecContext, parse, refused};
use crate::{EnvironmentSpec, Error};

/// Time limit. Slow machines need a tenth of it.
const QUICK: Duration = Duration::from_secs(20);

fn load(name: &str, bytes: &[u8]) -> Result<EnvironmentSpec, Error> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    fs_err::write(&file, bytes).unwrap();
    EnvironmentSpec::load_by_name(&file, &SpecContext::default())
}

fn blamed(name: &str, text: &str) -> String {
    let file = Path::new(name);
    let error = EnvironmentSpec::parse(text, file, Path::new("/data")).expect_err(text);
    error.to_string()
}

#[test]
fn merge_keys_are_followed() {
    let spec = parse(
        "x-shared: &shared\n  channels: [lab]\n  variables: {A: '1', B: '2'}\n\
         name: tool\n<<: *shared\ndependencies: [python]\n",
    )
    .unwrap();
    assert_eq!(spec.channels(), ["https://conda.anaconda.org/lab/"]);
    assert_eq!(spec.variables().len(), 2);
    // PyYAML does the same: a mapping's own keys have priority, then those of the first mapping in
    // a list. Merged keys come first.
    let spec = parse(
        "x-one: &one {A: one, B: one}\nx-two: &two {A: two, C: two}\nchannels: [c]\n\
         dependencies: [python]\nvariables:\n  B: own\n  <<: [*one, *two]\n  D: own\n",
    )
    .unwrap();
    let variables: Vec<String> = spec
        .variables()
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(variables, ["A=one", "C=two", "B=own", "D=own"]);
    // A merged mapping may merge another one, and a key in quotes is an ordinary key.
    let spec = parse(
        "x-a: &a {A: a}\nx-b: &b {<<: *a, B: b}\nchannels: [c]\ndependencies: [python]\nvariables: {<<: *b}\n",
    )
    .unwrap();
    assert_eq!(spec.variables().len(), 2);
    refused(
        "channels: [c]\ndependencies: [a]\nvariables: {'<<': {A: b}}\n",
        ":3:13",
        "not a name",
    );
}

#[test]
fn merge_keys_that_merge_nothing_are_refused() {
    for (value, found) in [
        ("text", "a text"),
        ("[one]", "a text"),
        ("", "nothing"),
        ("[[]]", "a list"),
    ] {
        let text = format!("channels: [c]\ndependencies: [a]\n<<: {value}\n");
        refused(
            &text,
            ":3:",
            &format!("`<<:` takes a mapping or a list of them, found {found}"),
        );
    }
    refused(
        "x: &x {a: b}\n<<: *x\n<<: *x\ndependencies: [a]\n",
        ":3:1",
        "a second time",
    );
}

#[test]
fn what_powershell_writes_is_read() {
    let utf16 = |text: &str| -> Vec<u8> {
        let text = format!("\u{feff}{text}");
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    };
    let env = "channels: [conda-forge]\r\ndependencies:\r\n- numpy=1.26 # [win]\r\n- scipy\r\n";
    let spec = load("env.yml", &utf16(env)).unwrap();
    assert_eq!(spec.conda_specs().collect::<Vec<_>>(), ["scipy"]);
    let spec = load("requirements.txt", &utf16("--pre\r\nclick==8.1.7\r\n")).unwrap();
    assert_eq!(spec.pip(), ["--pre", "click==8.1.7"]);
    let marked = "\u{feff}# a comment [win]\nchannels: [c]\ndependencies: [a]\n";
    assert_eq!(
        load("env.yml", marked.as_bytes()).unwrap().channels().len(),
        1
    );
    let error = load("env.yml", b"channels: [c]\n# \xe9\n").unwrap_err();
    assert!(
        error.to_string().ends_with("env.yml:2: not UTF-8 text"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("iconv"));
    // conda does not follow declarations of an encoding.
    load(
        "env.yml",
        b"# -*- coding: latin-1 -*-\nchannels: [c]\n# \xe9\n",
    )
    .unwrap_err();
    load(
        "req.txt",
        b"# -*- coding: latin-1 -*-\n# caf\xe9\n--pre\nclick==8.1.7\n",
    )
    .unwrap();
    let error = load("env.yml", b"channels: [c]\ndependencies: [\0]\n").unwrap_err();
    assert!(
        error.to_string().contains("env.yml:2: a NUL byte"),
        "{error}"
    );
}

#[test]
fn included_files_have_encodings_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs_err::write(dir.path().join(name), bytes).unwrap();
    let wide: Vec<u8> = "\u{feff}rich\r\n"
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect();
    write(
        "requirements.txt",
        b"-r latin.txt\n-r wide.txt\n-c limits.txt\n",
    );
    write("latin.txt", b"# coding: latin-1\nclick # caf\xe9\n");
    write("wide.txt", &wide);
    write("limits.txt", b"# coding: cp1252\n# \x80\nrich<14\n");
    let file = dir.path().join("requirements.txt");
    let read = || EnvironmentSpec::load_requirements(&file, &SpecContext::default());
    assert_eq!(read().unwrap().pip()[..2], ["click", "rich"]);
    for (name, at) in [("latin.txt", 1), ("limits.txt", 2)] {
        let before = fs_err::read(dir.path().join(name)).unwrap();
        write(name, &[&b"# first\n"[..at / 2 * 8], b"\xff\n"].concat());
        let error = read().unwrap_err().to_string();
        assert!(
            error.ends_with(&format!("{name}:{at}: not UTF-8 text")),
            "{error}"
        );
        write(name, &before);
    }
}

#[test]
fn errors_name_the_line_with_the_mistake() {
    let index = "--extra-index-url https://pip.example/simple\n";
    for (text, at) in [
        (
            format!("{index}click==8.1.7\ntorch==2.3.0 rocm6.0\n"),
            "3:1: `torch==2.3.0 rocm6.0`",
        ),
        (
            format!("{index}# a comment\n\nrich = 13\n"),
            "4:1: `rich = 13`",
        ),
        (
            "click\nrich[jupyter]\nflask~=3.0\nnumpy=1.26\n".to_owned(),
            "4:1: `numpy=1.26`",
        ),
        (
            "click\n--preview\n".to_owned(),
            "2:1: `--preview` is no option",
        ),
        (
            "click==8.1.7 \\\n  --hash=sha256:0\nrich\n".to_owned(),
            "2: `--hash=sha256:0`",
        ),
        (
            "click; os_name\nrich\n".to_owned(),
            "1:1: `; os_name` is no marker",
        ),
        (
            "click\nwhat is all this\nrich\n".to_owned(),
            "2:1: `what is all this`",
        ),
    ] {
        let said = blamed("requirements.txt", &text);
        assert!(
            said.starts_with(&format!("requirements.txt:{at}")),
            "{said}\nfor {text}"
        );
    }
    // The kind of most lines decides, not that of the first line.
    let list = "numpy=1.26\nscipy >=1.10,<2\nrich[jupyter]\n";
    assert!(blamed("list.txt", list).starts_with("list.txt:3:1: `rich[jupyter]`"));
    // The lines of a text below `|` are counted as lines of the file.
    refused(
        "channels: [c]\ndependencies:\n- pip:\n  - |\n    rich\n    click = 8\n",
        ":6: ",
        "`click = 8`",
    );
}

#[test]
fn lock_files_and_toml_are_refused() {
    let pixi = "version: 6\nenvironments:\n  default:\n    packages: {}\npackages: []\n";
    for name in ["pixi.lock", "condense.lock", "any.txt", "env.yml"] {
        let error = EnvironmentSpec::parse(pixi, Path::new(name), Path::new("/")).unwrap_err();
        assert!(error.to_string().contains("this is a lock file"), "{error}");
        assert!(error.hint().unwrap().contains("`--lock FILE`"));
    }
    for text in ["[project]\nname = \"x\"\n", "version = 1\n\n[[package]]\n"] {
        let error = EnvironmentSpec::parse(text, Path::new("uv.lock"), Path::new("/")).unwrap_err();
        assert!(
            error.to_string().starts_with("uv.lock:1:1: this is TOML"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("uv export"));
    }
    let json = "{\"channels\": [\"c\"], \"dependencies\": [\"python\"]}";
    let spec = EnvironmentSpec::parse(json, Path::new("env.json"), Path::new("/")).unwrap();
    assert_eq!(spec.kind().as_str(), "environment");
}

#[test]
fn paths_of_other_machines_are_refused_with_a_hint() {
    let text = "channels: [c]\ndependencies:\n- pip:\n  - rich\n  - certifi @ file:///croot/certifi_1690232220950/work/certifi\n";
    let error = parse(text).unwrap_err();
    assert!(error.to_string().starts_with("env.yml:5:5: "), "{error}");
    assert!(error.hint().unwrap().contains("pip list --format=freeze"));
}

#[test]
fn large_files_are_read_or_refused_quickly() {
    let begin = Instant::now();
    let entries = |count: usize| "é, ".repeat(count);
    let wide = format!("channels: [c]\ndependencies: [{}]\n", entries(60_000));
    parse(&wide).unwrap_err();
    let many = (0..45_000).fold(String::new(), |text, at| {
        text + &format!("  A{at}: x # [linux]\n")
    });
    let spec = parse(&format!(
        "channels: [c]\ndependencies: [a]\nvariables:\n{many}"
    ))
    .unwrap();
    assert_eq!(spec.variables().len(), 45_000);
    let long = format!(
        "channels: [c]\ndependencies: ['{}']\n",
        "a b ".repeat(250_000)
    );
    let error = parse(&long).unwrap_err().to_string();
    assert!(error.len() < 2000, "{} bytes are said", error.len());
    let deep = format!("dependencies: {}", "[".repeat(500_000));
    parse(&deep).unwrap_err();
    assert!(begin.elapsed() < QUICK, "took {:?}", begin.elapsed());
}
