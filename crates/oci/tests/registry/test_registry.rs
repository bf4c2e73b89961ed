//! A registry for each test on the loopback interface, and an ordinary user who pulls with the
//! runtime.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use condense_oci::{self as oci, Access, Cache, Phase, Progress, PullOptions, Pulled};
use condense_oci::{Error, Reference};

pub(crate) const USER: &str = "tester";
pub(crate) const PASSWORD: &str = "s3cret-pass";
/// The ordinary user that scripts/setup-tests creates.
const ACCOUNT: &str = "condense-test";

struct Silent;

impl Progress for Silent {
    fn begin(&self, _: Phase, _: u64) {}
    fn advance(&self, _: Phase, _: u64) {}
    fn end(&self, _: Phase) {}
    fn warn(&self, _: String) {}
}

pub(crate) struct TestRegistry {
    scratch: tempfile::TempDir,
    registry: Child,
    is_secured: bool,
    pub(crate) host: String,
    pub(crate) images: PathBuf,
    pub(crate) options: PullOptions,
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        let _ = self.registry.kill();
        let _ = self.registry.wait();
    }
}

/// Runs a command and returns its output.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}: run `scripts/setup-tests`"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn parts() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/test-parts");
    let parts = std::env::var_os("CONDENSE_TEST_PARTS");
    let parts = parts.map_or_else(|| PathBuf::from(default), PathBuf::from);
    let images = parts.join("oci");
    assert!(
        images.join("tags").exists(),
        "{} is missing: run `scripts/setup-tests`",
        images.display()
    );
    images
}

impl TestRegistry {
    /// Starts a registry without a password, over plain HTTP.
    pub(crate) fn new() -> TestRegistry {
        TestRegistry::start(false)
    }

    /// Starts a registry with a password, and with a certificate that no system trusts.
    pub(crate) fn secured() -> TestRegistry {
        TestRegistry::start(true)
    }

    fn start(is_secured: bool) -> TestRegistry {
        let images = parts();
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        // The ordinary user works below this directory as well.
        fs_err::set_permissions(scratch.path(), PermissionsExt::from_mode(0o755)).unwrap();
        for name in ["user", "out", "spool"] {
            fs_err::create_dir(path(name)).unwrap();
        }
        run(Command::new("chown").arg(ACCOUNT).arg(path("user")));
        // The port is free now. If another process takes it meanwhile, the start of the registry
        // fails, not the comparison.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n\
             http:\n  addr: 127.0.0.1:{port}\n  secret: none\n",
            path("registry").display()
        );
        if is_secured {
            make_certificate(scratch.path());
            let entry = run(Command::new("htpasswd").args(["-Bbn", "-C", "5", USER, PASSWORD]));
            fs_err::write(path("htpasswd"), entry).unwrap();
            text.push_str(&format!(
                "  tls: {{certificate: {0}/server.crt, key: {0}/server.key}}\n\
                 auth:\n  htpasswd: {{realm: test, path: {0}/htpasswd}}\n",
                scratch.path().display()
            ));
        }
        fs_err::write(path("registry.yml"), text).unwrap();
        // REGISTRY_… variables would override the file.
        let mut command = Command::new("docker-registry");
        command
            .arg("serve")
            .arg(path("registry.yml"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let registry = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}: run `scripts/setup-tests`"));
        let host = format!("127.0.0.1:{port}");
        let options = PullOptions {
            access: Access {
                plain_http: !is_secured,
                ..Access::default()
            },
            platform: None,
            scratch_dir: path("spool"),
            compression: "gzip:6".parse().unwrap(),
            threads: None,
            downloads: std::num::NonZeroUsize::new(3).unwrap(),
            epoch: None,
            cancel: None,
            progress: Arc::new(Silent),
        };
        let registry = TestRegistry {
            scratch,
            registry,
            is_secured,
            host,
            images,
            options,
        };
        registry.wait();
        registry
    }

    /// Waits until the registry answers anything, over TLS too: the request is not valid TLS.
    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Ok(mut stream) = TcpStream::connect(&self.host) {
                let sent = stream.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n");
                if sent.is_ok() && stream.read(&mut [0; 16]).is_ok_and(|len| len > 0) {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the registry does not start");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub(crate) fn tags(&self) -> Vec<String> {
        let tags = fs_err::read_to_string(self.images.join("tags")).unwrap();
        tags.lines().map(str::to_owned).collect()
    }

    pub(crate) fn reference(&self, tag: &str) -> String {
        format!("docker://{}/test/{tag}:1", self.host)
    }

    /// Copies an image into the registry.
    pub(crate) fn push(&self, source: &str, tag: &str, options: &[&str]) {
        let mut command = Command::new("skopeo");
        command
            .args(["--insecure-policy", "copy", "-q", "--all"])
            .args(options)
            .env("TMPDIR", self.path("spool"));
        if self.is_secured {
            let certificates = self.path("skopeo");
            fs_err::create_dir_all(&certificates).unwrap();
            fs_err::copy(self.path("ca.crt"), certificates.join("ca.crt")).unwrap();
            command
                .arg("--dest-creds")
                .arg(format!("{USER}:{PASSWORD}"));
            command.arg("--dest-cert-dir").arg(certificates);
        } else {
            command.arg("--dest-tls-verify=false");
        }
        run(command.arg(source).arg(self.reference(tag)));
    }

    pub(crate) fn pull(&self, tag: &str) -> Pulled {
        self.try_pull(tag).unwrap()
    }

    pub(crate) fn try_pull(&self, tag: &str) -> Result<Pulled, Error> {
        self.pull_reference(&self.reference(tag), &format!("{tag}.sif"))
    }

    pub(crate) fn pull_reference(&self, reference: &str, name: &str) -> Result<Pulled, Error> {
        let Reference::Image(source) = Reference::parse(reference)? else {
            panic!("`{reference}` is a path")
        };
        let out = self.path("out").join(name);
        let _ = fs_err::remove_file(&out);
        let cache = Cache::new(self.path("cache"), u64::MAX);
        oci::pull(&source, &out, &cache, &self.options)
    }

    /// Returns a command that starts the runtime as an ordinary user.
    pub(crate) fn runtime(&self) -> Command {
        let home = self.path("user");
        let mut command = Command::new("runuser");
        command
            .args([
                "-u",
                ACCOUNT,
                "--",
                "env",
                "-i",
                "PATH=/usr/bin:/bin:/usr/sbin:/sbin",
            ])
            .arg(format!("HOME={}", home.display()))
            .arg(format!("APPTAINER_TMPDIR={}", home.display()))
            .args(["apptainer", "--silent"])
            .current_dir(home);
        command
    }

    /// Pulls an image with the runtime, and returns the path of its SIF.
    pub(crate) fn pull_with_runtime(&self, reference: &str, name: &str) -> PathBuf {
        let out = self.path("user").join(format!("{name}.sif"));
        let mut command = self.runtime();
        command
            .args(["pull", "--disable-cache", "--no-https"])
            .arg(&out);
        run(command.arg(reference));
        out
    }

    /// Makes condense trust the registry's certificate, as a site would configure it.
    pub(crate) fn trust(&mut self) {
        let dir = self.path("certs.d").join(&self.host);
        fs_err::create_dir_all(&dir).unwrap();
        fs_err::copy(self.path("ca.crt"), dir.join("ca.crt")).unwrap();
        self.options.access.trust = oci::TrustDirs(vec![self.path("certs.d")]);
    }

    /// Writes the file that `docker login` would write, and returns its path.
    pub(crate) fn docker_config(&self) -> PathBuf {
        let path = self.path("config.json");
        let text = format!(
            r#"{{"auths": {{"{}": {{"username": "{USER}", "password": "{PASSWORD}"}}}}}}"#,
            self.host
        );
        fs_err::write(&path, text).unwrap();
        path
    }

    /// Logs in with the runtime, and returns the paths of docker's file and the runtime's own file.
    pub(crate) fn runtime_login(&self) -> [PathBuf; 2] {
        let mut command = Command::new("runuser");
        command
            .args(["-u", ACCOUNT, "--", "env", "-i", "PATH=/usr/bin:/bin"])
            .arg(format!("HOME={}", self.path("user").display()))
            .arg(format!("SSL_CERT_FILE={}", self.path("ca.crt").display()))
            .args([
                "apptainer",
                "registry",
                "login",
                "--username",
                USER,
                "--password",
                PASSWORD,
            ])
            .arg(format!("docker://{}", self.host));
        run(&mut command);
        [".docker/config.json", ".apptainer/remote.yaml"].map(|name| self.path("user").join(name))
    }
}

/// Makes a certificate authority, and a certificate for the loopback interface that it has signed.
fn make_certificate(dir: &Path) {
    let openssl = |words: &[&str]| {
        run(Command::new("openssl").args(words).current_dir(dir));
    };
    let key = |name: &str| {
        openssl(&[
            "ecparam",
            "-genkey",
            "-name",
            "prime256v1",
            "-noout",
            "-out",
            name,
        ]);
    };
    key("ca.key");
    openssl(&[
        "req",
        "-x509",
        "-new",
        "-key",
        "ca.key",
        "-sha256",
        "-days",
        "2",
        "-subj",
        "/CN=test authority",
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-out",
        "ca.crt",
    ]);
    key("server.key");
    openssl(&[
        "req",
        "-new",
        "-key",
        "server.key",
        "-subj",
        "/CN=localhost",
        "-out",
        "server.csr",
    ]);
    fs_err::write(
        dir.join("extensions"),
        "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n",
    )
    .unwrap();
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-sha256",
        "-extfile",
        "extensions",
        "-out",
        "server.crt",
    ]);
    fs_err::set_permissions(dir.join("ca.crt"), PermissionsExt::from_mode(0o644)).unwrap();
}
