//! Tests of `wrap-container` and `wrap-install` with the real runtime, as root and as an ordinary
//! user.

use std::{os::unix::fs::PermissionsExt, path::Path};

use crate::harness::{Account, CommandOutput, Installation, Run, TestDir, as_both, parts};

fn tool(test: &TestDir, name: &str, words: &[&str]) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command
        .arg(name)
        .args(words)
        .env("TMPDIR", test.scratch())
        .run()
}

/// Makes a directory with a program that prints its path and LD_LIBRARY_PATH. With an argument, the
/// program also writes a file into that directory.
fn software(test: &TestDir) -> std::path::PathBuf {
    let dir = test.make_dir("software");
    for name in ["software/bin", "software/lib"] {
        test.make_dir(name);
    }
    let program = test.write(
        "software/bin/where",
        "#!/bin/sh\necho \"$0 $LD_LIBRARY_PATH\"\n[ -z \"$1\" ] || echo x > \"${0%/*}/../new\"\n",
    );
    fs_err::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_container_s_programs_run_with_its_own_variables() {
    as_both(|account| {
        let test = TestDir::new(account, "wrap-container");
        let base = parts().base();
        tool(
            &test,
            "wrap-container",
            &[
                "-w",
                "/usr/bin/env,/bin/sh",
                "--prefix",
                "installation",
                base.to_str().unwrap(),
            ],
        )
        .succeeded();
        let installation = test.installation();
        let mut command = installation.command(
            account,
            "sh",
            ["-c", "cat /etc/os-release; echo \"$PATH\"; exit 7"],
        );
        let output = command.env("PATH", "/outside:/usr/bin:/bin").run();
        assert_eq!(output.status, 7, "{output:?}");
        let text = output.text();
        assert!(
            text.contains("ID=debian") && !text.contains("/outside"),
            "{text}"
        );
        // Wrappers that are called in the container start no second container.
        let env = installation.bin("env");
        let output = installation
            .command(
                account,
                "sh",
                ["-c", &format!("{} echo nested", env.display())],
            )
            .run()
            .succeeded();
        assert_eq!(output.text(), "nested");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_wrapper_of_another_container_says_so() {
    let test = TestDir::new(Account::Root, "cross-call");
    let base = parts().base();
    let base = base.to_str().unwrap();
    for name in ["one", "two"] {
        let more = if name == "one" {
            "/usr/bin/env"
        } else {
            "/bin/sh"
        };
        tool(
            &test,
            "wrap-container",
            &["-w", more, "--prefix", name, base],
        )
        .succeeded();
    }
    let inner = test.path("two/bin/sh");
    let output = Account::Root
        .command(test.path("one/bin/env"))
        .arg(inner)
        .args(["-c", "echo reached"])
        .run();
    assert_ne!(output.status, 0, "{output:?}");
    assert!(
        output
            .stderr
            .contains("wrapper called from another container"),
        "{output:?}"
    );
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_installed_directory_runs_out_of_one_file() {
    as_both(|account| {
        let test = TestDir::new(account, "wrap-install");
        let dir = software(&test);
        let base = parts().base();
        tool(
            &test,
            "wrap-install",
            &[
                "-w",
                "bin",
                "--prefix",
                "installation",
                "--base-image",
                base.to_str().unwrap(),
                "software",
            ],
        )
        .succeeded();
        let installation = test.installation();
        let mount = installation.mount_point();
        fs_err::remove_dir_all(&dir).unwrap();
        let output = installation
            .command(account, "where", [""])
            .run()
            .succeeded();
        let expected = format!("{} {mount}/lib", installation.bin("where").display());
        assert!(output.text().starts_with(&expected), "{output:?}");
        test.left_nothing();
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_masked_directory_is_the_image_inside_and_itself_outside() {
    as_both(|account| {
        let test = TestDir::new(account, "wrap-mask");
        let dir = software(&test);
        let base = parts().base();
        tool(
            &test,
            "wrap-install",
            &[
                "--mask",
                "-w",
                "bin",
                "--prefix",
                "installation",
                "--base-image",
                base.to_str().unwrap(),
                "software",
            ],
        )
        .succeeded();
        let installation = test.installation();
        let real = dir.canonicalize().unwrap();
        assert_eq!(Path::new(&installation.mount_point()), real);
        let debug = |script: &str| {
            let words = ["sh", "-c", script, "sh", real.to_str().unwrap()];
            installation.command(account, "_debug_exec", words).run()
        };
        let output = debug("touch \"$1/new\"");
        assert!(
            output.stderr.contains("Read-only file system"),
            "{output:?}"
        );
        fs_err::write(dir.join("outside"), "").unwrap();
        assert_eq!(debug("ls \"$1\"").succeeded().text(), "bin\nlib");
        installation
            .command(account, "where", [""])
            .run()
            .succeeded();
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn scripts_change_the_packed_copy_only() {
    as_both(|account| {
        let test = TestDir::new(account, "wrap-scripts");
        let dir = software(&test);
        test.write("pre.sh", "echo pre > \"$install_root/order\"\n");
        test.write(
            "post.sh",
            "cat \"$CW_INSTALLATION_PATH/order\"; echo post >> \"$env_root/order\"; pwd\n",
        );
        let base = parts().base();
        let base = base.to_str().unwrap();
        let said = tool(
            &test,
            "wrap-install",
            &[
                "-w",
                "bin",
                "--prefix",
                "installation",
                "--base-image",
                base,
                "--pre-install",
                "pre.sh",
                "--post",
                "post.sh",
                "software",
            ],
        )
        .succeeded();
        assert!(said.text().contains("pre"), "{said:?}");
        assert!(!dir.join("order").exists());
        let installation = test.installation();
        let file = format!("{}/order", installation.mount_point());
        let output = installation
            .command(account, "_debug_exec", ["cat", &file])
            .run()
            .succeeded();
        assert_eq!(output.text(), "pre\npost");
        test.left_nothing();
        test.write("bad.sh", "false\n");
        let said = tool(
            &test,
            "wrap-install",
            &[
                "-w",
                "bin",
                "--prefix",
                "other",
                "--base-image",
                base,
                "--post",
                "bad.sh",
                "software",
            ],
        );
        said.failed_on_either_stream(1, &["bad.sh", "failed with exit status 1"]);
        assert!(!test.path("other").exists());
        test.left_nothing();
    });
}

/// Returns the installations `one` and `two words` on the site's base, so that each sees the other.
/// `one` has a Python, `two words` another program.
fn compose(test: &TestDir) -> (Installation, Installation) {
    let site = format!("defaults:\n  container_src: {}\n", parts().base().display());
    let site = test.write("site.yml", &site);
    let build = |name: &str, packages: &str| {
        let mut command = test.program(["new", "--prefix", name]);
        command.arg(test.environment(packages));
        command.env("CW_GLOBAL_YAML", &site).run().succeeded();
        Installation {
            dir: test.path(name),
        }
    };
    (build("one", "python=3.11"), build("two words", "edge-argv"))
}

/// Statements 70 to 74 of the list of Tykky's tests: an installation is mounted over the directory
/// that was packed, and other installations are on PATH, named as Tykky's users name them.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_masked_installation_takes_its_directory_s_place_among_others() {
    as_both(|account| {
        let test = TestDir::new(account, "wrap-in-place");
        let (one, two) = compose(&test);
        let dir = software(&test);
        let words = ["--mask", "-w", "bin", "--prefix", "made", "software"];
        let mut command = test.command(parts().path("programs/condense"));
        let command = command.arg("wrap-install").args(words);
        command
            .env("TMPDIR", test.scratch())
            .env("CW_GLOBAL_YAML", test.path("site.yml"))
            .run()
            .succeeded();
        let real = dir.canonicalize().unwrap().display().to_string();
        fs_err::remove_dir_all(&dir).unwrap();
        fs_err::rename(test.path("made"), &dir).unwrap();
        let masked = Installation { dir };

        let own = format!("{real}/bin/where {real}/lib");
        let output = masked.command(account, "where", [""; 0]).run().succeeded();
        assert!(output.text().starts_with(&own), "{output:?}");
        let image = |of: &Installation, mount_point: &str| {
            format!("{}:{mount_point}:image-src=/", of.image().display())
        };
        let images = [
            image(&masked, &real),
            image(&one, &one.mount_point()),
            image(&two, &two.mount_point()),
        ];
        let path = [&masked, &one, &two].map(|of| of.dir.join("bin").display().to_string());
        let path = format!("{}:/usr/bin:/bin", path.join(":"));
        // Tykky's tests join the directories with colons, and its documentation with commas; PATH
        // has the same directories.
        for extra in [Some(images.join(":")), Some(images.join(",")), None] {
            let debug = |of: &Installation, script: &str| {
                let mut command = of.command(account, "_debug_exec", ["sh", "-c", script]);
                command.env("PATH", &path);
                if let Some(extra) = &extra {
                    command
                        .env("CW_EXTRA_BIND_MOUNTS", extra)
                        .env("CW_NO_COMPOSITION", "1");
                }
                command.run()
            };
            // The program runs in the container that was started first: a second container would
            // show the base image of the other installation.
            let count = "echo \"${SINGULARITY_CONTAINER%/.condense*}\"";
            let script = format!("where && {count}");
            let said = debug(&one, &script).succeeded().text();
            let (first, container) = said.split_once('\n').unwrap();
            assert!(first.starts_with(&format!("{real}/bin/where")), "{said}");
            assert_eq!(container, one.dir.display().to_string());
            let nested = "import subprocess as s; s.run(['edge-argv'], check=True, stdout=s.DEVNULL); s.run(['sh', '-c', 'where; echo $SINGULARITY_CONTAINER'], check=True)";
            let script = format!("python3 -c \"{nested}\"");
            let said = debug(&masked, &script).succeeded().text();
            assert!(
                said.contains(&format!("\n{real}/.condense/1/container.sif")),
                "{said}"
            );
            let said = debug(&masked, "echo \"$SINGULARITY_BIND\"")
                .succeeded()
                .text();
            let top = format!("/{}", real.split('/').nth(1).unwrap());
            // SingularityCE also lists the sources.
            let mut shown = said
                .split(',')
                .filter_map(|bind| bind.split(':').next_back());
            assert!(shown.any(|place| place == top), "{said}");
        }
        test.left_nothing();
    });
}
