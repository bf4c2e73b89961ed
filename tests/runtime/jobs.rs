//! Tests of `condense job` with Slurm: its scripts run on a cluster of four nodes.

use std::collections::BTreeMap;

use crate::harness::{Account, Run, Slurm, TestDir, parts, shared};

/// Writes a script with `condense job`, submits it, and returns the lines that the job has printed.
fn submit(test: &TestDir, slurm: &Slurm, words: &[&str]) -> Vec<String> {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    let options = ["job", "--site", "local", "--partition", "all"];
    let output = ["--time", "5", "--name", "job", "-o", "job.sh"];
    command.args(options).args(output).args(words);
    command.run().succeeded();
    slurm
        .command(test, "sbatch")
        .args(["--wait", "job.sh"])
        .run()
        .succeeded();
    let named = fs_err::read_dir(test.dir()).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name.starts_with("job_") && name.ends_with(".txt")).then_some(path)
    });
    let path = named.unwrap();
    let text = fs_err::read_to_string(&path).unwrap();
    fs_err::remove_file(path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// J6, J8: a program of an image runs as 32 tasks on four nodes, with its arguments as they were
/// typed.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_script_runs_its_program_on_all_nodes() {
    let test = TestDir::new(Account::Root, "job");
    let slurm = Slurm::start(&test);
    let base = parts().base();
    let words = "a  'b' \"c\" $d `e` *";
    let program = r#"echo "$SLURM_PROCID of $SLURM_STEP_NUM_TASKS on $SLURMD_NODENAME in $APPTAINER_NAME: $1""#;
    let options = ["--nodes", "4", "--ntasks-per-node", "8"];
    let command = ["--", "/bin/sh", "-c", program, "sh", words];
    let all = [&options[..], &[base.to_str().unwrap()], &command].concat();
    let name = base.file_name().unwrap().to_string_lossy();
    let mut expected: Vec<String> = (0..32)
        .map(|rank| {
            let node = rank / 8 + 1;
            format!("{rank} of 32 on nid00100{node} in {name}: {words}")
        })
        .collect();
    expected.sort();
    assert_eq!(submit(&test, &slurm, &all), expected);
}

/// R11, J9: Python of an installation is one rank in each task, and all agree on a master, which is
/// computed in the step.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn python_is_one_rank_in_each_task() {
    let test = TestDir::new(Account::Root, "ranks");
    let slurm = Slurm::start(&test);
    test.write(
        "train.py",
        "import os, sys\nnames = 'RANK WORLD_SIZE LOCAL_RANK NODE_RANK MASTER_ADDR'\n\
         print(*(os.environ[name] for name in names.split()), *sys.argv[1:])\n",
    );
    let installation = shared().dir.display().to_string();
    let options = [
        "--nodes",
        "3",
        "--ntasks-per-node",
        "2",
        installation.as_str(),
    ];
    let command = ["--", "train.py", "--name", "a b"];
    let lines = submit(&test, &slurm, &[&options[..], &command].concat());
    let ranks: BTreeMap<&str, &str> = lines.iter().filter_map(|it| it.split_once(' ')).collect();
    for rank in 0..6 {
        let (local, node) = (rank % 2, rank / 2);
        let expected = format!("6 {local} {node} nid001001 --name a b");
        let found = ranks.get(rank.to_string().as_str());
        assert_eq!(found, Some(&expected.as_str()), "{lines:?}");
    }
}
