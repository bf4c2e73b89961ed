//! Responsible for running Debian's docker-registry on this machine, and for images in it.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Run, TestDir};

/// Running registry, killed when dropped.
pub(crate) struct Registry {
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
    pub(crate) fn start(test: &TestDir) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = free.local_addr().unwrap().to_string();
        drop(free);
        let settings = format!(
            "version: 0.1\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: {host}\n  secret: none\n",
            test.path("registry").display()
        );
        let settings = test.write("registry.yml", &settings);
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

    /// Returns the host and port of the registry.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Makes an image with these variables and one layer, which has the contents of the directory.
    /// Pushes it to the registry under this name.
    pub(crate) fn push(
        &self,
        test: &TestDir,
        tree: &Path,
        variables: &[&str],
        name: &str,
    ) -> String {
        let layout = test.scratch().join("layout");
        write_layout(&layout, tree, variables);
        let reference = format!("docker://{}/{name}", self.host);
        Command::new("skopeo")
            .args(["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"])
            .arg(format!("oci:{}", layout.display()))
            .arg(&reference)
            .run()
            .succeeded();
        fs_err::remove_dir_all(layout).unwrap();
        reference
    }
}

fn write_layout(layout: &Path, tree: &Path, variables: &[&str]) {
    let blobs = layout.join("blobs/sha256");
    fs_err::create_dir_all(&blobs).unwrap();
    let layer = Command::new("tar")
        .args(["--numeric-owner", "--exclude=./.singularity.d"])
        // Compression at the lowest level is faster than that of the pushing program.
        .args(["--use-compress-program=gzip -1", "-cf", "-"])
        .arg("-C")
        .arg(tree)
        .args(["bin", "etc", "lib", "lib64", "sbin", "usr", "var"])
        .output()
        .unwrap();
    assert!(layer.status.success(), "{layer:?}");
    let blob = |media_type: &str, bytes: &[u8]| {
        let hex = hex::encode(Sha256::digest(bytes));
        fs_err::write(blobs.join(&hex), bytes).unwrap();
        json!({"mediaType": format!("application/vnd.oci.image.{media_type}"), "digest": format!("sha256:{hex}"), "size": bytes.len()})
    };
    let layer = blob("layer.v1.tar+gzip", &layer.stdout);
    let config = json!({"os": "linux", "architecture": "amd64", "created": "2023-11-14T22:13:20Z",
        "config": {"Env": variables}});
    let config = blob("config.v1+json", config.to_string().as_bytes());
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let manifest = blob("manifest.v1+json", manifest.to_string().as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs_err::write(layout.join("index.json"), index.to_string()).unwrap();
    fs_err::write(
        layout.join("oci-layout"),
        "{\"imageLayoutVersion\": \"1.0.0\"}",
    )
    .unwrap();
}
