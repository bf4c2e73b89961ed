//! Tests of A1: what is built from a lock has the bytes of what wrote the lock. The packages need
//! no container, so that the tests run without one.

use std::path::Path;

use crate::harness::{CommandOutput, Run, TestEnv};

fn bytes(path: impl AsRef<Path>) -> Vec<u8> {
    fs_err::read(path.as_ref()).unwrap()
}

/// Builds an installation with a base image in `work/DIR`, and returns the bytes of its image.
#[track_caller]
fn install(test: &TestEnv, dir: &str, more: &[&str]) -> Vec<u8> {
    let base = test.path("base");
    let base = base.to_str().unwrap();
    let words = ["new", "--prefix", dir, "--base-image", base];
    test.run(&[&words, more].concat()).succeeded();
    bytes(test.path("work").join(dir).join("img.sqfs"))
}

fn lock_of(test: &TestEnv, dir: &str) -> String {
    fs_err::read_to_string(test.path("work").join(dir).join("share/condense.lock")).unwrap()
}

fn receipt(test: &TestEnv, dir: &str) -> serde_json::Value {
    let path = test.path("work").join(dir).join("share/receipt.json");
    serde_json::from_slice(&bytes(path)).unwrap()
}

/// Builds a SIF and returns its bytes.
#[track_caller]
fn build_sif(test: &TestEnv, words: &[&str]) -> Vec<u8> {
    let mut command = test.condense(&["cotainr", "build", "--yes"]);
    command.args(words).run().succeeded();
    bytes(test.path("work").join(words.last().unwrap()))
}

/// Returns the lock in a SIF.
fn export_lock(test: &TestEnv, sif: &str, file: &str) {
    let text = test.condense(&["export", "--lock", sif]).run().succeeded();
    test.write(file, &text.stdout);
}

#[test]
fn an_installation_from_its_lock_has_the_same_bytes_elsewhere() {
    let test = TestEnv::new();
    let channel = &test.channel;
    let text = format!(
        "channels: [{channel}]\ndependencies: [tool, 'library >=2']\nvariables: {{GREETING: hello}}\n"
    );
    test.write("env.yml", &text);
    let first = install(
        &test,
        "one",
        &["env.yml", "--compression", "gzip:9", "--block-size", "64K"],
    );
    // Another directory, another name of the lock, and none of the options.
    fs_err::copy(
        test.path("work/one/share/condense.lock"),
        test.path("work/b.lock"),
    )
    .unwrap();
    let second = install(&test, "a longer/name", &["--lock", "b.lock"]);
    assert!(first == second, "the images differ");
    let (one, other) = (receipt(&test, "one"), receipt(&test, "a longer/name"));
    for key in ["mount_point", "image"] {
        assert_eq!(one[key], other[key]);
    }
    assert_eq!(one["image"]["compression"], "gzip:9");
    // The lock of what was built from a lock is that lock, and so is its image.
    assert_eq!(lock_of(&test, "one"), lock_of(&test, "a longer/name"));
    let third = install(
        &test,
        "c",
        &["--lock", "one/share/condense.lock", "env.yml"],
    );
    assert!(
        first == third,
        "the image of the lock with its file differs"
    );
    test.left_nothing();
}

/// The dry run of a lock names the mount point and the compression that the build will use.
#[test]
fn a_dry_run_reads_the_properties_of_its_lock() {
    let test = TestEnv::new();
    test.environment("tool");
    install(&test, "one", &["env.yml", "--compression", "gzip:9"]);
    let base = test.path("base").display().to_string();
    let words = [
        "new",
        "./two",
        "--base-image",
        &base,
        "--lock",
        "one/share/condense.lock",
        "--dry-run",
        "--json",
    ];
    let said = test.condense(&words).run().succeeded();
    let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let built = receipt(&test, "one");
    assert_eq!(found["compression"], "gzip:9", "{found}");
    assert_eq!(found["mount_point"], built["env_prefix"], "{found}");
}

#[test]
fn a_lock_repeats_the_time_and_an_option_comes_before_it() {
    let test = TestEnv::new();
    test.environment("tool");
    let base = test.path("base");
    let mut command = test.program(&["new", "--prefix", "one", "--base-image"]);
    command.arg(&base).arg("env.yml");
    command
        .env("SOURCE_DATE_EPOCH", "1000000000")
        .run()
        .succeeded();
    let first = bytes(test.path("work/one/img.sqfs"));
    let lock = ["--lock", "one/share/condense.lock"];
    assert!(first == install(&test, "two", &lock));
    install(
        &test,
        "three",
        &[&lock[..], &["--compression", "lz4"]].concat(),
    );
    assert_eq!(receipt(&test, "three")["image"]["compression"], "lz4");
}

#[test]
fn another_request_beside_the_lock_gets_another_mount_point() {
    let test = TestEnv::new();
    test.environment("tool, library");
    install(&test, "one", &["env.yml"]);
    test.environment("library");
    install(
        &test,
        "two",
        &["env.yml", "--lock", "one/share/condense.lock"],
    );
    let text = lock_of(&test, "two");
    assert!(
        text.contains("  - library\n") && !text.contains("  - tool\n"),
        "{text}"
    );
}

#[test]
fn explicit_files_and_condarcs_are_in_the_lock() {
    let test = TestEnv::new();
    let channel = &test.channel;
    test.write(
        "explicit.txt",
        &format!("@EXPLICIT\n{channel}/linux-64/tool-1.0-0.conda\n{channel}/linux-64/library-2.0-0.conda\n"),
    );
    let first = install(&test, "one", &["explicit.txt"]);
    assert!(first == install(&test, "two", &["--lock", "one/share/condense.lock"]));
}

#[test]
fn sifs_from_one_lock_are_the_same_under_any_name_and_command_line() {
    let test = TestEnv::new();
    test.environment("tool");
    let base = test.path("work/base.sif");
    build_sif(&test, &["--base-image", "../base", "base.sif"]);
    let first = build_sif(
        &test,
        &[
            "--base-image",
            "base.sif",
            "--conda-env",
            "env.yml",
            "a.sif",
        ],
    );
    let base = base.to_str().unwrap();
    let spelled = ["--conda-env=env.yml", "--mount-point", "/opt/cotainr/conda"];
    let second = build_sif(
        &test,
        &[&spelled[..], &["--base-image", base, "b.sif"]].concat(),
    );
    assert!(first == second, "the SIFs of two command lines differ");
    export_lock(&test, "a.sif", "a.lock");
    fs_err::create_dir(test.path("work/other")).unwrap();
    // The base may have another name where the lock is built.
    fs_err::copy(base, test.path("work/other/copy.sif")).unwrap();
    let third = build_sif(
        &test,
        &[
            "--lock",
            "a.lock",
            "--base-image",
            "other/copy.sif",
            "other/c.sif",
        ],
    );
    assert!(first == third, "the SIF of the lock differs");
    export_lock(&test, "other/c.sif", "c.lock");
    assert_eq!(
        bytes(test.path("work/a.lock")),
        bytes(test.path("work/c.lock"))
    );
}

#[test]
fn a_lock_with_a_script_is_refused_without_it() {
    let test = TestEnv::new();
    test.environment("tool");
    install(&test, "one", &["env.yml"]);
    let text = lock_of(&test, "one");
    let digest = "0".repeat(64);
    let scripted = text.replace(
        "condense:\n",
        &format!("condense:\n  scripts:\n  - post-install {digest}\n"),
    );
    assert_ne!(text, scripted);
    test.write("my.lock", &scripted);
    let output = test.build(&["--lock", "my.lock"]);
    output.failed(
        1,
        &[
            &format!(
                "the lock was made with a post-install script (sha256 {digest}), and none is given"
            ),
            "`--post-install FILE`",
        ],
    );
    let twice = scripted.replace(
        &format!("  - post-install {digest}\n"),
        &format!(
            "  - post-install {digest}\n  - post-install {}\n",
            "1".repeat(64)
        ),
    );
    test.write("my.lock", &twice);
    let output = test.build(&["--lock", "my.lock"]);
    output.failed(1, &["2 post-install scripts"]);
    test.left_nothing();
}

#[test]
fn requirements_that_are_not_in_a_lock_are_refused_beside_it() {
    let test = TestEnv::new();
    test.environment("tool");
    install(&test, "one", &["env.yml"]);
    test.write("more.txt", "rich\n");
    let output = test.build(&["--lock", "one/share/condense.lock", "-r", "more.txt"]);
    output.failed(1, &["was not made for these requirements"]);
}

fn condense(test: &TestEnv, words: &[&str]) -> CommandOutput {
    test.condense(words).run()
}

#[test]
fn verify_rebuild_says_that_the_bytes_are_the_same() {
    let test = TestEnv::new();
    test.environment("tool");
    install(
        &test,
        "one",
        &["env.yml", "--compression", "xz", "--block-size", "1M"],
    );
    let words = ["verify", "--no-start", "--rebuild", "./one"];
    let said = condense(&test, &words).succeeded();
    assert_eq!(said.stdout, "");
    assert!(said.stderr.contains("the same bytes, sha256 "), "{said:#?}");
    test.left_nothing();

    let said = condense(&test, &[&words[..], &["--json"]].concat()).succeeded();
    let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["schema"], "condense.verify/1");
    let rebuild = &found["rebuild"];
    for key in ["same_bytes", "same_files", "as_promised"] {
        assert_eq!(rebuild[key], true, "{key}: {found}");
    }
    assert_eq!(rebuild["sha256"], receipt(&test, "one")["image"]["sha256"]);
    assert_eq!(rebuild["differences"], serde_json::json!([]));
}

/// Changes the lock together with its digest in the receipt.
fn change_lock(test: &TestEnv, from: &str, to: &str) {
    use sha2::{Digest, Sha256};
    let old = lock_of(test, "one");
    let new = old.replace(from, to);
    assert_ne!(old, new);
    let share = test.path("work/one/share");
    let digest = |text: &str| hex::encode(Sha256::digest(text));
    let receipt = fs_err::read_to_string(share.join("receipt.json")).unwrap();
    let receipt = receipt.replace(&digest(&old), &digest(&new));
    fs_err::write(share.join("receipt.json"), receipt).unwrap();
    fs_err::write(share.join("condense.lock"), new).unwrap();
}

#[test]
fn verify_rebuild_names_the_files_that_differ() {
    let test = TestEnv::new();
    test.environment("tool");
    install(&test, "one", &["env.yml"]);
    change_lock(&test, "  - tool\n", "  - library\n");
    let words = ["verify", "--no-start", "--rebuild", "./one"];
    let said = condense(&test, &words);
    assert_eq!(said.status, 1, "{said:#?}");
    for word in ["conda-meta/history: size ", "conda-meta/tool-1.0-0.json"] {
        assert!(said.stdout.contains(word), "{said:#?}");
    }
    let refused = "the lock does not build this image again: ";
    assert!(said.stderr.contains(refused), "{said:#?}");
    let said = condense(&test, &[&words[..], &["--json"]].concat());
    assert_eq!(said.status, 1, "{said:#?}");
    let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["rebuild"]["as_promised"], false);
    assert_eq!(found["rebuild"]["differences"][0]["change"], "changed");
    test.left_nothing();
}

#[test]
fn a_sif_is_built_again_from_the_lock_in_it() {
    let test = TestEnv::new();
    test.environment("tool");
    build_sif(&test, &["--base-image", "../base", "base.sif"]);
    let words = [
        "--base-image",
        "base.sif",
        "--conda-env",
        "env.yml",
        "a.sif",
    ];
    build_sif(&test, &words);
    // The base that the lock names is beside the SIF.
    let words = ["verify", "--no-start", "--rebuild", "./a.sif"];
    let said = condense(&test, &words).succeeded();
    assert!(said.stderr.contains("the same bytes, sha256 "), "{said:#?}");
    fs_err::rename(test.path("work/base.sif"), test.path("moved.sif")).unwrap();
    let said = condense(&test, &words);
    assert_eq!(said.status, 1, "{said:#?}");
    assert!(
        said.stderr.contains("name it with `--base-image FILE`"),
        "{said:#?}"
    );
    let with_base = |base: &str| {
        let base = test.path("work").join(base);
        let more = ["--base-image", base.to_str().unwrap()];
        condense(&test, &[&words[..], &more].concat())
    };
    with_base("../moved.sif").succeeded();
    // Another base gives other bytes, which is said.
    build_sif(
        &test,
        &[
            "--base-image",
            "../base",
            "--copy",
            "env.yml:/opt/x",
            "other.sif",
        ],
    );
    let said = with_base("other.sif");
    assert_eq!(said.status, 1, "{said:#?}");
    assert!(
        said.stderr
            .contains("was written on the base image `base.sif`"),
        "{said:#?}"
    );
    assert!(said.stdout.contains("+ opt/x"), "{said:#?}");
    // A SIF without an environment has no lock.
    let said = condense(&test, &["verify", "--no-start", "--rebuild", "./other.sif"]);
    assert_eq!(said.status, 1, "{said:#?}");
    assert!(
        said.stderr.contains("there is no condense.lock in it"),
        "{said:#?}"
    );
}
