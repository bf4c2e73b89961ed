//! Responsible for the verb `condense run`, which starts a program of an installation or a SIF in
//! place of this process.

use std::{
    ffi::OsString,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, bail};
use clap::Args;
use condense_build::contents::{Subject, SubjectKind};
use condense_diagnostics::UserError;
use condense_env_vars::{self as env_vars, EnvVars};
use condense_installation::{Bind, Runtime};

use super::{Context, subject};
use crate::cli::{build_env::host_files, run_settings::runtime, site::SiteArguments};

/// Wrapper that runs any program of the container.
const ANY_PROGRAM: &str = "_debug_exec";

#[derive(Debug, Args)]
#[command(after_help = "The exit status is that of the program; 125 if a wrapper cannot start it.")]
pub(super) struct Arguments {
    #[command(flatten)]
    site: SiteArguments,
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
    let mut command = starting(&subject, &arguments.command, &arguments.site, context)?;
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
    context: &Context,
) -> anyhow::Result<Command> {
    match (subject.kind(), subject.dir()) {
        (SubjectKind::Installation, Some(_)) => through_wrapper(subject, words),
        (SubjectKind::Sif, _) => through_runtime(subject, words, site, context),
        _ => bail!(UserError::new(
            format!("nothing can be started in `{}`", subject.path().display()),
            "give an installation or a .sif",
        )),
    }
}

/// Returns the command of the wrapper with the program's name, else of the wrapper that runs any
/// program of the container.
fn through_wrapper(subject: &Subject, words: &[OsString]) -> anyhow::Result<Command> {
    let bin = bin_dir(subject).context("an installation has a directory")?;
    let dir = bin.parent().unwrap_or(&bin);
    let (program, rest) = words.split_first().context("there is no command")?;
    let is_name = !program.to_string_lossy().contains('/') && !program.is_empty();
    let wrapper = bin.join(program);
    if is_name && wrapper.is_file() {
        let mut command = Command::new(wrapper);
        command.args(rest);
        return Ok(command);
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
    Ok(command)
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

/// Returns the command `exec` of the container runtime, in the user's environment.
fn through_runtime(
    subject: &Subject,
    words: &[OsString],
    site: &SiteArguments,
    context: &Context,
) -> anyhow::Result<Command> {
    let env_vars = context.env_vars;
    let (_, site) = site.load(env_vars, context.console)?;
    let search_path = env_vars.get(env_vars::PATH).unwrap_or_default();
    let runtime = Runtime::find(runtime(env_vars, &site).as_deref(), search_path.as_ref())?;
    let mut command = Command::new(runtime.program());
    command.args(["-s", "exec"]);
    show_files(&mut command, context);
    let no_user_site = env_vars.get(env_vars::CONDENSE_NO_USER_SITE);
    if no_user_site.is_some_and(|value| value != "0") {
        command.env(env_vars::PYTHONNOUSERSITE, "1");
    }
    command.arg(subject.path()).args(words);
    Ok(command)
}

/// Binds the files that the user's variables name, and the sockets of the user's displays, unless
/// the runtime shows them anyway.
fn show_files(command: &mut Command, context: &Context) {
    let env_vars = context.env_vars;
    let is_tmp_replaced = has_bind_over_tmp(env_vars);
    let home = env_vars.home();
    let is_seen = |path: &Path| {
        let tops = ["/dev", "/proc", "/sys", "/var/tmp"];
        tops.iter().any(|top| path.starts_with(top))
            || (path.starts_with("/tmp") && !is_tmp_replaced)
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
    for path in [Some(Path::new("/tmp/.X11-unix")), wayland]
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

/// Returns whether the user's variables for the runtime have a bind mount of another directory over
/// /tmp.
fn has_bind_over_tmp(env_vars: &EnvVars) -> bool {
    let slots = [
        (env_vars::APPTAINER_BIND, env_vars::SINGULARITY_BIND),
        (env_vars::APPTAINER_BINDPATH, env_vars::SINGULARITY_BINDPATH),
    ];
    let lists = slots.iter().filter_map(|(apptainer, singularity)| {
        env_vars
            .get(apptainer)
            .or_else(|| env_vars.get(singularity))
    });
    lists.flat_map(|list| list.split(',')).any(|entry| {
        let destination = entry.trim().split(':').nth(1);
        destination.is_some_and(|place| place.trim_end_matches('/') == "/tmp")
    })
}
