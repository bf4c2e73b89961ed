use condense_diagnostics::Hint as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use condense_installation::{Destination, HostView};

use crate::parts::ENV_PREFIX;
use crate::scene::{Account, Place, Report, Scene, each, launch, refusal, stage, stdout};

const BOTH: [Account; 2] = [Account::Root, Account::Ordinary];

#[test]
#[ignore = "needs: apptainer"]
fn a_staged_generation_can_be_started_before_it_is_visible() {
    for empty in [false, true] {
        let place = Place::new("/srv");
        let dir = place.path().join("inst");
        if empty {
            fs::create_dir(&dir).unwrap();
        }
        let staged = stage(
            Destination::inspect(&dir).unwrap().claim(false).unwrap(),
            &launch(HostView::Host),
        );
        let wrapper = staged.generation_dir().join("bin/report");
        assert_eq!(
            Report::of(&mut Account::Root.command(&wrapper)).prefix,
            ENV_PREFIX
        );
        assert!(!dir.join("bin/report").exists());
        staged.publish().unwrap();
        for account in BOTH {
            assert_eq!(
                Report::of(&mut account.command(dir.join("bin/report"))).prefix,
                ENV_PREFIX
            );
        }
    }
}

#[test]
#[ignore = "needs: apptainer"]
fn a_running_job_keeps_its_generation() {
    const CODE: &str = "
import subprocess, sys
print('ready', flush=True)
sys.stdin.readline()
import sqlite3, decimal
again = subprocess.check_output([sys.executable, '-c', 'import os, sys; print(sys.prefix, os.path.exists(os.environ[\"OLD\"]))'], text=True)
print(again.strip(), flush=True)
";
    each(|scene| {
        let old = scene.dir.join(".condense/1/img.sqfs");
        let mut child = scene
            .command("python3")
            .env("OLD", &old)
            .args(["-c", CODE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let claim = Destination::inspect(&scene.dir)
            .unwrap()
            .claim(true)
            .unwrap();
        assert_eq!(
            stage(claim, &launch(scene.view))
                .publish()
                .unwrap()
                .generation,
            2
        );
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), format!("{ENV_PREFIX} True"));
        assert!(child.wait().unwrap().success());
        assert_eq!(
            scene.python("import sys; print(sys.executable)"),
            scene.bin("python3").display().to_string()
        );
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn copies_of_an_installation_work() {
    for account in BOTH {
        let scene = Scene::new(account, HostView::Host, "/srv");
        let copy = scene.place.path().join("copy");
        assert!(
            account
                .command("cp")
                .arg("-a")
                .arg(&scene.dir)
                .arg(&copy)
                .status()
                .unwrap()
                .success()
        );
        let report = Report::of(&mut account.command(copy.join("bin/report")));
        assert_eq!(report.prefix, ENV_PREFIX);
        let path = format!("{}:", copy.join("bin").display());
        assert!(
            report.variable("PATH").unwrap().starts_with(&path),
            "{report:?}"
        );
    }
}

#[test]
#[ignore = "needs: apptainer"]
fn the_debug_wrappers_give_the_same_surroundings() {
    each(|scene| {
        let text = stdout(scene.command("_debug_exec").args([
            "python3",
            "-c",
            "import sys; print(sys.executable, sys.argv[1])",
            "a b",
        ]));
        assert_eq!(text, format!("{} a b", scene.bin("python3").display()));
        assert_eq!(
            stdout(
                scene
                    .command("_debug_exec")
                    .arg(scene.dir.join("_bin/a tool"))
                    .arg("x")
            ),
            "a tool: x"
        );
        assert_eq!(
            stdout(
                scene
                    .command("_debug_exec")
                    .args(["printenv", "CONDA_PREFIX"])
            ),
            ENV_PREFIX
        );
        let mut shell = scene.command("_debug_shell");
        let mut child = shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(b"command -v python3; exit 3\n")
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(
            String::from_utf8(output.stdout).unwrap().trim(),
            scene.bin("python3").display().to_string()
        );
        assert!(refusal(&mut scene.command("_debug_exec")).contains("no command given"));
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn an_explained_command_line_does_what_the_wrapper_does() {
    each(|scene| {
        let text = stdout(scene.command("_debug_exec").args([
            "--explain",
            "python3",
            "-c",
            "import sys; print(sys.argv[1:])",
            "it's",
            "",
        ]));
        let (line, changes) = text.split_once('\n').unwrap();
        assert!(
            changes.contains("export CONDA_PREFIX=") && changes.contains("SINGULARITYENV_PATH="),
            "{changes}"
        );
        let script = format!("{}\n{line}", changes.replace("export PWD=", "PWD="));
        assert_eq!(
            stdout(scene.account.command("sh").arg("-c").arg(script)),
            "[\"it's\", '']"
        );
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn without_a_runtime_there_is_one_clear_line() {
    for account in BOTH {
        let scene = Scene::with(account, HostView::Host, "/srv", |launch| {
            launch.runtime = Some("/gone/apptainer".into());
        });
        // The runtime has moved, so the wrapper uses the one on PATH.
        assert_eq!(Report::of(&mut scene.command("report")).prefix, ENV_PREFIX);
        assert_eq!(
            Report::of(scene.command("report").env("PATH", "relative:")).prefix,
            ENV_PREFIX
        );
        fs::remove_file(scene.dir.join("common.sh")).unwrap();
        assert!(refusal(&mut scene.command("report")).contains("common.sh is missing"));
    }
    let odd = Path::new("/srv/condense:test");
    assert!(Destination::inspect(odd).unwrap_err().hint().is_some());
}
