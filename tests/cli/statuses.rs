//! Tests of exit statuses: each command and dialect ends with 0 when it is done, with 1 when it has
//! failed and with 2 for a mistake in the command line, with and without `--json`, and the page
//! about exit codes says so.

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;

use crate::{
    contents::{look, prepared},
    harness::{CommandOutput, Run, TestEnv},
    help::{every_command, leaves},
};

/// Command with a line that fails and a line that succeeds, in the order in which they run. An
/// empty line is explained in [`WITHOUT`].
type Row = (&'static str, &'static str, &'static str);

const HOUSE: [Row; 36] = [
    ("base facts", "none.sif", "../base"),
    ("base find", "rocm=99", "python=3.12 --catalogue bases.toml"),
    ("base ls", "--catalogue none.toml", ""),
    ("base show", "none.sif", "mine --catalogue bases.toml"),
    ("base sites", "--site atlantis", ""),
    (
        "build",
        "--base-image ../base x.sif none.yml",
        "--base-image ../base made.sif one.yml",
    ),
    ("cache clean", "--site atlantis", ""),
    ("cache info", "--site atlantis", ""),
    ("cache verify", "--site atlantis", ""),
    ("check", "--site lumi-g cuda.yml", "--site local one.yml"),
    ("config set", "site atlantis", "cache-size 5G"),
    ("config get", "base-image", "cache-size"),
    ("config list", "-", ""),
    ("config unset", "-", "cache-size"),
    ("diff", "mine nothing", "mine@1 mine"),
    ("doctor", "--offline", "--offline --allow no-runtime"),
    ("explain", "-", "mpi-abi"),
    ("export", "nothing", "mine"),
    ("gc", "nothing", "--dry-run mine"),
    ("help", "-", "info"),
    ("info", "nothing", "mine"),
    ("kernel", "nothing", "-"),
    ("list", "-", ""),
    ("lock", "none.yml", "one.yml"),
    (
        "new",
        "--base-image ../base ./x none.yml",
        "--base-image ../base ./made one.yml",
    ),
    ("packages", "nothing", "mine"),
    ("pull", "oci-archive:none.tar x.sif", "-"),
    ("remove", "nothing", "--yes ./made"),
    ("report", "nothing", "mine"),
    ("rollback", "nothing", "mine"),
    ("run", "nothing tool", "-"),
    (
        "search",
        "--channel CHANNEL nothing",
        "--channel CHANNEL tool",
    ),
    ("shell", "-", "bash"),
    ("size", "nothing", "mine"),
    ("spec", "none.yml", "one.yml"),
    ("stage", "nothing", "--clean"),
];

const FILES_AND_DIALECTS: [Row; 32] = [
    ("image pack", "nowhere x.sqfs", "wheels again.sqfs"),
    (
        "image diff",
        "wheels.sqfs mine.sif",
        "wheels.sqfs again.sqfs",
    ),
    ("image extract", "none.sqfs x", "wheels.sqfs out"),
    ("image info", "none.sqfs", "wheels.sqfs"),
    ("image ls", "none.sqfs", "wheels.sqfs"),
    ("image verify", "none.sqfs", "wheels.sqfs"),
    ("sif new", "mine.sif", "new.sif"),
    (
        "sif add",
        "--type generic none.sif one.yml",
        "--type generic new.sif one.yml",
    ),
    ("sif del", "new.sif 99", "new.sif 1"),
    ("sif dump", "mine.sif 99", "mine.sif 1"),
    ("sif inspect", "none.sif", "mine.sif"),
    ("sif list", "none.sif", "mine.sif"),
    (
        "sif sign",
        "--key none.asc mine.sif",
        "--key secret.asc mine.sif",
    ),
    (
        "sif verify",
        "--key public.asc made.sif",
        "--key public.asc mine.sif",
    ),
    ("tree", "nothing", "mine"),
    ("update", "nothing tool", "mine no-programs -c CHANNEL"),
    (
        "module",
        "nothing",
        "mine.sif --name a --version 1 --to mods",
    ),
    ("user-software list", "nothing", "software/a/1"),
    ("user-software pack", "nothing", "-"),
    ("user-software unpack", "nothing", "-"),
    ("verify", "nothing", "--no-start mine"),
    ("why", "mine nothing", "mine library"),
    (
        "conda-containerize new",
        "--prefix x --base-image ../base none.yml",
        "--prefix tykky --base-image ../base one.yml",
    ),
    (
        "conda-containerize update",
        "nowhere",
        "tykky no-programs -c CHANNEL",
    ),
    ("conda-containerize advanced", "none.yml", "-"),
    (
        "pip-containerize new",
        "--prefix x --base-image ../base none.txt",
        "-",
    ),
    ("pip-containerize update", "nowhere", "-"),
    ("pip-containerize advanced", "none.yml", "-"),
    (
        "wrap-container",
        "--prefix x -w /bin/nothing ../base",
        "--prefix wrapped -w /bin/sh ../base",
    ),
    (
        "wrap-install",
        "--prefix x -w bin --base-image ../base nowhere",
        "--prefix packed -w bin --base-image ../base software-tree",
    ),
    (
        "cotainr build",
        "--base-image ../base --conda-env none.yml x.sif",
        "--base-image ../base --conda-env one.yml other.sif",
    ),
    ("cotainr info", "-", ""),
];

/// Commands of which a line is `-`, each with the reason.
const WITHOUT: [(&str, &str); 16] = [
    ("config list", "nothing can be missing"),
    ("config unset", "a key that is not set is none to remove"),
    ("explain", "a code that is not known is a usage error"),
    ("help", "a word that is not known is a usage error"),
    ("kernel", "needs ipykernel: tests of kernel"),
    ("list", "nothing can be missing"),
    ("pull", "needs an image: tests of pull"),
    ("run", "needs a runtime: tests of run"),
    ("shell", "a shell that is not known is a usage error"),
    (
        "user-software pack",
        "needs an installation of a user: tests of modules",
    ),
    (
        "user-software unpack",
        "needs an installation of a user: tests of modules",
    ),
    ("conda-containerize advanced", "runs as `new` does"),
    ("cotainr info", "shows what is missing, and succeeds"),
    (
        "pip-containerize new",
        "needs a Python: tests with a runtime",
    ),
    (
        "pip-containerize update",
        "needs a Python: tests with a runtime",
    ),
    ("pip-containerize advanced", "runs as `new` does"),
];

/// Commands whose own tests check the statuses, those below them included.
const ELSEWHERE: [&str; 3] = ["job", "desktop", "easyconfig"];

fn furnished() -> TestEnv {
    let test = prepared();
    let base = test.path("base").display().to_string();
    let catalogue =
        format!("schema = 1\n[image.mine]\npython = \"3.12\"\nlocation = [\"{base}\"]\n");
    test.write("bases.toml", &catalogue);
    test.write(
        "cuda.yml",
        "channels: [CHANNEL]\ndependencies: [pytorch-cuda]\n",
    );
    fs_err::create_dir_all(test.path("work/software-tree/bin")).unwrap();
    fs_err::copy("/bin/sh", test.path("work/software-tree/bin/tool")).unwrap();
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/image/tests/keys");
    for (from, to) in [
        ("plain.secret.asc", "secret.asc"),
        ("plain.asc", "public.asc"),
    ] {
        fs_err::copy(keys.join(from), test.path("work").join(to)).unwrap();
    }
    test
}

/// Runs a line, and checks its status. The error is in words on standard error, or for dialects on
/// either stream.
#[track_caller]
fn ends(test: &TestEnv, line: &str, status: i32) -> CommandOutput {
    let said = look(test, line.replace("CHANNEL", &test.channel).trim_end());
    assert_eq!(said.status, status, "{line}: {said:#?}");
    said
}

/// Checks that a line with `--json` has one object on standard output, and the same status.
#[track_caller]
fn ends_in_json(test: &TestEnv, line: &str, status: i32) {
    let said = ends(test, &format!("{line} --json"), status);
    let value = serde_json::from_str(&said.stdout);
    let value: Value = value.unwrap_or_else(|error| panic!("{line}: {error}: {said:#?}"));
    let schema = value["schema"].as_str().unwrap();
    assert!(schema.starts_with("condense."), "{line}: {said:#?}");
    if schema == "condense.error/1" {
        assert_eq!(value["exit_code"], status, "{line}: {said:#?}");
        assert!(!said.stderr.is_empty(), "{line}: {said:#?}");
    }
}

/// The rows fail with 1 and succeed with 0.
fn check(rows: &[Row]) {
    let test = furnished();
    let helps = every_command();
    for (command, fails, succeeds) in rows {
        let help = helps.iter().find(|(words, _)| words.join(" ") == *command);
        let (_, help) = help.unwrap_or_else(|| panic!("there is no command {command}"));
        if *fails == "-" || *succeeds == "-" {
            let is_excused = WITHOUT.iter().any(|(name, _)| name == command);
            assert!(is_excused, "{command} has no reason");
        }
        if *fails != "-" {
            let line = format!("{command} {fails}");
            let said = ends(&test, &line, 1);
            assert!(!said.stderr.is_empty() || !said.stdout.is_empty(), "{line}");
            if help.stdout.contains("--json") {
                ends_in_json(&test, &line, 1);
            }
        }
        if *succeeds != "-" {
            ends(&test, &format!("{command} {succeeds}"), 0);
        }
    }
}

#[test]
fn commands_of_the_house_fail_with_1_and_succeed_with_0() {
    check(&HOUSE);
}

#[test]
fn commands_of_files_and_dialects_fail_with_1_and_succeed_with_0() {
    check(&FILES_AND_DIALECTS);
}

#[test]
fn every_command_has_a_row_and_refuses_what_it_does_not_know_with_2() {
    let test = TestEnv::new();
    let rows = HOUSE.iter().chain(&FILES_AND_DIALECTS);
    let mut left: BTreeSet<&str> = rows.map(|(command, ..)| *command).collect();
    let helps = every_command();
    for command in leaves() {
        let first = command.split(' ').next().unwrap_or_default();
        let is_known = left.remove(command.as_str()) || ELSEWHERE.contains(&first);
        assert!(
            is_known,
            "`{command}` has no row: add a line that ends with 1 and one that ends with 0"
        );
        let line = format!("{command} --no-such-option");
        let said = ends(&test, &line, 2);
        assert_eq!(said.stdout, "", "{line}: {said:#?}");
        // As in argparse, what is missing comes before what is not known.
        let words = ["--no-such-option", "are required"];
        let is_told = words.iter().any(|words| said.stderr.contains(words));
        assert!(is_told, "{line}: {said:#?}");
        let has_json = helps
            .iter()
            .any(|(words, help)| words.join(" ") == command && help.stdout.contains("--json"));
        if has_json {
            ends_in_json(&test, &line, 2);
        }
    }
    assert_eq!(left, BTreeSet::new(), "rows of commands that are gone");
}

/// Mistakes in the command lines of Tykky and cotainr are objects with `--json`.
#[test]
fn usage_errors_of_dialects_are_objects() {
    let test = TestEnv::new();
    for (line, words) in [
        ("conda-containerize new", "required"),
        (
            "conda-containerize frobnicate",
            "invalid choice: 'frobnicate'",
        ),
        ("conda-containerize new --block-size 3K env.yml", "3K"),
        ("pip-containerize new", "required"),
        ("wrap-container ../base", "required"),
        ("wrap-install --prefix x", "required"),
        (
            "cotainr build x.sif",
            "one of the arguments --base-image --system is required",
        ),
        (
            "cotainr build --base-image a --system b x.sif",
            "not allowed with argument",
        ),
        (
            "cotainr build --frobnicate x.sif --base-image a",
            "--frobnicate",
        ),
    ] {
        let plain = ends(&test, line, 2);
        let said = ends(&test, &format!("{line} --json"), 2);
        assert_eq!(said.stderr, plain.stderr, "{line}");
        let value: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(value["schema"], "condense.error/1", "{said:?}");
        assert_eq!(value["exit_code"], 2, "{said:?}");
        let message = value["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{line}: {message}");
        assert!(!message.contains("usage:"), "{line}: {message}");
    }
    let said = ends(&test, "conda-containerize new --prefx x --json env.yml", 2);
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        value["error"]["hint"], "did you mean `--prefix`?",
        "{said:?}"
    );
    // An error before the options are applied is an object as well.
    let said = ends(
        &test,
        "conda-containerize new --json --prefix x none.yml",
        1,
    );
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(value["schema"], "condense.error/1", "{said:?}");
    assert!(said.stderr.contains("none.yml"), "{said:?}");
    // Help is help.
    let said = ends(&test, "cotainr build --json --help", 0);
    assert!(said.stdout.contains("\nusage: cotainr build"), "{said:?}");
}

/// Mistakes in the command line alone are usage errors, whatever finds them.
#[test]
fn values_that_nothing_could_make_right_end_with_2() {
    let test = prepared();
    test.write("my.def", "Bootstrap: localimage\nFrom: ../base\n");
    for (line, words) in [
        ("build --section nosuch my.def x.sif", "no such section"),
        ("build --build-arg X my.def x.sif", "`X` is not NAME=VALUE"),
        ("build --bind a:b:c my.def x.sif", "`--bind a:b:c`"),
        ("build --bind .:there my.def x.sif", "not absolute"),
        ("build --remote my.def x.sif", "`--remote`"),
        ("build --os-packages , x.sif one.yml", "names no package"),
        (
            "build --base-image ../base x.sif x==",
            "package 1 of the command line, `x==`: ",
        ),
        ("new --base-image ../base ./x one.yml two.yml", "two files"),
        (
            "new --base-image ../base ./x tool --os-packages a;b",
            "`a;b`",
        ),
        ("new --base-image ../base ./x tool -w ,", "names no program"),
        ("update mine x==", "`x==`: unable to parse"),
        ("update nothing x==", "`x==`: unable to parse"),
        ("update mine --remove=", "a value of `--remove` is empty"),
        ("update mine --pip=", "a value of `--pip` is empty"),
        ("update mine --os-packages=", "names no package"),
        (
            "conda-containerize update tykky --remove=",
            "`--remove` is empty",
        ),
        ("wrap-container --prefix x -w , ../base", "names no program"),
        ("search x==", "`x==`: unable to parse"),
        ("base find foo==", "`foo==` is not a search term"),
    ] {
        let said = ends(&test, line, 2);
        let told = said.stdout.clone() + &said.stderr;
        assert!(told.contains(words), "{line}: {said:?}");
    }
    ends_in_json(&test, "update mine x==", 2);
    // Something on the machine could make these right.
    for line in [
        "build --bind none:/there my.def x.sif",
        "update mine --remove nothing-of-this-name",
        "new --base-image ../base ./x none.yml",
    ] {
        ends(&test, line, 1);
    }
}

/// The page names each command whose status 1 is a result, and each of them has it.
#[test]
fn the_page_of_exit_codes_is_true() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/exit-codes.md");
    let page = fs_err::read_to_string(page).unwrap();
    let row = |status: &str| {
        let begin = format!("| {status} | ");
        let row = page.lines().find_map(|line| line.strip_prefix(&begin));
        row.unwrap_or_else(|| panic!("no row of {status}"))
    };
    let test = furnished();
    let named = |status: &str| -> BTreeSet<String> {
        let quoted = row(status).split('`').skip(1).step_by(2);
        quoted
            .map(|name| name.replacen("condense ", "", 1))
            .collect()
    };
    let results = [
        ("image diff", "image diff wheels.sqfs mine.sif"),
        ("sif verify", "sif verify --key public.asc mine.sif"),
        ("check", "check --site lumi-g cuda.yml"),
        ("doctor", "doctor --offline"),
        ("base find", "base find rocm=99"),
        ("diff --exit-code", "diff --exit-code mine@1 mine"),
    ];
    assert_eq!(
        named("1"),
        results.iter().map(|(name, _)| (*name).to_owned()).collect()
    );
    for (_, line) in results {
        let said = ends(&test, line, 1);
        let said_json = ends(&test, &format!("{line} --json"), 1);
        // Without any signature, nothing can be verified, which is an error.
        let is_error = said_json.stdout.contains("condense.error/");
        assert_eq!(is_error, line.starts_with("sif verify"), "{line}: {said:?}");
    }
    assert_eq!(
        named("2"),
        BTreeSet::from(["check".to_owned(), "doctor".to_owned()])
    );
    ends(&test, "check nosuch", 2);
    ends(&test, "doctor --site atlantis", 2);
    // The last table: what cotainr and the dialects do without a mistake.
    for line in [
        "cotainr",
        "conda-containerize",
        "cotainr -h",
        "wrap-install",
        "--version",
    ] {
        ends(&test, line, 0);
    }
    assert!(row("125").contains("wrapper") && row("130").contains("signal"));
    // A wrapper of a half-removed installation fails on its own account.
    let dir = fs_err::canonicalize(test.path("work/envs/mine/bin")).unwrap();
    fs_err::remove_file(dir.parent().unwrap().join("common.sh")).unwrap();
    let said = test.command(dir.join("tool")).run();
    assert_eq!((said.status, said.stdout.as_str()), (125, ""), "{said:?}");
    assert!(
        said.stderr.contains("is not a whole installation"),
        "{said:?}"
    );
    let said = look(&test, "help exit-codes").succeeded();
    assert_eq!(said.stdout.trim_end(), page.trim_end());
}
