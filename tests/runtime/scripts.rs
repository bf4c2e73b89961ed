//! Tests of the user's scripts, `-r` and `--uv`, as users of Tykky know them. Numbers are those of
//! the statements in the list of Tykky's own tests.

use std::path::{Path, PathBuf};

use crate::harness::{Account, CommandOutput, Run, TestDir, as_both, parts};

fn build(test: &TestDir, environment: &Path, more: &[&str]) -> CommandOutput {
    let mut command = test.new_command(&test.installation().dir, environment);
    command
        .args(more)
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
        .run()
}

fn python(test: &TestDir) -> PathBuf {
    test.environment("python=3.11, pip")
}

/// Statements 20, 26 and 32 of the list of Tykky's tests: requirements in a file of their own.
/// Statements 25, 27 and 28: packages that a script installs.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn scripts_see_what_tykky_shows_them_and_change_the_image() {
    as_both(|account| {
        let test = TestDir::new(account, "scripts");
        test.write("req.txt", "edge_pip_lib<1.1\n");
        test.write(
            "pre.sh",
            "export MADE_BEFORE='a \"b\"'\nhelper() { echo \"helped $1\"; }\n[ ! -e \"$env_root/lib/python3.11/site-packages/edge_pip_lib\" ]\n",
        );
        test.write(
            "post.sh",
            r#"echo "seen $MADE_BEFORE|$PWD|$CW_INSTALLATION_PATH|$env_root|$install_root|$CONDA_PREFIX|$CW_BUILD_TMPDIR|$#"
helper me
case $(command -v pip) in "$env_root/bin/pip") ;; *) exit 9 ;; esac
touch "$CW_BUILD_TMPDIR/mine"
pip install edge_pip_app
mkdir -p "$install_root/extra/bin"
printf '#!/bin/sh\necho from the script\n' > "$install_root/extra/bin/extra-tool"
chmod +x "$install_root/extra/bin/extra-tool"
"#,
        );
        let more = [
            "--mamba",
            "-r",
            "req.txt",
            "--pre-install",
            "pre.sh",
            "--post",
            "post.sh",
            "-wextra/bin",
        ];
        let said = build(&test, &python(&test), &more).succeeded().text();
        let installation = test.installation();
        let (mount, env) = (installation.mount_point(), installation.env_prefix());
        let here = test.dir().display();
        let seen = format!(
            "seen a \"b\"|{here}|{mount}|{env}|{mount}|{env}|{mount}/.condense-build/tmp|0"
        );
        assert!(said.contains(&seen), "`{seen}` is not in {said}");
        assert!(said.contains("helped me"), "{said}");
        installation
            .python(account, "import edge_pip_app, edge_pip_lib, importlib.metadata as m; print(m.version('edge-pip-lib'))")
            .run()
            .says("1.0");
        installation
            .command(account, "extra-tool", [""])
            .run()
            .says("from the script");
        let listed = installation.command(account, "list-packages", [""]).run();
        assert!(listed.succeeded().text().contains("edge-pip-app"));
        // The installation keeps the scripts under the names of their roles, and the lock has the
        // packages that they installed.
        let receipt = installation.receipt();
        let roles: Vec<(&str, &str)> = receipt["inputs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|input| {
                (
                    input["role"].as_str().unwrap(),
                    input["path"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            roles,
            [
                ("environment", "previous_input/1/env.yml"),
                ("requirements", "previous_input/1/req.txt"),
                ("pre-install", "previous_input/1/pre.sh"),
                ("post-install", "previous_input/1/post.sh"),
            ]
        );
        for (_, path) in roles {
            assert!(
                installation.dir.join("share").join(path).is_file(),
                "{path}"
            );
        }
        let lock = fs_err::read_to_string(installation.dir.join("share/condense.lock")).unwrap();
        assert!(lock.contains("edge-pip-app==1.0"), "{lock}");
        assert!(lock.contains("post-install "), "{lock}");
        test.left_nothing();
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_script_that_fails_ends_the_build_with_its_line() {
    as_both(|account| {
        let test = TestDir::new(account, "script-fails");
        let environment = test.environment("edge-argv");
        for (flag, name) in [("--pre-install", "one.sh"), ("--post-install", "two.sh")] {
            test.write(name, "echo before\n\n  ls /no/such/place\necho never\n");
            let output = build(&test, &environment, &[flag, name]);
            let line = format!("{name}: line 3: `ls /no/such/place` failed");
            let words = ["before", &line, "script ", "failed with exit status 2"];
            assert!(!output.text().contains("never"), "{output:?}");
            test.refused(output, &words);
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn other_scripts_make_another_mount_point() {
    let test = TestDir::new(Account::Root, "script-suffix");
    let environment = test.environment("edge-argv");
    test.write("one.sh", ":\n");
    test.write("two.sh", "true\n");
    let mut seen = std::collections::BTreeSet::new();
    for more in [
        &[][..],
        &["--post", "one.sh"],
        &["--post", "two.sh"],
        &["--pre-i", "one.sh"],
    ] {
        build(&test, &environment, &[more, &["--force"]].concat()).succeeded();
        seen.insert(test.installation().mount_point());
        fs_err::remove_dir_all(test.installation().dir).unwrap();
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

/// Statement 30 of the list of Tykky's tests: the output of uv, its packages, and their sources in
/// the lock.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn uv_of_the_environment_installs_for_pip() {
    as_both(|account| {
        let test = TestDir::new(account, "uv");
        test.write("req.txt", "edge_pip_lib\n");
        // This program prints its calls of pip; the channel of the tests cannot have the real uv.
        test.write(
            "pre.sh",
            r#"cat > "$env_root/bin/uv" <<'END'
#!/bin/sh
case "$*" in
  --version) echo 'uv 0' ;;
  'pip freeze'*) exec "${0%/*}/python" -m pip freeze --all ;;
  'pip install --python '*) shift 4; echo 'Resolved 1 package in 0ms'; exec "${0%/*}/python" -m pip install "$@" ;;
  *) echo "uv: $*"; exit 3 ;;
esac
END
chmod +x "$env_root/bin/uv"
"#,
        );
        let more = ["--mamba", "--uv", "-rreq.txt", "--pre-i", "pre.sh"];
        let said = build(&test, &python(&test), &more).succeeded().text();
        for words in ["Installing uv packages:", "Resolved 1 package in"] {
            assert!(said.contains(words), "`{words}` is not in {said}");
        }
        let installation = test.installation();
        installation
            .python(account, "import edge_pip_lib")
            .run()
            .succeeded();
        let lock = fs_err::read_to_string(installation.dir.join("share/condense.lock")).unwrap();
        assert!(lock.contains("edge_pip_lib-1.1-py3-none-any.whl"), "{lock}");
        assert!(!lock.contains("by_scripts"), "{lock}");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn uv_that_is_nowhere_is_refused() {
    let test = TestDir::new(Account::Root, "no-uv");
    test.write("req.txt", "edge_pip_lib\n");
    let output = build(&test, &python(&test), &["--uv", "-r", "req.txt"]);
    test.refused(output, &["--uv: there is no uv", "none on PATH"]);
}

/// Checks `advanced` with commands in the configuration file itself, and with process substitutions
/// of shells instead of files.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn commands_need_no_file_of_their_own() {
    let account = Account::Ordinary;
    let test = TestDir::new(account, "inline");
    test.environment("python=3.11, pip");
    test.write("post.sh", "pip install 'edge_pip_lib<1.1'\n");
    let base = parts().base();
    test.write(
        "advanced.yml",
        &format!(
            "env_file: env.yml\ninstallation_prefix: installation\ncontainer_src: {}\npost_install:\n\
             - echo 'a command with file in it' > \"$env_root/said\"\n- file: post.sh\nextra_envs:\n\
             - {{type: set, name: GREETING, value: 'hello \"$USER\"'}}\n- {{type: prepend, name: MINE, value: 1}}\n",
            base.display()
        ),
    );
    let with_wheels = |command: &mut std::process::Command| {
        let command = command.env("PIP_NO_INDEX", "1");
        command
            .env("PIP_FIND_LINKS", parts().wheels())
            .run()
            .succeeded()
    };
    with_wheels(&mut test.program(["advanced", "advanced.yml"]));
    let installation = test.installation();
    let about = "import os, sys, edge_pip_lib as l; print(os.environ['GREETING'], os.environ['MINE'], l.VERSION, open(sys.prefix + '/said').read(), end='')";
    let says = |version: &str| {
        let mut command = installation.python(account, about);
        let command = command.env("MINE", "2").env("USER", "me");
        let said = format!("hello \"me\" 1:2 {version} a command with file in it");
        command.run().says(&said);
    };
    says("1.0");
    let script = "exec \"$0\" conda-containerize update installation -r <(echo edge_pip_lib==1.1) --post <(echo 'echo so it is')";
    let mut command = test.command("/bin/bash");
    command
        .args(["-c", script])
        .arg(parts().path("programs/condense"))
        .env("TMPDIR", test.scratch())
        .env(
            "PATH",
            format!("{}/bin:/usr/bin:/bin", installation.dir.display()),
        );
    let said = with_wheels(&mut command).text();
    for words in ["so it is", "[ WARNING ] ", "/bin is on PATH"] {
        assert!(said.contains(words), "`{words}` is not in {said}");
    }
    for number in [62, 63] {
        let kept = format!("share/previous_input/2/pipe-{number}");
        assert!(installation.dir.join(kept).exists());
    }
    says("1.1");
    test.left_nothing();
}
