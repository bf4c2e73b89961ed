//! Tests of the contents of the images that `cotainr build` makes.

use super::{command, condense, cotainr, file_in};
use crate::harness::{CommandOutput, Run, TestEnv};

const ENVIRONMENT: &str = "/opt/cotainr/conda/envs/conda_container_env";

#[track_caller]
fn build(test: &TestEnv, more: &[&str]) {
    let words = ["build", "--yes", "--base-image"];
    cotainr(test, &[&words, more].concat()).succeeded();
}

fn labels(test: &TestEnv, image: &str) -> serde_json::Value {
    serde_json::from_str(&file_in(test, image, "/.singularity.d/labels.json")).unwrap()
}

/// Returns the lines of `condense image diff` about all paths except the metadata in
/// `.singularity.d`.
fn differences(test: &TestEnv, one: &str, other: &str) -> Vec<String> {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    let output = command
        .args(["image", "diff", one, other])
        .output()
        .unwrap();
    let found = CommandOutput::from(output);
    assert!(found.status <= 1, "{found:#?}");
    let lines = found.stdout.lines().map(str::to_owned);
    lines
        .filter(|line| !line.contains(".singularity.d"))
        .collect()
}

#[test]
fn b23_to_b25_an_environment_in_its_place() {
    let test = TestEnv::new();
    test.environment("tool");
    build(&test, &["../base", "--conda-env", "env.yml", "out.sif"]);
    let tool = file_in(&test, "out.sif", &format!("{ENVIRONMENT}/bin/tool"));
    assert_eq!(tool, format!("#!{ENVIRONMENT}/bin/sh\necho tool\n"));
    let script = file_in(&test, "out.sif", "/.singularity.d/env/92-cotainr-env.sh");
    for line in [
        format!("export CONDA_PREFIX='{ENVIRONMENT}'\n"),
        "export CONDA_DEFAULT_ENV='conda_container_env'\n".to_owned(),
        "export CONDA_EXE='/opt/cotainr/conda/bin/conda'\n".to_owned(),
        format!("export PATH='{ENVIRONMENT}/bin:/opt/cotainr/conda/condabin'${{PATH:+:}}"),
    ] {
        assert!(script.contains(&line), "{script}");
    }
    // The `conda` of the image only answers which packages are in the environment.
    assert!(!script.contains("conda activate"), "{script}");
    let list = condense(&test, &["image", "ls", "out.sif"]);
    assert!(!list.contains(".condense-build"), "{list}");
    for path in [
        "bin/conda",
        "condabin/conda",
        "bin/mamba",
        "etc/profile.d/conda.sh",
    ] {
        assert!(
            list.contains(&format!("opt/cotainr/conda/{path}")),
            "{list}"
        );
    }
    assert!(list.contains("bin/sh"), "the base is not there: {list}");

    // The inputs of the build are readable in the metadata directory, and no file of the build is
    // in the root directory.
    let input = file_in(&test, "out.sif", "/.singularity.d/condense/environment.yml");
    assert!(input.contains("dependencies: [tool]"), "{input}");
    let lock = file_in(&test, "out.sif", "/.singularity.d/condense/condense.lock");
    assert!(lock.contains("library"), "{lock}");
    assert!(!test.path("unpacked/env.yml").exists());

    let labels = labels(&test, "out.sif");
    assert_eq!(
        labels["cotainr.command"],
        "cotainr build --base-image base --lock condense.lock --mount-point /opt/cotainr/conda IMAGE.sif"
    );
    assert_eq!(labels["cotainr.url"], "https://github.com/DeiC-HPC/cotainr");
    assert_eq!(labels["condense.base"], "base");
    assert!(
        labels["condense.lock.digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    let metadata = condense(&test, &["sif", "dump", "out.sif", "2"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let attributes = &metadata["data"]["attributes"];
    assert_eq!(attributes["labels"], labels);
    assert_eq!(attributes["deffile"], "bootstrap: localimage\nfrom: base");
    test.left_nothing();
}

#[test]
fn b87_and_b103_the_same_image_under_any_umask() {
    let test = TestEnv::new();
    test.environment("tool");
    let mut images = Vec::new();
    for (umask, mode) in [("007", 0o750), ("022", 0o755), ("077", 0o700)] {
        let mut command = test.command("sh");
        command
            .args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask])
            .arg(env!("CARGO_BIN_EXE_condense"))
            .args(["cotainr", "build", "--yes", "--base-image", "../base"])
            .args(["--conda-env", "env.yml", "out.sif"]);
        command.run().succeeded();
        let path = test.path("work/out.sif");
        let found = std::os::unix::fs::PermissionsExt::mode(
            &fs_err::metadata(&path).unwrap().permissions(),
        );
        assert_eq!(found & 0o777, mode, "umask {umask}");
        images.push(fs_err::read(path).unwrap());
    }
    assert!(images[0] == images[1] && images[1] == images[2]);
    let list = condense(
        &test,
        &["image", "ls", "--long", "out.sif", "/.singularity.d/env"],
    );
    let line = list.lines().find(|line| line.contains("92-cotainr-env.sh"));
    assert!(
        line.is_some_and(|line| line.contains("rwxr-xr-x")),
        "{list}"
    );
}

#[test]
fn b22_a_plain_build_is_the_base_with_labels() {
    let test = TestEnv::new();
    build(&test, &["../base", "one.sif"]);
    build(&test, &["one.sif", "two.sif"]);
    assert_eq!(
        differences(&test, "one.sif", "two.sif"),
        Vec::<String>::new()
    );
    let labels = labels(&test, "two.sif");
    assert_eq!(labels["condense.base"], "one.sif");
    assert!(
        labels["condense.base.digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert_eq!(
        file_in(
            &test,
            "two.sif",
            "/.singularity.d/bootstrap_history/Singularity0"
        ),
        "bootstrap: localimage\nfrom: base\n\n"
    );
}

#[test]
fn b88_an_image_of_ours_is_extended() {
    let test = TestEnv::new();
    test.environment("tool");
    build(&test, &["../base", "--conda-env", "env.yml", "one.sif"]);
    let again = ["build", "--base-image", "one.sif", "--packages", "library"];
    let channel = ["--channel", &test.channel, "two.sif"];
    let said = cotainr(&test, &[&again[..], &channel].concat());
    assert_eq!(said.status, 1, "{said:#?}");
    assert!(
        said.stderr.contains("in the base image already") && said.stderr.contains("--mount-point"),
        "{said:#?}"
    );
    assert!(!test.path("work/two.sif").exists());
    cotainr(
        &test,
        &[&again[..], &channel, &["--mount-point", "/opt/second"]].concat(),
    )
    .succeeded();
    let script = file_in(&test, "two.sif", "/.singularity.d/env/92-cotainr-env.sh");
    let first = script
        .find(&format!("CONDA_PREFIX='{ENVIRONMENT}'"))
        .unwrap();
    let second = script
        .find("CONDA_PREFIX='/opt/second/envs/conda_container_env'")
        .unwrap();
    assert!(first < second, "{script}");
    for path in [
        format!("{ENVIRONMENT}/bin/tool"),
        "/opt/second/envs/conda_container_env/lib/library.txt".to_owned(),
    ] {
        file_in(&test, "two.sif", &path);
    }
}

#[test]
fn failures_leave_the_old_image_and_nothing_else() {
    let test = TestEnv::new();
    let out = test.write("out.sif", "old");
    test.environment("nowhere-to-be-found");
    let said = cotainr(
        &test,
        &[
            "build",
            "-y",
            "--base-image",
            "../base",
            "--conda-env",
            "env.yml",
            "out.sif",
        ],
    );
    assert_eq!(said.status, 1, "{said:#?}");
    assert!(said.stderr.contains("nowhere-to-be-found"), "{said:#?}");
    assert_eq!(fs_err::read(&out).unwrap(), b"old");
    test.left_nothing();
    // A runtime that cannot start the finished image is an error as well.
    test.fake_program(
        "apptainer",
        "#!/bin/sh\ncase \"$*\" in *--version*) echo apptainer version 1.4.5;; *) echo 'FATAL: it is broken' >&2; exit 255;; esac\n",
    );
    let said = cotainr(
        &test,
        &["build", "-y", "--base-image", "../base", "out.sif"],
    );
    assert_eq!(said.status, 1, "{said:#?}");
    assert!(
        said.stderr.contains("does not start") && said.stderr.contains("it is broken"),
        "{said:#?}"
    );
    assert_eq!(fs_err::read(&out).unwrap(), b"old");
    test.left_nothing();
}

#[test]
fn files_are_copied_as_everybody_may_read_them() {
    let test = TestEnv::new();
    test.write("data.txt", "data");
    fs_err::create_dir_all(test.path("work/dir/sub")).unwrap();
    test.write("dir/sub/x", "x");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs_err::set_permissions(test.path("work/data.txt"), mode).unwrap();
    build(
        &test,
        &[
            "../base",
            "--copy",
            "data.txt:/opt/data/renamed.txt",
            "--copy",
            "dir:/etc",
            "out.sif",
        ],
    );
    assert_eq!(file_in(&test, "out.sif", "/opt/data/renamed.txt"), "data");
    assert_eq!(file_in(&test, "out.sif", "/etc/sub/x"), "x");
    assert!(file_in(&test, "out.sif", "/etc/os-release").contains("ID=test"));
    let list = condense(&test, &["image", "ls", "--long", "out.sif", "/opt/data"]);
    assert!(list.contains("rw-r--r--"), "{list}");
}

#[test]
fn packages_and_a_lock_instead_of_a_file() {
    let test = TestEnv::new();
    let channel = test.channel.clone();
    build(
        &test,
        &[
            "../base",
            "--packages",
            "tool",
            "--packages",
            "library 2.*",
            "--channel",
            &channel,
            "out.sif",
        ],
    );
    file_in(&test, "out.sif", &format!("{ENVIRONMENT}/bin/tool"));
    let lock = file_in(&test, "out.sif", "/.singularity.d/condense/condense.lock");
    test.write("condense.lock", &lock);
    build(&test, &["../base", "--lock", "condense.lock", "locked.sif"]);
    let bytes = |name: &str| fs_err::read(test.path("work").join(name)).unwrap();
    assert!(bytes("out.sif") == bytes("locked.sif"), "the SIFs differ");
}

/// Checks that the overlay of a base is applied as by a runtime: its files take precedence, and
/// files that it marks as deleted are missing.
#[test]
fn overlays_of_the_base_are_merged() {
    let test = TestEnv::new();
    build(&test, &["../base", "base.sif"]);
    fs_err::create_dir_all(test.path("work/over/etc")).unwrap();
    test.write("over/etc/os-release", "ID=overlaid\n");
    test.write("over/new", "new");
    condense(&test, &["image", "pack", "over", "over.sqfs"]);
    let add = |format: &str, image: &str| {
        let words = [
            "sif",
            "add",
            "--type",
            "partition",
            "--role",
            "overlay",
            "--fs",
            format,
        ];
        condense(&test, &[&words[..], &["base.sif", image]].concat());
    };
    add("squashfs", "over.sqfs");
    build(&test, &["base.sif", "out.sif"]);
    assert_eq!(
        file_in(&test, "out.sif", "/etc/os-release"),
        "ID=overlaid\n"
    );
    assert_eq!(file_in(&test, "out.sif", "/new"), "new");
    let objects = condense(&test, &["sif", "list", "out.sif"]);
    assert!(!objects.to_lowercase().contains("overlay"), "{objects}");
    // A runtime mounts the last overlay, and this overlay can change.
    test.write("ext3", &"x".repeat(4096));
    add("ext3", "ext3");
    let said = cotainr(&test, &["build", "--base-image", "base.sif", "refused.sif"]);
    assert_eq!(said.status, 1, "{said:#?}");
    assert!(said.stderr.contains("writable overlay"), "{said:#?}");
    assert!(!test.path("work/refused.sif").exists());
}

#[test]
fn space_is_asked_for_before_anything_is_done() {
    let test = TestEnv::new();
    build(&test, &["../base", "base.sif"]);
    // The file has a hole that is larger than any disk.
    let base = test.path("work/base.sif");
    let file = fs_err::OpenOptions::new().write(true).open(base).unwrap();
    file.set_len(7 << 40).unwrap();
    let mut command = command(&test, &["build", "--base-image", "base.sif", "out.sif"]);
    let said = command.run();
    assert_eq!(said.status, 1, "{said:#?}");
    assert!(
        said.stderr.contains("not enough space") && said.stderr.contains("the base image"),
        "{said:#?}"
    );
    test.left_nothing();
}

#[test]
fn an_overlay_leaves_the_base_as_it_is() {
    let test = TestEnv::new();
    test.environment("tool");
    build(&test, &["../base", "base.sif"]);
    let words = [
        "base.sif",
        "--layout",
        "overlay",
        "--conda-env",
        "env.yml",
        "out.sif",
    ];
    build(&test, &words);
    assert_eq!(
        differences(&test, "base.sif", "out.sif"),
        Vec::<String>::new()
    );
    let list: serde_json::Value =
        serde_json::from_str(&condense(&test, &["sif", "list", "--json", "out.sif"])).unwrap();
    let overlay = list.to_string();
    assert!(overlay.to_lowercase().contains("overlay"), "{overlay}");
    let again = fs_err::read(test.path("work/out.sif")).unwrap();
    build(&test, &words);
    assert!(again == fs_err::read(test.path("work/out.sif")).unwrap());
    // An image that is built on this image has no overlay.
    build(&test, &["out.sif", "flat.sif"]);
    file_in(&test, "flat.sif", &format!("{ENVIRONMENT}/bin/tool"));
    test.write("x", "x");
    std::os::unix::fs::symlink("usr", test.path("base/linked")).unwrap();
    build(&test, &["../base", "linked.sif"]);
    for (base, copy, problem) in [
        ("../base", "x:/opt/x", "is not a SIF"),
        ("out.sif", "x:/opt/x", "has an overlay already"),
        (
            "linked.sif",
            "x:/linked/x",
            "`/linked` is not a directory in the base image",
        ),
    ] {
        let words = [
            "build",
            "--layout",
            "overlay",
            "--base-image",
            base,
            "--copy",
            copy,
        ];
        let said = cotainr(&test, &[&words[..], &["refused.sif"]].concat());
        assert_eq!(said.status, 1, "{said:#?}");
        assert!(said.stderr.contains(problem), "{said:#?}");
        assert!(!test.path("work/refused.sif").exists());
    }
    test.left_nothing();
}

#[test]
fn signatures_of_the_base_are_left_out_with_a_warning() {
    let test = TestEnv::new();
    build(&test, &["../base", "base.sif"]);
    let key = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/crates/image/tests/keys/plain.secret.asc"
    );
    condense(&test, &["sif", "sign", "base.sif", "--key", key]);
    let signed = |image: &str| {
        let list = condense(&test, &["sif", "list", image]).to_lowercase();
        list.contains("signature")
    };
    assert!(signed("base.sif"));
    for layout in ["flat", "overlay"] {
        let words = [
            "build",
            "--base-image",
            "base.sif",
            "--layout",
            layout,
            "-y",
            "out.sif",
        ];
        let said = cotainr(&test, &words).succeeded();
        assert!(
            said.stderr.contains("its signatures are left out"),
            "{said:#?}"
        );
        assert!(!signed("out.sif"), "{layout}");
    }
}

/// R5: run scripts are in each image. Files of these names that the base has or the user copies
/// stay, and so do other files beside them.
#[test]
fn run_scripts_are_in_each_image_beside_the_user_s_own() {
    let test = TestEnv::new();
    fs_err::create_dir(test.path("base/runscripts")).unwrap();
    for name in ["get-master", "own"] {
        fs_err::write(test.path("base/runscripts").join(name), name).unwrap();
    }
    test.write("mine", "copied");
    let copy = "mine:/runscripts/conda-python-simple";
    build(&test, &["../base", "--copy", copy, "out.sif"]);
    let text = |name: &str| file_in(&test, "out.sif", &format!("/runscripts/{name}"));
    for (name, expected) in [
        ("get-master", "get-master"),
        ("own", "own"),
        ("conda-python-simple", "copied"),
    ] {
        assert_eq!(text(name), expected);
    }
    for script in condense_jobs::run_scripts() {
        if !["get-master", "conda-python-simple"].contains(&script.name) {
            assert_eq!(text(script.name), script.text);
        }
    }
    let script = file_in(&test, "out.sif", "/.singularity.d/env/92-cotainr-env.sh");
    assert!(script.contains("/runscripts"), "{script}");
    // A base that has something else at this place keeps it.
    fs_err::remove_dir_all(test.path("base/runscripts")).unwrap();
    std::os::unix::fs::symlink("usr", test.path("base/runscripts")).unwrap();
    build(&test, &["../base", "linked.sif"]);
    let list = condense(&test, &["image", "ls", "linked.sif"]);
    assert!(!list.contains("conda-python-distributed"), "{list}");
}
