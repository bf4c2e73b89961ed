//! Tests of virtual environments on top of an installation of `pip-containerize`.

use super::{Cray, build};
use crate::harness::{Account, Run, TestDir, parts};

/// Statements 92 to 95 of the list of Tykky's tests: a virtual environment on top of the
/// installation.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_virtual_environment_on_top_takes_packages() {
    let cray = Cray::new();
    let account = Account::Ordinary;
    let test = TestDir::new(account, "cray-venv");
    test.write("req.txt", "edge_pip_lib<1.1\n");
    build(&test, &cray, &["req.txt"]).succeeded();
    let top = test.path("top");
    test.installation()
        .command(account, "python", ["-m", "venv"])
        .arg(&top)
        .run()
        .succeeded();
    test.command(top.join("bin/pip"))
        .args(["install", "--no-index", "--find-links"])
        .arg(parts().wheels())
        .arg("edge_pip_lib")
        .run()
        .succeeded();
    let text =
        "import sys, edge_pip_lib; print(sys.prefix != sys.base_prefix, edge_pip_lib.__file__)";
    test.command(top.join("bin/python"))
        .args(["-c", text])
        .run()
        .says(&format!(
            "True {}/lib/python3.11/site-packages/edge_pip_lib.py",
            top.display()
        ));
}

/// Checks a virtual environment with --system-site-packages on top of the installation: it sees its
/// own packages first, then those of the installation, and only those packages of the interpreter
/// that the installation sees.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_virtual_environment_on_top_sees_the_installation() {
    let cray = Cray::new();
    let account = Account::Ordinary;
    let test = TestDir::new(account, "cray-system");
    test.write("req.txt", "edge_pip_lib<1.1\nedge_pip_app\n");
    build(&test, &cray, &["req.txt"]).succeeded();
    let top = test.path("a top");
    let says = |text: &str, said: &str| {
        let python = test
            .command(top.join("bin/python"))
            .args(["-c", text])
            .run();
        python.says(said);
    };
    test.installation()
        .command(account, "python", ["-m", "venv", "--system-site-packages"])
        .arg(&top)
        .run()
        .succeeded();
    let versions = "import importlib.metadata as m, sys; print(sys.prefix != sys.base_prefix, m.version('edge_pip_lib') < '1.1', sys.executable)";
    let executable = top.join("bin/python").display().to_string();
    says(versions, &format!("True True {executable}"));
    says(
        "import os, sys; print([path for path in sys.path if path.startswith('/opt') and path.endswith('site-packages')])",
        "[]",
    );
    test.command(top.join("bin/pip"))
        .args(["install", "--no-index", "--upgrade", "--find-links"])
        .arg(parts().wheels())
        .arg("edge_pip_lib")
        .run()
        .succeeded();
    says(versions, &format!("True False {executable}"));
}
