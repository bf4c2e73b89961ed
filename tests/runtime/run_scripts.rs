//! Tests of the run scripts with Slurm: its reader of host lists, and a cluster of four nodes.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, path::Path, process::Command};

use crate::harness::{Account, CommandOutput, Run, Slurm, TestDir, as_both, need, parts};

/// Stand-in for Python: prints the variables of a rank in one line, and the node.
const PYTHON: &str = r#"#!/bin/sh
echo "RANK=$RANK WORLD_SIZE=$WORLD_SIZE LOCAL_RANK=$LOCAL_RANK LOCAL_WORLD_SIZE=$LOCAL_WORLD_SIZE NODE_RANK=$NODE_RANK MASTER_ADDR=$MASTER_ADDR MASTER_PORT=$MASTER_PORT NODE=$SLURMD_NODENAME"
"#;

fn write_program(test: &TestDir, name: &str, text: &str) {
    let path = test.write(name, text);
    fs_err::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Writes the run scripts and the stand-in. Scripts of jobs begin with the line that is returned.
fn furnish(test: &TestDir) -> String {
    test.make_dir("run scripts");
    test.make_dir("bin");
    for script in condense_jobs::run_scripts() {
        write_program(test, &format!("run scripts/{}", script.name), &script.text);
    }
    write_program(test, "bin/python", PYTHON);
    format!(
        "export PATH=\"{0}/run scripts:{0}/bin:$PATH\"\n",
        test.dir().display()
    )
}

/// Returns the variables of each line that the stand-in has printed, sorted by rank.
fn ranks(printed: &str) -> Vec<BTreeMap<String, String>> {
    let lines = printed.lines().filter(|line| line.starts_with("RANK="));
    let mut ranks: Vec<BTreeMap<String, String>> = lines
        .map(|line| {
            let pairs = line.split(' ').filter_map(|word| word.split_once('='));
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        })
        .collect();
    ranks.sort_by_key(|rank| rank["RANK"].parse::<u32>().unwrap());
    ranks
}

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::try_from(self.below(words.len() as u64)).unwrap()]
    }

    fn range(&mut self) -> String {
        let width = [0, 0, 2, 3, 6][usize::try_from(self.below(5)).unwrap()];
        let first = [0, 1, 7, 9, 10, 98, 99, 100, 1999][usize::try_from(self.below(9)).unwrap()];
        if self.below(2) == 0 {
            return format!("{first:0width$}");
        }
        let last = first + self.below(5);
        let last_width = if self.below(3) == 0 { width } else { 0 };
        format!("{first:0width$}-{last:0last_width$}")
    }

    fn entry(&mut self) -> String {
        let count = self.below(4);
        if count == 0 {
            return format!(
                "{}{}",
                self.pick(&["a", "nid001", "r1-n2", "x.y"]),
                self.below(20)
            );
        }
        let mut entry = self.pick(&["n", "nid", "r", "x0"]).to_owned();
        for number in 0..count {
            if number > 0 {
                entry.push_str(self.pick(&["n", "-c", "", "x0"]));
            }
            let ranges: Vec<String> = (0..=self.below(3)).map(|_| self.range()).collect();
            entry.push_str(&format!("[{}]", ranges.join(",")));
        }
        entry
    }

    fn list(&mut self) -> String {
        let entries: Vec<String> = (0..=self.below(4)).map(|_| self.entry()).collect();
        entries.join(",")
    }

    /// Replaces, adds or removes one character.
    fn damage(&mut self, list: &str) -> String {
        let at = usize::try_from(self.below(list.len() as u64)).unwrap();
        let (before, after) = list.split_at(at);
        let word = self.pick(&["[", "]", ",", "-", "x", ""]);
        format!("{before}{word}{}", &after[1..])
    }
}

fn slurms_hosts(test: &TestDir, list: &str) -> CommandOutput {
    need(Path::new("/usr/bin/scontrol").exists(), "no scontrol");
    test.command("/usr/bin/scontrol")
        .env("SLURM_CONF", test.path("slurm.conf"))
        .args(["show", "hostnames", list])
        .run()
}

/// Makes the configuration that `scontrol` needs for reading lists.
fn oracle(test: &TestDir) {
    let text = "ClusterName=test\nSlurmctldHost=localhost\nAuthType=auth/none\nCredType=cred/none\nNodeName=localhost CPUs=1\n";
    test.write("slurm.conf", text);
}

/// R3, R8: thousands of lists are read as `scontrol show hostnames` reads them.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn host_lists_are_read_as_slurm_reads_them() {
    let test = TestDir::new(Account::Ordinary, "hostlists");
    furnish(&test);
    oracle(&test);
    let get_master = test.path("run scripts/get-master");
    let ours = |words: &[&str]| test.command("/bin/sh").arg(&get_master).args(words).run();
    let mut numbers = Numbers(0x5eed);
    for _ in 0..2500 {
        let list = numbers.list();
        let expected = slurms_hosts(&test, &list).succeeded().text();
        assert!(!expected.is_empty(), "{list} is none of Slurm's");
        assert_eq!(
            ours(&["--all", &list]).succeeded().text(),
            expected,
            "{list}"
        );
        let first = expected.lines().next().unwrap();
        ours(&[&list]).says(first);
    }
    // A list with a mistake. Slurm's status is 0 then, and it takes some mistakes for names.
    let mut refused = 0;
    for _ in 0..600 {
        let list = numbers.list();
        let list = numbers.damage(&list);
        if list.starts_with('-') {
            continue;
        }
        let (expected, found) = (slurms_hosts(&test, &list), ours(&["--all", &list]));
        if found.status == 0 {
            // Text behind the last bracket is accepted by newer versions of Slurm.
            let same = expected.text() == found.text();
            assert!(
                same || expected.stderr.contains("Invalid hostlist"),
                "{list}: {expected:?} {found:?}"
            );
        } else {
            assert_eq!(
                (found.status, found.text().as_str()),
                (1, ""),
                "{list}: {found:?}"
            );
            assert!(
                found.stderr.contains("has a mistake at \""),
                "{list}: {found:?}"
            );
            refused += 1;
        }
    }
    assert!(refused > 100, "{refused} lists were refused");
}

/// R7, R9, R11: ranks in a real step, in whatever form its tasks are spread, on other nodes than
/// the job's first.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn steps_on_some_nodes_of_a_job_have_a_master_of_their_own() {
    let test = TestDir::new(Account::Root, "steps");
    let begin = furnish(&test);
    let slurm = Slurm::start(&test);
    for (options, master, tasks) in [
        ("-N4 -n32", "nid001001", [8, 8, 8, 8]),
        ("-N4 --ntasks-per-node=2", "nid001001", [2, 2, 2, 2]),
        ("-N4 -n10 -m block", "nid001001", [7, 1, 1, 1]),
        ("-N4 -n9 -m cyclic", "nid001001", [3, 2, 2, 2]),
        ("-N4 -n10 -m plane=3", "nid001001", [3, 3, 3, 1]),
        ("-w nid001002,nid001004 -N2 -n6", "nid001002", [0, 3, 0, 3]),
        ("-w nid001003 -N1 -n3", "nid001003", [0, 0, 3, 0]),
        (
            "--mpi=pmi2 -w nid00100[3-4] -N2 -n4",
            "nid001003",
            [0, 0, 2, 2],
        ),
    ] {
        let script = format!("{begin}srun {options} conda-python-distributed\n");
        let printed = slurm.batch(&test, &["-N4", "-n32", "--exclusive"], &script);
        let ranks = ranks(&printed);
        let total: usize = tasks.iter().sum();
        assert_eq!(ranks.len(), total, "{options}: {printed}");
        let mut of_node: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (number, rank) in ranks.iter().enumerate() {
            assert_eq!(rank["RANK"], number.to_string(), "{options}");
            assert_eq!(rank["WORLD_SIZE"], total.to_string(), "{options}");
            assert_eq!(rank["MASTER_ADDR"], master, "{options}");
            assert_eq!(rank["MASTER_PORT"], ranks[0]["MASTER_PORT"], "{options}");
            let node = usize::from(rank["NODE"].as_bytes()[8] - b'1');
            assert_eq!(
                rank["LOCAL_WORLD_SIZE"],
                tasks[node].to_string(),
                "{options}: {printed}"
            );
            let before = tasks[..node].iter().filter(|count| **count > 0).count();
            assert_eq!(rank["NODE_RANK"], before.to_string(), "{options}");
            of_node
                .entry(&rank["NODE"])
                .or_default()
                .push(rank["LOCAL_RANK"].parse().unwrap());
        }
        assert_eq!(ranks[0]["NODE"], master, "{options}");
        for mut local in of_node.into_values() {
            local.sort_unstable();
            assert_eq!(
                local,
                (0..u32::try_from(local.len()).unwrap()).collect::<Vec<_>>()
            );
        }
    }
}

/// R6, R7: a batch script without `srun` is one process; a distribution in the order of a file has
/// the master of the file; `get-master` alone has the nodes of the job.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn batch_scripts_and_arbitrary_distributions() {
    let test = TestDir::new(Account::Root, "batch");
    let begin = furnish(&test);
    let slurm = Slurm::start(&test);
    test.write("hosts", "nid001003\nnid001001\nnid001003\n");
    let script = format!(
        "{begin}get-master; get-master --all\nconda-python-distributed\n\
         SLURM_HOSTFILE=$PWD/hosts srun -m arbitrary -n3 conda-python-distributed\n"
    );
    let printed = slurm.batch(&test, &["-N4", "-n32"], &script);
    let nodes = "nid001001\nnid001001\nnid001002\nnid001003\nnid001004\n";
    assert!(printed.starts_with(nodes), "{printed}");
    assert!(
        printed.contains("this is one process, although the job has 32 tasks"),
        "{printed}"
    );
    let ranks = ranks(&printed);
    let alone = &ranks[0];
    assert_eq!(
        (alone["WORLD_SIZE"].as_str(), alone["MASTER_ADDR"].as_str()),
        ("1", "127.0.0.1")
    );
    let spread = ranks.iter().filter(|rank| rank["WORLD_SIZE"] == "3");
    let spread: Vec<_> = spread
        .map(|rank| (rank["NODE"].as_str(), rank["MASTER_ADDR"].as_str()))
        .collect();
    let master = "nid001003";
    assert_eq!(
        spread,
        [(master, master), ("nid001001", master), (master, master)]
    );
}

/// R9: two jobs and two steps on one node at the same time have ports of their own.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn jobs_on_one_node_do_not_share_a_port() {
    let test = TestDir::new(Account::Root, "ports");
    let begin = furnish(&test);
    let slurm = Slurm::start(&test);
    // Each job holds the node until both have printed.
    write_program(
        &test,
        "bin/python",
        &format!(
            "{PYTHON}touch \"started-$SLURM_JOB_ID-$SLURM_STEP_ID-$RANK\"\nfor _ in $(seq 300); do set -- started-*; [ $# -lt 8 ] || exit 0; sleep 0.1; done\nexit 1\n"
        ),
    );
    let step = "srun --exact -n2 conda-python-distributed";
    let script = test.write(
        "job.sh",
        &format!("#!/bin/sh\n{begin}{step} & {step} & wait\n"),
    );
    let submitted: Vec<_> = ["one", "two"]
        .map(|name| {
            let mut command = slurm.command(&test, "sbatch");
            command
                .args(["--wait", "-w", "nid001002", "-n4", "-o"])
                .arg(format!("{name}.txt"))
                .arg(&script);
            command.spawn().unwrap()
        })
        .into();
    for mut job in submitted {
        assert!(job.wait().unwrap().success());
    }
    let mut ports: BTreeMap<String, usize> = BTreeMap::new();
    for name in ["one.txt", "two.txt"] {
        for rank in ranks(&fs_err::read_to_string(test.path(name)).unwrap()) {
            assert_eq!(rank["MASTER_ADDR"], "nid001002");
            *ports.entry(rank["MASTER_PORT"].clone()).or_default() += 1;
        }
    }
    assert_eq!(
        ports.values().copied().collect::<Vec<_>>(),
        [2, 2, 2, 2],
        "{ports:?}"
    );
}

/// J12: MPICH's own launcher in a job of Slurm. Its ranks come before Slurm's variables.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn ranks_of_mpich_in_a_job_of_slurm() {
    let test = TestDir::new(Account::Root, "mpich");
    let begin = furnish(&test);
    let slurm = Slurm::start(&test);
    let script = format!("{begin}mpiexec.mpich -launcher fork -n 3 conda-python-distributed\n");
    let printed = slurm.batch(&test, &["-N2", "-n8"], &script);
    let ranks = ranks(&printed);
    assert_eq!(ranks.len(), 3, "{printed}");
    for (number, rank) in ranks.iter().enumerate() {
        let found = (
            rank["RANK"].as_str(),
            rank["LOCAL_RANK"].as_str(),
            rank["WORLD_SIZE"].as_str(),
        );
        let number = number.to_string();
        assert_eq!(found, (number.as_str(), number.as_str(), "3"), "{printed}");
    }
}

/// Each rank adds its number to those of the others, through the address and the port of the run
/// script.
const REDUCE: &str = r#"
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
numbers = torch.tensor([dist.get_rank(), 1, int(os.environ["LOCAL_RANK"])])
dist.all_reduce(numbers)
print(os.environ["SLURMD_NODENAME"], dist.get_rank(), numbers.tolist(), flush=True)
dist.destroy_process_group()
"#;

/// 32 ranks on four nodes reduce a tensor with torch and gloo.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn thirty_two_ranks_reduce_a_tensor() {
    let test = TestDir::new(Account::Root, "torch");
    let begin = furnish(&test);
    let slurm = Slurm::start(&test);
    let torch = parts().torch();
    test.write("reduce.py", REDUCE);
    fs_err::remove_file(test.path("bin/python")).unwrap();
    std::os::unix::fs::symlink("/usr/bin/python3", test.path("bin/python")).unwrap();
    // The nodes are this machine.
    test.write(
        "hosts",
        "127.0.0.1 localhost nid001001 nid001002 nid001003 nid001004\n",
    );
    let libraries = [
        "usr/lib",
        "usr/lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu/blas",
        "usr/lib/x86_64-linux-gnu/lapack",
    ];
    let libraries = libraries
        .map(|dir| torch.join(dir).display().to_string())
        .join(":");
    write_program(
        &test,
        "rank.sh",
        &format!(
            "#!/bin/sh\nmount --bind hosts /etc/hosts || exit 1\nexport GLOO_SOCKET_IFNAME=lo OMP_NUM_THREADS=1\n\
             export LD_LIBRARY_PATH={libraries} PYTHONPATH={}/usr/lib/python3/dist-packages\n\
             exec conda-python-distributed -u reduce.py\n",
            torch.display()
        ),
    );
    let script = format!("{begin}srun -N4 --ntasks-per-node=8 unshare --mount ./rank.sh\n");
    let printed = slurm.batch(&test, &["-N4", "-n32"], &script);
    let mut lines: Vec<&str> = printed
        .lines()
        .filter(|line| line.starts_with("nid"))
        .collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 32, "{printed}");
    for line in lines {
        let mut words = line.splitn(3, ' ');
        let (node, rank) = (words.next().unwrap(), words.next().unwrap());
        assert_eq!(words.next().unwrap(), "[496, 32, 112]", "{printed}");
        let expected = format!("nid00100{}", rank.parse::<u32>().unwrap() / 8 + 1);
        assert_eq!(node, expected, "{printed}");
    }
}

/// B6: the list of packages is pip's, for the machine's Python and for a virtual environment.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn packages_are_listed_as_pip_lists_them() {
    let test = TestDir::new(Account::Ordinary, "packages");
    furnish(&test);
    fs_err::remove_file(test.path("bin/python")).unwrap();
    let venv = test.path("venv");
    test.command("/usr/bin/python3")
        .args(["-m", "venv", "--system-site-packages"])
        .arg(&venv)
        .run()
        .succeeded();
    for (python, bin) in [
        ("/usr/bin/python3".into(), "/usr/bin".into()),
        (venv.join("bin/python"), venv.join("bin")),
    ] {
        let expected = test
            .command(python)
            .args(["-m", "pip", "list", "--disable-pip-version-check"])
            .env("PYTHONNOUSERSITE", "1")
            .run()
            .succeeded()
            .text();
        let mut command: Command = test.command("/bin/sh");
        let found = command
            .arg(test.path("run scripts/list-packages"))
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .run();
        assert_eq!(found.succeeded().text(), expected);
    }
}

/// R5, R6: a SIF of each layout has the scripts on PATH and at `/runscripts`, and an installation
/// has them in `bin/`. As root and as an ordinary user.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn images_and_installations_have_the_run_scripts() {
    as_both(|account| {
        let test = TestDir::new(account, "run-scripts");
        test.environment("python=3.11");
        let python = "import os, sys; e = os.environ; print(e['RANK'], e['WORLD_SIZE'], e['MASTER_ADDR'], sys.argv[1:])";
        let expected = "0 1 127.0.0.1 ['a b']";
        for layout in ["flat", "overlay"] {
            let mut command = test.command(parts().path("programs/condense"));
            command
                .env("TMPDIR", test.scratch())
                .env("CONDENSE_CACHE_DIR", test.path("cache"))
                .args(["cotainr", "build", "--yes", "--conda-env", "env.yml"])
                .args(["--layout", layout, "--base-image"])
                .arg(parts().base())
                .arg(format!("{layout}.sif"));
            command.run().succeeded();
            for program in [
                "conda-python-distributed",
                "/runscripts/conda-python-distributed",
            ] {
                let image = format!("{layout}.sif");
                let words = ["exec", &image, program, "-c", python, "a b"];
                test.command("apptainer").args(words).run().says(expected);
            }
        }
        let installation = test.build("python=3.11");
        installation
            .command(account, "conda-python-distributed", ["-c", python, "a b"])
            .run()
            .says(expected);
        installation
            .command(account, "get-master", ["r[1-2]n[09-10]"])
            .run()
            .says("r1n09");
    });
}
