#![allow(clippy::unwrap_used)]

use std::{fmt::Write as _, path::Path};

use condense_diagnostics::Hint;

use crate::{Agent, Arguments, Definition, Error, Result, Stage};

const HEAD: &str = "Bootstrap: docker\nFrom: debian:12\n";

fn parse_with(text: &str, options: &[&str]) -> Result<Definition> {
    let mut arguments = Arguments::default();
    for option in options {
        arguments.add_option(option)?;
    }
    Definition::parse(Path::new("my.def"), text.as_bytes(), &arguments)
}

fn parse(text: &str) -> Definition {
    parse_with(text, &[]).unwrap()
}

fn stage(text: &str) -> Stage {
    let mut stages = parse(text).stages;
    assert_eq!(stages.len(), 1);
    stages.remove(0)
}

fn refused(text: &str, options: &[&str]) -> Error {
    parse_with(text, options).expect_err(text)
}

/// Row D2: keys in any case, spaces, comments and continued lines.
#[test]
fn headers_are_read_in_all_their_forms() {
    let stage = stage(
        "# first\n  BOOTSTRAP:docker   # a comment\n\nfrom:  tools/\\\n   debian:12\nRegistry: r.example\nOtherURL1: x\n",
    );
    assert_eq!(
        (stage.agent, stage.from()),
        (Agent::Docker, "tools/debian:12")
    );
    assert_eq!(stage.source(), "r.example/tools/debian:12");
    assert_eq!(stage.header("otherurl1").unwrap().value, "x");
    assert_eq!(stage.source_location().unwrap().to_string(), "my.def:4:8");
    let last = self::stage("Bootstrap: localimage\nFrom: a.sif\nFrom: b.sif\n");
    assert_eq!(last.from(), "b.sif");
    let windows = self::stage("\u{feff}Bootstrap: scratch\r\n%help\r\n  one\r\n  two\r\n");
    assert_eq!(windows.script("help").unwrap().text, "  one\n  two\n");
}

/// Row D1: every supported source, and the stages of one file.
#[test]
fn stages_begin_with_bootstrap_in_the_first_column() {
    for agent in [
        Agent::LocalImage,
        Agent::Docker,
        Agent::DockerArchive,
        Agent::Oci,
        Agent::OciArchive,
        Agent::Oras,
        Agent::Scratch,
    ] {
        let text = format!("bootstrap: {}\nfrom: x\n", agent.name());
        assert_eq!(stage(&text).agent, agent);
    }
    let text = "# two stages\nBootstrap: docker\nFrom: a\nStage: one\n%post\n  Bootstrap: none\nbootstrap: scratch\n%files from one\n  /x\n";
    let definition = parse(text);
    let [one, two] = definition.stages.as_slice() else {
        panic!("{definition:?}")
    };
    assert_eq!(one.name(), Some("one"));
    assert_eq!(one.script("post").unwrap().text, "  Bootstrap: none\n");
    assert_eq!(two.files[0].from.as_deref(), Some("one"));
    assert_eq!(definition.text, text.trim_start_matches("# two stages\n"));
}

/// Row D4: sections of one name follow each other, also those of files from one place.
#[test]
fn repeated_sections_are_appended() {
    let text = format!(
        "{HEAD}%labels\n k v\n%environment\nA=1\n%files\n a b\n%labels\n k\tw\n%POST -c /bin/bash # shell\necho\n%environment\nB=2\n%files # more\n c\n%setup\n# nothing\n"
    );
    let stage = stage(&text);
    assert_eq!(stage.script("environment").unwrap().text, "A=1\nB=2\n");
    assert_eq!(stage.labels, [("k".to_owned(), "w".to_owned())]);
    assert_eq!(stage.files.len(), 1);
    assert_eq!(stage.files[0].transfers.len(), 2);
    let post = stage.script("post").unwrap();
    assert_eq!(post.shell().unwrap(), ["/bin/bash"]);
    assert!(stage.script("test").is_none());
}

/// Row D6: the interpreter of a script, and the options behind the name of its section.
#[test]
fn scripts_name_their_interpreters() {
    for (section, expected) in [
        ("%runscript\n  run\n", "#!/bin/sh\n\n  run\n\n"),
        ("%runscript -e # x\nrun\n", "#!/bin/sh -e\n\nrun\n\n"),
        (
            "%runscript\n  #!/usr/bin/env python3\nprint()\n",
            "#!/usr/bin/env python3\n\nprint()\n\n",
        ),
    ] {
        let stage = stage(&format!("{HEAD}{section}"));
        assert_eq!(stage.script("runscript").unwrap().executable(), expected);
    }
}

/// Row D8: names with spaces, comments, missing destinations.
#[test]
fn lines_of_files_have_a_source_and_a_destination() {
    let definition = parse(&format!(
        "{HEAD}%files\n  # comment\n  one\n  \"two words\" \"/new place/\"\n  a\\$b x third # c\n  c d # the user's\n"
    ));
    let files = &definition.stages[0].files[0].transfers;
    let pairs: Vec<_> = files
        .iter()
        .map(|one| (one.source.as_str(), one.destination.as_deref()))
        .collect();
    assert_eq!(
        pairs,
        [
            ("one", None),
            ("two words", Some("/new place/")),
            ("a\\$b", Some("x")),
            ("c", Some("d")),
        ]
    );
    assert_eq!(files[1].location.to_string(), "my.def:6:3");
    let notes: Vec<String> = definition.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        ["my.def:7:10: `third` is ignored: a line has one source and one destination"]
    );
}

/// Row D3: arguments of a stage, of options and of a file; comments are left alone.
#[test]
fn arguments_are_substituted_in_headers_and_sections() {
    let text = "Bootstrap: docker\nFrom: {{ IMAGE }}:{{VERSION}}\n%arguments\n  IMAGE=debian\n  VERSION={{ MAJOR }}.{{MINOR}}\n  MAJOR=12\n  MINOR = 1\n%post\n  # {{ unknown }}\n  echo {{ IMAGE }} '{{ not this }}'\nBootstrap: scratch\n%labels\n  v {{ VERSION }}\n%arguments\n  VERSION=2\n";
    let definition = parse_with(text, &["MINOR=7,MAJOR=11"]).unwrap();
    let [one, two] = definition.stages.as_slice() else {
        panic!("{definition:?}")
    };
    assert_eq!(one.from(), "debian:11.7");
    assert_eq!(
        one.script("post").unwrap().text,
        "  # {{ unknown }}\n  echo debian '{{ not this }}'\n"
    );
    assert_eq!(two.labels, [("v".to_owned(), "2".to_owned())]);
    let mut arguments = Arguments::default();
    arguments.warns_of_unused = true;
    let notes = arguments.add_file(Path::new("args"), "VERSION = 3\n\n# c\nnone\nOTHER=1\n");
    assert_eq!(notes.len(), 1);
    assert_eq!(
        notes[0].to_string(),
        "args:4:1: `none` is skipped: it is not NAME=VALUE"
    );
    let definition = Definition::parse(Path::new("my.def"), text.as_bytes(), &arguments).unwrap();
    assert_eq!(definition.stages[1].labels[0].1, "3");
    assert_eq!(
        definition.notes[0].to_string(),
        "my.def: nothing in the file uses the argument `OTHER`"
    );
}

/// Row D3: places behind a substituted value are those of the file.
#[test]
fn places_are_those_of_the_file_and_not_of_the_substituted_text() {
    let text = format!("{HEAD}%files\n  {{{{ A }}}} 'x'\n");
    let error = refused(&text, &["A=a-long-value"]);
    assert_eq!(error.location.to_string(), "my.def:4:11");
}

/// Row D15: sections of apps are kept.
#[test]
fn apps_have_their_sections() {
    let stage = stage(&format!(
        "{HEAD}%apprun one\n run\n%appfiles one\n x bin/x\n%appenv two # c\n A=1\n%apprun one\n more\n"
    ));
    let [one, two] = stage.apps.as_slice() else {
        panic!("{stage:?}")
    };
    assert_eq!((one.name.as_str(), two.name.as_str()), ("one", "two"));
    assert_eq!(one.sections["apprun"].text, " run\n more\n");
    assert_eq!(one.files[0].source, "x");
}

/// Rows D2, D3, D8 and D15: each mistake has its line, its column and a hint.
#[test]
fn every_mistake_is_shown_with_its_place() {
    let with = |rest: &str| format!("{HEAD}{rest}");
    let cases: Vec<(String, &[&str])> = vec![
        (String::new(), &[]),
        ("# nothing\n".to_owned(), &[]),
        ("From: x\nBootstrap: docker\n".to_owned(), &[]),
        ("%post\n  true\n".to_owned(), &[]),
        ("Bootstrap: docker\nFrom debian\n".to_owned(), &[]),
        ("Bootstrap: docker\nFrmo: debian\n".to_owned(), &[]),
        ("Bootstrap: docker\nFrom: debian \\\n\n".to_owned(), &[]),
        ("Bootstrap: docker\nFrom: debian \\".to_owned(), &[]),
        ("Bootstrap: docker\n".to_owned(), &[]),
        ("Bootstrap: docker\nFrom:\n".to_owned(), &[]),
        ("Bootstrap: library\nFrom: x\n".to_owned(), &[]),
        ("Bootstrap: docker-daemon\nFrom: x\n".to_owned(), &[]),
        ("Bootstrap: yum\nFrom: x\n".to_owned(), &[]),
        ("Bootstrap:  dokcer\nFrom: x\n".to_owned(), &[]),
        (
            "Bootstrap: localimage\nFrom: x\nFingerprints: 12ab\n".to_owned(),
            &[],
        ),
        (with("%pots\n"), &[]),
        (with("%unheard of\n"), &[]),
        (with("%post\n   %d\n"), &[]),
        (with("%pre\n  touch x\n"), &[]),
        (with("%setup\n  touch $APPTAINER_ROOTFS/x\n"), &[]),
        (with("%apprun\n"), &[]),
        (with("%apprun ../x\n"), &[]),
        (with("%files of one\n"), &[]),
        (with("%files from one\n /x\n"), &[]),
        (
            with("Stage: first\n%post\nBootstrap: scratch\n%files from frist\n /x\n"),
            &[],
        ),
        (with("%files\n  \"a b /x\n"), &[]),
        (with("%files\n  'a b' /x\n"), &[]),
        (with("%files\n  it's /x\n"), &[]),
        (with("%files\n  $HOME/a /x\n"), &[]),
        (with("%files\n  ~/a /x\n"), &[]),
        (with("%files\n  a # comment\n"), &[]),
        (with("%post -c # nothing\n  true\n"), &[]),
        (with("%post\n  echo {{ VERSION }}\n"), &[]),
        (with("%post\n  echo {{ VERSION }}\n"), &["VERISON=1"]),
        (
            with("%arguments\n VERSION=1\n%post\n echo {{VERSION}}\n"),
            &["VERISON=1"],
        ),
        (with(""), &["A=1", "B=2"]),
        (with(""), &["A"]),
        (with(""), &["A=1,2"]),
    ];
    let mut shown = String::new();
    for (text, options) in cases {
        let error = refused(&text, options);
        writeln!(shown, "{error}\n    {}", error.hint().unwrap()).unwrap();
    }
    let error = Definition::parse(
        Path::new("my.def"),
        b"Bootstrap: docker\nFrom: \xff\n",
        &Arguments::default(),
    );
    let error = error.unwrap_err();
    writeln!(shown, "{error}\n    {}", error.hint().unwrap()).unwrap();
    insta::assert_snapshot!("mistakes", shown);
}

#[test]
fn each_section_of_a_script_knows_its_lines() {
    let stage = stage(
        "Bootstrap: docker\nFrom: a\n%post\n  one\n  two\n\n%labels\n  a b\n%post\n  three\n%appinstall x\n  four\n",
    );
    let lines = |script: &crate::Script| {
        let parts = script.parts.iter();
        parts
            .map(|part| (part.line, part.line_of_file))
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(stage.script("post").unwrap()), [(1, 4), (4, 10)]);
    let install = &stage.apps[0].sections["appinstall"];
    assert_eq!(lines(install), [(1, 12)]);
}
