//! A base out of a registry, from its name to a program that runs.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{ENVIRONMENT, apptainer, condense};
use crate::harness::{Account, Room, Run, stage};

/// Debian's registry; it ends with this.
struct Registry {
    process: Child,
    host: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    fn start(room: &Room) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = free.local_addr().unwrap().to_string();
        drop(free);
        let settings = format!(
            "version: 0.1\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: {host}\n  secret: none\n",
            room.path("registry").display()
        );
        let settings = room.write("registry.yml", &settings);
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { process, host };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(&registry.host).is_err() {
            assert!(Instant::now() < deadline, "the registry does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }
}

/// The usual base as an image of one layer, in an OCI layout.
fn write_layout(room: &Room) {
    condense(room)
        .args(["image", "extract"])
        .arg(stage().base())
        .arg("root")
        .run()
        .succeeded();
    let blobs = room.path("layout/blobs/sha256");
    fs_err::create_dir_all(&blobs).unwrap();
    let layer = Command::new("tar")
        .args(["--numeric-owner", "--exclude=./.singularity.d", "-cf", "-"])
        .arg("-C")
        .arg(room.path("root"))
        .args(["bin", "etc", "lib", "lib64", "sbin", "usr", "var"])
        .output()
        .unwrap();
    assert!(layer.status.success(), "{layer:?}");
    let blob = |media_type: &str, bytes: &[u8]| {
        let hex = hex::encode(Sha256::digest(bytes));
        fs_err::write(blobs.join(&hex), bytes).unwrap();
        json!({"mediaType": format!("application/vnd.oci.image.{media_type}"), "digest": format!("sha256:{hex}"), "size": bytes.len()})
    };
    let layer = blob("layer.v1.tar", &layer.stdout);
    let config = json!({"os": "linux", "architecture": "amd64", "created": "2023-11-14T22:13:20Z",
        "config": {"Env": ["PATH=/usr/bin:/bin", "OF_THE_BASE=seen"]}});
    let config = blob("config.v1+json", config.to_string().as_bytes());
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let manifest = blob("manifest.v1+json", manifest.to_string().as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    room.write("layout/index.json", &index.to_string());
    room.write("layout/oci-layout", "{\"imageLayoutVersion\": \"1.0.0\"}");
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_base_of_a_registry_becomes_an_image_that_runs() {
    let room = Room::new(Account::Root, "cotainr-registry");
    write_layout(&room);
    let registry = Registry::start(&room);
    let reference = format!("docker://{}/site/base:1", registry.host);
    Command::new("skopeo")
        .args(["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"])
        .arg(format!("oci:{}", room.path("layout").display()))
        .arg(&reference)
        .run()
        .succeeded();

    room.environment("python=3.11");
    let mut command = condense(&room);
    command
        .args(["cotainr", "build", "--conda-env", "env.yml"])
        .args(["--base-image", &reference, "out.sif"])
        .env("APPTAINER_NOHTTPS", "1");
    command.run().succeeded();
    let show =
        "python -c 'import sys; print(sys.prefix)'; echo $OF_THE_BASE; . /etc/os-release; echo $ID";
    apptainer(&room, &["exec", "out.sif", "sh", "-c", show])
        .says(&format!("{ENVIRONMENT}\nseen\ndebian"));
    let labels = apptainer(&room, &["inspect", "out.sif"]).succeeded().text();
    for text in [
        format!("condense.base: {reference}"),
        "condense.base.digest: sha256:".to_owned(),
    ] {
        assert!(labels.contains(&text), "{labels}");
    }
    let definition = apptainer(&room, &["inspect", "-d", "out.sif"]).text();
    assert!(
        definition.starts_with("bootstrap: docker\nfrom: 127.0.0.1:"),
        "{definition}"
    );
    room.left_nothing();
}
