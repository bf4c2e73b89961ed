//! Snapshots of errors: each kind of mistake with the message, the hint and the exit code that a
//! user gets. Other tests check what errors leave behind.

use std::process::Command;

use crate::{
    harness::{Run, TestEnv},
    support::snapshot::snapshot,
};

/// Returns a test whose working directory has a good and a bad file of each kind.
fn prepared() -> TestEnv {
    let test = TestEnv::new();
    for (name, text) in [
        ("env.yml", "channels: [CHANNEL]\ndependencies: [tool]\n"),
        (
            "unfinished.yml",
            "channels: [CHANNEL]\ndependencies: [tool\n",
        ),
        ("list.yml", "- tool\n"),
        (
            "bad-spec.yml",
            "channels: [CHANNEL]\ndependencies:\n  - tool\n  - tool ==== 3\n",
        ),
        (
            "unknown-package.yml",
            "channels: [CHANNEL]\ndependencies: [no-such-package]\n",
        ),
        (
            "unsatisfiable.yml",
            "channels: [CHANNEL]\ndependencies: [wants-one, wants-two]\n",
        ),
        (
            "no-channel.yml",
            "channels: ['file:///no/such/channel']\ndependencies: [tool]\n",
        ),
        (
            "unreachable.yml",
            "channels: ['http://127.0.0.1:9/channel']\ndependencies: [tool]\n",
        ),
        (
            "scripted.yml",
            "channels: [CHANNEL]\ndependencies: [scripted]\n",
        ),
        (
            "activated.yml",
            "channels: [CHANNEL]\ndependencies: [activated]\n",
        ),
        (
            "missing-requirements.yml",
            "channels: [CHANNEL]\ndependencies: [tool, {pip: [-r none.txt]}]\n",
        ),
        (
            "pip-source.yml",
            "channels: [CHANNEL]\ndependencies: [tool, {pip: ['git+https://me:secret@host/x']}]\n",
        ),
        ("odd-key.yml", "env_file: env.yml\nodd_key: 1\n"),
        ("bad-catalogue.toml", "schema = 1\n[site.here]\ngpu = 7\n"),
        ("requirements.txt", "rich\n"),
        ("post.sh", "true\n"),
        ("junk.sif", "this is no image at all"),
        ("file", "x"),
    ] {
        test.write(name, text);
    }
    fs_err::write(test.path("work/latin-1.yml"), b"dependencies: [\xfc]\n").unwrap();
    for dir in ["empty", "thesis", "tree"] {
        fs_err::create_dir(test.path("work").join(dir)).unwrap();
    }
    fs_err::write(test.path("work/thesis/thesis.tex"), "years of work").unwrap();
    fs_err::write(test.path("work/tree/file"), "x").unwrap();
    test
}

#[track_caller]
fn check_command(test: &TestEnv, name: &str, command: &mut Command) {
    let output = command.run();
    assert_ne!(output.status, 0, "{output:?}");
    snapshot!(&format!("error/{name}"), output, test.paths());
}

/// Runs `condense` with the words of each line, and compares what a user sees with a snapshot.
#[track_caller]
fn check(test: &TestEnv, lines: &[(&str, &str)]) {
    for (name, line) in lines {
        let words: Vec<&str> = line.split(' ').collect();
        check_command(test, name, &mut test.condense(&words));
    }
}

/// Does the same as [`check`] for `conda-containerize new` on the base of the test.
#[track_caller]
fn check_new(test: &TestEnv, lines: &[(&str, &str)]) {
    for (name, words) in lines {
        let line = format!("conda-containerize new --prefix out --base-image ../base {words}");
        check(test, &[(name, &line)]);
        assert!(!test.path("work/out").exists(), "{name}");
        test.left_nothing();
    }
}

#[test]
fn environment_files() {
    check_new(
        &prepared(),
        &[
            ("environment-file-missing", "none.yml"),
            ("environment-file-unfinished", "unfinished.yml"),
            ("environment-file-is-a-list", "list.yml"),
            ("environment-file-not-utf-8", "latin-1.yml"),
            ("environment-file-bad-spec", "bad-spec.yml"),
            (
                "environment-file-names-missing-requirements",
                "missing-requirements.yml",
            ),
            ("requirements-missing", "-r none.txt env.yml"),
        ],
    );
}

#[test]
fn solving_and_channels() {
    let test = prepared();
    check_new(
        &test,
        &[
            ("package-unknown", "unknown-package.yml"),
            ("solve-unsatisfiable", "unsatisfiable.yml"),
            ("channel-missing", "no-channel.yml"),
            // Each index is asked for again, and which messages come before the error varies.
            ("channel-unreachable", "--quiet unreachable.yml"),
            ("channel-offline", "--offline unreachable.yml"),
            ("solve-unsatisfiable-json", "--log-json unsatisfiable.yml"),
        ],
    );
    let archive = test.path("channel/linux-64/library-2.0-0.conda");
    let mut bytes = fs_err::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(&archive, bytes).unwrap();
    check_new(&test, &[("package-hash-mismatch", "env.yml")]);
}

#[test]
fn base_images_and_sites() {
    let test = prepared();
    let new = "conda-containerize new --prefix out";
    for (name, words) in [
        ("base-missing", "--base-image /no/such/base.sif"),
        ("base-not-an-image", "--base-image junk.sif"),
        ("base-empty-directory", "--base-image empty"),
        ("base-bad-reference", "--base-image docker://No_Image"),
        ("base-of-a-library", "--base-image library://image:1"),
        ("base-offline", "--offline --base-image docker://debian:12"),
        ("site-unknown", "--site atlantis --base-image ../base"),
        (
            "catalogue-bad",
            "--catalogue bad-catalogue.toml --base-image ../base",
        ),
    ] {
        let line = format!("{new} {words} env.yml").replace("  ", " ");
        check(&test, &[(name, &line)]);
        test.left_nothing();
    }
}

#[test]
fn destinations_and_scratch() {
    let test = prepared();
    for (name, words) in [
        ("destination-holds-a-thesis", "--prefix thesis"),
        ("destination-is-a-file", "--prefix file"),
        ("destination-holds-an-installation", "--prefix installation"),
        (
            "scratch-unusable",
            "--prefix out --tmpdir /proc/nothing/here",
        ),
    ] {
        if name == "destination-holds-an-installation" {
            test.build(&["env.yml"]).succeeded();
        }
        let line = format!("conda-containerize new {words} --base-image ../base env.yml");
        check(&test, &[(name, &line)]);
        test.left_nothing();
    }
    let mut command = test.new_command(&["env.yml"]);
    check_command(
        &test,
        "scratch-not-absolute",
        command.env("CW_BUILD_TMPDIR", "relative"),
    );
}

#[test]
fn options_and_usage() {
    let test = prepared();
    check_new(
        &test,
        &[
            ("option-unknown", "--no-such-option env.yml"),
            ("option-bad-codec", "--compression brotli env.yml"),
            ("option-bad-level", "--compression zstd:99 env.yml"),
            ("option-bad-block-size", "--block-size 3K env.yml"),
            ("option-bad-jobs", "--jobs none env.yml"),
        ],
    );
    check(
        &test,
        &[
            ("command-unknown", "frobnicate"),
            ("argument-missing", "conda-containerize new"),
            (
                "advanced-odd-key",
                "conda-containerize advanced odd-key.yml",
            ),
            ("code-unknown", "explain no-such-code"),
            ("code-misspelt", "explain mpi"),
            ("allow-unknown-code", "check --allow no-such-code env.yml"),
        ],
    );
}

#[test]
fn steps_that_need_a_runtime() {
    let test = prepared();
    check_new(
        &test,
        &[
            ("no-runtime-for-a-script", "--post-install post.sh env.yml"),
            ("no-runtime-for-a-post-link-script", "scripted.yml"),
            ("no-runtime-for-activation", "activated.yml"),
            ("no-runtime-for-pip", "pip-source.yml"),
        ],
    );
    test.fake_program(
        "apptainer",
        "#!/bin/sh\ncase $1 in --version) echo apptainer version 1.4.5 ;; *) echo 'FATAL:   no loop devices available' >&2; exit 255 ;; esac\n",
    );
    // The trial of the runtime and the reading of the channels go on at the same time, so what the
    // latter reports varies.
    check_new(&test, &[("runtime-cannot-start", "--quiet env.yml")]);
}

#[test]
fn images_and_sif_files() {
    let test = prepared();
    check(
        &test,
        &[
            ("image-is-none", "image info junk.sif"),
            ("image-missing", "image ls none.sqfs"),
            (
                "image-bad-block-size",
                "image pack --block-size 3K tree out.sqfs",
            ),
            ("image-exists", "image pack tree junk.sif"),
            ("image-of-nothing", "image pack nowhere out.sqfs"),
            ("sif-is-none", "sif list junk.sif"),
            ("pull-of-nothing", "pull oci-archive:none.tar out.sif"),
            ("pull-bad-reference", "pull docker://No_Image out.sif"),
        ],
    );
    check(&test, &[("lock-unsatisfiable", "lock unsatisfiable.yml")]);
}

#[test]
fn installations() {
    let test = prepared();
    check(
        &test,
        &[
            ("update-of-nothing", "conda-containerize update nowhere"),
            (
                "update-of-no-installation",
                "conda-containerize update thesis",
            ),
            ("info-of-no-installation", "info thesis"),
            ("verify-of-no-installation", "verify thesis"),
            ("remove-of-no-installation", "remove thesis"),
        ],
    );
    test.build(&["env.yml"]).succeeded();
    check(
        &test,
        &[("rollback-without-a-generation", "rollback installation")],
    );
}

#[test]
fn other_builders() {
    let test = prepared();
    check(
        &test,
        &[
            (
                "pip-requirements-missing",
                "pip-containerize new --prefix out --base-image ../base none.txt",
            ),
            (
                "pip-without-python",
                "pip-containerize new --prefix out --base-image ../base requirements.txt",
            ),
            (
                "wrap-container-relative-path",
                "wrap-container --prefix out -w bin ../base",
            ),
            (
                "wrap-container-program-missing",
                "wrap-container --prefix out -w /bin/nothing ../base",
            ),
            (
                "wrap-install-of-nothing",
                "wrap-install --prefix out -w bin --base-image ../base nowhere",
            ),
            (
                "cotainr-environment-missing",
                "cotainr build --base-image ../base --conda-env none.yml out.sif",
            ),
            (
                "cotainr-system-unknown",
                "cotainr build --system atlantis --conda-env env.yml out.sif",
            ),
            (
                "cotainr-image-exists",
                "cotainr build --base-image ../base --conda-env env.yml junk.sif",
            ),
            ("cotainr-argument-missing", "cotainr build out.sif"),
        ],
    );
}

#[test]
fn names_and_packages_that_are_not_there() {
    let test = prepared();
    test.build(&["env.yml"]).succeeded();
    test.condense(&["export", "installation", "--lock", "-o", "env.lock"])
        .run()
        .succeeded();
    check(
        &test,
        &[
            ("packages-name-misspelt", "packages instalation"),
            ("packages-of-nothing", "packages xyzzy"),
            ("packages-of-no-installation", "packages thesis"),
            ("packages-of-junk", "packages junk.sif"),
            ("packages-of-an-environment-file", "packages env.yml"),
            ("packages-generation-missing", "packages installation@7"),
            ("packages-generation-of-a-file", "packages env.lock@2"),
            ("why-package-misspelt", "why installation libary"),
            ("tree-package-unknown", "tree installation xyzzy"),
            ("diff-environment-file", "diff installation env.yml"),
            ("size-of-a-lock", "size env.lock"),
            ("run-in-a-lock", "run env.lock -- tool"),
            ("run-nothing", "run installation"),
            ("cache-bad-time", "cache clean --older-than soon"),
            ("help-misspelt", "help pakages"),
            ("command-of-another-program", "install numpy"),
        ],
    );
}
