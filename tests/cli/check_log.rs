//! Tests of `condense check --log`.

use crate::harness::{Run, TestEnv};

const LOG: &str = "\
nid001001:10:20 [0] NCCL INFO Using network Socket
nid001002:10:20 [0] NCCL INFO Using network Socket
nid001001:10:20 [0] NCCL INFO comm 0x5 rank 0 nranks 2 cudaDev 0 busId c1000 - Init COMPLETE
nid001002:10:20 [0] NCCL INFO comm 0x5 rank 1 nranks 2 cudaDev 0 busId c1000 - Init COMPLETE
slurmstepd: error: *** STEP 7.0 ON nid001001 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***
";

#[test]
fn a_log_is_told_and_judged() {
    let test = TestEnv::new();
    let log = test.write("job.txt", LOG);
    let condense = || test.command(env!("CARGO_BIN_EXE_condense"));
    let said = condense().args(["check", "--log"]).arg(&log).run();
    assert_eq!(said.status, 1, "{said:?}");
    let mut lines = said.stdout.lines();
    assert_eq!(lines.next(), Some("ranks    2 on 2 hosts"));
    assert_eq!(lines.next(), Some("NCCL     Socket"));
    assert_eq!(lines.next(), Some("GPUs     each rank has its own"));
    for words in [
        "error[job-time-limit]: the time limit ended the job: `slurmstepd",
        "job.txt:5",
        "warning[job-sockets]: NCCL or RCCL sends its data through sockets",
    ] {
        assert!(said.stdout.contains(words), "{words}: {said:?}");
    }
    assert!(said.stderr.contains("1 error, 1 warning"), "{said:?}");

    let allowed = condense()
        .args(["check", "--allow", "job-time-limit", "--log"])
        .arg(&log)
        .run();
    assert_eq!(allowed.status, 0, "{allowed:?}");

    let said = condense()
        .args(["check", "--json", "--log"])
        .arg(&log)
        .run();
    assert_eq!(said.status, 1);
    let json: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(json["schema"], "condense.check/1");
    assert_eq!(json["kind"], "log");
    assert_eq!(json["facts"]["ranks"], 2);
    assert_eq!(json["facts"]["networks"][0], "Socket");
    assert_eq!(json["findings"][0]["code"], "job-time-limit");
}

#[test]
fn logs_that_tell_nothing_or_cannot_be_read_say_so() {
    let test = TestEnv::new();
    let condense = |arguments: &[&str]| {
        let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
        command.args(arguments).run()
    };
    let quiet = test.write("quiet.txt", "epoch 1\nepoch 2\n");
    let said = condense(&["check", "--log", quiet.to_str().unwrap()]);
    assert_eq!((said.status, said.stdout.as_str()), (0, ""), "{said:?}");
    assert!(said.stderr.contains("NCCL_DEBUG=INFO"), "{said:?}");
    let empty = test.write("empty.txt", "");
    let said = condense(&["check", "--log", empty.to_str().unwrap()]);
    assert!(said.stderr.contains("the log is empty"), "{said:?}");
    for (arguments, words) in [
        (&["check", "--log", "missing.txt"][..], "missing.txt"),
        (&["check", "--log", "."], "failed to read"),
        (
            &["check", "--log", "a.txt", "env.yml"],
            "cannot be used with",
        ),
        (
            &["check", "--log", "a.txt", "--site", "lumi-g"],
            "cannot be used with",
        ),
        (&["check"], "required arguments"),
    ] {
        let said = condense(arguments);
        assert_eq!(said.status, 2, "{arguments:?}: {said:?}");
        assert!(said.stderr.contains(words), "{arguments:?}: {said:?}");
    }
}
