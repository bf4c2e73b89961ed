//! Unusual Pythons and pips: Python 2.7, a Python without a GIL, and pips that cannot report what
//! they install. Also link scripts, which run in the way of conda.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    harness::{Account, CommandOutput, Installation, Run, TestDir, as_both, parts},
    support::channel::{Package, write_channel},
};

/// Writes an environment file with these channels, the one with the highest priority first. `pip`
/// has the lines for pip.
fn environment(test: &TestDir, channels: &[String], packages: &[&str], pip: &[&str]) -> PathBuf {
    let mut text = format!("channels: {channels:?}\ndependencies:\n");
    for package in packages {
        text.push_str(&format!("  - {package}\n"));
    }
    if !pip.is_empty() {
        text.push_str(&format!("  - pip: {pip:?}\n"));
    }
    test.write("env.yml", &text)
}

fn old_wheels() -> PathBuf {
    parts().path("old-channel/wheels")
}

fn build(test: &TestDir, file: &Path) -> CommandOutput {
    test.new_command(&test.installation().dir, file)
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", old_wheels())
        .run()
}

fn lock_of(installation: &Installation) -> String {
    fs_err::read_to_string(installation.dir.join("share/condense.lock")).unwrap()
}

fn digest_of(path: &Path) -> String {
    hex::encode(rattler_digest::compute_file_digest::<rattler_digest::Sha256>(path).unwrap())
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn python_2_is_compiled_and_knows_its_wrapper() {
    as_both(|account| {
        let test = TestDir::new(account, "python2");
        // The first package has a link script. The second one contains Python files without byte
        // code.
        let packages = [
            Package::new("scripted", "1.0").file("bin/.scripted-post-link.sh", "exit 0\n"),
            Package::new("sources", "1.0")
                .file("lib/python2.7/site-packages/plain.py", "X = 'plain'\n")
                .file("lib/python2.7/site-packages/new.py", "print(f'{1}')\n"),
        ];
        let own = write_channel(&test.path("own"), &packages);
        let file = environment(
            &test,
            &[own, parts().old_channel()],
            &["python=2.7", "pip=20.3.4", "scripted", "sources"],
            &["edge-old-app"],
        );
        build(&test, &file).succeeded();
        let installation = test.installation();
        let mut command = installation.command(Account::Ordinary, "edge-old-app", [""; 0]);
        command.run().says("1.1");
        // Python reads the existing byte code instead of compiling again at every start.
        let text = "import os, sys, marshal, struct, plain, edge_old_lib, json\n\
            for m in plain, edge_old_lib, json, os:\n  \
              c = m.__file__.rstrip('c') + 'c'\n  \
              t = struct.unpack('<L', open(c, 'rb').read(8)[4:])[0]\n  \
              assert t == int(os.stat(c[:-1]).st_mtime), c\n\
            print(sys.version_info[:2], sys.executable)";
        let python = installation.bin("python");
        let said = installation.python(Account::Ordinary, text).run();
        said.says(&format!("((2, 7), '{}')", python.display()));
        let script = test.write("script.py", "import sys\nprint(sys.executable)\n");
        let mut command = installation.command(Account::Ordinary, "python2", [&script]);
        command
            .run()
            .says(&installation.bin("python2").display().to_string());
        // Our own Python files that may run in Python 2 are valid in its syntax.
        for name in ["compile", "old_report", "pip_here", "wrapped_python"] {
            let source = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(format!("crates/prefix/src/steps/{name}.py"));
            let copy = test.write("helper.py", &fs_err::read_to_string(source).unwrap());
            let text = "import sys; compile(open(sys.argv[1]).read(), sys.argv[1], 'exec')";
            let mut command = installation.python(Account::Ordinary, text);
            command.arg(copy).run().succeeded();
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn python_2_gives_the_same_bytes_again() {
    let digests = ["one", "two"].map(|name| {
        let test = TestDir::new(Account::Root, name);
        let file = environment(
            &test,
            &[parts().old_channel()],
            &["python=2.7", "pip=20.3.4"],
            &["edge-old-app"],
        );
        build(&test, &file).succeeded();
        digest_of(&test.installation().image())
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn pips_of_all_ages_install_and_are_locked() {
    for (python, pip) in [
        ("2.7", "19.1.1"),
        ("2.7", "20.3.4"),
        ("3.11", "21.3.1"),
        ("3.11", "22.3.1"),
        ("3.11", "23.0.1"),
    ] {
        let test = TestDir::new(Account::Ordinary, "old-pip");
        let channels = [parts().old_channel(), parts().channel()];
        let packages = [&*format!("python={python}"), &format!("pip={pip}")];
        let file = environment(&test, &channels, &packages, &["edge-old-app"]);
        let said = build(&test, &file).succeeded().text();
        assert!(!said.contains("lines for pip open"), "pip {pip}: {said}");
        let installation = test.installation();
        let mut command = installation.command(Account::Ordinary, "edge-old-app", [""; 0]);
        command.run().says("1.1");
        let lock = lock_of(&installation);
        for wheel in ["edge_old_app-1.0", "edge_old_lib-1.1"] {
            let wheel = old_wheels().join(format!("{wheel}-py2.py3-none-any.whl"));
            let digest = digest_of(&wheel);
            assert!(
                lock.contains(&digest),
                "pip {pip}: {wheel:?} is not in {lock}"
            );
        }
        // A build from the lock uses the same pip.
        let mut command = test.program(["new", "--prefix"]);
        command
            .arg(test.path("again"))
            .arg("--base-image")
            .arg(parts().base())
            .arg("--lock")
            .arg(installation.dir.join("share/condense.lock"));
        command.run().succeeded();
        let again = Installation {
            dir: test.path("again"),
        };
        assert_eq!(lock_of(&again), lock, "pip {pip}");
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_old_pips_cannot_say_stays_open_in_locks() {
    let test = TestDir::new(Account::Ordinary, "old-lock");
    let channels = [parts().old_channel(), parts().channel()];
    let packages = ["python=3.11", "pip=21.3.1"];
    let file = environment(&test, &channels, &packages, &["edge-old-app"]);
    let mut command = test.command(parts().path("programs/condense"));
    command
        .args(["lock", "--base-image"])
        .arg(parts().base())
        .arg(&file)
        .env("TMPDIR", test.scratch())
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", old_wheels());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("the lock leaves the lines for pip open: pip 21.3.1 cannot say"),
        "{said}"
    );
    let lock = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(lock.contains("unlocked:\n  - edge-old-app\n"), "{lock}");
    test.left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_update_with_an_old_pip_unpacks_the_environment() {
    for (python, pip) in [("2.7", "20.3.4"), ("3.11", "21.3.1"), ("3.11", "22.3.1")] {
        let test = TestDir::new(Account::Ordinary, "old-update");
        let channels = [parts().old_channel(), parts().channel()];
        let packages = [&*format!("python={python}"), &format!("pip={pip}")];
        let file = environment(&test, &channels, &packages, &["edge-old-lib<1.1"]);
        build(&test, &file).succeeded();
        let requirements = test.write("more.txt", "edge-old-app\nedge-old-lib\n");
        let mut command = test.program(["update", "installation", "-r"]);
        command
            .arg(&requirements)
            .env("PIP_NO_INDEX", "1")
            .env("PIP_UPGRADE", "1")
            .env("PIP_FIND_LINKS", old_wheels());
        let said = command.run().succeeded().text();
        let is_whole = said.contains("says what it would install, as 22.2 and newer do");
        assert_eq!(is_whole, pip != "22.3.1", "pip {pip}: {said}");
        let installation = test.installation();
        let mut command = installation.command(Account::Ordinary, "edge-old-app", [""; 0]);
        command.run().says("1.1");
        let lock = lock_of(&installation);
        assert!(lock.contains("edge_old_lib-1.1"), "pip {pip}: {lock}");
        assert!(!lock.contains("edge_old_lib-1.0"), "pip {pip}: {lock}");
    }
}

/// Writes a channel with a CPython whose library directory has the name that Pythons without a GIL
/// use. `bin/python3.13` is a script that starts the real program in `libexec`.
fn write_free_threaded(test: &TestDir) -> String {
    let source = TestDir::new(Account::Root, "free-threaded-source");
    let unpacked = source.path("unpacked");
    Command::new(parts().path("programs/condense"))
        .args(["image", "extract"])
        .args([&source.build("python=3.13").image(), &unpacked])
        .run()
        .succeeded();
    let prefix = unpacked.join("miniforge/envs/env1");
    let mut package = Package::new("python", "3.13.0")
        .site_packages("lib/python3.13t/site-packages")
        .link("libexec/lib/python3.13", "../../lib/python3.13t")
        .program(
            "bin/python3.13",
            "#!/bin/sh\nexec \"$(dirname \"$(readlink -f \"$0\")\")/../libexec/bin/python3.13\" \"$@\"\n",
        );
    let mut pending = vec![PathBuf::from("lib"), PathBuf::from("bin")];
    while let Some(below) = pending.pop() {
        let path = prefix.join(&below);
        let metadata = fs_err::symlink_metadata(&path).unwrap();
        let name = below.to_str().unwrap();
        if metadata.is_dir() {
            let entries = fs_err::read_dir(&path).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name());
            pending.extend(names.map(|name| below.join(name)));
        } else if metadata.is_symlink() {
            let target = fs_err::read_link(&path).unwrap();
            package = package.link(name, target.to_str().unwrap());
        } else if !name.ends_with(".pth") && !name.ends_with(".pyc") {
            let bytes = fs_err::read(&path).unwrap();
            let to = name.replace("lib/python3.13/", "lib/python3.13t/");
            package = match name {
                "bin/python3.13" => package.program("libexec/bin/python3.13", bytes),
                _ if metadata.permissions().mode() & 0o111 != 0 => package.program(&to, bytes),
                _ => package.file(&to, bytes),
            };
            if name.starts_with("lib/libpython") {
                let to = format!("libexec/{name}");
                package = package.file(&to, fs_err::read(&path).unwrap());
            }
        }
    }
    write_channel(&test.path("own"), &[package])
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_python_without_a_gil_keeps_things_where_its_record_says() {
    let test = TestDir::new(Account::Root, "free-threaded");
    let own = write_free_threaded(&test);
    let file = environment(
        &test,
        &[own, parts().channel()],
        &["python=3.13", "pip", "edge-noarch-python"],
        &["edge-old-app"],
    );
    build(&test, &file).succeeded();
    let installation = test.installation();
    let library = format!("{}/lib/python3.13t", installation.env_prefix());
    let text = "import os, edge_noarch, edge_old_lib\n\
        print(os.path.realpath(os.path.dirname(edge_old_lib.__file__)))\n\
        print(all(os.path.exists(m.__cached__) for m in (edge_noarch, edge_old_lib)))";
    installation
        .python(Account::Ordinary, text)
        .run()
        .says(&format!("{library}/site-packages\nTrue"));
    let listing = Command::new(parts().path("programs/condense"))
        .args(["image", "ls"])
        .arg(installation.image())
        .run()
        .succeeded()
        .text();
    let own = "lib/python3.13t/site-packages/_condense_executable.pth";
    assert!(listing.contains(own), "{own} is not in the image");
    assert!(!listing.contains("lib/python3.13/site-packages"));
    let mut command = installation.command(Account::Ordinary, "list-packages", [""; 0]);
    let listed = command.run().succeeded().text();
    assert!(listed.contains("edge-old-lib"), "{listed}");
    let lock = lock_of(&installation);
    for words in [
        "edge_old_lib-1.1",
        "python_site_packages_path: lib/python3.13t/",
    ] {
        assert!(lock.contains(words), "{words} is not in {lock}");
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn link_scripts_are_sourced_in_the_activated_environment() {
    as_both(|account| {
        let test = TestDir::new(account, "post-link");
        let packages = [
            Package::new("returns", "1.0").file(
                "bin/.returns-post-link.sh",
                "touch \"$PREFIX/share/returned\"\nreturn 0\nexit 7\n",
            )
            .file("share/x", ""),
            Package::new("vars", "1.0").file(
                "etc/conda/activate.d/it is.sh",
                "export VARS_HOME=\"$CONDA_PREFIX/share/vars\"\n",
            ),
            // The link script of one package makes what the script of the next one needs.
            Package::new("makes", "1.0").depends("vars").file(
                "bin/.makes-post-link.sh",
                "echo \"export MADE='a b'\" >\"$PREFIX/etc/conda/activate.d/made.sh\"\n",
            ),
            Package::new("wants", "1.0").depends("makes").file(
                "bin/.wants-post-link.sh",
                "[ \"$VARS_HOME\" = \"$PREFIX/share/vars\" ] && [ \"$MADE\" = 'a b' ] && [ $# = 0 ] &&\n\
                 [ \"$PWD\" = \"$PREFIX/bin\" ] && [ \"$ROOT_PREFIX/envs/env1\" = \"$PREFIX\" ] || exit 3\n",
            ),
        ];
        let own = write_channel(&test.path("own"), &packages);
        let file = environment(&test, &[own], &["returns", "wants"], &[]);
        build(&test, &file).succeeded();
        let installation = test.installation();
        let file = format!("{}/share/returned", installation.env_prefix());
        let mut command = installation.command(account, "_debug_exec", ["test", "-e", &file]);
        command.run().succeeded();
    });
}
