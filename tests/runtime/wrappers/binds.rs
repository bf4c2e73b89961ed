//! Tests of the user's own binds, in both families of variables.

use std::process::Command;

use crate::harness::{Account, Run, TestDir, as_both, shared};

/// Shell script that prints the files, or the error for each.
const READ: &str = "import sys, numpy
for path in sys.argv[1:]:
    try: print(open(path).read())
    except OSError as error: print(type(error).__name__)";

fn read(account: Account, files: &[&str]) -> Command {
    shared().command(account, "python", ["-c", READ].iter().chain(files))
}

/// Makes a test with the directories `one` and `two`, each with a file.
fn test(account: Account) -> TestDir {
    let test = TestDir::new(account, "binds");
    for name in ["one", "two"] {
        test.make_dir(name);
        test.write(&format!("{name}/file"), name);
    }
    test
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn either_family_is_honoured() {
    as_both(|account| {
        let test = test(account);
        for variable in [
            "APPTAINER_BIND",
            "SINGULARITY_BIND",
            "APPTAINER_BINDPATH",
            "SINGULARITY_BINDPATH",
        ] {
            println!("{variable}");
            let bind = format!(
                "{}:/condense-one,{}:/condense-two:ro",
                test.path("one").display(),
                test.path("two").display()
            );
            let mut command = read(account, &["/condense-one/file", "/condense-two/file"]);
            command.env(variable, bind).run().says("one\ntwo");
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn both_families_are_merged() {
    as_both(|account| {
        let test = test(account);
        let (one, two) = (test.path("one"), test.path("two"));
        let mut command = read(
            account,
            &[
                "/condense-one/file",
                "/condense-two/file",
                "/condense-both/file",
            ],
        );
        command
            .env(
                "APPTAINER_BIND",
                format!("{0}:/condense-one,{0}:/condense-both", one.display()),
            )
            .env(
                "SINGULARITY_BIND",
                format!("{0}:/condense-two,{0}:/condense-both", two.display()),
            );
        // The runtime itself uses the first family, so the first family takes precedence.
        command.run().says("one\ntwo\none");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_user_s_bind_wins_over_what_is_shown_anyway() {
    as_both(|account| {
        let test = test(account);
        for place in ["/srv", "/mnt", "/opt"] {
            let mut command = read(account, &[&format!("{place}/file")]);
            command
                .env(
                    "APPTAINER_BIND",
                    format!("{}:{place}", test.path("one").display()),
                )
                .run()
                .says("one");
        }
        // A bind of a directory that is visible anyway is no error.
        let mut command = read(account, &[test.path("two/file").to_str().unwrap()]);
        command
            .env(
                "SINGULARITY_BIND",
                format!("/home,/srv,/tmp,{}", test.path("two").display()),
            )
            .run()
            .says("two");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn odd_names_and_relative_ones() {
    as_both(|account| {
        let test = test(account);
        test.make_dir("it's \"odd\" $HOME");
        test.write("it's \"odd\" $HOME/file", "odd");
        let bind = format!(
            "{}:/condense-odd,",
            test.path("it's \"odd\" $HOME").display()
        );
        let mut command = read(account, &["/condense-odd/file"]);
        command.env("APPTAINER_BIND", bind).run().says("odd");
        let mut command = read(account, &["/condense-one/file"]);
        command
            .env("APPTAINER_BIND", "one:/condense-one")
            .current_dir(test.dir())
            .run()
            .says("one");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_places_of_the_installation_are_refused_by_name() {
    as_both(|account| {
        let test = test(account);
        let bin = shared().dir.join("bin").display().to_string();
        for place in [&shared().mount_point(), &bin, &format!("{bin}/")] {
            for variable in ["APPTAINER_BIND", "SINGULARITY_BIND"] {
                let mut command = read(account, &[]);
                let output = command
                    .env(variable, format!("{}:{place}", test.path("one").display()))
                    .run();
                assert_eq!(output.text(), "", "{output:?}");
                output.failed_on_either_stream(125, &[variable, place.trim_end_matches('/')]);
            }
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_bind_of_something_that_is_not_there_is_the_runtime_s_to_refuse() {
    as_both(|account| {
        let mut command = read(account, &[]);
        command
            .env("APPTAINER_BIND", "/no/such/directory:/condense-none")
            .run()
            .failed_on_either_stream(255, &["/no/such/directory"]);
    });
}
