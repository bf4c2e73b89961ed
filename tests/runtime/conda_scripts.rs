//! Tests of the `conda` calls in scripts on the pages of CSC, LUMI and others, in a build and in an
//! update.

use crate::harness::{Account, CommandOutput, Installation, Run, TestDir, as_both, parts};

fn build(test: &TestDir, packages: &str, script: &str) -> CommandOutput {
    test.write("post.sh", script);
    test.new_command(&test.installation().dir, &test.environment(packages))
        .args(["--post-install", "post.sh"])
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
        .run()
}

fn update(test: &TestDir, script: &str) -> CommandOutput {
    test.write("update.sh", script);
    let mut command = test.program(["update", "--post-install", "update.sh"]);
    command
        .arg(test.installation().dir)
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
        .run()
}

fn inside(installation: &Installation, account: Account, script: &str) -> String {
    let words = ["bash", "-c", script];
    let mut command = installation.command(account, "_debug_exec", words);
    command.run().succeeded().text()
}

fn lock(test: &TestDir) -> String {
    fs_err::read_to_string(test.installation().dir.join("share/condense.lock")).unwrap()
}

/// A shell command that lists all files of the environment in sorted order.
const FILES: &str = "cd $CONDA_PREFIX && find . | sort";

/// Checks the example on the pages of CSC and LUMI: `conda install`, `conda remove`, `pip install`.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_example_of_the_pages_installs_and_removes() {
    as_both(|account| {
        let test = TestDir::new(account, "conda-pages");
        let packages = "python=3.11, pip, pyyaml, edge-prefix";
        build(&test, packages, "true\n").succeeded();
        let installation = test.installation();
        let with_yaml = inside(&installation, account, "python -c 'import yaml; print(1)'");
        assert_eq!(with_yaml, "1");
        let said = update(
            &test,
            "conda install -y numpy\nconda remove -y pyyaml\npip install edge_pip_lib\n",
        );
        let said = said.succeeded().text();
        assert!(
            said.contains("The following packages were REMOVED:"),
            "{said}"
        );
        assert!(said.contains("pyyaml-6.0.3"), "{said}");
        let script = "python -c 'import numpy, edge_pip_lib; print(2)'; ! python -c 'import yaml' 2>/dev/null; ls $CONDA_PREFIX/conda-meta; tail -1 $CONDA_PREFIX/conda-meta/history";
        let text = inside(&installation, account, script);
        assert!(text.starts_with("2\n"), "{text}");
        assert!(
            text.contains("numpy-2.4.6") && !text.contains("pyyaml-6"),
            "{text}"
        );
        assert!(
            text.ends_with("# update specs: ['python=3.11', 'pip', 'edge-prefix', 'numpy']"),
            "{text}"
        );
        let files = inside(&installation, account, FILES);
        assert!(!files.contains("yaml"), "{files}");
        let lock = lock(&test);
        // The lock has the text of the script as well.
        assert!(
            lock.contains("numpy-2.4.6") && !lock.contains("pyyaml-6"),
            "{lock}"
        );
        let list = inside(
            &installation,
            account,
            "conda list; conda env export --from-history",
        );
        assert!(list.contains("numpy") && !list.contains("yaml"), "{list}");
        test.left_nothing();
    });
}

/// A package that was installed and removed again leaves no trace: no file, byte code, directory or
/// record.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_is_removed_leaves_nothing_in_a_build_and_in_an_update() {
    let test = TestDir::new(Account::Root, "conda-remove");
    let packages = "python=3.11, pip, edge-noarch-python, edge-post-link";
    build(&test, packages, "true\n").succeeded();
    let before = inside(&test.installation(), Account::Root, FILES);
    // The byte code from the first build already exists in the update.
    update(
        &test,
        "conda install -y flask numpy\npython -c 'import flask'\nconda uninstall -y flask\n",
    )
    .succeeded();
    update(&test, "conda remove --yes --name env1 numpy\n").succeeded();
    let after = inside(&test.installation(), Account::Root, FILES);
    assert_eq!(before, after);
    let list = inside(&test.installation(), Account::Root, "conda list");
    assert!(
        !list.contains("flask") && !list.contains("jinja2") && !list.contains("numpy"),
        "{list}"
    );
    let test = TestDir::new(Account::Root, "conda-remove-build");
    build(
        &test,
        packages,
        "conda install -y certifi\npython -c 'import certifi'\nconda remove -y certifi\n",
    )
    .succeeded();
    let built = inside(&test.installation(), Account::Root, FILES);
    assert_eq!(before, built);
    assert!(!lock(&test).contains("/certifi-"));
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn dependents_and_orphans_go_unless_forced() {
    let test = TestDir::new(Account::Root, "conda-dependents");
    let script = "conda remove -y libzlib && exit 9
conda remove -y --force edge-argv
conda remove -y numpy
conda remove -y python && exit 8
pip install edge_pip_lib
conda remove -y edge-pip-lib && exit 7
true
";
    let script = script.replace(" && exit", " 2>&1 && exit");
    let said = build(&test, "python=3.11, pip, numpy, edge-argv", &script)
        .succeeded()
        .text();
    for words in [
        "`python` cannot be removed: it would go with `libzlib`",
        "libgcc-12.2.0",
        "`python` cannot be removed: an environment keeps its Python",
        "what pip has installed goes with `pip uninstall NAME`",
    ] {
        assert!(said.contains(words), "`{words}` is not in {said}");
    }
    let list = inside(&test.installation(), Account::Root, "conda list");
    for gone in ["numpy", "libgcc", "edge-argv"] {
        assert!(!list.contains(gone), "{list}");
    }
    assert!(list.contains("pip ") && list.contains("python "), "{list}");
    assert!(!test.installation().bin("edge-argv").exists());
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_update_takes_the_newest_and_leaves_nothing_of_the_old() {
    let test = TestDir::new(Account::Root, "conda-update");
    let said = build(
        &test,
        "python=3.11, edge-shared=1.0, edge-argv",
        "conda update -y edge-shared\nconda update -y edge-shared\nconda upgrade --all -y\nconda update -yn base conda\n",
    );
    let said = said.succeeded().text();
    for words in [
        "edge-shared-2.0-0",
        "# All requested packages already installed.",
        "# Nothing to do: there is no base environment",
    ] {
        assert!(said.contains(words), "`{words}` is not in {said}");
    }
    let text = inside(
        &test.installation(),
        Account::Root,
        "ls $CONDA_PREFIX/conda-meta; python -V",
    );
    assert!(
        text.contains("edge-shared-2.0") && !text.contains("edge-shared-1.0"),
        "{text}"
    );
    // An update never changes the Python version, because everything else would have to be built
    // again.
    assert!(text.contains("Python 3.11"), "{text}");
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn shells_activate_and_deactivate() {
    as_both(|account| {
        let test = TestDir::new(account, "conda-activate");
        let script = r#"say() { echo "$1 ${CONDA_PREFIX-none} $CONDA_SHLVL $(command -v edge-argv || echo nothing)"; }
say first
conda deactivate
say second
conda activate base
say third
conda activate env1
say fourth
conda deactivate
say fifth
source "$CW_INSTALLATION_PATH/miniforge/bin/activate" env1
source activate env1
source "$install_root/miniforge/etc/profile.d/conda.sh"
eval "$(conda shell.bash hook)"
eval "$(mamba shell hook --shell bash)"
mamba activate env1
say sixth
bash -c 'conda deactivate' || echo "a child: $?"
conda activate other || echo "other: $?"
"#;
        let said = build(&test, "python=3.11, edge-argv", script)
            .succeeded()
            .text();
        let mount = test.installation().mount_point();
        let conda_root = format!("{mount}/miniforge");
        let env = format!("{conda_root}/envs/env1");
        for words in [
            &format!("first {env} 1 {env}/bin/edge-argv"),
            &"second none 0 nothing".to_owned(),
            &format!("third {conda_root} 1 nothing"),
            &format!("fourth {env} 2 {env}/bin/edge-argv"),
            &format!("fifth {conda_root} 1 nothing"),
            &format!("sixth {env} 2 {env}/bin/edge-argv"),
            &format!(
                "CondaError: this shell has no `conda` function: `. {conda_root}/etc/profile.d/conda.sh`"
            ),
            &"a child: 1".to_owned(),
            &"EnvironmentNameNotFound".to_owned(),
            &"other: 1".to_owned(),
        ] {
            assert!(said.contains(words.as_str()), "`{words}` is not in {said}");
        }
        // The same works in the finished installation. In a POSIX shell, `.` passes no arguments to
        // the script, so `sh` needs another way.
        for (shell, script) in [
            ("bash", ". $root/bin/activate env1"),
            ("sh", ". $root/etc/profile.d/conda.sh; conda activate env1"),
        ] {
            let script = format!(
                "root={conda_root}; unset CONDA_PREFIX CONDA_SHLVL; {script} && echo $CONDA_PREFIX && conda deactivate && echo ${{CONDA_PREFIX-none}}"
            );
            let words = [shell, "-c", &script];
            let mut command = test.installation().command(account, "_debug_exec", words);
            command.run().says(&format!("{env}\nnone"));
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn files_and_settings_hold_for_the_rest_of_the_build() {
    let test = TestDir::new(Account::Root, "conda-config");
    let script = format!(
        "cat > more.yml <<E
channels: ['{channel}']
dependencies:
  - certifi
  - pip:
      - edge_pip_lib
E
conda env update -n env1 -f more.yml
conda env update --file more.yml --prune || echo 'pruned: no'
rm more.yml
conda config --add channels file:///first
conda config --append channels file:///last
conda config --set always_yes true
conda config --set channel_priority strict
conda config --show
conda config --remove channels file:///first
conda config --remove channels file:///last
conda install edge-argv
conda config --show channels channel_priority
",
        channel = parts().channel()
    );
    let said = build(&test, "python=3.11, pip", &script).succeeded().text();
    for words in [
        "channel_alias: https://conda.anaconda.org",
        "channel_priority: strict",
        "ssl_verify: True",
        "fetch_threads: ",
        "  - file:///first/",
        "  - file:///last/",
        "`conda env update --prune` is not supported",
        "pruned: no",
        "edge-argv-1.0-0",
    ] {
        assert!(said.contains(words), "`{words}` is not in {said}");
    }
    let at = |words: &str| said.find(words).unwrap();
    assert!(at("- file:///first/") < at("- file:///last/"));
    let script = "python -c 'import certifi, edge_pip_lib'; conda config --show; conda env export --from-history";
    let text = inside(&test.installation(), Account::Root, script);
    assert!(text.contains("channel_priority: strict"), "{text}");
    assert!(
        text.contains("- certifi") && text.contains("- edge-argv"),
        "{text}"
    );
    // The output contains nothing about the machine that built the installation.
    assert!(
        !text.contains("fetch_threads") && !text.contains("file:///first"),
        "{text}"
    );
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn another_container_that_starts_none_is_told() {
    let test = TestDir::new(Account::Root, "conda-nested");
    test.build("edge-argv");
    let wrapper = test.installation().bin("edge-argv");
    let fake = test.write(
        "apptainer",
        "#!/bin/sh\necho 'FATAL:   container creation failed: no privileges today' >&2\nexit 255\n",
    );
    Account::Root
        .command("chmod")
        .arg("755")
        .arg(&fake)
        .run()
        .succeeded();
    let runtime = which("apptainer");
    let call = |more: &[&str]| {
        let mut command = test.command(&runtime);
        command.arg("exec").args(more);
        command.arg("-B").arg(&test.installation().dir);
        command.arg(parts().base()).arg(&wrapper).run()
    };
    let words = "edge-argv: wrapper called from another container: ";
    let none = call(&[]);
    let expected =
        format!("{words}found neither apptainer nor singularity inside the container base.sif\n");
    assert!(none.stderr.ends_with(&expected), "{none:?}");
    assert_eq!(none.status, 125, "{none:?}");
    let bind = format!("{}:{}", fake.display(), runtime);
    let refused = call(&["-B", &bind]);
    let expected = "container creation failed: no privileges today\n";
    assert!(refused.stderr.contains(words), "{refused:?}");
    assert!(refused.stderr.ends_with(expected), "{refused:?}");
    assert!(!refused.stderr.contains("FATAL"), "{refused:?}");
    assert_eq!(refused.status, 125, "{refused:?}");
}

fn which(program: &str) -> String {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).find_map(|dir| {
        let file = dir.join(program);
        file.is_file().then(|| file.display().to_string())
    });
    found.unwrap()
}

/// Tykky refuses to build in this case. Here the user gets a warning, and the build continues.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_foreign_installation_on_path_is_named_and_does_no_harm() {
    let test = TestDir::new(Account::Root, "conda-foreign");
    for name in ["fake", "fake/bin", "fake/_bin"] {
        test.make_dir(name);
    }
    test.write("fake/common.sh", "");
    let python = test.write("fake/bin/python", "#!/bin/sh\nexit 3\n");
    Account::Root
        .command("chmod")
        .arg("755")
        .arg(python)
        .run()
        .succeeded();
    test.write("post.sh", "python -c 'print(40 + 2)'\n");
    let bin = test.path("fake/bin");
    let path = format!("{}:{}", bin.display(), parts().search_path());
    let mut command = test.new_command(&test.installation().dir, &test.environment("python=3.11"));
    command
        .args(["--post-install", "post.sh"])
        .env("PATH", path);
    let said = command.run().succeeded().text();
    let words = format!("Remove {} from PATH", bin.display());
    assert!(said.contains(&words) && said.contains("42"), "{said}");
}
