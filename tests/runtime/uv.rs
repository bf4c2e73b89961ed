//! Tests of `pip-containerize --uv` with the real uv, and a Python that uv downloads from a list of
//! the test. Numbers are those of the statements in the list of Tykky's own tests.

use std::{path::PathBuf, process::Command};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::harness::{Account, CommandOutput, Run, TestDir, as_both, parts};

/// Makes an archive in the form that uv downloads, and a list that names it.
struct Pythons {
    list: PathBuf,
    /// Directory with wheels of the packages that `--seed` installs.
    wheels: PathBuf,
}

impl Pythons {
    fn write(test: &TestDir) -> Self {
        // For this Python, `--seed` installs only pip.
        let source = TestDir::new(Account::Root, "uv-source");
        let unpacked = source.path("unpacked");
        Command::new(parts().path("programs/condense"))
            .args(["image", "extract"])
            .args([&source.build("python=3.13").image(), &unpacked])
            .run()
            .succeeded();
        let python = unpacked.join("python");
        fs_err::rename(unpacked.join("miniforge/envs/env1"), &python).unwrap();
        // The archive of this Python has no packages.
        for name in fs_err::read_dir(python.join("lib/python3.13/site-packages")).unwrap() {
            let path = name.unwrap().path();
            if path.is_dir() {
                fs_err::remove_dir_all(path).unwrap();
            }
        }
        let archive = test.path("python.tar.gz");
        Command::new("tar")
            .arg("-C")
            .arg(&unpacked)
            .args(["--use-compress-program=gzip -1", "-cf"])
            .arg(&archive)
            .arg("python")
            .run()
            .succeeded();
        let wheels = test.path("bundled");
        fs_err::create_dir(&wheels).unwrap();
        let bundled = python.join("lib/python3.13/ensurepip/_bundled");
        for wheel in fs_err::read_dir(bundled).unwrap() {
            let wheel = wheel.unwrap().path();
            fs_err::copy(&wheel, wheels.join(wheel.file_name().unwrap())).unwrap();
        }
        let version = Command::new(python.join("bin/python3"))
            .args(["-c", "import platform; print(platform.python_version())"])
            .run()
            .succeeded()
            .text();
        fs_err::remove_dir_all(unpacked).unwrap();
        let numbers: Vec<u32> = version
            .split('.')
            .map(|part| part.parse().unwrap())
            .collect();
        let list = json!({format!("cpython-{version}-linux-x86_64-gnu"): {
            "name": "cpython", "arch": {"family": "x86_64", "variant": null}, "os": "linux", "libc": "gnu",
            "major": numbers[0], "minor": numbers[1], "patch": numbers[2], "prerelease": "", "variant": null, "build": null,
            "url": format!("file://{}", archive.display()),
            "sha256": hex::encode(Sha256::digest(fs_err::read(&archive).unwrap())),
        }});
        Self {
            list: test.write("pythons.json", &list.to_string()),
            wheels,
        }
    }
}

fn build(test: &TestDir, pythons: &Pythons, words: &[&str]) -> CommandOutput {
    let mut command = test.command(parts().path("programs/condense"));
    command
        .args([
            "pip-containerize",
            "new",
            "--prefix",
            "installation",
            "--base-image",
        ])
        .arg(parts().base())
        .args(["--uv"])
        .args(words)
        .env("TMPDIR", test.scratch())
        .env("UV_PYTHON_DOWNLOADS_JSON_URL", &pythons.list)
        .env("PIP_NO_INDEX", "1")
        .env(
            "PIP_FIND_LINKS",
            format!(
                "{} {}",
                parts().wheels().display(),
                pythons.wheels.display()
            ),
        );
    with_uv(&mut command).run()
}

/// Puts uv on the PATH of a command.
fn with_uv(command: &mut Command) -> &mut Command {
    let path = format!("{}:/usr/bin:/bin", parts().path("uv").display());
    command.env("PATH", path)
}

/// Runs `update` of either command without an index.
fn update(test: &TestDir, program: &str, words: &[&str]) -> CommandOutput {
    let mut command = test.command(parts().path("programs/condense"));
    command
        .args([program, "update", "installation"])
        .args(words)
        .env("TMPDIR", test.scratch())
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels());
    with_uv(&mut command).run()
}

fn inside(test: &TestDir, account: Account, text: &str) -> CommandOutput {
    test.installation().python(account, text).run()
}

/// Statements 46 (whose words differ without an index) and 47 to 50 of the list of Tykky's tests.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn uv_brings_a_python_of_its_own_and_installs_with_its_own_words() {
    as_both(|account| {
        let test = TestDir::new(account, "uv-managed");
        let pythons = Pythons::write(&test);
        test.write("req.txt", "edge-pip-app\n");
        let said = build(&test, &pythons, &["--pyver", "3.13", "req.txt"]).succeeded();
        assert!(said.text().contains("Installing uv packages:"), "{said:?}");
        inside(
            &test,
            account,
            "import sys, edge_pip_app; print(sys.prefix != sys.base_prefix, sys.base_prefix.split('/')[-1].startswith('cpython-3.13'), edge_pip_app.__file__.startswith(sys.prefix))",
        )
        .says("True True True");
        // The interpreter is in the image, so a virtual environment on top needs the wrapper.
        let top = test.path("top");
        test.installation()
            .command(account, "python", ["-m", "venv", "--without-pip"])
            .arg(&top)
            .run()
            .succeeded();
        test.command(top.join("bin/python"))
            .args(["-c", "import sys; print(sys.prefix)"])
            .run()
            .says(&top.display().to_string());
        let info = test
            .command(parts().path("programs/condense"))
            .args(["info", "--json", "installation"])
            .run()
            .succeeded()
            .text();
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["interpreter"]["of"], "image", "{info}");
        test.left_nothing();
        if account == Account::Root {
            return;
        }
        // Scripts can use uv, as in the first build.
        test.write("post.sh", "uv pip install --no-index 'edge_pip_lib<1.1'\n");
        let said = update(&test, "pip-containerize", &["--post-install", "post.sh"]);
        assert!(said.succeeded().text().contains("Resolved 1 package in"));
        let text = "import edge_pip_lib as l, shutil, sys; print(l.VERSION, sys.prefix != sys.base_prefix, shutil.which('uv'))";
        inside(&test, account, text).says("1.0 True None");
    });
    let test = TestDir::new(Account::Root, "uv-typo");
    let pythons = Pythons::write(&test);
    test.write("req.txt", "edge-pip-apq\n");
    let said = build(&test, &pythons, &["--pyver", "3.13", "req.txt"]);
    assert_eq!(said.status, 1, "{said:?}");
    let text = format!("{}{}", said.text(), said.stderr);
    assert!(
        text.contains("edge-pip-apq was not found in the provided package locations"),
        "{said:?}"
    );
    assert!(!test.installation().dir.exists());
}

/// Statement 31 of the list of Tykky's tests: an update changes packages of uv with uv.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_update_of_a_conda_environment_says_uv_s_words() {
    let account = Account::Ordinary;
    let test = TestDir::new(account, "uv-update");
    test.write("first.txt", "edge_pip_lib<1.1\n");
    let mut command = test.new_command(
        &test.installation().dir,
        &test.environment("python=3.11, pip"),
    );
    command
        .args(["--mamba", "--uv", "-r", "first.txt"])
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels());
    with_uv(&mut command).run().succeeded();
    test.write("req.txt", "edge_pip_lib==1.1\n");
    let said = update(&test, "conda-containerize", &["-r", "req.txt"]).succeeded();
    assert!(said.text().contains("Resolved 1 package in"), "{said:?}");
    inside(&test, account, "import edge_pip_lib as l; print(l.VERSION)").says("1.1");
    test.left_nothing();
}
