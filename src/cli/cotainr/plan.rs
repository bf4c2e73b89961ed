//! Responsible for making the plan of `cotainr build` from its arguments.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::{Build, ExtraOptions, Systems, VERSION};
use crate::{
    cli::{
        base::choose_base,
        run_settings::default_channels,
        sif::{self, AskedSif},
    },
    console::Console,
};
use condense_build::plan::{CondaInput, Lock, PackageRequest, SifContent, SifPlan};
use condense_diagnostics::UserError;
use condense_env_vars::EnvVars;
use condense_publish::Existing;

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
    let systems = Systems::load(env_vars, more.sif.site.catalogue.as_deref())?;
    let base = match (base_image, system) {
        (Some(base), _) => base,
        (None, Some(system)) => systems.base_image(&system)?,
        (None, None) => bail!("one of the arguments --base-image --system is required"),
    };
    let (catalogue, site) = more.sif.site.load(env_vars, console)?;
    let base = choose_base(Some(base), &catalogue, &site, env_vars, console)?;
    let files = NamedFiles::find(&more, conda_env, env_vars)?;
    refuse_channels(&more, &files)?;
    let labels = [
        ("cotainr.version", VERSION.to_owned()),
        ("cotainr.url", URL.to_owned()),
    ];
    let asked = AskedSif {
        out,
        // The question about it was answered before.
        existing: Existing::Replace,
        base,
        site: &site,
        requirements: files.requirements.clone(),
        pip: Vec::new(),
        content: content(&more, files, env_vars)?,
        labels: labels.map(|(name, value)| (name.to_owned(), value)).into(),
    };
    sif::plan(more.sif, asked, env_vars, console)
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
            lock: match &more.sif.lock {
                Some(path) => Some(Lock {
                    path: here(path, "lock")?,
                    environment: more.sif.lock_environment.clone(),
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
fn content(
    more: &ExtraOptions,
    files: NamedFiles,
    env_vars: &EnvVars,
) -> anyhow::Result<SifContent> {
    let NamedFiles {
        conda_env,
        requirements,
        lock,
    } = files;
    if more.sif.on_top {
        let conda = conda_env.is_some() || !more.packages.is_empty() || lock.is_some();
        if conda || !more.sif.post.is_empty() || requirements.is_none() {
            bail!(UserError::new(
                "`--on-top` installs pip's requirements over the image's own Python, and nothing else",
                "name them with `--requirements FILE`, without `--conda-env`, `--packages`, `--lock` and `--post`",
            ));
        }
        return Ok(SifContent::OnTop);
    }
    let mut request = PackageRequest {
        file: conda_env,
        packages: more.packages.clone(),
        channels: more.channel.clone(),
    };
    // Requirements alone need a Python and a pip, which conda installs.
    let is_asked = !request.is_empty() || requirements.is_some();
    if request.channels.is_empty() {
        request.channels = default_channels(env_vars);
    }
    Ok(CondaInput::new(is_asked.then_some(request), lock)
        .map_or(SifContent::Nothing, SifContent::Conda))
}
