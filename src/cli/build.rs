//! Responsible for the arguments that `conda-containerize new` and `pip-containerize new` share,
//! and for making the plan of a build.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::bail;
use clap::Args;
use condense_image::{BlockSize, Compression};

use super::{
    base::choose_base,
    dry_run::DryRunArguments,
    mpi::MpiArguments,
    network::NetworkArguments,
    os_packages::OsPackagesArguments,
    run_settings::{self, run_settings},
    site::{SiteArguments, environment_path, other_names},
    warm::WarmArguments,
    wrap,
};
use crate::console::Console;
use condense_build::plan::{
    BaseChoice, BaseFile, CondaInput, EnvironmentInput, ExtraInputs, Generation, GivenText,
    Installation, InstallationPlan, MountPoint, Packages, PythonChoice, VenvInput,
};
use condense_catalogue::{Site, SiteRules};
use condense_env_vars::{self as env_vars, EnvVars};

/// Arguments of both commands that build environments.
#[derive(Debug, Args)]
pub(super) struct BuildArguments {
    /// directory of the installation; default: the current directory
    #[arg(long, value_name = "DIR")]
    pub(super) prefix: Option<PathBuf>,
    #[command(flatten)]
    pub(super) options: BuildOptions,
}

/// Options of all commands that build environments with wrappers.
#[derive(Debug, Args)]
pub(super) struct BuildOptions {
    /// base image: a .sif, a sandbox directory, docker://NAME, oras://NAME, oci:DIR, an archive,
    /// or an image of the catalogue (`condense base ls`); default: the site's, else one like this
    /// machine
    #[arg(long, value_name = "REF")]
    pub(super) base_image: Option<String>,
    #[command(flatten)]
    pub(super) site: SiteArguments,
    /// parent of the scratch directory
    #[arg(long, value_name = "DIR")]
    tmpdir: Option<PathBuf>,
    /// compression of the image: zstd:1..22, gzip:1..12, lz4, lz4:hc, xz:0..9 or none; default: the
    /// first codec of the site, else zstd:3, or gzip:6 if the runtime is not known to support zstd
    #[arg(long, value_name = "CODEC[:LEVEL]")]
    compression: Option<Compression>,
    /// size of the image's blocks, each of which is compressed alone: 4K to 1M, a power of two;
    /// larger blocks save space and make small reads slower
    #[arg(long, value_name = "SIZE", default_value_t = BlockSize::default())]
    block_size: BlockSize,
    /// replace an existing installation
    #[arg(long)]
    pub(super) force: bool,
    /// give the installation its own copy of the base image
    #[arg(long)]
    copy_base: bool,
    #[command(flatten)]
    os: OsPackagesArguments,
    #[command(flatten)]
    dry_run: DryRunArguments,
    /// run pip and uv without a cache, even if PIP_CACHE_DIR or UV_CACHE_DIR is set
    #[arg(long)]
    nocache: bool,
    /// script that runs in the container after everything is installed, with the environment
    /// activated
    #[arg(long, value_name = "FILE")]
    post_install: Option<PathBuf>,
    /// script that runs in the container before pip installs anything
    #[arg(long, value_name = "FILE")]
    pre_install: Option<PathBuf>,
    /// file whose lines every wrapper runs on the host before the container starts
    #[arg(long, value_name = "FILE")]
    environ: Option<PathBuf>,
    /// further programs that get a wrapper, separated by commas: files or directories, absolute in
    /// the container or relative to the mount point
    #[arg(short = 'w', long, value_name = "LIST")]
    wrapper_paths: Option<String>,
    /// programs do not see the user's own Python packages in ~/.local; CONDENSE_NO_USER_SITE=0 at a
    /// start shows them again
    #[arg(long)]
    no_user_site: bool,
    #[command(flatten)]
    warm: WarmArguments,
    #[command(flatten)]
    mpi: MpiArguments,
    #[command(flatten)]
    network: NetworkArguments,
    /// Texts that are given instead of files.
    #[arg(skip)]
    pub(super) given: InlineScripts,
}

/// Texts that replace the files of `--pre-install`, `--post-install` and `--environ`.
#[derive(Debug, Default, Clone)]
pub(super) struct InlineScripts {
    pub(super) pre_install: Option<GivenText>,
    pub(super) post_install: Option<GivenText>,
    pub(super) environ: Option<GivenText>,
}

/// Options that only one of the two commands has, and the values in which they differ.
pub(super) struct CommandOptions {
    pub(super) program: &'static str,
    /// Directory of the installation, absolute.
    pub(super) dir: PathBuf,
    pub(super) packages: PackagesOption,
    pub(super) keep_editable: bool,
    pub(super) requirement: Option<PathBuf>,
    /// Requirements for pip that are named without a file.
    pub(super) pip: Vec<String>,
    pub(super) uv: bool,
    /// Usual path of the environment below the mount point.
    pub(super) environment: &'static str,
}

/// Packages that the command line names.
pub(super) enum PackagesOption {
    Conda(CondaInput),
    /// A requirements file, and the options for the interpreter.
    Requirements(PathBuf, VenvOptions),
}

/// Options for the interpreter of a virtual environment.
pub(super) struct VenvOptions {
    /// Program that the user has named with `--interpreter`.
    pub(super) python: Option<PathBuf>,
    pub(super) version: Option<String>,
    pub(super) managed: bool,
    pub(super) system_site_packages: bool,
}

impl VenvOptions {
    /// Chooses the interpreter. Without an option, a base image that the user named provides its
    /// own Python; with the site's default base, the Python of the host is used.
    fn choose(self, requirements: PathBuf, base: &BaseChoice, console: &Console) -> VenvInput {
        let python = match (self.python, base) {
            (None, _) if self.managed => PythonChoice::Managed(self.version),
            (Some(program), _) => PythonChoice::Host(Some(program)),
            (None, BaseChoice::Named(_)) => PythonChoice::OfBase(match self.version {
                // A tag of docker's `python` image, such as `3.13.2-slim-bullseye`, has more parts
                // than the name of a program.
                Some(version) => {
                    let mut numbers = version.split(['.', '-']).take(2);
                    let numbers: Vec<&str> = numbers.by_ref().collect();
                    format!("python{}", numbers.join("."))
                }
                None => "python3".to_owned(),
            }),
            (None, BaseChoice::Site(_)) => {
                if self.version.is_some() {
                    console.warning("--pyver means nothing without --uv, --slim or a base image of its own: the first python3 on PATH is used");
                }
                PythonChoice::Host(None)
            }
        };
        VenvInput {
            requirements,
            python,
            system_site_packages: self.system_site_packages,
        }
    }
}

/// Returns how the base is placed in the installation. The user's choice takes precedence over the
/// site's.
pub(super) fn base_file(copy: bool, site: &Site) -> BaseFile {
    match (copy, site.share_container) {
        (true, _) => BaseFile::Copied,
        (false, true) => BaseFile::Linked,
        (false, false) => BaseFile::Usual,
    }
}

impl BuildOptions {
    /// Returns whether packages of the base's distribution are named.
    pub(super) fn has_os_packages(&self) -> bool {
        self.os.is_given()
    }
}

impl BuildArguments {
    /// Returns the directory of the installation, and all other options.
    pub(super) fn split(self, env_vars: &EnvVars) -> (PathBuf, BuildOptions) {
        let dir = env_vars.cwd.join(self.prefix.unwrap_or_default());
        (dir, self.options)
    }
}

/// Makes the plan of a build.
///
/// # Errors
/// Returns an error if an argument, a variable or a file is invalid, or if no base image is known.
pub(super) fn plan(
    options: BuildOptions,
    asked: CommandOptions,
    words: &[OsString],
    env_vars: &EnvVars,
    console: &Console,
) -> anyhow::Result<InstallationPlan> {
    let BuildOptions {
        base_image,
        site,
        tmpdir,
        compression,
        block_size,
        force,
        copy_base,
        os,
        dry_run,
        nocache,
        post_install,
        pre_install,
        environ,
        wrapper_paths,
        no_user_site,
        warm,
        mpi,
        network,
        given,
    } = options;
    let submit = &dry_run.submit;
    let is_dry_run = dry_run.apply(console);
    let read = |path, what| given_text(path, what, env_vars);
    let inputs = ExtraInputs {
        requirements: match asked.requirement {
            Some(path) => Some(existing(&path, "Requirements file", env_vars)?),
            None => None,
        },
        pip: asked.pip,
        pre_install: given
            .pre_install
            .or(read(pre_install, "Pre-install script")?),
        post_install: given
            .post_install
            .or(read(post_install, "Post-install script")?),
        environ: given.environ.or(read(environ, "Environ file")?),
        uv: asked.uv,
        uv_program: if asked.uv { uv_on_path(env_vars) } else { None },
        no_cache: nocache,
        keep_editable: asked.keep_editable,
        warm: warm.choice(),
        os_packages: os.names()?,
        work_dir: env_vars.cwd.clone(),
    };
    let (catalogue, site) = site.load(env_vars, console)?;
    let submission = submit.submission(&site, env_vars)?;
    let base = choose_base(base_image, &catalogue, &site, env_vars, console)?;
    let (mut settings, package_settings) =
        run_settings(&network, tmpdir, env_vars, &site, console)?;
    settings.rules.no_user_site = no_user_site;
    settings.rules.mpi.source = mpi.source();
    let packages = match asked.packages {
        PackagesOption::Conda(conda) => Packages::Conda(conda),
        PackagesOption::Requirements(file, wish) => {
            Packages::Requirements(wish.choose(file, &base, console))
        }
    };
    let other_names = other_names(&site, env_vars)?;
    let env_path = environment_path(asked.environment, &site, env_vars)?;
    let generation = Generation {
        dir: clean(&asked.dir),
        wrapper_paths: match wrapper_paths {
            Some(list) => wrap::wrapper_paths(&list)?,
            None => Vec::new(),
        },
        extra_text: inputs.environ.as_ref().map(|given| given.text.clone()),
        other_names,
        compression_is_default: compression.is_none(),
        compression: run_settings::compression(compression, env_vars, &site)?,
        block_size,
        source_date_epoch: env_vars.source_date_epoch()?,
        command_line: std::iter::once(asked.program.to_owned())
            .chain(words.iter().map(|word| word.to_string_lossy().into_owned()))
            .collect(),
    };
    Ok(InstallationPlan {
        input: EnvironmentInput {
            packages,
            extra: inputs,
            env_path,
            settings: package_settings,
        },
        output: Installation {
            generation,
            mount_point: MountPoint::Prefix(site.installation_path.clone().into()),
            force,
            base_file: base_file(copy_base, &site),
        },
        base,
        dry_run: is_dry_run,
        submission,
        settings,
    })
}

/// Returns the absolute path of a file that the user has named. `what` is its description in
/// errors.
///
/// # Errors
/// Returns an error if the file does not exist or is a directory.
pub(super) fn existing(path: &Path, what: &str, env_vars: &EnvVars) -> anyhow::Result<PathBuf> {
    let absolute = env_vars.cwd.join(path);
    // Pipes are accepted, as in `<(echo click)`.
    if !absolute.exists() || absolute.is_dir() {
        bail!("{what} {} does not exist", path.display());
    }
    Ok(absolute)
}

/// Reads the file that the user has named, if any. `what` is its description in errors.
///
/// # Errors
/// Returns an error if the file does not exist, cannot be read, or is not text.
pub(super) fn given_text(
    path: Option<PathBuf>,
    what: &str,
    env_vars: &EnvVars,
) -> anyhow::Result<Option<GivenText>> {
    let Some(path) = path else { return Ok(None) };
    let path = existing(&path, what, env_vars)?;
    let text = condense_input::read_named_to_string(&path, condense_input::TEXT_MOST);
    let text = text.map_err(|error| {
        let is_text = error.kind() != std::io::ErrorKind::InvalidData;
        let problem = if is_text {
            "cannot be read"
        } else {
            "it is not text"
        };
        anyhow::Error::new(error).context(format!("{what}: {problem}"))
    })?;
    Ok(Some(GivenText { path, text }))
}

/// Finds the first `uv` on PATH that is an ELF program. A script is skipped, because it might not
/// run in a container.
pub(super) fn uv_on_path(env_vars: &EnvVars) -> Option<PathBuf> {
    let search_path = env_vars.get(env_vars::PATH)?;
    std::env::split_paths(search_path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("uv"))
        .find(|program| {
            let mut start = [0; 4];
            condense_input::open(program)
                .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start))
                .is_ok_and(|()| start == *b"\x7fELF")
        })
}

/// Removes `.` and empty components from a path. `..` stays, because it may follow a symbolic link.
pub(super) fn clean(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| !matches!(part, std::path::Component::CurDir))
        .collect()
}

/// Returns the site's rules for the start of programs, with the user's variables expanded.
pub(super) fn rules(env_vars: &EnvVars, site: &Site) -> SiteRules {
    site.rules(|name| env_vars.get(name).map(str::to_owned))
}
