//! Tests of `--submit` with stand-ins for `sbatch` and `qsub`, which run the script at once.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::harness::{CommandOutput, Run, TestEnv, finish, names};

/// Runs the script with the files that it names, and ends as the script does.
const SBATCH: &str = r#"#!/bin/bash
for script; do :; done
printf '%s\n' "$@" >"$HOME/options"
cp "$script" "$HOME/script"
echo "Submitted batch job 7"
value() { sed -n "s/^#SBATCH --$1=//p" "$script"; }
exec bash "$script" >"$(value output)" 2>"$(value error)"
"#;

const QSUB: &str = r#"#!/bin/bash
for script; do :; done
printf '%s\n' "$@" >"$HOME/options"
cp "$script" "$HOME/script"
echo "7.server"
exec bash "$script"
"#;

const CATALOGUE: &str = r#"
schema = 1
[site.slurmed]
description = "a machine with Slurm"
installation_path = "/LOCAL_TYKKY"
[site.slurmed.job]
scheduler = "slurm"
build = { partition = "small", cores = 4, memory_gib = 8, time = "1:00:00" }
[site.slurmed.job.partition]
small = { time = "2:00:00", nodes = 1, cores = 8 }
[site.queued]
description = "a machine with PBS"
installation_path = "/LOCAL_TYKKY"
[site.queued.job]
scheduler = "pbs"
select = "system=big"
modules = ["load apptainer"]
variables = [{ name = "http_proxy", value = "http://proxy.invalid:1", why = "the way out" }]
[site.none]
description = "a machine without a scheduler"
installation_path = "/LOCAL_TYKKY"
"#;

fn site(test: &TestEnv, name: &str) -> [String; 4] {
    let catalogue = test
        .write("catalogue.toml", CATALOGUE)
        .display()
        .to_string();
    [
        "--catalogue".to_owned(),
        catalogue,
        "--site".to_owned(),
        name.to_owned(),
    ]
}

/// Returns the command `conda-containerize new` of the environment with the package `tool`.
fn command(test: &TestEnv, name: &str, more: &[&str]) -> Command {
    let env = test.environment("tool");
    let mut command = test.new_command(more);
    command.args(site(test, name)).arg(env);
    command
}

fn build(test: &TestEnv, name: &str, more: &[&str]) -> CommandOutput {
    command(test, name, more).run()
}

fn with_slurm(sbatch: &str) -> TestEnv {
    let test = TestEnv::new();
    for program in ["bash", "cp", "sed", "mv", "sleep", "cat", "touch"] {
        test.fake_program(program, &format!("#!/bin/sh\nexec /bin/{program} \"$@\"\n"));
    }
    test.fake_program("sbatch", sbatch);
    test
}

fn read(test: &TestEnv, name: &str) -> String {
    fs_err::read_to_string(test.path("home").join(name)).unwrap()
}

/// Checks that the job left none of its files.
#[track_caller]
fn left_nothing(test: &TestEnv) {
    test.left_nothing();
    let work = names(&test.path("work"));
    let left = work.iter().filter(|name| name.starts_with(".condense-job"));
    assert_eq!(left.count(), 0, "{work:?}");
}

#[test]
fn a_build_runs_as_a_job_and_says_the_same() {
    let test = with_slurm(SBATCH);
    let said = build(&test, "slurmed", &["--submit", "--time", "30"]).succeeded();
    assert!(said.stdout.contains("job 7 is submitted"), "{said:?}");
    assert!(test.installation().join("bin/tool").exists(), "{said:?}");
    assert_eq!(read(&test, "options").lines().next(), Some("--wait"));
    let script = read(&test, "script");
    for line in [
        "#SBATCH --partition=small",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=8G",
        "#SBATCH --time=00:30:00",
        "export CONDENSE_SUBMITTED=1",
    ] {
        assert!(script.lines().any(|it| it == line), "{line}: {script}");
    }
    left_nothing(&test);

    // The messages are those of a build without a job.
    let other = TestEnv::new();
    let direct = build(&other, "slurmed", &[]).succeeded();
    let last = |said: &CommandOutput, test: &TestEnv| {
        let line = said.stdout.lines().last().unwrap_or_default().to_owned();
        line.replace(&test.path("").display().to_string(), "")
    };
    assert_eq!(last(&said, &test), last(&direct, &other));
}

#[test]
fn the_result_of_the_job_is_that_of_the_command() {
    let test = with_slurm(SBATCH);
    let said = build(&test, "slurmed", &["--submit", "--json"]).succeeded();
    let json: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(json["schema"], "condense.new/1");
    // The destination exists now, which the job refuses.
    let said = build(&test, "slurmed", &["--submit"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.text().contains("--force"), "{said:?}");
    left_nothing(&test);
}

#[test]
fn a_sif_and_an_update_are_submitted_as_well() {
    let test = with_slurm(SBATCH);
    build(&test, "slurmed", &[]).succeeded();
    let script = test.write("post.sh", "touch added\n");
    let mut update = test.program(&["update", "--submit", "--post-install"]);
    update
        .arg(script)
        .args(site(&test, "slurmed"))
        .arg(test.installation());
    let said = update.run();
    assert!(said.stdout.contains("job 7 is submitted"), "{said:?}");
    let line = read(&test, "script");
    let line = line
        .lines()
        .find(|line| line.contains(" update "))
        .unwrap_or_default()
        .to_owned();
    assert!(
        line.contains("condense conda-containerize update --submit"),
        "{line}"
    );
    for words in [["build", "out.sif"], ["cotainr", "build"]] {
        let mut command = test.condense(&words);
        command
            .args(["--submit", "--base-image"])
            .arg(test.path("base"));
        if words[0] == "cotainr" {
            command.args(["out.sif", "--conda-env"]);
        }
        command
            .arg(test.environment("tool"))
            .args(site(&test, "slurmed"));
        let said = command.run().succeeded();
        let is_told = |text: &str| text.contains("job 7 is submitted");
        assert!(is_told(&said.stdout) || is_told(&said.stderr), "{said:?}");
        assert!(test.path("work/out.sif").exists());
        fs_err::remove_file(test.path("work/out.sif")).unwrap();
    }
}

#[test]
fn a_dry_run_shows_the_script() {
    let test = with_slurm("#!/bin/sh\nexit 9\n");
    let said = build(&test, "slurmed", &["--submit", "--dry-run"]).succeeded();
    assert!(
        said.stdout.starts_with("#!/bin/bash\n#SBATCH --job-name"),
        "{said:?}"
    );
    assert!(!test.installation().exists());
    left_nothing(&test);
}

#[test]
fn pbs_gets_the_same_build() {
    let test = with_slurm("#!/bin/sh\nexit 9\n");
    test.fake_program("qsub", QSUB);
    let said = build(&test, "queued", &["--submit=-q debug", "--time=1:00:00"]).succeeded();
    assert!(
        said.stdout.contains("job 7.server is submitted"),
        "{said:?}"
    );
    assert!(test.installation().join("bin/tool").exists());
    let options = read(&test, "options");
    let options: Vec<&str> = options.lines().collect();
    assert_eq!(options[..4], ["-W", "block=true", "-q", "debug"]);
    assert!(read(&test, "script").contains("#PBS -l walltime=01:00:00"));
    left_nothing(&test);
}

#[test]
fn what_cannot_be_submitted_is_refused_with_the_reason() {
    let test = TestEnv::new();
    for (name, more, words) in [
        ("slurmed", &["--submit"][..], "failed to start `sbatch`"),
        (
            "slurmed",
            &["--submit", "--time=3:00:00"],
            "jobs end after 02:00:00",
        ),
        (
            "none",
            &["--submit"],
            "no rules for jobs of the site `none`",
        ),
    ] {
        let said = build(&test, name, more);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.text().contains(words), "{words}: {said:?}");
        left_nothing(&test);
    }
    let said = build(&test, "slurmed", &["--time=30"]);
    assert_eq!(said.status, 2, "{said:?}");
    let said = build(&test, "slurmed", &["--submit", "--time=soon"]);
    assert_eq!(said.status, 2, "{said:?}");
    let test = with_slurm("#!/bin/sh\necho 'sbatch: error: invalid partition' >&2\nexit 1\n");
    let said = build(&test, "slurmed", &["--submit"]);
    assert_eq!(said.status, 1);
    assert!(
        said.text()
            .contains("refused the job: sbatch: error: invalid partition"),
        "{said:?}"
    );
    left_nothing(&test);
}

#[test]
fn a_job_that_is_ended_from_outside_is_told_with_the_reason() {
    let sbatch = r#"#!/bin/bash
for script; do :; done
echo "Submitted batch job 7"
errors=$(sed -n 's/^#SBATCH --error=//p' "$script")
echo 'slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026 DUE TO TIME LIMIT ***' >"$errors"
exit 1
"#;
    let test = with_slurm(sbatch);
    let said = build(&test, "slurmed", &["--submit"]);
    assert_eq!(said.status, 1, "{said:?}");
    for words in ["the job has ended: the time limit ended the job", "--time"] {
        assert!(said.text().contains(words), "{words}: {said:?}");
    }
    left_nothing(&test);
    let test = with_slurm("#!/bin/sh\necho 'Submitted batch job 7'\nexit 5\n");
    let said = build(&test, "slurmed", &["--submit"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.text().contains("without a result, with the status 5"),
        "{said:?}"
    );
}

#[test]
fn ctrl_c_ends_the_job() {
    let sbatch = "#!/bin/bash\necho 'Submitted batch job 7'\ntouch \"$HOME/started\"\nsleep 60\n";
    let test = with_slurm(sbatch);
    test.fake_program(
        "scancel",
        "#!/bin/bash\necho \"$@\" >>\"$HOME/cancelled\"\n",
    );
    test.fake_program("squeue", "#!/bin/bash\nexit 1\n");
    let child = command(&test, "slurmed", &["--submit"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let since = Instant::now();
    while !test.path("home").join("started").exists() {
        assert!(since.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(200));
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let said = finish(child);
    assert_eq!(said.status, 130, "{said:?}");
    let cancelled = read(&test, "cancelled");
    assert_eq!(cancelled, "--state=PENDING 7\n--full --signal=INT 7\n7\n");
    assert!(!test.installation().exists());
    left_nothing(&test);
}
