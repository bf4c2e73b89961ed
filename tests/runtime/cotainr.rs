//! Tests of `cotainr` with the real runtime, as root and as an ordinary user. Test names begin with
//! the numbers of the statements in the list of cotainr's own tests.

mod conda;
mod registry;
mod site;

use std::{path::Path, process::Command};

use crate::harness::{Account, CommandOutput, Run, TestDir, as_both, parts};

const ENVIRONMENT: &str = "/opt/cotainr/conda/envs/conda_container_env";

fn condense(test: &TestDir) -> Command {
    let mut command = test.command(parts().path("programs/condense"));
    command
        .env("TMPDIR", test.scratch())
        .env("CONDENSE_CACHE_DIR", test.path("cache"))
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels());
    command
}

fn build(test: &TestDir, base: &Path, words: &[&str]) -> CommandOutput {
    let mut command = condense(test);
    command
        .args(["cotainr", "build", "--yes", "--base-image"])
        .arg(base);
    command.args(words).run()
}

fn apptainer(test: &TestDir, words: &[&str]) -> CommandOutput {
    test.command("apptainer").args(words).run()
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn b103_and_b87_an_environment_under_two_umasks() {
    as_both(|account| {
        let test = TestDir::new(account, "cotainr-umask");
        test.environment("python=3.11, edge-activate");
        let mut digests = Vec::new();
        for umask in ["007", "022"] {
            let mut command = test.command("/bin/sh");
            command
                .args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask])
                .arg(parts().path("programs/condense"))
                .args(["cotainr", "build", "--accept-licenses", "--conda-env"])
                .args(["env.yml", "-y", "out.sif", "--base-image"])
                .arg(parts().base())
                .env("TMPDIR", test.scratch())
                .env("CONDENSE_CACHE_DIR", test.path("cache"));
            command.run().succeeded();
            let python = "import sys, os; print(sys.executable, os.environ['EDGE_VALUE'])";
            apptainer(&test, &["exec", "out.sif", "python3", "-c", python])
                .says(&format!("{ENVIRONMENT}/bin/python3 set by edge-activate"));
            let labels = apptainer(&test, &["inspect", "out.sif"]).succeeded().text();
            for label in ["cotainr.version: ", "cotainr.url: ", "cotainr.command: "] {
                assert!(labels.contains(label), "{labels}");
            }
            let mode = ["exec", "out.sif", "stat", "-c", "%a"];
            let script = "/.singularity.d/env/92-cotainr-env.sh";
            apptainer(&test, &[&mode[..], &[script]].concat()).says("755");
            digests.push(fs_err::read(test.path("out.sif")).unwrap());
        }
        assert!(digests[0] == digests[1], "the umask is in the image");
        test.left_nothing();
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn b24_and_b86_everything_that_a_runtime_shows() {
    as_both(|account| {
        let test = TestDir::new(account, "cotainr-shows");
        test.environment("python=3.11");
        build(
            &test,
            &parts().base(),
            &["--conda-env", "env.yml", "out.sif"],
        )
        .succeeded();
        let version = apptainer(&test, &["run", "out.sif", "python", "-c", "print(7)"]);
        version.says("7");
        let status = apptainer(&test, &["run", "out.sif", "sh", "-c", "exit 7"]).status;
        assert_eq!(status, 7);
        apptainer(&test, &["test", "out.sif"]).succeeded();
        let said = |words: &[&str]| apptainer(&test, words).succeeded().text();
        let help = said(&["run-help", "out.sif"]);
        assert!(help.contains(ENVIRONMENT), "{help}");
        let definition = said(&["inspect", "-d", "out.sif"]);
        assert_eq!(definition, "bootstrap: localimage\nfrom: base.sif");
        for (flag, text) in [
            ("-r", "exec \"$@\""),
            ("-t", "import sys"),
            ("-e", "92-cotainr-env.sh"),
            ("-j", "condense.lock.digest"),
        ] {
            let shown = said(&["inspect", flag, "out.sif"]);
            assert!(shown.contains(text), "{flag}: {shown}");
        }
        let list = said(&["sif", "list", "out.sif"]);
        assert!(
            list.contains("Def.FILE") && list.contains("System/amd64"),
            "{list}"
        );
        let verified = apptainer(&test, &["verify", "out.sif"]);
        assert!(
            verified.stderr.contains("signature not found"),
            "{verified:?}"
        );
        // No variable of the host's environment takes precedence.
        let mut command = test.command("apptainer");
        command.args([
            "exec",
            "out.sif",
            "sh",
            "-c",
            "echo $CONDA_PREFIX ${PATH%%:*}",
        ]);
        command.env("CONDA_PREFIX", "/of/the/host");
        command
            .run()
            .says(&format!("{ENVIRONMENT} {ENVIRONMENT}/bin"));
        apptainer(
            &test,
            &["exec", "--userns", "out.sif", "python", "-c", "print(8)"],
        )
        .says("8");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn b90_an_image_that_is_built_on_keeps_its_environment() {
    as_both(|account| {
        let test = TestDir::new(account, "cotainr-again");
        test.environment("edge-activate");
        build(
            &test,
            &parts().base(),
            &["--conda-env", "env.yml", "out.sif"],
        )
        .succeeded();
        let show = ["sh", "-c", "echo $CONDA_PREFIX $EDGE_VALUE"];
        let expected = format!("{ENVIRONMENT} set by edge-activate");
        let mut images = vec![(&["build", "--sandbox", "dir", "out.sif"][..], "dir")];
        if account == Account::Root {
            images.push((&["build", "again.sif", "dir"], "again.sif"));
        }
        for (words, image) in images {
            apptainer(&test, words).succeeded();
            apptainer(&test, &[&["exec", image], &show[..]].concat()).says(&expected);
        }
        // A sandbox can be the base as well, and a second environment is put beside the first.
        let more = [
            "--mount-point",
            "/opt/more",
            "--packages",
            "edge-links",
            "--channel",
        ];
        let channel = parts().channel();
        build(
            &test,
            Path::new("dir"),
            &[&more[..], &[&channel, "more.sif"]].concat(),
        )
        .succeeded();
        apptainer(&test, &[&["exec", "more.sif"], &show[..]].concat())
            .says("/opt/more/envs/conda_container_env set by edge-activate");
        let _ = test.command("chmod").args(["-R", "u+w", "dir"]).run();
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn b93_bases_of_other_codecs_and_with_an_overlay() {
    let test = TestDir::new(Account::Root, "cotainr-bases");
    test.environment("python=3.11, numpy");
    let base = parts().base();
    let base = base.to_str().unwrap();
    apptainer(
        &test,
        &[
            "build",
            "--mksquashfs-args=-comp zstd -b 256K",
            "zstd.sif",
            base,
        ],
    )
    .succeeded();
    fs_err::create_dir_all(test.path("over/opt")).unwrap();
    test.write("over/opt/overlaid", "x\n");
    fs_err::copy(base, test.path("overlay.sif")).unwrap();
    condense(&test)
        .args(["image", "pack", "over", "over.sqfs"])
        .run()
        .succeeded();
    condense(&test)
        .args(["sif", "add", "--type", "partition", "--role", "overlay"])
        .args(["overlay.sif", "over.sqfs"])
        .run()
        .succeeded();
    for (image, codec) in [("zstd.sif", "zstd"), ("overlay.sif", "gzip")] {
        if codec == "zstd" && !parts().reads_zstd() {
            continue;
        }
        build(
            &test,
            Path::new(image),
            &["--conda-env", "env.yml", "out.sif"],
        )
        .succeeded();
        let info = condense(&test)
            .args(["image", "info", "out.sif"])
            .run()
            .succeeded()
            .text();
        assert!(info.contains(codec), "{image}: {info}");
        apptainer(
            &test,
            &["exec", "out.sif", "python", "-c", "import numpy; print(9)"],
        )
        .says("9");
        let release = ["exec", "out.sif", "cat", "/etc/os-release"];
        let of_base = apptainer(&test, &["exec", base, "cat", "/etc/os-release"]).text();
        apptainer(&test, &release).says(&of_base);
    }
    // The last image is flat: the files of the overlay are in it although it has no overlay.
    apptainer(
        &test,
        &["exec", "--underlay", "out.sif", "cat", "/opt/overlaid"],
    )
    .says("x");
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn requirements_and_commands_change_the_environment() {
    as_both(|account| {
        let test = TestDir::new(account, "cotainr-post");
        test.write("requirements.txt", "edge-pip-app\n");
        let channel = parts().channel();
        let words = [
            "--requirements",
            "requirements.txt",
            "--packages",
            "python=3.13",
            "--channel",
            &channel,
            "--post",
            "cd $CONDA_PREFIX; python -c 'import sys; print(sys.prefix)' > share/by-post",
            "--post",
            "echo $CONDA_DEFAULT_ENV >> share/by-post",
            "--post",
            "echo 'print(\"by post\")' > lib/python3.13/this.py",
            "-v",
            "out.sif",
        ];
        build(&test, &parts().base(), &words).succeeded();
        let shown = ["exec", "out.sif", "sh", "-c"];
        let script =
            "cat \"$CONDA_PREFIX/share/by-post\"; python -m pip list --format=freeze | grep edge";
        let text = apptainer(&test, &[&shown[..], &[script]].concat())
            .succeeded()
            .text();
        assert!(
            text.starts_with(&format!("{ENVIRONMENT}\nconda_container_env\nedge")),
            "{text}"
        );
        // Python does not use byte code of the files that were replaced.
        apptainer(&test, &["exec", "out.sif", "python", "-c", "import this"]).says("by post");
        let output = build(
            &test,
            &parts().base(),
            &[
                "--packages",
                "python=3.13",
                "--channel",
                &channel,
                "--post",
                "echo why; exit 3",
                "no.sif",
            ],
        );
        assert_eq!(output.status, 1, "{output:?}");
        for text in ["--post", "why"] {
            assert!(output.stderr.contains(text), "{output:?}");
        }
        assert!(!test.path("no.sif").exists());
        test.left_nothing();
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_overlay_is_seen_by_the_runtime() {
    as_both(|account| {
        let test = TestDir::new(account, "cotainr-overlay");
        test.environment("python=3.11, edge-activate");
        let words = ["--layout", "overlay", "--conda-env", "env.yml", "out.sif"];
        let said = build(&test, &parts().base(), &words).succeeded();
        assert!(said.stderr.contains("--underlay"), "{said:?}");
        let python = "import sys, os; print(sys.executable, os.environ['EDGE_VALUE'])";
        apptainer(&test, &["exec", "out.sif", "python3", "-c", python])
            .says(&format!("{ENVIRONMENT}/bin/python3 set by edge-activate"));
        let labels = apptainer(&test, &["inspect", "out.sif"]).succeeded().text();
        assert!(labels.contains("condense.lock.digest: "), "{labels}");
        let list = apptainer(&test, &["sif", "list", "out.sif"])
            .succeeded()
            .text();
        assert!(list.contains("Overlay"), "{list}");
        apptainer(&test, &["exec", "out.sif", "stat", "-c", "%a", "/opt"]).says("755");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn pip_installs_over_the_image_s_own_python() {
    as_both(|account| {
        let test = TestDir::new(account, "cotainr-on-top");
        test.environment("python=3.11, numpy");
        // LUMI's images have such a command, which activates their environment.
        test.write("with.sh", "export WITH_CONDA='export FROM_CONDA=1'\n");
        let with = "with.sh:/.singularity.d/env/91-with.sh";
        let words = ["--conda-env", "env.yml", "--copy", with, "base.sif"];
        build(&test, &parts().base(), &words).succeeded();
        test.write("requirements.txt", "edge-pip-app\n");
        let words = ["--on-top", "--requirements", "requirements.txt", "out.sif"];
        build(&test, Path::new("base.sif"), &words).succeeded();
        let venv = "/opt/cotainr/venvs/on_top";
        let python = "import sys, numpy; print(sys.prefix, sys.base_prefix)";
        apptainer(&test, &["exec", "out.sif", "python", "-c", python])
            .says(&format!("{venv} {ENVIRONMENT}"));
        let list = [
            "exec",
            "out.sif",
            "cat",
            "/.singularity.d/condense/installed.txt",
        ];
        let list = apptainer(&test, &list).succeeded().text();
        assert!(
            list.contains("edge-pip-app") && !list.contains("numpy"),
            "{list}"
        );
        let both = "$WITH_CONDA; echo $FROM_CONDA; command -v python; echo $VIRTUAL_ENV";
        apptainer(&test, &["exec", "out.sif", "sh", "-c", both])
            .says(&format!("1\n{venv}/bin/python\n{venv}"));
        apptainer(&test, &["test", "out.sif"]).succeeded();
        // This base has no Python.
        let output = build(&test, &parts().base(), &[&words[..3], &["no.sif"]].concat());
        assert_eq!(output.status, 1, "{output:?}");
        assert!(
            output
                .stderr
                .contains("there is no Python in the base image"),
            "{output:?}"
        );
        test.left_nothing();
    });
}
