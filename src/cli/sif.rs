//! Responsible for the options that `cotainr build` and `condense build` share, and for making the
//! plan of a SIF.

use std::path::{Component, Path, PathBuf};

use anyhow::bail;
use clap::{ArgAction, Args};
use condense_build::plan::{
    BaseChoice, Copy, ExtraInputs, Layout, RunSettings, Sif, SifContent, SifInput, SifPlan,
};
use condense_catalogue::Site;
use condense_diagnostics::UserError;
use condense_env_vars::EnvVars;
use condense_publish::Existing;

use super::{
    definition::{PUBLIC_KEYS, key_files},
    dry_run::DryRunArguments,
    network::NetworkArguments,
    os_packages::OsPackagesArguments,
    run_settings::run_settings,
    site::SiteArguments,
    warm::WarmArguments,
};
use crate::console::Console;

/// Directory in the image in which cotainr installs conda.
const CONDA: &str = "/opt/cotainr/conda";
/// Path of the environment below [`CONDA`].
const ENVIRONMENT: &str = "envs/conda_container_env";
/// Directory in the image for a virtual environment that extends the image's own Python.
const VENV_ROOT: &str = "/opt/cotainr";
/// Parent of the virtual environment below [`VENV_ROOT`].
const VENVS: &str = "venvs";
/// Name of the virtual environment.
const VENV: &str = "on_top";

/// Options of all commands that make a SIF.
#[derive(Debug, Args)]
pub(super) struct SifOptions {
    /// install exactly the packages of this lock file: a condense.lock, a pixi.lock or a
    /// conda-lock.yml
    #[arg(long, value_name = "FILE")]
    pub(super) lock: Option<PathBuf>,
    /// environment of the lock file; for a conda-lock.yml, a category besides `main`
    #[arg(long, value_name = "NAME", requires = "lock")]
    pub(super) lock_environment: Option<String>,
    /// command that changes the installed environment, run in the container; may be given several
    /// times
    #[arg(long, value_name = "COMMAND", action = ArgAction::Append)]
    pub(super) post: Vec<String>,
    /// file or directory that is copied into the image; may be given several times
    #[arg(long, value_name = "SRC:DST", action = ArgAction::Append)]
    copy: Vec<String>,
    /// parent of the scratch directory
    #[arg(long, value_name = "DIR")]
    tmpdir: Option<PathBuf>,
    /// directory in the image instead of /opt/cotainr/conda; the environment is at
    /// `envs/conda_container_env` below it
    #[arg(long, value_name = "DIR")]
    mount_point: Option<PathBuf>,
    #[command(flatten)]
    pub(super) os: OsPackagesArguments,
    #[command(flatten)]
    pub(super) dry_run: DryRunArguments,
    /// flat: one root file system with everything in it, which reuses the compressed blocks of the
    /// base; overlay: a copy of the base's file with an overlay partition, which some runtimes and
    /// options do not mount
    #[arg(long, value_name = "LAYOUT", value_parser = ["flat", "overlay"], default_value = "flat")]
    layout: String,
    /// install the requirements for pip into a virtual environment that extends the image's own
    /// Python, without conda; with `--mount-point DIR`, it is at DIR/venvs/on_top
    #[arg(long)]
    pub(super) on_top: bool,
    /// programs do not see the user's own Python packages in ~/.local; CONDENSE_NO_USER_SITE=0 at a
    /// start shows them again
    #[arg(long)]
    no_user_site: bool,
    #[command(flatten)]
    warm: WarmArguments,
    #[command(flatten)]
    pub(super) site: SiteArguments,
    #[command(flatten)]
    network: NetworkArguments,
}

impl SifOptions {
    /// Returns the first option that is given and is not for a definition file.
    pub(super) fn first_for_packages(&self) -> Option<&'static str> {
        let given = [
            (self.lock.is_some(), "--lock"),
            (!self.post.is_empty(), "--post"),
            (self.os.is_given(), "--os-packages"),
            (!self.copy.is_empty(), "--copy"),
            (self.mount_point.is_some(), "--mount-point"),
            (self.layout != "flat", "--layout"),
            (self.on_top, "--on-top"),
            (self.no_user_site, "--no-user-site"),
        ];
        given
            .iter()
            .find(|(is_given, _)| *is_given)
            .map(|(_, name)| *name)
    }

    /// Returns whether something is added to the base besides an environment.
    pub(super) fn adds_to_base(&self) -> bool {
        self.os.is_given() || !self.copy.is_empty()
    }

    /// Returns the settings of a run that installs no packages.
    ///
    /// # Errors
    /// Returns an error if an option, a variable or a configuration file is invalid.
    pub(super) fn settings(
        &self,
        site: &Site,
        env_vars: &EnvVars,
        console: &Console,
    ) -> anyhow::Result<RunSettings> {
        let tmpdir = self.tmpdir.clone();
        let (settings, _) = run_settings(&self.network, tmpdir, env_vars, site, console)?;
        Ok(settings)
    }
}

/// SIF that a command line asks for, besides the options of all commands.
pub(super) struct AskedSif<'a> {
    /// The new file, absolute.
    pub(super) out: PathBuf,
    /// Whether an image that is there is replaced.
    pub(super) existing: Existing,
    pub(super) base: BaseChoice,
    pub(super) site: &'a Site,
    pub(super) requirements: Option<PathBuf>,
    /// Requirements for pip that are named without a file.
    pub(super) pip: Vec<String>,
    pub(super) content: SifContent,
    pub(super) labels: Vec<(String, String)>,
}

/// Makes the plan of a SIF.
///
/// # Errors
/// Returns an error if an option, a variable or a file is invalid, or if options cannot be
/// combined.
pub(super) fn plan(
    options: SifOptions,
    asked: AskedSif,
    env_vars: &EnvVars,
    console: &Console,
) -> anyhow::Result<SifPlan> {
    let dry_run = options.dry_run.apply(console);
    let submission = options.dry_run.submit.submission(asked.site, env_vars)?;
    let place = Place::choose(options.mount_point, &asked.content)?;
    let copies = options.copy.iter();
    let copies = copies.map(|text| parse_copy(text, &env_vars.cwd));
    let copies = copies.collect::<anyhow::Result<Vec<Copy>>>()?;
    let (mut settings, packages) = run_settings(
        &options.network,
        options.tmpdir,
        env_vars,
        asked.site,
        console,
    )?;
    settings.rules.no_user_site = options.no_user_site;
    if !options.post.is_empty() && asked.content == SifContent::Nothing {
        bail!(UserError::new(
            "`--post` changes the environment, and there is none",
            "name packages, a file of packages or a lock",
        ));
    }
    Ok(SifPlan {
        input: SifInput {
            content: asked.content,
            extra: ExtraInputs {
                requirements: asked.requirements,
                pip: asked.pip,
                warm: options.warm.choice(),
                os_packages: options.os.names()?,
                work_dir: env_vars.cwd.clone(),
                ..ExtraInputs::default()
            },
            env_path: place.env_path.into(),
            post: options.post,
            keyrings: key_files(PUBLIC_KEYS, env_vars),
            settings: packages,
        },
        output: Sif {
            file: asked.out,
            existing: asked.existing,
            mount_point: place.mount_point,
            copies,
            layout: if options.layout == "overlay" {
                Layout::Overlay
            } else {
                Layout::Flat
            },
            labels: asked.labels,
            source_date_epoch: env_vars.source_date_epoch()?,
        },
        base: asked.base,
        dry_run,
        submission,
        settings,
    })
}

/// Place of the environment in the image.
struct Place {
    mount_point: PathBuf,
    env_path: &'static str,
}

impl Place {
    /// Returns the place below the root that the user named, or below cotainr's.
    fn choose(root: Option<PathBuf>, content: &SifContent) -> anyhow::Result<Self> {
        let (usual, env_path) = match content {
            SifContent::OnTop => (VENV_ROOT, VENV),
            SifContent::Conda(_) | SifContent::Nothing => (CONDA, ENVIRONMENT),
        };
        let root = root.unwrap_or_else(|| usual.into());
        check_inside("--mount-point", &root)?;
        // The mount point hides the files of the base at the same path during the build. For a
        // virtual environment it is therefore as deep in the tree as possible.
        let mount_point = match content {
            SifContent::OnTop => root.join(VENVS),
            SifContent::Conda(_) | SifContent::Nothing => root,
        };
        Ok(Self {
            mount_point,
            env_path,
        })
    }
}

fn parse_copy(text: &str, cwd: &Path) -> anyhow::Result<Copy> {
    let Some((source, destination)) = text.rsplit_once(':') else {
        bail!(UserError::new(
            format!("`--copy {text}` does not say where it goes"),
            "write `--copy SRC:DST`, with DST as it is in the image",
        ));
    };
    let destination = PathBuf::from(destination);
    check_inside("--copy", &destination)?;
    let source = cwd.join(source);
    if !source.exists() {
        bail!("`--copy {text}`: `{}` does not exist", source.display());
    }
    Ok(Copy {
        source,
        destination,
    })
}

/// Checks a path in the image. It must be absolute, must not contain `..`, and must not be below a
/// directory that runtimes mount over.
fn check_inside(option: &str, path: &Path) -> anyhow::Result<()> {
    let is_plain = path.is_absolute()
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        && path != Path::new("/");
    if !is_plain {
        bail!(UserError::new(
            format!(
                "`{option}`: `{}` is not an absolute path in the image",
                path.display()
            ),
            "name one such as /opt/cotainr",
        ));
    }
    let covered = ["/dev", "/proc", "/sys", "/tmp", "/var/tmp"];
    if let Some(top) = covered.iter().find(|top| path.starts_with(top)) {
        bail!(UserError::new(
            format!(
                "`{option}`: programs cannot see `{}` in the image, because runtimes mount `{top}` over it",
                path.display()
            ),
            "name a path below /opt or /usr/local",
        ));
    }
    Ok(())
}
