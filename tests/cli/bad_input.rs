//! Tests of bad input: each kind gives one error line and exit status 1, and leaves no unfinished
//! files.

use crate::harness::{CommandOutput, Run, TestEnv};

#[track_caller]
fn refused(test: &TestEnv, arguments: &[&str], words: &[&str]) {
    test.build(arguments)
        .failed(1, words)
        .failed(1, &["[ ERROR ] "]);
    assert!(
        !test.installation().exists(),
        "something is at the destination"
    );
    test.left_nothing();
}

#[test]
fn environment_files() {
    let test = TestEnv::new();
    refused(&test, &["none.yml"], &["Env file none.yml does not exist"]);
    for (text, words) in [
        ("{a: [", "junk.yml:2:1: not valid YAML"),
        ("- a\n", "junk.yml:1:1: expected a mapping"),
        (
            "channels: [CHANNEL]\ndependencies:\n  - tool\n  - tool ==== 3\n",
            "junk.yml:4:5: `tool ==== 3` is not a package spec",
        ),
        (
            "channels: [CHANNEL]\ndependencies: [no-such-package]\n",
            "PackagesNotFoundError: no channel has `no-such-package`",
        ),
        (
            "channels: [CHANNEL]\ndependencies: [wants-one, wants-two]\n",
            "cannot solve the environment for linux-64",
        ),
        (
            "channels: ['file:///no/such/channel']\ndependencies: [tool]\n",
            "failed to read the package index of channel",
        ),
        (
            "channels: ['http://127.0.0.1:9/channel']\ndependencies: [tool]\n",
            "127.0.0.1:9",
        ),
        (
            "channels: [CHANNEL]\ndependencies: [no-programs, {pip: [-r x]}]\n",
            "junk.yml:2:36: `x`: there is neither file nor directory",
        ),
    ] {
        test.write("junk.yml", text);
        refused(&test, &["junk.yml"], &[words]);
    }
    fs_err::write(test.path("work/junk.yml"), b"dependencies: [\xff]\n").unwrap();
    refused(&test, &["junk.yml"], &["junk.yml:1: not UTF-8"]);
}

#[test]
fn damaged_packages() {
    let test = TestEnv::new();
    let env = test.environment("library");
    let env = env.to_str().unwrap();
    let archive = test.path("channel/linux-64/library-2.0-0.conda");
    let whole = fs_err::read(&archive).unwrap();
    fs_err::write(&archive, &whole[..whole.len() - 10]).unwrap();
    refused(
        &test,
        &[env],
        &["`library-2.0-0.conda`", "bytes, the channel says"],
    );
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs_err::write(&archive, flipped).unwrap();
    refused(&test, &[env], &["hash mismatch: its sha256 is"]);
    fs_err::remove_file(&archive).unwrap();
    refused(
        &test,
        &[env],
        &["failed to download", "library-2.0-0.conda"],
    );
}

#[test]
fn bases() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    let refused = |base: &str, words: &[&str]| {
        let mut command = test.program(&["new", "--prefix"]);
        command
            .arg(test.installation())
            .args(["--base-image", base])
            .arg(&env);
        command.run().failed(1, words);
        assert!(!test.installation().exists());
        test.left_nothing();
    };
    refused("/no/such/base.sif", &["/no/such/base.sif"]);
    refused(
        "docker://No Image",
        &["docker://No Image", "not a repository"],
    );
    refused("library://image:1", &["library://", "apptainer pull"]);
    let mut command = test.program(&["new", "--offline", "--prefix"]);
    command
        .arg(test.installation())
        .args(["--base-image", "docker://debian:12"])
        .arg(&env);
    let output = command.run();
    output.failed(1, &["docker://debian:12", "offline", "condense pull"]);
    let archive = test.path("work/no-such.tar").display().to_string();
    refused(&format!("oci-archive:{archive}"), &["no-such.tar"]);
    let junk = test.write("junk.sif", "this is no image at all");
    refused(junk.to_str().unwrap(), &["junk.sif"]);
    let empty = test.path("work/empty-directory");
    fs_err::create_dir(&empty).unwrap();
    refused(empty.to_str().unwrap(), &["empty-directory"]);
}

#[test]
fn a_base_of_another_architecture() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    // The architecture of the base is that of its shell.
    let mut shell = fs_err::read("/bin/sh").unwrap();
    shell[18] = 183;
    fs_err::write(test.path("base/bin/sh"), shell).unwrap();
    let (x86, arm) = (
        test.path("base/lib/x86_64-linux-gnu"),
        test.path("base/lib/aarch64-linux-gnu"),
    );
    let mut bytes = fs_err::read(x86.join("libc.so.6")).unwrap();
    bytes[18] = 183; // AArch64
    fs_err::create_dir(&arm).unwrap();
    fs_err::write(arm.join("libc.so.6"), bytes).unwrap();
    fs_err::remove_dir_all(x86).unwrap();
    refused(&test, &[env.to_str().unwrap()], &["aarch64"]);
}

#[test]
fn destinations() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    let env = env.to_str().unwrap();
    let dir = test.installation();
    fs_err::create_dir(&dir).unwrap();
    fs_err::write(dir.join("thesis.tex"), "years of work").unwrap();
    test.build(&[env])
        .failed(1, &["is not empty and not an installation"]);
    test.build(&["--force", env])
        .failed(1, &["is not empty and not an installation"]);
    assert_eq!(
        fs_err::read_to_string(dir.join("thesis.tex")).unwrap(),
        "years of work"
    );
    fs_err::remove_file(dir.join("thesis.tex")).unwrap();
    test.build(&[env]).succeeded();
    let before = fs_err::read(dir.join("img.sqfs")).unwrap();
    test.build(&[env])
        .failed(1, &["already holds an installation", "--force"]);
    assert_eq!(fs_err::read(dir.join("img.sqfs")).unwrap(), before);
    test.left_nothing();
    let mut active = test.new_command(&["--force", env]);
    let path = format!(
        "{}:{}",
        dir.join("bin").display(),
        test.path("programs").display()
    );
    active
        .env("PATH", path)
        .run()
        .failed(1, &["Remove ", " from PATH"]);
    let file = test.write("a-file", "x");
    let mut command = test.program(&[
        "new",
        "--prefix",
        file.to_str().unwrap(),
        env,
        "--base-image",
    ]);
    command
        .arg(test.path("base"))
        .run()
        .failed(1, &["is not a directory"]);
}

#[test]
fn places_that_cannot_be_used() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    let env = env.to_str().unwrap();
    refused(
        &test,
        &["--tmpdir", "/proc/nothing/here", env],
        &["Could not create build directory"],
    );
    let run = |name: &str, value: &str| test.new_command(&[env]).env(name, value).run();
    run("CW_BUILD_TMPDIR", "/proc/nothing").failed(1, &["Could not create build directory"]);
    run("CW_BUILD_TMPDIR", "relative").failed(1, &["path is not absolute"]);
    let made = test.path("tmp/made/for/me");
    run("CW_BUILD_TMPDIR", made.to_str().unwrap()).succeeded();
    assert!(made.exists());
}

#[test]
fn an_environment_s_path_that_is_too_long() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    let site = test.write(
        "site.yml",
        &format!("defaults:\n  installation_path: /{}\n", "m".repeat(230)),
    );
    let output = test
        .new_command(&[env.to_str().unwrap()])
        .env("CW_GLOBAL_YAML", site)
        .output()
        .unwrap();
    CommandOutput::from(output).failed(1, &["conda packages have room for 255"]);
    assert!(!test.installation().exists());
}

#[test]
fn what_needs_a_runtime_is_refused_by_name_without_one() {
    let test = TestEnv::new();
    for (packages, words) in [
        (
            "tool, {pip: ['git+https://me:secret@host/x']}",
            "pip's build of `git+https://host/x` must run in a container",
        ),
        ("scripted", "the post-link script of `scripted`"),
        ("activated", "activation scripts"),
    ] {
        let env = test.environment(packages);
        refused(
            &test,
            &[env.to_str().unwrap()],
            &[words, "neither apptainer nor singularity is on PATH"],
        );
    }
}

#[test]
fn an_environment_without_programs_still_has_its_list() {
    let test = TestEnv::new();
    let env = test.environment("no-programs");
    test.build(&[env.to_str().unwrap()]).succeeded();
    assert!(test.installation().join("bin/list-packages").exists());
}

#[test]
fn a_runtime_that_cannot_start_is_told_before_the_download() {
    let test = TestEnv::new();
    test.fake_program(
        "apptainer",
        "#!/bin/sh\ncase $1 in --version) echo apptainer version 1.4.5 ;; *) echo 'FATAL:   no loop devices available' >&2; exit 255 ;; esac\n",
    );
    let env = test.environment("no-such-package");
    // The package does not exist, but the error of the runtime comes before the search for it.
    refused(
        &test,
        &[env.to_str().unwrap()],
        &["no loop devices available"],
    );
}

#[test]
fn a_site_s_runtime_that_is_none() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    let run = |path: &str| {
        let site = test.write(
            "site.yml",
            &format!("defaults:\n  singularity_executable_path: {path}\n"),
        );
        test.new_command(&[env.to_str().unwrap()])
            .env("CW_GLOBAL_YAML", site)
            .run()
    };
    run("/no/such/singularity").failed(1, &["/no/such/singularity", "does not exists"]);
    // Existing scripts search for the name and the words together, on one line.
    run("ThisIsNotACommand").failed(1, &["ThisIsNotACommand does not exists"]);
    run("/bin/true").failed(
        1,
        &["does not seem to be a valid apptainer/singularity executable"],
    );
}

#[test]
fn a_script_without_a_runtime_is_refused_by_its_name() {
    let test = TestEnv::new();
    test.write("post.sh", "true\n");
    let env = test.environment("tool");
    refused(
        &test,
        &[env.to_str().unwrap(), "--post", "post.sh"],
        &["`post.sh` must run in a container", "neither apptainer nor"],
    );
}
