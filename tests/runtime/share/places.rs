//! Tests of the files and directories by which the tasks of a step meet: streams and numbers of files that a task does not have.

use super::step::{Step, left_nothing};
use crate::harness::{Account, CommandOutput, Run, shared};

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
