//! Tests of `conda-python-distributed`: the rank of a process, and the place where all ranks meet.

use std::{collections::BTreeSet, os::unix::fs::symlink, process::Command};

use crate::support::{Place, Said, shells};

/// Variables of rank 13 of 32, on the second of four nodes.
const SLURM: &str = "SLURM_PROCID=13 SLURM_LOCALID=5 SLURM_NODEID=1 SLURM_JOB_ID=77 SLURM_STEP_ID=1 \
    SLURM_STEP_NUM_TASKS=32 SLURM_NTASKS=32 SLURM_STEP_TASKS_PER_NODE=8(x4) \
    SLURM_STEP_NODELIST=nid[001005-001008] SLURM_JOB_NODELIST=nid[001001-001008]";

fn slurm(more: &str) -> String {
    format!("{SLURM} {more}")
}

/// R5: the scripts work from PATH, by their path, through links, with blanks in the path, and each
/// as a copy of one file. The arguments and the status are Python's.
#[test]
fn each_script_is_one_file_that_becomes_python() {
    let place = Place::new();
    place.write_program(
        "bin/python",
        "#!/bin/sh\nfor word; do echo \"<$word>\"; done\nexit 7\n",
    );
    let scripts = place.path("run scripts");
    symlink(
        scripts.join("conda-python-simple"),
        place.path("bin/simple"),
    )
    .unwrap();
    for name in ["conda-python-simple", "conda-python-distributed"] {
        fs_err::copy(scripts.join(name), place.path("bin").join(name)).unwrap();
    }
    for program in [
        scripts.join("conda-python-simple"),
        scripts.join("conda-python-distributed"),
        place.path("bin/simple"),
        "conda-python-simple".into(),
        "conda-python-distributed".into(),
    ] {
        let mut command = Command::new("/usr/bin/env");
        command
            .arg("-i")
            .arg(format!("PATH={}", place.path("bin").display()))
            .arg(&program)
            .args(["-u", "a b", "", "*"]);
        let said: Said = command.output().unwrap().into();
        assert_eq!(said.stdout, "<-u>\n<a b>\n<>\n<*>\n", "{said:?}");
        assert_eq!(said.status, 7, "{program:?}: {said:?}");
    }
    for script in condense_jobs::run_scripts() {
        let name = script.name;
        assert!(!script.text.contains("/parts/"), "{name} sources a file");
        assert!(condense_jobs::is_run_script(script.text.as_bytes()));
        let last = script.text.trim_end().lines().next_back().unwrap();
        let becomes_python = name.starts_with("conda-python");
        assert_eq!(becomes_python, last.starts_with("exec "), "{name}: {last}");
        let can_be_executed = script.mode & 0o111 != 0;
        assert_eq!(can_be_executed, name != "init-conda-venv");
    }
}

/// Without Python there is one line and status 1. `python3` is enough.
#[test]
fn an_image_without_python_is_refused() {
    let place = Place::new();
    fs_err::rename(place.path("bin/python"), place.path("bin/python3")).unwrap();
    for name in ["conda-python-simple", "conda-python-distributed"] {
        assert!(place.run(name, "").stdout.starts_with("python "));
    }
    fs_err::remove_file(place.path("bin/python3")).unwrap();
    for name in [
        "conda-python-simple",
        "conda-python-distributed",
        "list-packages",
    ] {
        place
            .run(name, "")
            .refused("there is neither python nor python3 on PATH");
    }
}

/// R6: one process outside of jobs, with values that are whole.
#[test]
fn outside_of_jobs_there_is_one_process() {
    let place = Place::new();
    let said = place.distributed("");
    said.has("RANK=0 WORLD_SIZE=1 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 NODE_RANK=0 GROUP_RANK=0")
        .has("MASTER_ADDR=127.0.0.1");
    assert_eq!(said.stderr, "");
    let port: u32 = said.value("MASTER_PORT").unwrap().parse().unwrap();
    assert!((20_000..30_000).contains(&port), "{port}");
    // A rank that the user has set would be wrong; the master's address is the user's.
    place
        .distributed("RANK=5 WORLD_SIZE=9 LOCAL_RANK=3 MASTER_ADDR=here MASTER_PORT=1234")
        .has("RANK=0 WORLD_SIZE=1 LOCAL_RANK=0 MASTER_ADDR=here MASTER_PORT=1234");
}

/// R7, R10, R11: ranks of a step. The master is the step's first node, by its name in the list.
#[test]
fn ranks_and_the_master_are_those_of_the_step() {
    let place = Place::new();
    let said = place.distributed(SLURM);
    said.has("RANK=13 WORLD_SIZE=32 LOCAL_RANK=5 LOCAL_WORLD_SIZE=8 NODE_RANK=1 GROUP_RANK=1")
        .has("MASTER_ADDR=nid001005");
    assert!(said.stdout.starts_with("python train.py\n"), "{said:?}");
    assert_eq!(said.stderr, "");
    place
        .distributed(&slurm("RANK=0 LOCAL_RANK=0 NODE_RANK=0"))
        .has("RANK=13 LOCAL_RANK=5 NODE_RANK=1");
    for (counts, node, expected) in [
        ("8(x4)", 3, 8),
        ("8(x3),2", 2, 8),
        ("8(x3),2", 3, 2),
        ("1,4,2(x2)", 1, 4),
        ("1,4,2(x2)", 3, 2),
    ] {
        let variables = format!("SLURM_STEP_TASKS_PER_NODE={counts} SLURM_NODEID={node}");
        let expected = format!("LOCAL_WORLD_SIZE={expected} NODE_RANK={node}");
        place.distributed(&slurm(&variables)).has(&expected);
    }
    for (variables, words) in [
        ("SLURM_STEP_TASKS_PER_NODE=8(x1)", "which has no node 1"),
        ("SLURM_STEP_TASKS_PER_NODE=8(xx4)", "\"x4\", which is not"),
        (
            "SLURM_PROCID=x[$(id)]",
            "\"x[$(id)]\", which is not a number",
        ),
        ("SLURM_PROCID=32", "rank 32 of 32"),
        ("SLURM_STEP_NODELIST=nid[3-1]", "\"3-1\""),
    ] {
        place.distributed(&slurm(variables)).refused(words);
    }
}

/// A batch script and an interactive shell have Slurm's variables of a rank, but are no ranks.
#[test]
fn a_batch_script_is_one_process() {
    let place = Place::new();
    for step in ["", "SLURM_STEP_ID=4294967290 SLURM_STEP_NODELIST=n1"] {
        let variables = format!(
            "SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_NTASKS=32 SLURM_NPROCS=32 \
             SLURM_JOB_ID=7 SLURM_JOB_NODELIST=n[1-4] {step}"
        );
        let said = place.distributed(&variables);
        said.has("RANK=0 WORLD_SIZE=1 MASTER_ADDR=127.0.0.1");
        let words = "the job has 32 tasks: start it with srun";
        assert!(said.stderr.contains(words), "{said:?}");
    }
}

/// R7: Slurm sorts the nodes of an arbitrary distribution, whose first node the user's file has.
#[test]
fn an_arbitrary_distribution_has_the_master_of_its_file() {
    let place = Place::new();
    place.write("tmp/hosts", "\n# order of mine\nn3\nn1\n");
    let file = place.path("tmp/hosts").display().to_string();
    let arbitrary = slurm("SLURM_DISTRIBUTION=arbitrary");
    place
        .distributed(&format!("{arbitrary} SLURM_HOSTFILE={file}"))
        .has("MASTER_ADDR=n3");
    place
        .distributed(&arbitrary)
        .refused("set MASTER_ADDR to the first host of the arbitrary distribution");
    place
        .distributed(&format!("{arbitrary} MASTER_ADDR=n9"))
        .has("MASTER_ADDR=n9");
}

/// R9: the port comes from job and step. The user's port wins.
#[test]
fn jobs_and_steps_have_ports_of_their_own() {
    let place = Place::new();
    let mut seen = BTreeSet::new();
    for job in [1, 2, 120, 1234, 624, 4_200_123] {
        for step in [0, 1, 15] {
            let variables = slurm(&format!("SLURM_JOB_ID={job} SLURM_STEP_ID={step}"));
            let said = place.run("conda-python-distributed", &variables);
            let port: u32 = said.value("MASTER_PORT").unwrap().parse().unwrap();
            assert_eq!(port, 20_000 + (job * 16 + step % 16) % 10_000);
            assert!(seen.insert(port), "{port} has two steps");
        }
    }
    place
        .distributed(&slurm("MASTER_PORT=29400"))
        .has("MASTER_PORT=29400");
    // The job's number in PBS, and the number of PALS for what it has started.
    let pals = "PMI_RANK=1 PMI_SIZE=2 PMI_LOCAL_RANK=1 PMI_LOCAL_SIZE=2 PBS_JOBID=123[4].polaris-1";
    place
        .distributed(&format!("{pals} PALS_APID=b0ff"))
        .has("MASTER_PORT=21979");
    place.distributed(pals).has("MASTER_PORT=21968");
}

/// J12: ranks of PALS, MPICH and Open MPI. In PBS, the master is the first line of the job's file.
#[test]
fn ranks_come_from_the_innermost_launcher() {
    let place = Place::new();
    place.write("tmp/nodes", "x3006c0s13b1n0\nx3007c0s13b1n0\n");
    let nodes = place.path("tmp/nodes").display().to_string();
    let file = format!("PBS_NODEFILE={nodes} PBS_JOBID=5.s");
    let pals = "PMI_RANK=6 PMI_SIZE=8 PMI_LOCAL_RANK=2 PMI_LOCAL_SIZE=4";
    place
        .distributed(&format!("{pals} PALS_NODEID=1 PALS_RANKID=6 {file}"))
        .has("RANK=6 WORLD_SIZE=8 LOCAL_RANK=2 LOCAL_WORLD_SIZE=4 NODE_RANK=1")
        .has("MASTER_ADDR=x3006c0s13b1n0");
    place
        .distributed(&format!("{pals} {file}"))
        .has("NODE_RANK=1 GROUP_RANK=1");
    place.distributed(pals).refused("set MASTER_ADDR to it");
    place
        .distributed(&format!("{pals} MASTER_ADDR=x"))
        .has("MASTER_ADDR=x NODE_RANK=1");
    place
        .distributed("PALS_RANKID=1")
        .refused("the number of ranks by pals is \"\"");

    let openmpi = "OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=1 \
        OMPI_COMM_WORLD_LOCAL_SIZE=2";
    // mpirun in a job of Slurm: the variables of Slurm are those of mpirun's own step.
    let said = place.distributed(&format!("{SLURM} {openmpi}"));
    said.has("RANK=3 WORLD_SIZE=4 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 NODE_RANK=1")
        .has("MASTER_ADDR=nid001001");
    // Ranks that do not fill the nodes in order say nothing about the number of a node.
    place
        .distributed(&format!("{SLURM} {openmpi} OMPI_COMM_WORLD_LOCAL_RANK=0"))
        .has("NODE_RANK=- GROUP_RANK=-");
    place
        .distributed("PMI_RANK=1 PMI_SIZE=2 MPI_LOCALRANKID=1 MPI_LOCALNRANKS=2")
        .has("RANK=1 WORLD_SIZE=2 LOCAL_RANK=1 NODE_RANK=0")
        .has("MASTER_ADDR=127.0.0.1 MASTER_PORT=29500");
    // srun sets variables of PMI as well, with its own ranks.
    place
        .distributed(&slurm("PMI_RANK=13 PMI_SIZE=32"))
        .has("RANK=13 LOCAL_RANK=5 MASTER_ADDR=nid001005");
    // torchrun has done everything.
    let torchrun = "RANK=2 LOCAL_RANK=2 WORLD_SIZE=4 MASTER_ADDR=a MASTER_PORT=1";
    place
        .distributed(&format!("{SLURM} TORCHELASTIC_RUN_ID=1 {torchrun}"))
        .has(torchrun);
}

/// The directory on PATH has no program but Python: no other one is started, in any shell.
#[test]
fn without_gpus_no_program_is_started() {
    let place = Place::new();
    for shell in shells() {
        let mut command = place.command(shell, "conda-python-distributed", SLURM);
        let said: Said = command.output().unwrap().into();
        said.has("RANK=13");
        assert_eq!(said.stderr, "", "{shell:?}");
    }
}

/// R16: one line for each rank, but only if it is asked for.
#[test]
fn verbose_ranks_say_where_they_are() {
    let place = Place::new();
    let said = place.distributed(&slurm("CONDENSE_VERBOSE=1 SLURMD_NODENAME=nid001006"));
    assert!(said.stderr.starts_with("Rank 13 --> pid "), "{said:?}");
    let end = "; GPU all; host nid001006; local rank 5 of 8; master nid001005:21233\n";
    assert!(said.stderr.ends_with(end), "{said:?}");
}
