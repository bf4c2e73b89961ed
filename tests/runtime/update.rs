//! `update` of both commands: a new generation beside the old one, at the cost of what changes;
//! numbers are those of Tykky's own tests.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::harness::{
    Account, Ended, Installation, Room, Run, Tykky, about_own_lines, as_both, finish, stage,
    start_until_ready,
};

/// A program that is not in `bin`.
const TOOL: &str = "miniforge/envs/env1/lib/python3.11/ctypes/macholib/fetch_macholib";

/// Says that the environment must be unpacked.
const WHOLE: &str = "The installed environment is unpacked first: ";

fn update_command(room: &Room, words: &[&str]) -> Command {
    let mut command = room.program(["update"]);
    with_wheels(command.args(words).arg("installation"));
    command
}

fn with_wheels(command: &mut Command) -> &mut Command {
    command
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", stage().wheels())
}

fn update(room: &Room, words: &[&str]) -> Ended {
    update_command(room, words).run()
}

fn condense(room: &Room, words: &[&str]) -> Ended {
    let mut command = room.command(stage().path("programs/condense"));
    command.args(words).arg("installation").run()
}

fn share(installation: &Installation, name: &str) -> String {
    fs_err::read_to_string(installation.dir.join("share").join(name)).unwrap()
}

fn generation(installation: &Installation) -> u64 {
    installation.receipt()["generation"].as_u64().unwrap()
}

/// Imports nothing until it is told to.
const JOB: &str = "import sys
print('ready', flush=True)
sys.stdin.readline()
assert 'mailbox' not in sys.modules and 'edge_pip_lib' not in sys.modules
import mailbox, wsgiref.handlers, edge_pip_lib
print(edge_pip_lib.VERSION)";

fn start(account: Account, installation: &Installation) -> Child {
    start_until_ready(&mut installation.python(account, JOB))
}

/// B1 and B8 of Tykky: what runs keeps its image over two updates, options and inputs stay.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn wheels_are_put_onto_the_old_image_and_a_job_keeps_its_own() {
    as_both(|account| {
        let room = Room::new(account, "update-wheels");
        let installation = room.installation();
        room.write("first.txt", "edge_pip_lib<1.1\n");
        room.write("hook.sh", "export SAID_BY_HOOK=hook\n");
        let environment = room.environment("python=3.11, pip");
        let mut new = room.new_command(&installation.dir, &environment);
        new.args(["-r", "first.txt", "--environ", "hook.sh", "--nocache"])
            .args(["-w", TOOL]);
        with_wheels(&mut new).run().succeeded();
        let mount_point = installation.mount_point();
        let job = start(account, &installation);

        // With what the user has written there by hand, at its end.
        let common = installation.dir.join("common.sh");
        let text = fs_err::read_to_string(&common).unwrap();
        fs_err::write(&common, format!("{text}export BY_HAND=\"a b\"\n")).unwrap();
        room.write("second.txt", "edge_pip_lib==1.1\nedge_pip_app\n");
        let said = update(&room, &["-r", "second.txt"]).succeeded().text();
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

        // Nothing to install: only what wrappers know changes.
        room.write("other.sh", "export SAID_BY_HOOK=other\n");
        let said = update(&room, &["--environ", "other.sh"]).succeeded().text();
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
        condense(&room, &["verify"]).succeeded();

        let mut job = job;
        job.stdin.take().unwrap().write_all(b"\n").unwrap();
        finish(job).says("1.0");
        room.left_nothing();
        condense(&room, &["rollback", "--to", "1"]).succeeded();
        installation
            .python(account, "import edge_pip_lib as l; print(l.VERSION)")
            .run()
            .says("1.0");
    });
}

/// 27, 28: a script in an update; what conda installs there, and what uv did before, stays known.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_script_changes_the_unpacked_environment() {
    let account = Account::Ordinary;
    let room = Room::new(account, "update-script");
    let installation = room.build("python=3.11, pip, edge-activate");
    room.write(
        "pre.sh",
        "export FIRST=1\n[ -x \"$env_root/bin/python\" ]\n",
    );
    room.write(
        "post.sh",
        "[ \"$FIRST\" ]\npip install edge_pip_lib\nconda install -y click\n",
    );
    let said = update(&room, &["--pre=pre.sh", "--post", "post.sh"])
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
    condense(&room, &["verify"]).succeeded();
    // The scripts of before are part of what the next generation was made of; its pip sees what
    // they have installed.
    room.write("req.txt", "edge_pip_app\n");
    let said = update(&room, &["-r", "req.txt"]).succeeded().text();
    assert!(
        !said.contains(WHOLE) && said.contains("Would install edge-pip-app-1.0\n"),
        "{said}"
    );
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
    room.left_nothing();
}

/// What cannot be done without the environment itself is said in one line, and done.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_is_no_plain_wheel_unpacks_first() {
    let room = Room::new(Account::Ordinary, "update-whole");
    let installation = room.build("python=3.11, pip, setuptools, wheel, click");
    let project = room.make_dir("edge-mine");
    room.write(
        "edge-mine/setup.py",
        "from setuptools import setup\nsetup(name='edge-mine', version='1.0', py_modules=['edge_mine'])\n",
    );
    room.write("edge-mine/edge_mine.py", "ANSWER = 42\n");
    room.write(
        "req.txt",
        &format!("edge-mine @ file://{}\n", project.display()),
    );
    let said = update_command(&room, &["-r", "req.txt"])
        .env("PIP_NO_BUILD_ISOLATION", "0")
        .run()
        .succeeded()
        .text();
    assert!(
        said.contains(WHOLE) && said.contains("has to be built"),
        "{said}"
    );
    installation
        .python(Account::Root, "import edge_mine; print(edge_mine.ANSWER)")
        .run()
        .says("42");
    room.left_nothing();
}

/// 10, 13, 16 for an update: what fails or is killed changes nothing, and one at a time.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_fails_or_is_killed_changes_nothing() {
    let room = Room::new(Account::Ordinary, "update-killed");
    let installation = room.build("python=3.11, pip");
    let image = fs_err::read(installation.image()).unwrap();
    let unchanged = || {
        assert_eq!(generation(&installation), 1);
        assert!(fs_err::read(installation.image()).unwrap() == image);
        installation
            .python(Account::Ordinary, "print(1)")
            .run()
            .says("1");
    };
    room.write("none.txt", "edge-pip-nothing\n");
    room.write("bad.sh", "echo so far\nfalse\n");
    for (words, said) in [
        (["-r", "none.txt"], "No matching distribution"),
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
        update(&room, &words).failed(1, &["[ ERROR ]", said]);
        unchanged();
        room.left_nothing();
    }

    room.write("waits.sh", "echo waiting\nsleep 100\n");
    let mut command = update_command(&room, &["--post", "waits.sh"]);
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
    let busy = update(&room, &["-r", "none.txt"]).failed(1, &["[ ERROR ]", "lock"]);
    assert_eq!(busy.text().matches("[ ERROR ]").count(), 1, "{busy:?}");
    kill_process_group(Pid::from_child(&first), Signal::KILL).unwrap();
    first.wait().unwrap();
    said.read_to_string(&mut text).unwrap();
    unchanged();
    room.empty_scratch();
    room.write("req.txt", "edge_pip_lib\n");
    update(&room, &["-r", "req.txt"]).succeeded();
    assert_eq!(generation(&installation), 2);
    let names = crate::harness::names(&installation.dir.join(".condense"));
    assert!(
        !names
            .iter()
            .any(|name| Path::new(name).extension().is_some()),
        "{names:?}"
    );
}

/// 120: what Tykky's versions have made is read, carried over, and brought back.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn installations_of_tykky_s_are_carried_over() {
    for (account, conda_root, version) in [
        (Account::Ordinary, "miniforge", "v0.4.2"),
        (Account::Root, "miniconda", "v0.3.2"),
    ] {
        let room = Room::new(account, "update-tykky");
        let installation = Tykky {
            conda_root: Some(conda_root),
            version,
            container: "container.sif",
        }
        .take_over(&room, &room.build("python=3.11, pip"));
        let image = fs_err::read(installation.image()).unwrap();
        let said = condense(&room, &["info"]).succeeded().text();
        for words in [
            format!("by Tykky {version}"),
            "mode: conda".to_owned(),
            "docker://x".to_owned(),
        ] {
            assert!(said.contains(&words), "`{words}` is not in {said}");
        }
        room.write("none.txt", "edge-pip-nothing\n");
        update(&room, &["-r", "none.txt"]).failed(1, &["No matching distribution"]);
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

        room.write("req.txt", "edge_pip_lib<1.1\n");
        let said = update(&room, &["-r", "req.txt"]).succeeded().text();
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
        condense(&room, &["verify"]).succeeded();
        let lock = share(&installation, "condense.lock");
        assert!(
            lock.contains("/python-3.11") && lock.contains("edge_pip_lib-1.0-"),
            "{lock}"
        );
        assert!(share(&installation, "previous_input/0/env.yml").contains("python"));
        room.write("more.txt", "edge_pip_lib==1.1\n");
        let said = update(&room, &["-r", "more.txt"]).succeeded().text();
        assert!(!said.contains(WHOLE), "{said}");
        installation.python(account, text).run().says("1.1 env1");
        hooked();

        job.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(prefix.contains(conda_root));
        finish(job).says(&prefix);
        // Its own files, which its own wrappers find.
        condense(&room, &["rollback", "--to", "1"]).succeeded();
        assert!(fs_err::read(installation.image()).unwrap() == image);
        let text = "import importlib.util as u; print(u.find_spec('edge_pip_lib'))";
        installation.python(account, text).run().says("None");
        let said = condense(&room, &["info"]).succeeded().text();
        assert!(said.contains(&format!("by Tykky {version}")), "{said}");
        condense(&room, &["verify"]).failed(1, &["was made by Tykky, which keeps no digests"]);
        room.left_nothing();
    }
}
