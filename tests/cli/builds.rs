//! Snapshots of what successful commands say.

use crate::{
    harness::{Run, TestEnv},
    support::snapshot::snapshot,
};

/// Fake runtime that names a version and starts every container.
const RUNTIME: &str = "#!/bin/sh\necho apptainer version 1.4.5\n";

fn prepared() -> TestEnv {
    let test = TestEnv::new();
    test.environment("tool");
    test.fake_program("apptainer", RUNTIME);
    test
}

#[track_caller]
fn check(test: &TestEnv, name: &str, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let output = test.condense(&words).run().succeeded();
    snapshot!(&format!("build/{name}"), output, test.paths());
    test.left_nothing();
}

#[test]
fn an_installation_is_built_updated_rolled_back_and_removed() {
    let test = prepared();
    check(
        &test,
        "conda-new",
        "conda-containerize new --prefix installation --base-image ../base env.yml",
    );
    test.write("environ.sh", "export A=1\n");
    check(
        &test,
        "conda-update",
        "conda-containerize update --environ environ.sh installation",
    );
    check(&test, "verify", "verify installation");
    check(&test, "rollback", "rollback installation");
    check(&test, "gc", "gc installation");
    check(&test, "remove", "remove --yes installation");
}

#[test]
fn a_build_without_a_runtime_warns() {
    let test = TestEnv::new();
    test.environment("tool");
    check(
        &test,
        "conda-new-without-runtime",
        "conda-containerize new --prefix installation --base-image ../base env.yml",
    );
}

#[test]
fn a_sif_is_built() {
    let test = prepared();
    check(
        &test,
        "cotainr-build",
        "cotainr build --base-image ../base --conda-env env.yml out.sif",
    );
    check(&test, "cotainr-info", "cotainr info");
}

#[test]
fn other_dialects_build() {
    let test = prepared();
    check(
        &test,
        "wrap-container",
        "wrap-container --prefix wrapped -w /bin/sh ../base",
    );
    fs_err::create_dir_all(test.path("work/software/bin")).unwrap();
    fs_err::copy("/bin/sh", test.path("work/software/bin/sh")).unwrap();
    check(
        &test,
        "wrap-install",
        "wrap-install --prefix installed -w bin --base-image ../base software",
    );
}

#[test]
fn an_environment_is_locked_and_an_image_is_pulled() {
    let test = prepared();
    check(&test, "lock", "lock env.yml");
    check(&test, "lock-written", "lock env.yml -o my.lock");
    crate::pull::layout(&test);
    check(&test, "pull", "pull oci:layout out.sif");
}

#[test]
fn images_are_packed_and_looked_into() {
    let test = prepared();
    fs_err::create_dir_all(test.path("work/tree/dir")).unwrap();
    fs_err::write(test.path("work/tree/dir/file"), "text\n").unwrap();
    std::os::unix::fs::symlink("dir/file", test.path("work/tree/link")).unwrap();
    check(&test, "image-pack", "image pack tree out.sqfs");
    check(&test, "image-verify", "image verify out.sqfs");
}
