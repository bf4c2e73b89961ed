//! Tests that the environment is solved for the C library with which it will run, and that programs
//! really use that library.

use std::path::Path;

use crate::harness::{Account, Installation, Run, TestDir, as_both, parts};

/// Returns the version that the C library of a base, or of this machine, reports.
fn glibc_of(base: Option<&Path>) -> (u32, u32) {
    let mut command = match base {
        Some(base) => {
            let mut command = Account::Root.command("apptainer");
            command.args(["-s", "exec"]).arg(base).arg("getconf");
            command
        }
        None => Account::Root.command("getconf"),
    };
    let said = command.arg("GNU_LIBC_VERSION").run().succeeded().text();
    let (major, minor) = said
        .strip_prefix("glibc ")
        .unwrap()
        .split_once('.')
        .unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

/// Version of glibc that `edge-glibc` 2.0 needs; `edge-glibc` 1.0 needs an older one.
const GATE: (u32, u32) = (2, 36);

fn chosen_for(glibc: (u32, u32)) -> &'static str {
    if glibc >= GATE { "2.0" } else { "1.0" }
}

#[track_caller]
fn check_chosen(installation: &Installation, expected: &str) {
    let file = format!("{}/share/edge-glibc", installation.env_prefix());
    as_both(|account| {
        installation
            .command(account, "_debug_exec", ["cat", &file])
            .run()
            .says(expected);
    });
}

/// Writes a site whose default base has the host view: programs see the system directories of the
/// host.
fn of_site(test: &TestDir, base: &Path) -> Installation {
    let site = test.write(
        "site.yml",
        &format!("defaults:\n  container_src: {}\n", base.display()),
    );
    let installation = Installation {
        dir: test.path("of-site"),
    };
    let mut command = test.program(["new", "--prefix"]);
    command
        .arg(&installation.dir)
        .arg(test.environment("edge-glibc, edge-argv"))
        .env("CW_GLOBAL_YAML", site);
    command.run().succeeded();
    installation
}

fn of_user(test: &TestDir, base: &Path) -> Installation {
    let installation = test.installation();
    let mut command = test.program(["new", "--prefix"]);
    command
        .arg(&installation.dir)
        .arg("--base-image")
        .arg(base)
        .arg(test.environment("edge-glibc, edge-argv"));
    command.run().succeeded();
    installation
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_base_s_glibc_chooses_when_a_base_was_named() {
    let (usual, other) = (
        chosen_for(glibc_of(Some(&parts().base()))),
        chosen_for(glibc_of(Some(&parts().other_base()))),
    );
    assert_ne!(
        usual, other,
        "both bases lie on one side of glibc {GATE:?}, so nothing would be tested"
    );
    check_chosen(
        &of_user(&TestDir::new(Account::Root, "usual"), &parts().base()),
        usual,
    );
    check_chosen(
        &of_user(
            &TestDir::new(Account::Ordinary, "other"),
            &parts().other_base(),
        ),
        other,
    );
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_older_glibc_chooses_under_a_site_s_default() {
    let older = glibc_of(None).min(glibc_of(Some(&parts().other_base())));
    let test = TestDir::new(Account::Root, "site");
    check_chosen(&of_site(&test, &parts().other_base()), chosen_for(older));
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_variable_overrules_both() {
    let test = TestDir::new(Account::Root, "override");
    let dir = test.installation().dir;
    test.new_command(&dir, &test.environment("edge-glibc"))
        .env("CONDA_OVERRIDE_GLIBC", "2.20")
        .run()
        .succeeded();
    check_chosen(&test.installation(), "1.0");
    let test = TestDir::new(Account::Root, "unsolvable");
    let output = test
        .new_command(
            &test.installation().dir,
            &test.environment("edge-glibc-future"),
        )
        .run();
    test.refused(output, &["cannot solve the environment", "__glibc"]);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn programs_see_the_system_that_was_solved_for() {
    let test = TestDir::new(Account::Root, "views");
    let (by_user, by_site) = (
        of_user(&test, &parts().other_base()),
        of_site(&test, &parts().other_base()),
    );
    let of_host = fs_err::read_to_string("/etc/os-release").unwrap();
    let mut of_base = Account::Root.command("apptainer");
    let of_base = of_base
        .args(["-s", "exec"])
        .arg(parts().other_base())
        .args(["cat", "/etc/os-release"])
        .run()
        .succeeded();
    assert_ne!(
        of_base.text(),
        of_host.trim_end(),
        "the other base is this machine's own system"
    );
    as_both(|account| {
        let see = |installation: &Installation, arguments: &[&str]| {
            installation
                .command(account, "_debug_exec", arguments)
                .run()
                .succeeded()
                .text()
        };
        assert_eq!(see(&by_user, &["cat", "/etc/os-release"]), of_base.text());
        assert_eq!(
            see(&by_site, &["cat", "/etc/os-release"]),
            of_host.trim_end()
        );
        let glibc = |found: (u32, u32)| format!("glibc {}.{}", found.0, found.1);
        assert_eq!(
            see(&by_user, &["getconf", "GNU_LIBC_VERSION"]),
            glibc(glibc_of(Some(&parts().other_base())))
        );
        assert_eq!(
            see(&by_site, &["getconf", "GNU_LIBC_VERSION"]),
            glibc(glibc_of(None))
        );
        // A program that only the host has is on PATH with the host view and not with the base's.
        assert!(see(&by_site, &["which", "apptainer"]).ends_with("/apptainer"));
        by_user
            .command(account, "_debug_exec", ["test", "-e", "/usr/bin/apptainer"])
            .run()
            .failed(1, &[]);
    });
}
