//! Responsible for making the plan of `cotainr build` from its arguments.

use std::path::{Component, Path, PathBuf};

use anyhow::bail;

use super::{Build, ExtraOptions, Systems, VERSION};
use crate::{
    cli::{run_settings::run_settings, site::choose_base},
    console::Console,
};
use condense_build::plan::{
    CondaInput, Copy, ExtraInputs, Layout, Lock, PackageRequest, Sif, SifContent, SifInput, SifPlan,
};
use condense_diagnostics::UserError;
use condense_env_vars::EnvVars;

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
const URL: &str = "https://github.com/DeiC-HPC/cotainr";

/// Makes the plan. The arguments are checked in the same order as in cotainr.
///
/// # Errors
/// Returns an error if a file does not exist, or if arguments cannot be combined.
pub(super) fn make(
    build: Build,
    out: PathBuf,
    env_vars: &EnvVars,
    console: &Console,
) -> anyhow::Result<SifPlan> {
    let Build {
        base_image,
        system,
        conda_env,
        more,
        ..
    } = build;
    let systems = Systems::load(env_vars)?;
    let base = match (base_image, system) {
        (Some(base), _) => base,
        (None, Some(system)) => systems.base_image(&system)?,
        (None, None) => bail!("one of the arguments --base-image --system is required"),
    };
    let (catalogue, site) = more.site.load(env_vars, console)?;
    let base = choose_base(Some(base), &catalogue, &site, env_vars, console)?;
    let files = NamedFiles::find(&more, conda_env, env_vars)?;
    refuse_channels(&more, &files)?;
    let requirements = files.requirements.clone();
    let content = content(&more, files)?;
    let place = Place::choose(more.mount_point, &content)?;
    let copies = more
        .copy
        .iter()
        .map(|text| parse_copy(text, &env_vars.cwd))
        .collect::<anyhow::Result<Vec<Copy>>>()?;
    let (settings, packages) = run_settings(&more.network, more.tmpdir, env_vars, &site, console)?;
    let labels = [
        ("cotainr.version", VERSION.to_owned()),
        ("cotainr.url", URL.to_owned()),
    ];
    let plan = SifPlan {
        input: SifInput {
            content,
            extra: ExtraInputs {
                requirements,
                work_dir: env_vars.cwd.clone(),
                ..ExtraInputs::default()
            },
            env_path: place.env_path.into(),
            post: more.post,
            settings: packages,
        },
        output: Sif {
            file: out,
            mount_point: place.mount_point,
            copies,
            layout: if more.layout == "overlay" {
                Layout::Overlay
            } else {
                Layout::Flat
            },
            labels: labels.map(|(name, value)| (name.to_owned(), value)).into(),
            source_date_epoch: env_vars.source_date_epoch()?,
        },
        base,
        dry_run: more.dry_run,
        settings,
    };
    if !plan.input.post.is_empty() && plan.input.content == SifContent::Nothing {
        bail!(UserError::new(
            "`--post` changes the environment, and there is none",
            "name one with `--conda-env`, `--packages`, `--requirements` or `--lock`",
        ));
    }
    Ok(plan)
}

/// Files of the command line, absolute.
struct NamedFiles {
    conda_env: Option<PathBuf>,
    requirements: Option<PathBuf>,
    lock: Option<Lock>,
}

impl NamedFiles {
    fn find(
        more: &ExtraOptions,
        conda_env: Option<PathBuf>,
        env_vars: &EnvVars,
    ) -> anyhow::Result<Self> {
        let here = |path: &Path, what: &str| -> anyhow::Result<PathBuf> {
            let path = env_vars.cwd.join(path);
            if !path.is_file() {
                bail!(
                    "The provided {what} file '{}' does not exist.",
                    path.display()
                );
            }
            Ok(path)
        };
        Ok(Self {
            conda_env: conda_env.map(|path| here(&path, "Conda env")).transpose()?,
            requirements: more
                .requirements
                .as_ref()
                .map(|path| here(path, "requirements"))
                .transpose()?,
            lock: match &more.lock {
                Some(path) => Some(Lock {
                    path: here(path, "lock")?,
                    environment: more.lock_environment.clone(),
                }),
                None => None,
            },
        })
    }
}

fn refuse_channels(more: &ExtraOptions, files: &NamedFiles) -> anyhow::Result<()> {
    if !more.channel.is_empty() && (more.packages.is_empty() || files.conda_env.is_some()) {
        bail!(UserError::new(
            "`--channel` is for `--packages` without `--conda-env`",
            "name the channels in the environment file",
        ));
    }
    Ok(())
}

/// Returns the environment that the options ask for.
fn content(more: &ExtraOptions, files: NamedFiles) -> anyhow::Result<SifContent> {
    let NamedFiles {
        conda_env,
        requirements,
        lock,
    } = files;
    if more.on_top {
        let conda = conda_env.is_some() || !more.packages.is_empty() || lock.is_some();
        if conda || !more.post.is_empty() || requirements.is_none() {
            bail!(UserError::new(
                "`--on-top` installs pip's requirements over the image's own Python, and nothing else",
                "name them with `--requirements FILE`, without `--conda-env`, `--packages`, `--lock` and `--post`",
            ));
        }
        return Ok(SifContent::OnTop);
    }
    let request = PackageRequest {
        file: conda_env,
        packages: more.packages.clone(),
        channels: more.channel.clone(),
    };
    // Requirements alone need a Python and a pip, which conda installs.
    let is_asked = !request.is_empty() || requirements.is_some();
    Ok(CondaInput::new(is_asked.then_some(request), lock)
        .map_or(SifContent::Nothing, SifContent::Conda))
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
