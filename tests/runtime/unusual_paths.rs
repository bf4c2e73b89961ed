//! Tests of builds in which the cache, the home directory, the clock or a directory has unusual
//! properties.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use crate::{
    harness::{Account, Run, TestDir, Tmpfs, as_both, names, parts},
    support::server::{Act, Door, serve},
};

/// Writes an environment file whose channel has to be downloaded.
fn environment_of(test: &TestDir, url: &str, packages: &str) -> std::path::PathBuf {
    test.write(
        "env.yml",
        &format!("channels: ['{url}']\ndependencies: [{packages}]\n"),
    )
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_home_that_cannot_be_written_costs_only_the_cache() {
    let test = TestDir::new(Account::Ordinary, "read-only-home");
    let home = test.make_dir("home");
    chown(&home, Some(0), Some(0)).unwrap();
    fs_err::set_permissions(&home, std::fs::Permissions::from_mode(0o555)).unwrap();
    let server = serve(&parts().path("channel"), Door::Password, |_, _| Act::Serve);
    let environment = environment_of(&test, &server.url(), "edge-argv");
    let mut command = test.new_command(&test.installation().dir, &environment);
    let output = command
        .env_remove("CONDENSE_CACHE_DIR")
        .env("HOME", &home)
        .run()
        .succeeded();
    let said = output.text();
    assert!(
        said.contains("cannot be written") && said.contains("CONDENSE_CACHE_DIR"),
        "{said}"
    );
    assert_eq!(names(&home), Vec::<String>::new());
    test.left_nothing();
    let mut command = test
        .installation()
        .command(Account::Ordinary, "edge-exit", ["3"]);
    assert_eq!(command.env("HOME", &home).run().status, 3);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_cache_without_room_is_told_before_the_download() {
    as_both(|account| {
        let test = TestDir::new(account, "small-cache");
        let tmpfs = Tmpfs::mount(&test.path("small"), "5m");
        // All users may write to the mounted directory, which is not allowed for a cache.
        let cache = test.path("small/cache");
        fs_err::create_dir(&cache).unwrap();
        account.own(&cache);
        let server = serve(&parts().path("channel"), Door::Password, |_, _| Act::Serve);
        let environment = environment_of(&test, &server.url(), "python=3.11");
        let mut command = test.new_command(&test.installation().dir, &environment);
        let output = command.env("CONDENSE_CACHE_DIR", cache).run();
        test.refused(
            output,
            &["not enough space in", "small", "CONDENSE_CACHE_DIR"],
        );
        assert_eq!(server.archive_requests().len(), 0);
        drop(tmpfs);
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_destination_without_room_is_told_before_the_download() {
    as_both(|account| {
        let test = TestDir::new(account, "small-destination");
        let tmpfs = Tmpfs::mount(&test.path("small"), "5m");
        let dir = test.path("small/installation");
        let output = test
            .new_command(&dir, &test.environment("python=3.11"))
            .run();
        test.refused(output, &["not enough space in", "small", "the image"]);
        assert_eq!(names(&test.path("small")), Vec::<String>::new());
        drop(tmpfs);
    });
}

/// The clock of a file server may differ from the node's by years.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn files_of_the_future_are_used_like_others() {
    let test = TestDir::new(Account::Root, "clock");
    let server = serve(&parts().path("channel"), Door::Password, |_, _| Act::Serve);
    let environment = environment_of(&test, &server.url(), "edge-argv, edge-python");
    let cache = test.make_dir("cache");
    let build = |name: &str| {
        let mut command = test.new_command(&test.path(name), &environment);
        command.env("CONDENSE_CACHE_DIR", &cache).run().succeeded();
        fs_err::read(test.path(name).join("img.sqfs")).unwrap()
    };
    let before = build("before");
    let asked = server.archive_requests().len();
    let future = SystemTime::now() + Duration::from_secs(10 * 365 * 24 * 3600);
    set_times(&cache, future);
    assert!(build("after") == before, "the images differ");
    set_times(&cache, SystemTime::UNIX_EPOCH);
    assert!(build("long-ago") == before, "the images differ");
    let again = server.archive_requests().len();
    assert_eq!(again, asked, "archives were downloaded again");
}

fn set_times(dir: &Path, time: SystemTime) {
    for name in names(dir) {
        let path = dir.join(name);
        if path.is_dir() {
            set_times(&path, time);
        }
        let file = fs_err::File::open(&path).unwrap();
        file.file().set_modified(time).unwrap();
    }
}

/// Checks a project's directory with set-group-ID, whose members have umask 007.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn another_member_of_the_group_runs_and_updates() {
    /// Accounts that every Debian has, and a group that is no account's primary group.
    const MEMBERS: [&str; 2] = ["condense-test", "games"];
    const GROUP: u32 = 100;
    let test = TestDir::new(Account::Root, "project");
    let project = test.make_dir("project");
    chown(&project, Some(0), Some(GROUP)).unwrap();
    fs_err::set_permissions(&project, std::fs::Permissions::from_mode(0o2770)).unwrap();
    let dir = project.join("installation");
    let environment = test.environment("edge-argv, edge-many-files");
    let as_member = |member: &str, words: &[&std::ffi::OsStr]| {
        let home = test.path(format!("home-{member}"));
        if !home.exists() {
            fs_err::create_dir(&home).unwrap();
            fs_err::set_permissions(&home, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        let mut command = Command::new("/usr/bin/setpriv");
        command
            .args([format!("--reuid={member}"), format!("--regid={GROUP}")])
            .args([
                "--clear-groups",
                "--",
                "/bin/sh",
                "-c",
                "umask 007; exec \"$@\"",
                "sh",
            ])
            .args(words)
            .env_clear()
            .env("PATH", parts().search_path())
            .env("HOME", &home)
            .env("TMPDIR", &home)
            .env("CONDENSE_CACHE_DIR", home.join("cache"))
            .current_dir("/");
        command.run()
    };
    let program = parts().path("programs/conda-containerize");
    let build = |member: &str, more: &str| {
        let base = parts().base();
        let mut words: Vec<&std::ffi::OsStr> = vec![
            program.as_os_str(),
            "new".as_ref(),
            "--prefix".as_ref(),
            dir.as_os_str(),
            "--base-image".as_ref(),
            base.as_os_str(),
            environment.as_os_str(),
        ];
        if !more.is_empty() {
            words.push(more.as_ref());
        }
        as_member(member, &words).succeeded();
    };
    let exits = |member: &str| {
        let wrapper = dir.join("bin/edge-exit");
        let output = as_member(member, &[wrapper.as_os_str(), "3".as_ref()]);
        assert_eq!(output.status, 3, "as {member}: {output:?}");
    };
    build(MEMBERS[0], "");
    exits(MEMBERS[1]);
    build(MEMBERS[1], "--force");
    exits(MEMBERS[0]);
    build(MEMBERS[0], "--force");
    exits(MEMBERS[1]);
    let state = dir.join(".condense");
    let mode = fs_err::metadata(&state).unwrap();
    assert_eq!((mode.mode() & 0o7777, mode.gid()), (0o2775, GROUP));
    // The other member may remove all of it.
    as_member(
        MEMBERS[1],
        &["/bin/rm".as_ref(), "-r".as_ref(), dir.as_os_str()],
    )
    .succeeded();
}
