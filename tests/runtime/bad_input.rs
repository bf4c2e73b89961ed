//! Tests of inputs that cannot be built: the error gives the reason, the exit status is 1, and no
//! file is left.

use std::path::Path;

use crate::harness::{Account, CommandOutput, Run, TestDir, as_both, names, parts};

fn build_on(test: &TestDir, base: impl AsRef<Path>) -> CommandOutput {
    let mut command = test.program(["new", "--prefix"]);
    command
        .arg(test.installation().dir)
        .arg("--base-image")
        .arg(base.as_ref());
    command.arg(test.environment("edge-argv")).run()
}

fn build(test: &TestDir, packages: &str) -> CommandOutput {
    test.new_command(&test.installation().dir, &test.environment(packages))
        .run()
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_base_that_is_missing() {
    let test = TestDir::new(Account::Ordinary, "base");
    let base = test.path("no-such-base.sif");
    let output = build_on(&test, &base);
    test.refused(
        output,
        &[&format!("the base `{}` does not exist", base.display())],
    );
    let mut command = test.program(["new", "--offline", "--prefix", "installation"]);
    let output = command.arg(test.environment("edge-argv")).run();
    test.refused(
        output,
        &[
            "cannot get the default base image `docker://",
            "--base-image",
            "condense pull",
        ],
    );
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_base_that_is_cut_off_anywhere() {
    let test = TestDir::new(Account::Root, "truncated");
    let whole = fs_err::read(parts().base()).unwrap();
    for length in [
        0,
        20,
        100,
        20_000,
        60_000,
        whole.len() / 2,
        whole.len() - 100_000,
    ] {
        println!("{length} bytes");
        let base = test.path("truncated.sif");
        fs_err::write(&base, &whole[..length]).unwrap();
        let output = build_on(&test, &base);
        test.refused(output, &["truncated.sif"]);
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_base_that_is_none() {
    let test = TestDir::new(Account::Root, "no-base");
    for (name, text) in [
        ("text.sif", "this is no image\n".repeat(1000)),
        ("page.sif", "<html>404</html>".to_owned()),
    ] {
        let output = build_on(&test, test.write(name, &text));
        test.refused(output, &[name, "not a SIF"]);
    }
    let output = build_on(&test, test.make_dir("empty-sandbox"));
    test.refused(output, &["empty-sandbox", "holds no root file system"]);
}

/// Changes the architecture in the header of an image and in the description of its partition.
fn for_aarch64(sif: &[u8]) -> Vec<u8> {
    const ARCH_IN_HEADER: usize = 45;
    const DESCRIPTORS_TOTAL: usize = 88;
    const DESCRIPTORS_AT: usize = 96;
    const DESCRIPTOR_BYTES: usize = 585;
    const ARCH_IN_DESCRIPTOR: usize = 209;
    const PARTITION: [u8; 4] = 0x4004_u32.to_le_bytes();
    let number = |at: usize| usize::from_le_bytes(sif[at..at + 8].try_into().unwrap());
    let mut patched = sif.to_vec();
    let mut places = vec![ARCH_IN_HEADER];
    for index in 0..number(DESCRIPTORS_TOTAL) {
        let at = number(DESCRIPTORS_AT) + index * DESCRIPTOR_BYTES;
        if sif[at..at + 4] == PARTITION {
            places.push(at + ARCH_IN_DESCRIPTOR);
        }
    }
    assert_eq!(places.len(), 2, "the base has one partition");
    for at in places {
        assert_eq!(&sif[at..at + 2], b"02");
        patched[at..at + 2].copy_from_slice(b"04");
    }
    patched
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_base_for_another_architecture() {
    let test = TestDir::new(Account::Root, "aarch64");
    let base = test.path("for-aarch64.sif");
    fs_err::write(&base, for_aarch64(&fs_err::read(parts().base()).unwrap())).unwrap();
    let output = build_on(&test, &base);
    test.refused(output, &["for-aarch64.sif", "aarch64", "x86_64"]);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_base_on_another_machine() {
    let test = TestDir::new(Account::Ordinary, "remote");
    for (reference, line) in [
        (
            "shub://group/tool",
            "apptainer pull tool.sif shub://group/tool",
        ),
        ("library://tool", "apptainer pull tool.sif library://tool"),
    ] {
        let output = build_on(&test, reference);
        test.refused(output, &[reference, line]);
        let mut command = test.program(["new", "--prefix", "installation"]);
        let output = command
            .arg(test.environment("edge-argv"))
            .env("CONDENSE_BASE_IMAGE", reference)
            .run();
        test.refused(output, &[line]);
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_sandbox_is_a_base_too() {
    let test = TestDir::new(Account::Root, "sandbox");
    let sandbox = test.path("sandbox");
    Account::Root
        .command("apptainer")
        .args(["-s", "build", "--sandbox"])
        .arg(&sandbox)
        .arg(parts().base())
        .run()
        .succeeded();
    build_on(&test, &sandbox).succeeded();
    let installation = test.installation();
    assert_eq!(
        fs_err::read_link(installation.dir.join(".condense/1/container.sif")).unwrap(),
        sandbox
    );
    as_both(|account| {
        let output = installation.command(account, "edge-exit", ["6"]).run();
        assert_eq!(output.status, 6, "{output:?}");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_destination_that_cannot_be_written() {
    let closed = TestDir::new(Account::Root, "closed");
    let test = TestDir::new(Account::Ordinary, "not-writable");
    for dir in [
        closed.path("installation"),
        closed.path("a/b/c"),
        closed.make_dir("empty"),
    ] {
        let output = test.new_command(&dir, &test.environment("edge-argv")).run();
        test.refused(
            output,
            &[closed.dir().to_str().unwrap(), "Permission denied"],
        );
    }
    assert_eq!(names(closed.dir()), ["empty"]);
    assert_eq!(names(&closed.path("empty")), Vec::<String>::new());
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_destination_that_holds_something() {
    let test = TestDir::new(Account::Ordinary, "taken");
    let dir = test.make_dir("installation");
    let thesis = test.write("installation/thesis.tex", "years of work");
    for force in [false, true] {
        let mut command = test.new_command(&dir, &test.environment("edge-argv"));
        command
            .args(force.then_some("--force"))
            .run()
            .failed_on_either_stream(1, &["is not empty and not an installation"]);
    }
    assert_eq!(fs_err::read_to_string(&thesis).unwrap(), "years of work");
    assert_eq!(names(&dir), ["thesis.tex"]);
    fs_err::remove_file(thesis).unwrap();

    // The directory is an installation of Tykky, which running jobs may still use.
    for name in ["bin", "_bin", "share"] {
        test.make_dir(&format!("installation/{name}"));
    }
    for name in ["common.sh", "bin/python", "img.sqfs", "container.sif"] {
        test.write(&format!("installation/{name}"), "");
    }
    let before = names(&dir);
    for force in [false, true] {
        let mut command = test.new_command(&dir, &test.environment("edge-argv"));
        command
            .args(force.then_some("--force"))
            .run()
            .failed_on_either_stream(1, &["holds an installation made by Tykky"]);
    }
    assert_eq!(names(&dir), before);
    test.left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_installation_is_replaced_only_by_force() {
    let test = TestDir::new(Account::Ordinary, "force");
    let installation = test.build("edge-argv");
    build(&test, "edge-argv, edge-prefix")
        .failed_on_either_stream(1, &["already holds an installation", "--force"]);
    assert!(!installation.bin("edge-cprefix").exists());
    test.left_nothing();
    let environment = test.environment("edge-argv, edge-prefix");
    test.new_command(&installation.dir, &environment)
        .arg("--force")
        .run()
        .succeeded();
    assert!(installation.bin("edge-cprefix").exists());
    test.left_nothing();
    // An installation cannot be replaced while its `bin` is on the user's PATH.
    let path = format!("{}:/usr/bin:/bin", installation.dir.join("bin").display());
    let mut command = test.new_command(&installation.dir, &environment);
    command
        .arg("--force")
        .env("PATH", path)
        .run()
        .failed_on_either_stream(1, &["Remove ", "from PATH"]);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn packages_that_cannot_be_had() {
    let test = TestDir::new(Account::Ordinary, "packages");
    for (packages, words) in [
        (
            "edge-no-such-package",
            &["PackagesNotFoundError", "edge-no-such-package"][..],
        ),
        (
            "edge-conflict-a, edge-conflict-b",
            &["cannot solve the environment", "edge-shared"],
        ),
        ("edge-missing-dep", &["edge-does-not-exist"]),
        (
            "edge-bad-hash, edge-argv",
            &["edge-bad-hash-1.0-0.conda", "is damaged", "sha256"],
        ),
        (
            "edge-truncated, edge-argv",
            &["edge-truncated-1.0-0.conda", "is damaged"],
        ),
        (
            "edge-not-there, edge-argv",
            &["failed to download", "edge-not-there-1.0-0.conda"],
        ),
        ("python ==3.99", &["PackagesNotFoundError", "python ==3.99"]),
    ] {
        let output = build(&test, packages);
        test.refused(output, words);
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn environment_files_that_cannot_be_read() {
    let test = TestDir::new(Account::Ordinary, "files");
    let run = |name: &str| {
        let mut command = test.program(["new", "--prefix", "installation", name, "--base-image"]);
        command.arg(parts().base()).run()
    };
    test.refused(run("none.yml"), &["Env file none.yml does not exist"]);
    for (text, words) in [
        ("{a: [\n", "bad.yml:2:1: not valid YAML"),
        ("- a\n", "bad.yml:1:1: expected a mapping"),
        (
            "channels: [x]\ndependencies:\n  - edge-argv\n  - edge-argv ==== 3\n",
            "bad.yml:4:5:",
        ),
        (
            "channels: ['file:///no/such/channel']\ndependencies: [edge-argv]\n",
            "failed to read the package index of channel",
        ),
        (
            "channels: ['http://127.0.0.1:9/channel']\ndependencies: [edge-argv]\n",
            "http://127.0.0.1:9/channel",
        ),
    ] {
        test.write("bad.yml", text);
        test.refused(run("bad.yml"), &[words]);
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_mount_point_that_packages_have_no_room_for() {
    let test = TestDir::new(Account::Root, "long");
    let site = test.write(
        "site.yml",
        &format!("defaults:\n  installation_path: /{}\n", "m".repeat(230)),
    );
    let mut command = test.new_command(&test.installation().dir, &test.environment("edge-argv"));
    let output = command.env("CW_GLOBAL_YAML", site).run();
    test.refused(output, &["255"]);
}
