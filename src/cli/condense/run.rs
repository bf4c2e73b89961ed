//! Responsible for the verb `condense run`, which starts a program of an installation or a SIF in
//! place of this process.

use std::{
    ffi::OsString,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, bail};
use clap::Args;
use condense_base::BaseImage;
use condense_build::{
    contents::{Subject, SubjectKind},
    staged_sif,
};
use condense_catalogue::{BaseView, Site};
use condense_diagnostics::UserError;
use condense_env_vars::{self as env_vars, EnvVars};
use condense_installation::{Bind, HostMpi, MpiSource, Runtime, device_of_flag};

use super::{Context, subject};
use crate::cli::{
    build::rules, build_env::host_files, mpi::MpiArguments, run_settings::runtime,
    site::SiteArguments,
};

/// Wrapper that runs any program of the container.
const ANY_PROGRAM: &str = "_debug_exec";

#[derive(Debug, Args)]
#[command(after_help = "The exit status is that of the program; 125 if a wrapper cannot start it.")]
pub(super) struct Arguments {
    #[command(flatten)]
    site: SiteArguments,
    #[command(flatten)]
    mpi: MpiArguments,
    /// Installation: a name in TYKKY_PATH or a directory, with `@N` for generation N; or a .sif
    #[arg(value_name = "NAME|DIR|SIF")]
    subject: PathBuf,
    /// Program and its arguments: any program in the container, also one without a wrapper
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<OsString>,
}

/// Replaces this process by the program. Returns only if the program cannot be started.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let subject = subject::open(&arguments.subject, context.env_vars)?;
    let mpi = arguments.mpi.source();
    let mut command = starting(&subject, &arguments.command, &arguments.site, mpi, context)?;
    let error = command.exec();
    Err(error).with_context(|| {
        let program = Path::new(command.get_program());
        format!("failed to start `{}`", program.display())
    })
}

/// Returns the command that starts a program of the subject in the user's environment.
///
/// # Errors
/// Returns an error if the subject is neither an installation nor a SIF, or if it has no wrappers
/// or there is no runtime.
pub(super) fn starting(
    subject: &Subject,
    words: &[OsString],
    site: &SiteArguments,
    mpi: Option<MpiSource>,
    context: &Context,
) -> anyhow::Result<Command> {
    match (subject.kind(), subject.dir()) {
        (SubjectKind::Installation, Some(_)) => through_wrapper(subject, words, mpi),
        (SubjectKind::Sif, _) => {
            let (_, site) = site.load(context.env_vars, context.console)?;
            let command = through_runtime(subject, words, &site, context)?;
            match wanted_mpi(mpi, context.env_vars)? {
                Some(MpiSource::Host) => {
                    let with_mpi = with_host_mpi(&command, subject, &site, mpi.is_some(), context)?;
                    Ok(with_mpi.unwrap_or(command))
                }
                _ => Ok(command),
            }
        }
        _ => bail!(UserError::new(
            format!("nothing can be started in `{}`", subject.path().display()),
            "give an installation or a .sif",
        )),
    }
}

/// Returns the command of the wrapper with the program's name, else of the wrapper that runs any
/// program of the container.
fn through_wrapper(
    subject: &Subject,
    words: &[OsString],
    mpi: Option<MpiSource>,
) -> anyhow::Result<Command> {
    let bin = bin_dir(subject).context("an installation has a directory")?;
    let with_mpi = |mut command: Command| {
        if let Some(source) = mpi {
            let word = match source {
                MpiSource::Host => "host",
                MpiSource::Image => "image",
            };
            command.env(env_vars::CONDENSE_MPI, word);
        }
        command
    };
    let dir = bin.parent().unwrap_or(&bin);
    let (program, rest) = words.split_first().context("there is no command")?;
    let is_name = !program.to_string_lossy().contains('/') && !program.is_empty();
    let wrapper = bin.join(program);
    if is_name && wrapper.is_file() {
        let mut command = Command::new(wrapper);
        command.args(rest);
        return Ok(with_mpi(command));
    }
    let any = bin.join(ANY_PROGRAM);
    if !any.is_file() {
        bail!(UserError::new(
            format!("`{}` has no wrapper `{ANY_PROGRAM}`", dir.display()),
            format!("`condense verify {}` says what is missing", dir.display()),
        ));
    }
    let mut command = Command::new(any);
    command.args(words);
    Ok(with_mpi(command))
}

/// Returns the MPI that the option or the variable asks for.
fn wanted_mpi(option: Option<MpiSource>, env_vars: &EnvVars) -> anyhow::Result<Option<MpiSource>> {
    if option.is_some() {
        return Ok(option);
    }
    match env_vars.get(env_vars::CONDENSE_MPI) {
        None | Some("") => Ok(None),
        Some("host") => Ok(Some(MpiSource::Host)),
        Some("image") => Ok(Some(MpiSource::Image)),
        Some(other) => bail!(UserError::new(
            format!("CONDENSE_MPI is neither `host` nor `image`: `{other}`"),
            "unset it, or give one of them",
        )),
    }
}

/// Returns the command with the host's MPI in front of the image's. The programs of the image are
/// looked at once: the result is kept until the image or the site's rules change. `None` if the
/// programs need no MPI and none is demanded.
fn with_host_mpi(
    command: &Command,
    subject: &Subject,
    site: &Site,
    is_demanded: bool,
    context: &Context,
) -> anyhow::Result<Option<Command>> {
    let env_vars = context.env_vars;
    let image = subject.path();
    let mut rules = rules(env_vars, site).mpi;
    rules.source = Some(MpiSource::Host);
    let metadata = fs_err::metadata(image)?;
    let mut key = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut key);
    (
        fs_err::canonicalize(image)?,
        metadata.len(),
        metadata.modified()?,
    )
        .hash(&mut key);
    format!("{rules:?}").hash(&mut key);
    let name = format!("{:016x}.json", key.finish());
    let kept = env_vars.own_cache_dir().join("host-mpi").join(name);
    let text = condense_input::read_to_string(&kept, condense_input::TEXT_MOST).ok();
    let known = text.and_then(|text| serde_json::from_str::<Option<HostMpi>>(&text).ok());
    let known = known.filter(|known| known.is_some() || !is_demanded);
    if let Some(known) = known {
        return Ok(known.map(|known| known.command(command)).transpose()?);
    }
    let found = condense_build::host_mpi_of(image, &rules, is_demanded, context.report)?;
    // Without a cache, each start looks at the image.
    if let (Some(dir), Ok(text)) = (kept.parent(), serde_json::to_vec(&found))
        && fs_err::create_dir_all(dir).is_ok()
    {
        let _ = condense_publish::write(&kept, &text);
    }
    Ok(found.map(|found| found.command(command)).transpose()?)
}

/// Returns the directory of an installation's wrappers. The visible generation has the path that
/// users know, so that it becomes the program's `argv[0]`.
pub(super) fn bin_dir(subject: &Subject) -> Option<PathBuf> {
    let dir = subject.dir()?;
    let same = |path: &Path| path.canonicalize().ok();
    let is_visible = same(&dir.join("bin")) == same(&subject.path().join("bin"));
    let dir = if is_visible { subject.path() } else { dir };
    Some(dir.join("bin"))
}

/// Returns the flags of the site for this image that have an effect on this machine.
fn flags(subject: &Subject, site: &Site, env_vars: &EnvVars) -> anyhow::Result<Vec<String>> {
    let image = BaseImage::open(subject.path())?;
    let facts = image.facts()?;
    let view = BaseView {
        base: &image,
        facts: &facts,
    };
    let mut flags = rules(env_vars, site).flags_for(view)?;
    flags.retain(|flag| device_of_flag(flag).is_none_or(Path::exists));
    Ok(flags)
}

/// Returns the command `exec` of the container runtime, in the user's environment.
fn through_runtime(
    subject: &Subject,
    words: &[OsString],
    site: &Site,
    context: &Context,
) -> anyhow::Result<Command> {
    let env_vars = context.env_vars;
    let search_path = env_vars.get(env_vars::PATH).unwrap_or_default();
    let runtime = Runtime::find(runtime(env_vars, site).as_deref(), search_path.as_ref())?;
    let mut command = Command::new(runtime.program());
    command.args(["-s", "exec"]);
    command.args(flags(subject, site, env_vars)?);
    show_files(&mut command, context);
    let no_user_site = env_vars.get(env_vars::CONDENSE_NO_USER_SITE);
    if no_user_site.is_some_and(|value| value != "0") {
        command.env(env_vars::PYTHONNOUSERSITE, "1");
    }
    // A copy that `condense stage` has made on this node takes the place of the image.
    let stage = env_vars.get(env_vars::CW_STAGE).map(Path::new);
    let stage = stage.filter(|dir| dir.is_absolute());
    let copy = stage.and_then(|dir| staged_sif(subject.path(), dir));
    let image = copy.as_deref().unwrap_or(subject.path());
    command.arg(image).args(words);
    Ok(command)
}

/// Binds the files that the user's variables name, and the sockets of the user's displays, unless
/// the runtime shows them anyway.
fn show_files(command: &mut Command, context: &Context) {
    let env_vars = context.env_vars;
    let tmp = bound_over_tmp(env_vars);
    // The runtime cannot make a place in a directory that the user cannot write.
    let can_hold = tmp.is_none_or(|dir| {
        dir.join(".X11-unix").is_dir()
            || rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok()
    });
    let home = env_vars.home();
    let is_seen = |path: &Path| {
        let tops = ["/dev", "/proc", "/sys", "/var/tmp"];
        tops.iter().any(|top| path.starts_with(top))
            || (path.starts_with("/tmp") && tmp.is_none())
            || home.as_ref().is_some_and(|home| path.starts_with(home))
    };
    for (name, path) in host_files(env_vars) {
        if is_seen(&path) {
            continue;
        }
        // The user may have bound the file, so a path that cannot be written is no error.
        match Bind::path(&path, &path) {
            Ok(bind) if !bind.source().as_os_str().as_bytes().contains(&b'^') => {
                command.arg("-B").arg(bind.read_only().argument());
            }
            _ => context.report.warning(format!(
                "a container cannot show the file of {name}, for special characters in its path"
            )),
        }
    }
    let wayland = env_vars.get(env_vars::WAYLAND_DISPLAY).map(Path::new);
    let wayland = wayland.and_then(|name| {
        if name.is_absolute() {
            Some(name)
        } else {
            env_vars.get(env_vars::XDG_RUNTIME_DIR).map(Path::new)
        }
    });
    for path in [
        Some(Path::new("/tmp/.X11-unix")).filter(|_| can_hold),
        wayland,
    ]
    .into_iter()
    .flatten()
    {
        if path.is_absolute()
            && path.exists()
            && !is_seen(path)
            && let Ok(bind) = Bind::path(path, path)
        {
            command.arg("-B").arg(bind.argument());
        }
    }
}

/// Returns the directory that the user's variables for the runtime bind over /tmp.
fn bound_over_tmp(env_vars: &EnvVars) -> Option<&Path> {
    let slots = [
        (env_vars::APPTAINER_BIND, env_vars::SINGULARITY_BIND),
        (env_vars::APPTAINER_BINDPATH, env_vars::SINGULARITY_BINDPATH),
    ];
    let lists = slots.iter().filter_map(|(apptainer, singularity)| {
        env_vars
            .get(apptainer)
            .or_else(|| env_vars.get(singularity))
    });
    lists.flat_map(|list| list.split(',')).find_map(|entry| {
        let mut parts = entry.trim().split(':');
        let (source, destination) = (parts.next()?, parts.next()?);
        (destination.trim_end_matches('/') == "/tmp").then_some(Path::new(source))
    })
}
