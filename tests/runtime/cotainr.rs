//! `cotainr` with the real runtime, as root and as an ordinary user. Names begin with the numbers
//! that these behaviours have in the list of cotainr's own tests.

mod conda;
mod registry;
mod site;

use std::{path::Path, process::Command};

use crate::harness::{Account, Ended, Room, Run, as_both, stage};

const ENVIRONMENT: &str = "/opt/cotainr/conda/envs/conda_container_env";

fn condense(room: &Room) -> Command {
    let mut command = room.command(stage().path("programs/condense"));
    command
        .env("TMPDIR", room.scratch())
        .env("CONDENSE_CACHE_DIR", room.path("cache"))
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", stage().wheels());
    command
}

fn build(room: &Room, base: &Path, words: &[&str]) -> Ended {
    let mut command = condense(room);
    command
        .args(["cotainr", "build", "--yes", "--base-image"])
        .arg(base);
    command.args(words).run()
}

fn apptainer(room: &Room, words: &[&str]) -> Ended {
    room.command("apptainer").args(words).run()
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn b103_and_b87_an_environment_under_two_umasks() {
    as_both(|account| {
        let room = Room::new(account, "cotainr-umask");
        room.environment("python=3.11, edge-activate");
        let mut digests = Vec::new();
        for umask in ["007", "022"] {
            let mut command = room.command("/bin/sh");
            command
                .args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask])
                .arg(stage().path("programs/condense"))
                .args(["cotainr", "build", "--accept-licenses", "--conda-env"])
                .args(["env.yml", "-y", "out.sif", "--base-image"])
                .arg(stage().base())
                .env("TMPDIR", room.scratch())
                .env("CONDENSE_CACHE_DIR", room.path("cache"));
            command.run().succeeded();
            let python = "import sys, os; print(sys.executable, os.environ['EDGE_VALUE'])";
            apptainer(&room, &["exec", "out.sif", "python3", "-c", python])
                .says(&format!("{ENVIRONMENT}/bin/python3 set by edge-activate"));
            let labels = apptainer(&room, &["inspect", "out.sif"]).succeeded().text();
            for label in ["cotainr.version: ", "cotainr.url: ", "cotainr.command: "] {
                assert!(labels.contains(label), "{labels}");
            }
            let mode = ["exec", "out.sif", "stat", "-c", "%a"];
            let script = "/.singularity.d/env/92-cotainr-env.sh";
            apptainer(&room, &[&mode[..], &[script]].concat()).says("755");
            digests.push(fs_err::read(room.path("out.sif")).unwrap());
        }
        assert!(digests[0] == digests[1], "the umask is in the image");
        room.left_nothing();
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn b24_and_b86_everything_that_a_runtime_shows() {
    as_both(|account| {
        let room = Room::new(account, "cotainr-shows");
        room.environment("python=3.11");
        build(
            &room,
            &stage().base(),
            &["--conda-env", "env.yml", "out.sif"],
        )
        .succeeded();
        let version = apptainer(&room, &["run", "out.sif", "python", "-c", "print(7)"]);
        version.says("7");
        let status = apptainer(&room, &["run", "out.sif", "sh", "-c", "exit 7"]).status;
        assert_eq!(status, 7);
        apptainer(&room, &["test", "out.sif"]).succeeded();
        let said = |words: &[&str]| apptainer(&room, words).succeeded().text();
        let help = said(&["run-help", "out.sif"]);
        assert!(help.contains(ENVIRONMENT), "{help}");
        let definition = said(&["inspect", "-d", "out.sif"]);
        assert!(
            definition.starts_with("bootstrap: localimage\nfrom: /"),
            "{definition}"
        );
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
        let verified = apptainer(&room, &["verify", "out.sif"]);
        assert!(
            verified.stderr.contains("signature not found"),
            "{verified:?}"
        );
        // Nothing of the host's own environment wins.
        let mut command = room.command("apptainer");
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
            &room,
            &["exec", "--userns", "out.sif", "python", "-c", "print(8)"],
        )
        .says("8");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn b90_an_image_that_is_built_on_keeps_its_environment() {
    as_both(|account| {
        let room = Room::new(account, "cotainr-again");
        room.environment("edge-activate");
        build(
            &room,
            &stage().base(),
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
            apptainer(&room, words).succeeded();
            apptainer(&room, &[&["exec", image], &show[..]].concat()).says(&expected);
        }
        // A sandbox is a base, too, and a second environment lies beside the first.
        let more = [
            "--mount-point",
            "/opt/more",
            "--packages",
            "edge-links",
            "--channel",
        ];
        let channel = stage().channel();
        build(
            &room,
            Path::new("dir"),
            &[&more[..], &[&channel, "more.sif"]].concat(),
        )
        .succeeded();
        apptainer(&room, &[&["exec", "more.sif"], &show[..]].concat())
            .says("/opt/more/envs/conda_container_env set by edge-activate");
        let _ = room.command("chmod").args(["-R", "u+w", "dir"]).run();
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn b93_bases_of_other_codecs_and_with_an_overlay() {
    let room = Room::new(Account::Root, "cotainr-bases");
    room.environment("python=3.11, numpy");
    let base = stage().base();
    let base = base.to_str().unwrap();
    apptainer(
        &room,
        &[
            "build",
            "--mksquashfs-args=-comp zstd -b 256K",
            "zstd.sif",
            base,
        ],
    )
    .succeeded();
    fs_err::create_dir_all(room.path("over/opt")).unwrap();
    room.write("over/opt/overlaid", "x\n");
    fs_err::copy(base, room.path("overlay.sif")).unwrap();
    condense(&room)
        .args(["image", "pack", "over", "over.sqfs"])
        .run()
        .succeeded();
    condense(&room)
        .args(["sif", "add", "--type", "partition", "--role", "overlay"])
        .args(["overlay.sif", "over.sqfs"])
        .run()
        .succeeded();
    for (image, codec) in [("zstd.sif", "zstd"), ("overlay.sif", "gzip")] {
        if codec == "zstd" && !stage().reads_zstd() {
            continue;
        }
        build(
            &room,
            Path::new(image),
            &["--conda-env", "env.yml", "out.sif"],
        )
        .succeeded();
        let info = condense(&room)
            .args(["image", "info", "out.sif"])
            .run()
            .succeeded()
            .text();
        assert!(info.contains(codec), "{image}: {info}");
        apptainer(
            &room,
            &["exec", "out.sif", "python", "-c", "import numpy; print(9)"],
        )
        .says("9");
        let release = ["exec", "out.sif", "cat", "/etc/os-release"];
        let of_base = apptainer(&room, &["exec", base, "cat", "/etc/os-release"]).text();
        apptainer(&room, &release).says(&of_base);
    }
    // The last one is flat: its overlay shows although there is none any more.
    apptainer(
        &room,
        &["exec", "--underlay", "out.sif", "cat", "/opt/overlaid"],
    )
    .says("x");
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn requirements_and_commands_change_the_environment() {
    as_both(|account| {
        let room = Room::new(account, "cotainr-post");
        room.write("requirements.txt", "edge-pip-app\n");
        let channel = stage().channel();
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
        build(&room, &stage().base(), &words).succeeded();
        let shown = ["exec", "out.sif", "sh", "-c"];
        let script =
            "cat \"$CONDA_PREFIX/share/by-post\"; python -m pip list --format=freeze | grep edge";
        let text = apptainer(&room, &[&shown[..], &[script]].concat())
            .succeeded()
            .text();
        assert!(
            text.starts_with(&format!("{ENVIRONMENT}\nconda_container_env\nedge")),
            "{text}"
        );
        // Byte code of what was there before is not believed any more.
        apptainer(&room, &["exec", "out.sif", "python", "-c", "import this"]).says("by post");
        let ended = build(
            &room,
            &stage().base(),
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
        assert_eq!(ended.status, 1, "{ended:?}");
        for text in ["--post", "why"] {
            assert!(ended.stderr.contains(text), "{ended:?}");
        }
        assert!(!room.path("no.sif").exists());
        room.left_nothing();
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_overlay_is_seen_by_the_runtime() {
    as_both(|account| {
        let room = Room::new(account, "cotainr-overlay");
        room.environment("python=3.11, edge-activate");
        let words = ["--layout", "overlay", "--conda-env", "env.yml", "out.sif"];
        let said = build(&room, &stage().base(), &words).succeeded();
        assert!(said.stderr.contains("--underlay"), "{said:?}");
        let python = "import sys, os; print(sys.executable, os.environ['EDGE_VALUE'])";
        apptainer(&room, &["exec", "out.sif", "python3", "-c", python])
            .says(&format!("{ENVIRONMENT}/bin/python3 set by edge-activate"));
        let labels = apptainer(&room, &["inspect", "out.sif"]).succeeded().text();
        assert!(labels.contains("condense.lock.digest: "), "{labels}");
        let list = apptainer(&room, &["sif", "list", "out.sif"])
            .succeeded()
            .text();
        assert!(list.contains("Overlay"), "{list}");
        apptainer(&room, &["exec", "out.sif", "stat", "-c", "%a", "/opt"]).says("755");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn pip_installs_over_the_image_s_own_python() {
    as_both(|account| {
        let room = Room::new(account, "cotainr-on-top");
        room.environment("python=3.11, numpy");
        // As LUMI's images have it: a command that activates.
        room.write("with.sh", "export WITH_CONDA='export FROM_CONDA=1'\n");
        let with = "with.sh:/.singularity.d/env/91-with.sh";
        let words = ["--conda-env", "env.yml", "--copy", with, "base.sif"];
        build(&room, &stage().base(), &words).succeeded();
        room.write("requirements.txt", "edge-pip-app\n");
        let words = ["--on-top", "--requirements", "requirements.txt", "out.sif"];
        build(&room, Path::new("base.sif"), &words).succeeded();
        let venv = "/opt/cotainr/venvs/on_top";
        let python = "import sys, numpy; print(sys.prefix, sys.base_prefix)";
        apptainer(&room, &["exec", "out.sif", "python", "-c", python])
            .says(&format!("{venv} {ENVIRONMENT}"));
        let list = [
            "exec",
            "out.sif",
            "cat",
            "/.singularity.d/condense/installed.txt",
        ];
        let list = apptainer(&room, &list).succeeded().text();
        assert!(
            list.contains("edge-pip-app") && !list.contains("numpy"),
            "{list}"
        );
        let both = "$WITH_CONDA; echo $FROM_CONDA; command -v python; echo $VIRTUAL_ENV";
        apptainer(&room, &["exec", "out.sif", "sh", "-c", both])
            .says(&format!("1\n{venv}/bin/python\n{venv}"));
        apptainer(&room, &["test", "out.sif"]).succeeded();
        // There is no Python in this one.
        let ended = build(&room, &stage().base(), &[&words[..3], &["no.sif"]].concat());
        assert_eq!(ended.status, 1, "{ended:?}");
        assert!(
            ended
                .stderr
                .contains("there is no Python in the base image"),
            "{ended:?}"
        );
        room.left_nothing();
    });
}
