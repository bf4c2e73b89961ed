//! Tests with tables of single lines. The text left of the arrow is read, and the text right of it
//! is the expected result.

use std::path::{Path, PathBuf};

use rattler_conda_types::MatchSpec;

use super::super::{
    SpecContext, channel, explicit, lines, package, pip,
    selector::{self, Answer},
};
use crate::{secrets::url_without_secrets, target::Architecture};

const ARROW: &str = " → ";

fn table(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/environments/tables");
    root.join(name)
}

/// Compares the results with a table. A result must be equal to the text in the table; a refusal
/// must begin with it.
fn check(name: &str, at_least: usize, read: impl Fn(&str) -> Result<String, String>) {
    let text = fs_err::read_to_string(table(name)).unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for (at, line) in text.lines().enumerate() {
        if line.starts_with("# ") {
            continue;
        }
        let (input, expected) = line.split_once(ARROW).expect(line);
        count += 1;
        let found = match read(input) {
            Ok(reading) => reading,
            Err(why) => format!("! {why}"),
        };
        let fits = match expected.strip_prefix("! ") {
            Some(why) => found
                .strip_prefix("! ")
                .is_some_and(|found| found.starts_with(why)),
            None => found == expected,
        };
        if !fits {
            wrong.push(format!("{name}:{}: {input}{ARROW}{found}", at + 1));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} are read otherwise:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        count >= at_least,
        "{name} has lost lines, there are {count}"
    );
}

#[test]
fn packages() {
    check("packages.table", 200, |line| {
        package::match_spec(line, Path::new("/data")).map(|spec| describe(&spec))
    });
}

fn describe(spec: &MatchSpec) -> String {
    let mut words = vec![spec.name.to_string()];
    let parts = [
        ("", spec.version.as_ref().map(ToString::to_string)),
        ("build", spec.build.as_ref().map(ToString::to_string)),
        (
            "number",
            spec.build_number.as_ref().map(ToString::to_string),
        ),
        (
            "channel",
            spec.channel
                .as_ref()
                .map(|channel| url_without_secrets(channel.base_url.url())),
        ),
        ("subdir", spec.subdir.clone()),
        ("url", spec.url.as_ref().map(url_without_secrets)),
        ("file", spec.file_name.clone()),
        ("license", spec.license.clone()),
        ("md5", spec.md5.map(hex::encode)),
        ("sha256", spec.sha256.map(hex::encode)),
    ];
    for (name, value) in parts {
        match value {
            Some(value) if name.is_empty() => words.push(value),
            Some(value) => words.push(format!("{name}={value}")),
            None => {}
        }
    }
    words.join(" ")
}

#[test]
fn lines_for_pip() {
    let dir = tempfile::tempdir().unwrap();
    let dir = fs_err::canonicalize(dir.path()).unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    };
    for (name, text) in [
        ("project/pyproject.toml", ""),
        ("with blank/setup.py", ""),
        ("empty/nothing", ""),
        ("wheels/nothing", ""),
        ("tool-1.0-py3-none-any.whl", ""),
        ("sdist-1.0.tar.gz", ""),
        ("more.txt", "rich\n-r sub/again.txt\n"),
        ("sub/again.txt", "click>=8 # a comment\n./beside\n"),
        ("sub/beside/setup.py", ""),
        ("limits.txt", "click<9\n"),
        ("loop.txt", "-r loop.txt\n"),
        ("limited.txt", "-c limits.txt\nclick<10\n"),
        ("limits-loop.txt", "-c limits-loop.txt\n"),
        ("limits-wrong.txt", "click<9\n-c limits-worse.txt\n"),
        ("limits-worse.txt", "# a comment\nclick = 9\n"),
        ("repository@2/HEAD", ""),
    ] {
        write(name, text);
    }
    let here = dir.to_str().unwrap();
    let context = SpecContext {
        variables: [("HERE".to_owned(), here.to_owned())].into(),
        ..SpecContext::default()
    };
    check("pip.table", 200, |line| {
        let mut section = pip::PipSection::default();
        let mut reader = pip::Reader {
            section: &mut section,
            folder: &dir,
            context: &context,
        };
        let read = reader.add_entry(&line.replace("file://DIR", &format!("file://{here}")));
        let without_dir = |text: &str| text.replace(here, "DIR");
        read.map_err(|problem| without_dir(&problem.message))?;
        Ok(without_dir(&section.lines.join(" | ")))
    });
}

#[test]
fn selectors() {
    check("selectors.table", 60, |text| {
        Ok(match selector::answer(text, Architecture::X86_64) {
            Answer::Yes => "yes",
            Answer::No => "no",
            Answer::Unknown => "unknown",
            Answer::NoSelector => "no selector",
        }
        .to_owned())
    });
}

#[test]
fn channels() {
    let context = SpecContext {
        variables: [
            ("HOST", "host.example"),
            ("TOKEN", "tk-secret"),
            ("EMPTY", ""),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        ..SpecContext::default()
    };
    check("channels.table", 40, |text| {
        let channels = channel::channels(text, Path::new("/data"), &context)?;
        let urls: Vec<String> = channels
            .iter()
            .map(|channel| channel.base_url.url().to_string())
            .collect();
        Ok(if urls.is_empty() {
            "none".to_owned()
        } else {
            urls.join(" ")
        })
    });
}

#[test]
fn archives() {
    check("explicit.table", 40, |text| {
        let archives = explicit::archives(&lines::plain(text), Path::new("/data"))
            .map_err(|problem| problem.message)?;
        let archive = &archives[0];
        let words = &archive.identifier.identifier;
        let digest = match (&archive.md5, &archive.sha256) {
            (Some(md5), None) => format!(" md5={}", hex::encode(md5)),
            (None, Some(sha256)) => format!(" sha256={}", hex::encode(sha256)),
            _ => String::new(),
        };
        Ok(format!(
            "{} {} {} {}{digest}",
            words.name, words.version, words.build_string, archive.url
        ))
    });
}
