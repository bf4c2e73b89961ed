//! Tests of reproducible images: the same packages give the same bytes for every user, place and
//! number of processors.

use crate::harness::{Account, Run, TestDir, parts};

struct Circumstances {
    account: Account,
    umask: &'static str,
    language: &'static str,
    processors: &'static str,
    by_flag: bool,
    /// The order of sets in byte code depends on the seed of Python's hashes.
    hash_seed: &'static str,
}

const ONE: Circumstances = Circumstances {
    account: Account::Root,
    umask: "007",
    language: "C",
    processors: "0",
    by_flag: true,
    hash_seed: "1",
};
const OTHER: Circumstances = Circumstances {
    account: Account::Ordinary,
    umask: "022",
    language: "de_DE.UTF-8",
    processors: "0,1",
    by_flag: false,
    hash_seed: "random",
};

fn digest(circumstances: &Circumstances, packages: &str) -> String {
    let test = TestDir::new(circumstances.account, "reproducible");
    // The two builds use a file system in memory and one on disk, which list directories in
    // different orders.
    let scratch = if circumstances.by_flag {
        test.scratch().join("a long way away")
    } else {
        test.make_dir("b")
    };
    let home = test.make_dir("home");
    let installation = test.installation();
    let mut command = test.command("taskset");
    command
        .args([
            "-c",
            circumstances.processors,
            "/bin/sh",
            "-c",
            "umask \"$1\"; shift; exec \"$@\"",
            "sh",
            circumstances.umask,
        ])
        .arg(parts().path("programs/conda-containerize"))
        .args(["new", "--base-image"])
        .arg(parts().base())
        .arg("--prefix")
        .arg(&installation.dir)
        .env("LANG", circumstances.language)
        .env("LC_ALL", circumstances.language)
        .env("HOME", &home)
        .env("PYTHONHASHSEED", circumstances.hash_seed)
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
        .env("CONDENSE_CACHE_DIR", test.path("cache"));
    if circumstances.by_flag {
        command.arg("--tmpdir").arg(&scratch);
    } else {
        command.env("TMPDIR", &scratch);
    }
    command.arg(test.environment(packages)).run().succeeded();
    let sum = test
        .command("sha256sum")
        .arg(installation.image())
        .run()
        .succeeded()
        .text();
    sum.split(' ').next().unwrap().to_owned()
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn python_with_packages_that_are_compiled_here() {
    let packages = "python=3.11, numpy, rich, edge-noarch-python";
    assert_eq!(digest(&ONE, packages), digest(&OTHER, packages));
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn files_of_all_kinds() {
    let packages = "edge-links, edge-modes, edge-names, edge-large, edge-many-files, edge-prefix, edge-clobber-a, edge-clobber-b";
    assert_eq!(digest(&ONE, packages), digest(&OTHER, packages));
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn link_scripts_activation_and_pip() {
    let packages = "python=3.13, pip, edge-post-link, edge-activate, edge-activate-dynamic, {pip: [edge-pip-app]}";
    assert_eq!(digest(&ONE, packages), digest(&OTHER, packages));
}
