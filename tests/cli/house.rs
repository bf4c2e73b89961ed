//! Tests of the builders of condense itself: `new`, `update` and `build`.

use crate::{
    harness::{self, CommandOutput, Run, TestEnv},
    support::{channel::Package, snapshot::snapshot},
};

/// Variables by which a run without a base image gets one that is here.
fn base(test: &TestEnv) -> String {
    test.path("base").display().to_string()
}

/// Runs a command line of condense, whose words `CHANNEL` and `BASE` are replaced, with
/// installations in `home/.tykky`.
fn run(test: &TestEnv, line: &str) -> CommandOutput {
    let line = line
        .replace("CHANNEL", &test.channel)
        .replace("BASE", &base(test));
    let words: Vec<&str> = line.split(' ').collect();
    test.condense(&words).run()
}

fn packages(test: &TestEnv, name: &str) -> Vec<String> {
    let said = run(test, &format!("packages --json {name}")).succeeded();
    let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let rows = found["packages"]
        .as_array()
        .unwrap_or_else(|| panic!("{found}"));
    let name = |row: &serde_json::Value| {
        format!(
            "{}={}",
            row["name"].as_str().unwrap(),
            row["version"].as_str().unwrap()
        )
    };
    rows.iter().map(name).collect()
}

/// A name without a slash is a directory where `condense list` looks, and that is made.
#[test]
fn packages_alone_make_an_installation_that_list_finds() {
    let test = TestEnv::new();
    run(&test, "new first tool -c CHANNEL --base-image BASE").succeeded();
    let dir = test.path("home/.tykky/first");
    assert!(dir.join("bin/tool").exists());
    assert_eq!(packages(&test, "first"), ["library=2.0", "tool=1.0"]);
    let listed = run(&test, "list").succeeded();
    assert!(listed.stdout.contains("first"), "{listed:?}");
    let info = run(&test, "info --json first").succeeded();
    let info: serde_json::Value = serde_json::from_str(&info.stdout).unwrap();
    assert_eq!(info["command"][1], "new", "{info}");

    // A directory is named with a slash, and TYKKY_PATH has the first place for names.
    run(&test, "new ./here library -c CHANNEL --base-image BASE").succeeded();
    assert!(test.path("work/here/common.sh").exists());
    let line = format!(
        "new other library -c {} --base-image {}",
        test.channel,
        base(&test)
    );
    let words: Vec<&str> = line.split(' ').collect();
    let roots = format!("{}:/nowhere", test.path("work/roots").display());
    test.condense(&words)
        .env("TYKKY_PATH", roots)
        .run()
        .succeeded();
    assert!(test.path("work/roots/other/common.sh").exists());
    test.left_nothing();
}

#[test]
fn a_file_and_packages_go_together() {
    let test = TestEnv::new();
    test.environment("tool");
    test.write("list.txt", "CHANNEL::library\n");
    run(&test, "new both env.yml wants-two --base-image BASE").succeeded();
    let expected = ["library=2.0", "tool=1.0", "wants-two=1.0"];
    assert_eq!(packages(&test, "both"), expected);
    run(
        &test,
        "new listed wants-two list.txt -c CHANNEL --base-image BASE",
    )
    .succeeded();
    assert_eq!(packages(&test, "listed"), ["library=2.0", "wants-two=1.0"]);
    // The requests are kept in a file that an update reads again.
    let kept = "home/.tykky/both/share/previous_input/1/env.yml";
    let kept = fs_err::read_to_string(test.path(kept)).unwrap();
    assert!(
        kept.contains("- tool") && kept.contains("- wants-two"),
        "{kept}"
    );

    // A lock is recognised by its contents, and so needs no option.
    let lock = "../home/.tykky/both/share/condense.lock";
    run(&test, &format!("new again {lock} --base-image BASE")).succeeded();
    assert_eq!(packages(&test, "again"), expected);
}

/// Usability rows A3 and B27: what is refused, and how.
#[test]
fn what_new_refuses_says_what_to_do() {
    let test = with_files();
    run(&test, "new taken library -c CHANNEL --base-image BASE").succeeded();
    let lock = "../home/.tykky/taken/share/condense.lock";
    for (line, status, words) in [
        ("new", 2, &["NAME|DIR", "Usage: condense new"][..]),
        (
            "new fresh",
            2,
            &[
                "error: no FILE and no SPEC is named",
                "hint: `condense new fresh environment.yml` or `condense new fresh python=3.12 numpy --pip rich`",
            ],
        ),
        (
            "new env.yml",
            2,
            &["the installation has no name", "`condense new env env.yml`"],
        ),
        (
            "new numpy=2",
            2,
            &[
                "the installation has no name",
                "`condense new numpy numpy=2`",
            ],
        ),
        (
            "new fresh environment.yml",
            1,
            &[
                "`environment.yml` does not exist",
                "did you mean `enviroment.yml`?",
            ],
        ),
        (
            "new fresh env.yml more.txt",
            2,
            &["`env.yml` and `more.txt` are two files", "`-r FILE`"],
        ),
        (
            "new fresh x.def",
            1,
            &["definition file", "`condense build x.def OUT.sif`"],
        ),
        (
            "new fresh LOCK numpy",
            1,
            &[
                "is a lock: it has exactly its packages",
                "`condense update`",
            ],
        ),
        (
            "new fresh LOCK --lock other.lock",
            1,
            &["a lock file is named once", "leave out `--lock`"],
        ),
        (
            "new fresh more.txt -r more.txt",
            1,
            &["a requirements file is named once"],
        ),
        (
            "new taken library",
            1,
            &[
                "there is an installation `taken` already",
                "`condense update taken …` changes it, `condense remove taken` removes it",
            ],
        ),
        ("new .hidden tool", 1, &["is not a name of an installation"]),
        ("new a@1 tool", 1, &["is not a name of an installation"]),
        (
            "new fresh tool --base-image ubuntu:24.04 -c CHANNEL",
            1,
            &[
                "warning: `tool` is taken for a package: `./tool` names the file",
                "the base `ubuntu:24.04` does not exist",
                "`docker://ubuntu:24.04` if it is an image in a registry",
                "condense pull",
                "condense base ls",
            ],
        ),
    ] {
        let said = run(&test, &line.replace("LOCK", lock));
        assert_eq!(
            (said.status, said.stdout.as_str()),
            (status, ""),
            "{line}: {said:?}"
        );
        for words in words {
            assert!(
                said.stderr.contains(words),
                "{line}: no `{words}` in {said:?}"
            );
        }
        assert!(!test.path("home/.tykky/fresh").exists(), "{line}");
    }
    test.left_nothing();
}

#[test]
fn an_existing_installation_is_replaced_by_force_only() {
    let test = TestEnv::new();
    run(&test, "new mine library -c CHANNEL --base-image BASE").succeeded();
    run(&test, "new mine tool -c CHANNEL --base-image BASE --force").succeeded();
    assert_eq!(packages(&test, "mine"), ["library=2.0", "tool=1.0"]);
    let info = run(&test, "info --json mine").succeeded();
    let info: serde_json::Value = serde_json::from_str(&info.stdout).unwrap();
    assert_eq!(info["subject"]["generation"], 2);
}

/// Usability row A3: a run without a base image takes the site's, else one like this machine, and
/// says so.
#[test]
fn the_default_base_is_said_in_one_line() {
    let test = TestEnv::new();
    test.environment("tool");
    let site = test.write(
        "site.yml",
        &format!("defaults:\n  container_src: {}\n", base(&test)),
    );
    let line = format!(
        "base image: {} (the site's default; --base-image names another)",
        base(&test)
    );
    let build = |words: &[&str]| {
        let mut command = test.condense(words);
        command.env("CW_GLOBAL_YAML", &site).run()
    };
    let said = build(&["new", "mine", "env.yml"]).succeeded();
    assert!(said.stderr.contains(&line), "{said:?}");
    let said = build(&["conda-containerize", "new", "--prefix", "out", "env.yml"]).succeeded();
    assert!(
        said.stdout.contains(&format!("[ INFO ] {line}")),
        "{said:?}"
    );
    // Nothing is said about a base that is named.
    let said = run(&test, "new named env.yml --base-image BASE").succeeded();
    assert!(!said.stderr.contains("base image:"), "{said:?}");
}

/// Usability row A3: without a network, the error about the default base says how to get one.
#[test]
fn a_default_base_that_cannot_be_fetched() {
    let test = TestEnv::new();
    test.environment("tool");
    for words in [
        &["new", "mine", "env.yml", "--offline"][..],
        &[
            "conda-containerize",
            "new",
            "--prefix",
            "out",
            "--offline",
            "env.yml",
        ],
    ] {
        let said = test.condense(words).run();
        assert_eq!(said.status, 1, "{said:?}");
        let text = format!("{}{}", said.stdout, said.stderr);
        for words in [
            "base image: docker://",
            "; --base-image names another)",
            "cannot get the default base image `docker://",
            "`condense pull`",
            "`--base-image`",
            "`condense base ls`",
        ] {
            assert!(text.contains(words), "no `{words}` in {text}");
        }
    }
    test.left_nothing();
}

/// Usability row B9: packages come and go, and each update goes on from what was asked for before.
#[test]
fn updates_add_and_remove_packages() {
    let test = TestEnv::new();
    test.environment("tool, gated=1");
    test.write(
        "more.yml",
        "channels: [CHANNEL]\ndependencies: [no-programs]\n",
    );
    run(&test, "new mine env.yml --base-image BASE").succeeded();
    let expected = ["gated=1.0", "library=2.0", "tool=1.0"];
    assert_eq!(packages(&test, "mine"), expected);

    // A package that is there already keeps its version, unless another one is asked for.
    run(&test, "update mine wants-two more.yml").succeeded();
    let expected = [
        "gated=1.0",
        "library=2.0",
        "no-programs=1.0",
        "tool=1.0",
        "wants-two=1.0",
    ];
    assert_eq!(packages(&test, "mine"), expected);
    run(&test, "update mine gated=2").succeeded();
    assert_eq!(packages(&test, "mine")[0], "gated=2.0");

    let said = run(&test, "update mine --remove wants-two --remove no-programs").succeeded();
    assert!(said.stderr.contains("Removed: "), "{said:?}");
    let expected = ["gated=2.0", "library=2.0", "tool=1.0"];
    assert_eq!(packages(&test, "mine"), expected);
    // What only the removed package needed goes with it, and nothing comes back later.
    run(&test, "update mine --remove tool no-programs").succeeded();
    assert_eq!(packages(&test, "mine"), ["gated=2.0", "no-programs=1.0"]);
    let why = run(&test, "packages --requested --json mine").succeeded();
    assert!(why.stdout.contains("\"gated 2.*\""), "{why:?}");
    // The lock has the packages of the last generation.
    let lock = test.path("home/.tykky/mine/share/condense.lock");
    let lock = fs_err::read_to_string(lock).unwrap();
    assert!(
        lock.contains("gated-2.0") && !lock.contains("tool-1.0"),
        "{lock}"
    );
    test.left_nothing();
}

/// Usability row B12, and the errors of updates.
#[test]
fn what_update_refuses_says_what_to_do() {
    let test = TestEnv::new();
    test.environment("tool, wants-two");
    test.write("vars.yml", "dependencies: [tool]\nvariables: {A: b}\n");
    run(&test, "new mine env.yml --base-image BASE").succeeded();
    let lock = "../home/.tykky/mine/share/condense.lock";
    let before = packages(&test, "mine");
    for (line, words) in [
        (
            "update myne tool",
            &["no installation", "did you mean `mine`?"][..],
        ),
        (
            "update mine --remove tol",
            &[
                "there is no package `tol` to remove",
                "did you mean `tool`?",
            ],
        ),
        (
            "update mine --remove library",
            &[
                "`library` cannot be removed: `tool`, which was asked for, needs it",
                "remove both: `--remove tool --remove library`",
            ],
        ),
        (
            "update mine LOCK",
            &["is a lock, which is for whole environments", "--force"],
        ),
        ("update mine vars.yml", &["`variables:`"]),
        ("update mine no-such-package", &["no-such-package"]),
    ] {
        let said = run(&test, &line.replace("LOCK", lock));
        assert_eq!(
            (said.status, said.stdout.as_str()),
            (1, ""),
            "{line}: {said:?}"
        );
        for words in words {
            assert!(
                said.stderr.contains(words),
                "{line}: no `{words}` in {said:?}"
            );
        }
        assert_eq!(packages(&test, "mine"), before, "{line}");
    }
    let said = run(&test, "update mine tool").succeeded();
    let dir = test.path("home/.tykky/mine");
    let line = format!(
        "nothing to do: {} has everything already that is asked for\n",
        dir.display()
    );
    assert_eq!(said.stderr, line);
    test.left_nothing();
}

/// Returns a test with files of each kind that builders take or refuse.
fn with_files() -> TestEnv {
    let test = TestEnv::new();
    test.environment("tool");
    test.write("enviroment.yml", "dependencies: [tool]\n");
    test.write("more.txt", "rich==1 ; python_version > '3'\n");
    test.write("x.def", "Bootstrap: docker\n");
    test.write("tool", "dependencies: [tool]\n");
    test
}

/// Returns a test with a runtime that starts nothing, and with a `pip` in the channel.
fn with_pip() -> TestEnv {
    let mut all = harness::packages();
    for name in ["pip", "python"] {
        all.push(Package::new(name, "3.0"));
    }
    let test = TestEnv::with(&all);
    test.fake_program("apptainer", "#!/bin/sh\necho apptainer version 1.4.5\n");
    test
}

#[test]
fn the_plan_of_new() {
    let test = with_pip();
    test.environment("tool");
    let check = |name: &str, line: &str| {
        let said = run(&test, &format!("{line} --base-image BASE --dry-run")).succeeded();
        snapshot!(&format!("dry-run/{name}"), said, test.paths());
        test.left_nothing();
    };
    check("new", "new mine env.yml");
    check(
        "new-of-packages",
        "new ./out tool library>=2 -c CHANNEL --pip rich --pip flask==3 --uv",
    );
}

/// A SIF is made of the same words as an installation.
#[test]
fn a_sif_of_a_file_and_packages() {
    let test = TestEnv::new();
    test.environment("tool");
    run(&test, "build out.sif env.yml no-programs --base-image BASE").succeeded();
    let expected = ["library=2.0", "no-programs=1.0", "tool=1.0"];
    assert_eq!(packages(&test, "out.sif"), expected);
    let inspected = run(&test, "sif inspect out.sif").succeeded();
    let command = format!(
        "condense build out.sif env.yml no-programs --base-image {}",
        base(&test)
    );
    assert!(inspected.stdout.contains(&command), "{inspected:?}");
    let listed = run(&test, "image ls out.sif").succeeded().stdout;
    assert!(listed.contains("opt/cotainr/conda/envs/conda_container_env/lib/library.txt"));

    let bytes = fs_err::read(test.path("work/out.sif")).unwrap();
    for (line, status, words) in [
        (
            "build out.sif tool -c CHANNEL --base-image BASE",
            1,
            &["/out.sif` is there already", "`--force`"][..],
        ),
        (
            "build new.sif",
            2,
            &[
                "no FILE and no SPEC is named",
                "`condense build new.sif environment.yml`",
            ],
        ),
        (
            "build new.sif tool --on-top --base-image BASE",
            1,
            &["`--on-top` installs requirements for pip over the image's own Python"],
        ),
        ("build new.sif x.def", 1, &["`x.def` does not exist"]),
    ] {
        let said = run(&test, line);
        assert_eq!(
            (said.status, said.stdout.as_str()),
            (status, ""),
            "{line}: {said:?}"
        );
        for words in words {
            assert!(
                said.stderr.contains(words),
                "{line}: no `{words}` in {said:?}"
            );
        }
    }
    assert_eq!(fs_err::read(test.path("work/out.sif")).unwrap(), bytes);
    run(
        &test,
        "build out.sif library -c CHANNEL --base-image BASE --force",
    )
    .succeeded();
    assert_eq!(packages(&test, "out.sif"), ["library=2.0"]);
    let test = with_pip();
    let plan = "build plan.sif tool -c CHANNEL --pip rich --post make --base-image BASE --dry-run";
    let said = run(&test, plan).succeeded();
    snapshot!("dry-run/build", said, test.paths());
    test.left_nothing();
}

/// Usability row B27: each builder knows the files of the others.
#[test]
fn builders_know_the_files_of_others() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    test.write("requirements.txt", "rich==1 ; python_version > '3'\n");
    test.build(&[env.to_str().unwrap()]).succeeded();
    let lock = "installation/share/condense.lock";
    for (line, words) in [
        (
            "conda-containerize new --prefix out --base-image BASE LOCK",
            "`--lock installation/share/condense.lock` installs exactly",
        ),
        (
            "conda-containerize new --prefix out --base-image BASE requirements.txt",
            "`pip-containerize new --prefix DIR requirements.txt`",
        ),
        (
            "pip-containerize new --prefix out --base-image BASE env.yml",
            "`conda-containerize new --prefix DIR env.yml` takes it",
        ),
        (
            "pip-containerize new --prefix out --base-image BASE LOCK",
            "`conda-containerize new --prefix DIR --lock installation/share/condense.lock`",
        ),
        (
            "conda-containerize new --prefix out --base-image BASE --lock LOCK -r requirements.txt",
            "has exactly its packages",
        ),
    ] {
        let said = run(&test, &line.replace("LOCK", lock));
        assert_eq!(said.status, 1, "{line}: {said:?}");
        assert!(said.stdout.contains(words), "{line}: {said:?}");
        assert!(!test.path("work/out").exists(), "{line}");
    }
    for (line, words) in [
        ("install numpy", "`condense new NAME SPEC…`"),
        ("create -n x numpy", "`condense new NAME SPEC…`"),
        ("add x numpy", "`condense update NAME SPEC…`"),
        (
            "remove-package x numpy",
            "`condense update NAME --remove PKG`",
        ),
        (
            "env create -f env.yml",
            "`condense new NAME environment.yml`",
        ),
        ("env update", "`condense update NAME FILE`"),
        ("env list", "`condense list`"),
    ] {
        let said = run(&test, line);
        assert_eq!(said.status, 2, "{line}: {said:?}");
        let mut hints = said
            .stderr
            .lines()
            .filter(|line| line.starts_with("hint: "));
        assert!(hints.any(|hint| hint.contains(words)), "{line}: {said:?}");
    }
}

/// Usability row A4: an interpreter that the container would not have is refused before anything
/// starts.
#[test]
fn a_python_of_the_system_and_a_named_base_are_refused() {
    let test = TestEnv::new();
    test.write("requirements.txt", "rich\n");
    let python = ["/usr/bin/python3", "/bin/python3"];
    let Some(python) = python
        .iter()
        .find(|path| std::path::Path::new(path).exists())
    else {
        panic!("this test needs /usr/bin/python3");
    };
    let said = run(
        &test,
        &format!(
            "pip-containerize new --prefix out --base-image BASE --interpreter {python} requirements.txt"
        ),
    );
    assert_eq!(said.status, 1, "{said:?}");
    for words in [
        "of this machine is not there in the container",
        "hint: leave out the base image",
        "or leave out `--interpreter`",
    ] {
        assert!(said.stdout.contains(words), "{said:?}");
    }
    assert!(!test.path("work/out").exists());
    test.left_nothing();
}

/// A name of an image in a registry without its scheme is met in every place that takes a base.
#[test]
fn a_reference_without_a_scheme_gets_one_suggested() {
    let test = TestEnv::new();
    test.environment("tool");
    test.write("requirements.txt", "rich\n");
    for line in [
        "conda-containerize new --prefix out --base-image ubuntu:24.04 env.yml",
        "wrap-container --prefix out -w /bin/sh ubuntu:24.04",
        "cotainr build --base-image ubuntu:24.04 --conda-env env.yml out.sif",
        "pull ubuntu:24.04 out.sif",
        "base show ubuntu:24.04",
        "base facts ubuntu:24.04",
    ] {
        let said = run(&test, line);
        assert_eq!(said.status, 1, "{line}: {said:?}");
        let text = format!("{}{}", said.stdout, said.stderr);
        assert!(text.contains("`docker://ubuntu:24.04`"), "{line}: {text}");
    }
    test.left_nothing();
}
