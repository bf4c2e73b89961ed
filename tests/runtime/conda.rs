//! Tests of the `conda` command that scripts expect, in a build and in an installation. Numbers are
//! those of the statements in the list of Tykky's own tests.

use crate::harness::{Account, CommandOutput, Run, TestDir, as_both, parts};

fn build(test: &TestDir, packages: &str, script: &str) -> CommandOutput {
    test.write("post.sh", script);
    test.new_command(&test.installation().dir, &test.environment(packages))
        .args(["--post-install", "post.sh"])
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
        .run()
}

/// Statement 12: the message for packages that are not found. Statement 18: no directory of the
/// user is used. Statement 25: the explicit list.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn scripts_install_with_conda_and_the_image_remembers() {
    as_both(|account| {
        let test = TestDir::new(account, "conda");
        let script = format!(
            r#"conda install -y --name env1 certifi edge-post-link
mamba install -q -c '{channel}' 'edge-shared=1.0' -p "$env_root"
conda install edge-shared
printf '# wanted\nedge-argv\n' > "$CW_BUILD_TMPDIR/list"
"$(readlink -f "$env_root")"/../../bin/conda install --file "$CW_BUILD_TMPDIR/list"
pip install edge_pip_lib
conda env export > "$install_root/export.yml"
conda config --show pkgs_dirs
python -c 'import certifi'
conda update x || echo "refused with $?"
"#,
            channel = parts().channel()
        );
        let said = build(&test, "python=3.11, pip", &script).succeeded().text();
        for words in [
            "certifi-2026",
            "edge-post-link: on stdout",
            "# All requested packages already installed.",
            "edge-argv-1.0-0",
            "PackageNotInstalledError: the environment does not have `x`",
            "refused with 1",
        ] {
            assert!(said.contains(words), "`{words}` is not in {said}");
        }
        assert!(!said.contains(".conda/pkgs"), "{said}");
        let installation = test.installation();
        let lock = fs_err::read_to_string(installation.dir.join("share/condense.lock")).unwrap();
        for name in [
            "certifi-2026",
            "edge-argv-1.0",
            "edge-shared-1.0",
            "edge-post-link-1.0",
        ] {
            assert!(lock.contains(name), "{name} is not in {lock}");
        }
        assert!(lock.contains("- edge-pip-lib==1.1"), "{lock}");
        assert!(!lock.contains("- certifi=="), "{lock}");
        // The installed program has a wrapper, and conda itself has none.
        installation
            .command(account, "edge-argv", [""])
            .run()
            .succeeded();
        assert!(!installation.bin("conda").exists());
        let inside = |script: &str| {
            let words = ["bash", "-c", script];
            installation.command(account, "_debug_exec", words).run()
        };
        let list = inside("conda list").succeeded().text();
        let listed = installation.command(account, "list-packages", [""]).run();
        assert!(list.ends_with(&listed.succeeded().text()), "{list}");
        for command in [
            "$(readlink -f $env_root)/../../bin/conda",
            "$install_root/miniconda/bin/conda",
            "mamba",
        ] {
            let text = inside(&format!("{command} list --explicit"))
                .succeeded()
                .text();
            assert!(text.contains("\n@EXPLICIT\n"), "{text}");
            assert!(text.contains("edge-argv-1.0-0.conda"), "{text}");
        }
        let text = inside("cat $install_root/export.yml; conda env export --no-builds; conda list -f certifi; conda info")
            .succeeded()
            .text();
        for words in [
            "  - certifi=2026.10.18=pyhc64470c_0\n",
            "      - edge-pip-lib==1.1\n",
            "  - certifi=2026.10.18\n",
            "active environment : env1",
        ] {
            assert!(text.contains(words), "`{words}` is not in {text}");
        }
        inside("conda install x").failed_on_either_stream(1, &["the image is read-only"]);
        inside("conda create -n x")
            .failed_on_either_stream(1, &["`conda create` is not supported"]);
        inside("conda list -n other").failed_on_either_stream(1, &["EnvironmentLocationNotFound"]);
        inside("eval \"$(conda shell.bash hook)\" && conda activate env1 && conda run -n env1 python -V")
            .succeeded();
        test.left_nothing();
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_conda_cannot_install_ends_the_build() {
    let test = TestDir::new(Account::Ordinary, "conda-bad");
    for (script, words) in [
        (
            "conda install no-such-package\n",
            "PackagesNotFoundError: no channel has `no-such-package`",
        ),
        (
            "conda install --update-all\n",
            "`conda install --update-all` is not supported",
        ),
        (
            "conda install -n other edge-argv\n",
            "EnvironmentLocationNotFound",
        ),
        (
            "conda remove edge-prefix\n",
            "PackagesNotFoundError: PackageNotInstalledError: the environment does not have `edge-prefix`",
        ),
        (
            "conda create -y -n other edge-argv\n",
            "`conda create` is not supported: an installation has one environment",
        ),
        (
            "conda search edge-argv\n",
            "`conda search` is not supported",
        ),
        (
            "conda env create -f x.yml\n",
            "`conda env create` is not supported",
        ),
        (
            "conda install -n base edge-argv\n",
            "there is no base environment to change",
        ),
        (
            "conda config --set ssl_verify no\n",
            "`conda config --set ssl_verify` is not supported",
        ),
    ] {
        let output = build(&test, "edge-argv", script);
        test.refused(output, &[words, "post.sh: line 1:"]);
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_package_that_changes_its_version_leaves_nothing_of_the_old() {
    let test = TestDir::new(Account::Root, "conda-change");
    let said = build(
        &test,
        "edge-shared=1.0, edge-argv",
        "conda install -y edge-shared=2.0\n",
    );
    let said = said.succeeded().text();
    assert!(said.contains("REMOVED for them"), "{said}");
    let list = test
        .installation()
        .command(
            Account::Root,
            "_debug_exec",
            [
                "sh",
                "-c",
                "ls $CONDA_PREFIX/conda-meta; conda list edge-shared",
            ],
        )
        .run()
        .succeeded()
        .text();
    assert!(
        list.contains("edge-shared-2.0") && !list.contains("edge-shared-1.0"),
        "{list}"
    );
}
