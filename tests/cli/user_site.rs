//! Tests of packages in `~/.local` and on PYTHONPATH that hide those of an environment.

use serde_json::Value;

use crate::harness::{CommandOutput, Run, TestEnv, packages};
use crate::support::channel::Package;

const SITE: &str = "lib/python3.12/site-packages";

fn prepared() -> TestEnv {
    let mut all = packages();
    all.push(
        Package::new("emoji", "2.2.0")
            .file(&format!("{SITE}/emoji-2.2.0.dist-info/METADATA"), "x")
            .program("bin/emoji", "#!/bin/sh\n"),
    );
    let test = TestEnv::with(&all);
    for dir in ["home/.local", "work/base-of-user", "work/module"] {
        let dir = test.path(dir).join(SITE).join("emoji-2.14.dist-info");
        fs_err::create_dir_all(dir).unwrap();
    }
    test
}

fn check(test: &TestEnv, words: &[&str], variables: &[(&str, &str)]) -> CommandOutput {
    let mut command = test.condense(&[&["check", "--json"][..], words].concat());
    command.envs(variables.iter().copied()).run()
}

/// Returns the codes of the findings about Python packages.
fn codes(said: &CommandOutput) -> Vec<String> {
    let value: Value = serde_json::from_str(&said.stdout).expect(&said.stdout);
    let findings = value["findings"].as_array().unwrap().iter();
    let codes = findings.map(|finding| finding["code"].as_str().unwrap().to_owned());
    codes
        .filter(|code| ["user-site", "pythonpath"].contains(&code.as_str()))
        .collect()
}

/// Usability row A6: a build says which packages of the user will hide those of the environment,
/// and `check` finds them.
#[test]
fn packages_of_the_user_are_found_at_the_build_and_by_check() {
    let test = prepared();
    let env = test.environment("emoji");
    let said = test.build(&[env.to_str().unwrap()]).succeeded();
    let words = "emoji 2.14 (not 2.2.0)";
    assert_eq!(said.text().matches(words).count(), 1, "{said:?}");
    let said = check(&test, &["installation"], &[]);
    assert!(said.stdout.contains(words), "{said:?}");
    assert_eq!(codes(&said), ["user-site"]);
    let user_base = test.path("work/base-of-user");
    let user_base = user_base.to_str().unwrap();
    let said = check(&test, &["installation"], &[("PYTHONUSERBASE", user_base)]);
    assert!(said.stdout.contains(user_base), "{said:?}");
    let module = test.path("work/module").join(SITE);
    let path = [("PYTHONPATH", module.to_str().unwrap())];
    let said = check(&test, &["installation"], &path);
    assert_eq!(codes(&said), ["pythonpath", "user-site"], "{said:?}");
    for hidden in [("CONDENSE_NO_USER_SITE", "1"), ("PYTHONNOUSERSITE", "1")] {
        assert_eq!(
            codes(&check(&test, &["installation"], &[hidden])),
            [] as [&str; 0]
        );
    }
    let shown = [("CONDENSE_NO_USER_SITE", "0")];
    assert_eq!(
        codes(&check(&test, &["installation"], &shown)),
        ["user-site"]
    );
}

/// The result of a build has the findings that it let pass, as `check` shows them.
#[test]
fn results_of_builds_have_their_findings() {
    let test = prepared();
    test.environment("emoji");
    for line in [
        "new --json ./made --base-image ../base env.yml",
        "build --json made.sif --base-image ../base env.yml",
        "conda-containerize new --json --prefix other --base-image ../base env.yml",
        "cotainr build --json other.sif --base-image ../base --conda-env env.yml",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let said = test.condense(&words).run().succeeded();
        assert_eq!(codes(&said), ["user-site"], "{said:?}");
        let value: Value = serde_json::from_str(&said.stdout).unwrap();
        let finding = &value["findings"][0];
        assert_eq!(finding["severity"], "warning", "{said:?}");
        assert!(said.stderr.contains("[user-site]"), "{said:?}");
    }
}

/// Usability row A6: installations and images that were built so hide the user's packages, also
/// after an update.
#[test]
fn no_user_site_is_recorded() {
    let test = prepared();
    let env = test.environment("emoji");
    let env = env.to_str().unwrap();
    let said = test.build(&["--no-user-site", env]).succeeded();
    assert!(!said.text().contains("emoji 2.14"), "{said:?}");
    assert_eq!(
        codes(&check(&test, &["installation"], &[])),
        [] as [&str; 0]
    );
    let common = || fs_err::read_to_string(test.installation().join("common.sh")).unwrap();
    assert!(common().contains("\nno_user_site=yes "), "{}", common());
    for flags in [&[][..], &["--no-user-site"]] {
        let words = ["cotainr", "build", "--yes", "--base-image", "../base"];
        let rest = ["--conda-env", env, "x.sif"];
        let words = [&words[..], flags, &rest].concat();
        test.condense(&words).run().succeeded();
        let expected: &[&str] = if flags.is_empty() {
            &["user-site"]
        } else {
            &[]
        };
        let said = check(&test, &["x.sif"], &[]);
        assert_eq!(codes(&said), expected, "{flags:?} {said:?}");
    }
}
