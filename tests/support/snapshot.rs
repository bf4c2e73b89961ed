//! Responsible for snapshots of what a user sees: the command, its exit code and both streams.
//!
//! `cargo test` compares each snapshot with its file below `snapshots` and never writes one.
//! `INSTA_UPDATE=always cargo test` writes the files anew, and `git diff` shows what users would
//! see otherwise.

use insta::Settings;

use super::output::CommandOutput;

/// Patterns whose matches differ from run to run, each with the word that a snapshot has instead.
const FILTERS: [(&str, &str); 17] = [
    (r"\bcw-[A-Z0-9]{6}\b", "cw-[RANDOM]"),
    (r"\.condense-[A-Za-z0-9]{6}\b", ".condense-[RANDOM]"),
    (r"(LOCAL|LUMI)_TYKKY_[A-Za-z0-9]+", "${1}_TYKKY_[SUFFIX]"),
    (r"\b[0-9a-f]{64}\b", "[SHA256]"),
    (r"\b[0-9a-f]{32}\b", "[MD5]"),
    (r"\b(condense|cotainr) \d+\.\d+\.\d+", "$1 [VERSION]"),
    (
        r"\b\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}:\d{2}(\.\d+)?Z?)?",
        "[DATE]",
    ),
    (r"127\.0\.0\.1:\d{4,5}\b", "127.0.0.1:[PORT]"),
    (r"\b\d+(\.\d+)? (s|ms|seconds)\b", "[TIME]"),
    (r#""seconds":[\d.]+"#, r#""seconds":"[TIME]""#),
    (r"\bin \d\d:\d\d:\d\d\b", "in [TIME]"),
    (r"\b[1-9][\d,.]* ([kKMGT]i?B|B|bytes)\b", "[SIZE]"),
    (r"__linux=[\d.]+", "__linux=[KERNEL]"),
    (r"__archspec=1=\w+", "__archspec=1=[PROCESSOR]"),
    // Either index may be the first that fails.
    (r"/(linux-64|noarch)/repodata", "/[SUBDIR]/repodata"),
    (r"subdir '(linux-64|noarch)'", "subdir '[SUBDIR]'"),
    (r"( -B /[^ \[]+)+", " [BINDS OF THE HOST]"),
];

/// Compares the output of a command with the file `snapshots/NAME.snap` beside the test. Paths are
/// pairs of a path of this run and the word that the snapshot has instead.
macro_rules! snapshot {
    ($name:expr, $output:expr, $paths:expr) => {{
        let name: &str = $name;
        let (folder, name) = name.rsplit_once('/').unwrap_or((".", name));
        let settings = $crate::support::snapshot::settings(folder);
        let text = $crate::support::snapshot::shown(&$output, &$paths);
        settings.bind(|| insta::assert_snapshot!(name, text));
    }};
}
pub(crate) use snapshot;

/// Returns the settings of a snapshot in this folder below `snapshots`.
pub fn settings(folder: &str) -> Settings {
    let mut settings = Settings::clone_current();
    settings.set_snapshot_path(format!("snapshots/{folder}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_filters(FILTERS.to_vec());
    settings
}

/// Returns the text of a snapshot, in which each path of this run is replaced by its word.
pub fn shown(output: &CommandOutput, paths: &[(String, &str)]) -> String {
    let mut text = format!("$ {}\n{output:?}", output.command);
    for (path, word) in paths {
        text = text.replace(path, word);
    }
    text
}
