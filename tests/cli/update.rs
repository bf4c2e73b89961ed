//! Tests of `update` without build steps: settings of the wrappers change, and everything else
//! stays.

use crate::harness::{CommandOutput, TestEnv};

fn receipt(test: &TestEnv) -> serde_json::Value {
    let path = test.installation().join("share/receipt.json");
    serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap()
}

fn update(test: &TestEnv, words: &[&str]) -> CommandOutput {
    let words = [&["update", "installation"], words].concat();
    test.run(&words)
}

#[test]
fn what_wrappers_know_changes_and_all_else_stays() {
    let test = TestEnv::new();
    let file = test.environment("tool, library");
    test.write("one.sh", "export WHO=one\n");
    test.write("two.sh", "export WHO=two\n");
    test.build(&[
        "--environ",
        "one.sh",
        "--nocache",
        "--compression",
        "gzip:1",
        "-wminiforge/envs/env1/bin",
        file.to_str().unwrap(),
    ])
    .succeeded();
    let common = || fs_err::read_to_string(test.installation().join("common.sh")).unwrap();
    let before = receipt(&test);
    let image = fs_err::read(test.installation().join("img.sqfs")).unwrap();

    // The update keeps the options of the first build.
    update(&test, &["-w", "miniforge/envs/env1/bin,/bin/sh"]).succeeded();
    let receipt = self::receipt(&test);
    assert_eq!(receipt["generation"], 2);
    for key in ["mount_point", "base", "env_prefix", "inputs"] {
        assert_eq!(receipt[key], before[key], "{key}");
    }
    for key in ["uv", "no-cache", "compression", "launch"] {
        let (after, before) = (&receipt["remembered"][key], &before["remembered"][key]);
        assert_eq!(after, before, "{key}");
    }
    assert!(common().contains("WHO=one"));
    // The new image differs from the old one only in the file that lists packages and in the times
    // of the directories above it.
    let again = fs_err::read(test.installation().join("img.sqfs")).unwrap();
    assert!(again.len().abs_diff(image.len()) < 4096);

    update(&test, &["--environ", "two.sh", "-w", "/bin/sh"]).succeeded();
    assert!(common().contains("WHO=two") && !common().contains("WHO=one"));
    let bin = test.installation().join("bin");
    assert!(bin.join("sh").exists() && bin.join("tool").exists());
    let kept = fs_err::read_to_string(test.installation().join("share/previous_input/3/two.sh"));
    assert_eq!(kept.unwrap(), "export WHO=two\n");
    let receipt = self::receipt(&test);
    assert_eq!(receipt["remembered"]["wrapper-paths"][0], "/bin/sh");
    assert_eq!(receipt["remembered"]["no-cache"], true);
    assert_eq!(receipt["inputs"].as_array().unwrap().len(), 3);
    test.left_nothing();

    let said = update(&test, &["--compression", "zstd:1"]).succeeded();
    assert!(
        said.stdout.contains("(zstd:1), 0 B of them taken over"),
        "{said:?}"
    );
    assert!(bin.join("sh").exists());
}

/// Usability row B12: an update that would change nothing makes no generation.
#[test]
fn an_update_with_nothing_to_do_says_so() {
    let test = TestEnv::new();
    let file = test.environment("tool, library");
    test.write("one.sh", "export WHO=one\n");
    test.build(&["--environ", "one.sh", file.to_str().unwrap()])
        .succeeded();
    let forgotten = "; `library>=2` and `tool=1` are not remembered for later updates";
    for (words, more) in [
        (&[][..], ""),
        (&["tool"], ""),
        (&["library>=2", "tool=1"], forgotten),
        (&["--environ", "one.sh"], ""),
    ] {
        let said = update(&test, words).succeeded();
        let line = format!(
            "[ INFO ] nothing to do: {} has everything already that is asked for{more}\n",
            test.installation().display()
        );
        assert_eq!(said.stdout, line, "{words:?}");
        assert_eq!(receipt(&test)["generation"], 1, "{words:?}");
    }
    test.left_nothing();
}

/// A start that is wished for, or none, is a change of its own.
#[test]
fn a_zone_alone_is_something_to_do() {
    let test = TestEnv::new();
    let file = test.environment("tool, library");
    test.build(&[file.to_str().unwrap()]).succeeded();
    let hot_files = || {
        let lock = fs_err::read_to_string(test.installation().join("share/condense.lock")).unwrap();
        let mut lines = lock.lines().map(str::trim);
        let found = lines.find(|line| line.starts_with("hot_files:"));
        found.map(str::to_owned)
    };
    // An environment without Python has no start.
    assert_eq!(hot_files(), None);
    for (words, generation, expected) in [
        (&["--no-warm"][..], 2, Some("hot_files: []")),
        (&["--no-warm"], 2, Some("hot_files: []")),
        (&["--warm", "import this"], 3, None),
        (&["--warm", "import this"], 4, None),
        (&["--no-warm"], 5, Some("hot_files: []")),
        (&[], 5, Some("hot_files: []")),
    ] {
        let said = update(&test, words).succeeded();
        assert_eq!(
            receipt(&test)["generation"],
            generation,
            "{words:?} {said:?}"
        );
        assert_eq!(hot_files().as_deref(), expected, "{words:?}");
    }
}

/// Usability row B9: conda packages are named on the command line, also to remove them.
#[test]
fn conda_packages_are_added_and_removed() {
    let test = TestEnv::new();
    let file = test.environment("tool");
    test.build(&[file.to_str().unwrap()]).succeeded();
    let said = update(&test, &["no-programs", "wants-two"]).succeeded();
    assert!(
        said.stdout
            .contains("Added: no-programs-1.0-0, wants-two-1.0-0"),
        "{said:?}"
    );
    let said = update(&test, &["--remove", "tool"]).succeeded();
    // `wants-two` needs the library as well, so it stays.
    assert!(said.stdout.contains("Removed: tool-1.0-0\n"), "{said:?}");
    assert!(!test.installation().join("bin/tool").exists());
    test.left_nothing();
}

#[test]
fn what_is_no_environment_or_cannot_be_changed_is_refused() {
    let test = TestEnv::new();
    let file = test.environment("tool");
    test.build(&[file.to_str().unwrap()]).succeeded();
    fs_err::create_dir(test.path("work/other")).unwrap();
    fs_err::write(test.path("work/other/file"), "mine").unwrap();
    test.write("req.txt", "rich\n");
    test.write("post.sh", "true\n");
    for (words, said) in [
        (&["update", "none"][..], "none does not exist"),
        (&["update", "other"], "is not an installation"),
        (
            &["update", "--offline", "-r", "req.txt", "installation"],
            "`--offline`: pip would ask its index",
        ),
        (
            &["update", "--post", "post.sh", "installation"],
            "`post.sh` must run in a container",
        ),
        (
            &["update", "-w", "none", "installation"],
            "there is no program at `none`",
        ),
    ] {
        test.run(words).failed(1, &["[ ERROR ] ", said]);
        assert_eq!(receipt(&test)["generation"], 1);
        test.left_nothing();
    }
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    let said = command
        .args(["pip-containerize", "update", "installation"])
        .output()
        .unwrap();
    CommandOutput::from(said).failed(1, &["is a conda environment", "conda-containerize update"]);
    for (mode, said) in [
        (
            "wrapcont",
            "only wraps what is somewhere else (mode wrapcont)",
        ),
        ("wrapdisk", "make it again in another directory"),
        ("venv", "use `pip-containerize update`"),
    ] {
        let dir = test.path(format!("work/{mode}"));
        for name in ["bin", "_bin", "share"] {
            fs_err::create_dir_all(dir.join(name)).unwrap();
        }
        fs_err::write(dir.join("common.sh"), "").unwrap();
        let conf = format!("mode: {mode}\ninstallation_path: /X_1\n");
        fs_err::write(dir.join("share/conf.yaml"), conf).unwrap();
        test.run(&["update", mode]).failed(1, &["[ ERROR ] ", said]);
        assert!(!dir.join(".condense").exists(), "{mode}");
    }
}

/// Hiding the user's own Python packages is a change by itself.
#[test]
fn no_user_site_alone_makes_a_generation() {
    let test = TestEnv::new();
    let file = test.environment("tool");
    test.build(&[file.to_str().unwrap()]).succeeded();
    update(&test, &["--no-user-site"]).succeeded();
    assert_eq!(receipt(&test)["generation"], 2);
    let common = fs_err::read_to_string(test.installation().join("common.sh")).unwrap();
    assert!(common.contains("\nno_user_site=yes "), "{common}");
    let said = update(&test, &["--no-user-site"]).succeeded();
    assert!(said.stdout.contains("nothing to do"), "{said:?}");
    assert_eq!(receipt(&test)["generation"], 2);
}

/// A dry run solves, and names what comes, what goes and what is fetched.
#[test]
fn a_dry_run_of_an_update_lists_its_packages() {
    let test = TestEnv::new();
    let file = test.environment("tool");
    test.build(&[file.to_str().unwrap()]).succeeded();
    let dry = |words: &[&str]| {
        let words = [&["update", "./installation", "--dry-run", "--json"], words].concat();
        let mut command = test.condense(&words);
        let said = crate::harness::Run::run(&mut command);
        let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        (said, found)
    };
    let (_, found) = dry(&["wants-two", "no-programs"]);
    let packages = found["packages"].as_array().unwrap().iter();
    let names: Vec<&str> = packages.filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["no-programs", "wants-two"], "{found}");
    let steps = found["steps"].to_string();
    assert!(
        steps.contains("add no-programs-1.0-0, wants-two-1.0-0"),
        "{steps}"
    );
    let (_, found) = dry(&["--remove", "tool"]);
    let steps = found["steps"].to_string();
    assert!(
        steps.contains("remove library-2.0-0, tool-1.0-0"),
        "{steps}"
    );
    assert_eq!(found["packages"].as_array().unwrap().len(), 0, "{found}");
    let (said, _) = dry(&["nosuch"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.stderr.contains("PackagesNotFoundError"), "{said:?}");
    assert_eq!(receipt(&test)["generation"], 1);
    test.left_nothing();
}
