//! The `conda` calls that scripts on the pages of CSC, LUMI and others make, in a build and in an
//! update.

use crate::harness::{Account, Ended, Installation, Room, Run, as_both, stage};

fn build(room: &Room, packages: &str, script: &str) -> Ended {
    room.write("post.sh", script);
    room.new_command(&room.installation().dir, &room.environment(packages))
        .args(["--post-install", "post.sh"])
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", stage().wheels())
        .run()
}

fn update(room: &Room, script: &str) -> Ended {
    room.write("update.sh", script);
    let mut command = room.program(["update", "--post-install", "update.sh"]);
    command
        .arg(room.installation().dir)
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", stage().wheels())
        .run()
}

fn inside(installation: &Installation, account: Account, script: &str) -> String {
    let words = ["bash", "-c", script];
    let mut command = installation.command(account, "_debug_exec", words);
    command.run().succeeded().text()
}

fn lock(room: &Room) -> String {
    fs_err::read_to_string(room.installation().dir.join("share/condense.lock")).unwrap()
}

/// A shell command that lists all files of the environment in sorted order.
const FILES: &str = "cd $CONDA_PREFIX && find . | sort";

/// The example in the pages of CSC and LUMI: `conda install`, `conda remove`, `pip install`.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_example_of_the_pages_installs_and_removes() {
    as_both(|account| {
        let room = Room::new(account, "conda-pages");
        let packages = "python=3.11, pip, pyyaml, edge-prefix";
        build(&room, packages, "true\n").succeeded();
        let installation = room.installation();
        let with_yaml = inside(&installation, account, "python -c 'import yaml; print(1)'");
        assert_eq!(with_yaml, "1");
        let said = update(
            &room,
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
        let lock = lock(&room);
        assert!(
            lock.contains("numpy-2.4.6") && !lock.contains("pyyaml"),
            "{lock}"
        );
        let list = inside(
            &installation,
            account,
            "conda list; conda env export --from-history",
        );
        assert!(list.contains("numpy") && !list.contains("yaml"), "{list}");
        room.left_nothing();
    });
}

/// A package that was installed and removed again leaves no trace: no file, byte code, directory or
/// record.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_is_removed_leaves_nothing_in_a_build_and_in_an_update() {
    let room = Room::new(Account::Root, "conda-remove");
    let packages = "python=3.11, pip, edge-noarch-python, edge-post-link";
    build(&room, packages, "true\n").succeeded();
    let before = inside(&room.installation(), Account::Root, FILES);
    // The byte code from the first build already exists in the update.
    update(
        &room,
        "conda install -y flask numpy\npython -c 'import flask'\nconda uninstall -y flask\n",
    )
    .succeeded();
    update(&room, "conda remove --yes --name env1 numpy\n").succeeded();
    let after = inside(&room.installation(), Account::Root, FILES);
    assert_eq!(before, after);
    let list = inside(&room.installation(), Account::Root, "conda list");
    assert!(
        !list.contains("flask") && !list.contains("jinja2") && !list.contains("numpy"),
        "{list}"
    );
    let room = Room::new(Account::Root, "conda-remove-build");
    build(
        &room,
        packages,
        "conda install -y certifi\npython -c 'import certifi'\nconda remove -y certifi\n",
    )
    .succeeded();
    let built = inside(&room.installation(), Account::Root, FILES);
    assert_eq!(before, built);
    assert!(!lock(&room).contains("/certifi-"));
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn dependents_and_orphans_go_unless_forced() {
    let room = Room::new(Account::Root, "conda-dependents");
    let script = "conda remove -y libzlib && exit 9
conda remove -y --force edge-argv
conda remove -y numpy
conda remove -y python && exit 8
pip install edge_pip_lib
conda remove -y edge-pip-lib && exit 7
true
";
    let script = script.replace(" && exit", " 2>&1 && exit");
    let said = build(&room, "python=3.11, pip, numpy, edge-argv", &script)
        .succeeded()
        .text();
    for words in [
        "`python` cannot be removed: it would go with `libzlib`",
        "libgcc-12.2.0",
        "`python` cannot be removed: it would go with `python`",
        "what pip has installed goes with `pip uninstall NAME`",
    ] {
        assert!(said.contains(words), "`{words}` is not in {said}");
    }
    let list = inside(&room.installation(), Account::Root, "conda list");
    for gone in ["numpy", "libgcc", "edge-argv"] {
        assert!(!list.contains(gone), "{list}");
    }
    assert!(list.contains("pip ") && list.contains("python "), "{list}");
    assert!(!room.installation().bin("edge-argv").exists());
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_update_takes_the_newest_and_leaves_nothing_of_the_old() {
    let room = Room::new(Account::Root, "conda-update");
    let said = build(
        &room,
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
        &room.installation(),
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
        let room = Room::new(account, "conda-activate");
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
        let said = build(&room, "python=3.11, edge-argv", script)
            .succeeded()
            .text();
        let mount = room.installation().mount_point();
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
            let mut command = room.installation().command(account, "_debug_exec", words);
            command.run().says(&format!("{env}\nnone"));
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn files_and_settings_hold_for_the_rest_of_the_build() {
    let room = Room::new(Account::Root, "conda-config");
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
        channel = stage().channel()
    );
    let said = build(&room, "python=3.11, pip", &script).succeeded().text();
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
    let text = inside(&room.installation(), Account::Root, script);
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
    let room = Room::new(Account::Root, "conda-nested");
    room.build("edge-argv");
    let wrapper = room.installation().bin("edge-argv");
    let fake = room.write(
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
        let mut command = room.command(&runtime);
        command.arg("exec").args(more);
        command.arg("-B").arg(&room.installation().dir);
        command.arg(stage().base()).arg(&wrapper).run()
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
    let room = Room::new(Account::Root, "conda-foreign");
    for name in ["fake", "fake/bin", "fake/_bin"] {
        room.make_dir(name);
    }
    room.write("fake/common.sh", "");
    let python = room.write("fake/bin/python", "#!/bin/sh\nexit 3\n");
    Account::Root
        .command("chmod")
        .arg("755")
        .arg(python)
        .run()
        .succeeded();
    room.write("post.sh", "python -c 'print(40 + 2)'\n");
    let bin = room.path("fake/bin");
    let path = format!("{}:{}", bin.display(), stage().search_path());
    let mut command = room.new_command(&room.installation().dir, &room.environment("python=3.11"));
    command
        .args(["--post-install", "post.sh"])
        .env("PATH", path);
    let said = command.run().succeeded().text();
    let words = format!("Remove {} from PATH", bin.display());
    assert!(said.contains(&words) && said.contains("42"), "{said}");
}
