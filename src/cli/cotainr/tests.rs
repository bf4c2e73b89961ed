#![allow(clippy::unwrap_used)]
use std::sync::Arc;

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

#[test]
fn b10_to_b15_the_plan_that_comes_of_arguments() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("env.yml", "channels: [c]\ndependencies: [tool]\n"),
        ("r.txt", "rich\n"),
        (
            "systems.json",
            r#"{"lumi": {"base-image": "docker://ubuntu:24.04"}}"#,
        ),
    ] {
        fs_err::write(dir.path().join(name), text).unwrap();
    }
    let mut env_vars = EnvVars::of(&[("CONDENSE_SYSTEMS", "systems.json"), ("TMPDIR", "/tmp")]);
    env_vars.cwd = dir.path().to_owned();
    let console = Console::new(&EnvVars::of(&[("CW_LOG_LEVEL", "0")]), Arc::default());
    let work = dir.path().display().to_string();
    let path = "/opt/cotainr/conda/envs/conda_container_env";
    for (words, expected) in [
        (
            "--base-image docker://ubuntu out.sif",
            "image         WORK/out.sif\nbase image    docker://ubuntu\nscratch       TMP".to_owned(),
        ),
        (
            "--sys lumi sub/../out.sif",
            "image         WORK/out.sif\nbase image    docker://ubuntu:24.04\nscratch       TMP".to_owned(),
        ),
        (
            "out.sif --conda=env.yml -vvvv --acc --no-color --base-image=../base",
            format!("image         WORK/out.sif\nbase image    ../base\nenvironment   {path}\nconda         WORK/env.yml\nscratch       TMP"),
        ),
        (
            "-q -q --base x --base ../base out.sif --packages numpy --packages h5py --channel c --offline",
            format!("image         WORK/out.sif\nbase image    ../base\nenvironment   {path}\npackages      numpy, h5py\nchannels      c\nscratch       TMP\nnetwork       offline"),
        ),
        (
            "--base ../base out.sif --requirements r.txt --mount-point /opt/mine --post true --copy r.txt:/etc/r --tmpdir other",
            "image         WORK/out.sif\nbase image    ../base\nenvironment   /opt/mine/envs/conda_container_env\nrequirements  WORK/r.txt\npost          true\ncopy          WORK/r.txt to /etc/r\nscratch       WORK/other".to_owned(),
        ),
        (
            "--base ../base out.sif --on-top --requirements r.txt --layout overlay",
            "image         WORK/out.sif\nbase image    ../base\nlayout        overlay\nenvironment   /opt/cotainr/venvs/on_top, over the image's Python\nrequirements  WORK/r.txt\nscratch       TMP".to_owned(),
        ),
    ] {
        let given = expand_prefixes(&self::words(&format!("cotainr build {words}")));
        let matches = command().try_get_matches_from(given).unwrap();
        let cli = Cli::from_arg_matches(&matches).unwrap();
        let Some(Verb::Build(build)) = cli.command else {
            panic!("{words}");
        };
        let out = lexical(&env_vars.cwd.join(build.image_path.clone().unwrap()));
        let sif = plan::make(*build, out, &env_vars, &console).unwrap();
        let shown = sif.to_string().replace(&work, "WORK");
        let shown = shown.replace("scratch       /tmp", "scratch       TMP");
        assert_eq!(shown.trim_end(), expected, "{words}");
    }
}
