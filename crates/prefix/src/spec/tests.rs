//! Tests of reading single lines, with the tables in `fixtures/environments/tables`, and of whole
//! files that are read, or refused with line and column.
#![allow(clippy::unwrap_used)]

mod files;
mod shapes;
mod tables;

use std::path::Path;

use super::EnvironmentSpec;
use crate::{Error, Warning};

fn parse(text: &str) -> Result<EnvironmentSpec, Error> {
    EnvironmentSpec::parse(text, Path::new("env.yml"), Path::new("/data"))
}

fn refused(text: &str, at: &str, why: &str) {
    let error = parse(text).expect_err(text).to_string();
    assert!(
        error.starts_with(&format!("env.yml{at}")),
        "{error}\nfor {text}"
    );
    assert!(error.contains(why), "{error}\nfor {text}");
}

#[test]
fn a_usual_file() {
    let spec = parse(
        "name: ignored\nprefix: /ignored\nchannels:\n  - conda-forge\n  - nodefaults\n  - file:///srv/channel\n  - ./near\n\
         dependencies:\n  - python=3.10\n  - numpy >=1.20,<2\n  - zlib=1.2=h123_0\n  - pip\n  - pip:\n    - rich>=13\n    - flask[async]\n\
         variables:\n  A: 1\n  B: 'two words'\n  C: 3.10\n  D:\n",
    )
    .unwrap();
    assert_eq!(
        spec.channels(),
        [
            "https://conda.anaconda.org/conda-forge/",
            "file:///srv/channel/",
            "file:///data/near/"
        ]
    );
    assert_eq!(
        spec.conda_specs().collect::<Vec<_>>(),
        ["python=3.10", "numpy >=1.20,<2", "zlib=1.2=h123_0", "pip"]
    );
    assert_eq!(spec.pip(), ["rich>=13", "flask[async]"]);
    let variables: Vec<_> = spec
        .variables()
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        variables,
        [("A", "1"), ("B", "two words"), ("C", "3.10"), ("D", "")]
    );
    assert!(spec.warnings().is_empty());
}

#[test]
fn a_missing_pip_is_added_with_a_warning() {
    let spec = parse("channels: [c]\ndependencies:\n- python\n- pip: [rich]\n").unwrap();
    assert_eq!(spec.specs.last().unwrap().written, "pip");
    // The added `pip` is not a line of the file.
    assert_eq!(spec.conda_specs().collect::<Vec<_>>(), ["python"]);
    assert_eq!(spec.warnings(), [Warning::PipAdded]);
}

#[test]
fn a_file_without_channels_gets_conda_forge_with_a_warning() {
    let spec = parse("dependencies: [python]\n").unwrap();
    assert_eq!(spec.channels(), ["https://conda.anaconda.org/conda-forge/"]);
    assert_eq!(
        spec.warnings(),
        [Warning::NoChannel {
            used: "conda-forge".to_owned()
        }]
    );
}

#[test]
fn a_channel_of_a_spec_joins_the_query() {
    let spec = parse("channels: [conda-forge]\ndependencies: ['bioconda::samtools']\n").unwrap();
    assert_eq!(
        spec.channels().last().unwrap(),
        "https://conda.anaconda.org/bioconda/"
    );
}

#[test]
fn credentials_of_channels_are_not_shown() {
    let spec =
        parse("channels: ['https://me:secret@host/t/tk-12345/chan']\ndependencies: [a]\n").unwrap();
    assert_eq!(spec.channels(), ["https://host/chan/"]);
}

#[test]
fn unknown_keys_are_named() {
    let spec = parse("channels: [c]\nchannel_priority: strict\ndependencies: [a]\n").unwrap();
    assert_eq!(
        spec.warnings(),
        [Warning::UnknownKey {
            file: "env.yml".into(),
            key: "channel_priority".to_owned(),
            line: 2
        }]
    );
}

#[test]
fn aliases_are_followed() {
    let spec =
        parse("channels: &c [one]\ndependencies: [a]\nvariables: {X: &x hello, Y: *x}\n").unwrap();
    assert_eq!(spec.variables()[1], ("Y".to_owned(), "hello".to_owned()));
}

#[test]
fn mistakes_are_refused_with_line_and_column() {
    refused("- a\n- b\n", ":1:1", "expected a mapping");
    refused("just words\n", ":1:1", "expected a mapping");
    refused("", ":1:1", "found nothing");
    refused("a: [1\nb: 2\n", ":2:", "not valid YAML");
    refused("channels: [c]\n", ":1:1", "no `dependencies:` list");
    refused("dependencies:\n", ":", "nothing to install");
    refused(
        "channels: [c]\ndependencies: python\n",
        ":2:15",
        "must be a list",
    );
    refused(
        "channels: [c]\ndependencies:\n  - python\n  - numpy ==== 3\n",
        ":4:5",
        "`numpy ==== 3` is not a package spec",
    );
    refused(
        "channels: [c]\ndependencies:\n  - python >=\n",
        ":3:5",
        "is not a package spec",
    );
    refused(
        "channels: [c]\ndependencies:\n  - 'a b c d e'\n",
        ":3:5",
        "is not a package spec",
    );
    refused(
        "channels: [c]\ndependencies:\n  - num*\n",
        ":3:5",
        "only exact package names",
    );
    refused(
        "channels: [c]\ndependencies:\n  - conda:\n    - x\n",
        ":3:5",
        "only `pip:` is",
    );
    refused(
        "channels: [c]\ndependencies:\n  - pip:\n    - -r other.txt\n",
        ":4:7",
        "there is neither file nor directory `/data/other.txt`",
    );
    refused(
        "channels: [c]\ndependencies:\n  - pip:\n    - ./here\n",
        ":4:7",
        "there is neither file nor directory `/data/here`",
    );
    refused(
        "channels: [c]\ndependencies: [a]\n---\nchannels: [d]\n",
        ":3:1",
        "a second YAML document",
    );
    refused(
        "channels: [c]\nchannels: [d]\ndependencies: [a]\n",
        ":2:1",
        "a second time",
    );
    refused(
        "channels: [c]\ndependencies: [a]\nvariables: {1X: a}\n",
        ":3:13",
        "not a name",
    );
    refused(
        "channels: {a: b}\ndependencies: [a]\n",
        ":1:11",
        "must be a list",
    );
}

#[test]
fn aliases_that_expand_to_too_many_values_are_refused() {
    let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..9 {
        let before = level - 1;
        let items = vec![format!("*a{before}"); 10].join(",");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let error = parse(&text).expect_err("too large").to_string();
    assert!(error.contains("too many values"), "{error}");
}

/// A key that is evidently meant to change the environment is refused: B11.
#[test]
fn misspelt_keys_are_refused_with_the_key_that_is_meant() {
    for (text, at, meant) in [
        ("channel: [c]\ndependencies: [a]\n", "1:1", Some("channels")),
        (
            "channels: [c]\ndependancies: [a]\n",
            "2:1",
            Some("dependencies"),
        ),
        ("Dependencies: [a]\n", "1:1", Some("dependencies")),
        (
            "dependencies: [a]\nvariable: {A: 1}\n",
            "2:1",
            Some("variables"),
        ),
        // The key has no effect, so a mistake in it has none either.
        ("channels: [c]\ndependencies: [a]\npre-fix: /x\n", "", None),
    ] {
        let refusal = match parse(text) {
            Ok(spec) => {
                assert_eq!((meant, spec.warnings().len()), (None, 1), "{text}");
                continue;
            }
            Err(error) => error,
        };
        let message = refusal.to_string();
        assert!(message.starts_with(&format!("env.yml:{at}: ")), "{message}");
        let hint = condense_diagnostics::Hint::hint(&refusal);
        assert_eq!(hint, meant.map(|meant| format!("did you mean `{meant}:`?")));
    }
    let refusal = parse("channels: [c]\ndependencies: [a]\npip: [b]\n").unwrap_err();
    assert!(refusal.to_string().contains("env.yml:3:1: "), "{refusal}");
}
