//! Tests of packages of the distribution with Debian's own apt, from a repository in the base.

use serde_json::Value;

use crate::harness::{Account, CommandOutput, Run, TestDir, parts};

/// Returns a command of the program. Its base image is a Debian with apt.
fn condense(test: &TestDir, words: &[&str]) -> std::process::Command {
    let mut command = test.command(parts().path("programs/condense"));
    command
        .args(words)
        .env("TMPDIR", test.scratch())
        .env("CONDENSE_CACHE_DIR", test.path("cache"));
    command
}

fn exec(test: &TestDir, image: &str, program: &str) -> CommandOutput {
    let mut exec = test.command("apptainer");
    exec.args(["-s", "exec", image, program, "--version"]).run()
}

/// Returns the packages of the distribution that the receipt names, without their versions, and
/// checks that the lock has the same.
fn recorded(test: &TestDir) -> Vec<String> {
    let receipt = test.installation().receipt();
    let records = receipt["base"]["os_packages"].as_array().unwrap().iter();
    let records: Vec<&str> = records.map(|record| record.as_str().unwrap()).collect();
    let lock = test.path("installation/share/condense.lock");
    let lock = fs_err::read_to_string(lock).unwrap();
    let names = records.iter().map(|record| {
        assert!(lock.contains(record), "`{record}` is not in {lock}");
        let (name, version) = record.split_once('=').unwrap();
        assert!(
            version.starts_with(|c: char| c.is_ascii_digit()),
            "{record}"
        );
        name.to_owned()
    });
    names.collect()
}

/// `conda-containerize new` and `condense update`, with versions in lock and receipt.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn installations_get_packages_of_the_distribution() {
    let test = TestDir::new(Account::Ordinary, "os-packages");
    let environment = test.environment("edge-modes");
    let mut new = test.program(["new", "--prefix", "installation", "--os-packages", "tree"]);
    new.arg("--base-image").arg(parts().apt_base());
    new.arg(environment).run().succeeded();
    assert_eq!(recorded(&test), ["tree"]);
    let base = "installation/container.sif";
    exec(&test, base, "tree").succeeded();
    let update = ["update", "./installation", "--os-packages"];
    let dry = condense(
        &test,
        &[&update[..], &["hello", "--dry-run", "--json"]].concat(),
    );
    let dry: Value = serde_json::from_str(&{ dry }.run().succeeded().stdout).unwrap();
    assert_eq!(dry["steps"][0], "install hello with apt", "{dry}");
    assert_eq!(test.installation().receipt()["generation"], 1);
    let changed = condense(&test, &[&update[..], &["hello"]].concat()).run();
    changed.succeeded();
    assert_eq!(test.installation().receipt()["generation"], 2);
    assert_eq!(recorded(&test), ["hello", "tree"]);
    for program in ["tree", "hello"] {
        exec(&test, base, program).succeeded();
    }
    let again = condense(&test, &[&update[..], &["hello,tree"]].concat()).run();
    let again = again.succeeded().stderr;
    for words in ["has these packages already", "nothing to do"] {
        assert!(again.contains(words), "`{words}` is not in {again}");
    }
    test.left_nothing();
}

/// An image of the base and of packages of its distribution alone, and another one on top of it.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_image_needs_no_environment() {
    let test = TestDir::new(Account::Ordinary, "os-alone");
    let base = parts().apt_base().display().to_string();
    let first = [
        "build",
        "one.sif",
        "--os-packages",
        "tree",
        "--base-image",
        &base,
    ];
    condense(&test, &first).run().succeeded();
    let second = [
        "build",
        "two.sif",
        "--os-packages",
        "hello",
        "--base-image",
        "one.sif",
    ];
    condense(&test, &second).run().succeeded();
    for program in ["tree", "hello"] {
        exec(&test, "two.sif", program).succeeded();
    }
    let mut labels = test.command("apptainer");
    let labels = labels.args(["inspect", "two.sif"]).run().succeeded().text();
    assert!(labels.contains("condense.os-packages: hello="), "{labels}");
    assert!(labels.contains(" tree="), "{labels}");
    test.left_nothing();
}
