//! `condense job`: the scripts of every site and launcher, what they say about themselves, and what
//! is refused. Test comments begin with the number of the statement that a test shows.

mod refusals;

use std::{os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use serde_json::Value;

use crate::{
    harness::{CommandOutput, Run, TestEnv},
    support::snapshot::{self, snapshot},
};

/// Program that prints its name and its arguments, each in brackets on a line.
const PRINT: &str = "#!/bin/sh\nprintf '<%s>\\n' \"${0##*/}\" \"$@\"\n";

/// Python of a rank: prints what the run script has told it.
const RANK: &str = "#!/bin/sh\necho \"rank $RANK of $WORLD_SIZE, local $LOCAL_RANK of $LOCAL_WORLD_SIZE, $MASTER_ADDR $MASTER_PORT, $1\"\n";

/// Container runtime that runs the program without a container.
const RUNTIME: &str = "#!/bin/sh\ncase $1 in --version) echo apptainer version 1.4.5; exit ;; esac\n\
    while [ \"${1##*.sif}\" ]; do shift; done\nshift\nexec \"$@\"\n";

/// Program that prints the first line of a file or of its input.
const HEAD: &str = "#!/bin/sh\n[ $# -lt 3 ] || exec <\"$3\"\nread -r line\necho \"$line\"\n";

/// Launcher of PALS: starts ranks one after the other, with its variables.
const MPIEXEC: &str = "#!/bin/sh\nprintf '<%s>\\n' \"$@\" >&2\n[ \"$1 $3\" = '-n --ppn' ] || exit 9\n\
    PMI_SIZE=$2 PMI_LOCAL_SIZE=$4\nshift 7\nPMI_RANK=0\nwhile [ $PMI_RANK -lt $PMI_SIZE ]; do\n\
    export PMI_SIZE PMI_LOCAL_SIZE PMI_RANK PMI_LOCAL_RANK=$((PMI_RANK % PMI_LOCAL_SIZE))\n\
    \"$@\" || exit\nPMI_RANK=$((PMI_RANK + 1))\ndone\n";

/// Returns a test with the images `plain.sif`, which has neither Python nor run scripts, and
/// `torch.sif`, which has both and is for AMD's GPUs.
fn prepared() -> TestEnv {
    let test = TestEnv::new();
    test.environment("no-programs");
    let build = |name: &str| {
        let words = format!("cotainr build --base-image ../base --conda-env env.yml {name}");
        let words: Vec<&str> = words.split(' ').collect();
        test.condense(&words).run().succeeded();
    };
    build("plain.sif");
    let python = test.path("base/usr/bin/python3.11");
    fs_err::write(&python, "#!/bin/sh\n").unwrap();
    fs_err::set_permissions(&python, PermissionsExt::from_mode(0o755)).unwrap();
    fs_err::os::unix::fs::symlink("python3.11", test.path("base/usr/bin/python3")).unwrap();
    fs_err::create_dir_all(test.path("base/opt/rocm/.info")).unwrap();
    fs_err::write(test.path("base/opt/rocm/.info/version"), "7.0.1\n").unwrap();
    build("torch.sif");
    test.fake_program("id", "#!/bin/sh\necho users project_465000001\n");
    test
}

fn job(test: &TestEnv, words: &[&str]) -> CommandOutput {
    test.condense(&[&["job"][..], words].concat()).run()
}

/// Runs a line, in which no word has a blank.
fn line(test: &TestEnv, line: &str) -> CommandOutput {
    job(test, &line.split(' ').collect::<Vec<_>>())
}

fn as_json(test: &TestEnv, line: &str) -> Value {
    let mut words: Vec<&str> = vec!["--json"];
    words.extend(line.split(' '));
    serde_json::from_str(&job(test, &words).succeeded().stdout).unwrap()
}

/// Checks a script with bash and, if it is there, with shellcheck.
#[track_caller]
fn check_script(test: &TestEnv, script: &str) {
    let path = test.write("job.sh", script);
    let said = Command::new("/bin/bash").arg("-n").arg(&path).run();
    assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{script}");
    if PathBuf::from("/usr/bin/shellcheck").exists() {
        let mut command = Command::new("/usr/bin/shellcheck");
        // The words of users need not be to its taste.
        let options = ["-S", "style", "-e", "SC1003,SC2016"];
        let said = command.args(options).arg(&path).run();
        assert_eq!((said.status, said.stdout.as_str()), (0, ""), "{script}");
    }
}

/// Runs a script as the scheduler does, with the programs of the test.
fn submit(test: &TestEnv, script: &str, variables: &[(&str, &str)]) -> CommandOutput {
    let path = test.write("job.sh", script);
    for name in ["module", "mkdir"] {
        test.fake_program(name, "#!/bin/sh\n");
    }
    let mut command = test.command("/bin/bash");
    command.arg(path).env("USER", "me");
    command.envs(variables.iter().copied()).run()
}

/// J6, J7, J11, J12, S1, S2: the scripts of every site, each with its partitions and launchers. No
/// script shows the whole of the host's `/opt`.
#[test]
fn scripts_of_every_site_are_as_they_were() {
    let test = prepared();
    for (name, words) in [
        (
            "job/lumi-g-srun",
            "--site lumi-g --nodes 4 torch.sif -- train.py --epochs 3",
        ),
        (
            "job/lumi-g-ccd",
            "--site lumi-g --binding ccd --cpus-per-task 3 torch.sif -- train.py",
        ),
        (
            "job/lumi-g-torchrun",
            "--site lumi-g --nodes 2 --launcher torchrun torch.sif -- -u train.py",
        ),
        (
            "job/lumi-g-shared",
            "--site lumi-g --gpus 2 --time 3-00:00:00 torch.sif -- train.py",
        ),
        (
            "job/lumi-g-program",
            "--site lumi-g --partition dev-g --exclusive torch.sif -- ./a.out",
        ),
        (
            "job/lumi-c",
            "--site lumi-c --ntasks-per-node 128 plain.sif -- ./a.out",
        ),
        (
            "job/lumi-module",
            "--site lumi-g --module PyTorch/2.7 -- train.py",
        ),
        (
            "job/puhti-gpu",
            "--site puhti --gpus 4 --launcher torchrun torch.sif -- train.py",
        ),
        (
            "job/mahti-gpu",
            "--site mahti --gpus 1 --time 36:00:00 torch.sif -- train.py",
        ),
        (
            "job/roihu-gpu",
            "--site roihu-gpu --nodes 2 torch.sif -- train.py",
        ),
        (
            "job/polaris-mpiexec",
            "--site polaris --nodes 4 --account p torch.sif -- train.py",
        ),
        (
            "job/polaris-torchrun",
            "--site polaris --launcher torchrun --account p torch.sif -- -m pkg.train",
        ),
        (
            "job/local",
            "--site local --nodes 2 --ntasks-per-node 4 --gpus 4 --partition any torch.sif -- train.py",
        ),
    ] {
        let said = line(&test, words).succeeded();
        check_script(&test, &said.stdout);
        assert!(!said.stdout.contains(" /opt "), "{said:?}");
        assert!(!said.stdout.contains("bash -c"), "{said:?}");
        // Slurm's own variables are expanded in the job, not where it is written.
        let mut paths = test.paths().to_vec();
        paths.insert(0, ("/tmp/${USER}".to_owned(), "[TMP]/${USER}"));
        snapshot!(name, said, paths);
    }
}

/// J8: arguments arrive as they are typed, through every kind of script.
#[test]
fn arguments_arrive_as_they_are_typed() {
    let test = prepared();
    let words = [
        "a b", "it's", "\"q\"", "$HOME", "`id`", "", "*", "\\", "a\nb", "--", "-x", "!1", "#", "~",
        "{a,b}", "é\t$(x)",
    ];
    let expected: Vec<String> = words.iter().map(|word| format!("<{word}>\n")).collect();
    let expected = expected.concat();
    test.fake_program("singularity", RUNTIME);
    test.fake_program("apptainer", RUNTIME);
    test.fake_program(
        "srun",
        "#!/bin/sh\nwhile :; do case $1 in -*) shift ;; *) exec \"$@\" ;; esac; done\n",
    );
    test.fake_program(
        "mpiexec",
        "#!/bin/sh\nwhile [ \"$1\" != depth ]; do shift; done\nshift\nexec \"$@\"\n",
    );
    for name in ["print", "conda-python-distributed", "torchrun"] {
        test.fake_program(name, PRINT);
    }
    test.fake_program("scontrol", "#!/bin/sh\necho nid1\n");
    test.fake_program("head", HEAD);
    let nodes = test.write("nodes", "x3\n");
    let torchrun = "<--nnodes=1>\n<--nproc_per_node=8>\n<--rdzv_id=120>\n<--rdzv_backend=c10d>\n<--rdzv_endpoint=nid1:21920>\n";
    for (options, program, before) in [
        ("--site lumi-g torch.sif", "print", "<print>\n".to_owned()),
        (
            "--site polaris --account p torch.sif",
            "print",
            "<print>\n".to_owned(),
        ),
        (
            "--site lumi-g torch.sif",
            "train.py",
            "<conda-python-distributed>\n<train.py>\n".to_owned(),
        ),
        (
            "--site lumi-g --launcher torchrun torch.sif",
            "train.py",
            format!("<torchrun>\n{torchrun}<train.py>\n"),
        ),
    ] {
        let mut all: Vec<&str> = options.split(' ').collect();
        all.extend(["--", program]);
        all.extend(words);
        let script = job(&test, &all).succeeded().stdout;
        check_script(&test, &script);
        let said = submit(
            &test,
            &script,
            &[
                ("SLURM_JOB_ID", "120"),
                ("SLURM_JOB_NUM_NODES", "1"),
                ("SLURM_JOB_NODELIST", "nid1"),
                ("PBS_NODEFILE", nodes.to_str().unwrap()),
                ("PBS_O_WORKDIR", test.path("work").to_str().unwrap()),
            ],
        );
        assert_eq!(
            said.stdout,
            format!("{before}{expected}"),
            "{script} {said:?}"
        );
    }
}

/// R18: every option, variable and module of a script is explained, in text and as JSON.
#[test]
fn every_value_of_a_script_is_explained() {
    let test = prepared();
    for words in [
        "--site lumi-g --nodes 2 torch.sif -- train.py",
        "--site lumi-g --launcher torchrun torch.sif -- train.py",
        "--site polaris --account p torch.sif -- train.py",
        "--site puhti --gpus 2 torch.sif -- train.py",
    ] {
        let value = as_json(&test, words);
        let settings = value["settings"].as_array().unwrap();
        let script = value["script"].as_str().unwrap();
        let explained = line(&test, &format!("--explain {words}")).succeeded();
        for one in settings {
            for key in ["kind", "name", "reason", "source"] {
                assert!(!one[key].as_str().unwrap().is_empty(), "{one}");
            }
            let name = one["name"].as_str().unwrap();
            assert!(explained.stdout.contains(name), "{name}: {explained:?}");
        }
        let is_explained = |kind: &str, name: &str| {
            let found = settings
                .iter()
                .find(|one| one["name"] == name && one["kind"] == kind);
            assert!(found.is_some(), "{kind} {name} is not explained");
        };
        for text in script.lines() {
            let directive = text.strip_prefix("#SBATCH ").or(text.strip_prefix("#PBS "));
            if let Some(directive) = directive {
                let parsed = condense_jobs::Directive::parse(directive);
                is_explained("directive", parsed.option());
            } else if let Some((_, rest)) = text.split_once("export ")
                && let Some((name, _)) = rest.split_once('=')
            {
                is_explained("variable", name);
            } else if let Some(rest) = text.strip_prefix("module ") {
                is_explained("module", rest.split(' ').next().unwrap());
            }
        }
    }
}

/// J10, R18: variables follow from the image; `pmi2` only where the image has MPICH itself.
#[test]
fn variables_follow_from_the_image() {
    let test = prepared();
    let names = |words: &str| -> Vec<String> {
        let value = as_json(&test, words);
        let settings = value["settings"].as_array().unwrap().iter();
        let variables = settings.filter(|one| one["kind"] == "variable");
        variables
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let of_rocm_7 = names("--site lumi-g torch.sif -- train.py");
    let has = |names: &[String], name: &str| names.iter().any(|one| one == name);
    assert!(has(&of_rocm_7, "FI_MR_CACHE_MONITOR"), "{of_rocm_7:?}");
    assert!(!has(&of_rocm_7, "NCCL_NET_GDR_LEVEL"), "{of_rocm_7:?}");
    assert!(!has(&of_rocm_7, "SLURM_MPI_TYPE"), "{of_rocm_7:?}");
    // Run scripts make directories that differ between nodes.
    assert!(!has(&of_rocm_7, "MIOPEN_USER_DB_PATH"), "{of_rocm_7:?}");
    fs_err::write(test.path("base/opt/rocm/.info/version"), "6.1.0\n").unwrap();
    fs_err::create_dir_all(test.path("base/usr/lib")).unwrap();
    fs_err::write(test.path("base/usr/lib/libmpi.so.12"), "").unwrap();
    let words = "cotainr build --base-image ../base --conda-env env.yml older.sif";
    let words: Vec<&str> = words.split(' ').collect();
    test.condense(&words).run().succeeded();
    let of_rocm_6 = names("--site lumi-g older.sif -- ./a.out");
    assert!(has(&of_rocm_6, "NCCL_NET_GDR_LEVEL"), "{of_rocm_6:?}");
    assert!(!has(&of_rocm_6, "FI_MR_CACHE_MONITOR"), "{of_rocm_6:?}");
    assert!(has(&of_rocm_6, "SLURM_MPI_TYPE"), "{of_rocm_6:?}");
    assert!(has(&of_rocm_6, "MIOPEN_USER_DB_PATH"), "{of_rocm_6:?}");
}

/// J1: all strings, by the template of the documents.
#[test]
fn masks_are_printed_as_documents_have_them() {
    let test = TestEnv::new();
    for (cores, c) in ["02", "06", "0e", "1e", "3e", "7e", "fe"]
        .iter()
        .enumerate()
    {
        let cores = (cores + 1).to_string();
        let words = ["masks", "--site", "lumi-g", "--cores", cores.as_str()];
        let expected = "0x{c}000000000000,0x{c}00000000000000,0x{c}0000,0x{c}000000,0x{c},0x{c}00,\
                        0x{c}00000000,0x{c}0000000000\n";
        let said = job(&test, &words).succeeded();
        assert_eq!(said.stdout, expected.replace("{c}", c));
    }
    let all = "0xfe000000000000,0xfe00000000000000,0xfe0000,0xfe000000,0xfe,0xfe00,0xfe00000000,0xfe0000000000\n";
    assert_eq!(line(&test, "masks --site lumi-g").stdout, all);
    let said = line(&test, "masks --site lumi-g --order ccd --cores 1").succeeded();
    assert!(said.stdout.starts_with("0x02,0x0200,0x020000,"), "{said:?}");
    assert!(
        said.stderr.contains("CONDENSE_GPU_ORDER=4,5,2,3,6,7,0,1"),
        "{said:?}"
    );
    let value: Value =
        serde_json::from_str(&line(&test, "masks --json --site lumi-g --cores 1").stdout).unwrap();
    assert_eq!(
        value["first_cores"],
        serde_json::json!([49, 57, 17, 25, 1, 9, 33, 41])
    );
}

/// M21: a module of condense is found where modules are, and its commands start the program.
#[test]
fn modules_are_found_and_loaded() {
    let test = prepared();
    let words = "module torch.sif --name my-torch --version 1 --to mods --site lumi-g";
    let words: Vec<&str> = words.split(' ').collect();
    test.condense(&words).run().succeeded();
    let words = [
        "job", "--site", "lumi-g", "--module", "my-torch", "--", "a.py",
    ];
    let mods = test.path("work/mods");
    let said = test
        .condense(&words)
        .env("MODULEPATH", &mods)
        .run()
        .succeeded();
    assert!(
        said.stdout.contains("module load my-torch || exit 1\n"),
        "{said:?}"
    );
    assert!(
        said.stdout.ends_with(" start-shell -- \"${command[@]}\"\n"),
        "{said:?}"
    );
    assert!(!said.stderr.contains("is not checked"), "{said:?}");
    check_script(&test, &said.stdout);
    // A module of others is taken as it is, with a word about it.
    let said = test.condense(&words).run().succeeded();
    assert!(said.stderr.contains("no module of condense"), "{said:?}");
    assert!(said.stdout.contains("image=${SIF:?"), "{said:?}");
}

/// An installation starts through its own wrappers.
#[test]
fn installations_start_through_their_wrappers() {
    let test = prepared();
    let file = test.environment("tool");
    test.build(&[file.to_str().unwrap()]).succeeded();
    let bin = test.installation().join("bin");
    let bin = bin.display();
    let said = line(&test, "--site lumi-c ./installation -- tool -v").succeeded();
    assert!(
        said.stdout.contains(&format!("command=({bin}/tool -v)\n")),
        "{said:?}"
    );
    assert!(!said.stdout.contains("image="), "{said:?}");
    let said = line(&test, "--site lumi-c ./installation -- hostname").succeeded();
    let expected = format!("command=({bin}/_debug_exec hostname)\n");
    assert!(said.stdout.contains(&expected), "{said:?}");
    let said = line(&test, "--site lumi-c ./installation -- a.py");
    assert!(said.stderr.contains("has no Python"), "{said:?}");
}

/// The script is written to a file, and nothing to standard output.
#[test]
fn a_script_is_written_to_a_file() {
    let test = prepared();
    let words = "--site lumi-g torch.sif -o job.sh -- train.py";
    let said = line(&test, words).succeeded();
    assert_eq!(said.stdout, "");
    assert!(said.stderr.contains("job.sh, for `sbatch`"), "{said:?}");
    let text = fs_err::read_to_string(test.path("work/job.sh")).unwrap();
    assert!(
        text.starts_with("#!/bin/bash\n#SBATCH --job-name=train\n"),
        "{text}"
    );
    let printed = line(&test, "--site lumi-g torch.sif -- train.py").stdout;
    assert_eq!(text, printed);
}

/// J12, S1, S2: a stand-in for `qsub` that interprets the directives runs the script of PBS, whose
/// ranks get their numbers, their master and their GPUs from PALS.
#[test]
fn a_script_for_pbs_runs_its_ranks() {
    let test = prepared();
    let words = "--site polaris --nodes 2 --account p torch.sif -- train.py";
    let script = line(&test, words).succeeded().stdout;
    // The stand-in reads options up to the first command, as qsub does.
    let lines = script.lines().skip(1);
    let directives: Vec<&str> = lines
        .take_while(|line| line.is_empty() || line.starts_with('#'))
        .filter_map(|line| line.strip_prefix("#PBS "))
        .collect();
    let resource = |name: &str| {
        let prefix = format!("-l {name}=");
        directives
            .iter()
            .find_map(|it| it.strip_prefix(prefix.as_str()))
    };
    assert_eq!(resource("walltime"), Some("01:00:00"));
    assert_eq!(resource("filesystems"), Some("home:eagle"));
    assert_eq!(resource("singularity_fakeroot"), Some("true"));
    for option in ["-q debug", "-A p", "-j oe", "-N train"] {
        assert!(directives.contains(&option), "{directives:?}");
    }
    let select = resource("select").unwrap();
    let nodes: u32 = select.split(':').next().unwrap().parse().unwrap();
    let hosts: Vec<String> = (1..=nodes).map(|node| format!("x{node}\n")).collect();
    let hosts = hosts.concat();
    let hosts = test.write("hosts", &hosts);
    for script in condense_jobs::run_scripts() {
        test.fake_program(script.name, &script.text);
    }
    test.fake_program("python", RANK);
    test.fake_program("mpiexec", MPIEXEC);
    test.fake_program("apptainer", RUNTIME);
    test.fake_program("head", HEAD);
    let said = submit(
        &test,
        &script,
        &[
            ("PBS_JOBID", "77.polaris-pbs-01"),
            ("PBS_NODEFILE", hosts.to_str().unwrap()),
            ("PBS_O_WORKDIR", test.path("work").to_str().unwrap()),
        ],
    );
    let said = said.succeeded();
    let expected: Vec<String> = (0..8)
        .map(|rank| {
            let local = rank % 4;
            let port = 20000 + 77 * 16;
            format!("rank {rank} of 8, local {local} of 4, x1 {port}, train.py\n")
        })
        .collect();
    assert_eq!(said.stdout, expected.concat(), "{said:?}");
    for words in [
        "<-n>\n<8>\n<--ppn>\n<4>\n<--depth=8>\n<--cpu-bind>\n<depth>\n",
        "<--fakeroot>",
    ] {
        assert!(said.stderr.contains(words), "{said:?}");
    }
    for line in [
        "export CONDENSE_GPU_ORDER=\"${CONDENSE_GPU_ORDER-3,2,1,0}\"",
        "export https_proxy=\"${https_proxy-http://proxy.alcf.anl.gov:3128}\"",
    ] {
        assert!(script.contains(line), "{script}");
    }
}

/// The output of `--explain` for a person.
#[test]
fn an_explanation_is_as_it_was() {
    let test = prepared();
    let said = line(
        &test,
        "--explain --site lumi-g --nodes 4 torch.sif -- train.py",
    );
    let mut paths = test.paths().to_vec();
    paths.insert(0, ("/tmp/${USER}".to_owned(), "[TMP]/${USER}"));
    let text = snapshot::shown(&said, &paths);
    assert!(
        text.contains("--cpu-bind=mask_cpu:0xfe000000000000,"),
        "{text}"
    );
    snapshot!("job/explain", said, paths);
}
