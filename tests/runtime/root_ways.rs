//! Tests of the ways in which scripts run as root where no namespaces can be made: `unshare` is
//! hidden from the program, in a name space of mounts of its own.

use std::process::Command;

use crate::{
    harness::{Account, CommandOutput, Run, TestDir, parts},
    root_scripts::base,
};

/// Starts a program as the user `$1` with the search path `$2`, where `unshare` fails.
const WITHOUT_NAMESPACES: &str = "mount --bind /bin/false /usr/bin/unshare && user=$1 PATH=$2 && \
    shift 2 && exec /usr/bin/setpriv --reuid=\"$user\" --regid=\"$user\" --init-groups -- \"$@\"";

/// Returns a command of the program in a test's directory. `dirs` are all directories of PATH.
fn condense(test: &TestDir, account: Account, dirs: &str, words: &[&str]) -> Command {
    let mut command = Account::Root.command("/usr/bin/unshare");
    command
        .args(["--mount", "/bin/sh", "-c", WITHOUT_NAMESPACES, "sh"])
        .args([account.name(), dirs])
        .arg(parts().path("programs/condense"))
        .args(words)
        .env("HOME", account.home())
        .env("TMPDIR", test.scratch())
        .env("CONDENSE_CACHE_DIR", test.path("cache"))
        .current_dir(test.dir());
    command
}

/// Makes a directory with what scripts of the test need and without a container runtime.
fn programs(test: &TestDir, proot: &str) -> String {
    let dir = test.make_dir("programs");
    for name in ["sh", "dirname"] {
        std::os::unix::fs::symlink(format!("/usr/bin/{name}"), dir.join(name)).unwrap();
    }
    let place = dir.join("proot");
    fs_err::write(&place, proot.replace("PROOT", &real_proot())).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(&place, mode).unwrap();
    dir.display().to_string()
}

fn real_proot() -> String {
    parts().proot().join("proot").display().to_string()
}

/// Builds a definition file whose script tells who runs it, by the ways that are left.
fn build(test: &TestDir, account: Account, dirs: &str, more: &[&str]) -> CommandOutput {
    base(test, "");
    test.write(
        "who.def",
        "Bootstrap: localimage\nFrom: base.sqfs\n%post\n  id -u >/who\n  : >/given\n  chown 7:8 /given || [ \"$(id -u)\" != 0 ]\n  mkdir /made && cp -p /who /made/again\n  [ -z \"$USER\" ]\n",
    );
    let words = ["build", "who.def", "out.sif", "--explain"];
    condense(test, account, dirs, &[&words[..], more].concat()).run()
}

fn who(test: &TestDir) -> String {
    let mut exec = test.command("apptainer");
    exec.args(["-s", "exec", "out.sif", "/bin/cat", "/made/again"]);
    exec.run().succeeded().stdout.trim().to_owned()
}

/// D15: the runtime's writable directory and its fake root.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_runtime_runs_scripts_where_no_namespaces_can_be_made() {
    let test = TestDir::new(Account::Ordinary, "way-runtime");
    let said = build(&test, Account::Ordinary, parts().search_path(), &[]);
    let said = said.succeeded().stderr;
    for words in [
        "the script runs with the container runtime with a writable directory",
        "not with namespaces of its own: ",
    ] {
        assert!(said.contains(words), "`{words}` is not in {said}");
    }
    assert_eq!(who(&test), "0");
    test.left_nothing();
}

/// D9, D11 and D15: proot, without its filter where the filter does not work; and no root at all.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn proot_runs_scripts_where_nothing_else_does() {
    let test = TestDir::new(Account::Ordinary, "way-proot");
    let dirs = programs(&test, "#!/bin/sh\nexec PROOT \"$@\"\n");
    let said = build(&test, Account::Ordinary, &dirs, &[])
        .succeeded()
        .stderr;
    assert!(said.contains("the script runs with proot"), "{said}");
    assert_eq!(who(&test), "0");
    let health = condense(&test, Account::Ordinary, &dirs, &["doctor", "--offline"]).run();
    assert!(
        health.stdout.contains("\nproot             works"),
        "{health:?}"
    );
    test.left_nothing();

    let test = TestDir::new(Account::Ordinary, "way-user");
    let refuses =
        "#!/bin/sh\n[ \"$1\" != -0 ] || { echo 'no root here'; exit 1; }\nexec PROOT \"$@\"\n";
    let dirs = programs(&test, refuses);
    let said = build(&test, Account::Ordinary, &dirs, &[]);
    said.failed_on_either_stream(
        1,
        &[
            "proot: no root here",
            "no root at all: it was not asked for",
        ],
    );
    test.left_nothing();
    fs_err::remove_file(test.path("base.sqfs")).unwrap();
    let said = build(&test, Account::Ordinary, &dirs, &["--no-root"]);
    let said = said.succeeded().stderr;
    assert!(
        said.contains("the script runs with no root at all"),
        "{said}"
    );
    assert_eq!(who(&test), Account::Ordinary.id().to_string());
}

/// D11: a proot that lets a script out of its root is found out before it runs one, and root runs
/// none.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_proot_that_does_not_work_runs_nothing() {
    let test = TestDir::new(Account::Ordinary, "way-broken");
    let dirs = programs(&test, "#!/bin/sh\nexit 0\n");
    let said = build(&test, Account::Ordinary, &dirs, &[]);
    said.failed_on_either_stream(
        1,
        &["proot: a file that was made inside is not in the image"],
    );
    let health = condense(&test, Account::Ordinary, &dirs, &["doctor", "--offline"]).run();
    let words = "proot             does not work: a file that was made inside";
    assert!(health.stdout.contains(words), "{health:?}");
    test.left_nothing();
    let test = TestDir::new(Account::Root, "way-root");
    let dirs = programs(&test, "#!/bin/sh\nexec PROOT \"$@\"\n");
    let said = build(&test, Account::Root, &dirs, &[]);
    let words = ["proot: a mistake of it would change this machine if root runs it"];
    said.failed_on_either_stream(1, &words);
    test.left_nothing();
}

mod long {
    use super::*;

    /// A real package manager, by proot.
    #[test]
    #[ignore = "needs: the real parts (scripts/setup-tests)"]
    fn apt_installs_a_package_with_proot() {
        let test = TestDir::new(Account::Ordinary, "way-apt");
        let dirs = programs(&test, "#!/bin/sh\nexec PROOT \"$@\"\n");
        let base = parts().apt_base().display().to_string();
        let words = [
            "build",
            "out.sif",
            "--os-packages",
            "tree",
            "-v",
            "--base-image",
            &base,
        ];
        let said = condense(&test, Account::Ordinary, &dirs, &words).run();
        let said = said.succeeded().stderr;
        assert!(said.contains("the script runs with proot"), "{said}");
        let mut exec = test.command("apptainer");
        exec.args(["-s", "exec", "out.sif", "tree", "--version"]);
        let shown = exec.run().succeeded().stdout;
        assert!(shown.starts_with("tree v"), "{shown}");
    }
}
