//! Tests that command lines become plans, usage errors or refusals.
#![allow(clippy::unwrap_used)]

use std::{ffi::OsString, path::Path, sync::Arc};

use super::{Command, parse};
use crate::console::Console;
use condense_build::plan::{BaseChoice, InstallationPlan, MountPoint};
use condense_env_vars::EnvVars;

fn run(argv: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Command> {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("env.yml"), "dependencies: [python]\n").unwrap();
    fs_err::write(dir.path().join("list.txt"), "python\n").unwrap();
    let mut env_vars = EnvVars::of(variables);
    env_vars.cwd = dir.path().to_owned();
    let console = Console::new(&EnvVars::of(&[("CW_LOG_LEVEL", "0")]), Arc::default());
    let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
    parse(&argv, &env_vars, &console)
}

fn plan(argv: &[&str], variables: &[(&str, &str)]) -> InstallationPlan {
    match run(argv, variables).unwrap() {
        Command::Build(plan) => *plan,
        other => panic!("{argv:?} gave {other:?}"),
    }
}

const BASE: (&str, &str) = ("CONDENSE_BASE_IMAGE", "/b.sif");

#[test]
fn options_may_stand_anywhere_and_be_abbreviated() {
    for argv in [
        &["new", "--prefix", "/p", "--base-image", "/x.sif", "env.yml"][..],
        &["new", "env.yml", "--prefix=/p", "--base-image=/x.sif"],
        &["new", "--pref", "/p", "env.yml", "--base", "/x.sif"],
        &[
            "new",
            "--mamba",
            "--prefix",
            "/p",
            "--nocache",
            "env.yml",
            "--base-i",
            "/x.sif",
        ],
    ] {
        let plan = plan(argv, &[]);
        assert_eq!(plan.output.generation.dir, Path::new("/p"), "{argv:?}");
        assert_eq!(
            plan.base,
            BaseChoice::Named("/x.sif".to_owned()),
            "{argv:?}"
        );
        assert_eq!(plan.input.packages.source(), Path::new("env.yml"));
    }
}

#[test]
fn the_image_s_make_up_is_chosen_and_shown() {
    for (flags, shown) in [
        (
            &[][..],
            "SquashFS, zstd:3, or gzip:6 where the runtime is not seen to read that\n",
        ),
        (&["--compression", "gzip"], "SquashFS, gzip:6\n"),
        (
            &["--block-size", "128K", "--compression", "zstd"],
            "SquashFS, zstd:3\n",
        ),
        (
            &["--compression=lz4:hc", "--block-size=1M"],
            "SquashFS, lz4:hc in blocks of 1M\n",
        ),
    ] {
        let plan = plan(&[&["new", "env.yml"], flags].concat(), &[BASE]).to_string();
        assert!(plan.contains(shown), "{flags:?}: {plan}");
    }
}

#[test]
fn lists_are_taken_as_well() {
    let plan = plan(&["new", "list.txt"], &[BASE]);
    assert_eq!(plan.input.packages.source(), Path::new("list.txt"));
}

#[test]
fn the_base_comes_from_the_flag_then_the_variable() {
    let both = plan(&["new", "--base-image", "/flag.sif", "env.yml"], &[BASE]);
    assert_eq!(both.base, BaseChoice::Named("/flag.sif".to_owned()));
    assert_eq!(
        plan(&["new", "env.yml"], &[BASE]).base,
        BaseChoice::Named("/b.sif".to_owned())
    );
}

#[test]
fn the_site_s_base_is_last_and_shows_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let site = dir.path().join("site.yml");
    fs_err::write(
        &site,
        "defaults:\n  container_src: $WHERE/site.sif\n  installation_path: /SITE_TYKKY\n",
    )
    .unwrap();
    let plan = plan(
        &["new", "env.yml"],
        &[
            ("CW_GLOBAL_YAML", site.to_str().unwrap()),
            ("WHERE", "/images"),
        ],
    );
    assert_eq!(plan.base, BaseChoice::Site("/images/site.sif".to_owned()));
    assert_eq!(
        plan.output.mount_point,
        MountPoint::Prefix("/SITE_TYKKY".into())
    );
}

#[test]
fn scratch_is_where_the_first_of_them_says() {
    let there = std::env::temp_dir();
    let there = there.to_str().unwrap();
    let check = |argv: &[&str], variables: &[(&str, &str)], expected: &str| {
        let mut all = vec![BASE];
        all.extend_from_slice(variables);
        assert_eq!(
            plan(argv, &all).settings.scratch_parent,
            Path::new(expected),
            "{argv:?} {variables:?}"
        );
    };
    check(
        &["new", "--tmpdir", "/f", "env.yml"],
        &[("CW_BUILD_TMPDIR", "/c"), ("TMPDIR", there)],
        "/f",
    );
    check(
        &["new", "env.yml"],
        &[("CW_BUILD_TMPDIR", "/c"), ("TMPDIR", there)],
        "/c",
    );
    check(&["new", "env.yml"], &[("TMPDIR", there)], there);
    check(
        &["new", "env.yml"],
        &[("TMPDIR", "/of/another/node")],
        "/tmp",
    );
    check(&["new", "env.yml"], &[], "/tmp");
}

#[test]
fn the_cache_is_outside_home_where_somebody_says_so() {
    let cache = |variables: &[(&str, &str)]| {
        let mut all = vec![BASE];
        all.extend_from_slice(variables);
        plan(&["new", "env.yml"], &all)
            .input
            .settings
            .network
            .cache_dir
    };
    assert_eq!(
        cache(&[("CONDENSE_CACHE_DIR", "/c"), ("XDG_CACHE_HOME", "/x")]),
        Path::new("/c")
    );
    assert_eq!(
        cache(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]),
        Path::new("/x/condense")
    );
    assert_eq!(cache(&[("HOME", "/h")]), Path::new("/h/.cache/condense"));
}

#[test]
fn usage_errors_speak_as_argparse_does() {
    for (argv, words) in [
        (&["new"][..], "the following arguments are required:"),
        (&["new", "--prefix"], "error:"),
        (&["new", "--pre", "/p", "env.yml"], "error:"),
        (&["new", "--no-such-flag", "env.yml"], "--no-such-flag"),
        (&["nonsense"], "nonsense"),
        (&["new", "--compression", "zstd:99", "env.yml"], "zstd"),
        (&["new", "--block-size", "2M", "env.yml"], "2M"),
        (&["new", "--block-size", "100K", "env.yml"], "100K"),
    ] {
        match run(argv, &[BASE]).unwrap() {
            Command::Usage(text) => {
                assert!(text.contains(words), "{argv:?}: {text}");
                assert!(
                    text.contains("conda-containerize: error:"),
                    "{argv:?}: {text}"
                );
            }
            other => panic!("{argv:?} gave {other:?}"),
        }
    }
}

#[test]
fn help_is_printed_and_has_the_words_scripts_look_for() {
    for argv in [
        &[][..],
        &["-h"],
        &["--help"],
        &["new", "-h"],
        &["new", "--help"],
    ] {
        match run(argv, &[]).unwrap() {
            Command::Print(text) => {
                assert!(text.contains("show this help message"), "{argv:?}: {text}");
                assert!(text.contains("usage:"), "{argv:?}: {text}");
            }
            other => panic!("{argv:?} gave {other:?}"),
        }
    }
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    for (argv, variables, words) in [
        (
            &["new", "none.yml"][..],
            &[BASE][..],
            "Env file none.yml does not exist",
        ),
        (
            &["new", "env.yml"],
            &[BASE, ("CW_BUILD_TMPDIR", "relative")],
            "path is not absolute",
        ),
        (
            &["new", "env.yml"],
            &[BASE, ("SOURCE_DATE_EPOCH", "soon")],
            "is not a number of seconds",
        ),
        (
            &["new", "env.yml"],
            &[BASE, ("CW_GLOBAL_YAML", "/no/such.yml")],
            "/no/such.yml",
        ),
        (
            &["new", "--post", "f", "env.yml"],
            &[BASE],
            "Post-install script f does not exist",
        ),
        (
            &["new", "--pre-i", "f", "env.yml"],
            &[BASE],
            "Pre-install script f does not exist",
        ),
        (
            &["new", "--environ", "f", "env.yml"],
            &[BASE],
            "Environ file f does not exist",
        ),
        (&["new", "-w,", "env.yml"], &[BASE], "names no program"),
        (
            &["new", "-r", "f", "env.yml"],
            &[BASE],
            "Requirements file f does not exist",
        ),
        (
            &["update", "-r", "f", "dir"],
            &[BASE],
            "Requirements file f does not exist",
        ),
        (&["advanced", "f"], &[BASE], "No such file"),
    ] {
        let error = run(argv, variables).expect_err(&format!("{argv:?}"));
        assert!(format!("{error:#}").contains(words), "{argv:?}: {error:#}");
    }
}
