//! Tests with various places of the installation, paths by which it is called, and working
//! directories.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::{Account, Installation, Run, TestDir, as_both, shared};

const WHERE: &str = "import sys, numpy; print(sys.executable, sys.prefix)";

/// Checks that Python, called as `called`, reports `executable` as its path and the shared
/// environment as its prefix.
#[track_caller]
fn check(mut called: Command, executable: &Path) {
    let expected = format!("{} {}", executable.display(), shared().env_prefix());
    called.args(["-c", WHERE]).run().says(&expected);
}

fn copy(account: Account, to: &Path) -> Installation {
    account
        .command("cp")
        .arg("-a")
        .arg(&shared().dir)
        .arg(to)
        .run()
        .succeeded();
    Installation { dir: to.to_owned() }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn every_way_to_write_the_path() {
    let bin = shared().dir.join("bin");
    let python = bin.join("python");
    let in_dir = |account: Account, dir: &Path, name: &str| {
        // A relative path counts from the working directory of the child, so a shell makes the
        // call.
        let mut command = account.command("/bin/sh");
        command
            .args([
                "-c",
                "program=$1; shift; exec \"$program\" \"$@\"",
                "sh",
                name,
            ])
            .current_dir(dir);
        command
    };
    as_both(|account| {
        check(account.command(&python), &python);
        check(in_dir(account, &bin, "./python"), &python);
        check(in_dir(account, &shared().dir, "bin/python"), &python);
        check(
            in_dir(account, &shared().dir, "./bin/../bin//python"),
            &python,
        );
        let mut by_path = in_dir(account, Path::new("/"), "python");
        by_path.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
        check(by_path, &python);
        let mut by_shell = account.command("/bin/sh");
        by_shell.arg(&python);
        check(by_shell, &python);
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_link_to_one_wrapper_runs_the_right_python() {
    as_both(|account| {
        let test = TestDir::new(account, "one-link");
        let python = shared().bin("python");
        let (absolute, chain, relative) = (
            test.path("my-python"),
            test.path("chain"),
            test.path("relative python"),
        );
        symlink(&python, &absolute).unwrap();
        symlink("my-python", &chain).unwrap();
        let up = Path::new("..").join(
            shared()
                .dir
                .strip_prefix(test.dir().parent().unwrap())
                .unwrap(),
        );
        symlink(up.join("bin/python"), &relative).unwrap();
        for link in [absolute, chain, relative] {
            check(account.command(link), &python);
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_moved_copied_or_linked_installation_runs() {
    as_both(|account| {
        let test = TestDir::new(account, "moved");
        let copied = copy(account, &test.path("copied"));
        check(account.command(copied.bin("python")), &copied.bin("python"));
        let moved = test.path("moved  to \"this\" $place's `end`");
        fs_err::rename(&copied.dir, &moved).unwrap();
        check(
            account.command(moved.join("bin/python")),
            &moved.join("bin/python"),
        );
        let link = test.path("current");
        symlink(&moved, &link).unwrap();
        check(
            account.command(link.join("bin/python")),
            &link.join("bin/python"),
        );
        let out = shared().command(account, "edge-exit", ["4"]).run();
        assert_eq!(out.status, 4, "the original is still there");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_read_only_installation_runs() {
    let test = TestDir::new(Account::Root, "read-only");
    let installation = copy(Account::Root, &test.path("copy"));
    Account::Root
        .command("chmod")
        .args(["-R", "a-w"])
        .arg(&installation.dir)
        .run()
        .succeeded();
    as_both(|account| {
        check(
            account.command(installation.bin("python")),
            &installation.bin("python"),
        );
    });
}

/// Checks a directory whose top-level name the base has as well.
struct Hidden(PathBuf);

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_installation_below_a_directory_of_the_base_runs() {
    for parent in ["/opt", "/usr/local", "/var/lib"] {
        println!("below {parent}");
        let dir =
            Hidden(Path::new(parent).join(format!("condense-runtime-{}", std::process::id())));
        let installation = copy(Account::Root, &dir.0);
        as_both(|account| {
            check(
                account.command(installation.bin("python")),
                &installation.bin("python"),
            );
            let mut inside = installation.command(account, "edge-argv", [""; 0]);
            let pieces = inside.current_dir(&dir.0).run().pieces();
            assert_eq!(
                pieces[0],
                installation.bin("edge-argv").to_str().unwrap().as_bytes()
            );
        });
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_working_directory_may_be_anywhere() {
    let text = "import os, numpy; print(os.getcwd())";
    as_both(|account| {
        let test = TestDir::new(account, "here");
        let odd = test.make_dir("it's  \"here\" $HOME, : `id`");
        let parent = shared().dir.parent().unwrap();
        let dirs = [
            &shared().dir,
            &shared().dir.join(".condense/1/bin"),
            parent,
            Path::new("/"),
            Path::new("/tmp"),
            test.dir(),
        ];
        for dir in dirs.into_iter().chain([account.home().as_path()]) {
            let mut command = shared().python(account, text);
            command.current_dir(dir).run().says(dir.to_str().unwrap());
        }
        let mut command = shared().python(account, text);
        command
            .current_dir(shared().dir.join("bin"))
            .run()
            .succeeded();
        // The runtime shows /tmp by itself, so a path below it needs no bind.
        shared()
            .python(account, text)
            .current_dir(&odd)
            .run()
            .says(odd.to_str().unwrap());
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_working_directory_may_be_gone() {
    as_both(|account| {
        let test = TestDir::new(account, "gone");
        let mut command = test.command("/bin/sh");
        command
            .args([
                "-c",
                "mkdir gone && cd gone && rmdir ../gone && exec \"$1\" -c 'import numpy; print(1)'",
                "sh",
            ])
            .arg(shared().bin("python"));
        command.run().says("1");
    });
}
