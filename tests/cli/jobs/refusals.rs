//! Refusals of `condense job`: jobs beyond a site's rules, images without run scripts, and projects
//! that are not clear.

use super::{job, line, prepared};
use crate::harness::{CommandOutput, Run};

/// Lines that are refused, each with its exit status, and words of the message and of the hint.
const REFUSALS: &[(&str, i32, &str, &str)] = &[
    (
        "--nodes 0 torch.sif -- a.py",
        2,
        "invalid value '0' for '--nodes <N>'",
        "",
    ),
    (
        "--time soon torch.sif -- a.py",
        2,
        "`soon` is no time such as 30",
        "",
    ),
    (
        "--site lumi-g --partition standart-g torch.sif -- a.py",
        1,
        "`standart-g` is no partition of lumi-g",
        "did you mean `standard-g`? known: debug, dev-g, ",
    ),
    (
        "--site polaris --partition small torch.sif -- a.py",
        1,
        "`small` is no queue of polaris",
        "known: capacity, debug, ",
    ),
    (
        "--site lumi-g --ntasks-per-node 4 torch.sif -- a.py",
        1,
        "4 tasks on a node do not fit its 8 GPUs",
        "`--launcher torchrun` starts one task on each node",
    ),
    (
        "--site lumi-g --launcher torchrun --ntasks-per-node 4 torch.sif -- a.py",
        1,
        "4 tasks on a node do not fit its 8 GPUs",
        "set it to 8",
    ),
    (
        "--site lumi-g --gpus 2 --binding gcd torch.sif -- a.py",
        1,
        "masks need whole nodes, and nodes of `small-g` are shared",
        "`--exclusive` asks for whole nodes",
    ),
    (
        "--site puhti --gpus 4 --binding gcd torch.sif -- a.py",
        1,
        "there are no masks for this job: the catalogue does not have the cores of puhti",
        "leave out `--binding`",
    ),
    (
        "--site lumi-g --launcher torchrun --binding gcd torch.sif -- a.py",
        1,
        "there are no masks for this job: torchrun starts its processes",
        "leave out",
    ),
    (
        "--site lumi-g --partition standard-g --gpus 4 torch.sif -- a.py",
        1,
        "`--gpus 4` is not possible in `standard-g`: jobs get whole nodes with 8 GPUs",
        "name another partition",
    ),
    (
        "--site lumi-g --partition dev-g --time 4:00:00 torch.sif -- a.py",
        1,
        "`--time 04:00:00` is not possible in `dev-g`: a job may take 03:00:00",
        "name another partition",
    ),
    (
        "--site lumi-g --nodes 2000 torch.sif -- a.py",
        1,
        "no usual partition of lumi-g is for 2000 nodes with GPUs",
        "`standard-g` is for up to 1024 nodes with all 8 GPUs and 2-00:00:00",
    ),
    (
        "--site lumi-g --mem 500G torch.sif -- a.py",
        1,
        "`--mem 500G` is not possible in `standard-g`: a job has at most 480G of a node",
        "ask for less",
    ),
    (
        "--site lumi-g --gpus 1 --mem 90G torch.sif -- a.py",
        1,
        "`--mem 90G` is not possible in `small-g`: a job has at most 60G of a node",
        "ask for less",
    ),
    (
        "--site lumi-c --gpus 0 --ntasks-per-node 256 plain.sif -- ./a",
        1,
        "256 tasks with 1 core on a node is not possible in `standard`",
        "set `--ntasks-per-node`",
    ),
    (
        "--site lumi-g --launcher mpiexec torch.sif -- a.py",
        1,
        "`mpiexec` does not start jobs of lumi-g",
        "known: srun, torchrun",
    ),
    (
        "--site lumi-g --launcher torchrun torch.sif -- ./a.out",
        1,
        "torchrun cannot start `./a.out`: it starts scripts of Python",
        "name a script that ends in .py",
    ),
    (
        "--site lumi-g --launcher torchrun torch.sif -- -O a.py",
        1,
        "torchrun cannot start `-O`: this is an option of Python",
        "leave it out",
    ),
    (
        "--site lumi-g torch.sif -- torchrun a.py",
        1,
        "srun cannot start `torchrun`: it is a launcher itself",
        "`--launcher torchrun -- SCRIPT`",
    ),
    (
        "--site lumi-g --launcher torchrun plain.sif -- a.py",
        1,
        "`plain.sif` has no Python, which torchrun needs",
        "`condense packages plain.sif`",
    ),
    (
        "--site lumi-g plain.sif -- a.py",
        1,
        "`plain.sif` has no Python, which the command needs",
        "`condense packages plain.sif`",
    ),
    (
        "--site lumi-g missing.sif -- a.py",
        1,
        "there is no installation, image or lock `missing.sif`",
        "",
    ),
    (
        "masks --site lumi-g --cores 8",
        1,
        "no masks with 8 cores: a task can have 1 to 7",
        "give a number from 1 to 7",
    ),
    (
        "masks --site puhti",
        1,
        "the catalogue does not have the cores of puhti",
        "name a site with `--site`",
    ),
];

/// J1, J2, J7, J12 and bad input: what a site cannot support is refused with the reason.
#[test]
fn what_a_site_cannot_support_is_refused_with_the_reason() {
    let test = prepared();
    for (words, status, message, hint) in REFUSALS {
        let said = line(&test, words);
        assert_eq!(
            (said.status, said.stdout.as_str()),
            (*status, ""),
            "{said:?}"
        );
        assert!(said.stderr.contains(message), "{message}: {said:?}");
        assert!(said.stderr.contains(hint), "{hint}: {said:?}");
        let errors = said
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "));
        assert_eq!(errors.count(), 1, "{said:?}");
    }
}

/// An image that condense has not made has no run scripts: many ranks are refused, one is not, and
/// torchrun needs none.
#[test]
fn images_of_others_have_no_run_scripts() {
    let test = prepared();
    for words in [
        "image pack ../base root.sqfs",
        "sif new other.sif",
        "sif add --type partition --role primary other.sif root.sqfs",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        test.condense(&words).run().succeeded();
    }
    let said = line(&test, "--site lumi-g other.sif -- a.py");
    assert_eq!(said.status, 1, "{said:?}");
    for words in [
        "`other.sif` has no run scripts, which tell each of 8 processes its rank",
        "`condense module other.sif` writes a module",
    ] {
        assert!(said.stderr.contains(words), "{said:?}");
    }
    let said = line(&test, "--site puhti --gpus 1 other.sif -- a.py").succeeded();
    assert!(said.stdout.contains("command=(python a.py)"), "{said:?}");
    line(&test, "--site lumi-g --launcher torchrun other.sif -- a.py").succeeded();
}

/// The project is that of the option, of Slurm's variable, or the only one of the user.
#[test]
fn the_project_is_found_or_asked_for() {
    let test = prepared();
    let account = |said: &CommandOutput| -> String {
        let found = said
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("#SBATCH --account="));
        found.unwrap_or_default().to_owned()
    };
    let words = ["job", "--site", "lumi-g", "torch.sif", "--", "a.py"];
    let said = test.condense(&words).run().succeeded();
    assert_eq!(account(&said), "project_465000001");
    assert!(
        said.stderr.contains("the only project of yours"),
        "{said:?}"
    );
    let mut with_variable = test.condense(&words);
    let said = with_variable.env("SBATCH_ACCOUNT", "project_7").run();
    assert_eq!(account(&said), "project_7");
    let said = line(&test, "--site lumi-g --account project_8 torch.sif -- a.py");
    assert_eq!(account(&said), "project_8");
    // A site without projects needs none.
    let said = line(&test, "--site local torch.sif -- a.py").succeeded();
    assert_eq!(account(&said), "");
    test.fake_program("id", "#!/bin/sh\necho users project_1 project_2\n");
    let said = line(&test, "--site lumi-g torch.sif -- a.py");
    assert_eq!(said.status, 1);
    assert!(
        said.stderr
            .contains("several projects: project_1, project_2"),
        "{said:?}"
    );
    test.fake_program("id", "#!/bin/sh\necho users\n");
    let said = line(&test, "--site lumi-g torch.sif -- a.py");
    assert!(
        said.stderr.contains("name the project with `--account`"),
        "{said:?}"
    );
    let said = line(&test, "--site lumi-g --account a;b torch.sif -- a.py");
    assert!(
        said.stderr.contains("`a;b` of --account is no project"),
        "{said:?}"
    );
}

/// Names become parts of directives, in which a line break would begin a command.
#[test]
fn names_are_one_line_of_the_script() {
    let test = prepared();
    for (option, value, reason) in [
        (
            "--partition",
            "small\nrm",
            "a partition has a name of letters",
        ),
        ("--partition", "", "a partition has a name of letters"),
        ("--name", "first\nsecond", "the name of a job is one line"),
        ("--name", "", "the name of a job is one line"),
    ] {
        let said = job(
            &test,
            &[option, value, "--site", "local", "torch.sif", "--", "a.py"],
        );
        assert_eq!((said.status, said.stdout.as_str()), (2, ""), "{said:?}");
        assert!(said.stderr.contains(reason), "{said:?}");
    }
}
