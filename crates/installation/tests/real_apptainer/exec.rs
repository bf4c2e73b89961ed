use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use crate::scene::{Report, each, stdout};

#[test]
#[ignore = "needs: apptainer"]
fn arguments_arrive_as_they_were_given() {
    each(|scene| {
        // The runtime itself loses bytes that are not UTF-8, because its two halves exchange JSON.
        let mut words: Vec<Vec<u8>> = [
            "",
            " ",
            "a b",
            "it's",
            "\"",
            "$HOME `id` $(id)",
            "\\",
            "*",
            "two\nlines\n",
            "\n",
            "é",
            "-n",
            "--",
            "~",
            "a=b",
            "!x",
        ]
        .iter()
        .map(|word| word.as_bytes().to_vec())
        .collect();
        words.extend((0..3000).map(|number| format!("{number:0100}").into_bytes()));
        let report = Report::of(
            scene
                .command("report")
                .args(words.iter().map(|word| std::ffi::OsStr::from_bytes(word))),
        );
        assert!(
            report.arguments() == words,
            "{:?} {:?}: {:?}",
            scene.account,
            scene.view,
            &report.arguments()[..20]
        );
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn exit_codes_and_deaths_are_the_programs() {
    each(|scene| {
        for code in [0, 1, 7, 125, 255] {
            let status = scene
                .command("python3")
                .args(["-c", &format!("raise SystemExit({code})")])
                .status()
                .unwrap();
            assert_eq!(status.code(), Some(code));
        }
        for signal in [9, 15, 6] {
            let code = format!("import os; os.kill(os.getpid(), {signal})");
            let status = scene
                .command("python3")
                .args(["-c", &code])
                .status()
                .unwrap();
            assert!(
                status.signal() == Some(signal) || status.code() == Some(128 + signal),
                "{signal}: {status}"
            );
        }
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn signals_to_the_wrapper_reach_the_program() {
    const CODE: &str = "
import os, signal, sys, time
def handler(number, frame):
    os.write(1, b'got %d\\n' % number)
    os._exit(5)
signal.signal(signal.SIGTERM, handler)
signal.signal(signal.SIGINT, handler)
signal.signal(signal.SIGUSR1, handler)
print('ready', flush=True)
time.sleep(60)
";
    each(|scene| {
        for (name, number) in [("TERM", 15), ("INT", 2), ("USR1", 10)] {
            let mut child = scene
                .command("python3")
                .args(["-c", CODE])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert_eq!(lines.next().unwrap().unwrap(), "ready");
            assert!(
                Command::new("kill")
                    .args(["-s", name, &child.id().to_string()])
                    .status()
                    .unwrap()
                    .success()
            );
            assert_eq!(lines.next().unwrap().unwrap(), format!("got {number}"));
            assert_eq!(child.wait().unwrap().code(), Some(5));
        }
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn streams_are_the_programs_own() {
    each(|scene| {
        let copy = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer); print('note', file=sys.stderr)";
        let mut child = scene
            .command("python3")
            .args(["-c", copy])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let bytes: Vec<u8> = (0..3_000_000_u32)
            .map(|number| (number % 251) as u8)
            .collect();
        let mut stdin = child.stdin.take().unwrap();
        let sent = bytes.clone();
        let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
        let mut received = Vec::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_end(&mut received)
            .unwrap();
        writer.join().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(received, bytes);
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "note\n");
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn a_name_with_a_blank_is_a_name() {
    each(|scene| assert_eq!(stdout(scene.command("a tool").arg("x y")), "a tool: x y"));
}
