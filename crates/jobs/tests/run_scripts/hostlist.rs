//! Tests of `get-master` in each shell of this machine. `tests/runtime/run_scripts.rs` compares it
//! with Slurm's own reader.

use crate::support::{Place, Said, shells};

fn nodes(place: &Place, shell: &[&str], arguments: &[&str]) -> Said {
    let mut command = place.command(shell, "get-master", "");
    command.args(arguments).output().unwrap().into()
}

/// R8: commas, ranges with leading zeros, lists in brackets in their order, several brackets, text
/// behind the last one.
#[test]
fn lists_are_read_in_slurms_order() {
    let place = Place::new();
    let long: Vec<String> = (1..=300).map(|number| format!("n{number:04}")).collect();
    for (list, expected) in [
        ("nid001001", "nid001001"),
        (
            "nid[001001,001005-001006],nid005",
            "nid001001 nid001005 nid001006 nid005",
        ),
        ("n[001-2]", "n001 n002"),
        ("n[09-11]", "n09 n10 n11"),
        ("n[3,1,2]", "n3 n1 n2"),
        ("n[08,1-2]", "n08 n1 n2"),
        ("n[1-2,1-2]", "n1 n2 n1 n2"),
        ("n[005]", "n005"),
        ("r[1-2]n[3-4]", "r1n3 r1n4 r2n3 r2n4"),
        ("x[1-2][3-4]", "x13 x14 x23 x24"),
        (
            "a[1-2]b[3-4]c[5-6]",
            "a1b3c5 a1b3c6 a2b3c5 a2b3c6 a1b4c5 a1b4c6 a2b4c5 a2b4c6",
        ),
        ("a,b[01,03]", "a b01 b03"),
        ("dgx-a[1-2]-ib", "dgx-a1-ib dgx-a2-ib"),
        ("[1-2]", "1 2"),
        ("a,,b, c d,", "a b c d"),
        ("x*[1-2]", "x*1 x*2"),
        (
            "n[999999999999999998-999999999999999999]",
            "n999999999999999998 n999999999999999999",
        ),
        ("n[0001-0300]", &long.join(" ")),
    ] {
        for shell in shells() {
            let all = nodes(&place, shell, &["--all", list]);
            let found: Vec<&str> = all.stdout.lines().collect();
            assert_eq!(found.join(" "), expected, "{list} in {shell:?}: {all:?}");
            let first = nodes(&place, shell, &[list]);
            let expected = expected.split(' ').next().unwrap();
            assert_eq!(first.stdout, format!("{expected}\n"), "{list}: {first:?}");
        }
    }
}

/// R8: the offending part and status 1, wherever the mistake is; nothing is printed before it.
#[test]
fn a_mistake_in_a_list_is_named() {
    let place = Place::new();
    for (list, words) in [
        ("c[a-b]", "\"a-b\": this is neither"),
        ("n[]", "\"n[\": a number is missing"),
        ("n[1,,2]", "\"n[\": a number is missing"),
        ("n[1,]", "\"n[\": a number is missing"),
        ("n[5-3]", "\"5-3\": the range ends"),
        ("n[10-009]", "\"10-009\": the range ends"),
        ("n[1-3:2]", "\"1-3:2\": this is neither"),
        ("n[1-", "\"1-\": this is neither"),
        ("n[1-3", "\"n[\": the bracket is not closed"),
        ("n1-3]", "\"n1-3]\": the bracket is closed"),
        ("n[[1-2]]", "\"[1-2\": this is neither"),
        (
            "n[1-70000]",
            "\"1-70000\": a bracket has more than 65536 hosts",
        ),
        (
            "a[1-300]b[1-300]",
            "\"b[\": the entry has more than 65536 hosts",
        ),
        (
            "n[1-9999999999999999999]",
            "a number has more than 18 digits",
        ),
        (
            "n[9999999999999999999-1]",
            "\"9999999999999999999-1\": the range ends",
        ),
        ("good[1-3],n[5-3]", "\"5-3\": the range ends"),
        ("", "the list of hosts is empty"),
        (",,", "the list of hosts \",,\" has no host"),
    ] {
        for shell in shells() {
            nodes(&place, shell, &[list]).refused(words);
            if list != ",," {
                nodes(&place, shell, &["--all", list]).refused(words);
            }
        }
    }
    for arguments in [&["--al", "n1"][..], &["n1", "n2"]] {
        let said = nodes(&place, &["sh"], arguments);
        assert_eq!(said.status, 2, "{said:?}");
        assert!(said.stderr.contains("usage: get-master"), "{said:?}");
    }
}

/// The first of ten thousand entries is found without starting a program, and a mistake in the last
/// one is still seen.
#[test]
fn long_lists_are_read_to_their_end() {
    let place = Place::new();
    let entries: Vec<String> = (1..20_000).step_by(2).map(|n| format!("{n:06}")).collect();
    let list = format!("nid[{}]", entries.join(","));
    for shell in shells() {
        let said = nodes(&place, shell, &[&list]);
        assert_eq!(said.stdout, "nid000001\n", "{said:?}");
        nodes(&place, shell, &[&format!("{list},x[")]).refused("\"x[\"");
    }
}

/// R7, J12: without a list, the step comes before the job, and both before PBS.
#[test]
fn without_a_list_the_nodes_are_those_of_the_step_or_job() {
    let place = Place::new();
    place.write("tmp/nodes", "x3006.hsn\nx3006.hsn\nx3007.hsn\n");
    let file = format!("PBS_NODEFILE={}", place.path("tmp/nodes").display());
    let job = "SLURM_JOB_NODELIST=n[1-4] SLURM_NODELIST=n[1-4]";
    let step = "SLURM_STEP_NODELIST=n[3-4]";
    for (variables, first, all) in [
        (format!("{job} {step} SLURM_STEP_ID=0"), "n3", "n3 n4"),
        // A batch script, and an interactive shell, whose own step is one node of the job.
        (job.to_owned(), "n1", "n1 n2 n3 n4"),
        (
            format!("{job} SLURM_STEP_NODELIST=n1 SLURM_STEP_ID=4294967290"),
            "n1",
            "n1 n2 n3 n4",
        ),
        ("SLURM_NODELIST=n[7-8]".to_owned(), "n7", "n7 n8"),
        (file.clone(), "x3006.hsn", "x3006.hsn x3007.hsn"),
    ] {
        let said = place.run("get-master", &variables);
        assert_eq!(said.stdout, format!("{first}\n"), "{variables}: {said:?}");
        let mut command = place.command(&["sh"], "get-master", &variables);
        let said = Said::from(command.arg("--all").output().unwrap());
        assert_eq!(said.stdout.trim_end().replace('\n', " "), all, "{said:?}");
    }
    place
        .run("get-master", "")
        .refused("this is no job of Slurm or PBS");
    place
        .run("get-master", "PBS_NODEFILE=/dev/none")
        .refused("/dev/none, which cannot be read on this node: set MASTER_ADDR");
    place
        .run("get-master", "SLURM_NODELIST=n[2-1]")
        .refused("\"2-1\"");
}
