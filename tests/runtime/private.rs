//! Tests of the user's private data with an sdist's `setup.py` and a script. They see neither the
//! home directory nor credentials, but they do see pip's settings for package indices.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::{Account, CommandOutput, Installation, Run, TestDir, as_both, parts};

/// A `setup.py` that writes what it can see into its own module.
const SETUP: &str = r#"import os
from setuptools import setup
seen = dict(os.environ)
def write(path):
    open(path, "w").close()
def read(path):
    seen["READ " + path] = open(path).read()
for home in [os.path.expanduser("~"), "@HOME@"]:
    for what, name in [(write, "was-here"), (read, "private-file")]:
        try:
            what(os.path.join(home, name))
        except OSError:
            pass
with open("edge_private.py", "w") as module:
    module.write("SEEN = %r\n" % seen)
setup(name="edge-private", version="1.0", py_modules=["edge_private"])
"#;

/// Makes a test directory with a home directory of its own.
fn room_with_home(account: Account, name: &str) -> (TestDir, PathBuf) {
    let test = TestDir::new(account, name);
    let home = test.make_dir("home");
    for dir in ["home/.config", "home/.config/pip", "edge-private", "away"] {
        test.make_dir(dir);
    }
    test.write("home/private-file", "of the user alone\n");
    let conf = format!(
        "[global]\nno-index = true\nfind-links = {}\nno-build-isolation = false\n",
        parts().wheels().display()
    );
    test.write("home/.config/pip/pip.conf", &conf);
    test.write(
        "edge-private/setup.py",
        &SETUP.replace("@HOME@", &home.display().to_string()),
    );
    test.write(
        "edge-private/pyproject.toml",
        "[build-system]\nrequires = []\nbuild-backend = 'setuptools.build_meta'\n",
    );
    test.write(
        "away/post.sh",
        "echo \"script: ${WANTED_TOKEN-none} ${OTHER_TOKEN-none}\"\npip install edge_pip_lib\n",
    );
    (test, home)
}

fn new_command(test: &TestDir, home: &Path) -> Command {
    let project = test.path("edge-private");
    let packages = format!(
        "python=3.11, pip, setuptools, wheel, {{pip: ['edge-private @ file://{}']}}",
        project.display()
    );
    let environment = test.environment(&packages);
    let mut command = test.new_command(&test.installation().dir, &environment);
    command
        .env("HOME", home)
        .env("OTHER_TOKEN", "secret-1")
        .env("AWS_SESSION", "secret-2")
        .env("SSH_AUTH_SOCK", "/secret-3")
        .env("SINGULARITYENV_RUN_PASSWORD", "secret-4")
        .env("XDG_RUNTIME_DIR", "/secret-5")
        .env("WANTED_TOKEN", "wanted")
        .current_dir(test.path("away"));
    command
}

fn seen(installation: &Installation, account: Account) -> String {
    let text = "import edge_private; print(edge_private.SEEN)";
    installation.python(account, text).run().succeeded().text()
}

fn check(test: &TestDir, account: Account, written: &Path, output: CommandOutput) {
    let said = output.succeeded().text();
    assert!(said.contains("script: wanted none"), "{said}");
    let seen = seen(&test.installation(), account);
    assert!(!seen.contains("secret-"), "{seen}");
    assert!(!seen.contains("of the user alone"), "{seen}");
    assert!(seen.contains("'WANTED_TOKEN': 'wanted'"), "{seen}");
    assert!(seen.contains("/.condense-build/home'"), "{seen}");
    assert!(!written.exists());
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn strangers_code_sees_neither_home_nor_credentials() {
    as_both(|account| {
        let (test, home) = room_with_home(account, "private");
        let mut command = new_command(&test, &home);
        command.args(["--build-env", "WANTED_TOKEN", "--post-install", "post.sh"]);
        check(&test, account, &home.join("was-here"), command.run());
    });
}

/// Removes what a test has put into an account's home directory.
struct Guest(PathBuf);

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = fs_err::remove_file(&self.0);
    }
}

fn told_by_variables(command: &mut Command) -> &mut Command {
    command
        .env("PIP_NO_INDEX", "1")
        .env("PIP_NO_BUILD_ISOLATION", "0")
        .env("PIP_FIND_LINKS", parts().wheels())
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn nor_where_the_host_s_directories_are_seen() {
    let account = Account::Ordinary;
    let (test, _) = room_with_home(account, "private-host");
    let home = account.home();
    let guest = Guest(home.join("private-file"));
    fs_err::write(&guest.0, "of the user alone\n").unwrap();
    account.own(&guest.0);
    let setup = SETUP.replace("@HOME@", &home.display().to_string());
    let setup = setup.replace("was-here", "was-here-too");
    test.write("edge-private/setup.py", &setup);
    let site = format!("defaults:\n  container_src: {}\n", parts().base().display());
    let with_base = new_command(&test, &home);
    // The second command leaves out the base image that the user named.
    let words: Vec<_> = with_base.get_args().collect();
    let at = words
        .iter()
        .position(|word| *word == "--base-image")
        .unwrap();
    let mut command = Command::new(with_base.get_program());
    command
        .args(&words[..at])
        .args(&words[at + 2..])
        .env_clear()
        .envs(
            with_base
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("CW_GLOBAL_YAML", test.write("site.yml", &site))
        .current_dir(test.path("away"))
        .args(["--build-env", "WANTED_TOKEN", "--post-install", "post.sh"]);
    let written = home.join("was-here-too");
    check(
        &test,
        account,
        &written,
        told_by_variables(&mut command).run(),
    );
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_home_directory_is_seen_when_it_is_let_in() {
    let account = Account::Ordinary;
    let (test, home) = room_with_home(account, "private-home");
    let _guest = Guest(account.home().join("was-here"));
    let mut command = new_command(&test, &home);
    command.args(["--build-env", "HOME"]);
    told_by_variables(&mut command).run().succeeded();
    let seen = seen(&test.installation(), account);
    assert!(seen.contains("of the user alone"), "{seen}");
    let own = format!("'HOME': '{}'", account.home().display());
    assert!(!seen.contains("secret-1") && seen.contains(&own), "{seen}");
}
