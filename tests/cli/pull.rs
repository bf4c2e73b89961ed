//! `condense pull`, and bases that are pulled: out of an OCI layout, for which no network is
//! needed.

use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::harness::{Ended, Stage, ended};

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        archive.append_data(&mut header, path, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

/// A layout of one image, which has this machine's shell and so its architecture.
fn layout(stage: &Stage) -> PathBuf {
    let dir = stage.path("work/layout");
    let blobs = dir.join("blobs/sha256");
    fs_err::create_dir_all(&blobs).unwrap();
    let blob = |media_type: &str, bytes: &[u8]| {
        let hex = hex::encode(Sha256::digest(bytes));
        fs_err::write(blobs.join(&hex), bytes).unwrap();
        json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len()})
    };
    let shell = fs_err::read("/bin/sh").unwrap();
    let layer = tar(&[("bin/sh", &shell), ("usr/name", b"base")]);
    let layer = blob("application/vnd.oci.image.layer.v1.tar", &layer);
    let config =
        json!({"os": "linux", "created": "2023-11-14T22:13:20Z", "config": {"Env": ["A=1"]}});
    let config = blob(
        "application/vnd.oci.image.config.v1+json",
        config.to_string().as_bytes(),
    );
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let manifest = blob(
        "application/vnd.oci.image.manifest.v1+json",
        manifest.to_string().as_bytes(),
    );
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs_err::write(dir.join("index.json"), index.to_string()).unwrap();
    dir
}

fn pull(stage: &Stage, arguments: &[&str]) -> Ended {
    let mut command = stage.command(env!("CARGO_BIN_EXE_condense"));
    command.current_dir(stage.path("work"));
    ended(&command.arg("pull").args(arguments).output().unwrap())
}

/// What is beside the image, and must not be there.
fn leftovers(dir: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.to_string_lossy().contains("condense-") && path.starts_with(dir))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'))
        })
        .collect()
}

#[test]
fn an_image_becomes_a_file_where_there_was_none() {
    let stage = Stage::new();
    layout(&stage);
    let said = pull(&stage, &["oci:layout", "out.sif"]).succeeded();
    let out = stage.path("work/out.sif");
    assert_eq!(said.stdout, format!("{}\n", out.display()));
    let bytes = fs_err::read(&out).unwrap();

    let said = pull(&stage, &["oci:layout", "out.sif"]);
    assert_eq!((said.status, said.stdout.as_str()), (1, ""));
    assert!(said.stderr.contains("--force"), "{said:?}");
    let said = pull(&stage, &["--json", "--force", "oci:layout", "out.sif"]).succeeded();
    let said: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(said["path"], out.display().to_string());
    assert!(
        said["manifest_digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert_eq!(
        fs_err::read(&out).unwrap(),
        bytes,
        "the same image, the same bytes"
    );
    let zstd = pull(
        &stage,
        &[
            "--compression",
            "zstd:1",
            "--no-cache",
            "oci:layout",
            "z.sif",
        ],
    );
    zstd.succeeded();
    assert_ne!(fs_err::read(stage.path("work/z.sif")).unwrap(), bytes);
    assert!(leftovers(&stage.path("work")).is_empty());
}

#[test]
fn what_cannot_be_pulled_is_refused_by_name() {
    let stage = Stage::new();
    let layout = layout(&stage);
    fs_err::write(stage.path("work/archive.tar"), tar(&[("x", b"")])).unwrap();
    for (arguments, words) in [
        (&["layout", "out.sif"][..], &["layout", "oci:"][..]),
        (
            &["archive.tar", "out.sif"],
            &["archive.tar", "docker-archive:"],
        ),
        (&["library://alpine", "out.sif"], &["apptainer pull"]),
        (
            &["docker://UPPER", "out.sif"],
            &["docker://UPPER", "not a repository"],
        ),
        (
            &["docker-archive:archive.tar", "out.sif"],
            &["manifest.json"],
        ),
        (&["oci:layout:other", "out.sif"], &["other"]),
        (&["--arch", "s390x", "oci:missing", "out.sif"], &["missing"]),
        (&["oci:layout", "no/where/out.sif"], &["no/where"]),
        (&["oci:layout", "layout"], &["it is a directory"]),
    ] {
        let said = pull(&stage, arguments);
        assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{said:?}");
        for word in words {
            assert!(said.stderr.contains(word), "`{word}` is not in {said:?}");
        }
        assert!(!stage.path("work/out.sif").exists());
    }
    let said = pull(&stage, &["--arch", "A B", "oci:layout", "out.sif"]);
    assert_eq!(said.status, 2, "{said:?}");
    assert!(layout.is_dir() && leftovers(&stage.path("work")).is_empty());
}

#[test]
fn an_environment_is_built_on_an_image_that_is_pulled() {
    let stage = Stage::new();
    let env = stage.environment("tool");
    let reference = format!("oci:{}", layout(&stage).display());
    let mut command = stage.program(&["new", "--prefix"]);
    command
        .arg(stage.installation())
        .args(["--base-image", &reference])
        .arg(&env);
    ended(&command.output().unwrap()).succeeded();
    let base = stage.installation().join("container.sif");
    let base = fs_err::canonicalize(base).unwrap();
    assert!(
        base.starts_with(stage.installation()),
        "not a link into the cache"
    );
    let receipt = fs_err::read_to_string(stage.installation().join("share/receipt.json")).unwrap();
    assert!(receipt.contains(&reference), "{receipt}");
}
