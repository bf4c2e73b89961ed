//! `condense base`, and images of the catalogue as the base of a build.

use crate::harness::{Ended, Stage, ended};

/// A catalogue with the stage's base, one that is not here, and a site that looks into a directory.
fn stage() -> Stage {
    let stage = Stage::new();
    let images = stage.path("work/images");
    fs_err::create_dir(&images).unwrap();
    for name in [
        "lumi-pytorch-rocm-6.2.4-python-3.12-pytorch-v2.7.1-dockerhash-0d479e852886.sif",
        "lumi-pytorch-rocm-6.1.3-python-3.12-pytorch-v2.4.1-dockerhash-04f2083a6cb0.sif",
    ] {
        fs_err::write(images.join(name), "").unwrap();
    }
    stage.write(
        "catalogue.toml",
        &format!(
            "schema = 1\n[site.here]\ninstallation_path = \"/HERE\"\nimage_dirs = [\"{}\"]\nbinds = [\"/srv\", \"/nowhere/at-all\"]\n\
             flags = [\"--cleanenv\"]\ncodecs = [\"gzip\"]\n\
             [image.mine]\nlocation = [\"{}\"]\nuntil = \"2030-01-01\"\n\
             [image.gone]\nlocation = [\"/nowhere/*.sif\"]\nrocm = \"6.9\"\nreplacement = \"mine\"\n",
            images.display(),
            stage.path("base").display()
        ),
    );
    stage
}

fn base(stage: &Stage, words: &[&str]) -> Ended {
    let mut command = stage.command(env!("CARGO_BIN_EXE_condense"));
    command
        .args(["base", "--site", "here", "--catalogue", "catalogue.toml"])
        .args(words);
    ended(&command.output().unwrap())
}

#[test]
fn images_are_listed_and_found_newest_first() {
    let stage = stage();
    let said = base(&stage, &["ls"]).succeeded();
    for words in [
        "mine",
        "(until 2030-01-01)",
        "gone",
        "(not here)",
        "pytorch=2.7.1",
    ] {
        assert!(said.stdout.contains(words), "no `{words}` in {said:?}");
    }
    let said = base(&stage, &["find", "pytorch", "python=3.12"]).succeeded();
    let versions: Vec<bool> = said
        .stdout
        .lines()
        .map(|line| line.contains("pytorch=2.7.1"))
        .collect();
    assert_eq!(versions, [true, false], "{said:?}");
    let said = base(&stage, &["--json", "find", "rocm=6.2"]).succeeded();
    let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["rocm"], "6.2.4");
    assert_eq!(found[0]["packages"]["pytorch"], "2.7.1");
    let none = base(&stage, &["find", "rocm=4"]);
    assert_eq!((none.status, none.stdout.as_str()), (1, ""), "{none:?}");
    assert!(none.stderr.contains("no base image"), "{none:?}");
}

#[test]
fn facts_are_read_out_of_an_image() {
    let stage = stage();
    let said = base(&stage, &["facts", "../base"]).succeeded();
    assert!(said.stdout.contains("glibc             2.36"), "{said:?}");
    let said = base(&stage, &["--json", "facts", "../base"]).succeeded();
    let facts: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(facts["glibc"], "2.36");
    let said = base(&stage, &["show", "mine"]).succeeded();
    assert!(
        said.stdout.contains("may be gone after") && said.stdout.contains("Test 1"),
        "{said:?}"
    );
    let said = base(&stage, &["show", "gone"]).succeeded();
    assert!(said.stdout.contains("replaced by       mine"), "{said:?}");
    let missing = base(&stage, &["facts", "nowhere.sif"]);
    assert_eq!((missing.status, missing.stdout.as_str()), (1, ""));
    assert!(missing.stderr.contains("nowhere.sif"), "{missing:?}");
}

#[test]
fn sites_are_listed_with_the_one_that_counts() {
    let stage = stage();
    let said = base(&stage, &["sites"]).succeeded();
    assert!(
        said.stdout.contains("* here") && said.stdout.contains("  lumi-g"),
        "{said:?}"
    );
    let mut command = stage.command(env!("CARGO_BIN_EXE_condense"));
    command
        .args(["base", "sites"])
        .env("CONDENSE_SITE", "puhti");
    let said = ended(&command.output().unwrap()).succeeded();
    assert!(said.stdout.contains("* puhti"), "{said:?}");
    let mut command = stage.command(env!("CARGO_BIN_EXE_condense"));
    command.args(["base", "--site", "atlantis", "sites"]);
    let said = ended(&command.output().unwrap());
    assert_eq!(said.status, 1);
    assert!(said.stderr.contains("known sites: "), "{said:?}");
}

#[test]
fn a_build_takes_an_image_of_the_catalogue_and_follows_its_site() {
    let stage = stage();
    let env = stage.environment("tool");
    let build = |base: &str| {
        let mut command = stage.program(&["new", "--prefix"]);
        command
            .arg(stage.installation())
            .args([
                "--site",
                "here",
                "--catalogue",
                "catalogue.toml",
                "--base-image",
                base,
            ])
            .arg(&env);
        ended(&command.output().unwrap())
    };
    build("gone").failed(1, &["`gone`", "is not here", "take `mine` instead"]);
    stage.left_nothing();
    let said = build("mine").succeeded();
    assert!(
        said.stdout.contains("may be gone after 2030-01-01"),
        "{said:?}"
    );
    let common = fs_err::read_to_string(stage.installation().join("common.sh")).unwrap();
    assert!(
        common.contains("--cleanenv") && common.contains("/srv") && common.contains("/HERE_"),
        "{common}"
    );
    let receipt: serde_json::Value = serde_json::from_slice(
        &fs_err::read(stage.installation().join("share/receipt.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(receipt["image"]["compression"], "gzip:6");
}

#[test]
fn a_catalogue_with_a_mistake_is_told_with_its_line() {
    let stage = Stage::new();
    stage.write("bad.toml", "schema = 1\n[image.x]\nlocatoin = []\n");
    let env = stage.environment("tool");
    let said = stage.build(&["--catalogue", "bad.toml", env.to_str().unwrap()]);
    said.failed(1, &["bad.toml:3: ", "locatoin"]);
    stage.left_nothing();
}

#[test]
fn a_sites_rules_come_to_what_the_node_and_the_image_are() {
    let stage = Stage::new();
    fs_err::create_dir_all(stage.path("base/opt/rocm-6.1.3")).unwrap();
    stage.write(
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
    stage.fake_program("apptainer", "#!/bin/sh\necho apptainer version 1.4.5\n");
    let env = stage.environment("tool");
    let site = ["--site", "here", "--catalogue", "rules.toml"];
    stage
        .build(&[&site[..], &[env.to_str().unwrap()]].concat())
        .succeeded();
    let common = fs_err::read_to_string(stage.installation().join("common.sh")).unwrap();
    assert!(
        common.contains("[ ! -e /dev/kfd ] || flags=\"$flags --rocm\"\n"),
        "{common}"
    );
    assert!(!common.contains("NEW"), "{common}");
    assert!(!common.contains("FOR_OLD"), "{common}");
    let explained = |own: &[(&str, &str)]| {
        let mut command = stage.command(stage.installation().join("bin/_debug_exec"));
        command.args(["--explain", "tool"]).env("USER", "me");
        let said = ended(&command.envs(own.iter().copied()).output().unwrap());
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
    // The user's own wins.
    assert!(!explained(&[("CACHE", "/mine")]).contains("CACHE="));
}

#[test]
fn a_flag_is_for_the_images_that_the_site_names() {
    let stage = Stage::new();
    let env = stage.environment("tool");
    stage.fake_program("apptainer", "#!/bin/sh\necho apptainer version 1.4.5\n");
    // The base has 2.36.
    for (range, expected) in [("2.31..", true), ("..2.35", false)] {
        let text = format!(
            "schema = 1\n[site.here]\ninstallation_path = \"/HERE\"\ngpu = \"amd\"\n\
             flags = [{{ flag = \"--rocm\", images = {{ glibc = \"{range}\" }} }}]\n"
        );
        stage.write("flags.toml", &text);
        let site = ["--site", "here", "--catalogue", "flags.toml", "--force"];
        stage
            .build(&[&site[..], &[env.to_str().unwrap()]].concat())
            .succeeded();
        let common = || fs_err::read_to_string(stage.installation().join("common.sh")).unwrap();
        let line = "[ ! -e /dev/kfd ] || flags=\"$flags --rocm\"\n";
        assert_eq!(common().contains(line), expected, "{range}");
        assert_eq!(common().contains("--rocm"), expected, "{range}");
    }
    stage.write(
        "flags.toml",
        "schema = 1\n[site.here]\nflags = [{ flag = \"--rocm\", images = { glibc = \"2.31\" } }]\n",
    );
    let words = ["--site", "here", "--catalogue", "flags.toml"];
    let said = stage.build(&[&words[..], &[env.to_str().unwrap()]].concat());
    said.failed(1, &["`glibc = \"2.31\"` is no range such as"]);
}

#[test]
fn a_shared_container_is_a_link_and_what_is_done_anyway_brings_no_warning() {
    let stage = Stage::new();
    let env = stage.environment("tool");
    let [base, file] = ["base", "base.sqfs"].map(|name| stage.path(name));
    let mut pack = stage.command(env!("CARGO_BIN_EXE_condense"));
    pack.args(["image", "pack"]).args([&base, &file]);
    crate::harness::ended(&pack.output().unwrap()).succeeded();
    let site = |share: &str| {
        stage.write(
            "site.yml",
            &format!(
                "defaults:\n  container_src: {}\n  share_container: {share}\n  installation_prefix: $PWD\n  \
                pipcache: yes\n  mamba: no\n  excluded_mount_points: []\nprepends:\nappends:\n",
                file.display()
            ),
        )
    };
    let dir = stage.installation();
    for (share, is_link) in [("yes", true), ("no", false)] {
        let mut command = stage.program(&["new", "--force", "--prefix"]);
        command
            .arg(&dir)
            .arg(&env)
            .env("CW_GLOBAL_YAML", site(share));
        let said = crate::harness::ended(&command.output().unwrap()).succeeded();
        assert!(!said.stdout.contains("not followed"), "{said:#?}");
        let found = fs_err::canonicalize(dir.join("container.sif")).unwrap();
        assert_eq!(found == file, is_link, "{share}: {}", found.display());
    }
    let text = fs_err::read_to_string(stage.path("work/site.yml")).unwrap();
    let site = stage.write("site.yml", &text.replace("mamba: no", "mamba: yes"));
    let mut command = stage.program(&["new", "--dry-run", "--prefix"]);
    command.arg(&dir).arg(&env).env("CW_GLOBAL_YAML", site);
    let said = crate::harness::ended(&command.output().unwrap()).succeeded();
    assert!(
        said.stdout.contains("not followed by this version: mamba"),
        "{said:#?}"
    );
}
