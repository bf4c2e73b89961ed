//! Responsible for the verb `condense desktop`, which starts a VNC server and noVNC of an
//! installation or a SIF, and ends them with itself.

mod text;

use std::{
    ffi::OsString,
    net::Ipv4Addr,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use condense_build::{contents::Subject, interrupt::EXIT_STATUS};
use condense_catalogue::Site;
use condense_desktop::{Desktop, Error, MARK, Record, Session, Settings, running, stop};
use condense_env_vars::{self as env_vars, EnvVars};
use serde_json::json;

use super::{Context, run::starting, subject};
use crate::cli::site::SiteArguments;
use text::Connection;

/// Parent of the directories of desktops. It is on the machine itself, as the desktops are, and X
/// servers have their sockets below it.
const PARENT: &str = "/tmp";
/// Value of `--stop` for all desktops.
const ALL: &str = "all";
/// Time between two looks at the processes of a desktop.
const POLL: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(
    after_help = "The desktop ends with COMMAND, with Ctrl-C or with --stop. The exit status is that of COMMAND, or 130."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    site: SiteArguments,
    /// Installation: a name in TYKKY_PATH or a directory, with `@N` for generation N; or a .sif
    #[arg(value_name = "NAME|DIR|SIF", required_unless_present_any = ["stop", "list"])]
    subject: Option<PathBuf>,
    /// Program of the container that is started on the desktop, and its arguments
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<OsString>,
    /// Width and height of the screen in pixels
    #[arg(long, value_name = "WxH", default_value = "1600x900", value_parser = geometry)]
    geometry: String,
    /// Address at which the servers listen; any other than the default can be reached from the
    /// network, with the password alone
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    listen: Ipv4Addr,
    /// Port of the VNC server [default: a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Port of noVNC [default: a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    web_port: Option<u16>,
    /// Start no window manager
    #[arg(long)]
    no_window_manager: bool,
    /// List your desktops on this machine
    #[arg(long, conflicts_with_all = ["subject", "command", "stop"])]
    list: bool,
    /// End your desktop of this display, such as `:1`, or all of them on this machine
    #[arg(
        long,
        value_name = "DISPLAY",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ALL,
        conflicts_with_all = ["subject", "command", "json"]
    )]
    stop: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Checks the size of the screen, for clap.
fn geometry(text: &str) -> Result<String, String> {
    let is_side = |side: &str| {
        let is_number = side.bytes().all(|byte| byte.is_ascii_digit());
        is_number
            && side
                .parse()
                .is_ok_and(|side: u32| (64..=16384).contains(&side))
    };
    match text.split_once('x') {
        Some((width, height)) if is_side(width) && is_side(height) => Ok(text.to_owned()),
        _ => Err("expected two numbers from 64 to 16384, such as 1600x900".to_owned()),
    }
}

/// Runs, lists or ends desktops.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    if let Some(display) = &arguments.stop {
        return end(display, context);
    }
    if arguments.list {
        return list(arguments, context);
    }
    let named = arguments
        .subject
        .as_deref()
        .context("there is no subject")?;
    let subject = subject::open(named, context.env_vars)?;
    let (_, site) = arguments.site.load(context.env_vars, context.console)?;
    context.interrupt.listen()?;
    if arguments.port.is_some() && arguments.port == arguments.web_port {
        anyhow::bail!(condense_diagnostics::UserError::new(
            "`--port` and `--web-port` are the same port",
            "give two ports, or leave one out",
        ));
    }
    let session = Session::create(Path::new(PARENT))?;
    context.interrupt.remove_on_exit(session.dir().to_owned());
    let mut container = container_of(&subject, arguments, &session, context)?;
    // No program of an older desktop or of the user's own screen is to take part.
    container.env_remove(env_vars::DISPLAY);
    let settings = Settings {
        subject: subject.path().to_owned(),
        title: subject::title(&subject),
        geometry: arguments.geometry.clone(),
        address: arguments.listen,
        vnc_port: arguments.port,
        web_port: arguments.web_port,
        has_manager: !arguments.no_window_manager,
        has_terminal: arguments.command.is_empty(),
    };
    let is_cancelled = || context.console.cancelled();
    let desktop = Desktop::start(session, container, &settings, &is_cancelled)
        .with_context(|| format!("`{}` shows no desktop", subject::title(&subject)))?;
    show(&desktop, &subject, &site, arguments, context)?;
    keep(desktop, &subject, arguments, context)
}

/// Returns the command that runs a shell in the container.
fn container_of(
    subject: &Subject,
    arguments: &Arguments,
    session: &Session,
    context: &Context,
) -> anyhow::Result<Command> {
    let shell = ["/bin/sh".into()];
    let mut command = starting(subject, &shell, &arguments.site, None, context)?;
    show_directory(&mut command, session.home(), context.env_vars);
    Ok(command)
}

/// Binds the directory of the desktops into the container, since a bind mount of the user's over
/// /tmp would hide it.
fn show_directory(command: &mut Command, dir: &Path, env_vars: &EnvVars) {
    // Where apptainer's variable is set, the other one is not read.
    let name = match env_vars.get(env_vars::APPTAINER_BINDPATH) {
        Some(_) => env_vars::APPTAINER_BINDPATH,
        None => env_vars::SINGULARITY_BINDPATH,
    };
    let mut binds = env_vars.get(name).map(|binds| format!("{binds},"));
    let binds = binds.get_or_insert_default();
    binds.push_str(&dir.to_string_lossy());
    command.env(name, binds);
}

/// Shows how to connect, and what the image lacks.
fn show(
    desktop: &Desktop,
    subject: &Subject,
    site: &Site,
    arguments: &Arguments,
    context: &Context,
) -> anyhow::Result<()> {
    let facts = desktop.facts();
    let connection = Connection::new(desktop.record(), site, context.env_vars);
    let password = desktop.session().password().reveal();
    let is_shown = !arguments.json && context.console.secret(&format!("password: {password}"));
    let password_file = if is_shown {
        None
    } else {
        Some(desktop.session().write_password()?)
    };
    if arguments.json {
        let mut value = connection.as_json(desktop.record());
        value["windowManager"] = json!(facts.manager);
        value["passwordFile"] = json!(password_file);
        context.console.json("desktop", value);
    } else {
        let title = subject::title(subject);
        let text = connection.text(&title, desktop, password_file.as_deref());
        context.console.data(&text);
    }
    for part in &facts.lacks {
        let (name, packages) = (part.word(), part.packages(&facts.system));
        context.report.warning(format!(
            "the image has no {name}, so there is no desktop for a browser; {packages} brings it"
        ));
    }
    if let Some(problem) = desktop.web_problem() {
        let problem = format!("noVNC does not run: {problem}");
        context.report.warning(problem);
    }
    Ok(())
}

/// Waits for the end of the desktop: of COMMAND, of the server, or of this process.
fn keep(
    mut desktop: Desktop,
    subject: &Subject,
    arguments: &Arguments,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let mut program = if arguments.command.is_empty() {
        None
    } else {
        Some(start_program(&desktop, subject, arguments, context)?)
    };
    loop {
        if context.console.cancelled() {
            return Ok(ExitCode::from(EXIT_STATUS));
        }
        if let Some(program) = &mut program
            && let Some(status) = program.try_wait().context("failed to wait for COMMAND")?
        {
            return Ok(exit_code(status));
        }
        // A signal to the whole job ends the server too, and is not the server's failure.
        if let Err(error) = desktop.check() {
            std::thread::sleep(POLL);
            if context.console.cancelled() {
                continue;
            }
            return Err(error.into());
        }
        std::thread::sleep(POLL);
    }
}

/// Starts COMMAND on the desktop, in a container of its own with the streams of this process.
fn start_program(
    desktop: &Desktop,
    subject: &Subject,
    arguments: &Arguments,
    context: &Context,
) -> anyhow::Result<Child> {
    let session = desktop.session();
    let mut command = starting(subject, &arguments.command, &arguments.site, None, context)?;
    show_directory(&mut command, session.home(), context.env_vars);
    command
        .env(MARK, session.dir())
        .env(env_vars::DISPLAY, format!(":{}", desktop.facts().display))
        .env(env_vars::XAUTHORITY, session.xauthority())
        .env_remove(env_vars::WAYLAND_DISPLAY);
    if context
        .env_vars
        .get(env_vars::LIBGL_ALWAYS_SOFTWARE)
        .is_none()
    {
        command.env(env_vars::LIBGL_ALWAYS_SOFTWARE, "1");
    }
    let program = PathBuf::from(command.get_program());
    let child = command.spawn();
    child.with_context(|| format!("failed to start `{}`", program.display()))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code();
    let code = code.or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn list(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let found = running(Path::new(PARENT))?;
    let (_, site) = arguments.site.load(context.env_vars, context.console)?;
    let of_record = |record: &Record| Connection::new(record, &site, context.env_vars);
    if arguments.json {
        let desktops = found.iter().map(|record| of_record(record).as_json(record));
        let value = json!({ "desktops": desktops.collect::<Vec<_>>() });
        context.console.json("desktop-list", value);
        return Ok(ExitCode::SUCCESS);
    }
    if found.is_empty() {
        context
            .report
            .info("no desktop of yours runs on this machine");
    }
    for record in &found {
        let connection = of_record(record);
        let text = connection.blocks();
        let (display, subject) = (record.display, record.subject.display());
        context
            .console
            .data(&format!("desktop :{display} of {subject}\n\n{text}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends the desktop of a display, or all of them.
fn end(display: &str, context: &Context) -> anyhow::Result<ExitCode> {
    let mut found = running(Path::new(PARENT))?;
    if display != ALL {
        let number = display.strip_prefix(':').unwrap_or(display);
        found.retain(|record| record.display.to_string() == number);
        if found.is_empty() {
            let display = format!(":{number}");
            return Err(Error::NotRunning { display }.into());
        }
    }
    if found.is_empty() {
        context
            .report
            .info("no desktop of yours runs on this machine");
    }
    for record in &found {
        stop(record)?;
        let (display, subject) = (record.display, record.subject.display());
        context
            .report
            .info(format!("the desktop :{display} of {subject} has ended"));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::geometry;

    #[test]
    fn sizes_of_screens_are_two_numbers() {
        for good in ["1600x900", "64x16384"] {
            assert_eq!(geometry(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "1600",
            "1600x",
            "x900",
            "63x900",
            "1600x16385",
            "+100x100",
            "1x2x3",
        ] {
            assert!(geometry(bad).is_err(), "{bad}");
        }
    }
}
