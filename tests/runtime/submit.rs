//! Tests of `--submit` with a real Slurm.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use crate::harness::{Account, CommandOutput, Run, Slurm, TestDir, finish, parts};

/// Returns the command that builds an environment as a job of the cluster.
fn build(test: &TestDir, slurm: &Slurm, environment: &str, more: &[&str]) -> std::process::Command {
    let environment = test.environment(environment);
    let program = parts().path("programs/condense");
    let mut command = slurm.command(test, program.to_str().unwrap());
    command
        .args(["conda-containerize", "new", "--submit", "--prefix"])
        .arg(test.installation().dir)
        .arg("--base-image")
        .arg(parts().base())
        .args(more)
        .arg(environment);
    command
}

fn jobs(test: &TestDir, slurm: &Slurm) -> String {
    slurm
        .command(test, "squeue")
        .arg("--noheader")
        .run()
        .succeeded()
        .stdout
}

#[track_caller]
fn left_nothing(test: &TestDir) {
    let names = fs_err::read_dir(test.dir()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let left: Vec<String> = names
        .filter(|name| name.starts_with(".condense-job"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests) and Slurm"]
fn a_build_runs_on_a_node_and_its_result_is_here() {
    let test = TestDir::new(Account::Root, "submit");
    let slurm = Slurm::start(&test);
    let said: CommandOutput = build(&test, &slurm, "edge-argv", &["--time", "10"])
        .run()
        .succeeded();
    assert!(said.stdout.contains("is submitted"), "{said:?}");
    assert!(test.installation().dir.join("bin").is_dir());
    left_nothing(&test);
    // The same again is refused by the job, whose exit status and words arrive here.
    let said = build(&test, &slurm, "edge-argv", &[]).run();
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.text().contains("--force"), "{said:?}");
    let said = build(
        &test,
        &slurm,
        "edge-argv",
        &["--force", "--submit=--partition=nowhere"],
    )
    .run();
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.text().contains("refused the job"), "{said:?}");
    left_nothing(&test);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests) and Slurm"]
fn ctrl_c_ends_the_job_and_nothing_is_left() {
    let test = TestDir::new(Account::Root, "submit-int");
    let slurm = Slurm::start(&test);
    let script = test.write("slow.sh", "echo it has begun\nsleep 300\n");
    let child = build(
        &test,
        &slurm,
        "edge-argv",
        &["--post-install", script.to_str().unwrap()],
    )
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    let since = Instant::now();
    while jobs(&test, &slurm).trim().is_empty() {
        assert!(since.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(1));
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::INT,
    )
    .unwrap();
    let said = finish(child);
    assert_eq!(said.status, 130, "{said:?}");
    assert_eq!(jobs(&test, &slurm).trim(), "");
    assert!(!test.installation().dir.exists());
    left_nothing(&test);
}
