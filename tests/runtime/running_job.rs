//! Tests of running jobs: a job keeps its installation while it is replaced, and a job that starts
//! later gets the new one.

use std::{io::Write, process::Child};

use crate::harness::{
    Account, CommandOutput, Installation, Run, TestDir, as_both, finish, start_until_ready,
};

/// Python program that prints `ready`, waits for a line, imports modules for the first time, starts
/// its interpreter, and starts it from there once more.
const JOB: &str = "import subprocess, sys
print('ready', flush=True)
sys.stdin.readline()
assert 'mailbox' not in sys.modules and 'click' not in sys.modules
import mailbox, wsgiref.handlers, click
print(sys.version_info[:2], click.__name__)
def run(text):
    output = subprocess.run([sys.executable, '-c', text], capture_output=True, text=True)
    assert output.returncode == 0, output.stderr
    print(output.stdout, end='')
run('import sys, xmlrpc.client, click; print(sys.version_info[:2])')
run('import subprocess, sys; subprocess.run([sys.executable, \"-c\", \"import click, sys; print(sys.prefix)\"], check=True)')";

/// Python program that prints `ready`, waits for a line, and starts its interpreter, which prints
/// its own path and version.
const PARENT: &str = "import subprocess, sys
print('ready', flush=True)
sys.stdin.readline()
text = 'import sys, click; print(sys.executable, sys.version_info[:2])'
output = subprocess.run([sys.executable, '-c', text], capture_output=True, text=True)
print(output.stdout, output.stderr, end='', sep='')";

fn start(account: Account, installation: &Installation, python: &str, text: &str) -> Child {
    start_until_ready(&mut installation.command(account, python, ["-c", text]))
}

fn go_on(mut job: Child) -> CommandOutput {
    job.stdin.take().unwrap().write_all(b"\n").unwrap();
    finish(job)
}

/// Output of the job if nothing has changed for it.
fn unchanged(version: &str, installation: &Installation) -> String {
    let prefix = installation.env_prefix();
    format!("{version} click\n{version}\n{prefix}")
}

fn replace(test: &TestDir, packages: &str) {
    let mut command = test.new_command(&test.installation().dir, &test.environment(packages));
    command.arg("--force").run().succeeded();
    test.left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn it_keeps_its_image_while_new_starts_get_the_new_one() {
    let test = TestDir::new(Account::Root, "job");
    let installation = test.build("python=3.11, click");
    let mount_point = installation.mount_point();
    let jobs = [Account::Root, Account::Ordinary]
        .map(|account| start(account, &installation, "python", JOB));
    replace(&test, "python=3.13, tqdm, edge-argv");

    assert_eq!(installation.mount_point(), mount_point);
    assert_eq!(installation.receipt()["generation"], 2);
    let text =
        "import sys, tqdm, importlib.util as u; print(sys.version_info[:2], u.find_spec('click'))";
    as_both(|account| {
        installation
            .python(account, text)
            .run()
            .says("(3, 13) None");
    });
    assert!(installation.bin("edge-argv").exists() && !installation.bin("python3.11").exists());
    for job in jobs {
        go_on(job).says(&unchanged("(3, 11)", &installation));
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn it_survives_several_replacements_and_a_failed_one() {
    let test = TestDir::new(Account::Ordinary, "jobs");
    let installation = test.build("python=3.11, click");
    let first = start(Account::Ordinary, &installation, "python", JOB);
    replace(&test, "python=3.13, click");
    let second = start(Account::Root, &installation, "python", JOB);
    let environment = test.environment("python=3.11, edge-post-link-fails");
    let mut failing = test.new_command(&installation.dir, &environment);
    failing
        .arg("--force")
        .run()
        .failed_on_either_stream(1, &["edge-post-link-fails: fails on purpose"]);
    test.left_nothing();
    installation
        .python(Account::Ordinary, "import sys; print(sys.version_info[:2])")
        .run()
        .says("(3, 13)");
    replace(&test, "python=3.11, edge-argv");
    go_on(first).says(&unchanged("(3, 11)", &installation));
    go_on(second).says(&unchanged("(3, 13)", &installation));
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn it_starts_programs_that_the_new_one_lacks() {
    let test = TestDir::new(Account::Root, "lacking");
    let installation = test.build("python=3.11, click");
    let jobs = [Account::Root, Account::Ordinary]
        .map(|account| start(account, &installation, "python3.11", PARENT));
    replace(&test, "python=3.13");
    let expected = format!("{} (3, 11)", installation.bin("python3.11").display());
    for job in jobs {
        go_on(job).says(&expected);
    }
}

/// Checks that the path stays valid: a program may write it into a job script.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_it_starts_has_the_path_that_users_know() {
    let test = TestDir::new(Account::Root, "known-path");
    let installation = test.build("python=3.11, click");
    let jobs = [Account::Root, Account::Ordinary]
        .map(|account| start(account, &installation, "python", PARENT));
    replace(&test, "python=3.13");
    let expected = format!("{} (3, 11)", installation.bin("python").display());
    for job in jobs {
        go_on(job).says(&expected);
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn it_keeps_its_image_when_an_older_one_is_brought_back() {
    let test = TestDir::new(Account::Ordinary, "job-back");
    let installation = test.build("python=3.11, edge-argv");
    replace(&test, "python=3.11, click");
    let job = start(Account::Ordinary, &installation, "python", JOB);
    let dir = installation.dir.display().to_string();
    let condense = |verb: &str| {
        test.command(crate::harness::parts().path("programs/condense"))
            .args([verb, &dir])
            .run()
            .succeeded();
    };
    condense("rollback");
    let text = "import importlib.util as u; print(u.find_spec('click'))";
    installation
        .python(Account::Ordinary, text)
        .run()
        .says("None");
    assert!(installation.bin("edge-argv").exists());
    go_on(job).says(&unchanged("(3, 11)", &installation));
    condense("gc");
    condense("verify");
}
