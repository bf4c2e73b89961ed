//! Tests in which standard output cannot be written, or in which the terminal closes.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::harness::{CommandOutput, Run, TestEnv};

/// The commands of every dialect that print results.
const RESULTS: [&[&str]; 8] = [
    &["--version"],
    &["explain", "mpi-abi"],
    &["base", "ls"],
    &["shell", "bash"],
    &["cotainr", "info"],
    &["cotainr", "--help"],
    &["conda-containerize", "new", "--help"],
    &["wrap-container"],
];

/// Runs `condense` with these arguments and with this shell redirection.
fn redirected(test: &TestEnv, words: &[&str], redirection: &str) -> CommandOutput {
    let mut command = test.command("/bin/sh");
    command
        .args(["-c", &format!("exec \"$@\" {redirection}"), "sh"])
        .arg(env!("CARGO_BIN_EXE_condense"))
        .args(words);
    command.run()
}

#[test]
fn results_that_a_full_or_closed_standard_output_does_not_take_are_failures() {
    let test = TestEnv::new();
    for words in RESULTS {
        for (redirection, why) in [
            (">/dev/full", "No space left on device"),
            (">&-", "Bad file descriptor"),
        ] {
            let said = redirected(&test, words, redirection);
            assert_eq!(said.status, 1, "{words:?} {redirection}: {said:#?}");
            let told = format!("failed to write to standard output: {why}");
            assert_eq!(
                said.stderr.matches(&told).count(),
                1,
                "{words:?}: {said:#?}"
            );
        }
        // A user who discards the output must not get an error.
        redirected(&test, words, ">/dev/null").succeeded();
        redirected(&test, words, "<&- >/dev/null 2>&-").succeeded();
    }
}

#[test]
fn a_reader_that_had_enough_is_no_failure() {
    let test = TestEnv::new();
    let image = test.path("i.sqfs");
    let [base, out] = ["base", "i.sqfs"].map(|name| test.path(name).display().to_string());
    let pack = ["image", "pack", &base, &out];
    redirected(&test, &pack, "").succeeded();
    let listing = ["image", "ls", image.to_str().unwrap()];
    for words in RESULTS.into_iter().chain([&listing[..]]) {
        let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let said = command
            .args(words)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let said = CommandOutput::from(said).succeeded();
        assert_eq!(said.stderr, "", "{words:?}");
    }
    let said = redirected(&test, &listing, ">/dev/full");
    assert_eq!(said.status, 1);
    let told = said.stderr.matches("failed to write to standard output");
    assert_eq!(told.count(), 1, "{said:#?}");
}

#[test]
fn a_build_whose_words_are_lost_is_done_and_says_so_at_its_end() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    let (dir, base) = (test.installation(), test.path("base"));
    let words = |env: &Path| {
        let words = [
            "conda-containerize",
            "new",
            "--force",
            "--prefix",
            dir.to_str().unwrap(),
            "--base-image",
            base.to_str().unwrap(),
            env.to_str().unwrap(),
        ];
        words.map(str::to_owned)
    };
    let run = |env: &Path, redirection| {
        let words = words(env);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        redirected(&test, &words, redirection)
    };
    for redirection in [">/dev/full", ">&-"] {
        let said = run(&env, redirection);
        assert_eq!(said.status, 1, "{said:#?}");
        assert_eq!(said.stderr.matches("[ ERROR ] failed to write").count(), 1);
        assert!(dir.join("bin/tool").exists());
        fs_err::remove_dir_all(&dir).unwrap();
    }
    // An error message goes to standard error if it cannot be written to standard output.
    let missing = test.path("work/no.yml");
    let said = run(&missing, ">/dev/full");
    assert_eq!(said.status, 1);
    assert!(said.stderr.contains("no.yml does not exist"), "{said:#?}");
    run(&env, ">/dev/null 2>&- <&-").succeeded();
    test.left_nothing();
}

/// Starts a build in a terminal of its own and closes that terminal while the build runs. Returns
/// the exit status of the build.
fn without_its_terminal(test: &TestEnv, before: &str, delay: u64) -> String {
    let env = test.environment("bulky");
    let status = test.path("status");
    let _ = std::fs::remove_file(&status);
    let script = format!(
        "trap 'ended=$?' HUP; PATH=$PROGRAMS; {before} \"$CONDENSE\" conda-containerize new --compression zstd:19 --prefix \"$DIR\" \
        --base-image \"$BASE\" \"$ENV\"; echo $? > \"$STATUS.new\"; /bin/mv \"$STATUS.new\" \"$STATUS\""
    );
    let mut command = test.command("/usr/bin/script");
    let mut terminal = command
        // The terminal's own shell ends together with the terminal. The system then sends SIGHUP to
        // all processes in its foreground.
        .args(["-q", "-c", "/bin/sh -c \"$SCRIPT\"; :", "/dev/null"])
        .env("SCRIPT", &script)
        .env("PATH", "/usr/bin:/bin")
        .env("PROGRAMS", test.path("programs"))
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .env("CONDENSE", env!("CARGO_BIN_EXE_condense"))
        .env("DIR", test.installation())
        .env("BASE", test.path("base"))
        .env("ENV", &env)
        .env("STATUS", &status)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while crate::harness::names(&test.path("tmp")).is_empty() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it never began"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(delay));
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    while !status.exists() {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "it never ended"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    fs_err::read_to_string(&status).unwrap().trim().to_owned()
}

#[test]
fn a_terminal_that_closes_ends_a_build_as_a_signal_does() {
    let test = TestEnv::with_bulky();
    for delay in [0, 300] {
        assert_eq!(without_its_terminal(&test, "", delay), "130");
        assert!(!test.installation().exists());
        test.left_nothing();
    }
}

/// Progress bars are drawn to a terminal that returns EIO after it has closed.
#[test]
fn a_terminal_that_closes_does_not_end_a_build_that_ignores_it() {
    let test = TestEnv::with_bulky();
    for before in ["/usr/bin/nohup", "sh -c 'trap \"\" HUP; exec \"$@\"' sh"] {
        for delay in [0, 300] {
            assert_eq!(without_its_terminal(&test, before, delay), "0", "{before}");
            assert!(test.installation().join("bin/bulky").exists(), "{before}");
            fs_err::remove_dir_all(test.installation()).unwrap();
            test.left_nothing();
        }
    }
}

#[test]
fn what_was_ignored_when_it_was_started_stays_ignored() {
    let test = TestEnv::with_bulky();
    let env = test.environment("bulky");
    for name in ["HUP", "INT", "TERM", "USR1"] {
        let mut command = test.command("/bin/sh");
        let child = command
            .args(["-c", &format!("trap '' {name}; exec \"$@\""), "sh"])
            .arg(env!("CARGO_BIN_EXE_condense"))
            .args(["conda-containerize", "new", "--prefix"])
            .arg(test.installation())
            .arg("--base-image")
            .arg(test.path("base"))
            .arg(&env)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        CommandOutput::from(child.wait_with_output().unwrap()).succeeded();
        fs_err::remove_dir_all(test.installation()).unwrap();
    }
}
