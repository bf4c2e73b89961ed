//! Tests that command lines become plans or usage errors.
#![allow(clippy::unwrap_used)]

use std::{ffi::OsString, path::Path, sync::Arc};

use super::{Command, parse};
use crate::console::Console;
use condense_build::plan::{BaseChoice, InstallationPlan, PythonChoice};
use condense_env_vars::EnvVars;

fn run(argv: &[&str]) -> anyhow::Result<Command> {
    let dir = tempfile::tempdir().unwrap();
    for name in ["req.txt", "site.yml", "a.sh"] {
        fs_err::write(
            dir.path().join(name),
            "defaults: {container_src: /site.sif}\n",
        )
        .unwrap();
    }
    let site = dir.path().join("site.yml").display().to_string();
    let mut env_vars = EnvVars::of(&[("CW_GLOBAL_YAML", &site)]);
    env_vars.cwd = dir.path().to_owned();
    let console = Console::new(&EnvVars::of(&[("CW_LOG_LEVEL", "0")]), Arc::default());
    let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
    parse(&argv, &env_vars, &console)
}

fn plan(argv: &[&str]) -> InstallationPlan {
    match run(argv).unwrap() {
        Command::Build(plan) => *plan,
        other => panic!("{argv:?} gave {other:?}"),
    }
}

#[test]
fn every_way_to_a_python() {
    let site = || BaseChoice::Site("/site.sif".to_owned());
    let named = |name: &str| BaseChoice::Named(name.to_owned());
    let of_base = |name: &str| PythonChoice::OfBase(name.to_owned());
    for (argv, base, python) in [
        (&["new", "req.txt"][..], site(), PythonChoice::Host(None)),
        (
            &[
                "new",
                "--interpreter",
                "/opt/cray/pe/python/3.11.7/bin/python3",
                "req.txt",
            ],
            site(),
            PythonChoice::Host(Some("/opt/cray/pe/python/3.11.7/bin/python3".into())),
        ),
        // --pyver alone is ignored, with a warning.
        (
            &["new", "req.txt", "--pyver=3.12"],
            site(),
            PythonChoice::Host(None),
        ),
        (
            &["new", "--uv", "req.txt"],
            site(),
            PythonChoice::Managed(None),
        ),
        (
            &["new", "req.txt", "--uv", "--py", "3.12"],
            site(),
            PythonChoice::Managed(Some("3.12".to_owned())),
        ),
        (
            &["new", "--slim", "req.txt"],
            named("docker://python:slim"),
            of_base("python3"),
        ),
        (
            &["new", "--slim", "--pyver", "3.12", "req.txt"],
            named("docker://python:3.12-slim"),
            of_base("python3"),
        ),
        (
            &[
                "new",
                "--slim",
                "--pyver",
                "3.13.2-slim-bullseye",
                "req.txt",
            ],
            named("docker://python:3.13.2-slim-bullseye"),
            of_base("python3"),
        ),
        (
            &["new", "--base-image", "/b.sif", "req.txt"],
            named("/b.sif"),
            of_base("python3"),
        ),
        (
            &[
                "new",
                "--base-image",
                "/b.sif",
                "--pyver",
                "3.9.2",
                "req.txt",
            ],
            named("/b.sif"),
            of_base("python3.9"),
        ),
    ] {
        let plan = plan(argv);
        let venv = plan.input.packages.venv().unwrap().clone();
        assert_eq!((plan.base, venv.python), (base, python), "{argv:?}");
        assert!(!venv.system_site_packages);
        assert_eq!(plan.input.env_path, Path::new("env1"));
    }
}

#[test]
fn the_rest_is_as_for_conda() {
    let plan = plan(&[
        "new",
        "--system",
        "-w/usr/bin/a,b/c",
        "--environ=a.sh",
        "req.txt",
        "--post",
        "a.sh",
        "--pre-i",
        "a.sh",
        "--nocache",
        "--pref",
        "/p",
    ]);
    let inputs = &plan.input.extra;
    assert!(plan.input.packages.venv().unwrap().system_site_packages);
    assert!(inputs.no_cache && !inputs.uv);
    assert!(inputs.pre_install.is_some() && inputs.post_install.is_some());
    assert_eq!(
        plan.output.generation.wrapper_paths,
        [Path::new("/usr/bin/a"), Path::new("b/c")]
    );
    assert_eq!(
        plan.output.generation.extra_text.as_deref(),
        Some("defaults: {container_src: /site.sif}\n")
    );
    assert_eq!(plan.output.generation.dir, Path::new("/p"));
    assert_eq!(plan.input.packages.source(), Path::new("req.txt"));
}

#[test]
fn what_excludes_each_other_is_a_usage_error() {
    for argv in [
        &["new", "--uv", "--slim", "req.txt"][..],
        &["new", "--slim", "--base-image", "/b.sif", "req.txt"],
        &["new", "--uv", "--interpreter", "/p", "req.txt"],
        &["new", "--pre", "/p", "req.txt"], // --prefix or --pre-install
        &["new"],
        &["no"],
    ] {
        let command = run(argv).unwrap();
        assert!(
            matches!(command, Command::Usage(_)),
            "{argv:?}: {command:?}"
        );
    }
}
