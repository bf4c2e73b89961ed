//! Responsible for composing the trials in which scripts are sourced, and for finding the variables
//! worth varying.

use std::collections::{BTreeMap, BTreeSet};

use super::variables::{is_backup, is_name, is_the_shells, may_be_backup};

/// Exported variables by name.
pub(super) type Environment = BTreeMap<String, String>;

/// One set of preset variables in which all scripts are sourced.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) variables: Environment,
    pub(super) working_dir: String,
}

/// Index of the real activation: the files that it writes into the environment stay.
pub(super) const ACTIVATION: usize = 0;
/// Index of the trial with nothing preset.
pub(super) const EMPTY: usize = 1;
/// Index of the trial with every variable preset to its [`sentinel`].
pub(super) const TAINTED: usize = 2;
/// Index of the repetition of [`EMPTY`]: scripts with another result in this trial do not depend on
/// variables alone.
pub(super) const REPEAT: usize = 5;

/// Number of trials with random mixtures of values, in addition to the constructed ones. Each makes
/// the capture of compilers' scripts, the slowest known, a twentieth longer; more trials find
/// nothing in the shapes of scripts on conda-forge.
const RANDOM_TRIALS: u32 = 4;

const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Inputs from which the trials are composed.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    /// Mount point of the environment.
    pub(super) env_prefix: &'a str,
    /// Another directory that exists in the container.
    pub(super) other_dir: &'a str,
    /// Variables that the environment itself sets, with the same values in every trial.
    pub(super) fixed: &'a [(String, String)],
    /// Names of the variables that scripts mention.
    pub(super) mentioned: &'a BTreeSet<String>,
}

/// Composes the trials; the constants above are indices of the first six.
pub(super) fn build(setting: &Setting<'_>) -> Vec<Trial> {
    let names: Vec<&str> = setting.mentioned.iter().map(String::as_str).collect();
    let sentinel_of = |index: usize| sentinel(index + 2);
    let all = |value: &dyn Fn(usize, &str) -> String| -> Vec<(String, String)> {
        names
            .iter()
            .enumerate()
            .map(|(index, name)| ((*name).to_owned(), value(index, name)))
            .collect()
    };
    let bare = || setting.trial(SYSTEM_PATH, "/nonexistent/home", Vec::new());
    let tainted_path = format!("{SYSTEM_PATH}:/{}", sentinel(0));
    let tainted_home = format!("/{}", sentinel(1));
    let separated_path = format!("{SYSTEM_PATH}::/opt/tools/bin/:/usr/bin:");

    let mut blank = setting.trial(
        "/opt/more tools/bin:/usr/bin:/bin:.",
        "/nonexistent/other home",
        all(&|_, name| blanks(name)),
    );
    setting.other_dir.clone_into(&mut blank.working_dir);
    for (name, value) in [
        ("LOGNAME", "other"),
        ("USER", "other"),
        ("SHELL", "/bin/zsh"),
        ("TERM", "xterm"),
        ("TMPDIR", "/nonexistent/tmp"),
    ] {
        blank
            .variables
            .entry(name.to_owned())
            .or_insert_with(|| value.to_owned());
    }

    let mut trials = vec![
        bare(),
        bare(),
        setting.trial(
            &tainted_path,
            &tainted_home,
            all(&|index, _| sentinel_of(index)),
        ),
        blank,
        setting.trial(SYSTEM_PATH, "/nonexistent/home", all(&|_, _| String::new())),
        bare(),
        setting.trial(
            &separated_path,
            "/nonexistent/home/",
            all(&|_, name| separators(name)),
        ),
    ];
    // These trials separate every pair of variables: the first is set and the second is not, and
    // the other way round.
    let mut bit = 1;
    while bit <= names.len() {
        for set in [true, false] {
            let chosen = names
                .iter()
                .enumerate()
                .filter(|(index, _)| ((index + 1) & bit != 0) == set)
                .map(|(index, name)| ((*name).to_owned(), sentinel_of(index)))
                .collect();
            trials.push(setting.trial(&tainted_path, &tainted_home, chosen));
        }
        bit <<= 1;
    }
    // The seed is fixed because the same environment must give the same activation.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..RANDOM_TRIALS {
        let mut chosen = Vec::new();
        for (index, name) in names.iter().enumerate() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let value = match (state >> 32) % 6 {
                0 | 1 => continue,
                2 => String::new(),
                3 => blanks(name),
                4 => separators(name),
                _ => sentinel_of(index),
            };
            chosen.push(((*name).to_owned(), value));
        }
        trials.push(setting.trial(&tainted_path, &tainted_home, chosen));
    }
    trials
}

impl Setting<'_> {
    fn trial(&self, path: &str, home: &str, preset: Vec<(String, String)>) -> Trial {
        let environment_name = self.env_prefix.rsplit('/').next().unwrap_or_default();
        let mut variables: Environment = preset.into_iter().collect();
        for (name, value) in [
            ("HOME", home.to_owned()),
            ("PATH", format!("{}/bin:{path}", self.env_prefix)),
            ("CONDA_PREFIX", self.env_prefix.to_owned()),
            ("CONDA_DEFAULT_ENV", environment_name.to_owned()),
            ("CONDA_SHLVL", "1".to_owned()),
            ("CONDA_PROMPT_MODIFIER", format!("({environment_name}) ")),
        ] {
            variables.insert(name.to_owned(), value);
        }
        variables.extend(self.fixed.iter().cloned());
        Trial {
            variables,
            working_dir: "/".to_owned(),
        }
    }
}

/// Returns a value that is recognised inside another value, even in part: its characters occur in
/// no script.
pub(super) fn sentinel(index: usize) -> String {
    let digit = |shift: usize| {
        char::from_u32(0x100 + ((index >> shift) & 63) as u32).expect("a letter with a diacritic")
    };
    ['\u{140}', digit(12), digit(6), digit(0), '\u{141}']
        .iter()
        .collect()
}

/// Returns whether a part of the text comes from a [`sentinel`].
pub(super) fn is_tainted(text: &str) -> bool {
    !text.is_ascii()
}

/// Returns a list of paths with two blanks, which a script that splits, trims or rewrites values
/// does not keep unchanged.
fn blanks(name: &str) -> String {
    format!("/%{name}%/a  b:c=d ")
}

fn separators(name: &str) -> String {
    format!(":+{name}+/:")
}

/// Finds the variables that scripts could read or set: `$NAME`, `NAME=`, any word on a line with
/// `export` or `unset`, and words in capitals anywhere, since the scripts of compilers compose
/// variable names from them.
pub(super) fn find_mentioned(script: &str, names: &mut BTreeSet<String>) {
    for line in script
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
    {
        let bytes = line.as_bytes();
        let exporting = ["export", "unset", "declare", "typeset"]
            .iter()
            .any(|command| line.contains(command));
        let mut at = 0;
        while at < bytes.len() {
            if !(bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_') {
                at += 1;
                continue;
            }
            let start = at;
            while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_') {
                at += 1;
            }
            let word = &line[start..at];
            let capitals = word.bytes().any(|byte| byte.is_ascii_uppercase())
                && !word.bytes().any(|byte| byte.is_ascii_lowercase());
            let before = &line[..start];
            let read = before.ends_with('$')
                || before.ends_with("${")
                || before.ends_with("${#")
                || before.ends_with("${!");
            let set = line[at..].starts_with('=') || line[at..].starts_with("+=");
            if (capitals || exporting || read || set) && is_name(word) && may_vary(word) {
                names.insert(word.to_owned());
            }
        }
    }
}

/// Returns whether a user could have set the variable before the activation, to any value.
fn may_vary(name: &str) -> bool {
    const NEVER: [&str; 32] = [
        "PATH",
        "HOME",
        "IFS",
        "UID",
        "EUID",
        "PPID",
        "SHELLOPTS",
        "RANDOM",
        "SRANDOM",
        "SECONDS",
        "LINENO",
        "FUNCNAME",
        "OPTIND",
        "OPTARG",
        "OPTERR",
        "REPLY",
        "DIRSTACK",
        "GROUPS",
        "HOSTNAME",
        "HOSTTYPE",
        "MACHTYPE",
        "OSTYPE",
        "PS2",
        "PS3",
        "PS4",
        "PROMPT_COMMAND",
        "POSIXLY_CORRECT",
        "ENV",
        "CDPATH",
        "GLOBIGNORE",
        "COLUMNS",
        "LINES",
    ];
    // Variables of a conda build, never set where an environment is used.
    const OF_BUILDS: [&str; 3] = [
        "CONDA_BUILD",
        "CONDA_BUILD_STATE",
        "CONDA_BUILD_CROSS_COMPILATION",
    ];
    !NEVER.contains(&name)
        && !OF_BUILDS.contains(&name)
        && !name.starts_with("BASH")
        && !name.starts_with("EPOCH")
        && !name.starts_with("CONDA_PREFIX")
        && !["CONDA_DEFAULT_ENV", "CONDA_SHLVL", "CONDA_PROMPT_MODIFIER"].contains(&name)
        && !is_the_shells(name)
        && !is_backup(name)
        && !may_be_backup(name)
        && !name.starts_with("__condense")
}
