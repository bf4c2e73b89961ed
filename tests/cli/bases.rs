//! `condense base`, and images of the catalogue as the base of a build.

use crate::harness::{CommandOutput, Run, TestEnv};

/// Writes a catalogue with the base of the test, a base that does not exist, and a site whose rule
/// reads a directory.
fn test() -> TestEnv {
    let test = TestEnv::new();
    let images = test.path("work/images");
    fs_err::create_dir(&images).unwrap();
    for name in [
        "lumi-pytorch-rocm-6.2.4-python-3.12-pytorch-v2.7.1-dockerhash-0d479e852886.sif",
        "lumi-pytorch-rocm-6.1.3-python-3.12-pytorch-v2.4.1-dockerhash-04f2083a6cb0.sif",
    ] {
        fs_err::write(images.join(name), "").unwrap();
    }
    test.write(
        "catalogue.toml",
        &format!(
            "schema = 1\n[site.here]\ninstallation_path = \"/HERE\"\nimage_dirs = [\"{}\"]\nbinds = [\"/srv\", \"/nowhere/at-all\"]\n\
             flags = [\"--cleanenv\"]\ncodecs = [\"gzip\"]\n\
             [image.mine]\nlocation = [\"{}\"]\nuntil = \"2030-01-01\"\n\
             [image.gone]\nlocation = [\"/nowhere/*.sif\"]\nrocm = \"6.9\"\nreplacement = \"mine\"\n",
            images.display(),
            test.path("base").display()
        ),
    );
    test
}

fn base(test: &TestEnv, words: &[&str]) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command
        .args(["base", "--site", "here", "--catalogue", "catalogue.toml"])
        .args(words);
    command.run()
}

#[test]
fn images_are_listed_and_found_newest_first() {
    let test = test();
    let said = base(&test, &["ls"]).succeeded();
    for words in [
        "mine",
        "(until 2030-01-01)",
        "gone",
        "(not here)",
        "pytorch=2.7.1",
    ] {
        assert!(said.stdout.contains(words), "no `{words}` in {said:?}");
    }
    assert!(
        said.stdout.starts_with("NAME ") && said.stdout.contains(" SOFTWARE "),
        "{said:?}"
    );
    let said = base(&test, &["find", "pytorch", "python=3.12"]).succeeded();
    let versions: Vec<bool> = said
        .stdout
        .lines()
        .skip(1)
        .map(|line| line.contains("pytorch=2.7.1"))
        .collect();
    // The known images of other machines follow those that are here.
    assert_eq!(versions[..2], [true, false], "{said:?}");
    assert!(!versions[2..].contains(&true), "{said:?}");
    let said = base(&test, &["--json", "find", "rocm=6.2"]).succeeded();
    let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let found = &found["images"];
    let here = found.as_array().unwrap().iter();
    assert_eq!(here.filter(|found| found["here"] == true).count(), 1);
    assert_eq!(found[0]["rocm"], "6.2.4");
    assert_eq!(found[0]["packages"]["pytorch"], "2.7.1");
    let none = base(&test, &["find", "rocm=4"]);
    assert_eq!((none.status, none.stdout.as_str()), (1, ""), "{none:?}");
    assert!(none.stderr.contains("no base image"), "{none:?}");
}

#[test]
fn facts_are_read_out_of_an_image() {
    let test = test();
    let said = base(&test, &["facts", "../base"]).succeeded();
    assert!(said.stdout.contains("glibc             2.36"), "{said:?}");
    let said = base(&test, &["--json", "facts", "../base"]).succeeded();
    let facts: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(facts["glibc"], "2.36");
    let said = base(&test, &["show", "mine"]).succeeded();
    assert!(
        said.stdout.contains("may be gone after") && said.stdout.contains("Test 1"),
        "{said:?}"
    );
    let said = base(&test, &["show", "gone"]).succeeded();
    assert!(said.stdout.contains("replaced by       mine"), "{said:?}");
    let missing = base(&test, &["facts", "nowhere.sif"]);
    assert_eq!((missing.status, missing.stdout.as_str()), (1, ""));
    assert!(missing.stderr.contains("nowhere.sif"), "{missing:?}");
}

#[test]
fn sites_are_listed_with_the_one_that_counts() {
    let test = test();
    let said = base(&test, &["sites"]).succeeded();
    assert!(
        said.stdout.contains("* here") && said.stdout.contains("  lumi-g"),
        "{said:?}"
    );
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command
        .args(["base", "sites"])
        .env("CONDENSE_SITE", "puhti");
    let said = command.run().succeeded();
    assert!(said.stdout.contains("* puhti"), "{said:?}");
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.args(["base", "--site", "atlantis", "sites"]);
    let said = command.run();
    assert_eq!(said.status, 1);
    assert!(said.stderr.contains("known sites: "), "{said:?}");
}

#[test]
fn a_build_takes_an_image_of_the_catalogue_and_follows_its_site() {
    let test = test();
    let env = test.environment("tool");
    let build = |base: &str| {
        let mut command = test.program(&["new", "--prefix"]);
        command
            .arg(test.installation())
            .args([
                "--site",
                "here",
                "--catalogue",
                "catalogue.toml",
                "--base-image",
                base,
            ])
            .arg(&env);
        command.run()
    };
    build("gone").failed(1, &["`gone`", "is not here", "take `mine` instead"]);
    test.left_nothing();
    let said = build("mine").succeeded();
    assert!(
        said.stdout.contains("may be gone after 2030-01-01"),
        "{said:?}"
    );
    let common = fs_err::read_to_string(test.installation().join("common.sh")).unwrap();
    assert!(
        common.contains("--cleanenv") && common.contains("/srv") && common.contains("/HERE_"),
        "{common}"
    );
    let receipt: serde_json::Value = serde_json::from_slice(
        &fs_err::read(test.installation().join("share/receipt.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(receipt["image"]["compression"], "gzip:6");
}

#[test]
fn a_catalogue_with_a_mistake_is_told_with_its_line() {
    let test = TestEnv::new();
    test.write("bad.toml", "schema = 1\n[image.x]\nlocatoin = []\n");
    let env = test.environment("tool");
    let said = test.build(&["--catalogue", "bad.toml", env.to_str().unwrap()]);
    said.failed(1, &["bad.toml:3: ", "locatoin"]);
    test.left_nothing();
}

#[test]
fn a_sites_rules_come_to_what_the_node_and_the_image_are() {
    let test = TestEnv::new();
    fs_err::create_dir_all(test.path("base/opt/rocm-6.1.3")).unwrap();
    test.write(
        "rules.toml",
        "schema = 1\n[site.here]\ninstallation_path = \"/HERE\"\ngpu = \"amd\"\nrocm_driver = \"6.3.4\"\n\
         environment = [\n\
         { name = \"FOR_OLD\", value = \"1\", driver = \"..6.2\" },\n\
         { name = \"FOR_THIS\", value = \"1\", driver = \"6.3..\" },\n\
         { name = \"CACHE\", value = \"/tmp/${USER}-${SLURM_JOB_ID}\", path = \"/\" },\n\
         { name = \"ELSEWHERE\", value = \"1\", path = \"/nowhere/at-all\" },\n\
         { name = \"OLD\", value = \"1\", images = { rocm = \"..6.2\" } },\n\
         { name = \"NEW\", value = \"1\", images = { rocm = \"6.3..\" } },\n]\n",
    );
    test.fake_program("apptainer", "#!/bin/sh\necho apptainer version 1.4.5\n");
    let env = test.environment("tool");
    let site = ["--site", "here", "--catalogue", "rules.toml"];
    test.build(&[&site[..], &[env.to_str().unwrap()]].concat())
        .succeeded();
    let common = fs_err::read_to_string(test.installation().join("common.sh")).unwrap();
    assert!(
        common.contains("[ ! -e /dev/kfd ] || flags=\"$flags --rocm\"\n"),
        "{common}"
    );
    assert!(!common.contains("NEW"), "{common}");
    assert!(!common.contains("FOR_OLD"), "{common}");
    let explained = |own: &[(&str, &str)]| {
        let mut command = test.command(test.installation().join("bin/_debug_exec"));
        command.args(["--explain", "tool"]).env("USER", "me");
        let said = command.envs(own.iter().copied()).run();
        said.succeeded().stdout
    };
    let said = explained(&[("SLURM_JOB_ID", "7")]);
    assert!(said.contains("export CACHE='/tmp/me-7'"), "{said}");
    assert!(said.contains("export OLD='1'"), "{said}");
    assert!(said.contains("export FOR_THIS='1'"), "{said}");
    assert!(!said.contains("ELSEWHERE"), "{said}");
    assert_eq!(
        said.contains("--rocm"),
        std::path::Path::new("/dev/kfd").exists()
    );
    // A variable that the user has set takes precedence.
    assert!(!explained(&[("CACHE", "/mine")]).contains("CACHE="));
}

#[test]
fn a_flag_is_for_the_images_that_the_site_names() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    test.fake_program("apptainer", "#!/bin/sh\necho apptainer version 1.4.5\n");
    // The C library of the base has version 2.36.
    for (range, expected) in [("2.31..", true), ("..2.35", false)] {
        let text = format!(
            "schema = 1\n[site.here]\ninstallation_path = \"/HERE\"\ngpu = \"amd\"\n\
             flags = [{{ flag = \"--rocm\", images = {{ glibc = \"{range}\" }} }}]\n"
        );
        test.write("flags.toml", &text);
        let site = ["--site", "here", "--catalogue", "flags.toml", "--force"];
        test.build(&[&site[..], &[env.to_str().unwrap()]].concat())
            .succeeded();
        let common = || fs_err::read_to_string(test.installation().join("common.sh")).unwrap();
        let line = "[ ! -e /dev/kfd ] || flags=\"$flags --rocm\"\n";
        assert_eq!(common().contains(line), expected, "{range}");
        assert_eq!(common().contains("--rocm"), expected, "{range}");
    }
    test.write(
        "flags.toml",
        "schema = 1\n[site.here]\nflags = [{ flag = \"--rocm\", images = { glibc = \"2.31\" } }]\n",
    );
    let words = ["--site", "here", "--catalogue", "flags.toml"];
    let said = test.build(&[&words[..], &[env.to_str().unwrap()]].concat());
    said.failed(1, &["`glibc = \"2.31\"` is no range such as"]);
}

#[test]
fn a_shared_container_is_a_link_and_what_is_done_anyway_brings_no_warning() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    let [base, file] = ["base", "base.sqfs"].map(|name| test.path(name));
    let mut pack = test.command(env!("CARGO_BIN_EXE_condense"));
    pack.args(["image", "pack"]).args([&base, &file]);
    pack.run().succeeded();
    let site = |share: &str| {
        test.write(
            "site.yml",
            &format!(
                "defaults:\n  container_src: {}\n  share_container: {share}\n  installation_prefix: $PWD\n  \
                pipcache: yes\n  mamba: no\n  excluded_mount_points: []\nprepends:\nappends:\n",
                file.display()
            ),
        )
    };
    let dir = test.installation();
    for (share, is_link) in [("yes", true), ("no", false)] {
        let mut command = test.program(&["new", "--force", "--prefix"]);
        command
            .arg(&dir)
            .arg(&env)
            .env("CW_GLOBAL_YAML", site(share));
        let said = command.run().succeeded();
        assert!(!said.stdout.contains("not followed"), "{said:#?}");
        let found = fs_err::canonicalize(dir.join("container.sif")).unwrap();
        assert_eq!(found == file, is_link, "{share}: {}", found.display());
    }
    let text = fs_err::read_to_string(test.path("work/site.yml")).unwrap();
    let site = test.write("site.yml", &text.replace("mamba: no", "mamba: yes"));
    let mut command = test.program(&["new", "--dry-run", "--force", "--prefix"]);
    command.arg(&dir).arg(&env).env("CW_GLOBAL_YAML", site);
    let said = command.run().succeeded();
    assert!(
        said.stderr.contains("not followed by this version: mamba"),
        "{said:#?}"
    );
}
