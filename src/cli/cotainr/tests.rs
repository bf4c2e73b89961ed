#![allow(clippy::unwrap_used)]
use super::*;

fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(OsString::from).collect()
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn prefixes_of_cotainr_s_own_options_stay_unique() {
    for (given, expected) in [
        ("build --base b", "build --base-image b"),
        ("build --sys=x", "build --system=x"),
        ("build --s x", "build --system x"),
        (
            "--conda e --acc --verb",
            "--conda-env e --accept-licenses --verbose",
        ),
        ("--l --no --q", "--log-to-file --no-color --quiet"),
        // Options that cotainr does not have are not changed.
        (
            "--packages p --mount-point m",
            "--packages p --mount-point m",
        ),
        ("--lock f --site s", "--lock f --site s"),
        ("--b=a=b", "--base-image=a=b"),
        ("-- --base", "-- --base"),
        ("--version", "--version"),
    ] {
        assert_eq!(expand_prefixes(&words(given)), words(expected), "{given}");
    }
}
