//! Tests with images that have a Python of their own, under their names in Docker Hub: as bases of
//! `pip-containerize --slim`, and wrapped as they are. Numbers are those of the statements in the
//! list of Tykky's own tests.

use std::process::Command;

use crate::harness::{Account, Installation, Registry, Run, TestDir, as_both, parts};

/// Registry that stands in for Docker Hub, with a Debian whose Pythons are below /usr/local, as in
/// `python:slim`.
struct Hub<'a> {
    test: &'a TestDir,
    _registry: Registry,
}

impl<'a> Hub<'a> {
    fn open(test: &'a TestDir, images: &[(&str, &str)]) -> Self {
        let registry = Registry::start(test);
        let mirror = format!(
            "[mirrors]\n\"docker://docker.io\" = [\"http://{}\"]\n",
            registry.host()
        );
        test.write("config.toml", &mirror);
        test.make_dir("cache");
        for (tag, packages) in images {
            let source = TestDir::new(Account::Root, "slim-source");
            let image = source.build(packages).image();
            let [tree, python] = ["tree", "python"].map(|name| source.scratch().join(name));
            for (what, out) in [(parts().base(), &tree), (image, &python)] {
                Command::new(parts().path("programs/condense"))
                    .args(["image", "extract"])
                    .args([&what, out])
                    .run()
                    .succeeded();
            }
            let environment = python.join("miniforge/envs/env1");
            fs_err::remove_dir_all(environment.join("conda-meta")).unwrap();
            let local = tree.join("usr/local");
            let _ = fs_err::remove_dir_all(&local);
            fs_err::rename(environment, local).unwrap();
            let path = "PATH=/usr/local/bin:/usr/bin:/bin";
            registry.push(test, &tree, &[path], &format!("library/python:{tag}"));
        }
        Self {
            test,
            _registry: registry,
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.test.command(parts().path("programs/condense"));
        command
            .args(words)
            .env("TMPDIR", self.test.scratch())
            .env("CONDENSE_CACHE_DIR", self.test.path("cache"))
            .env("CONDENSE_CONFIG", self.test.path("config.toml"))
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", parts().wheels());
        command
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_pythons_of_docker_hub_are_bases_and_are_wrapped() {
    let account = Account::Ordinary;
    let test = TestDir::new(account, "slim");
    let images = [
        ("slim", "python=3.11, pip"),
        ("3.13.0-slim-bullseye", "python=3.13, pip"),
    ];
    let hub = Hub::open(&test, &images);
    test.write("req.txt", "edge_pip_lib<1.1\n");
    slim(&hub, account);
    wrapped(&hub, account);
    test.left_nothing();
}

/// Checks statements 115 to 119 of the list of Tykky's tests: installations on a slim base.
fn slim(hub: &Hub, account: Account) {
    let test = hub.test;
    let new = [
        "pip-containerize",
        "new",
        "--prefix",
        "installation",
        "--slim",
        "req.txt",
    ];
    hub.command(&new).run().succeeded();
    let installation = test.installation();
    let system = |installation: &Installation| {
        let words = ["sh", "-c", ". /etc/os-release; echo $ID"];
        installation
            .command(account, "_debug_exec", words)
            .run()
            .says("debian");
    };
    system(&installation);
    let base = installation.receipt()["base"].clone();
    assert_eq!(base["reference"], "docker://python:slim");
    // Neither the system directories of the host nor its Python are visible.
    let text =
        "import sys, edge_pip_lib as l; print(sys.base_prefix, sys.version_info[:2], l.VERSION)";
    as_both(|account| {
        let said = installation.python(account, text).run();
        said.says("/usr/local (3, 11) 1.0");
    });

    // The second build makes no request to the registry.
    test.write("extra.sh", "pip install edge_pip_app\n");
    let update = [
        "pip-containerize",
        "update",
        "--post-install",
        "extra.sh",
        "installation",
    ];
    hub.command(&update)
        .env("CONDENSE_CONFIG", "/dev/null")
        .run()
        .succeeded();
    system(&installation);
    assert_eq!(installation.receipt()["base"]["sha256"], base["sha256"]);
    installation
        .command(account, "edge-pip-app", [""; 0])
        .run()
        .says("edge-pip-app 1.0 with edge-pip-lib 1.0");

    let words = [
        "--prefix",
        "other",
        "--slim",
        "--pyver",
        "3.13.0-slim-bullseye",
        "req.txt",
    ];
    let new = [&["pip-containerize", "new"], &words[..]].concat();
    hub.command(&new).run().succeeded();
    let other = Installation {
        dir: test.path("other"),
    };
    other
        .command(account, "python", ["--version"])
        .run()
        .says("Python 3.13.0");
}

/// Checks statements 103 to 109 of the list of Tykky's tests: programs of a wrapped container.
fn wrapped(hub: &Hub, account: Account) {
    let test = hub.test;
    let source = "docker://python:3.13.0-slim-bullseye";
    let words = [
        "wrap-container",
        source,
        "-w",
        "/usr/local/bin",
        "--prefix",
        "above/wrapped",
    ];
    hub.command(&words).run().succeeded();
    let wrapped = Installation {
        dir: test.path("above/wrapped"),
    };
    wrapped
        .command(account, "python", ["--version"])
        .run()
        .says("Python 3.13.0");
    let venv = test.path("Py");
    wrapped
        .command(account, "python", ["-m", "venv"])
        .arg(&venv)
        .run()
        .succeeded();
    let text = "import shutil, sys; print(sys.prefix != sys.base_prefix, shutil.which('python'))";
    let python = venv.join("bin/python").display().to_string();
    let expected = format!("True {python}");
    as_both(|account| {
        let mut called = account.command(&python);
        called.args(["-c", text]).run().says(&expected);
        let script = ". \"$1/bin/activate\" && python -c \"$2\"";
        let mut activated = account.command("/bin/sh");
        activated.args(["-c", script, "sh"]).arg(&venv).arg(text);
        activated.run().says(&expected);
    });
}
