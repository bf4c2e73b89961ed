//! Tests of the builders of condense itself with the real runtime: `new`, `update`, `build`, and
//! the base image of a machine that is no site.

use std::process::Command;

use crate::harness::{Account, CommandOutput, Registry, Run, TestDir, as_both, parts};

/// Returns a command of condense, whose names are directories in `names` of the test.
fn command(test: &TestDir, words: &[&str]) -> Command {
    let mut command = test.command(parts().path("programs/condense"));
    command
        .args(words)
        .env("TMPDIR", test.scratch())
        .env("CONDENSE_CACHE_DIR", test.path("cache"))
        .env("TYKKY_PATH", test.path("names"))
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels());
    command
}

/// Runs a command line, whose words `CHANNEL` and `BASE` are replaced.
fn run(test: &TestDir, line: &str) -> CommandOutput {
    let line = line
        .replace("CHANNEL", &parts().channel())
        .replace("BASE", &parts().base().display().to_string());
    command(test, &line.split(' ').collect::<Vec<_>>()).run()
}

/// Runs a program text with the Python of an installation or of a SIF.
fn python(test: &TestDir, name: &str, text: &str) -> CommandOutput {
    command(test, &["run", name, "python", "-c", text]).run()
}

fn lacks_numpy(test: &TestDir) -> bool {
    let said = python(test, "mine", "import numpy");
    said.status == 1 && said.stderr.contains("ModuleNotFoundError")
}

fn generation(test: &TestDir, name: &str) -> u64 {
    let said = run(test, &format!("info --json {name}")).succeeded();
    let info: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    info["subject"]["generation"].as_u64().unwrap()
}

/// Packages alone, packages of a file with more, and an update that adds, removes, and has nothing
/// to do.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_environment_comes_and_changes_by_names_of_packages() {
    as_both(|account| {
        let test = TestDir::new(account, "house");
        let base = "-c CHANNEL --base-image BASE";
        run(
            &test,
            &format!("new mine python=3.11 --pip edge_pip_lib {base}"),
        )
        .succeeded();
        python(&test, "mine", "import edge_pip_lib; print('there')").says("there");
        assert!(lacks_numpy(&test));

        let said = run(&test, "update mine numpy -c CHANNEL").succeeded();
        assert!(said.stderr.contains("Added: "), "{said:?}");
        let text = "import numpy, edge_pip_lib; print(numpy.arange(3).sum())";
        python(&test, "mine", text).says("3");
        // The byte code of new packages is in the image as well.
        let text = "import numpy, os; print(os.path.exists(numpy.__cached__))";
        python(&test, "mine", text).says("True");
        let said = run(&test, "update mine numpy --pip edge_pip_lib").succeeded();
        assert!(said.stderr.starts_with("nothing to do: "), "{said:?}");
        assert_eq!(generation(&test, "mine"), 2);

        run(&test, "update mine edge-post-link --remove numpy").succeeded();
        assert!(lacks_numpy(&test));
        python(&test, "mine", "import edge_pip_lib; print('there')").says("there");
        assert_eq!(generation(&test, "mine"), 3);

        test.environment("python=3.11");
        run(&test, "new ./both env.yml numpy --base-image BASE").succeeded();
        python(&test, "./both", "import numpy; print('numpy')").says("numpy");
        test.left_nothing();
    });
}

/// `--remove` finds the packages of pip as well, and no request brings them back.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn packages_of_pip_are_removed_by_name() {
    let test = TestDir::new(Account::Ordinary, "house-remove");
    let base = "-c CHANNEL --base-image BASE";
    run(
        &test,
        &format!("new mine python=3.11 --pip edge_pip_lib --pip edge_pip_app {base}"),
    )
    .succeeded();
    let said = run(&test, "update mine --remove edge-pip-app --dry-run").succeeded();
    assert!(said.stdout.contains("remove edge-pip-app"), "{said:?}");
    run(&test, "update mine --remove Edge_pip.app").succeeded();
    let said = python(&test, "mine", "import edge_pip_app");
    assert!(said.stderr.contains("ModuleNotFoundError"), "{said:?}");
    python(&test, "mine", "import edge_pip_lib; print('there')").says("there");
    let lock = fs_err::read_to_string(test.path("names/mine/share/condense.lock")).unwrap();
    assert!(!lock.contains("name: edge-pip-app"), "{lock}");
    let said = run(&test, "update mine --remove edge_pip_app");
    assert!(
        said.stderr.contains("there is no package `edge_pip_app`"),
        "{said:?}"
    );
    assert_eq!(generation(&test, "mine"), 2);
    test.left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_sif_of_names_of_packages() {
    let test = TestDir::new(Account::Root, "house-sif");
    let line = "build out.sif python=3.11 numpy --pip edge_pip_lib -c CHANNEL --base-image BASE";
    run(&test, line).succeeded();
    let text = "import numpy, edge_pip_lib; print(numpy.arange(3).sum())";
    python(&test, "out.sif", text).says("3");
    test.left_nothing();
}

/// Usability rows A3 and A4: on a machine that is no site, the base image is that of the machine's
/// distribution, and `pip-containerize` uses the machine's own Python. The registry is one of this
/// machine, which stands for Docker Hub.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_machine_without_a_site_has_a_base_image() {
    let release = fs_err::read_to_string("/etc/os-release").unwrap();
    let value = |key: &str| {
        let mut lines = release.lines();
        let line = lines.find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim_matches('"').to_owned()
    };
    let image = format!("{}:{}", value("ID="), value("VERSION_ID="));
    let test = TestDir::new(Account::Root, "house-base");
    let root = test.path("root");
    Command::new(parts().path("programs/condense"))
        .args(["image", "extract"])
        .arg(parts().base())
        .arg(&root)
        .run()
        .succeeded();
    let registry = Registry::start(&test);
    registry.push(
        &test,
        &root,
        &["PATH=/usr/bin:/bin"],
        &format!("library/{image}"),
    );
    let config = test.write(
        "config.toml",
        &format!(
            "[mirrors]\n\"docker://docker.io\" = [\"http://{}\"]\n",
            registry.host()
        ),
    );
    test.environment("python=3.11");
    test.write("requirements.txt", "edge_pip_lib\n");
    let said_of_base = format!(
        "base image: docker://{image} (this machine's distribution; --base-image names another)"
    );
    let build = |words: &[&str]| {
        let mut command = command(&test, words);
        let said = command.env("CONDENSE_CONFIG", &config).run().succeeded();
        let text = format!("{}{}", said.stdout, said.stderr);
        assert!(text.contains(&said_of_base), "{said:?}");
    };
    build(&["new", "mine", "env.yml"]);
    python(&test, "mine", "print('runs')").says("runs");

    build(&[
        "pip-containerize",
        "new",
        "--prefix",
        "pip",
        "requirements.txt",
    ]);
    let text = "import sys, edge_pip_lib; print(sys.base_prefix)";
    let mut on_host = Command::new("python3");
    let expected = on_host
        .env("PATH", parts().search_path())
        .args(["-c", "import sys; print(sys.base_prefix)"])
        .run()
        .succeeded()
        .text();
    python(&test, "./pip", text).says(&expected);
    build(&["build", "out.sif", "env.yml"]);
    python(&test, "out.sif", "print('runs')").says("runs");
    drop(registry);
    // The registry is gone, and the cache still has the base.
    build(&["new", "again", "env.yml", "--offline"]);
    build(&["new", "dry", "env.yml", "--offline", "--dry-run"]);
    python(&test, "again", "print('runs')").says("runs");
    fs_err::remove_dir_all(root).unwrap();
    test.left_nothing();
}
