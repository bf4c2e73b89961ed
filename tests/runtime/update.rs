//! Tests of `update` of both commands: a new generation beside the old one, whose cost depends on
//! the change only. Numbers are those of the statements in the list of Tykky's own tests.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::harness::{
    Account, CommandOutput, Installation, Run, TestDir, Tykky, about_own_lines, as_both, finish,
    parts, start_until_ready,
};

/// Program that is not in `bin`.
const TOOL: &str = "miniforge/envs/env1/lib/python3.11/ctypes/macholib/fetch_macholib";

/// Message that the environment must be unpacked.
const WHOLE: &str = "The installed environment is unpacked first: ";

fn update_command(test: &TestDir, words: &[&str]) -> Command {
    let mut command = test.program(["update"]);
    with_wheels(command.args(words).arg("installation"));
    command
}

fn with_wheels(command: &mut Command) -> &mut Command {
    command
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
}

fn update(test: &TestDir, words: &[&str]) -> CommandOutput {
    update_command(test, words).run()
}

fn condense(test: &TestDir, words: &[&str]) -> CommandOutput {
    let mut command = test.command(parts().path("programs/condense"));
    command.args(words).arg("installation").run()
}

fn share(installation: &Installation, name: &str) -> String {
    fs_err::read_to_string(installation.dir.join("share").join(name)).unwrap()
}

fn generation(installation: &Installation) -> u64 {
    installation.receipt()["generation"].as_u64().unwrap()
}

/// Python program that imports a module when it reads a line.
const JOB: &str = "import sys
print('ready', flush=True)
sys.stdin.readline()
assert 'mailbox' not in sys.modules and 'edge_pip_lib' not in sys.modules
import mailbox, wsgiref.handlers, edge_pip_lib
print(edge_pip_lib.VERSION)";

fn start(account: Account, installation: &Installation) -> Child {
    start_until_ready(&mut installation.python(account, JOB))
}

/// Statements B1 and B8 of Tykky's list: a running job keeps its image over two updates, and
/// options and inputs stay.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn wheels_are_put_onto_the_old_image_and_a_job_keeps_its_own() {
    as_both(|account| {
        let test = TestDir::new(account, "update-wheels");
        let installation = test.installation();
        test.write("first.txt", "edge_pip_lib<1.1\n");
        test.write("hook.sh", "export SAID_BY_HOOK=hook\n");
        let environment = test.environment("python=3.11, pip");
        let mut new = test.new_command(&installation.dir, &environment);
        new.args(["-r", "first.txt", "--environ", "hook.sh", "--nocache"])
            .args(["-w", TOOL]);
        with_wheels(&mut new).run().succeeded();
        let mount_point = installation.mount_point();
        let job = start(account, &installation);

        // The lines that the user has added at the end of common.sh stay.
        let common = installation.dir.join("common.sh");
        let text = fs_err::read_to_string(&common).unwrap();
        fs_err::write(&common, format!("{text}export BY_HAND=\"a b\"\n")).unwrap();
        test.write("second.txt", "edge_pip_lib==1.1\nedge_pip_app\n");
        let said = update(&test, &["-r", "second.txt"]).succeeded().text();
        assert!(!said.contains(WHOLE), "{said}");
        installation
            .python(
                account,
                "import glob, os, sys, importlib.metadata as m; print(m.version('edge-pip-lib'), os.environ['SAID_BY_HOOK'], os.environ['BY_HAND'], os.environ['CONDA_DEFAULT_ENV'], len(glob.glob(sys.prefix + '/lib/python3.11/site-packages/edge_pip_lib-*')), os.path.exists(__import__('edge_pip_app').__cached__))",
            )
            .run()
            .says("1.1 hook a b env1 1 True");
        installation
            .command(account, "edge-pip-app", [""; 0])
            .run()
            .says("edge-pip-app 1.0 with edge-pip-lib 1.1");
        let listed = installation
            .command(account, "list-packages", [""; 0])
            .run()
            .succeeded()
            .text();
        for words in ["edge-pip-app", "edge-pip-lib", " pip ", "python "] {
            let there = listed.replace("\npip ", "\n pip ").contains(words);
            assert!(there, "`{words}` is not in {listed}");
        }
        let lock = share(&installation, "condense.lock");
        let wheel = |name: &str| lock.matches(&format!("{name}-py3-none-any.whl\n")).count();
        assert_eq!(
            [wheel("edge_pip_lib-1.0"), wheel("edge_pip_app-1.0")].map(|count| count > 0),
            [false, true],
            "{lock}"
        );
        assert_eq!(
            share(&installation, "previous_input/1/first.txt"),
            "edge_pip_lib<1.1\n"
        );

        // The update installs nothing: only settings of the wrappers change.
        test.write("other.sh", "export SAID_BY_HOOK=other\n");
        let said = update(&test, &["--environ", "other.sh"]).succeeded().text();
        assert!(!said.contains("give way"), "{said}");
        installation
            .python(
                account,
                "import os; print(os.environ['SAID_BY_HOOK'], os.environ['BY_HAND'])",
            )
            .run()
            .says("other a b");
        assert!(share(&installation, "previous_input/2/second.txt").contains("edge_pip_app"));
        assert!(installation.bin("fetch_macholib").exists());
        let receipt = installation.receipt();
        assert_eq!(receipt["remembered"]["no-cache"], true);
        assert_eq!(
            (generation(&installation), installation.mount_point()),
            (3, mount_point)
        );
        condense(&test, &["verify"]).succeeded();

        let mut job = job;
        job.stdin.take().unwrap().write_all(b"\n").unwrap();
        finish(job).says("1.0");
        test.left_nothing();
        condense(&test, &["rollback", "--to", "1"]).succeeded();
        installation
            .python(account, "import edge_pip_lib as l; print(l.VERSION)")
            .run()
            .says("1.0");
    });
}

/// Statements 27 and 28 of the list of Tykky's tests: a script in an update. The packages that
/// conda installs there, and those that uv installed before, stay in the lock.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_script_changes_the_unpacked_environment() {
    let account = Account::Ordinary;
    let test = TestDir::new(account, "update-script");
    let installation = test.build("python=3.11, pip, edge-activate");
    test.write(
        "pre.sh",
        "export FIRST=1\n[ -x \"$env_root/bin/python\" ]\n",
    );
    test.write(
        "post.sh",
        "[ \"$FIRST\" ]\npip install edge_pip_lib\nconda install -y click\n",
    );
    let said = update(&test, &["--pre=pre.sh", "--post", "post.sh"])
        .succeeded()
        .text();
    let words = format!("{WHOLE}`pre.sh` runs in it");
    assert!(said.contains(&words), "`{words}` is not in {said}");
    let text = "import click, os, edge_pip_lib; print(edge_pip_lib.VERSION)";
    installation.python(account, text).run().says("1.1");
    for (name, words) in [
        (
            "condense.lock",
            &["/click-", "edge-pip-lib==1.1", "post-install "][..],
        ),
        ("previous_input/2/post.sh", &["conda install"]),
    ] {
        let text = share(&installation, name);
        for word in words {
            assert!(text.contains(word), "`{word}` is not in {text}");
        }
    }
    condense(&test, &["verify"]).succeeded();
    // The scripts of the earlier generation are inputs of the next one, whose pip sees the packages
    // that they installed.
    test.write("req.txt", "edge_pip_app\n");
    let said = update(&test, &["-r", "req.txt"]).succeeded().text();
    for word in [
        "already satisfied: edge-pip-lib>=1.0",
        "Successfully installed edge_pip_app-1.0\n",
    ] {
        assert!(!said.contains(WHOLE) && said.contains(word), "{said}");
    }
    assert!(share(&installation, "condense.lock").contains("post-install "));
    installation
        .python(account, "import edge_pip_app, click")
        .run()
        .succeeded();
    let conda = installation.command(account, "python", ["-c", "import subprocess as s; print(s.run(['conda', 'list'], capture_output=True, text=True).stdout)"]);
    let listed = { conda }.run().succeeded().text();
    for name in ["edge-pip-app", "edge-pip-lib", "click"] {
        assert!(listed.contains(name), "`{name}` is not in {listed}");
    }
    test.left_nothing();
}

/// Program that writes a wheel which needs click.
const WHEEL: &str = "import os, zipfile
os.chdir(os.path.dirname(__file__))
name = 'edge_needs_click-1.0'
with zipfile.ZipFile(name + '-py3-none-any.whl', 'w') as wheel:
    wheel.writestr('edge_needs_click.py', '')
    info = name + '.dist-info/'
    text = 'Metadata-Version: 2.1\\nName: edge-needs-click\\nVersion: 1.0\\nRequires-Dist: click\\n'
    wheel.writestr(info + 'METADATA', text)
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    names = ['edge_needs_click.py', info + 'METADATA', info + 'WHEEL', info + 'RECORD']
    wheel.writestr(info + 'RECORD', ''.join(name + ',,\\n' for name in names))
";

/// Conda packages are linked and compiled beside the old image, which stays as it is: the result
/// has the files of a fresh build of its lock. What a wheel needs is not removed.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn conda_packages_are_put_onto_the_old_image() {
    let account = Account::Ordinary;
    let test = TestDir::new(account, "update-conda");
    let installation = test.build("python=3.11, pip, click");
    let before = installation.receipt();
    let change = |words: &[&str]| {
        let mut command = test.program(["update", "installation"]);
        with_wheels(command.args(words)).run()
    };
    for (words, import, whole) in [
        (&["flask", "markupsafe"][..], "flask, markupsafe", None),
        (
            &["edge-activate"],
            "flask",
            Some("takes part in its activation"),
        ),
        (&["--remove", "flask"], "click", None),
    ] {
        let said = change(words).succeeded().text();
        assert_eq!(said.contains(WHOLE), whole.is_some(), "{said}");
        assert!(whole.is_none_or(|whole| said.contains(whole)), "{said}");
        installation
            .python(account, &format!("import {import}; print(1)"))
            .run()
            .says("1");
    }
    let after = installation.receipt();
    for key in ["mount_point", "base"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    let fresh = test.path("fresh");
    test.program(["new", "--prefix"])
        .arg(&fresh)
        .arg("--base-image")
        .arg(parts().base())
        .arg("--lock")
        .arg(installation.dir.join("share/condense.lock"))
        .run()
        .succeeded();
    let paths = |image: &Path| -> Vec<String> {
        let reader = std::sync::Arc::new(condense_image::Reader::open(image).unwrap());
        let tree = condense_image::Tree::from_image(&reader).unwrap();
        let paths = tree
            .walk()
            .map(|(path, entry)| format!("{:o} {}", entry.mode, path.display()));
        paths.collect()
    };
    let (ours, theirs) = (paths(&installation.image()), paths(&fresh.join("img.sqfs")));
    let differ = |one: &[String], other: &[String]| -> Vec<String> {
        one.iter()
            .filter(|path| !other.contains(path))
            .cloned()
            .collect()
    };
    assert_eq!(differ(&ours, &theirs), [""; 0], "only in the update");
    assert_eq!(differ(&theirs, &ours), [""; 0], "only in the fresh build");
    let program = test.write("wheel.py", WHEEL);
    installation
        .command(account, "python", [program])
        .run()
        .succeeded();
    test.write("req.txt", "./edge_needs_click-1.0-py3-none-any.whl\n");
    change(&["-r", "req.txt"]).succeeded();
    let told = "`click` cannot be removed: `edge-needs-click`, which pip has installed, needs it";
    change(&["--remove", "click"]).failed(1, &[told, "--remove edge-needs-click --remove click"]);
    test.left_nothing();
}

/// A package of pip gives way to conda's of the same name, also where both have the same files.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_package_of_conda_takes_the_place_of_pip_s() {
    let account = Account::Ordinary;
    let test = TestDir::new(account, "update-instead");
    let installation = test.build("python=3.11, pip");
    let wheel = WHEEL
        .replace("edge_needs_click-1.0", "click-8.5.1")
        .replace("edge_needs_click.py", "click/__init__.py")
        .replace("edge-needs-click\\nVersion: 1.0", "click\\nVersion: 8.5.1")
        .replace("Requires-Dist: click\\n", "");
    let program = test.write("wheel.py", &wheel);
    let mut python = installation.command(account, "python", [program]);
    python.run().succeeded();
    let wheel = test.path("click-8.5.1-py3-none-any.whl");
    test.write("req.txt", &format!("click @ file://{}\n", wheel.display()));
    let change = |words: &[&str]| {
        let mut command = test.program(["update", "installation"]);
        with_wheels(command.args(words)).run()
    };
    change(&["-r", "req.txt"]).succeeded();
    let has_commands = || {
        let text = "import click, importlib.metadata as m; print(hasattr(click, 'command'), len(m.files('click')) > 9)";
        installation.python(account, text).run()
    };
    has_commands().says("False False");
    let words = ["click", "--remove", "click"];
    let said = change(&[&words[..], &["--dry-run"]].concat()).succeeded();
    assert!(
        said.stdout.contains("remove click, add click-8.5.1"),
        "{said:?}"
    );
    change(&words).succeeded();
    has_commands().says("True True");
    let lock = fs_err::read_to_string(installation.dir.join("share/condense.lock")).unwrap();
    assert!(!lock.contains("click-8.5.1-py3-none-any.whl"), "{lock}");
    for dry in [&["--dry-run"][..], &[]] {
        let words = [&words[..], dry].concat();
        change(&words).failed_on_either_stream(1, &["`click` is to be there"]);
    }
    test.left_nothing();
}

/// Sources are built against the old image, with the variables of its activation. A build that
/// wants to write into the environment unpacks it first: one line says so.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn sources_are_built_against_the_old_image() {
    let test = TestDir::new(Account::Ordinary, "update-sources");
    let installation = test.build("python=3.11, pip, setuptools, wheel, click, edge-activate");
    let update = |name: &str, line: &str| {
        let project = test.make_dir(name);
        let module = name.replace('-', "_");
        test.write(
            &format!("{name}/setup.py"),
            &format!(
                "import os, sys\nfrom setuptools import setup\n{line}\nsetup(name='{name}', version='1.0', py_modules=['{module}'])\n"
            ),
        );
        test.write(
            "req.txt",
            &format!("{name} @ file://{}\n", project.display()),
        );
        let said = update_command(&test, &["-r", "req.txt"])
            .env("PIP_NO_BUILD_ISOLATION", "0")
            .run()
            .succeeded()
            .text();
        test.left_nothing();
        assert!(!said.contains("ERROR"), "{said}");
        said
    };
    let value = "seen = os.environ['EDGE_VALUE'], os.environ['TMPDIR']\n\
                 open('edge_mine.py', 'w').write('VALUE = %r' % ' '.join(seen))";
    let said = update("edge-mine", value);
    assert!(!said.contains(WHOLE), "{said}");
    let writes = "open('edge_writes.py', 'w'); open(sys.prefix + '/written', 'a').close()";
    let said = update("edge-writes", writes);
    let reason = "building `edge-writes` fails where the environment cannot be written";
    assert!(said.contains(&format!("{WHOLE}{reason}")), "{said}");
    let lock = share(&installation, "condense.lock");
    assert!(
        lock.contains("edge-mine") && lock.contains("edge-writes"),
        "{lock}"
    );
    let text = "import edge_mine, edge_writes, os, sys; print(edge_mine.VALUE, \
                os.path.exists(edge_mine.__cached__), os.path.exists(sys.prefix + '/written'))";
    installation
        .python(Account::Root, text)
        .run()
        .says("set by edge-activate /.condense-build/tmp True True");
}

/// Statements 10, 13 and 16 of the list of Tykky's tests, for an update: a failed or killed update
/// changes nothing, and only one update runs at a time.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_fails_or_is_killed_changes_nothing() {
    let test = TestDir::new(Account::Ordinary, "update-killed");
    let installation = test.build("python=3.11, pip");
    let image = fs_err::read(installation.image()).unwrap();
    let unchanged = || {
        assert_eq!(generation(&installation), 1);
        assert!(fs_err::read(installation.image()).unwrap() == image);
        installation
            .python(Account::Ordinary, "print(1)")
            .run()
            .says("1");
    };
    test.write("none.txt", "edge-pip-nothing\n");
    test.write("bad.sh", "echo so far\nfalse\n");
    for (words, said) in [
        (["-r", "none.txt"], "there is no `edge-pip-nothing` in"),
        (["--post", "bad.sh"], "`false` failed with exit status 1"),
        (
            ["-r", "missing.txt"],
            "Requirements file missing.txt does not exist",
        ),
        (
            ["-w", "no/such/program"],
            "there is no program at `no/such/program`",
        ),
    ] {
        update(&test, &words).failed_on_either_stream(1, &["[ ERROR ]", said]);
        unchanged();
        test.left_nothing();
    }

    test.write("waits.sh", "echo waiting\nsleep 100\n");
    let mut command = update_command(&test, &["--post", "waits.sh"]);
    let mut first = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(first.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("] waiting") {
        assert!(said.read_line(&mut text).unwrap() > 0, "{text}");
    }
    let busy =
        update(&test, &["-r", "none.txt"]).failed_on_either_stream(1, &["[ ERROR ]", "lock"]);
    assert_eq!(busy.text().matches("[ ERROR ]").count(), 1, "{busy:?}");
    kill_process_group(Pid::from_child(&first), Signal::KILL).unwrap();
    first.wait().unwrap();
    said.read_to_string(&mut text).unwrap();
    unchanged();
    test.empty_scratch();
    test.write("req.txt", "edge_pip_lib\n");
    update(&test, &["-r", "req.txt"]).succeeded();
    assert_eq!(generation(&installation), 2);
    let names = crate::harness::names(&installation.dir.join(".condense"));
    assert!(
        !names
            .iter()
            .any(|name| Path::new(name).extension().is_some()),
        "{names:?}"
    );
}

/// Statement 120 of the list of Tykky's tests: an installation of Tykky is read, taken over, and
/// restored.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn installations_of_tykky_s_are_carried_over() {
    for (account, conda_root, version) in [
        (Account::Ordinary, "miniforge", "v0.4.2"),
        (Account::Root, "miniconda", "v0.3.2"),
    ] {
        let test = TestDir::new(account, "update-tykky");
        let installation = Tykky {
            conda_root: Some(conda_root),
            version,
            container: "container.sif",
        }
        .take_over(&test, &test.build("python=3.11, pip"));
        let image = fs_err::read(installation.image()).unwrap();
        let said = condense(&test, &["info"]).succeeded().text();
        for words in [
            format!("by Tykky {version}"),
            "mode: conda".to_owned(),
            "docker://x".to_owned(),
        ] {
            assert!(said.contains(&words), "`{words}` is not in {said}");
        }
        test.write("none.txt", "edge-pip-nothing\n");
        update(&test, &["-r", "none.txt"])
            .failed_on_either_stream(1, &["there is no `edge-pip-nothing` in"]);
        let left = installation.dir.join(".condense");
        assert!(!left.exists(), "{:?}", crate::harness::names(&left));
        let text = "import sys; print('ready', flush=True); sys.stdin.readline(); import mailbox; print(sys.prefix)";
        let mut job = installation.python(account, text);
        let mut job = job
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 6];
        job.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();

        test.write("req.txt", "edge_pip_lib<1.1\n");
        let said = update(&test, &["-r", "req.txt"]).succeeded().text();
        for words in [
            WHOLE,
            "Your own lines in Tykky's `common.sh`, from line 9, are carried over",
            "[ WARNING ] line 12 of Tykky's `common.sh` asks for `_DIRS`",
        ] {
            assert!(said.contains(words), "`{words}` is not in {said}");
        }
        let prefix = installation.env_prefix();
        let hooked = || {
            let own_lines = installation
                .python(account, &about_own_lines(&installation))
                .run();
            own_lines.says(&format!("from {prefix} True"));
        };
        hooked();
        let text =
            "import edge_pip_lib, os; print(edge_pip_lib.VERSION, os.environ['CONDA_DEFAULT_ENV'])";
        installation.python(account, text).run().says("1.0 env1");
        condense(&test, &["verify"]).succeeded();
        let lock = share(&installation, "condense.lock");
        assert!(
            lock.contains("/python-3.11") && lock.contains("edge_pip_lib-1.0-"),
            "{lock}"
        );
        assert!(share(&installation, "previous_input/0/env.yml").contains("python"));
        test.write("more.txt", "edge_pip_lib==1.1\n");
        let said = update(&test, &["-r", "more.txt"]).succeeded().text();
        assert!(!said.contains(WHOLE), "{said}");
        installation.python(account, text).run().says("1.1 env1");
        hooked();

        job.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(prefix.contains(conda_root));
        finish(job).says(&prefix);
        // The wrappers of Tykky find their own files.
        condense(&test, &["rollback", "--to", "1"]).succeeded();
        assert!(fs_err::read(installation.image()).unwrap() == image);
        let text = "import importlib.util as u; print(u.find_spec('edge_pip_lib'))";
        installation.python(account, text).run().says("None");
        let said = condense(&test, &["info"]).succeeded().text();
        assert!(said.contains(&format!("by Tykky {version}")), "{said}");
        condense(&test, &["verify"])
            .failed_on_either_stream(1, &["was made by Tykky, which keeps no digests"]);
        test.left_nothing();
    }
}
