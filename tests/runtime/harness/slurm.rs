//! Responsible for running Debian's Slurm as a cluster of four nodes on this machine.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{Account, CommandOutput, Run, TestDir, need};

/// Shell script that waits for the end of the test process, however it ends, and stops the cluster.
const CARETAKER: &str = "cat; exec \"$1\" stop \"$2\"";

/// Running cluster, stopped when dropped.
pub(crate) struct Slurm {
    dir: PathBuf,
    account: Account,
    /// Process that runs [`CARETAKER`] as long as the pipe to it is open.
    caretaker: Child,
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/slurm-cluster")
}

impl Drop for Slurm {
    fn drop(&mut self) {
        drop(self.caretaker.stdin.take());
        let _ = self.caretaker.wait();
    }
}

impl Slurm {
    /// Starts the cluster as root.
    pub(crate) fn start(test: &TestDir) -> Self {
        Self::start_as(test, Account::Root, None)
    }

    /// Starts the cluster as root. Each node has a directory of its own in the place of `local`.
    pub(crate) fn start_with(test: &TestDir, local: &Path) -> Self {
        Self::start_as(test, Account::Root, Some(local))
    }

    /// Starts the cluster as this account, which is that of the test.
    pub(crate) fn start_as(test: &TestDir, account: Account, local: Option<&Path>) -> Self {
        for program in ["/usr/sbin/slurmctld", "/usr/sbin/slurmd", "/usr/bin/srun"] {
            need(Path::new(program).exists(), &format!("no {program}"));
        }
        let dir = test.path("slurm");
        let caretaker = Command::new("/bin/sh")
            .args(["-c", CARETAKER, "caretaker"])
            .arg(program())
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let slurm = Self {
            dir,
            account,
            caretaker,
        };
        account
            .command(program())
            .arg("start")
            .arg(&slurm.dir)
            .args(local)
            // The daemons keep the streams that they are started with.
            .stdin(Stdio::null())
            .run()
            .succeeded();
        slurm
    }

    /// Returns a command that finds the cluster, with the test's directory as working directory.
    pub(crate) fn command(&self, test: &TestDir, program: &str) -> Command {
        let mut command = self.account.command(program);
        command
            .current_dir(test.dir())
            .env("SLURM_CONF", self.dir.join("slurm.conf"));
        command
    }

    /// Runs a batch script, waits for its end, and returns what it has printed.
    #[track_caller]
    pub(crate) fn batch(&self, test: &TestDir, options: &[&str], script: &str) -> String {
        let name = format!("job-{}.sh", script.len());
        test.write(&name, &format!("#!/bin/sh\n{script}"));
        let said: CommandOutput = self
            .command(test, "sbatch")
            .args(["--wait", "--output=job.txt", "--error=job.txt"])
            .args(options)
            .arg(&name)
            .run();
        let printed = fs_err::read_to_string(test.path("job.txt")).unwrap_or_default();
        assert_eq!(said.status, 0, "{said:?} {printed}");
        printed
    }
}
