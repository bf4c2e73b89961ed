//! Tests of `--os-packages` without a container: plans of each builder, and refusals.

use crate::harness::{Run, TestEnv};

/// Returns a test whose base has apt.
fn prepared() -> TestEnv {
    let test = TestEnv::new();
    test.environment("tool");
    test.fake_program("apptainer", "#!/bin/sh\necho apptainer version 1.4.5\n");
    fs_err::write(test.path("base/usr/bin/apt-get"), "#!/bin/sh\nexit 9\n").unwrap();
    test
}

/// A dry run of each builder has the packages in its plan and its steps, and installs nothing.
#[test]
fn dry_runs_have_a_step_for_packages_of_the_distribution() {
    let test = prepared();
    test.build(&["env.yml"]).succeeded();
    for line in [
        "build out.sif",
        "build out.sif env.yml",
        "new ./new env.yml",
        "cotainr build out.sif",
        "cotainr build out.sif --conda-env env.yml",
        "conda-containerize new --prefix new env.yml",
        "update ./installation",
        "conda-containerize update installation",
    ] {
        let mut command = test.condense(&line.split(' ').collect::<Vec<_>>());
        command.args(["--dry-run", "--os-packages", "hostname,g++"]);
        if !line.contains("update") {
            command.args(["--base-image", "../base"]);
        }
        let said = command.run().succeeded();
        for words in [
            "os packages   hostname g++\n",
            "install hostname, g++ with apt",
        ] {
            assert!(said.stdout.contains(words), "{line}: `{words}` in {said:?}");
        }
        test.left_nothing();
    }
}

#[test]
fn what_cannot_be_installed_is_refused_with_what_to_do() {
    let test = prepared();
    for (line, status, words) in [
        (
            "build out.sif",
            2,
            &["nothing to install", "--os-packages"][..],
        ),
        (
            "build out.sif --os-packages x --offline",
            1,
            &[
                "`--offline` forbids",
                "condense build NEW.sif --base-image BASE",
            ],
        ),
        (
            "build out.sif --os-packages x --channel c",
            2,
            &["`--channel` is for an environment"],
        ),
        (
            "build out.sif --os-packages x --on-top",
            2,
            &["`--on-top` is for"],
        ),
        (
            "build out.sif --os-packages x --post true",
            1,
            &["`--post` changes"],
        ),
        (
            "new ./new --os-packages x",
            2,
            &["nothing to install", "condense build OUT.sif --os-packages"],
        ),
    ] {
        for dry in [&["--dry-run"][..], &[]] {
            let mut words_of_line: Vec<&str> = line.split(' ').collect();
            words_of_line.extend(dry);
            let mut command = test.condense(&words_of_line);
            command.args(["--base-image", "../base"]);
            command.run().failed_on_either_stream(status, words);
            test.left_nothing();
        }
    }
    fs_err::remove_file(test.path("base/usr/bin/apt-get")).unwrap();
    let line = [
        "build",
        "out.sif",
        "--os-packages",
        "x",
        "--base-image",
        "../base",
    ];
    for dry in [&["--dry-run"][..], &[]] {
        let said = test.condense(&[&line[..], dry].concat()).run();
        said.failed_on_either_stream(1, &["has no package manager", "apt, zypper, dnf"]);
    }
}

/// Files alone can be added to a base as well.
#[test]
fn an_image_of_a_base_and_files_needs_no_packages() {
    let test = prepared();
    test.write("data", "1\n");
    let line = [
        "build",
        "out.sif",
        "--copy",
        "data:/opt/data",
        "--base-image",
        "../base",
    ];
    test.condense(&line).run().succeeded();
    let listing = test.condense(&["image", "ls", "out.sif"]).run().succeeded();
    assert!(listing.stdout.contains("opt/data"), "{listing:?}");
}
