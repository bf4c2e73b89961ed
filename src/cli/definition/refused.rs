//! Responsible for options of `apptainer build` and `singularity build` that have no meaning here.
//! They are refused by name, with what to do instead.

use clap::Args;
use condense_diagnostics::UserError;

/// Options of runtimes that are refused by name.
#[derive(Debug, Default, Args)]
pub(super) struct RefusedArguments {
    #[arg(long, hide = true)]
    arch: Option<String>,
    #[arg(long, hide = true)]
    arch_variant: Option<String>,
    #[arg(long, hide = true)]
    builder: Option<String>,
    #[arg(short = 'd', long, hide = true)]
    detached: bool,
    #[arg(long, hide = true)]
    docker_host: Option<String>,
    #[arg(long, hide = true)]
    docker_login: bool,
    #[arg(long, hide = true)]
    docker_password: Option<String>,
    #[arg(long, hide = true)]
    docker_username: Option<String>,
    #[arg(short = 'e', long, hide = true)]
    encrypt: bool,
    #[arg(long, hide = true)]
    keep_layers: bool,
    #[arg(long, hide = true)]
    library: Option<String>,
    #[arg(long, hide = true, allow_hyphen_values = true)]
    mksquashfs_args: Option<String>,
    #[arg(long, hide = true)]
    mount: Vec<String>,
    #[arg(long, hide = true)]
    nvccli: bool,
    #[arg(long, hide = true)]
    oci: bool,
    #[arg(long, hide = true)]
    passphrase: bool,
    #[arg(long, hide = true)]
    pem_path: Option<String>,
    #[arg(long, hide = true)]
    remote: bool,
    #[arg(short = 's', long, hide = true)]
    sandbox: bool,
    #[arg(short = 'u', long, hide = true)]
    update: bool,
    #[arg(long, hide = true)]
    writable_tmpfs: bool,
}

/// Whether an option is given, its name, the reason why it is refused, and advice.
type Refusal = (bool, &'static str, &'static str, &'static str);

const NO_ENCRYPTION: &str = "this program writes no encrypted images";
const ENCRYPT: &str = "encrypt the finished image: `apptainer build --encrypt NEW.sif OUT.sif`";
const NO_SERVICE: &str = "there is no service that builds images";
const BUILD_HERE: &str = "leave it out: scripts need no root on this machine either";
const NO_PASSWORDS: &str = "passwords do not belong on a command line";
const LOGIN: &str = "use `--authfile FILE`, the files of `docker login` and `apptainer registry login`, which are read anyway, or APPTAINER_DOCKER_USERNAME and APPTAINER_DOCKER_PASSWORD";

impl RefusedArguments {
    /// Returns the first refused option that is given, with the reason and advice.
    pub(super) fn first(&self) -> Option<UserError> {
        let refusals = [self.of_images(), self.of_registries(), self.of_runs()].concat();
        let mut given = refusals.into_iter().filter(|(is_given, ..)| *is_given);
        let (_, name, reason, advice) = given.next()?;
        Some(UserError::new(format!("`{name}`: {reason}"), advice).of_usage())
    }

    /// Returns the refusals of options about the finished image.
    fn of_images(&self) -> Vec<Refusal> {
        vec![
            (
                self.arch.as_deref().is_some_and(|arch| !is_host(arch)),
                "--arch",
                "an image is built for the architecture of this machine",
                "build on a machine of that architecture",
            ),
            (
                self.arch_variant.is_some(),
                "--arch-variant",
                "an image is built for the architecture of this machine",
                "leave it out; `From: NAME@sha256:…` names an image of one variant",
            ),
            (self.encrypt, "--encrypt", NO_ENCRYPTION, ENCRYPT),
            (self.passphrase, "--passphrase", NO_ENCRYPTION, ENCRYPT),
            (
                self.pem_path.is_some(),
                "--pem-path",
                NO_ENCRYPTION,
                ENCRYPT,
            ),
            (
                self.mksquashfs_args.is_some(),
                "--mksquashfs-args",
                "the blocks of the source are reused as they are, with its compression",
                "leave it out; `condense pull --compression CODEC` makes a source with another one",
            ),
            (
                self.sandbox,
                "--sandbox",
                "an image is one file",
                "build it, then `condense image extract OUT.sif DIR`",
            ),
            (
                self.update,
                "--update",
                "an image is not changed in place",
                "write `Bootstrap: localimage` and `From: OLD.sif`, which copies no block again",
            ),
            (
                self.oci,
                "--oci",
                "a SIF is built from a definition file, and Dockerfiles are not read",
                "write `Bootstrap: docker`, or build elsewhere and write `Bootstrap: oci-archive`",
            ),
            (
                self.keep_layers,
                "--keep-layers",
                "a SIF has one file system",
                "leave it out; `condense pull` keeps the image of a registry as a SIF in the cache",
            ),
        ]
    }

    /// Returns the refusals of options about sources.
    fn of_registries(&self) -> Vec<Refusal> {
        vec![
            (
                self.library.is_some(),
                "--library",
                "images of a library are not fetched",
                "use `Bootstrap: docker` or `Bootstrap: oras`",
            ),
            (
                self.docker_host.is_some(),
                "--docker-host",
                "images of a Docker daemon are not fetched",
                "`docker save NAME -o FILE.tar`, then `Bootstrap: docker-archive`",
            ),
            (
                self.docker_login,
                "--docker-login",
                "a build asks for nothing",
                LOGIN,
            ),
            (
                self.docker_username.is_some(),
                "--docker-username",
                NO_PASSWORDS,
                LOGIN,
            ),
            (
                self.docker_password.is_some(),
                "--docker-password",
                NO_PASSWORDS,
                LOGIN,
            ),
        ]
    }

    /// Returns the refusals of options about where and how scripts run.
    fn of_runs(&self) -> Vec<Refusal> {
        vec![
            (
                !self.mount.is_empty(),
                "--mount",
                "paths are shown to scripts with `--bind`",
                "write `--bind SRC:DST`",
            ),
            (
                self.nvccli,
                "--nvccli",
                "the driver of GPUs is shown to %test by the runtime itself",
                "write `--nv`",
            ),
            (self.remote, "--remote", NO_SERVICE, BUILD_HERE),
            (self.builder.is_some(), "--builder", NO_SERVICE, BUILD_HERE),
            (
                self.detached,
                "--detached",
                NO_SERVICE,
                "`--submit` builds in a job of Slurm or PBS",
            ),
            (
                self.writable_tmpfs,
                "--writable-tmpfs",
                "%test sees the image as it is",
                "write to /tmp in %test",
            ),
        ]
    }
}

/// Returns whether a name is that of this machine's architecture.
fn is_host(arch: &str) -> bool {
    let host = std::env::consts::ARCH;
    let of_registries = match host {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    arch == host || arch == of_registries
}
