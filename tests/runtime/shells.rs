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
        .env("PATH", "/usr/bin:/bin")
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
        let usual = "/usr/bin:/bin";
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
fn every_shell_completes() {
    let test = TestDir::new(Account::Ordinary, "completion");
    furnish(&test);
    let bash = |line: &str, function: &str, word: usize| {
        let lines = format!(
            "COMP_WORDS=({line}); COMP_CWORD={word}; {function} ${{COMP_WORDS[0]}} \"${{COMP_WORDS[$COMP_CWORD]}}\" ''; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        run(&test, "bash", &lines).succeeded().text()
    };
    assert_eq!(bash("tykky a", "__tykky_complete", 1), "activate");
    assert!(bash("tykky activate o", "__tykky_complete", 2).contains("one"));
    assert!(bash("tykky activate two", "__tykky_complete", 2).contains("two words"));
    let of_new = bash("conda-containerize new --post", "_conda__containerize", 2);
    assert_eq!(of_new, "--post-install");
    assert!(bash("condense ver", "_condense", 1).contains("verify"));

    let fish = |line: &str| {
        run(&test, "fish", &format!("complete -C '{line}'"))
            .succeeded()
            .text()
    };
    assert!(fish("tykky activate o").contains("one"));
    assert!(fish("cotainr build --acc").contains("--accept-licenses"));
    assert!(fish("condense li").contains("list"));

    // The test only checks that zsh has the completion function; more would need its line editor.
    let lines = "for name in tykky condense conda-containerize pip-containerize wrap-container wrap-install cotainr; do echo $_comps[$name]; done";
    run(&test, "zsh", lines).says(
        "__tykky_complete\n_condense\n_conda-containerize\n_pip-containerize\n_wrap-container\n_wrap-install\n_cotainr",
    );
}
