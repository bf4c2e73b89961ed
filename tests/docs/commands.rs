//! Holds command lines of the pages against the program: against its help, against its parser, and
//! for builds against `--dry-run`.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Command, Output, Stdio},
};

/// Names by which the program is called, besides its own.
const DIALECTS: [&str; 5] = [
    "conda-containerize",
    "pip-containerize",
    "wrap-container",
    "wrap-install",
    "cotainr",
];
/// Programs in front of a command.
const BEFORE: [&str; 2] = ["srun", "eval"];
/// Option that no command has. The parser reports the first word that it does not understand, so
/// everything before this option is understood if the parser reports this option alone.
const NO_OPTION: &str = "--no-such-option-of-any-command";
/// Words in the errors of dry runs that tell about the machine of the test or about the empty lock,
/// and not about the command.
const OF_THE_WORLD: [&str; 6] = [
    "condense.lock:1:1: ",
    "the base `",
    "package index",
    "registry",
    "neither apptainer nor singularity is on PATH",
    "cannot carry an environment",
];
/// Commands that need an installation even for `--dry-run`.
const NEED_INSTALLATION: [&str; 2] = ["update", "gc"];
/// Commands of condense that may use the network, or whose exit status is that of a wrong use when
/// a file is missing.
const NOT_LOCAL: [&str; 7] = ["new", "build", "search", "pull", "lock", "check", "doctor"];
/// Options in the text that are other programs': of runtimes, conda, pip, venv and scripts.
const FOREIGN: [&str; 25] = [
    "--add",
    "--all",
    "--append",
    "--data",
    "--fakeroot",
    "--full",
    "--get",
    "--kill",
    "--mount",
    "--no-binary",
    "--nv",
    "--prepend",
    "--prune",
    "--quick",
    "--remove",
    "--require-hashes",
    "--rocm",
    "--rounds",
    "--set",
    "--show",
    "--signal",
    "--strict-channel-priority",
    "--underlay",
    "--unsquash",
    "--only",
];
/// Files that the commands of the pages name.
const FILES: [(&str, &str); 11] = [
    ("environment.yml", "dependencies: [python]\n"),
    ("env.yml", "dependencies: [python]\n"),
    ("cuda.yml", "dependencies: [python]\n"),
    ("requirements.txt", "rich\n"),
    ("more.txt", "rich\n"),
    ("base.sif", ""),
    ("condense.lock", "version: 6\n"),
    ("post.sh", "true\n"),
    ("conf.yml", "env_file: env.yml\ncontainer_src: base.sif\n"),
    ("software/bin/tool", "#!/bin/sh\n"),
    (
        "my.def",
        "Bootstrap: scratch\n%arguments\nVERSION=1\n%labels\nversion {{ VERSION }}\n",
    ),
];

/// Words of a command without the words in front of it; the first is `condense` or a dialect.
type Words = Vec<String>;

/// The program, and the help of its commands as far as it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Program {
    helps: RefCell<BTreeMap<Vec<String>, Help>>,
}

/// Commands and options of a help text.
#[derive(Debug, Clone, Default)]
struct Help {
    commands: Vec<String>,
    /// Other names of commands.
    aliases: Vec<String>,
    /// Options, and whether each takes a value.
    options: BTreeMap<String, bool>,
    /// Whether it takes words that are no commands.
    has_arguments: bool,
}

pub(crate) fn foreign_option(option: &str) -> bool {
    FOREIGN.contains(&option)
}

/// Returns whether a command shows its plan with `--dry-run` without an installation.
pub(crate) fn builder_runs_dry(leaf: &[String]) -> bool {
    let [first, .., last] = leaf else {
        let builds = |name: &String| is_dialect(name) || ["new", "build"].contains(&name.as_str());
        return leaf.iter().any(builds);
    };
    is_dialect(first) && last != "info" && !NEED_INSTALLATION.contains(&last.as_str())
}

/// Returns whether a command only looks at local files.
pub(crate) fn is_local(leaf: &[String]) -> bool {
    let is_other = |name: &String| is_dialect(name) || NOT_LOCAL.contains(&name.as_str());
    !leaf.first().is_none_or(is_other)
}

/// Returns the commands of this program in one line of a shell.
pub(crate) fn of_line(line: &str) -> Vec<Words> {
    split(line)
        .into_iter()
        .filter_map(|mut words| {
            let is_set = |word: &String| word.contains('=') && !word.starts_with('-');
            let start = words.iter().position(|word| !is_set(word))?;
            words.drain(..start);
            if BEFORE.contains(&words[0].as_str()) {
                if let Some(inner) = words.get(1).and_then(|word| word.strip_prefix("$(")) {
                    return of_line(inner.trim_end_matches(')')).pop();
                }
                let start = words.iter().position(|word| is_name(word))?;
                words.drain(..start);
            }
            is_name(&words[0]).then_some(words)
        })
        .collect()
}

fn is_name(word: &str) -> bool {
    word == "condense" || is_dialect(word)
}

fn is_dialect(word: &str) -> bool {
    DIALECTS.contains(&word)
}

/// Splits a line into commands and words: quotes hold words together, and `|`, `;`, `&&` and `||`
/// are between commands. Redirections are left out.
fn split(line: &str) -> Vec<Words> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in line.chars().chain([' ']) {
        match quote {
            Some(open) if open == letter => quote = None,
            None if letter == '\'' || letter == '"' => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            None if letter == ' ' || letter == ';' => {
                let words = commands.last_mut().unwrap();
                match word.take().as_deref() {
                    Some("|" | "||" | "&&") => commands.push(Vec::new()),
                    Some(text) => words.push(text.to_owned()),
                    None => {}
                }
                if letter == ';' {
                    commands.push(Vec::new());
                }
            }
            Some(_) | None => word.get_or_insert_default().push(letter),
        }
    }
    commands.retain(|words| !words.is_empty());
    for words in &mut commands {
        if let Some(end) = words.iter().position(|word| word.starts_with(['>', '<'])) {
            words.truncate(end);
        }
    }
    commands
}

impl Help {
    fn read(text: &str) -> Self {
        let mut help = Self::default();
        let mut among_commands = false;
        for line in text.lines() {
            if !line.starts_with(' ') {
                help.has_arguments |= line.starts_with("Arguments:");
                among_commands = line.starts_with("Commands:") || line.starts_with("Dialects ");
                continue;
            }
            let line = line.trim_start();
            if among_commands {
                help.commands
                    .extend(line.split(' ').next().map(str::to_owned));
                help.aliases.extend(alias(line));
            } else if line.starts_with('-') {
                let end = line.find("  ").unwrap_or(line.len());
                let is_optional = line[..end].contains("[=");
                let takes_value = line[..end].contains('<') && !is_optional;
                let names = line[..end].split([' ', ',', '.', '[']);
                for name in names.map(str::to_owned).chain(alias(line)) {
                    if name.starts_with('-') {
                        help.options.insert(name, takes_value);
                    }
                }
            }
        }
        help
    }
}

fn alias(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("[alias: ")?;
    Some(rest.split(']').next()?.to_owned())
}

impl Program {
    fn run(words: &[&str], dir: &Path) -> Output {
        Command::new(env!("CARGO_BIN_EXE_condense"))
            .args(words)
            .current_dir(dir)
            .env_clear()
            .env("HOME", dir)
            .env("PATH", "/usr/bin:/bin")
            .env("TMPDIR", dir)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Returns the help of a command, which is named by its words behind `condense`.
    fn help(&self, command: &[String]) -> Help {
        if let Some(known) = self.helps.borrow().get(command) {
            return known.clone();
        }
        let dir = tempfile::tempdir().unwrap();
        let words: Vec<&str> = command
            .iter()
            .map(String::as_str)
            .chain(["--help"])
            .collect();
        let output = Self::run(&words, dir.path());
        assert!(output.status.success(), "{words:?}: {output:?}");
        let help = Help::read(&String::from_utf8(output.stdout).unwrap());
        let mut helps = self.helps.borrow_mut();
        helps.insert(command.to_vec(), help.clone());
        help
    }

    /// Checks subcommands and options of a command line against the help. `…` and names in capital
    /// letters stand for any words.
    ///
    /// # Errors
    /// Returns the unknown subcommand or option.
    pub(crate) fn check(&self, words: &[String]) -> Result<Vec<String>, String> {
        let start = usize::from(words[0] == "condense");
        let mut command: Vec<String> = Vec::new();
        let mut rest = words[start..].iter();
        while let Some(word) = rest.next() {
            let help = self.help(&command);
            if word == "--" {
                // The words behind it are those of another program.
                break;
            }
            if word.starts_with('-') && word.len() > 1 {
                let (name, value) = match word.split_once('=') {
                    Some((name, _)) => (name, true),
                    None => (word.as_str(), false),
                };
                match help.options.get(name) {
                    None => return Err(format!("`{}` has no {name}", command.join(" "))),
                    Some(true) if !value => drop(rest.next()),
                    Some(_) => {}
                }
            } else if help.commands.contains(word) || help.aliases.contains(word) {
                command.push(word.clone());
            } else if !help.commands.is_empty() && !help.has_arguments && word != "…" {
                return Err(format!("`{}` has no command {word}", command.join(" ")));
            } else if command == ["run"] {
                // The words behind the installation are those of the program.
                break;
            }
        }
        Ok(command)
    }

    /// Lets the program parse a command line.
    pub(crate) fn parse(words: &[String], place: &str) {
        let dir = tempfile::tempdir().unwrap();
        let mut words: Vec<&str> = behind(words).collect();
        if words.contains(&"--help") {
            assert!(Self::run(&words, dir.path()).status.success(), "{place}");
            return;
        }
        // Behind the installation, `run` takes each word as one of the program.
        let end = words.iter().position(|word| *word == "--");
        let end = end.unwrap_or(words.len());
        let at = if words[0] == "run" { 1 } else { end };
        words.insert(at, NO_OPTION);
        let output = Self::run(&words, dir.path());
        let said = String::from_utf8_lossy(&output.stderr);
        let last = [
            format!("unrecognized arguments: {NO_OPTION}\n"),
            format!("unexpected argument '{NO_OPTION}' found"),
        ];
        assert!(
            output.status.code() == Some(2) && last.iter().any(|words| said.contains(words)),
            "{place}: {said}"
        );
    }

    /// Runs a command that only looks at local files, where there are none. It may fail, but not
    /// because of its arguments. The parser looks at their values and their number last.
    pub(crate) fn run_without_files(words: &[String], place: &str) {
        let dir = tempfile::tempdir().unwrap();
        let words: Vec<&str> = behind(words).collect();
        let output = Self::run(&words, dir.path());
        let said = String::from_utf8_lossy(&output.stderr);
        let is_usage = ["Usage: ", "usage: ", "invalid value"];
        assert!(
            !is_usage.iter().any(|words| said.contains(words)),
            "{place}: {said}"
        );
    }

    /// Lets the program read a configuration that a page shows.
    pub(crate) fn read_configuration(text: &str, place: &str) {
        let dir = tempfile::tempdir().unwrap();
        let words: &[&str] = if text.contains("schema = ") {
            fs_err::write(dir.path().join("catalogue.toml"), text).unwrap();
            &["base", "--catalogue", "catalogue.toml", "sites"]
        } else {
            let settings = dir.path().join(".config/condense");
            fs_err::create_dir_all(&settings).unwrap();
            fs_err::write(settings.join("config.toml"), text).unwrap();
            fs_err::write(dir.path().join("env.yml"), "dependencies: [none]\n").unwrap();
            &["lock", "--offline", "env.yml"]
        };
        let output = Self::run(words, dir.path());
        let said = String::from_utf8_lossy(&output.stderr);
        for words in ["toml", "[mirrors]", "TOML"] {
            assert!(!said.contains(words), "{place}: {said}");
        }
    }

    /// Runs a build dry. It may fail only because a base image, a channel or a runtime is not here.
    pub(crate) fn run_dry(words: &[String], place: &str) {
        if words.iter().any(|word| word == "--help") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in FILES {
            let path = dir.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let mut words: Vec<&str> = behind(words).collect();
        if !words.contains(&"--dry-run") {
            words.push("--dry-run");
        }
        let output = Self::run(&words, dir.path());
        let (out, err) = (&output.stdout, &output.stderr);
        let (out, err) = (String::from_utf8_lossy(out), String::from_utf8_lossy(err));
        let is_of_the_world = |text: &str| OF_THE_WORLD.iter().any(|words| text.contains(words));
        if output.status.success() {
            assert!(!out.is_empty(), "{place}: no plan is shown");
        } else {
            assert!(is_of_the_world(&err), "{place}: {out}{err}");
        }
    }

    /// Returns all commands that have no commands below them.
    pub(crate) fn leaves(&self) -> Vec<Vec<String>> {
        let mut leaves = Vec::new();
        let mut open = vec![Vec::new()];
        while let Some(command) = open.pop() {
            let help = self.help(&command);
            let below: Vec<Vec<String>> = help
                .commands
                .iter()
                .map(|name| [command.as_slice(), std::slice::from_ref(name)].concat())
                .collect();
            if below.is_empty() {
                leaves.push(command);
            }
            open.extend(below);
        }
        leaves
    }

    /// Returns the options of all commands.
    pub(crate) fn all_options(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for leaf in self.leaves() {
            for length in 0..=leaf.len() {
                all.extend(self.help(&leaf[..length]).options.into_keys());
            }
        }
        all
    }
}

fn behind(words: &[String]) -> impl Iterator<Item = &str> {
    let start = usize::from(words[0] == "condense");
    words[start..].iter().map(String::as_str)
}

#[test]
fn lines_are_split() {
    let words = |line: &str| of_line(line);
    assert_eq!(
        words("ls DIR | condense info x"),
        [["condense", "info", "x"]]
    );
    assert_eq!(words("A=1 srun -n 1 condense list"), [["condense", "list"]]);
    assert_eq!(
        words("eval \"$(condense shell bash)\""),
        [["condense", "shell", "bash"]]
    );
    assert_eq!(words("condense explain --all > x.md")[0].len(), 3);
    assert!(words("ln -s condense ~/bin/cotainr; cp condense x").is_empty());
}

#[test]
fn unknown_words_are_noticed() {
    let program = Program::default();
    let check = |line: &str| program.check(&of_line(line)[0]);
    assert!(check("condense image pack DIR out.sqfs --donor old.sqfs").is_ok());
    assert!(check("condense sif ls x.sif").is_ok());
    assert_eq!(
        check("condense imagine").unwrap_err(),
        "`` has no command imagine"
    );
    assert_eq!(
        check("conda-containerize update --prefix x y").unwrap_err(),
        "`conda-containerize update` has no --prefix"
    );
}
