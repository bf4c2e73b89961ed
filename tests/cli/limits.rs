//! Tests of the limits that shells and batch systems set: on threads, memory, open files and the
//! size of files.

use std::process::Command;

use crate::{
    harness::{CommandOutput, Run, TestEnv},
    support::channel::Package,
};

const WORD: &str = "error: the system gives no more memory\n";
const NO_THREAD: &str = "error: the system starts no more threads\n";
/// Message of the standard library, which ends the program when a thread cannot be prepared.
const ABORT: &str = "fatal runtime error: failed to register TLS destructor: out of memory";

/// Builds `tool` under these limits, which are bash commands.
fn limited(test: &TestEnv, limits: &str) -> CommandOutput {
    let env = test.environment("tool");
    let mut command = test.command("/bin/bash");
    command
        .args(["-c", &format!("{limits} && exec \"$@\""), "bash"])
        .arg(env!("CARGO_BIN_EXE_condense"))
        .args(["conda-containerize", "new", "--force", "--prefix"])
        .arg(test.installation())
        .arg("--base-image")
        .arg(test.path("base"))
        .arg(&env)
        .env("RUST_BACKTRACE", "0");
    command.run()
}

/// Checks that the program ended properly after the system refused a resource: without a panic,
/// with advice for the user, and without leftovers.
#[track_caller]
fn check_refused(test: &TestEnv, limits: &str, said: &CommandOutput) {
    assert_eq!(said.status, 1, "{limits}: {said:#?}");
    assert!(!said.stderr.contains("panicked"), "{limits}: {said:#?}");
    assert!(said.stdout.contains("ulimit -"), "{limits}: {said:#?}");
    test.left_nothing();
}

#[test]
fn few_open_files_are_refused_with_the_way_out() {
    let test = TestEnv::new();
    let mut done = false;
    for count in 10..=64 {
        let limits = format!("ulimit -n {count}");
        let said = limited(&test, &limits);
        // Success near the limit depends on how many threads happen to have files open at the same
        // time.
        done = said.status == 0;
        if !done {
            check_refused(&test, &limits, &said);
        }
    }
    assert!(done, "64 are enough");
}

/// The program ends immediately if memory runs out during a computation, with a message that gives
/// the reason.
#[test]
fn little_memory_is_told_with_the_way_out() {
    let test = TestEnv::new();
    let mut threads_refused = 0;
    // The range reaches from the memory that the program itself needs to the memory that a build
    // needs.
    for megabytes in (40..400).step_by(8) {
        let limits = format!("ulimit -c 0 -v {}", megabytes * 1024);
        let said = limited(&test, &limits);
        match said.status {
            1 if said.stdout.contains("failed to start a thread") => {
                threads_refused += 1;
                check_refused(&test, &limits, &said);
            }
            1 | 101 if said.stderr.contains(WORD) || said.stderr.contains(NO_THREAD) => {
                assert_eq!(said.status, 1, "{limits}: {said:#?}");
                test.left_nothing();
            }
            0 | 1 => {}
            // These statuses come from the loader, which failed before the program started.
            127 | 139 => assert!(megabytes < 100, "{limits}: {said:#?}"),
            _ => {
                // The C library ends a program by itself if a thread gets no memory for its end.
                let words = [WORD, ABORT, "Fatal glibc error"];
                let is_told = words.iter().any(|words| said.stderr.contains(words));
                assert!(is_told, "{limits}: {said:#?}");
                for name in crate::harness::names(&test.path("tmp")) {
                    fs_err::remove_dir_all(test.path("tmp").join(name)).unwrap();
                }
            }
        }
    }
    assert!(threads_refused > 0, "no limit met the start of a thread");
}

/// Root has no limit on processes, so tests that run as root start the program as another user.
#[test]
fn few_processes_are_refused_with_the_way_out() {
    let test = TestEnv::new();
    let user = 54_321 + std::process::id() % 1000;
    let is_root = rustix::process::geteuid().is_root();
    let all = Command::new("chmod")
        .args(["-R", "a+rwX"])
        .arg(test.path(""))
        .status();
    assert!(all.unwrap().success());
    let mut refused = 0;
    for count in 1..=12 {
        let limits = if is_root {
            format!(
                "exec /usr/bin/setpriv --reuid={user} --regid={user} --clear-groups \
                /bin/bash -c 'ulimit -u {count} && exec \"$@\"' bash \"$@\""
            )
        } else {
            format!("ulimit -u {count}")
        };
        let said = limited(&test, &limits);
        if said.status != 0 {
            refused += 1;
            check_refused(&test, &limits, &said);
        }
    }
    assert!(refused > 0, "one process was enough");
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_with_the_way_out() {
    let test = TestEnv::with_bulky();
    let env = test.environment("bulky");
    fs_err::rename(&env, test.path("work/bulky.yml")).unwrap();
    let text = fs_err::read_to_string(test.path("work/bulky.yml")).unwrap();
    let mut command = test.command("/bin/bash");
    command
        .args(["-c", "ulimit -f 2000 && exec \"$@\"", "bash"])
        .arg(env!("CARGO_BIN_EXE_condense"))
        .args(["conda-containerize", "new", "--prefix"])
        .arg(test.installation())
        .arg("--base-image")
        .arg(test.path("base"))
        .arg(test.write("e.yml", &text));
    let said = command.run();
    let said = said.failed(
        1,
        &[
            "File too large",
            "hint: raise the limit on the size of files: `ulimit -f unlimited`",
        ],
    );
    assert_eq!(said.stderr, "");
    test.left_nothing();
}

/// Runs the program in a mount namespace of its own, in which `dir` is a small file system with
/// these options. Returns `None` where namespaces are not allowed.
fn on_small_file_system(
    test: &TestEnv,
    dir: &str,
    options: &str,
    words: &[&str],
) -> Option<CommandOutput> {
    let mut unshare = vec!["unshare", "--mount"];
    if !rustix::process::geteuid().is_root() {
        unshare.push("--map-root-user");
    }
    let allowed = Command::new(unshare[0])
        .args(&unshare[1..])
        .args(["/bin/sh", "-c", "mount -t tmpfs none /mnt"])
        .output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let script = "dir=$1 options=$2; shift 2
        /usr/bin/mount -t tmpfs -o \"$options\" none \"$dir\" && \"$@\"; status=$?
        for left in \"$dir\"/.[!.]* \"$dir\"/cw-*; do [ ! -e \"$left\" ] || echo \"left: $left\"; done
        exit $status";
    let mut command = test.command("/usr/bin/unshare");
    command
        .args(&unshare[1..])
        .args(["/bin/sh", "-c", script, "sh"])
        .arg(test.path(dir))
        .arg(options)
        .arg(env!("CARGO_BIN_EXE_condense"))
        .args(words);
    Some(command.run())
}

/// Returns an environment with packages that are much larger than their archives, in bytes and in
/// files, so that the check before a build cannot know what they need.
fn deceptive() -> TestEnv {
    let zeros = Package::new("zeros", "1.0").file("share/zeros", vec![0; 8 << 20]);
    let mut many = Package::new("many", "1.0");
    for number in 0..400 {
        many = many.file(&format!("share/many/{number}"), "x");
    }
    let mut all = crate::harness::packages();
    all.extend([zeros, many]);
    TestEnv::with(&all)
}

/// Row B20: bytes and inodes are told apart, with the file system and the way out, in one place.
#[test]
fn a_full_file_system_is_named_with_what_is_used_up() {
    let test = deceptive();
    let base = test.path("base").display().to_string();
    let tmp = test.path("tmp").display().to_string();
    for (package, options, resource) in [
        (
            "zeros",
            "size=4m",
            "has no space left of its 4 MiB: free some",
        ),
        (
            "many",
            "nr_inodes=150",
            "has no inodes left, all 150 are in use and each file needs one",
        ),
    ] {
        test.environment(package);
        let words = ["new", "./out", "env.yml", "--base-image", &base];
        let Some(said) = on_small_file_system(&test, "tmp", options, &words) else {
            return;
        };
        let hint = format!("hint: `{tmp}` (tmpfs) {resource}");
        let said = said.failed(1, &[]);
        let text = &said.stderr;
        assert!(text.contains(&hint), "{package}: {text}");
        assert!(
            text.contains("`--tmpdir DIR` or CW_BUILD_TMPDIR"),
            "{package}: {text}"
        );
        assert!(
            text.contains("No space left on device"),
            "{package}: {text}"
        );
        assert_eq!(text.matches("hint: ").count(), 1, "{text}");
        assert!(
            !text.contains("left: ") && !said.stdout.contains("left: "),
            "{said:?}"
        );
    }
    // A result file of a command that makes no scratch directory.
    test.environment("tool");
    test.build(&[test.path("work/env.yml").to_str().unwrap()])
        .succeeded();
    fs_err::create_dir(test.path("work/small")).unwrap();
    let words = ["report", "installation", "-o", "small/report.html"];
    let Some(said) = on_small_file_system(&test, "work/small", "size=4k", &words) else {
        return;
    };
    let said = said.failed(1, &[]);
    let small = test.path("work/small").display().to_string();
    let hint = format!("`{small}` (tmpfs) has no space left of its 4 KiB");
    assert!(said.stderr.contains(&hint), "{said:?}");
}
