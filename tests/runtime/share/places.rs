//! Tests of the files and directories by which the tasks of a step meet: what stands in their
//! place, and streams and numbers of files that a task does not have.

use std::{
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
};

use super::step::{Step, ended, left_nothing};
use crate::harness::{Account, CommandOutput, Run, names, shared};

/// Shell code that starts a command with more open files or fewer.
fn start(step: &Step, share: &str, changes: &str, text: &str) -> CommandOutput {
    let mut command = Account::Ordinary.command("/bin/sh");
    command
        .args(["-c", &format!("exec \"$@\" {changes}"), "sh"])
        .arg(shared().bin("python3"))
        .args(["-c", text])
        .arg(step.test.dir());
    let mut command = step.task(0, command);
    command.env("CW_SHARE", share).env("CW_LOG_LEVEL", "3");
    command.run()
}

fn place() -> PathBuf {
    PathBuf::from(format!("/dev/shm/condense-{}", Account::Ordinary.id()))
}

/// Runs shell code in the directory of shared containers, which is made by the ordinary user.
fn prepare(code: &str) {
    let mut command = Account::Ordinary.command("/bin/sh");
    command.args(["-ec", code, "sh"]).arg(place());
    command.run().succeeded();
}

#[track_caller]
fn has_own_container(step: &Step, changes: &str, why: &str) {
    let said = start(step, "1", changes, "print('done')").succeeded();
    let wanted = format!("a container of its own: {why}\n");
    assert!(said.stderr.contains(&wanted), "{said:?}");
    assert!(!said.stderr.contains("llegal number"), "{said:?}");
    assert_eq!(said.text(), "done");
}

#[track_caller]
fn shares(step: &Step) {
    let said = start(step, "1", "", "print('done')").succeeded();
    assert!(said.stderr.contains("one container for"), "{said:?}");
    left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_closed_stream_is_the_null_device_in_the_shared_container_as_alone() {
    let step = Step::new("share-streams", 2);
    let text = "import os, sys
with open(sys.argv[1] + '/seen', 'w') as seen:
    os.system('echo stray; echo stray >&2')
    streams = [os.readlink(f'/proc/self/fd/{n}') for n in range(3)]
    seen.write(repr((seen.fileno() > 2, [name == '/dev/null' for name in streams])))";
    for (changes, closed) in [
        ("<&-", "[True, False, False]"),
        (">&-", "[False, True, False]"),
        ("2>&-", "[False, False, True]"),
        ("<&- >&- 2>&-", "[True, True, True]"),
    ] {
        for share in ["0", "1"] {
            // The input of a test may be the null device itself.
            let changes = format!("</proc/version {changes}");
            start(&step, share, &changes, text).succeeded();
            let seen = fs_err::read_to_string(step.test.path("seen")).unwrap();
            assert_eq!(seen, format!("(True, {closed})"), "{share} {changes}");
        }
    }
    left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_task_without_free_numbers_of_files_makes_no_directory() {
    let step = Step::new("share-numbers", 2);
    let taken = "3</dev/null 4<&3 5<&3 6<&3 7<&3 8<&3";
    has_own_container(&step, taken, "no file descriptor below 10 is free");
    assert!(!place().exists());
    shares(&step);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn whatever_stands_in_the_place_of_the_directory_is_named_and_left_alone() {
    let step = Step::new("share-places", 2);
    let elsewhere = step.test.make_dir("elsewhere");
    let link = format!("ln -s {} \"$1\"", elsewhere.display());
    let why = format!("{} is not the user's private directory", place().display());
    for code in [
        ": >\"$1\"",
        link.as_str(),
        "mkfifo \"$1\"",
        "mkdir -m 500 \"$1\"",
        "mkdir \"$1\"; chmod 777 \"$1\"",
        "mkdir -m 750 \"$1\"",
    ] {
        prepare(code);
        has_own_container(&step, "", &why);
        let left = std::fs::read_dir(place()).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{code}");
        prepare("rm -rf \"$1\"");
    }
    assert!(names(&elsewhere).is_empty());
    shares(&step);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_place_in_which_no_directory_can_be_made_is_named() {
    let step = Step::new("share-full", 2);
    let inner = Account::Ordinary.command(shared().bin("python3"));
    for (options, runtime_dir) in [("ro", None), ("nr_inodes=1,mode=1777", Some("/nowhere"))] {
        let code = format!("mount -t tmpfs -o {options} none /dev/shm; exec \"$@\"");
        let mut command = Account::Root.command("/usr/bin/unshare");
        command
            .args(["--mount", "/bin/sh", "-ec", &code, "sh"])
            .arg(inner.get_program())
            .args(inner.get_args())
            .args(["-c", "print('done')"]);
        let mut command = step.task(0, command);
        command
            .env("HOME", Account::Ordinary.home())
            .env("USER", Account::Ordinary.name())
            .env("CW_SHARE", "1")
            .env("CW_LOG_LEVEL", "3")
            .envs(runtime_dir.map(|dir| ("XDG_RUNTIME_DIR", dir)));
        let said = command.run().succeeded();
        let wanted = "a container of its own: no directory can be made in /dev/shm\n";
        assert!(said.stderr.contains(wanted), "{options}: {said:?}");
        assert_eq!(said.text(), "done");
    }
    left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn leftovers_of_a_failure_are_removed_and_a_lock_that_is_no_pipe_is_named() {
    let step = Step::new("share-leftovers", 2);
    // The name of the directory is that of the next task of the step.
    let task = step.start_waiting(0, "1");
    step.wait_for(1);
    let key = names(&place()).remove(0);
    step.go();
    ended(task).succeeded();
    step.clear();
    left_nothing();
    let dir = place().join(Path::new(&key));
    for leftovers in ["", "mkfifo -m 600 lock"] {
        let shown = dir.display();
        prepare(&format!(
            "mkdir -m 700 \"$1\" {shown}; cd {shown}; : >failed; {leftovers}"
        ));
        shares(&step);
    }
    let lock = dir.join("lock");
    let why = format!("{} is no pipe", lock.display());
    for code in [": >lock", "mkdir lock", "ln -s nowhere lock", "exit"] {
        let shown = dir.display();
        prepare(&format!("mkdir -m 700 \"$1\" {shown}; cd {shown}; {code}"));
        let socket = (code == "exit").then(|| UnixListener::bind(&lock).unwrap());
        has_own_container(&step, "", &why);
        assert!(lock.symlink_metadata().is_ok(), "{code}");
        drop(socket);
        prepare("rm -r \"$1\"");
    }
    left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_number_of_tasks_that_no_shell_can_compare_is_none() {
    let step = Step::new("share-count", 2);
    let command = shared().python(Account::Ordinary, "print('done')");
    let mut command = step.task(0, command);
    for name in ["SLURM_JOB_ID", "SLURM_STEP_ID"] {
        command.env_remove(name);
    }
    let said = command
        .env("PMI_LOCAL_SIZE", "99999999999999999999")
        .env("CW_LOG_LEVEL", "3")
        .run()
        .succeeded();
    assert!(said.stderr.contains("this is the only task"), "{said:?}");
    assert!(!said.stderr.contains("number:"), "{said:?}");
    left_nothing();
}
