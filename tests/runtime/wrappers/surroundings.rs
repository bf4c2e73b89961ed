//! Tests of the user's environment variables: wrappers pass them on, except those that would change
//! the installation.

use crate::harness::{Account, Run, TestDir, as_both, parts, shared};

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn variables_pass_as_they_are() {
    let values = [
        ("MINE", "a b  c"),
        ("MINE_LINES", "one\ntwo\n"),
        ("MINE_QUOTED", "it's \"quoted\" $HOME `id` \\ a,b:c"),
        ("MINE_EMPTY", ""),
        ("PYTHONPATH", "/my own:/other $x"),
        ("OMP_NUM_THREADS", "1"),
        ("LD_LIBRARY_PATH_ORIG", "/x"),
    ];
    as_both(|account| {
        let names = values.map(|(name, _)| name);
        let pieces = shared()
            .command(account, "edge-env", names)
            .envs(values)
            .run()
            .pieces();
        for ((name, value), piece) in values.iter().zip(pieces) {
            assert_eq!(String::from_utf8(piece).unwrap(), format!("{name}={value}"));
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn programs_find_the_environment_first_on_path() {
    as_both(|account| {
        let which = |name: &str| {
            let text = format!("import shutil; print(shutil.which('{name}'))");
            shared().python(account, &text).run().succeeded().text()
        };
        assert_eq!(which("python3"), shared().bin("python3").to_str().unwrap());
        assert_eq!(
            which("edge-argv"),
            shared().bin("edge-argv").to_str().unwrap()
        );
        assert_eq!(which("cat"), "/usr/bin/cat");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_scratch_directory_of_another_node_does_no_harm() {
    as_both(|account| {
        for value in ["/no/such/scratch", "relative", "", "/etc/passwd"] {
            shared()
                .python(account, "import numpy; print(1)")
                .env("TMPDIR", value)
                .run()
                .says("1");
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_scratch_directory_is_shown() {
    as_both(|account| {
        let test = TestDir::new(account, "tmpdir");
        let text = "import tempfile, sys; f = tempfile.NamedTemporaryFile(delete=False); f.write(b'x'); print(f.name)";
        let name = shared()
            .python(account, text)
            .env("TMPDIR", test.scratch())
            .run()
            .succeeded()
            .text();
        assert!(name.starts_with(test.scratch().to_str().unwrap()), "{name}");
        assert_eq!(fs_err::read(name).unwrap(), b"x");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn almost_no_environment_is_enough() {
    as_both(|account| {
        let text = "import numpy; print(1)";
        shared()
            .python(account, text)
            .env_remove("HOME")
            .env_remove("USER")
            .env_remove("LANG")
            .run()
            .says("1");
        shared()
            .python(account, text)
            .env("HOME", "/no/such/home")
            .run()
            .says("1");
        shared()
            .python(account, text)
            .env("PATH", "")
            .run()
            .says("1");
        let mut command = account.command("/usr/bin/env");
        command
            .arg("-i")
            .arg(shared().bin("python"))
            .args(["-c", text])
            .run()
            .says("1");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn activation_can_be_turned_off() {
    as_both(|account| {
        let see = |variable: &str| {
            let mut command = shared().command(account, "edge-env", ["CONDA_PREFIX", "EDGE_VALUE"]);
            let pieces = command.env(variable, "1").run().pieces();
            pieces
                .into_iter()
                .map(|piece| String::from_utf8(piece).unwrap())
                .collect::<Vec<_>>()
        };
        let on = [
            format!("CONDA_PREFIX={}", shared().env_prefix()),
            "EDGE_VALUE=set by edge-activate".to_owned(),
        ];
        assert_eq!(see("UNRELATED"), on);
        assert_eq!(
            see("CW_NO_CONDA_ACTIVATE"),
            ["CONDA_PREFIX is not set", "EDGE_VALUE is not set"]
        );
        // Python works without an activation.
        let mut python = shared().python(account, "import numpy; print(1)");
        python.env("CW_NO_CONDA_ACTIVATE", "1").run().says("1");
    });
}

/// Checks a process that `srun` started from inside a container: it has the container's variables,
/// but it runs outside.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn variables_of_a_container_that_was_left_do_no_harm() {
    as_both(|account| {
        let test = TestDir::new(account, "left");
        let data = test.make_dir("data");
        test.write("data/file", "mine");
        let mut first = shared().command(account, "edge-env", [""; 0]);
        let inside = first
            .env(
                "APPTAINER_BIND",
                format!("{}:/condense-data", data.display()),
            )
            .run()
            .pieces();
        let mut command = shared().command(
            account,
            "python",
            [
                "-c",
                "import numpy; print(open('/condense-data/file').read())",
            ],
        );
        command.env_clear();
        for pair in inside {
            let pair = String::from_utf8(pair).unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            command.env(name, value);
        }
        assert!(
            command
                .get_envs()
                .any(|(name, _)| name == "APPTAINER_CONTAINER" || name == "SINGULARITY_CONTAINER"),
            "nothing came along"
        );
        // Binds of the user are still in effect.
        command.run().says("mine");

        let mut command = shared().python(account, "import numpy; print(1)");
        for (name, value) in [
            ("APPTAINER_CONTAINER", "/gone/base.sif"),
            ("APPTAINER_NAME", "base.sif"),
            ("APPTAINER_COMMAND", "exec"),
            (
                "APPTAINER_ENVIRONMENT",
                "/.singularity.d/env/91-environment.sh",
            ),
            (
                "APPTAINER_BIND",
                "/gone/img.sqfs:/gone:image-src=/,/gone/data,/home:/home",
            ),
            ("SINGULARITY_CONTAINER", "/gone/base.sif"),
            ("SINGULARITY_NAME", "base.sif"),
            ("SINGULARITY_BIND", "/gone/data:/data"),
        ] {
            command.env(name, value);
        }
        command.run().says("1");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn open_files_and_the_umask_pass() {
    let script = "umask 027; exec 5>\"$2\"; exec \"$1\" -c 'import os; os.write(5, b\"five\"); print(oct(os.umask(0)))'";
    as_both(|account| {
        let test = TestDir::new(account, "open");
        let file = test.path("five");
        let mut command = test.command("/bin/sh");
        command
            .args(["-c", script, "sh"])
            .arg(shared().bin("python"))
            .arg(&file)
            .run()
            .says("0o27");
        assert_eq!(fs_err::read_to_string(file).unwrap(), "five");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_installation_without_a_runtime_says_so() {
    // The recorded runtime is missing and none is on PATH, as on a machine without one.
    let test = TestDir::new(Account::Root, "no-runtime");
    Account::Root
        .command("cp")
        .arg("-a")
        .arg(&shared().dir)
        .arg(test.path("copy"))
        .run()
        .succeeded();
    let common = test.path("copy/.condense/1/common.sh");
    let text = fs_err::read_to_string(&common).unwrap();
    let runtime = format!("runtime={} ", parts().runtime().display());
    assert!(text.contains(&runtime), "{text}");
    fs_err::write(
        &common,
        text.replace(&runtime, "runtime=/usr/bin/no-such-runtime "),
    )
    .unwrap();
    let mut command = Account::Root.command(test.path("copy/bin/edge-exit"));
    // The wrapper finds the runtime at its new place.
    command.arg("3").run().failed(3, &[]);
}
