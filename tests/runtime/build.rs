//! Tests of the files in an installation, built by either account and in various places.

use std::{collections::BTreeSet, os::unix::fs::MetadataExt, path::Path};

use crate::{
    harness::{
        Account, Installation, Run, TestDir, as_both, names, parts, said_by_shared_build, shared,
    },
    support::snapshot::snapshot,
};

const LINKS: [&str; 6] = [
    "_bin",
    "bin",
    "common.sh",
    "container.sif",
    "img.sqfs",
    "share",
];

/// Directories by which a Python without a compiled-in prefix finds its packages; the channel has
/// such a Python if it was taken from pyenv.
const LANDMARKS: [&str; 2] = ["include", "lib"];

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn numpy_runs_out_of_one_file() {
    let text = "import numpy; print(int(numpy.linalg.det(numpy.diag([2.0, 3.0, 7.0])).round()), numpy.__file__)";
    as_both(|account| {
        let file = format!(
            "{}/lib/python3.11/site-packages/numpy/__init__.py",
            shared().env_prefix()
        );
        assert!(
            !Path::new(&file).exists(),
            "the environment is visible without the container"
        );
        shared()
            .python(account, text)
            .run()
            .says(&format!("42 {file}"));
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_layout_is_tykky_s_through_links() {
    let dir = &shared().dir;
    let (landmarks, found): (Vec<String>, Vec<String>) = names(dir)
        .into_iter()
        .partition(|name| LANDMARKS.contains(&name.as_str()));
    let expected: Vec<&str> = [".condense"].into_iter().chain(LINKS).collect();
    assert_eq!(found, expected);
    for name in LINKS
        .into_iter()
        .chain(landmarks.iter().map(String::as_str))
    {
        assert_eq!(
            fs_err::read_link(dir.join(name)).unwrap(),
            Path::new(".condense/current").join(name)
        );
        assert!(dir.join(name).exists(), "{name} leads nowhere");
    }
    let python = fs_err::read_link(dir.join("_bin/python")).unwrap();
    assert_eq!(
        python.to_str().unwrap(),
        format!("{}/bin/python", shared().env_prefix())
    );
    assert!(
        shared().env_prefix().ends_with("/miniforge/envs/env1"),
        "scripts of Tykky's users name this path"
    );
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_thousand_files_became_few() {
    let (mut files, mut others) = (BTreeSet::new(), 0);
    let mut dirs = vec![shared().dir.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs_err::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs_err::symlink_metadata(&path).unwrap();
            if metadata.is_file() {
                files.insert(metadata.ino());
                continue;
            }
            if metadata.is_dir() {
                dirs.push(path);
            }
            others += 1;
        }
    }
    // Each wrapper has a link to its program, and all wrappers are hard links to one file.
    let wrappers = names(&shared().dir.join("bin")).len();
    assert!(files.len() <= 16, "{} files", files.len());
    assert!(
        others <= wrappers + 24,
        "{others} links and directories for {wrappers} wrappers"
    );
    let packed: u64 = shared().receipt()["image"]["entries"].as_u64().unwrap();
    assert!(packed > 1000, "only {packed} entries in the image");
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn share_holds_the_lock_the_receipt_and_the_input() {
    let share = shared().dir.join("share");
    let lock = fs_err::read_to_string(share.join("condense.lock")).unwrap();
    let packages = lock.matches("\n- conda: ").count();
    assert!(packages > 10 && lock.contains("numpy-2"), "{lock}");
    assert_eq!(
        lock.matches("\n  sha256: ").count(),
        packages,
        "a package without a digest in {lock}"
    );
    let receipt = shared().receipt();
    assert_eq!(receipt["host_view"], "base");
    assert_eq!(receipt["generation"], 1);
    assert_eq!(
        receipt["image"]["size_bytes"],
        fs_err::metadata(shared().image()).unwrap().len()
    );
    let sum = Account::Root
        .command("sha256sum")
        .arg(shared().image())
        .run()
        .succeeded()
        .text();
    assert_eq!(sum.split(' ').next().unwrap(), receipt["image"]["sha256"]);
    let input = fs_err::read(share.join("previous_input/1/env.yml")).unwrap();
    assert_eq!(
        input,
        fs_err::read(shared().dir.with_file_name("env.yml")).unwrap()
    );
    let conf: serde_yaml::Value =
        serde_yaml::from_str(&fs_err::read_to_string(share.join("conf.yaml")).unwrap()).unwrap();
    assert!(conf.is_mapping(), "{conf:?}");
    assert!(share.join("VERSION.yml").exists());
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_end_of_a_build_says_what_to_do() {
    let said = said_by_shared_build();
    let dir = shared().dir.display();
    for words in [
        format!("Program has been installed to {dir}"),
        format!("export PATH=\"{dir}/bin:$PATH\""),
        " files of ".to_owned(),
        "Seconds: ".to_owned(),
        "edge-post-link was linked".to_owned(),
    ] {
        assert!(said.contains(&words), "`{words}` is not in {said}");
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn every_program_has_a_wrapper_and_the_packages_are_listed() {
    let bin = names(&shared().dir.join("bin"));
    for name in [
        "python",
        "python3",
        "python3.11",
        "f2py",
        "edge-argv",
        "_debug_shell",
        "_debug_exec",
        "list-packages",
    ] {
        assert!(
            bin.iter().any(|found| found == name),
            "no {name} in {bin:?}"
        );
    }
    as_both(|account| {
        let list = shared()
            .command(account, "list-packages", [""; 0])
            .run()
            .succeeded()
            .text();
        for name in ["python", "numpy", "edge-activate"] {
            assert!(
                list.lines()
                    .any(|line| line.split_whitespace().next() == Some(name)),
                "no {name} in {list}"
            );
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn variables_of_the_environment_file_are_seen() {
    as_both(|account| {
        let text = "import os; print(os.environ['GREETING'], os.environ['PYTHONNOUSERSITE'])";
        shared()
            .python(account, text)
            .run()
            .says("it's \"quoted\" $HOME `id` \\ 1");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_ordinary_user_builds_for_both() {
    let test = TestDir::new(Account::Ordinary, "ordinary");
    let installation = test.build("python=3.13, edge-argv, edge-post-link");
    test.left_nothing();
    as_both(|account| {
        installation
            .python(account, "import sys; print(sys.version_info[:2])")
            .run()
            .says("(3, 13)");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_destination_may_have_blanks_and_quotes() {
    let test = TestDir::new(Account::Root, "odd");
    let dir = test.path("it's \"my\"  $HOME `id` ünï\\dir; *");
    test.new_command(
        &dir,
        &test.environment("python=3.11, edge-python, edge-argv"),
    )
    .run()
    .succeeded();
    test.left_nothing();
    let installation = Installation { dir: dir.clone() };
    as_both(|account| {
        let python = dir.join("bin/python");
        installation
            .python(account, "import sys; print(sys.executable)")
            .run()
            .says(python.to_str().unwrap());
        // The shebang is `/usr/bin/env python`, and a script is found again by its name.
        installation
            .command(account, "edge-shebang-env", [""; 0])
            .run()
            .says(python.to_str().unwrap());
        let pieces = installation
            .command(account, "edge-argv", ["a b"])
            .run()
            .pieces();
        assert_eq!(
            pieces,
            [
                dir.join("bin/edge-argv").to_str().unwrap().as_bytes(),
                b"a b"
            ]
        );
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn everybody_can_use_what_was_built_under_a_strict_umask() {
    let test = TestDir::new(Account::Root, "umask");
    let installation = test.installation();
    let mut command = test.command("/bin/sh");
    command
        .args(["-c", "umask 077; exec \"$@\"", "sh"])
        .arg(parts().path("programs/conda-containerize"))
        .args(["new", "--base-image"])
        .arg(parts().base())
        .arg("--prefix")
        .arg(&installation.dir)
        .arg(test.environment("edge-argv, edge-activate"))
        .env("CONDENSE_CACHE_DIR", test.path("cache"));
    command.run().succeeded();
    as_both(|account| {
        let value = installation
            .command(account, "edge-env", ["EDGE_VALUE"])
            .run()
            .pieces();
        assert_eq!(value, [b"EDGE_VALUE=set by edge-activate"]);
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn builds_at_the_same_time_share_a_cache() {
    let test = TestDir::new(Account::Root, "together");
    let environment = test.environment("python=3.11, edge-argv, rich");
    let cache = test.path("cache");
    let builds: Vec<_> = (0..3)
        .map(|number| {
            let mut command = test.new_command(&test.path(format!("dir-{number}")), &environment);
            command.env("CONDENSE_CACHE_DIR", &cache);
            std::thread::spawn(move || command.run())
        })
        .collect();
    for build in builds {
        build.join().unwrap().succeeded();
    }
    test.left_nothing();
    let images: Vec<Vec<u8>> = (0..3)
        .map(|number| fs_err::read(test.path(format!("dir-{number}/img.sqfs"))).unwrap())
        .collect();
    assert!(
        images[0] == images[1] && images[1] == images[2],
        "the images differ"
    );
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn two_builds_into_one_directory_are_refused_or_wait() {
    let test = TestDir::new(Account::Root, "busy");
    let environment = test.environment("python=3.11, rich");
    let dir = test.installation().dir;
    let builds: Vec<_> = (0..2)
        .map(|_| {
            let mut command = test.new_command(&dir, &environment);
            std::thread::spawn(move || command.run())
        })
        .collect();
    let output: Vec<_> = builds
        .into_iter()
        .map(|build| build.join().unwrap())
        .collect();
    let done = output.iter().filter(|output| output.status == 0).count();
    assert_eq!(done, 1, "{output:#?}");
    let refused = output
        .into_iter()
        .find(|output| output.status != 0)
        .unwrap();
    refused.failed_on_either_stream(1, &["another build into "]);
    test.left_nothing();
    test.installation()
        .python(Account::Ordinary, "print(1)")
        .run()
        .says("1");
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_installation_is_verified_where_it_runs() {
    as_both(|account| {
        let test = TestDir::new(account, "verified");
        let installation = test.build("edge-argv");
        let verify = || {
            let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
            command.arg("verify").arg(&installation.dir).run()
        };
        let output = verify().succeeded();
        assert!(
            output.stderr.contains("programs are there, and start"),
            "{output:?}"
        );
        let gone = installation.dir.join("_bin/edge-argv");
        fs_err::remove_file(&gone).unwrap();
        std::os::unix::fs::symlink("/nowhere/edge-argv", &gone).unwrap();
        let output = verify();
        assert_eq!(output.status, 1, "{output:?}");
        assert!(
            output.stderr.contains("missing: /nowhere/edge-argv"),
            "{output:?}"
        );
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_a_complete_build_says() {
    let test = TestDir::new(Account::Root, "says");
    let environment = test.environment("edge-argv, edge-activate, edge-post-link");
    let dir = test.installation().dir;
    // A codec that every runtime reads, and a cache that no other test fills.
    let mut command = test.new_command(&dir, &environment);
    command
        .args(["--compression", "gzip:6"])
        .env("CONDENSE_CACHE_DIR", test.make_dir("cache"));
    let output = command.run().succeeded();
    snapshot!("complete-build", output, test.paths());
    test.left_nothing();
}
