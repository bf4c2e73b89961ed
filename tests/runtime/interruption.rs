//! Tests of builds that are interrupted, killed, or run out of space.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::harness::{Account, CommandOutput, Run, TestDir, Tmpfs, as_both, finish, names};

/// Packages whose build takes long enough in every phase to be interrupted there: many files, byte
/// code to compile, and a large image.
const PACKAGES: &str =
    "python=3.11, numpy, rich, edge-many-files, edge-large, edge-activate, edge-post-link";

/// Starts a build, waits for a line with `words` and a little longer, and then interrupts the
/// build.
fn interrupt(mut command: Command, words: &str, send: impl Fn(Pid)) -> CommandOutput {
    let mut build = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(build.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains(words) {
        assert!(
            said.read_line(&mut text).unwrap() > 0,
            "the build ended without `{words}`:\n{text}"
        );
    }
    std::thread::sleep(Duration::from_millis(30));
    send(Pid::from_child(&build));
    let reader = std::thread::spawn(move || {
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut said, &mut rest).unwrap();
        rest
    });
    let mut output = finish(build);
    text.push_str(&String::from_utf8_lossy(&reader.join().unwrap()));
    output.stdout = text;
    output
}

/// Words of the lines that mark the start of each phase of a build.
const STAGES: [&str; 5] = [
    "as temporary directory",
    "to fetch",
    "Linked packages",
    "Ran build steps",
    "Packed",
];

#[track_caller]
fn check_interrupted(test: &TestDir, output: CommandOutput) {
    let output = output.failed(130, &[]);
    assert!(
        !test.installation().dir.exists(),
        "something is at the destination after {output:?}"
    );
    test.left_nothing();
    // A container of the build would have the scratch directory among its mounts.
    let started = Instant::now();
    let script = "grep -lsF \"$1\" /proc/[0-9]*/mountinfo";
    while Account::Root
        .command("/bin/sh")
        .args(["-c", script, "sh"])
        .arg(test.scratch())
        .run()
        .status
        == 0
    {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "something still runs in scratch"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_terminated_build_leaves_nothing() {
    let test = TestDir::new(Account::Ordinary, "terminated");
    let environment = test.environment(PACKAGES);
    for words in STAGES {
        println!("{words}");
        let command = test.new_command(&test.installation().dir, &environment);
        let output = interrupt(command, words, |pid| {
            kill_process(pid, Signal::TERM).unwrap();
        });
        check_interrupted(&test, output);
    }
}

/// Checks Ctrl-C, which a terminal sends to all processes at once, those in the container included.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn ctrl_c_leaves_nothing() {
    let test = TestDir::new(Account::Root, "ctrl-c");
    let environment = test.environment(PACKAGES);
    for words in STAGES {
        println!("{words}");
        let command = test.new_command(&test.installation().dir, &environment);
        let output = interrupt(command, words, |pid| {
            kill_process_group(pid, Signal::INT).unwrap();
        });
        check_interrupted(&test, output);
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_interrupted_replacement_leaves_the_old_one() {
    let test = TestDir::new(Account::Root, "replacement");
    let installation = test.build("python=3.13");
    let environment = test.environment(PACKAGES);
    for words in [STAGES[2], STAGES[4]] {
        let mut command = test.new_command(&installation.dir, &environment);
        command.arg("--force");
        interrupt(command, words, |pid| {
            kill_process(pid, Signal::TERM).unwrap();
        })
        .failed(130, &[]);
        test.left_nothing();
        assert_eq!(
            names(&installation.dir.join(".condense"))
                .iter()
                .filter(|name| name.ends_with(".tmp"))
                .count(),
            0
        );
        installation
            .python(Account::Ordinary, "import sys; print(sys.version_info[:2])")
            .run()
            .says("(3, 13)");
    }
}

/// Checks that the destination is absent or complete, whenever the machine stops.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_killed_build_leaves_nothing_or_everything() {
    // `make test-all` runs a hundred.
    let moments: u32 = std::env::var("CONDENSE_TEST_KILLS").map_or(10, |n| n.parse().unwrap());
    let test = TestDir::new(Account::Root, "killed");
    let environment = test.environment("python=3.11, rich, edge-many-files, edge-activate");
    // The first build fills the cache; the second measures the time of a build.
    test.new_command(&test.path("cold"), &environment)
        .run()
        .succeeded();
    let started = Instant::now();
    test.new_command(&test.path("warm"), &environment)
        .run()
        .succeeded();
    let whole = started.elapsed();
    let (mut absent, mut complete) = (0, 0);
    for moment in 0..moments {
        let dir = test.path(format!("dir-{moment}"));
        let mut command = test.new_command(&dir, &environment);
        let mut build = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The last moments are around the end of the build.
        std::thread::sleep(whole * (2 * moment + 1) / (2 * moments - 1));
        build.kill().unwrap();
        build.wait().unwrap();
        test.empty_scratch();
        if dir.exists() {
            complete += 1;
            Account::Ordinary
                .command(dir.join("bin/python"))
                .args(["-c", "import rich; print(1)"])
                .run()
                .says("1");
        } else {
            absent += 1;
        }
        // The next build succeeds and removes the leftovers.
        if moment % 3 == 1 && !dir.exists() {
            test.new_command(&dir, &environment).run().succeeded();
            Account::Ordinary
                .command(dir.join("bin/python"))
                .args(["-c", "import rich; print(1)"])
                .run()
                .says("1");
            let beside = format!(".dir-{moment}.");
            let left: Vec<String> = names(test.dir())
                .into_iter()
                .filter(|name| name.starts_with(&beside))
                .collect();
            assert_eq!(left, Vec::<String>::new());
        }
    }
    println!("{absent} absent, {complete} complete");
    assert!(
        absent >= moments / 2,
        "the moments were not spread over the build"
    );
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_killed_replacement_leaves_one_that_works() {
    const MOMENTS: u32 = 5;
    let test = TestDir::new(Account::Root, "killed-replacement");
    let started = Instant::now();
    let installation = test.build("python=3.11, edge-argv");
    let whole = started.elapsed();
    let environment = test.environment("python=3.13, edge-argv");
    for moment in 0..MOMENTS {
        let mut command = test.new_command(&installation.dir, &environment);
        let mut build = command
            .arg("--force")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * (moment + 1) / MOMENTS);
        build.kill().unwrap();
        build.wait().unwrap();
        test.empty_scratch();
        as_both(|account| {
            let version = installation
                .python(account, "import sys; print(sys.version_info[:2])")
                .run()
                .succeeded()
                .text();
            assert!(
                ["(3, 11)", "(3, 13)"].contains(&version.as_str()),
                "{version}"
            );
        });
    }
    let mut command = test.new_command(&installation.dir, &environment);
    command.arg("--force").run().succeeded();
    installation
        .python(Account::Ordinary, "import sys; print(sys.version_info[:2])")
        .run()
        .says("(3, 13)");
    let state = names(&installation.dir.join(".condense"));
    assert!(
        !state.iter().any(|name| name.ends_with(".tmp")),
        "{state:?}"
    );
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn scratch_that_is_too_small_is_told_before_the_download() {
    as_both(|account| {
        let test = TestDir::new(account, "small-scratch");
        let tmpfs = Tmpfs::mount(&test.path("small"), "20m");
        let mut command = test.new_command(
            &test.installation().dir,
            &test.environment("python=3.11, numpy"),
        );
        let cache = test.path("cache");
        let output = command
            .arg("--tmpdir")
            .arg(test.path("small"))
            .env("CONDENSE_CACHE_DIR", &cache)
            .run();
        test.refused(output, &["not enough space in", "small", "--tmpdir"]);
        assert_eq!(names(&test.path("small")), Vec::<String>::new());
        drop(tmpfs);
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn scratch_that_fills_up_is_told_and_emptied() {
    as_both(|account| {
        // The archives are small but unpack to more than the free space, which cannot be known in
        // advance.
        let test = TestDir::new(account, "full-scratch");
        let tmpfs = Tmpfs::mount(&test.path("full"), "2m");
        let mut command = test.new_command(
            &test.installation().dir,
            &test.environment("edge-argv, edge-many-files"),
        );
        // Packages that another test has left unpacked would need no space.
        command.env("CONDENSE_BLOCK_CACHE_SIZE", "0");
        let output = command.arg("--tmpdir").arg(test.path("full")).run();
        test.refused(output, &["No space left on device", "full"]);
        assert_eq!(names(&test.path("full")), Vec::<String>::new());
        drop(tmpfs);
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_destination_that_fills_up_is_told_and_emptied() {
    as_both(|account| {
        let test = TestDir::new(account, "full-destination");
        let tmpfs = Tmpfs::mount(&test.path("full"), "1m");
        let dir = test.path("full/installation");
        let mut command = test.new_command(&dir, &test.environment("edge-argv, edge-many-files"));
        // The size of the image cannot be known in advance.
        let output = command.args(["--compression", "none"]).run();
        test.refused(output, &["No space left on device", "full"]);
        assert_eq!(names(&test.path("full")), Vec::<String>::new());
        drop(tmpfs);
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn another_file_system_is_no_obstacle() {
    as_both(|account| {
        let test = TestDir::new(account, "across");
        let tmpfs = Tmpfs::mount(&test.path("memory"), "200m");
        let dir = test.path("memory/installation");
        test.new_command(&dir, &test.environment("edge-argv, edge-many-files"))
            .run()
            .succeeded();
        assert_eq!(names(&test.path("memory")), ["installation"]);
        let output = account.command(dir.join("bin/edge-exit")).arg("3").run();
        assert_eq!(output.status, 3, "{output:?}");
        drop(tmpfs);
    });
}

/// Returns whether any process on the machine is a `sleep` for this number of seconds.
fn sleeps(seconds: &str) -> bool {
    let words = format!("sleep\0{seconds}\0");
    fs_err::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).ends_with(&words))
    })
}

/// Child processes that left the script's process group, its session, its streams and its
/// environment variables.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_a_script_has_started_ends_with_the_build() {
    as_both(|account| {
        let test = TestDir::new(account, "left-behind");
        let seconds = format!("7{}", std::process::id());
        test.write(
            "post.sh",
            &format!(
                "setsid sleep {seconds} &\nsetsid sleep {seconds} >/dev/null 2>&1 &\n\
                (trap '' TERM HUP; exec sleep {seconds}) &\n\
                env -i /usr/bin/setsid /bin/sleep {seconds} >/dev/null 2>&1 &\n\
                sleep 0.5\necho over\n"
            ),
        );
        let environment = test.environment("python=3.11");
        let dir = test.installation().dir;
        let mut command = test.new_command(&dir, &environment);
        let said = command.args(["--post-install", "post.sh"]).run();
        let said = said.succeeded().text();
        assert!(!sleeps(&seconds), "{said}");
        assert!(said.contains("has left processes behind"), "{said}");

        test.write(
            "post.sh",
            &format!(
                "trap '' TERM\nsetsid sleep {seconds} >/dev/null 2>&1 &\necho now\n\
                while :; do sleep {seconds}; done\n"
            ),
        );
        let mut command = test.new_command(&dir, &environment);
        command.args(["--force", "--post-install", "post.sh"]);
        let output = interrupt(command, "now", |pid| {
            kill_process(pid, Signal::TERM).unwrap();
        });
        output.failed(130, &[]);
        assert!(!sleeps(&seconds));
        test.left_nothing();
    });
}
