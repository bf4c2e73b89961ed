//! Responsible for the values of arguments in completion: names that condense knows, and files of
//! the kind that an argument takes. Nothing is asked of the network.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter};
use condense_build::contents::Subject;
use condense_catalogue::Catalogue;
use condense_check::CODES;
use condense_installation::{History, render_time};

use super::Given;
use crate::cli::{condense, cotainr};

/// Kind of the values of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Site,
    /// Name of a system of cotainr.
    System,
    /// Base image: a name of the catalogue, a SIF or a directory.
    Base,
    /// Code of a finding.
    Code,
    /// Key of the configuration.
    Key,
    /// Value of the key before it.
    ValueOfKey,
    Codec,
    Platform,
    /// Kind of source of an image, such as `docker://`.
    Transport,
    /// Installation, by its name or its directory, and files whose names end so.
    Installation(&'static [&'static str]),
    /// Number of a generation of the installation before it.
    Generation,
    /// Package of the installation before it.
    Package,
    /// Environment file, or package of the installation before it, which gets another version.
    FileOrPackage,
    /// Program of the installation before it, then files.
    Program,
    /// File whose name ends so.
    File(&'static [&'static str]),
    AnyFile,
    Directory,
}

const ENVIRONMENT: Kind = Kind::File(&["yml", "yaml", "txt", "lock"]);
const REQUIREMENTS: Kind = Kind::File(&["txt", "in"]);
const IMAGE: Kind = Kind::File(&["sqfs", "squashfs", "sif", "img"]);
const SIF: Kind = Kind::File(&["sif"]);
const YAML: Kind = Kind::File(&["yml", "yaml"]);

/// Arguments of single commands and of groups of them. They come before those of [`ARGUMENTS`].
const OF_COMMANDS: [(&str, &str, Kind); 17] = [
    ("condense base facts", "IMAGE", Kind::Base),
    ("condense base show", "IMAGE", Kind::Base),
    ("condense config set", "VALUE", Kind::ValueOfKey),
    ("condense diff", "A", Kind::Installation(&["sif", "lock"])),
    ("condense diff", "B", Kind::Installation(&["sif", "lock"])),
    ("condense image diff", "A", IMAGE),
    ("condense image diff", "B", IMAGE),
    ("condense image pack", "DIR", Kind::Directory),
    ("condense image pack", "--donor", IMAGE),
    ("condense image pack", "--onto", IMAGE),
    ("condense image", "FILE", IMAGE),
    ("condense pull", "REF", Kind::Transport),
    ("condense packages", "TEXT", Kind::Package),
    ("condense rollback", "--to", Kind::Generation),
    ("condense spec", "FILE", ENVIRONMENT),
    ("condense update", "--remove", Kind::Package),
    ("conda-containerize update", "--remove", Kind::Package),
];

/// Arguments by the long name of the option, or by the name of the value.
const ARGUMENTS: [(&str, Kind); 45] = [
    ("--allow", Kind::Code),
    ("--authfile", Kind::AnyFile),
    ("--base", Kind::Base),
    ("--base-image", Kind::Base),
    ("--catalogue", Kind::File(&["toml", "json", "yml", "yaml"])),
    ("--compression", Kind::Codec),
    ("--conda-env", ENVIRONMENT),
    ("--copy", Kind::AnyFile),
    ("--environ", Kind::AnyFile),
    ("--interpreter", Kind::AnyFile),
    ("--key", Kind::AnyFile),
    ("--lock", Kind::File(&["lock", "yml", "yaml"])),
    ("--output", Kind::AnyFile),
    ("--platform", Kind::Platform),
    ("--post-install", Kind::AnyFile),
    ("--pre-install", Kind::AnyFile),
    ("--prefix", Kind::Directory),
    ("--requirement", REQUIREMENTS),
    ("--requirements", REQUIREMENTS),
    ("--requirements-file", REQUIREMENTS),
    ("--root", Kind::Directory),
    ("--site", Kind::Site),
    ("--system", Kind::System),
    ("--tmpdir", Kind::Directory),
    ("--wrapper-paths", Kind::AnyFile),
    ("--yaml", YAML),
    ("CODE", Kind::Code),
    ("COMMAND", Kind::Program),
    ("CONTAINER", Kind::Base),
    ("DIR", Kind::Directory),
    ("ENV_FILE", ENVIRONMENT),
    ("FILE.sif", SIF),
    ("FILE|SPEC", ENVIRONMENT),
    ("KEY", Kind::Key),
    ("MODDIR", Kind::Directory),
    ("NAME|DIR", Kind::Installation(&[])),
    ("NAME|DIR|SIF", Kind::Installation(&["sif"])),
    ("NAME|DIR|SIF|LOCK", Kind::Installation(&["sif", "lock"])),
    ("OUT.sif", SIF),
    ("PACKAGE", Kind::Package),
    ("SIF|DIR|NAME", Kind::Installation(&["sif"])),
    ("dir", Kind::Directory),
    ("env_file", ENVIRONMENT),
    ("requirements_file", REQUIREMENTS),
    ("yaml", YAML),
];

/// Arguments whose values have several kinds of files.
const OF_CHECK: Kind = Kind::Installation(&["yml", "yaml", "txt", "lock", "sif", "sqfs"]);

/// Returns the kind of the values of an argument of the command that has these words, or `None` if
/// clap's own hint is enough.
pub(super) fn kind(words: &str, argument: &clap::Arg) -> Option<Kind> {
    let name = match argument.get_long() {
        Some(long) => format!("--{long}"),
        None => argument.get_value_names()?.first()?.to_string(),
    };
    let is_below = |command: &str| {
        let rest = words.strip_prefix(command);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    let mut single = OF_COMMANDS.iter();
    if let Some((_, _, kind)) = single.find(|(command, own, _)| is_below(command) && *own == name) {
        return Some(*kind);
    }
    match (words, name.as_str()) {
        ("condense check", "FILE|NAME|DIR|SIF") => Some(OF_CHECK),
        ("conda-containerize update", "spec") | ("condense update", "FILE|SPEC") => {
            Some(Kind::FileOrPackage)
        }
        _ => {
            let mut known = ARGUMENTS.iter();
            known.find(|(own, _)| *own == name).map(|(_, kind)| *kind)
        }
    }
}

/// Returns the values of this kind that begin with `current`.
pub(super) fn candidates(kind: Kind, current: &OsStr, given: &Given) -> Vec<CompletionCandidate> {
    let cwd = &given.env_vars.cwd;
    match kind {
        Kind::Site => beginning(current, sites(given)),
        Kind::System => {
            let systems = cotainr::system_names(&given.env_vars, catalogue_file(given));
            beginning(current, without_help(systems))
        }
        Kind::Base => {
            let mut found = beginning(current, bases(given));
            found.extend(files(current, cwd, &["sif"]));
            found
        }
        Kind::Code => {
            let codes = CODES.iter();
            beginning(
                current,
                codes.map(|code| (code.name.to_owned(), code.title.to_owned())),
            )
        }
        Kind::Key => beginning(current, condense::configuration_keys()),
        Kind::ValueOfKey => match given.operands.first().and_then(|key| key.to_str()) {
            Some("site") => candidates(Kind::Site, current, given),
            Some("base-image") => candidates(Kind::Base, current, given),
            Some("compression") => candidates(Kind::Codec, current, given),
            Some("cache-dir") => candidates(Kind::Directory, current, given),
            _ => Vec::new(),
        },
        Kind::Codec => beginning(
            current,
            words(&["zstd", "zstd:19", "gzip", "lz4", "lz4:hc", "xz", "none"]),
        ),
        Kind::Platform => beginning(
            current,
            words(&["linux-64", "linux-aarch64", "linux-ppc64le"]),
        ),
        Kind::Transport => {
            let transports = [
                "docker://",
                "oras://",
                "oci:",
                "oci-archive:",
                "docker-archive:",
            ];
            beginning(current, words(&transports))
        }
        Kind::Installation(ends) => installations(current, ends, given),
        Kind::Generation => beginning(current, generations(subject(given))),
        Kind::Package => beginning(current, packages(subject(given))),
        Kind::FileOrPackage => {
            let mut found = beginning(current, packages(subject(given)));
            found.extend(candidates(ENVIRONMENT, current, given));
            found
        }
        Kind::Program if given.operands.len() == 1 => {
            let bin = subject(given).map(|dir| dir.join("bin"));
            beginning(current, without_help(entries(bin)))
        }
        Kind::Program | Kind::AnyFile => PathCompleter::any().current_dir(cwd).complete(current),
        Kind::File(ends) => files(current, cwd, ends),
        Kind::Directory => PathCompleter::dir().current_dir(cwd).complete(current),
    }
}

/// Returns the values that begin with `current`, each with its explanation.
fn beginning(
    current: &OsStr,
    values: impl IntoIterator<Item = (String, String)>,
) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let values = values.into_iter();
    let values = values.filter(|(value, _)| value.starts_with(&*current));
    let candidate = |(value, help): (String, String)| {
        let help = (!help.is_empty()).then(|| help.into());
        CompletionCandidate::new(value).help(help)
    };
    values.map(candidate).collect()
}

fn without_help(
    values: impl IntoIterator<Item = String>,
) -> impl Iterator<Item = (String, String)> {
    values.into_iter().map(|value| (value, String::new()))
}

fn words(values: &[&str]) -> Vec<(String, String)> {
    without_help(values.iter().map(|value| (*value).to_owned())).collect()
}

/// Returns the files whose names end so, and the directories on the way to others.
fn files(current: &OsStr, cwd: &Path, ends: &'static [&'static str]) -> Vec<CompletionCandidate> {
    let has_end = move |path: &Path| {
        let end = path.extension().and_then(OsStr::to_str);
        end.is_some_and(|end| ends.contains(&end)) && !path.is_dir()
    };
    PathCompleter::any()
        .current_dir(cwd)
        .filter(has_end)
        .complete(current)
}

fn catalogue_file(given: &Given) -> Option<&Path> {
    given.option("catalogue").map(Path::new)
}

/// Reads the catalogue. A layer with a mistake, which the command will tell, leaves the built-in
/// one.
fn catalogue(given: &Given) -> Option<Catalogue> {
    let all = Catalogue::load(&given.env_vars, catalogue_file(given));
    all.or_else(|_| Catalogue::built_in()).ok()
}

fn sites(given: &Given) -> Vec<(String, String)> {
    let catalogue = catalogue(given);
    let sites = catalogue.iter().flat_map(Catalogue::sites);
    sites
        .map(|(name, about)| (name.to_owned(), about.to_owned()))
        .collect()
}

fn bases(given: &Given) -> Vec<(String, String)> {
    let images = catalogue(given).map(|catalogue| catalogue.images);
    let images = images.into_iter().flatten();
    images
        .map(|(name, entry)| (name, entry.description.unwrap_or_default()))
        .collect()
}

/// Returns installations by name, with their generations behind `@`, and files and directories.
fn installations(
    current: &OsStr,
    ends: &'static [&'static str],
    given: &Given,
) -> Vec<CompletionCandidate> {
    let env_vars = &given.env_vars;
    let mut found = Vec::new();
    let text = current.to_string_lossy();
    if let Some((name, _)) = text.rsplit_once('@') {
        let numbers = generations(Some(condense::find(Path::new(name), env_vars)));
        let numbers = numbers.into_iter();
        found = beginning(
            current,
            numbers.map(|(number, help)| (format!("{name}@{number}"), help)),
        );
    }
    if !text.contains('/') {
        let mut names = condense::names(env_vars);
        names.sort_unstable();
        names.dedup();
        let names = names
            .into_iter()
            .map(|name| (name, "installation".to_owned()));
        found.extend(beginning(current, names));
    }
    let mut paths = files(current, &env_vars.cwd, ends);
    // A directory that has the name of an installation is offered with its slash only.
    paths.retain(|path| {
        found
            .iter()
            .all(|name| name.get_value() != path.get_value())
    });
    found.extend(paths);
    found
}

/// Returns the path of the installation that the command line names first.
fn subject(given: &Given) -> Option<PathBuf> {
    let name = given.operands.first()?.to_string_lossy();
    let name = match name.rsplit_once('@') {
        Some((name, number)) if number.parse::<u32>().is_ok() => name,
        _ => &name,
    };
    Some(condense::find(Path::new(name), &given.env_vars))
}

/// Returns the numbers of the generations of an installation, each with the time of its build.
fn generations(dir: Option<PathBuf>) -> Vec<(String, String)> {
    let history = dir.and_then(|dir| History::open(&dir).ok());
    let generations = history.and_then(|history| history.generations().ok());
    let generations = generations.into_iter().flatten();
    let described = generations.map(|generation| {
        let built = generation
            .receipt
            .map(|receipt| render_time(receipt.created));
        (generation.number.to_string(), built.unwrap_or_default())
    });
    described.collect()
}

fn entries(dir: Option<PathBuf>) -> Vec<String> {
    let entries = dir.and_then(|dir| std::fs::read_dir(dir).ok());
    let entries = entries.into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('_'))
        .collect();
    names.sort_unstable();
    names
}

/// Returns the packages in the lock of the subject with their versions. Lines are searched instead
/// of parsing the lock, which takes longer than somebody at a prompt waits.
fn packages(path: Option<PathBuf>) -> Vec<(String, String)> {
    let subject = path.and_then(|path| Subject::open(&path, None).ok());
    let lock = subject.and_then(|subject| subject.lock_text().ok().flatten());
    let mut found = lock.map_or_else(Vec::new, |(_, text)| packages_of_lock(&text));
    found.sort_unstable();
    found.dedup();
    found
}

fn packages_of_lock(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut is_of_pip = false;
    for line in text.lines() {
        if let Some(url) = line.trim_start_matches([' ', '-']).strip_prefix("conda: ") {
            is_of_pip = false;
            let mut parts = url
                .rsplit('/')
                .next()
                .unwrap_or(url)
                .rsplitn(3, '-')
                .skip(1);
            found.extend(
                parts
                    .next()
                    .zip(parts.next())
                    .map(|(version, name)| (name.into(), version.into())),
            );
        } else if line.trim_start().starts_with("- pypi: ") {
            is_of_pip = true;
        } else if let (true, Some(name)) = (is_of_pip, line.strip_prefix("  name: ")) {
            found.push((name.to_owned(), String::new()));
        } else if let (true, Some(version), Some(last)) = (
            is_of_pip,
            line.strip_prefix("  version: "),
            found.last_mut(),
        ) {
            version.trim_matches(['\'', '"']).clone_into(&mut last.1);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::DIALECTS;

    #[test]
    fn every_row_is_of_an_argument() {
        fn visit(command: &clap::Command, words: &str, seen: &mut BTreeSet<(String, String)>) {
            for argument in command.get_arguments() {
                let long = argument.get_long().map(|long| format!("--{long}"));
                let value = argument.get_value_names().and_then(|names| names.first());
                let names = long.into_iter().chain(value.map(ToString::to_string));
                seen.extend(names.map(|name| (words.to_owned(), name)));
            }
            for below in command.get_subcommands() {
                visit(below, &format!("{words} {}", below.get_name()), seen);
            }
        }
        let mut seen = BTreeSet::new();
        for name in DIALECTS.into_iter().chain(["condense"]) {
            visit(&condense::definition_of(name), name, &mut seen);
        }
        for (command, own, _) in OF_COMMANDS {
            let mut seen = seen.iter();
            let is_there = seen.any(|(words, name)| words.starts_with(command) && name == own);
            assert!(is_there, "{command} has no {own}");
        }
        for (own, _) in ARGUMENTS {
            assert!(
                seen.iter().any(|(_, name)| name == own),
                "no command has {own}"
            );
        }
    }

    #[test]
    fn packages_are_found_in_the_text_of_a_lock() {
        let text = "version: 6\nenvironments:\n  default:\n    packages:\n      linux-64:\n      \
            - conda: https://x/linux-64/a-b-1.2-h0_0.conda\npackages:\n\
            - conda: https://x/linux-64/a-b-1.2-h0_0.conda\n  sha256: 0\n\
            - pypi: https://y/c-3-py3-none-any.whl\n  name: c\n  version: '3'\n";
        let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let mut found = packages_of_lock(text);
        found.dedup();
        assert_eq!(found, [pair("a-b", "1.2"), pair("c", "3")]);
    }
}
