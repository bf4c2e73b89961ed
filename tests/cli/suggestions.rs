//! Snapshots of errors that name what the user probably meant: packages, versions, keys, sites,
//! codes, commands, options, values and installations.

use crate::{
    harness::{Run, TestEnv},
    support::{channel::Package, snapshot::snapshot},
};

fn prepared() -> TestEnv {
    let numpy = |version: &str| Package::new("numpy", version).file("lib/numpy", version);
    let mut packages = crate::harness::packages();
    for version in ["1.26.4", "2.0.2", "2.2.6", "2.4.6"] {
        packages.push(numpy(version));
    }
    packages.push(Package::new("old-user", "1.0").depends("numpy 1.19.*"));
    let test = TestEnv::with(&packages);
    for (name, packages) in [
        ("package", "numpi"),
        ("packages", "numpi, tol"),
        ("version", "numpy=1.19"),
        ("build", "'numpy=2.4.6=py38_0'"),
        ("needed-version", "old-user"),
    ] {
        let text = format!("channels: [CHANNEL]\ndependencies: [{packages}]\n");
        test.write(&format!("{name}.yml"), &text);
    }
    for (name, text) in [
        ("channel.yml", "channel: [CHANNEL]\ndependencies: [tool]\n"),
        (
            "dependancies.yml",
            "channels: [CHANNEL]\ndependancies: [tool]\n",
        ),
        (
            "pip.yml",
            "channels: [CHANNEL]\ndependencies: [tool]\npip: [rich]\n",
        ),
        (
            "unknown.yml",
            "channels: [CHANNEL]\ndependencies: [tool]\npre-fix: /x\nowner: me\n",
        ),
        (
            "catalogue.toml",
            "schema = 1\n[site.here]\nbnids = [\"/x\"]\n",
        ),
        ("conf.yml", "env_fil: env.yml\n"),
        (
            "systems.json",
            "{\"lumi-g\": {\"base-image\": \"docker://debian\"}}",
        ),
    ] {
        test.write(name, text);
    }
    test
}

/// Runs `condense` with the words of each line, and compares what a user sees with a snapshot.
#[track_caller]
fn check(test: &TestEnv, lines: &[(&str, &str)]) {
    for (name, line) in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let output = test
            .condense(&words)
            .env("TYKKY_PATH", test.path("work/envs"))
            .env("CONDENSE_SYSTEMS", test.path("work/systems.json"))
            .run();
        snapshot!(&format!("suggestion/{name}"), output, test.paths());
    }
}

/// Names of packages and versions that exist: B10.
#[test]
fn packages_and_versions_of_the_channels() {
    check(
        &prepared(),
        &[
            ("package", "lock package.yml"),
            ("packages", "lock packages.yml"),
            ("version", "lock version.yml"),
            ("build", "lock build.yml"),
            ("needed-version", "lock needed-version.yml"),
        ],
    );
}

/// Keys of all files with keys: B11.
#[test]
fn keys_of_files() {
    check(
        &prepared(),
        &[
            ("key-channel", "spec channel.yml"),
            ("key-dependencies", "lock dependancies.yml"),
            ("key-pip", "spec pip.yml"),
            ("key-unknown", "spec unknown.yml"),
            ("key-of-a-site", "base --catalogue catalogue.toml ls"),
            ("key-of-tykky", "conda-containerize advanced conf.yml"),
        ],
    );
}

/// A suggestion has a line of its own in all dialects: B22.
#[test]
fn words_of_the_command_line() {
    let test = prepared();
    fs_err::create_dir_all(test.path("work/envs/numpy/bin")).unwrap();
    fs_err::write(test.path("work/envs/numpy/common.sh"), "").unwrap();
    check(
        &test,
        &[
            ("site", "base --site lumig ls"),
            ("system", "cotainr build --system lumig out.sif"),
            ("code", "explain mpi"),
            ("allowed-code", "check --allow mpi-abbi package.yml"),
            ("command", "pakages numpy"),
            ("command-of-a-command", "image veryfy x.sqfs"),
            ("dialect", "conda-containerise new"),
            ("verb-of-a-dialect", "conda-containerize nwe"),
            ("option", "info --jsn numpy"),
            (
                "option-of-a-dialect",
                "conda-containerize new --prefx out env.yml",
            ),
            (
                "option-of-cotainr",
                "cotainr build --base-image x --conda-evn y out.sif",
            ),
            (
                "compression",
                "conda-containerize new --prefix out --compression zst:3 env.yml",
            ),
            ("shell", "shell fishh"),
            ("installation", "info numpyy"),
            ("file", "check packag.yml"),
            ("base-version", "base find rocm=99 pytorhc"),
        ],
    );
}
