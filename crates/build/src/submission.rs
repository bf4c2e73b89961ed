//! Responsible for builds that run as jobs of Slurm or PBS: the job runs the same command, its
//! output appears here as it comes, and its exit status is that of this process.

use std::{
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use condense_check::check_logs;
use condense_diagnostics::UserError;
use condense_env_vars as env_vars;
use condense_jobs::{
    Account, BatchScript, BuildJob, JobRules, JobSite, Scheduler, TimeLimit, build_job_files,
    build_script,
};

use crate::{
    Report,
    child::{SignalScope, run_streaming},
    interrupt::{EXIT_STATUS, Interrupt},
};

/// Time between two looks at the output of the job.
const POLL: Duration = Duration::from_millis(200);
/// Time that a job gets to end after it was interrupted, before it is cancelled. This process ends
/// ten seconds after a signal.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time until a file that a node has written is seen here. Network file systems keep what they know
/// of a directory for a few seconds.
const FILES_LATE: Duration = Duration::from_secs(10);

/// Job in which a build runs.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Name of the site.
    pub site: String,
    /// Rules of the site for jobs.
    pub rules: JobRules,
    /// Time limit that the user has named.
    pub time: Option<TimeLimit>,
    /// Project that pays for the job.
    pub account: Option<Account>,
    /// Further options for the command that submits.
    pub options: Vec<String>,
}

/// Command that a job runs, and where its output goes.
#[expect(missing_debug_implementations, reason = "writers have none")]
pub struct SubmittedCommand<'a> {
    /// Program and its arguments.
    pub words: &'a [String],
    /// Directory in which the command runs.
    pub dir: &'a Path,
    /// Receiver of the standard output.
    pub output: &'a mut (dyn Write + Send),
    /// Receiver of the standard error.
    pub errors: &'a mut (dyn Write + Send),
}

impl Submission {
    /// Returns the batch script, whose files are in the directory `files`.
    ///
    /// # Errors
    /// Returns an error if the rules of the site do not allow the job.
    pub fn script(
        &self,
        words: &[String],
        dir: &Path,
        files: &Path,
    ) -> anyhow::Result<BatchScript> {
        let site = JobSite {
            name: &self.site,
            rules: &self.rules,
        };
        let umask = umask();
        let job = BuildJob {
            time: self.time,
            account: self.account.as_ref(),
            dir,
            command: words,
            variables: &[(env_vars::CONDENSE_SUBMITTED, "1".to_owned())],
            umask: umask.as_deref(),
            files,
        };
        Ok(build_script(site, &job)?)
    }

    /// Submits the command, passes on its output and returns its exit status. If the user
    /// interrupts, the job is ended and the status is 130.
    ///
    /// # Errors
    /// Returns an error if the job cannot be submitted, or if it ended without a status.
    pub fn run(
        &self,
        command: SubmittedCommand<'_>,
        report: &Report,
        interrupt: &Interrupt,
    ) -> anyhow::Result<u8> {
        let files = tempfile::Builder::new()
            .prefix(".condense-job-")
            .tempdir_in(command.dir)
            .with_context(|| {
                format!(
                    "failed to make a directory for the job in `{}`",
                    command.dir.display()
                )
            })?;
        interrupt.remove_on_exit(files.path().to_owned());
        let script = self.script(command.words, command.dir, files.path())?;
        let path = files.path().join("script");
        fs_err::write(&path, script.render())?;
        let job = RunningJob {
            interrupt,
            scheduler: script.scheduler(),
            files: files.path(),
            is_over: AtomicBool::new(false),
        };
        job.run(&path, &self.options, command, report)
    }
}

/// Job that has been submitted, or is about to be.
struct RunningJob<'a> {
    interrupt: &'a Interrupt,
    scheduler: Scheduler,
    files: &'a Path,
    is_over: AtomicBool,
}

impl RunningJob<'_> {
    fn run(
        &self,
        script: &Path,
        options: &[String],
        command: SubmittedCommand<'_>,
        report: &Report,
    ) -> anyhow::Result<u8> {
        let SubmittedCommand { output, errors, .. } = command;
        std::thread::scope(|scope| {
            let tail = condense_threads::scoped(scope, || self.pass_on(output, errors))?;
            let result = self.wait(script, options, report);
            self.is_over.store(true, Ordering::Release);
            let passed_on = tail.join();
            let status = result?;
            passed_on.map_err(|_| anyhow::anyhow!("the output of the job could not be read"))??;
            self.conclude(status, report)
        })
    }

    /// Submits the script and waits for the end of the job. Returns the status of the command that
    /// submits.
    fn wait(&self, script: &Path, options: &[String], report: &Report) -> anyhow::Result<i32> {
        let name = self.scheduler.submit_command();
        let mut submit = Command::new(name);
        match self.scheduler {
            Scheduler::Slurm => submit.arg("--wait"),
            Scheduler::Pbs => submit.args(["-W", "block=true"]),
        };
        submit.args(options).arg(script);
        let mut id = None;
        let mut said = Vec::new();
        let status = run_streaming(submit, SignalScope::Group, report, &mut |line| {
            if id.is_none() {
                id = job_id(self.scheduler, line);
                match &id {
                    Some(id) => {
                        self.interrupt.run_on_exit(self.cancel_command(), id);
                        report.info(format!("job {id} is submitted"));
                    }
                    None => said.push(line.to_owned()),
                }
            }
            Ok(())
        });
        let status = match status {
            Ok(status) => status,
            Err(error) => {
                return Err(anyhow::anyhow!(error)
                    .context(UserError::new(
                        format!("failed to start `{name}`"),
                        "`--submit` needs the commands of Slurm or PBS; without it, the build runs on this machine",
                    )));
            }
        };
        let Some(id) = id else {
            if status == i32::from(EXIT_STATUS) {
                return Ok(status);
            }
            return Err(UserError::new(
                format!("`{name}` refused the job: {}", said.join(" ").trim()),
                "`--submit='OPTIONS'` passes further options to it, such as --account and --partition",
            )
            .into());
        };
        if report.cancelled() {
            report.info(format!("job {id} is cancelled"));
            self.cancel(&id);
            return Ok(i32::from(EXIT_STATUS));
        }
        Ok(status)
    }

    /// Interrupts the job as Ctrl-C would, so that the build removes what it has begun, and cancels
    /// it if it goes on.
    fn cancel(&self, id: &str) {
        let run = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).arg(id);
            command.output().ok()
        };
        let is_there = || match self.scheduler {
            Scheduler::Slurm => run("squeue", &["--noheader", "--jobs"])
                .is_some_and(|said| said.status.success() && !said.stdout.trim_ascii().is_empty()),
            Scheduler::Pbs => run("qstat", &[]).is_some_and(|said| said.status.success()),
        };
        match self.scheduler {
            Scheduler::Slurm => {
                run("scancel", &["--state=PENDING"]);
                run("scancel", &["--full", "--signal=INT"]);
            }
            Scheduler::Pbs => {
                // A job that waits takes no signal.
                let is_signalled = run("qsig", &["-s", "INT"]);
                if !is_signalled.is_some_and(|said| said.status.success()) {
                    run("qdel", &[]);
                }
            }
        }
        let since = Instant::now();
        while is_there() && since.elapsed() < PATIENCE {
            std::thread::sleep(POLL);
        }
        run(self.cancel_command(), &[]);
    }

    /// Returns the program that cancels a job, whatever its state is.
    fn cancel_command(&self) -> &'static str {
        match self.scheduler {
            Scheduler::Slurm => "scancel",
            Scheduler::Pbs => "qdel",
        }
    }

    /// Passes on what the job writes, until it is over and its status is here.
    fn pass_on(
        &self,
        output: &mut (dyn Write + Send),
        errors: &mut (dyn Write + Send),
    ) -> std::io::Result<()> {
        let mut tails = [
            Tail::new(self.files.join(build_job_files::OUTPUT), output),
            Tail::new(self.files.join(build_job_files::ERRORS), errors),
        ];
        loop {
            let is_over = self.is_over.load(Ordering::Acquire);
            for tail in &mut tails {
                tail.pass_on()?;
            }
            if is_over {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Returns the exit status of the command. A job that was ended from outside has none.
    fn conclude(&self, submitted: i32, report: &Report) -> anyhow::Result<u8> {
        if submitted == i32::from(EXIT_STATUS) && report.cancelled() {
            return Ok(EXIT_STATUS);
        }
        let path = self.files.join(build_job_files::STATUS);
        let since = Instant::now();
        while !path.exists() && submitted == 0 && since.elapsed() < FILES_LATE {
            std::thread::sleep(POLL);
        }
        if let Ok(text) = condense_input::read_to_string(&path, 16)
            && let Ok(status) = text.trim().parse()
        {
            return Ok(status);
        }
        let logs = [build_job_files::ERRORS, build_job_files::MESSAGES];
        let logs: Vec<PathBuf> = logs.iter().map(|name| self.files.join(name)).collect();
        let logs: Vec<PathBuf> = logs.into_iter().filter(|path| path.is_file()).collect();
        let findings = check_logs(&logs)
            .map(|log| log.findings)
            .unwrap_or_default();
        Err(match findings.into_iter().next() {
            Some(finding) => {
                UserError::new(format!("the job has ended: {}", finding.what), finding.fix)
            }
            None => UserError::new(
                format!("the job has ended without a result, with the status {submitted}"),
                "`sacct` or `qstat -x` may tell why",
            ),
        }
        .into())
    }
}

/// File that grows, and the place to which its bytes go.
struct Tail<'a> {
    path: PathBuf,
    position: u64,
    to: &'a mut (dyn Write + Send),
}

impl<'a> Tail<'a> {
    fn new(path: PathBuf, to: &'a mut (dyn Write + Send)) -> Self {
        Self {
            path,
            position: 0,
            to,
        }
    }

    /// Passes on what is new in the file. A file that is not there yet has nothing.
    fn pass_on(&mut self) -> std::io::Result<()> {
        let Ok(mut file) = std::fs::File::open(&self.path) else {
            return Ok(());
        };
        file.seek(SeekFrom::Start(self.position))?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = file.read(&mut buffer)?;
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
                return self.to.flush();
            };
            self.to.write_all(bytes)?;
            self.position += bytes.len() as u64;
        }
    }
}

/// Returns the name of the job in a line of `sbatch` or `qsub`.
fn job_id(scheduler: Scheduler, line: &str) -> Option<String> {
    let id = match scheduler {
        Scheduler::Slurm => line
            .strip_prefix("Submitted batch job ")?
            .split(' ')
            .next()?,
        Scheduler::Pbs => line.trim(),
    };
    let is_id = id.starts_with(|first: char| first.is_ascii_digit())
        && id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-_[]".contains(c));
    is_id.then(|| id.to_owned())
}

/// Returns the mode mask of this process.
fn umask() -> Option<String> {
    let status = condense_input::read_to_string("/proc/self/status", 1 << 16).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))?;
    Some(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_jobs_are_found() {
        let slurm = |line| job_id(Scheduler::Slurm, line);
        assert_eq!(slurm("Submitted batch job 12").as_deref(), Some("12"));
        let clusters = "Submitted batch job 12 on cluster c3";
        assert_eq!(slurm(clusters).as_deref(), Some("12"));
        assert_eq!(slurm("sbatch: error: Batch job submission failed"), None);
        let pbs = |line| job_id(Scheduler::Pbs, line);
        let name = "5432.polaris-pbs-01.hsn.cm";
        assert_eq!(pbs(name).as_deref(), Some(name));
        assert_eq!(pbs("qsub: Unknown queue"), None);
    }

    #[test]
    fn what_is_new_is_passed_on_once() {
        let dir = tempfile::tempdir().expect("scratch");
        let path = dir.path().join("log");
        let mut seen = Vec::new();
        let mut tail = Tail::new(path.clone(), &mut seen);
        tail.pass_on().expect("no file yet");
        for part in ["one\n", "tw", "o\n"] {
            let mut file = std::fs::File::options();
            let mut file = file.create(true).append(true).open(&path).expect("scratch");
            file.write_all(part.as_bytes()).expect("scratch");
            tail.pass_on().expect("readable");
        }
        assert_eq!(seen, b"one\ntwo\n");
    }
}
