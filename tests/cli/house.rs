//! Tests of the builders of condense itself: `new`, `update` and `build`.

use crate::{
    harness::{CommandOutput, Run, TestEnv},
    support::snapshot::snapshot,
};

/// Variables by which a run without a base image gets one that is here.
fn base(test: &TestEnv) -> String {
    test.path("base").display().to_string()
}

/// Runs a command line of condense, whose words `CHANNEL` and `BASE` are replaced, with installations in
/// `home/.tykky`.
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
    assert_eq!(info["receipt"]["arguments"][1], "new", "{info}");

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
    let test = TestEnv::new();
    test.environment("tool");
    test.write("enviroment.yml", "dependencies: [tool]\n");
    test.write("more.txt", "rich==1 ; python_version > '3'\n");
    test.write("x.def", "Bootstrap: docker\n");
    test.write("tool", "dependencies: [tool]\n");
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
            1,
            &["`env.yml` and `more.txt` are two files", "`-r FILE`"],
        ),
        (
            "new fresh x.def",
            1,
            &["definition file", "`apptainer build OUT.sif x.def`"],
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
    assert_eq!(info["receipt"]["generation"], 2);
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

#[test]
fn the_plan_of_new() {
    let test = TestEnv::new();
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
