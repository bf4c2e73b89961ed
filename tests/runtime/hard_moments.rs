//! Builds that are interrupted, killed, or run out of space.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::harness::{Account, Ended, Room, Run, Tmpfs, as_both, finish, names};

/// Long enough in every stage to be met there: many files, byte code to compile, a large image.
const PACKAGES: &str =
    "python=3.11, numpy, rich, edge-many-files, edge-large, edge-activate, edge-post-link";

/// Starts a build, waits for a line with `words`, a little longer, and interrupts it.
fn interrupt(mut command: Command, words: &str, send: impl Fn(Pid)) -> Ended {
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
    let mut ended = finish(build);
    ended.stdout = [text.into_bytes(), reader.join().unwrap()].concat();
    ended
}

/// What each stage says when the one before has ended.
const STAGES: [&str; 5] = [
    "as temporary directory",
    "to fetch",
    "Linked packages",
    "Ran build steps",
    "Packed",
];

#[track_caller]
fn check_interrupted(room: &Room, ended: Ended) {
    let ended = ended.failed(130, &[]);
    assert!(
        !room.installation().dir.exists(),
        "something is at the destination after {ended:?}"
    );
    room.left_nothing();
    // A container of the build has scratch among its mounts.
    let started = Instant::now();
    let script = "grep -lsF \"$1\" /proc/[0-9]*/mountinfo";
    while Account::Root
        .command("/bin/sh")
        .args(["-c", script, "sh"])
        .arg(room.scratch())
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
    let room = Room::new(Account::Ordinary, "terminated");
    let environment = room.environment(PACKAGES);
    for words in STAGES {
        println!("{words}");
        let command = room.new_command(&room.installation().dir, &environment);
        let ended = interrupt(command, words, |pid| {
            kill_process(pid, Signal::TERM).unwrap();
        });
        check_interrupted(&room, ended);
    }
}

/// A terminal sends Ctrl-C to all processes at once, the container's among them.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn ctrl_c_leaves_nothing() {
    let room = Room::new(Account::Root, "ctrl-c");
    let environment = room.environment(PACKAGES);
    for words in STAGES {
        println!("{words}");
        let command = room.new_command(&room.installation().dir, &environment);
        let ended = interrupt(command, words, |pid| {
            kill_process_group(pid, Signal::INT).unwrap();
        });
        check_interrupted(&room, ended);
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_interrupted_replacement_leaves_the_old_one() {
    let room = Room::new(Account::Root, "replacement");
    let installation = room.build("python=3.13");
    let environment = room.environment(PACKAGES);
    for words in [STAGES[2], STAGES[4]] {
        let mut command = room.new_command(&installation.dir, &environment);
        command.arg("--force");
        interrupt(command, words, |pid| {
            kill_process(pid, Signal::TERM).unwrap();
        })
        .failed(130, &[]);
        room.left_nothing();
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

/// The destination is absent or complete, whenever the machine goes away.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_killed_build_leaves_nothing_or_everything() {
    // `make test-all` asks for a hundred.
    let moments: u32 = std::env::var("CONDENSE_TEST_KILLS").map_or(10, |n| n.parse().unwrap());
    let room = Room::new(Account::Root, "killed");
    let environment = room.environment("python=3.11, rich, edge-many-files, edge-activate");
    // Once for the cache, then to know how long it takes.
    room.new_command(&room.path("cold"), &environment)
        .run()
        .succeeded();
    let started = Instant::now();
    room.new_command(&room.path("warm"), &environment)
        .run()
        .succeeded();
    let whole = started.elapsed();
    let (mut absent, mut complete) = (0, 0);
    for moment in 0..moments {
        let dir = room.path(format!("dir-{moment}"));
        let mut command = room.new_command(&dir, &environment);
        let mut build = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The last ones lie around the end.
        std::thread::sleep(whole * (2 * moment + 1) / (2 * moments - 1));
        build.kill().unwrap();
        build.wait().unwrap();
        room.empty_scratch();
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
        // Another one finds no obstacle, and clears up.
        if moment % 3 == 1 && !dir.exists() {
            room.new_command(&dir, &environment).run().succeeded();
            Account::Ordinary
                .command(dir.join("bin/python"))
                .args(["-c", "import rich; print(1)"])
                .run()
                .says("1");
            let beside = format!(".dir-{moment}.");
            let left: Vec<String> = names(room.dir())
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
    let room = Room::new(Account::Root, "killed-replacement");
    let started = Instant::now();
    let installation = room.build("python=3.11, edge-argv");
    let whole = started.elapsed();
    let environment = room.environment("python=3.13, edge-argv");
    for moment in 0..MOMENTS {
        let mut command = room.new_command(&installation.dir, &environment);
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
        room.empty_scratch();
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
    let mut command = room.new_command(&installation.dir, &environment);
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
        let room = Room::new(account, "small-scratch");
        let tmpfs = Tmpfs::mount(&room.path("small"), "20m");
        let mut command = room.new_command(
            &room.installation().dir,
            &room.environment("python=3.11, numpy"),
        );
        let cache = room.path("cache");
        let ended = command
            .arg("--tmpdir")
            .arg(room.path("small"))
            .env("CONDENSE_CACHE_DIR", &cache)
            .run();
        room.refused(ended, &["not enough space in", "small", "--tmpdir"]);
        assert_eq!(names(&room.path("small")), Vec::<String>::new());
        drop(tmpfs);
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn scratch_that_fills_up_is_told_and_emptied() {
    as_both(|account| {
        // Small archives that unpack to more than there is: nobody can know before.
        let room = Room::new(account, "full-scratch");
        let tmpfs = Tmpfs::mount(&room.path("full"), "20m");
        let mut command = room.new_command(
            &room.installation().dir,
            &room.environment("edge-argv, edge-many-files"),
        );
        let ended = command.arg("--tmpdir").arg(room.path("full")).run();
        room.refused(ended, &["No space left on device", "full"]);
        assert_eq!(names(&room.path("full")), Vec::<String>::new());
        drop(tmpfs);
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_destination_that_fills_up_is_told_and_emptied() {
    as_both(|account| {
        let room = Room::new(account, "full-destination");
        let tmpfs = Tmpfs::mount(&room.path("full"), "1m");
        let dir = room.path("full/installation");
        let mut command = room.new_command(&dir, &room.environment("edge-argv, edge-many-files"));
        // Nobody can know before how large the image becomes.
        let ended = command.args(["--compression", "none"]).run();
        room.refused(ended, &["No space left on device", "full"]);
        assert_eq!(names(&room.path("full")), Vec::<String>::new());
        drop(tmpfs);
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn another_file_system_is_no_obstacle() {
    as_both(|account| {
        let room = Room::new(account, "across");
        let tmpfs = Tmpfs::mount(&room.path("memory"), "200m");
        let dir = room.path("memory/installation");
        room.new_command(&dir, &room.environment("edge-argv, edge-many-files"))
            .run()
            .succeeded();
        assert_eq!(names(&room.path("memory")), ["installation"]);
        let ended = account.command(dir.join("bin/edge-exit")).arg("3").run();
        assert_eq!(ended.status, 3, "{ended:?}");
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
        let room = Room::new(account, "left-behind");
        let seconds = format!("7{}", std::process::id());
        room.write(
            "post.sh",
            &format!(
                "setsid sleep {seconds} &\nsetsid sleep {seconds} >/dev/null 2>&1 &\n\
                (trap '' TERM HUP; exec sleep {seconds}) &\n\
                env -i /usr/bin/setsid /bin/sleep {seconds} >/dev/null 2>&1 &\n\
                sleep 0.5\necho over\n"
            ),
        );
        let environment = room.environment("python=3.11");
        let dir = room.installation().dir;
        let mut command = room.new_command(&dir, &environment);
        let said = command.args(["--post-install", "post.sh"]).run();
        let said = said.succeeded().text();
        assert!(!sleeps(&seconds), "{said}");
        assert!(said.contains("has left processes behind"), "{said}");

        room.write(
            "post.sh",
            &format!(
                "trap '' TERM\nsetsid sleep {seconds} >/dev/null 2>&1 &\necho now\n\
                while :; do sleep {seconds}; done\n"
            ),
        );
        let mut command = room.new_command(&dir, &environment);
        command.args(["--force", "--post-install", "post.sh"]);
        let ended = interrupt(command, "now", |pid| {
            kill_process(pid, Signal::TERM).unwrap();
        });
        ended.failed(130, &[]);
        assert!(!sleeps(&seconds));
        room.left_nothing();
    });
}
