//! Snapshots of the plan that `--dry-run` prints, for each builder.

use crate::{
    harness::{Run, TestEnv},
    support::snapshot::snapshot,
};

/// Returns a test with an input of each kind.
fn prepared() -> TestEnv {
    let test = TestEnv::new();
    test.environment("tool");
    test.write("requirements.txt", "rich\n");
    for name in ["pre.sh", "post.sh", "environ.sh"] {
        test.write(name, "true\n");
    }
    test.write(
        "advanced.yml",
        "env_file: env.yml\ninstallation_prefix: out\ncontainer_src: ../base\npost_install: [make]\n",
    );
    fs_err::create_dir_all(test.path("work/software/bin")).unwrap();
    test
}

#[track_caller]
fn check(test: &TestEnv, name: &str, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let output = test.condense(&words).arg("--dry-run").run().succeeded();
    snapshot!(&format!("dry-run/{name}"), output, test.paths());
    test.left_nothing();
}

#[test]
fn conda_containerize() {
    let test = prepared();
    check(
        &test,
        "conda-new",
        "conda-containerize new --prefix out --base-image ../base env.yml",
    );
    check(
        &test,
        "conda-new-with-all-inputs",
        "conda-containerize new --prefix out --base-image ../base -r requirements.txt --pre-install pre.sh \
         --post-install post.sh --environ environ.sh -w /bin/sh,lib --compression xz:6 --block-size 1M \
         --tmpdir ../tmp --nocache --uv --jobs 3 --offline env.yml",
    );
    check(
        &test,
        "conda-new-at-a-site",
        "conda-containerize new --prefix out --site lumi-c --base-image ../base env.yml",
    );
    check(
        &test,
        "conda-advanced",
        "conda-containerize advanced advanced.yml",
    );
}

#[test]
fn conda_containerize_update() {
    let test = prepared();
    test.build(&["env.yml"]).succeeded();
    check(
        &test,
        "conda-update",
        "conda-containerize update installation",
    );
    check(
        &test,
        "conda-update-with-all-inputs",
        "conda-containerize update -r requirements.txt --pre-install pre.sh --post-install post.sh \
         --environ environ.sh -w /bin/sh --compression gzip:9 installation",
    );
}

#[test]
fn pip_containerize() {
    let test = prepared();
    check(
        &test,
        "pip-new",
        "pip-containerize new --prefix out --base-image ../base requirements.txt",
    );
    check(
        &test,
        "pip-new-slim",
        "pip-containerize new --prefix out --slim --pyver 3.12 requirements.txt",
    );
    check(
        &test,
        "pip-new-uv",
        "pip-containerize new --prefix out --base-image ../base --uv --pyver 3.12 requirements.txt",
    );
}

#[test]
fn wrap_container_and_wrap_install() {
    let test = prepared();
    check(
        &test,
        "wrap-container",
        "wrap-container --prefix out -w /bin/sh ../base",
    );
    check(
        &test,
        "wrap-install",
        "wrap-install --prefix out -w bin --base-image ../base software",
    );
    check(
        &test,
        "wrap-install-mask",
        "wrap-install --prefix out -w bin --mask --base-image ../base --post-install post.sh software",
    );
}

#[test]
fn cotainr_build() {
    let test = prepared();
    check(
        &test,
        "cotainr-build",
        "cotainr build --base-image ../base --conda-env env.yml out.sif",
    );
    check(
        &test,
        "cotainr-build-with-all-inputs",
        "cotainr build --base-image ../base --conda-env env.yml --requirements requirements.txt --post make \
         --copy software:/opt/software --layout overlay out.sif",
    );
}
