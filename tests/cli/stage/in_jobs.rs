//! Tests of copies on all nodes of a job of Slurm, with stand-ins for `srun` and `sbcast`.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::Value;

use super::{NODE, built, condense, copies, node, with_sif};
use crate::harness::{CommandOutput, Run, finish};

/// Stands in for srun: starts the program once, as a node of its own would.
const SRUN: &str = "#!/bin/sh\nwhile :; do case $1 in --*) shift ;; *) break ;; esac; done\n\
     SLURM_STEP_ID=0 SLURMD_NODENAME=nid1 exec \"$@\"\n";

#[test]
fn in_a_job_sbcast_sends_the_bytes() {
    let test = built();
    test.fake_program("srun", SRUN);
    let stage = |words: &[&str]| {
        let mut command = test.condense(&["stage", "--json", "--to", NODE]);
        command
            .args(words)
            .envs([("SLURM_JOB_ID", "7"), ("SLURM_JOB_NUM_NODES", "1")]);
        command.run()
    };
    let value =
        |said: CommandOutput| -> Value { serde_json::from_str(&said.succeeded().stdout).unwrap() };
    test.fake_program(
        "sbcast",
        "#!/bin/sh\n[ \"$1\" = --force ] || exit 1\ncat \"$2\" >\"$3\"\n",
    );
    let sent = value(stage(&["installation"]));
    assert_eq!(sent["method"], "sbcast", "{sent}");
    let answer = &sent["nodes"][0];
    assert_eq!(
        (&answer["node"], &answer["received"]),
        (&"nid1".into(), &2.into())
    );
    for file in sent["files"].as_array().unwrap() {
        assert!(Path::new(file["path"].as_str().unwrap()).is_file());
    }
    // Nothing is sent to nodes that have everything.
    test.fake_program("sbcast", "#!/bin/sh\nexit 3\n");
    assert_eq!(value(stage(&["installation"]))["made"], 0);
    condense(&test, &["stage", "--clean", "--to", NODE]).succeeded();

    // Bytes that arrive damaged, or not at all, are replaced by those of the original.
    for script in [
        "echo Slurm is tired >&2; exit 3",
        "echo damaged >\"$3\"",
        ":",
    ] {
        test.fake_program("sbcast", &format!("#!/bin/sh\n{script}\n"));
        let said = stage(&["installation"]);
        let failed = script.contains("exit 3");
        assert_eq!(said.stderr.contains("Slurm is tired"), failed, "{said:?}");
        let copied = value(said);
        assert_eq!(
            (&copied["method"], &copied["made"]),
            (&"copy".into(), &2.into())
        );
        assert_eq!(copies(&node(&test)).len(), 2);
        condense(&test, &["stage", "--clean", "--to", NODE]).succeeded();
    }
    // Errors of a node, and of srun, end the command.
    let image = fs_err::canonicalize(test.installation().join("img.sqfs")).unwrap();
    fs_err::write(&image, "damaged").unwrap();
    let said = stage(&["installation"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.stderr.contains("node nid1: "), "{said:?}");
    test.fake_program("srun", "#!/bin/sh\necho srun: no such luck >&2\nexit 1\n");
    let said = stage(&["installation"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.stderr
            .contains("0 of 1 nodes have answered to srun: srun: no such luck"),
        "{said:?}"
    );
    let said = stage(&["--this-node", "base.sif"]);
    assert_eq!(value(said)["nodes"], Value::Array(Vec::new()));
}

/// The user stops the command while bytes travel: nothing stays on the nodes, and they do not read
/// the image by themselves.
#[test]
fn in_a_job_the_user_can_stop() {
    let test = with_sif();
    let begun = test.path("begun");
    let wait = format!(": >'{}'; exec /bin/sleep 60", begun.display());
    test.fake_program("sbcast", &format!("#!/bin/sh\necho half >\"$3\"\n{wait}\n"));
    // The first time the user stops sbcast, then srun.
    for srun in [SRUN.to_owned(), format!("#!/bin/sh\n{wait}\n")] {
        test.fake_program("srun", &srun);
        let mut command = test.condense(&["stage", "--to", NODE, "base.sif"]);
        let mut child = command
            .envs([("SLURM_JOB_ID", "7"), ("SLURM_JOB_NUM_NODES", "1")])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while !begun.exists() {
            assert!(child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(5));
        }
        let id = child.id().to_string();
        let signal = std::process::Command::new("kill")
            .args(["-INT", &id])
            .status();
        assert!(signal.unwrap().success());
        // Nodes answer now, and remove what has arrived.
        test.fake_program("srun", SRUN);
        let said = finish(child);
        assert_eq!((said.status, said.stdout.as_str()), (130, ""), "{said:?}");
        assert!(!said.stderr.contains("by themselves"), "{said:?}");
        assert_eq!(copies(&node(&test)), [""; 0]);
        fs_err::remove_file(&begun).unwrap();
    }
}
