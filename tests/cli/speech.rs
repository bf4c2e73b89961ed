//! Tests of the messages of a build: their words, their stream, and the exit status.

use crate::harness::{CommandOutput, Run, TestEnv};

#[test]
fn help_and_usage_are_argparse_s() {
    let test = TestEnv::new();
    for arguments in [&["-h"][..], &["--help"], &[], &["new", "--help"]] {
        let said = test.run(arguments).succeeded();
        assert!(said.stdout.contains("show this help message"), "{said:?}");
        assert_eq!(said.stderr, "");
    }
    let said = test.run(&["new"]);
    assert_eq!(said.status, 2, "{said:?}");
    assert!(
        said.stderr.contains("usage: ")
            && said.stderr.contains("the following arguments are required"),
        "{said:?}"
    );
    assert_eq!(said.stdout, "");
}

#[test]
fn levels_say_more_or_less() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    let say = |level: &str| {
        let output = test
            .new_command(&["--force", env.to_str().unwrap()])
            .env("CW_LOG_LEVEL", level)
            .output()
            .unwrap();
        CommandOutput::from(output).succeeded().stdout
    };
    assert_eq!(say("0"), "");
    let warnings = say("1");
    assert!(
        warnings.contains("[ WARNING ] neither apptainer nor singularity")
            && !warnings.contains("[ INFO ]"),
        "{warnings}"
    );
    let usual = say("2");
    assert!(
        usual.contains("[ INFO ] ") && !usual.contains(" DEBUG "),
        "{usual}"
    );
    assert!(usual.contains("as temporary directory"), "{usual}");
    let using = usual
        .lines()
        .find(|line| line.contains("as temporary directory"))
        .unwrap();
    let word = using
        .split("/cw-")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    assert!(
        word.len() == 6
            && word
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()),
        "{using}"
    );
    let all = say("3");
    assert!(all.contains("[ DEBUG "), "{all}");
}

#[test]
fn every_stage_has_a_line_and_the_end_tells_what_it_cost() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    let said = test.build(&[env.to_str().unwrap()]).succeeded().stdout;
    for words in [
        "Read channels",
        "Solved",
        "Fetched packages",
        "Linked packages (2)",
        "Packed",
        "Put the installation together and verified it",
        "Seconds: index",
    ] {
        assert!(said.contains(words), "`{words}` is not in {said}");
    }
    assert!(!said.contains('\x1b'), "colours reached a pipe: {said}");
}

#[test]
fn the_program_s_own_name_works_too() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    let condense = env!("CARGO_BIN_EXE_condense");
    let mut command = test.command(condense);
    command
        .args(["conda-containerize", "new", "--dry-run", "--prefix"])
        .arg(test.installation());
    command.arg("--base-image").arg(test.path("base")).arg(&env);
    let said = command.run().succeeded();
    assert!(said.stdout.contains("SquashFS"), "{said:?}");
    assert!(!test.installation().exists());
    let said = test.command(condense).arg("--version").run().succeeded();
    assert_eq!(
        said.stdout.trim(),
        format!("condense {}", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn flags_say_more_or_less_or_in_json() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    let env = env.to_str().unwrap();
    let say = |flag: &str| test.build(&["--force", flag, env]).succeeded().stdout;
    assert_eq!(say("-q"), "");
    assert!(say("-v").contains("[ DEBUG "));
    let json = say("--log-json");
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    let levels: Vec<&str> = lines
        .iter()
        .map(|line| line["level"].as_str().unwrap())
        .collect();
    assert!(
        levels.contains(&"warning") && levels.contains(&"info"),
        "{json}"
    );
    assert!(lines.iter().all(|line| line["seconds"].is_f64()), "{json}");
    let told = |words: &str| {
        lines
            .iter()
            .any(|line| line["message"].as_str().unwrap().contains(words))
    };
    assert!(told("Program has been installed to"), "{json}");
    let both = test.build(&["-q", "-v", env]);
    assert_eq!(both.status, 2, "{both:?}");
}
