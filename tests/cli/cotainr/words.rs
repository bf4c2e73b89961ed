//! Tests of the arguments, questions and messages of `cotainr`.

use super::{answering, command, cotainr};
use crate::harness::{Run, TestEnv};

/// Checks the exit status, and that these texts are on standard output and standard error.
#[track_caller]
fn check(test: &TestEnv, words: &[&str], status: i32, stdout: &[&str], stderr: &[&str]) {
    let said = cotainr(test, words);
    assert_eq!(said.status, status, "{said:#?}");
    for (stream, texts) in [(&said.stdout, stdout), (&said.stderr, stderr)] {
        assert_eq!(stream.is_empty(), texts.is_empty(), "{said:#?}");
        for text in texts {
            assert!(stream.contains(text), "no `{text}` in {said:#?}");
        }
    }
}

#[test]
fn b02_to_b06_help_and_version() {
    let test = TestEnv::new();
    let main = [
        "usage: cotainr [-h] [--version] {build,info}",
        "build",
        "info",
    ];
    for words in [&[][..], &["-h"], &["--help"], &["--he"]] {
        check(&test, words, 0, &main, &[]);
    }
    let build = [
        "usage: cotainr build [-h] (--base-image BASE_IMAGE | --system SYSTEM)",
        "--conda-env",
        "--accept-licenses",
        "--log-to-file",
        "--no-color",
        "Options that cotainr does not have",
        "--yes",
    ];
    for words in [&["build", "-h"][..], &["build", "--help"]] {
        check(&test, words, 0, &build, &[]);
    }
    check(&test, &["info", "-h"], 0, &["usage: cotainr info"], &[]);
    let version = format!("cotainr 2025.7.1+condense.{}\n", env!("CARGO_PKG_VERSION"));
    check(&test, &["--version"], 0, &[&version], &[]);
}

#[test]
fn b07_to_b09_arguments_that_do_not_go_together() {
    let test = TestEnv::new();
    for (words, problem) in [
        (
            &["out.sif"][..],
            "one of the arguments --base-image --system is required",
        ),
        (
            &["--base-image", "b", "--system", "s", "out.sif"],
            "argument --system: not allowed with argument --base-image",
        ),
        (
            &["--system", "s", "--base", "b", "out.sif"],
            "argument --base-image: not allowed with argument --system",
        ),
        (
            &["-v", "-q", "--base-image", "b", "out.sif"],
            "argument --quiet/-q: not allowed with argument --verbose/-v",
        ),
        (
            &["--base-image", "b"],
            "the following arguments are required: image_path",
        ),
        (
            &["--nope", "--base-image"],
            "argument --base-image: expected one argument",
        ),
        (
            &["--verbose=3", "--base-image", "b", "out.sif"],
            "argument --verbose/-v: ignored explicit argument '3'",
        ),
        (
            &["--base-image", "b", "out.sif", "--layout", "odd"],
            "argument --layout: invalid choice: 'odd' (choose from 'flat', 'overlay')",
        ),
    ] {
        let words = [&["build"], words].concat();
        // The error message contains the full usage, whatever the problem was.
        let said = format!(
            "usage: cotainr build [-h] (--base-image BASE_IMAGE | --system SYSTEM)
                     [--conda-env CONDA_ENV] [--accept-licenses]
                     [--verbose | --quiet] [--log-to-file] [--no-color]
                     [further options] image_path
cotainr build: error: {problem}\n"
        );
        let found = cotainr(&test, &words);
        assert_eq!((found.status, &*found.stderr), (2, &*said), "{words:?}");
    }
}

/// Unknown arguments are reported in the way of argparse: after all other checks, all of them at
/// once, and with the usage of the main program.
#[test]
fn b07_arguments_that_are_not_known_are_listed() {
    let test = TestEnv::new();
    for (words, problem) in [
        (
            &[
                "build",
                "--base-image",
                "b",
                "out.sif",
                "--nope",
                "another",
                "-x",
            ][..],
            "unrecognized arguments: --nope another -x",
        ),
        (&["--nope=3"], "unrecognized arguments: --nope=3"),
        (&["info", "x"], "unrecognized arguments: x"),
        (
            &["nope"],
            "argument {build,info}: invalid choice: 'nope' (choose from 'build', 'info')",
        ),
    ] {
        let said = format!(
            "usage: cotainr [-h] [--version] {{build,info}} ...\ncotainr: error: {problem}\n"
        );
        let found = cotainr(&test, words);
        assert_eq!((found.status, &*found.stderr), (2, &*said), "{words:?}");
    }
}

#[test]
fn b16_and_b17_what_is_not_there() {
    let test = TestEnv::new();
    let base = "../base";
    let missing = test.path("work/no.yml");
    let missing = format!(
        "Cotainr:-:ERROR: The provided Conda env file '{}' does not exist.",
        missing.display()
    );
    for (words, problem) in [
        (
            &["--base-image", base, "--conda-env", "no.yml"][..],
            missing.as_str(),
        ),
        (
            &["--system", "atlantis"],
            "System does not exist: `atlantis`\nhint: no systems.json was found, and the catalogue has: lumi-c",
        ),
        (
            &["--system", "lumi-q"],
            "System does not exist: `lumi-q`\nhint: did you mean `lumi-",
        ),
        (
            &["--system", "lumi-g"],
            "the base image `lumi-g` of the catalogue is not here",
        ),
        (&["--base-image", "no.sif"], "no.sif"),
        (
            &["--base-image", base, "--requirements", "no"],
            "requirements file",
        ),
        (&["--base-image", base, "--lock", "no"], "lock file"),
        (
            &["--base-image", base, "--copy", "x"],
            "`--copy x` does not say where it goes",
        ),
        (&["--base-image", base, "--copy", "x:/y"], "does not exist"),
        (
            &["--base-image", base, "--copy", "x:y"],
            "not an absolute path",
        ),
        (
            &["--base-image", base, "--mount-point", "/tmp/x"],
            "runtimes mount `/tmp` over it",
        ),
        (
            &["--base-image", base, "--mount-point", "/"],
            "not an absolute path",
        ),
        (&["--base-image", base, "--post", "true"], "there is none"),
        (
            &["--base-image", base, "--channel", "c"],
            "`--channel` is for `--packages`",
        ),
    ] {
        let words = [&["build", "out.sif"], words].concat();
        check(&test, &words, 1, &[], &["Cotainr:-:ERROR: ", problem]);
    }
    check(
        &test,
        &["build", "--base-image", base, "no/out.sif"],
        1,
        &[],
        &["there is no directory `"],
    );
    check(
        &test,
        &["build", "--base-image", base, "."],
        1,
        &[],
        &["it is a directory"],
    );
    test.left_nothing();
}

#[test]
fn what_on_top_cannot_do_is_refused() {
    let test = TestEnv::new();
    test.write("r.txt", "rich\n");
    test.environment("tool");
    let on_top = ["build", "--base-image", "../base", "out.sif", "--on-top"];
    let requirements = ["--requirements", "r.txt"];
    for more in [
        &[][..],
        &["--packages", "p"],
        &["--conda-env", "env.yml"],
        &["--post", "true"],
    ] {
        let words = [&on_top[..], more].concat();
        let problem = "`--on-top` installs pip's requirements over the image's own Python";
        check(&test, &words, 1, &[], &[problem, "hint: name them with"]);
        if !more.is_empty() {
            check(
                &test,
                &[&words[..], &requirements].concat(),
                1,
                &[],
                &[problem],
            );
        }
    }
    let words = [&on_top[..], &requirements].concat();
    let said = cotainr(&test, &words);
    assert_eq!(said.status, 1, "{said:#?}");
    assert!(
        said.stderr.contains("neither apptainer nor singularity"),
        "{said:#?}"
    );
    let said = cotainr(&test, &[&words[..], &["--offline"]].concat());
    assert!(said.stderr.contains("PIP_NO_INDEX"), "{said:#?}");
    test.left_nothing();
}

#[test]
fn b18_to_b20_and_b92_the_question() {
    let test = TestEnv::new();
    let out = test.write("out.sif", "old");
    let words = ["build", "--base-image", "../base", "out.sif"];
    let question = format!(
        "{} already exists. Would you like to overwrite it? [yes/no]\n>>> ",
        out.display()
    );
    let is_old = || fs_err::read(&out).unwrap() == b"old";
    for no in ["no\n", "No\n", "NO\n", "maybe\nno\n"] {
        let said = answering(&test, &words, no);
        assert_eq!(said.status, 0, "{said:#?}");
        assert!(said.stdout.starts_with(&question), "{said:#?}");
        let farewell = format!(
            "You have chosen not to overwrite {}. Exiting.\n",
            out.display()
        );
        assert_eq!(said.stderr, farewell);
        assert!(is_old());
    }
    // The question is asked before any other input is read.
    let said = answering(
        &test,
        &["build", "--base-image", "no.sif", "out.sif"],
        "no\n",
    );
    assert_eq!(said.status, 0, "{said:#?}");
    let said = cotainr(&test, &words);
    assert_eq!(said.status, 1, "{said:#?}");
    assert!(
        said.stderr.contains("nobody answers") && said.stderr.contains("hint: say so with `--yes`"),
        "{said:#?}"
    );
    assert!(is_old());
    let said = answering(&test, &words, "whatever\nyEs\n").succeeded();
    assert!(
        said.stdout
            .contains("You answered \"whatever\". Please answer yes or no.\n>>> "),
        "{said:#?}"
    );
    assert!(!is_old());
    for flag in ["--yes", "-y", "--force"] {
        fs_err::write(&out, "old").unwrap();
        let words = [&words[..], &[flag]].concat();
        cotainr(&test, &words).succeeded();
        assert!(!is_old());
    }
}

#[test]
fn b28_to_b32_the_report() {
    let test = TestEnv::new();
    // An empty file says that there are no systems.
    let systems = test.write("systems.json", "{}");
    let said = command(&test, &["info"])
        .env("CONDENSE_SYSTEMS", &systems)
        .run()
        .succeeded();
    let line = "-".repeat(79);
    let expected = format!(
        "Dependency report\n{line}\n    - Running condense {}, which needs no python, OK\n    - apptainer/singularity not found, ERROR\n\nSystem info\n{line}\nNo system configurations available\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(said.stdout, expected);
    test.fake_program(
        "singularity",
        "#!/bin/sh\necho singularity-ce version 3.11.4-1\n",
    );
    let systems = test.write(
        "systems.json",
        r#"{"lumi-g": {"base-image": "x"}, "lumi-c": {"base-image": "y"}}"#,
    );
    let mut command = super::command(&test, &["info"]);
    command.env("CONDENSE_SYSTEMS", systems);
    let said = command.run().succeeded();
    for text in [
        "    - Found singularity-ce 3.11.4-1 >= 3.9.2, OK\n",
        "Available system configurations:\n    - lumi-g\n    - lumi-c\n",
    ] {
        assert!(said.stdout.contains(text), "{said:#?}");
    }
    // Error messages list the systems in the order of the file as well.
    let mut command = super::command(&test, &["build", "--system", "x", "out.sif"]);
    command.env("CONDENSE_SYSTEMS", "systems.json");
    let said = command.run();
    assert!(said.stderr.contains("has: lumi-g, lumi-c\n"), "{said:#?}");
    test.fake_program("singularity", "#!/bin/sh\necho singularity version 3.8.7\n");
    let said = cotainr(&test, &["info"]).succeeded();
    assert!(
        said.stdout
            .contains("    - Found unknown singularity provider: singularity 3.8.7\n"),
        "{said:#?}"
    );
    test.write("bad.json", r#"{"a": {}}"#);
    let mut command = super::command(&test, &["build", "--base-image", "../base", "out.sif"]);
    command.env("CONDENSE_SYSTEMS", "bad.json");
    let said = command.run();
    assert_eq!(said.status, 1);
    assert!(
        said.stderr
            .contains("Error in systems.json: a missing argument base-image"),
        "{said:#?}"
    );
}

#[test]
fn b38_to_b42_what_is_said_and_where() {
    let test = TestEnv::new();
    test.environment("tool");
    let build = |more: &[&str]| {
        let words = [
            "build",
            "--yes",
            "--base-image",
            "../base",
            "--conda-env",
            "env.yml",
            "out.sif",
        ];
        cotainr(&test, &[&words, more].concat()).succeeded()
    };
    let said = build(&[]);
    let env = test.path("work/env.yml");
    for text in [
        format!(
            "Cotainr:-: Installing Conda environment: {}\n",
            env.display()
        ),
        format!(
            "Cotainr:-: Finished installing conda environment: {}\n",
            env.display()
        ),
        "Cotainr:-: Adding metadata to container\n".to_owned(),
        "Cotainr:-: Building container image\n".to_owned(),
        format!(
            "Cotainr:-: Finished building {} in 00:00:",
            test.path("work/out.sif").display()
        ),
    ] {
        assert!(said.stdout.contains(&text), "no `{text}` in {said:#?}");
    }
    assert!(
        said.stdout
            .lines()
            .all(|line| line.starts_with("Cotainr:-: ")),
        "{said:#?}"
    );
    // No container runtime is on the PATH of this test.
    assert!(said.stderr.starts_with("Cotainr:-:WARNING: "), "{said:#?}");
    assert!(!(said.stdout + &said.stderr).contains('\x1b'));

    let said = build(&["-q"]);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""));
    let said = build(&["-vv"]);
    let line = said.stdout.lines().next().unwrap();
    let (time, rest) = line.split_at(23);
    assert!(
        time.starts_with("20") && time.as_bytes()[10] == b' ' && time.as_bytes()[19] == b',',
        "{line}"
    );
    assert!(rest.starts_with(" - Cotainr:-:INFO: "), "{line}");
    assert!(said.stdout.contains("Cotainr:-:DEBUG: "), "{said:#?}");
}

#[test]
fn b21_and_b41_log_files() {
    let test = TestEnv::new();
    let said = cotainr(
        &test,
        &[
            "build",
            "--base-image",
            "../base",
            "out.sif",
            "--log-to-file",
        ],
    )
    .succeeded();
    let entries = fs_err::read_dir(test.path("work")).unwrap();
    let mut logs: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("cotainr_build_"))
        .collect();
    logs.sort();
    let [err, out] = &logs[..] else {
        panic!("{logs:?}")
    };
    // Example of a name: cotainr_build_2026-11-21T02.18.55.766092
    let shape: String = out
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "cotainr_build_0000-00-00T00.00.00.000000.out");
    assert_eq!(err.strip_suffix(".err"), out.strip_suffix(".out"));
    let read = |name: &str| fs_err::read_to_string(test.path("work").join(name)).unwrap();
    assert_eq!(read(out), said.stdout);
    assert_eq!(read(err), said.stderr);
}

#[test]
fn b62_a_thousand_invalid_answers_are_a_no() {
    let test = TestEnv::new();
    test.write("out.sif", "old");
    let words = ["build", "--base-image", "../base", "out.sif"];
    let said = answering(&test, &words, &"perhaps\n".repeat(1000));
    assert_eq!(said.status, 0, "{said:#?}");
    let text = [said.stdout, said.stderr].concat();
    for words in [
        "You provided an invalid answer 1000 times in a row. Now assuming you meant \"no\".",
        "You have chosen not to overwrite ",
    ] {
        assert!(text.contains(words), "`{words}` was not said");
    }
    let kept = fs_err::read_to_string(test.path("work/out.sif")).unwrap();
    assert_eq!(kept, "old");
}
