//! Responsible for argv and the environment: one file per dialect, each ending in a [`Plan`](crate::plan::Plan).

pub(crate) mod conda_containerize;
mod environment;
mod usage;

use std::ffi::OsString;

pub(crate) use environment::Environment;

use crate::plan::Plan;

/// What a dialect makes of its argv.
#[derive(Debug)]
pub(crate) enum Command {
    /// Something to build.
    Build(Box<Plan>),
    /// Text for standard output, then exit 0.
    Print(String),
    /// Text for standard error, then exit 2.
    Usage(String),
}

/// Names under which the program speaks a dialect of its own, and whether this version knows it.
pub(crate) const DIALECTS: [(&str, bool); 5] = [
    ("conda-containerize", true),
    ("pip-containerize", false),
    ("wrap-container", false),
    ("wrap-install", false),
    ("cotainr", false),
];

/// Which dialect is spoken, and the arguments that belong to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `conda-containerize`.
    CondaContainerize(Vec<OsString>),
    /// A name we know of a tool we do not speak for yet.
    NotYet(String),
    /// `condense` itself.
    Condense(Vec<OsString>),
}

/// The name under which the program was called decides, else its first argument.
pub(crate) fn dialect(argv: &[OsString]) -> Dialect {
    let name = |word: &OsString| -> Option<&'static str> {
        let word = std::path::Path::new(word).file_name()?;
        DIALECTS
            .iter()
            .map(|(name, _)| *name)
            .find(|name| word == std::ffi::OsStr::new(name))
    };
    let by_name = argv.first().and_then(&name).map(|found| (found, 1));
    let by_argument = || {
        argv.get(1)
            .filter(|word| !word.to_string_lossy().contains('/'))
            .and_then(name)
            .map(|f| (f, 2))
    };
    match by_name.or_else(by_argument) {
        Some(("conda-containerize", skip)) => Dialect::CondaContainerize(argv[skip..].to_vec()),
        Some((other, _)) => Dialect::NotYet(other.to_owned()),
        None => Dialect::Condense(argv.get(1..).unwrap_or_default().to_vec()),
    }
}

/// `condense` without a dialect: help and version.
pub(crate) fn condense(arguments: &[OsString]) -> Command {
    let words: Vec<String> = arguments
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["-h" | "--help" | "help"] => Command::Print(overview()),
        ["-V" | "--version"] => Command::Print(format!("condense {}", env!("CARGO_PKG_VERSION"))),
        [other, ..] => Command::Usage(format!(
            "usage: condense DIALECT …\ncondense: error: `{other}` is not a dialect, see `condense --help`"
        )),
    }
}

fn overview() -> String {
    let mut text = String::from(
        "condense packs a conda environment into one SquashFS file with wrappers that run it in a container\n\n\
         usage: condense DIALECT ARGUMENTS…\n\
         \x20      condense --version\n\n\
         Dialects (also programs of their own, as links to condense):\n",
    );
    for (name, known) in DIALECTS {
        if known {
            text.push_str(&format!("  {name}   see `condense {name} --help`\n"));
        }
    }
    let missing: Vec<&str> = DIALECTS
        .iter()
        .filter(|(_, known)| !known)
        .map(|(name, _)| *name)
        .collect();
    text.push_str(&format!("\nNot in this version: {}", missing.join(", ")));
    text
}

#[cfg(test)]
mod tests {
    use super::{Dialect, dialect};
    use std::ffi::OsString;

    fn check(argv: &[&str], expected: &Dialect) {
        let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
        assert_eq!(&dialect(&argv), expected);
    }

    #[test]
    fn the_name_or_the_first_argument_picks_the_dialect() {
        let rest = || Dialect::CondaContainerize(vec!["new".into(), "e.yml".into()]);
        check(&["/opt/bin/conda-containerize", "new", "e.yml"], &rest());
        check(&["condense", "conda-containerize", "new", "e.yml"], &rest());
        check(
            &["/x/cotainr", "build"],
            &Dialect::NotYet("cotainr".to_owned()),
        );
        check(
            &["condense", "cotainr"],
            &Dialect::NotYet("cotainr".to_owned()),
        );
        check(
            &["condense", "dir/cotainr"],
            &Dialect::Condense(vec!["dir/cotainr".into()]),
        );
        check(&["condense"], &Dialect::Condense(vec![]));
        check(&[], &Dialect::Condense(vec![]));
    }
}
