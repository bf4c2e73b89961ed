//! Tests of completion: commands of each name of the program, and values of each kind.
#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;
use crate::cli::DIALECTS;

/// Directory with one file of each kind, and two installations, of which one has a blank in its
/// name.
struct Place {
    dir: tempfile::TempDir,
    env_vars: EnvVars,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        for made in [
            "work/sub",
            "envs/one/bin",
            "envs/two words/bin",
            "envs/none",
        ] {
            fs::create_dir_all(path.join(made)).unwrap();
        }
        for file in [
            "work/env.yml",
            "work/conf.toml",
            "work/base.sif",
            "work/image.sqfs",
            "work/more.txt",
            "work/condense.lock",
            "work/code.py",
            "envs/one/common.sh",
            "envs/two words/common.sh",
            "envs/one/bin/python",
            "envs/one/bin/_debug_exec",
        ] {
            fs::write(path.join(file), "").unwrap();
        }
        let envs = path.join("envs");
        let mut env_vars = EnvVars::of(&[
            ("TYKKY_PATH", envs.to_str().unwrap()),
            ("HOME", path.to_str().unwrap()),
        ]);
        env_vars.cwd = path.join("work");
        Self { dir, env_vars }
    }

    /// Returns the candidates of a line, whose last word is at the cursor.
    fn of(&self, line: &str) -> Vec<String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let found = candidates(&words, &self.env_vars);
        found.into_iter().map(|one| one.value).collect()
    }

    #[track_caller]
    fn check(&self, line: &str, expected: &[&str]) {
        assert_eq!(self.of(line), expected, "{line}");
    }

    /// Checks that a line has these candidates besides others, and none of `not`.
    #[track_caller]
    fn has(&self, line: &str, expected: &[&str], not: &[&str]) {
        let found = self.of(line);
        for word in expected {
            assert!(
                found.iter().any(|one| one == word),
                "{line}: no {word} in {found:?}"
            );
        }
        for word in not {
            assert!(
                !found.iter().any(|one| one == word),
                "{line}: {word} in {found:?}"
            );
        }
    }
}

/// B14: names of sites, systems, codes and bases are completed, not files.
#[test]
fn values_that_condense_knows_are_completed() {
    let place = Place::new();
    for line in [
        "condense check --site lumi-",
        "condense check --site=lumi-",
        "condense base --site lumi-",
        "condense base ls --site lumi-",
        "conda-containerize new --site lumi-",
        "condense conda-containerize new --site lumi-",
        "wrap-install --site lumi-",
        "condense config set site lumi-",
    ] {
        let prefix = if line.contains("--site=") {
            "--site="
        } else {
            ""
        };
        place.has(
            line,
            &[&format!("{prefix}lumi-g"), &format!("{prefix}lumi-c")],
            &["env.yml"],
        );
    }
    place.has("cotainr build --system ", &["lumi-g"], &["env.yml", "sub/"]);
    place.has(
        "/opt/x/cotainr build --system=lumi-",
        &["--system=lumi-g"],
        &[],
    );
    place.has("condense explain mpi", &["mpi-abi"], &[]);
    place.has("condense check --allow mpi", &["mpi-abi"], &[]);
    place.has("condense doctor --allow=mpi", &["--allow=mpi-abi"], &[]);
    place.has(
        "condense new x --base-image ",
        &["lumi-rocm", "base.sif", "sub/"],
        &["env.yml"],
    );
    place.has("condense base show lumi-r", &["lumi-rocm"], &[]);
    place.has(
        "condense config get cache-",
        &["cache-dir", "cache-size"],
        &[],
    );
    place.has("condense new x --compression z", &["zstd"], &[]);
    place.check("condense shell f", &["fish"]);
    place.check("condense packages one --kind p", &["pip"]);
}

/// Sites of a file that the line names, and systems of a file, are completed.
#[test]
fn values_come_from_the_files_of_the_line() {
    let mut place = Place::new();
    let path = place.dir.path().to_owned();
    fs::write(path.join("work/sites.toml"), "schema = 1\n[site.ours]\n").unwrap();
    place.check("condense check --catalogue sites.toml --site o", &["ours"]);
    place.check("condense check --catalogue none.toml --site o", &[]);
    fs::write(
        path.join("systems.json"),
        r#"{"mine": {"base-image": "x.sif"}}"#,
    )
    .unwrap();
    let systems = path.join("systems.json");
    place.env_vars = EnvVars::of(&[("CONDENSE_SYSTEMS", systems.to_str().unwrap())]);
    place.check("cotainr build --system ", &["mine"]);
}

/// B14: the dialects are completed behind `condense`, with their commands and options.
#[test]
fn commands_of_every_name_are_completed() {
    let place = Place::new();
    place.has("condense ", &DIALECTS, &["--verbose", "pages", "complete"]);
    place.check("condense cota", &["cotainr"]);
    place.check("condense cotainr bu", &["build"]);
    place.check(
        "condense conda-containerize new --post",
        &["--post-install"],
    );
    place.check("pip-containerize up", &["update"]);
    place.check("wrap-container --wrap", &["--wrapper-paths"]);
    place.check("condense sif insp", &["inspect"]);
    place.has("condense list -", &["--json", "--log-json"], &[]);
    place.has("condense list ", &["--json"], &[]);
    place.has(
        "condense help ",
        &["info", "cotainr", "exit-codes", "mpi-abi"],
        &[],
    );
    place.check("condense help image pa", &["pack"]);
    place.check("condense help cotainr bu", &["build"]);
    place.check("condense help nothing ", &[]);
    place.check("condense", &[]);
}

/// B14: installations are completed by name, with what else the command takes.
#[test]
fn installations_are_completed() {
    let place = Place::new();
    for verb in [
        "info", "run", "packages", "rollback", "why", "kernel", "verify", "update",
    ] {
        place.has(
            &format!("condense {verb} "),
            &["one", "two words", "sub/"],
            &["none"],
        );
    }
    place.has(
        "condense info ",
        &["base.sif"],
        &["env.yml", "condense.lock"],
    );
    place.has(
        "condense packages ",
        &["base.sif", "condense.lock"],
        &["env.yml"],
    );
    place.has("condense rollback ", &[], &["base.sif"]);
    place.has(
        "condense check ",
        &["one", "env.yml", "base.sif"],
        &["code.py", "conf.toml"],
    );
    place.check("condense run one pyt", &["python"]);
    place.check("condense run one -- pyt", &["python"]);
    place.check(
        "condense run one python co",
        &["code.py", "condense.lock", "conf.toml"],
    );
    place.check("condense run nothing pyt", &[]);
}

/// B14: files are completed by kind.
#[test]
fn files_are_completed_by_kind() {
    let place = Place::new();
    for (line, expected) in [
        (
            "condense lock ",
            &["condense.lock", "env.yml", "more.txt", "sub/"][..],
        ),
        (
            "condense spec ./",
            &["./condense.lock", "./env.yml", "./more.txt", "./sub/"],
        ),
        ("conda-containerize new e", &["env.yml"]),
        ("conda-containerize new -r ", &["more.txt", "sub/"]),
        ("pip-containerize new ", &["more.txt", "sub/"]),
        (
            "condense new x --lock ",
            &["condense.lock", "env.yml", "sub/"],
        ),
        ("condense sif list ", &["base.sif", "sub/"]),
        ("condense image info ", &["base.sif", "image.sqfs", "sub/"]),
        ("condense image extract image.sqfs ", &["sub/"]),
        ("condense lock env.yml --catalogue c", &["conf.toml"]),
        ("condense lock env.yml --tmpdir ", &["sub/"]),
        ("conda-containerize advanced ", &["env.yml", "sub/"]),
        ("cotainr build --conda-env e", &["env.yml"]),
    ] {
        let mut found = place.of(line);
        found.retain(|one| one != ".");
        assert_eq!(found, expected, "{line}");
    }
}

/// Names with control characters cannot be offered on lines of their own.
#[test]
fn odd_names_are_left_out() {
    let place = Place::new();
    fs::write(place.env_vars.cwd.join("a\nb.sif"), "").unwrap();
    place.check("condense sif list a", &[]);
    place.check("condense sif list b", &["base.sif"]);
}
