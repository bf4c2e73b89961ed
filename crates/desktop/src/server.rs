//! Responsible for a running desktop: starting the container, waiting until its servers answer, and
//! ending all of it.

use std::{
    net::Ipv4Addr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::{Error, Facts, Part, Record, Result, Session, facts::cause, ports, processes::POLL};

/// Time in which the container and its VNC server have to start. A first start from a parallel file
/// system is slow.
const START: Duration = Duration::from_secs(120);
/// Time in which noVNC has to answer after the VNC server.
const WEB_START: Duration = Duration::from_secs(20);
/// Time in which the container has to end.
const END: Duration = Duration::from_secs(6);

/// Settings of a desktop.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Installation or image whose programs run, for the record.
    pub subject: PathBuf,
    /// Name that VNC clients show.
    pub title: String,
    /// Width and height in pixels, such as `1600x900`.
    pub geometry: String,
    /// Address at which the servers listen.
    pub address: Ipv4Addr,
    /// Port of the VNC server, instead of a free one.
    pub vnc_port: Option<u16>,
    /// Port of noVNC, instead of a free one.
    pub web_port: Option<u16>,
    /// Whether a window manager is started if the image has one.
    pub has_manager: bool,
    /// Whether a terminal is started if the image has one.
    pub has_terminal: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            subject: PathBuf::new(),
            title: "condense".to_owned(),
            geometry: "1600x900".to_owned(),
            address: Ipv4Addr::LOCALHOST,
            vnc_port: None,
            web_port: None,
            has_manager: true,
            has_terminal: true,
        }
    }
}

/// A desktop that runs. All its programs end when the value is dropped.
#[derive(Debug)]
pub struct Desktop {
    // The container ends before its directory is removed: fields are dropped in this order.
    container: Container,
    session: Session,
    facts: Facts,
    record: Record,
    problem: Option<String>,
}

/// The process of the runtime. It is asked to end, and then killed, when the value is dropped.
#[derive(Debug)]
struct Container {
    child: Child,
    dir: PathBuf,
}

impl Desktop {
    /// Starts a desktop. `container` is the command that runs a shell in the container, without the
    /// shell's arguments. `is_cancelled` is asked while this function waits.
    ///
    /// # Errors
    /// Returns an error if the container has no VNC server, or if it does not start.
    pub fn start(
        session: Session,
        mut container: Command,
        settings: &Settings,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let ports = ports::choose(settings.address, settings.vnc_port)?;
        let web_ports = ports::choose(settings.address, settings.web_port)?;
        let dir = session.dir();
        let log_file = dir.join("container.log");
        let log = std::fs::File::create_new(&log_file).map_err(Error::io("create", &log_file))?;
        let second = log.try_clone().map_err(Error::io("open", &log_file))?;
        let extras = [
            ("manager", settings.has_manager),
            ("terminal", settings.has_terminal),
        ];
        let extras: Vec<&str> = extras.iter().filter(|one| one.1).map(|one| one.0).collect();
        container
            .arg(dir.join("start.sh"))
            .arg(dir)
            .args([&settings.geometry, &words(&ports), &words(&web_ports)])
            .args([
                &settings.address.to_string(),
                &extras.join(" "),
                &settings.title,
            ])
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(second)
            // Ctrl-C is for this process, which then ends the servers in order.
            .process_group(0);
        let program = PathBuf::from(container.get_program());
        let child = container.spawn().map_err(Error::io("start", &program))?;
        let dir = dir.to_owned();
        let mut container = Container { child, dir };
        let dir = session.dir();
        let mut facts = wait_for_server(&mut container, dir, is_cancelled)?;
        let problem = wait_for_web(&mut facts, dir, settings.address, is_cancelled)?;
        let record = session.write_record(&settings.subject, settings.address, &facts)?;
        Ok(Self {
            container,
            session,
            facts,
            record,
            problem,
        })
    }

    /// Returns the facts about the desktop.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns the description of the desktop that other processes read.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Returns the directory and the secrets of the desktop.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the reason for which noVNC is not served, if the image has it.
    pub fn web_problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Returns an error if the desktop has ended by itself.
    ///
    /// # Errors
    /// Returns [`Error::ServerFailed`] or [`Error::ContainerFailed`].
    pub fn check(&mut self) -> Result<()> {
        if self.container.has_ended() {
            Err(failure(self.session.dir()))
        } else {
            Ok(())
        }
    }
}

impl Container {
    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // The script in the container ends everything when its standard input is closed.
        // Without this file, the script takes this process for killed, and removes all files.
        let _ = std::fs::write(self.dir.join("ending"), b"");
        drop(self.child.stdin.take());
        let until = Instant::now() + END;
        while !self.has_ended() && Instant::now() < until {
            std::thread::sleep(POLL);
        }
        if !self.has_ended() {
            let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = self.child.wait();
        }
    }
}

fn words(ports: &[u16]) -> String {
    let words: Vec<String> = ports.iter().map(u16::to_string).collect();
    words.join(" ")
}

fn wait_for_server(
    container: &mut Container,
    dir: &Path,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Facts> {
    let until = Instant::now() + START;
    loop {
        // The end is looked for first: the facts are complete then.
        let has_ended = container.has_ended();
        let facts = Facts::read(dir);
        if facts.lacks.contains(&Part::Server) {
            return Err(Error::NoServer {
                system: facts.system,
            });
        }
        if is_cancelled() {
            return Err(Error::Cancelled);
        }
        if has_ended {
            return Err(failure(dir));
        }
        if facts.is_ready {
            return Ok(facts);
        }
        if Instant::now() >= until {
            return Err(Error::Slow {
                seconds: START.as_secs(),
                cause: last_words(dir).unwrap_or_else(|| "it has said nothing".to_owned()),
            });
        }
        std::thread::sleep(POLL);
    }
}

/// Waits until noVNC answers. Returns the reason if it does not.
fn wait_for_web(
    facts: &mut Facts,
    dir: &Path,
    address: Ipv4Addr,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Option<String>> {
    let lacks_web = |facts: &Facts| facts.lacks.iter().any(|part| *part != Part::Server);
    let until = Instant::now() + WEB_START;
    while !lacks_web(facts) {
        if is_cancelled() {
            return Err(Error::Cancelled);
        }
        *facts = Facts::read(dir);
        if facts
            .web_port
            .is_some_and(|port| ports::is_served(address, port))
        {
            return Ok(None);
        }
        if facts.has_web_failed || Instant::now() >= until {
            facts.web_port = None;
            let log = fs_err::read_to_string(dir.join("web.log")).unwrap_or_default();
            return Ok(Some(
                cause(&log).unwrap_or_else(|| "it does not answer".to_owned()),
            ));
        }
        std::thread::sleep(POLL);
    }
    Ok(None)
}

/// Returns the error of a desktop that has ended by itself.
fn failure(dir: &Path) -> Error {
    let of = |name: &str| cause(&fs_err::read_to_string(dir.join(name)).unwrap_or_default());
    match (of("server.log"), of("container.log")) {
        (Some(cause), _) => Error::ServerFailed { cause },
        (None, Some(cause)) => Error::ContainerFailed { cause },
        (None, None) => Error::ContainerFailed {
            cause: "it has said nothing".to_owned(),
        },
    }
}

fn last_words(dir: &Path) -> Option<String> {
    ["server.log", "container.log"]
        .iter()
        .find_map(|name| cause(&fs_err::read_to_string(dir.join(name)).ok()?))
}
