//! Tests of `condense shell` in real shells: `tykky activate`, `tykky deactivate` and completion.

use crate::harness::{Account, CommandOutput, Run, TestDir, parts};

/// Runs lines in a shell that has read the text. The text is in a file for shells that cannot
/// `eval` all of it.
fn run(test: &TestDir, shell: &str, lines: &str) -> CommandOutput {
    let kind = if shell == "dash" { "sh" } else { shell };
    let text = test
        .command(parts().path("programs/condense"))
        .args(["shell", kind])
        .run()
        .succeeded()
        .text();
    let path = test.write(&format!("tykky.{shell}"), &text);
    let before = match shell {
        "zsh" => "autoload -Uz compinit; compinit -u -D\n",
        _ => "",
    };
    let flags: &[&str] = match shell {
        "bash" => &["--norc", "-c"],
        "zsh" => &["-f", "-c"],
        "fish" => &["--no-config", "-c"],
        _ => &["-c"],
    };
    let source = if shell == "fish" { "source" } else { "." };
    let mut command = test.command(shell);
    command
        .args(flags)
        .arg(format!("{before}{source} {}\n{lines}", path.display()))
        .env(
            "TYKKY_PATH",
            format!("{0}/none:{0}/envs", test.dir().display()),
        )
        .env("HOME", test.dir())
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", parts().path("programs").display()),
        )
        .env("PS1", "$ ");
    command.run()
}

fn furnish(test: &TestDir) {
    for dir in [
        "envs",
        "envs/one",
        "envs/two words",
        "one",
        "here",
        "here/sub",
    ] {
        test.make_dir(dir);
    }
    for installation in ["envs/one", "envs/two words", "one", "here/sub"] {
        test.make_dir(&format!("{installation}/bin"));
        test.write(&format!("{installation}/common.sh"), "");
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn tykky_activates_and_deactivates_in_every_shell() {
    let test = TestDir::new(Account::Ordinary, "shells");
    furnish(&test);
    let dir = test.dir().display().to_string();
    for shell in ["bash", "zsh", "dash", "fish"] {
        let show = if shell == "fish" {
            "string join : $PATH; echo $TYKKY_PREFIX"
        } else {
            "echo \"$PATH\"; echo \"${TYKKY_PREFIX-}\""
        };
        // A name means the installation in TYKKY_PATH, although the working directory has a
        // directory of that name.
        let lines = format!(
            "tykky activate one; {show}; tykky activate here/sub; {show}; tykky activate 'two words'; {show}; tykky deactivate; {show}"
        );
        let usual = format!("{}:/usr/bin:/bin", parts().path("programs").display());
        let said = run(&test, shell, &lines);
        said.says(&format!(
            "{dir}/envs/one/bin:{usual}\n{dir}/envs/one\n{dir}/here/sub/bin:{usual}\n{dir}/here/sub\n\
             {dir}/envs/two words/bin:{usual}\n{dir}/envs/two words\n{usual}\n"
        ));

        for (line, status, words) in [
            ("tykky activate here", 1, "`here` is not an installation"),
            (
                "tykky activate nothing",
                1,
                "`nothing` is not an installation",
            ),
            ("tykky deactivate", 1, "nothing is active"),
            ("tykky activate", 2, ""),
            ("tykky --help", 0, ""),
        ] {
            let said = run(&test, shell, line);
            assert_eq!(said.status, status, "{shell}: {line}: {said:?}");
            assert!(said.stderr.contains(words), "{shell}: {line}: {said:?}");
        }
        if shell != "fish" {
            run(
                &test,
                shell,
                "PS1='$ '; tykky activate one; echo \"$PS1\"; tykky deactivate; echo \"$PS1\"",
            )
            .says("(one) $ \n$ ");
        }
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn every_shell_completes_tykky() {
    let test = TestDir::new(Account::Ordinary, "completion");
    furnish(&test);
    let bash = |line: &str, word: usize| {
        let lines = format!(
            "COMP_WORDS=({line}); COMP_CWORD={word}; __tykky_complete; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        run(&test, "bash", &lines).succeeded().text()
    };
    assert_eq!(bash("tykky a", 1), "activate");
    assert!(bash("tykky activate o", 2).contains("one"));
    assert!(bash("tykky activate two", 2).contains("two words"));
    let lines = "complete -C 'tykky activate o'";
    assert!(run(&test, "fish", lines).succeeded().text().contains("one"));
    run(&test, "zsh", "echo $_comps[tykky]").says("__tykky_complete");
}

/// Returns what a shell offers for the end of a line, one word on each line.
fn offered(test: &TestDir, shell: &str, line: &str) -> String {
    let quoted = line.replace('\'', r"'\''");
    let last = line.rsplit([' ', '=', ':']).next().unwrap_or_default();
    let lines = match shell {
        "bash" => format!(
            "COMP_LINE='{quoted}' COMP_POINT={}; __condense_complete \"${{COMP_LINE%% *}}\" '{last}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            line.chars().count()
        ),
        "fish" => format!("complete -C '{quoted}'"),
        // The line editor of zsh is needed for more: the words are those that it would add.
        _ => format!(
            "compadd() {{ while [[ $1 != -a ]]; do shift; done; print -rl -- ${{(P)2}}; }}\n\
             words=({line}); [[ '{line}' == *' ' ]] && words+=(''); CURRENT=$#words PREFIX=$words[-1]; __condense_complete; true"
        ),
    };
    run(test, shell, &lines).succeeded().text()
}

/// B14: values are completed in every shell, under each name of the program.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn every_shell_completes_values() {
    let test = TestDir::new(Account::Ordinary, "completion-of-values");
    furnish(&test);
    test.write("env.yml", "");
    for shell in ["bash", "zsh", "fish"] {
        for (line, expected) in [
            ("condense ver", &["verify"][..]),
            ("condense info ", &["one", "two words", "envs/", "here/"]),
            ("condense check --site lumi-", &["lumi-c", "lumi-g"]),
            ("cotainr build --system lumi-", &["lumi-g", "lumi-rocm"]),
            ("condense cotainr build --acc", &["--accept-licenses"]),
            ("condense explain mpi-a", &["mpi-abi"]),
            ("condense lock e", &["env.yml", "envs/"]),
            ("conda-containerize new --post", &["--post-install"]),
            ("wrap-install --tmpdir en", &["envs/"]),
            ("pip-containerize u", &["update"]),
            ("wrap-container --wrap", &["--wrapper-paths"]),
            ("condense nothing of this", &[]),
        ] {
            let said = offered(&test, shell, line);
            let words: Vec<&str> = said
                .lines()
                .map(|line| line.split('\t').next().unwrap_or(line))
                .filter(|word| !word.is_empty())
                .collect();
            for word in expected {
                assert!(words.contains(word), "{shell}: {line}: {said}");
            }
            assert_eq!(
                words.is_empty(),
                expected.is_empty(),
                "{shell}: {line}: {said}"
            );
        }
        // Bash replaces what is behind `=` only.
        let said = offered(&test, shell, "condense check --site=lumi-");
        let expected = if shell == "bash" {
            "lumi-g"
        } else {
            "--site=lumi-g"
        };
        assert!(
            said.lines()
                .any(|line| line.split('\t').next() == Some(expected)),
            "{shell}: {said}"
        );
    }
    let registered = "for name in condense conda-containerize pip-containerize wrap-container wrap-install cotainr; do echo $_comps[$name]; done";
    run(&test, "zsh", registered).says(&["__condense_complete"; 6].join("\n"));
}

/// A program that is not there, or that fails, spoils no prompt.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn completion_without_the_program_says_nothing() {
    let test = TestDir::new(Account::Ordinary, "completion-without");
    furnish(&test);
    for shell in ["bash", "zsh", "fish"] {
        let lost = match shell {
            "fish" => "set PATH /usr/bin /bin",
            _ => "PATH=/usr/bin:/bin",
        };
        let before = run(&test, shell, lost).succeeded();
        assert_eq!(
            (before.stdout.as_str(), before.stderr.as_str()),
            ("", ""),
            "{shell}"
        );
        let quiet = match shell {
            "bash" => {
                "COMP_LINE='condense i' COMP_POINT=10; __condense_complete condense i; echo ${#COMPREPLY[@]}"
            }
            "zsh" => "words=(condense i) CURRENT=2 PREFIX=i; __condense_complete; echo 0",
            _ => "echo (count (complete -C 'condense i'))",
        };
        let said = run(&test, shell, &format!("{lost}\n{quiet}"));
        assert_eq!(
            (said.stdout.as_str(), said.stderr.as_str()),
            ("0\n", ""),
            "{shell}: {said:?}"
        );
    }
}
