//! Responsible for making the plan of `cotainr build` from its arguments.

use std::path::{Component, Path, PathBuf};

use anyhow::bail;
use condense_image::BlockSize;

use super::{Build, ExtraOptions, Systems, VERSION};
use crate::{
    cli::{build::rules, run_settings::run_settings, site::choose_base},
    console::Console,
};
use condense_build::plan::{BaseFile, Copy, ExtraInputs, Layout, Lock, Plan, Request, SifPlan};
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
    command_line: Vec<String>,
    env_vars: &EnvVars,
    console: &Console,
) -> anyhow::Result<SifPlan> {
    let Build {
        help: _,
        base_image,
        system,
        conda_env,
        accept_licenses: _,
        verbose: _,
        quiet: _,
        log_to_file: _,
        no_color: _,
        more,
        image_path: _,
    } = build;
    let ExtraOptions {
        packages,
        requirements,
        channel,
        lock,
        lock_environment,
        post,
        copy,
        tmpdir,
        mount_point,
        yes: _,
        dry_run,
        layout,
        on_top,
        site,
        network,
    } = more;
    let systems = Systems::load(env_vars)?;
    let base = match (base_image, system) {
        (Some(base), _) => base,
        (None, Some(system)) => systems.base_image(&system)?,
        (None, None) => unreachable!("one of them was asked for"),
    };
    let (catalogue, site) = site.load(env_vars, console)?;
    let base = choose_base(Some(base), &catalogue, &site, env_vars, console)?;
    let here = |path: PathBuf, what: &str| -> anyhow::Result<PathBuf> {
        let path = env_vars.cwd.join(path);
        if !path.is_file() {
            bail!(
                "The provided {what} file '{}' does not exist.",
                path.display()
            );
        }
        Ok(path)
    };
    let conda_env = conda_env.map(|path| here(path, "Conda env")).transpose()?;
    let requirements = requirements
        .map(|path| here(path, "requirements"))
        .transpose()?;
    let lock = lock
        .map(|path| {
            anyhow::Ok(Lock {
                path: here(path, "lock")?,
                environment: lock_environment,
                alone: conda_env.is_none() && packages.is_empty() && requirements.is_none(),
            })
        })
        .transpose()?;
    if !channel.is_empty() && (packages.is_empty() || conda_env.is_some()) {
        bail!(UserError::new(
            "`--channel` is for `--packages` without `--conda-env`",
            "name the channels in the environment file",
        ));
    }
    if on_top {
        let conda = conda_env.is_some() || !packages.is_empty() || lock.is_some();
        if conda || !post.is_empty() || requirements.is_none() {
            bail!(UserError::new(
                "`--on-top` installs pip's requirements over the image's own Python, and nothing else",
                "name them with `--requirements FILE`, without `--conda-env`, `--packages`, `--lock` and `--post`",
            ));
        }
    }
    let root = mount_point.unwrap_or_else(|| if on_top { VENV_ROOT } else { CONDA }.into());
    check_inside("--mount-point", &root)?;
    // The mount point hides the files of the base at the same path during the build. For a virtual
    // environment it is therefore as deep in the tree as possible.
    let (mount_point, name) = if on_top {
        (root.join(VENVS), VENV)
    } else {
        (root, ENVIRONMENT)
    };
    let copies = copy
        .iter()
        .map(|text| parse_copy(text, &env_vars.cwd))
        .collect::<anyhow::Result<Vec<Copy>>>()?;
    let settings = run_settings(&network, tmpdir, env_vars, &site, console)?;
    let labels = [
        ("cotainr.command", without_secrets(&command_line)),
        ("cotainr.version", VERSION.to_owned()),
        ("cotainr.url", URL.to_owned()),
    ];
    let plan = SifPlan {
        request: Request {
            file: conda_env,
            packages,
            channels: channel,
        },
        mount_point,
        on_top,
        post,
        copies,
        layout: if layout == "overlay" {
            Layout::Overlay
        } else {
            Layout::Flat
        },
        labels: labels.map(|(name, value)| (name.to_owned(), value)).into(),
        build: Plan {
            settings,
            venv: None,
            spec_path: name.into(),
            lock,
            keep_editable: false,
            inputs: ExtraInputs {
                requirements,
                work_dir: env_vars.cwd.clone(),
                ..ExtraInputs::default()
            },
            prefix_dir: out,
            base,
            force: true,
            base_file: BaseFile::Usual,
            installation_path: site.installation_path.clone(),
            other_names: Vec::new(),
            env_path: name.into(),
            rules: rules(env_vars, &site),
            wrapper_paths: Vec::new(),
            extra_text: None,
            compression: None,
            block_size: BlockSize::default(),
            source_date_epoch: env_vars.source_date_epoch()?,
            dry_run,
            command_line,
        },
    };
    if !plan.post.is_empty() && !plan.has_environment() {
        bail!(UserError::new(
            "`--post` changes the environment, and there is none",
            "name one with `--conda-env`, `--packages`, `--requirements` or `--lock`",
        ));
    }
    Ok(plan)
}

fn without_secrets(words: &[String]) -> String {
    words
        .iter()
        .map(|word| condense_prefix::without_secrets(word))
        .collect::<Vec<_>>()
        .join(" ")
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
