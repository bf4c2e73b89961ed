//! Tests of the base image in an installation: it is not copied where a link is safe.

use std::os::unix::fs::{MetadataExt, symlink};

use crate::harness::{Account, Installation, Run, TestDir, as_both, parts};

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_base_is_not_copied_when_it_is_the_builder_s_own() {
    let test = TestDir::new(Account::Root, "own-base");
    let base = test.path("own.sif");
    fs_err::copy(parts().base(), &base).unwrap();
    let installation = test.installation();
    let mut command = test.program(["new", "--prefix"]);
    command
        .arg(&installation.dir)
        .arg("--base-image")
        .arg(&base)
        .arg(test.environment("edge-argv"));
    command.run().succeeded();
    let placement = installation.receipt()["base"]["placement"]
        .as_str()
        .unwrap()
        .to_owned();
    let metadata = fs_err::metadata(installation.dir.join("container.sif")).unwrap();
    match placement.as_str() {
        "reflink" => assert_eq!(metadata.nlink(), 1),
        "hard-link" => assert_eq!(metadata.ino(), fs_err::metadata(&base).unwrap().ino()),
        other => panic!("the base was placed as `{other}`"),
    }
    // The user may remove the file by which he named the base, because the installation has a link
    // of its own.
    fs_err::remove_file(base).unwrap();
    as_both(|account| {
        installation
            .command(account, "edge-exit", ["0"])
            .run()
            .says("");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn another_user_s_base_is_a_link_with_a_digest() {
    let test = TestDir::new(Account::Ordinary, "foreign-base");
    let installation = test.build("edge-argv");
    let receipt = installation.receipt();
    if receipt["base"]["placement"] == "reflink" {
        return;
    }
    assert_eq!(receipt["base"]["placement"], "symlink");
    let link = fs_err::read_link(installation.dir.join(".condense/1/container.sif")).unwrap();
    assert_eq!(link, parts().base());
    let sum = Account::Root
        .command("sha256sum")
        .arg(parts().base())
        .run()
        .succeeded()
        .text();
    assert_eq!(sum.split(' ').next().unwrap(), receipt["base"]["sha256"]);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_base_is_copied_when_asked_and_when_it_is_a_moving_link() {
    let test = TestDir::new(Account::Root, "copied-base");
    let environment = test.environment("edge-argv");
    symlink(parts().base(), test.path("latest.sif")).unwrap();
    let original = fs_err::metadata(parts().base()).unwrap();
    for (name, base, copy) in [
        ("asked", parts().base(), true),
        ("moving", test.path("latest.sif"), false),
    ] {
        let dir = test.path(name);
        let mut command = test.program(["new", "--prefix"]);
        command
            .arg(&dir)
            .arg("--base-image")
            .arg(base)
            .args(copy.then_some("--copy-base"))
            .arg(&environment);
        command.run().succeeded();
        let physical = dir.join(".condense/1/container.sif");
        let own = fs_err::symlink_metadata(&physical).unwrap();
        assert!(
            own.is_file() && own.ino() != original.ino() && own.len() == original.len(),
            "{name}: {own:?}"
        );
        Installation { dir }
            .command(Account::Ordinary, "edge-exit", ["0"])
            .run()
            .says("");
    }
}
