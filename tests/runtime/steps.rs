//! Tests of the steps in the build container: link scripts, pip, and the capture of the activation.

use crate::harness::{Account, CommandOutput, Installation, Run, TestDir, as_both, parts, shared};

fn text_of(pieces: Vec<Vec<u8>>) -> Vec<String> {
    pieces
        .into_iter()
        .map(|piece| String::from_utf8(piece).unwrap())
        .collect()
}

fn read_inside(installation: &Installation, file: &str) -> String {
    let path = format!("{}/{file}", installation.env_prefix());
    installation
        .command(Account::Ordinary, "_debug_exec", ["cat", &path])
        .run()
        .succeeded()
        .text()
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn link_scripts_run_where_the_prefix_is_mounted() {
    let ran = read_inside(shared(), "share/edge-post-link.ran");
    let prefix = shared().env_prefix();
    for line in [
        &*format!("PREFIX={prefix}"),
        "PKG_NAME=edge-post-link",
        "PKG_VERSION=1.0",
        "PKG_BUILDNUM=0",
    ] {
        assert!(ran.lines().any(|found| found == line), "no {line} in {ran}");
    }
    assert_eq!(
        read_inside(shared(), "share/edge-post-link-tool.ran"),
        format!("{prefix}\n(3, 11)")
    );
    let messages = format!("{prefix}/.messages.txt");
    shared()
        .command(Account::Root, "_debug_exec", ["test", "-e", &messages])
        .run()
        .failed(1, &[]);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_link_script_that_fails_fails_the_build() {
    as_both(|account| {
        let test = TestDir::new(account, "link-script");
        let output = test
            .new_command(
                &test.installation().dir,
                &test.environment("edge-argv, edge-post-link-fails"),
            )
            .run();
        test.refused(
            output,
            &[
                "the post-link script of edge-post-link-fails failed with exit status 1",
                "edge-post-link-fails: about to fail",
                "edge-post-link-fails: fails on purpose",
            ],
        );
    });
}

fn build_with_pip(test: &TestDir, requirements: &str) -> CommandOutput {
    let environment = test.environment(&format!("python=3.11, pip, {{pip: [{requirements}]}}"));
    test.new_command(&test.installation().dir, &environment)
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
        .run()
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn pip_installs_into_the_environment() {
    as_both(|builder| {
        let test = TestDir::new(builder, "pip");
        build_with_pip(&test, "edge-pip-app ==1.0").succeeded();
        let installation = test.installation();
        as_both(|account| {
            let mut command = installation.command(account, "edge-pip-app", [""; 0]);
            command.run().says("edge-pip-app 1.0 with edge-pip-lib 1.1");
            let text = "import edge_pip_app, os; print(edge_pip_app.__file__, os.path.exists(edge_pip_app.__cached__))";
            let file = format!(
                "{}/lib/python3.11/site-packages/edge_pip_app.py",
                installation.env_prefix()
            );
            installation
                .python(account, text)
                .run()
                .says(&format!("{file} True"));
        });
        let script = read_inside(&installation, "bin/edge-pip-app");
        let shebang = script.lines().next().unwrap();
        let interpreter = shebang.strip_prefix("#!").unwrap();
        assert!(
            interpreter.starts_with(&format!("{}/bin/python", installation.env_prefix())),
            "{shebang}"
        );
        assert!(installation.dir.join("share/pip-report.json").exists());
        let list = installation
            .command(builder, "python", ["-m", "pip", "list"])
            .run()
            .succeeded()
            .text();
        assert!(list.contains("edge-pip-lib"), "{list}");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn pip_that_fails_fails_the_build_with_its_words() {
    let test = TestDir::new(Account::Ordinary, "pip-fails");
    let output = build_with_pip(&test, "edge-pip-conflict");
    test.refused(
        output,
        &["pip install failed: no version of `edge-pip-lib` fits `edge-pip-lib<1.0`"],
    );
    let output = build_with_pip(&test, "edge-pip-no-such-thing");
    test.refused(output, &["there is no `edge-pip-no-such-thing` in"]);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn static_activation_is_replayed() {
    let prefix = shared().env_prefix();
    let names = [
        "CONDA_PREFIX",
        "CONDA_DEFAULT_ENV",
        "EDGE_PREFIX",
        "EDGE_DATA",
        "EDGE_QUOTED",
        "EDGE_LINES",
        "EDGE_EMPTY",
        "EDGE_VALUE",
        "EDGE_DEFAULT",
        "EDGE_PATH",
        "EDGE_UNWANTED",
        "EDGE_JSON",
        "EDGE_JSON_UTF8",
        "EDGE_JSON_QUOTED",
    ];
    as_both(|account| {
        let see = |variables: &[(&str, &str)]| {
            let mut command = shared().command(account, "edge-env", names);
            text_of(command.envs(variables.iter().copied()).run().pieces())
        };
        let mut expected = vec![
            format!("CONDA_PREFIX={prefix}"),
            "CONDA_DEFAULT_ENV=env1".to_owned(),
            format!("EDGE_PREFIX={prefix}"),
            format!("EDGE_DATA={prefix}/share/edge"),
            r#"EDGE_QUOTED=it's "quoted" $HOME \ *"#.to_owned(),
            "EDGE_LINES=one\ntwo".to_owned(),
            "EDGE_EMPTY=".to_owned(),
            "EDGE_VALUE=set by edge-activate".to_owned(),
            "EDGE_DEFAULT=the default".to_owned(),
            format!("EDGE_PATH={prefix}/edge/plugins"),
            "EDGE_UNWANTED is not set".to_owned(),
            "EDGE_JSON=from env_vars.d".to_owned(),
            "EDGE_JSON_UTF8=Ærø ☃".to_owned(),
            r#"EDGE_JSON_QUOTED=it's "quoted" $HOME `id` \"#.to_owned(),
        ];
        assert_eq!(see(&[]), expected);
        expected[8] = "EDGE_DEFAULT=my $own `one`".to_owned();
        expected[9] = format!("EDGE_PATH={prefix}/edge/plugins:/my own:/other");
        let of_user = [
            ("EDGE_DEFAULT", "my $own `one`"),
            ("EDGE_PATH", "/my own:/other"),
            ("EDGE_UNWANTED", "x"),
            ("EDGE_VALUE", "before"),
        ];
        assert_eq!(see(&of_user), expected);
        // A program in a directory that the activation puts on PATH gets a wrapper too.
        shared()
            .command(account, "_debug_exec", ["edge-activated"])
            .run()
            .says("set by edge-activate");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn activation_that_differs_from_start_to_start_is_sourced_then() {
    let test = TestDir::new(Account::Root, "dynamic");
    let dir = test.installation().dir;
    let packages = "edge-argv, edge-activate, edge-activate-bash, edge-activate-dynamic";
    let said = test
        .new_command(&dir, &test.environment(packages))
        .run()
        .succeeded()
        .text();
    assert!(
        said.contains("edge-activate-dynamic.sh` is sourced at every start"),
        "{said}"
    );
    as_both(|account| {
        let see = || {
            let names = [
                "EDGE_HOME",
                "EDGE_TMP",
                "EDGE_BASH",
                "EDGE_VALUE",
                "EDGE_LINES",
                "EDGE_PID",
            ];
            text_of(
                test.installation()
                    .command(account, "edge-env", names)
                    .run()
                    .pieces(),
            )
        };
        let (one, other) = (see(), see());
        let expected = [
            format!("EDGE_HOME={}/.edge", account.home().display()),
            format!("EDGE_TMP=/tmp/edge-{}", account.name()),
            "EDGE_BASH=a-b-c".to_owned(),
            "EDGE_VALUE=set by edge-activate".to_owned(),
            "EDGE_LINES=one\ntwo".to_owned(),
        ];
        assert_eq!(one[..5], expected);
        assert_ne!(
            one[5], other[5],
            "the process of the build is not that of a start"
        );
        // The launcher, which runs between runtime and program, passes on arguments, streams and
        // signals.
        let pieces = test
            .installation()
            .command(account, "edge-argv", ["a b", "", "$HOME\n"])
            .run()
            .pieces();
        assert_eq!(text_of(pieces)[1..], ["a b", "", "$HOME\n"]);
        test.installation()
            .command(account, "edge-exit", ["7"])
            .run()
            .failed(7, &[]);
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn activation_that_ends_the_shell_is_refused_by_name() {
    let test = TestDir::new(Account::Root, "exits");
    let output = test
        .new_command(
            &test.installation().dir,
            &test.environment("edge-argv, edge-activate-exits"),
        )
        .run();
    test.refused(output, &["edge-activate-exits.sh", "hint: "]);
}
