//! Tests of a virtual environment on top of an installation, as users make it to add packages.

use std::path::Path;

use crate::harness::{Account, Run, TestDir, as_both, parts, shared};

fn make(account: Account, test: &TestDir, name: &str, options: &[&str]) -> std::path::PathBuf {
    let dir = test.path(name);
    shared()
        .command(account, "python", ["-m", "venv"])
        .args(options)
        .arg(&dir)
        .run()
        .succeeded();
    dir
}

fn see(account: Account, venv: &Path, text: &str) -> String {
    account
        .command(venv.join("bin/python"))
        .args(["-c", text])
        .run()
        .succeeded()
        .text()
}

/// Checks that scripts that pip writes outside of the image name an interpreter that exists on the
/// host.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn programs_of_the_user_s_own_site_run_on_the_host() {
    let account = Account::Ordinary;
    let test = TestDir::new(account, "user-site");
    let installation = test.build("python=3.11, pip");
    let base = test.make_dir("base");
    installation
        .command(
            account,
            "pip",
            [
                "install",
                "--user",
                "--no-index",
                "edge_pip_app",
                "--find-links",
            ],
        )
        .arg(parts().wheels())
        .env("PYTHONUSERBASE", &base)
        .run()
        .succeeded();
    test.command(base.join("bin/edge-pip-app"))
        .env("PYTHONUSERBASE", &base)
        .run()
        .says("edge-pip-app 1.0 with edge-pip-lib 1.1");
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn pip_installs_into_it_and_its_programs_run() {
    as_both(|account| {
        let test = TestDir::new(account, "venv");
        let venv = make(account, &test, "my venv's", &[]);
        let text = "import sys; print(sys.executable, sys.prefix, sys.base_prefix != sys.prefix)";
        let expected = format!("{0}/bin/python {0} True", venv.display());
        assert_eq!(see(account, &venv, text), expected);
        let install = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-index",
            "--disable-pip-version-check",
            "--find-links",
        ];
        let mut pip = account.command(venv.join("bin/python"));
        pip.args(install)
            .arg(parts().wheels())
            .arg("edge-pip-app")
            .run()
            .succeeded();
        let program = venv.join("bin/edge-pip-app");
        account
            .command(&program)
            .run()
            .says("edge-pip-app 1.0 with edge-pip-lib 1.1");
        account
            .command(venv.join("bin/pip"))
            .args(["--version"])
            .run()
            .succeeded();
        let file = see(
            account,
            &venv,
            "import edge_pip_lib; print(edge_pip_lib.__file__)",
        );
        assert!(file.starts_with(venv.to_str().unwrap()), "{file}");
        // The installation is unchanged.
        shared()
            .python(account, "import edge_pip_lib")
            .run()
            .failed_on_either_stream(1, &["ModuleNotFoundError"]);
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn it_sees_the_installation_s_packages_only_if_asked() {
    let text = "import importlib.util as u; print(u.find_spec('numpy') is not None)";
    as_both(|account| {
        let test = TestDir::new(account, "system-site");
        let seeing = make(
            account,
            &test,
            "seeing",
            &["--without-pip", "--system-site-packages"],
        );
        let alone = make(account, &test, "alone", &["--without-pip"]);
        assert_eq!(see(account, &seeing, text), "True");
        assert_eq!(see(account, &alone, text), "False");
        let file = see(account, &seeing, "import numpy; print(numpy.__file__)");
        // The path is below the mount point, or below the installation's own `lib` if the
        // interpreter does not know its prefix.
        let by_link = shared().dir.join("lib");
        let known = [shared().env_prefix(), by_link.to_str().unwrap().to_owned()];
        assert!(
            known.iter().any(|prefix| file.starts_with(prefix)),
            "{file}"
        );
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn it_stays_itself_when_activated_and_when_it_starts_itself() {
    as_both(|account| {
        let test = TestDir::new(account, "activated");
        let venv = make(account, &test, "v", &["--without-pip"]);
        let python = venv.join("bin/python");
        let mut command = account.command("/bin/sh");
        command.args(["-c", ". \"$1/bin/activate\" && exec python -c 'import sys; print(sys.executable, sys.prefix)'", "sh"]);
        command
            .arg(&venv)
            .run()
            .says(&format!("{} {}", python.display(), venv.display()));
        let text = "import subprocess, sys
print(subprocess.run([sys.executable, '-c', 'import sys; print(sys.prefix)'], capture_output=True, text=True).stdout, end='')";
        assert_eq!(see(account, &venv, text), venv.to_str().unwrap());
        let active = |variable: &str| {
            let mut command = account.command(&python);
            let text = "import os; print(os.environ.get('CONDA_PREFIX'))";
            command
                .args(["-c", text])
                .env(variable, "1")
                .run()
                .succeeded()
                .text()
        };
        assert_eq!(active("UNRELATED"), "None");
        assert_eq!(active("CW_FORCE_CONDA_ACTIVATE"), shared().env_prefix());
    });
}
