//! Tests of `condense pull` and of bases that are pulled. The images come from an OCI layout, which
//! needs no network.

use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::harness::{CommandOutput, Run, TestEnv};

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

/// Writes an OCI layout with one image. The image has the shell of this machine, and so its
/// architecture.
pub fn layout(test: &TestEnv) -> PathBuf {
    let dir = test.path("work/layout");
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

fn pull(test: &TestEnv, arguments: &[&str]) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command.current_dir(test.path("work"));
    command.arg("pull").args(arguments).run()
}

/// Returns the temporary files beside the image, of which a finished command leaves none.
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
    let test = TestEnv::new();
    layout(&test);
    let said = pull(&test, &["oci:layout", "out.sif"]).succeeded();
    let out = test.path("work/out.sif");
    assert_eq!(said.stdout, format!("{}\n", out.display()));
    let bytes = fs_err::read(&out).unwrap();

    let said = pull(&test, &["oci:layout", "out.sif"]);
    assert_eq!((said.status, said.stdout.as_str()), (1, ""));
    assert!(said.stderr.contains("--force"), "{said:?}");
    let said = pull(&test, &["--json", "--force", "oci:layout", "out.sif"]).succeeded();
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
        &test,
        &[
            "--compression",
            "zstd:1",
            "--no-cache",
            "oci:layout",
            "z.sif",
        ],
    );
    zstd.succeeded();
    assert_ne!(fs_err::read(test.path("work/z.sif")).unwrap(), bytes);
    assert!(leftovers(&test.path("work")).is_empty());
}

#[test]
fn what_cannot_be_pulled_is_refused_by_name() {
    let test = TestEnv::new();
    let layout = layout(&test);
    fs_err::write(test.path("work/archive.tar"), tar(&[("x", b"")])).unwrap();
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
        let said = pull(&test, arguments);
        assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{said:?}");
        for word in words {
            assert!(said.stderr.contains(word), "`{word}` is not in {said:?}");
        }
        assert!(!test.path("work/out.sif").exists());
    }
    let said = pull(&test, &["--arch", "A B", "oci:layout", "out.sif"]);
    assert_eq!(said.status, 2, "{said:?}");
    assert!(layout.is_dir() && leftovers(&test.path("work")).is_empty());
}

#[test]
fn an_environment_is_built_on_an_image_that_is_pulled() {
    let test = TestEnv::new();
    let env = test.environment("tool");
    let reference = format!("oci:{}", layout(&test).display());
    let mut command = test.program(&["new", "--prefix"]);
    command
        .arg(test.installation())
        .args(["--base-image", &reference])
        .arg(&env);
    command.run().succeeded();
    let base = test.installation().join("container.sif");
    let base = fs_err::canonicalize(base).unwrap();
    assert!(
        base.starts_with(test.installation()),
        "not a link into the cache"
    );
    let receipt = fs_err::read_to_string(test.installation().join("share/receipt.json")).unwrap();
    assert!(receipt.contains(&reference), "{receipt}");
}
