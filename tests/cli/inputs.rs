//! Files that never end, and text with control characters for terminals. Such files are refused by
//! name, and such text is shown in escaped form.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::harness::{CommandOutput, Run, TestEnv};

/// The time limit for each call. It is longer than any call takes on a busy machine.
const SOON: Duration = Duration::from_secs(60);

fn fifo(test: &TestEnv) -> PathBuf {
    let path = test.path("work/fifo");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    path
}

#[track_caller]
fn said(command: &mut std::process::Command) -> CommandOutput {
    let began = Instant::now();
    let output = command.run();
    assert!(began.elapsed() < SOON, "{command:?}: {output:#?}");
    output
}

/// The arguments and the environment variables of one call.
type Call = (Vec<String>, Vec<(&'static str, String)>);

/// Returns a call for every reader of a file. In some calls the file has a fixed place, in the
/// others a pipe would make no sense.
fn readers(path: &Path) -> Vec<Call> {
    let path = path.to_str().unwrap();
    let words = |line: &str| {
        line.split(' ')
            .map(|word| word.replace("PATH", path))
            .collect()
    };
    let build = "conda-containerize new --prefix installation --base-image ../base env.yml";
    let mut readers: Vec<Call> = [
        "image ls PATH",
        "image info PATH",
        "image verify PATH",
        "image extract PATH out",
        "sif list PATH",
        "sif verify PATH",
        "sif inspect PATH",
        "check PATH",
        "conda-containerize new --prefix installation --base-image PATH env.yml",
        "wrap-container new --prefix installation -w /bin PATH",
    ]
    .iter()
    .map(|line| (words(line), Vec::new()))
    .collect();
    for name in [
        "CONDENSE_CONFIG",
        "RATTLER_AUTH_FILE",
        "NETRC",
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
    ] {
        readers.push((words(build), vec![(name, path.to_owned())]));
    }
    readers.push((
        words(build),
        vec![
            ("CONDARC", path.to_owned()),
            ("CW_ENABLE_CONDARC", "yes".to_owned()),
        ],
    ));
    readers
}

#[test]
fn what_never_ends_is_refused_by_every_reader() {
    let test = TestEnv::new();
    test.environment("tool");
    let fifo = fifo(&test);
    for path in [Path::new("/dev/zero"), &fifo] {
        for (arguments, variables) in readers(path) {
            let said = said(
                test.command(env!("CARGO_BIN_EXE_condense"))
                    .args(&arguments)
                    .envs(variables.clone()),
            );
            assert!(
                [1, 2].contains(&said.status),
                "{arguments:?} {variables:?}: {said:#?}"
            );
            let all = said.stdout + &said.stderr;
            let shown = path.file_name().unwrap().to_str().unwrap();
            assert!(all.contains(shown), "{arguments:?} {variables:?}: {all}");
            assert!(!test.installation().exists());
        }
    }
    test.left_nothing();
}

#[test]
fn what_users_name_is_bounded_too() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    let env = env.to_str().unwrap();
    let long = test.path("work/long.yml");
    fs_err::File::create(&long)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    for path in ["/dev/zero", long.to_str().unwrap()] {
        for arguments in [
            vec![path],
            vec!["--post-install", path, env],
            vec!["--pre-install", path, env],
            vec!["--requirement", path, env],
            vec!["--environ", path, env],
        ] {
            let said = said(&mut test.new_command(&arguments));
            assert!([1, 2].contains(&said.status), "{arguments:?}: {said:#?}");
            assert!(!test.installation().exists(), "{arguments:?}");
        }
        test.build(&[path]).failed(
            1,
            &[
                path,
                if path == "/dev/zero" {
                    "is a device"
                } else {
                    "more than 16 MiB"
                },
            ],
        );
    }
    test.left_nothing();
}

#[test]
fn pipes_of_a_shell_are_read() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    test.fake_program("apptainer", "#!/bin/sh\necho apptainer version 1.4.5\n");
    let script = format!(
        "exec {} new --dry-run --prefix installation --base-image ../base --post-install <(echo echo hi) <(cat {})",
        test.path("programs/conda-containerize").display(),
        env.display()
    );
    let said = said(test.command("/bin/bash").args(["-c", &script])).succeeded();
    assert!(
        said.stdout.contains("echo hi") || said.stdout.contains("post"),
        "{said:#?}"
    );
}

#[test]
fn a_version_of_200_000_comparisons_is_refused_at_once() {
    let test = TestEnv::new();
    let text = format!(
        "channels: [CHANNEL]\ndependencies:\n  - tool {}1\n",
        "!=3,".repeat(200_000)
    );
    test.write("long.yml", &text);
    let said = said(&mut test.new_command(&["long.yml"]));
    let said = said.failed(
        1,
        &[
            "long.yml:3",
            "bytes, and what is asked of a package at most 4096",
        ],
    );
    assert!(said.stdout.len() < 1000, "{said:#?}");
    let deep = format!(
        "channels: [CHANNEL]\ndependencies:\n  - tool {}1{}\n",
        "(".repeat(2000),
        ")".repeat(2000)
    );
    test.write("deep.yml", &deep);
    test.build(&["deep.yml"])
        .failed(1, &["deep.yml:3", "more than 32 parentheses"]);
    test.left_nothing();
}

#[test]
fn control_characters_of_files_are_shown_not_sent() {
    let test = TestEnv::new();
    for text in [
        "channels: [CHANNEL]\ndependencies: [\"to\\u001b[2Jol ==== 3\"]\n",
        "channels: [CHANNEL]\ndependencies: [\"no-such\\u001b]0;owned\\u0007\"]\n",
        "channels: [\"file:///no/\\u001b[31msuch\"]\ndependencies: [tool]\n",
        "channels: [CHANNEL]\n\"ke\\u009b31my\": 1\ndependencies: [tool]\n",
        "channels: [CHANNEL]\n\"ke\\u202ey\": 1\ndependencies: [tool]\n",
    ] {
        test.write("odd.yml", text);
        for level in ["-v", "--"] {
            let said = test.build(if level == "-v" {
                &["-v", "--force", "odd.yml"]
            } else {
                &["--force", "odd.yml"]
            });
            let all = said.stdout + &said.stderr;
            let acting = all
                .chars()
                .find(|c| (c.is_control() && !"\n\t".contains(*c)) || *c == '\u{202e}');
            assert_eq!(acting, None, "{text:?}: {all:?}");
        }
    }
    // An error message escapes the name of the refused file.
    let said = test
        .build(&["no\x1b[2J.yml"])
        .failed(1, &["no\\x1b[2J.yml"]);
    assert!(!said.stdout.contains('\x1b'), "{said:?}");
}
