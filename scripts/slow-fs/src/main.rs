//! Responsible for serving one directory, read-only, at several mount points as several nodes would
//! see it.
//!
//! All requests of all nodes go through one queue with a latency, a number of requests at once and
//! a bandwidth, as in front of one storage target. Each mount has a page cache of its own.

mod arguments;
mod counts;
mod mounts;
mod node;
mod queue;

use std::{
    error::Error,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{Arc, Mutex},
    thread,
};

use arguments::{Arguments, Target};
use fuser::{BackgroundSession, Config, MountOption, SessionACL};
use nix::unistd::{Pid, geteuid};
use signal_hook::{
    consts::{SIGINT, SIGTERM, SIGUSR1},
    iterator::Signals,
};

use crate::{counts::Counts, node::Node, queue::Queue};

/// Placeholder in the words of a command.
const PLACEHOLDER: &str = "{}";

/// A mounted node. The mount ends when it is dropped.
struct Mounted {
    point: PathBuf,
    counts: Arc<Mutex<Counts>>,
    _session: BackgroundSession,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = mounts::detach(&self.point) {
            eprintln!("slow-fs: {}: cannot unmount: {error}", self.point.display());
        }
    }
}

fn main() -> ExitCode {
    let arguments = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{}", arguments::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("slow-fs: {error}\n\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    let result = match &arguments.target {
        Target::MountPoints(points) => serve(&arguments, points),
        Target::Command(words) => run(&arguments, words),
    };
    result.unwrap_or_else(|error| {
        eprintln!("slow-fs: {error}");
        ExitCode::FAILURE
    })
}

/// Serves until a signal ends it; SIGUSR1 prints the counts.
fn serve(arguments: &Arguments, points: &[PathBuf]) -> Result<ExitCode, Box<dyn Error>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    let nodes = mount_all(arguments, points)?;
    println!("{}", serde_json::json!({ "schema": 1, "ready": points }));
    for signal in signals.forever() {
        println!("{}", report(&nodes));
        if signal != SIGUSR1 {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Serves one node while a command runs, and prints the counts after it.
fn run(arguments: &Arguments, words: &[std::ffi::OsString]) -> Result<ExitCode, Box<dyn Error>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    let place = TemporaryDirectory::new()?;
    let nodes = mount_all(arguments, std::slice::from_ref(&place.0))?;
    let mut command = words.iter().map(|word| {
        let (word, point) = (word.to_string_lossy(), place.0.to_string_lossy());
        word.replace(PLACEHOLDER, &point)
    });
    let program = command.next().ok_or("no command")?;
    let mut child = Command::new(&program)
        .args(command)
        // The report is all that is written to standard output.
        .stdout(io::stderr())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let pid = Pid::from_raw(child.id().cast_signed());
    let handle = signals.handle();
    let forwarder = thread::spawn(move || {
        for signal in &mut signals {
            if let Ok(signal) = nix::sys::signal::Signal::try_from(signal) {
                // A command that has ended needs no signal.
                let _ = nix::sys::signal::kill(pid, signal);
            }
        }
    });
    let status = child.wait()?;
    handle.close();
    let _ = forwarder.join();
    println!("{}", report(&nodes));
    drop(nodes);
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(130)))
}

fn mount_all(arguments: &Arguments, points: &[PathBuf]) -> Result<Vec<Mounted>, Box<dyn Error>> {
    for point in mounts::remove_leftovers()? {
        eprintln!(
            "slow-fs: removed the mount of a killed server: {}",
            point.display()
        );
    }
    if arguments.readahead > node::KERNEL_READAHEAD && !geteuid().is_root() {
        return Err("a readahead of more than 128 KiB needs root".into());
    }
    let root = fs::canonicalize(&arguments.directory)
        .map_err(|error| format!("{}: {error}", arguments.directory.display()))?;
    let queue = Arc::new(Queue::new(arguments.limits));
    let mut nodes = Vec::new();
    for point in points {
        nodes.push(mount(arguments, &root, &queue, point)?);
    }
    Ok(nodes)
}

fn mount(
    arguments: &Arguments,
    root: &Path,
    queue: &Arc<Queue>,
    point: &Path,
) -> Result<Mounted, Box<dyn Error>> {
    let point = fs::canonicalize(point).map_err(|error| format!("{}: {error}", point.display()))?;
    if mounts::of_this_program()?
        .iter()
        .any(|mount| mount.point == point)
    {
        return Err(format!("{}: another slow-fs is mounted here", point.display()).into());
    }
    let counts = Arc::new(Mutex::new(Counts::default()));
    let node = Node::new(
        root.to_owned(),
        queue.clone(),
        counts.clone(),
        arguments.readahead,
    );
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::FSName(mounts::SOURCE.to_owned()),
        MountOption::DefaultPermissions,
        MountOption::CUSTOM(format!("max_read={}", node::MOST_BYTES)),
    ];
    config.acl = if arguments.is_for_owner_only {
        SessionACL::Owner
    } else {
        SessionACL::All
    };
    let session = fuser::spawn_mount(node, &point, &config).map_err(|error| {
        let advice = if geteuid().is_root() || arguments.is_for_owner_only {
            ""
        } else {
            "; needs `user_allow_other` in /etc/fuse.conf, or --owner-only"
        };
        let said = error.to_string();
        format!(
            "{}: cannot mount: {}{advice}",
            point.display(),
            said.trim_end()
        )
    })?;
    let mounted = Mounted {
        point,
        counts,
        _session: session,
    };
    if arguments.readahead > node::KERNEL_READAHEAD {
        set_readahead(&mounted.point, arguments.readahead)?;
    }
    Ok(mounted)
}

/// Sets the readahead of a mount, which only root can raise.
fn set_readahead(point: &Path, bytes: u32) -> Result<(), Box<dyn Error>> {
    let mounts = mounts::of_this_program()?;
    let mount = mounts.iter().find(|mount| mount.point == point);
    let device = &mount
        .ok_or("the mount is not in the table of mounts")?
        .device;
    let file = format!("/sys/class/bdi/{device}/read_ahead_kb");
    fs::write(&file, (bytes >> 10).to_string()).map_err(|error| format!("{file}: {error}"))?;
    Ok(())
}

fn report(nodes: &[Mounted]) -> serde_json::Value {
    let each = nodes
        .iter()
        .map(|node| node::counts_of(&node.counts, &node.point));
    counts::report(each.collect())
}

/// A directory that is removed when it is dropped. It must be empty by then.
struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    fn new() -> io::Result<Self> {
        let place = nix::unistd::mkdtemp(&std::env::temp_dir().join("slow-fs.XXXXXX"))?;
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
        Ok(Self(place))
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // A directory that is left behind harms nobody.
        let _ = fs::remove_dir(&self.0);
    }
}
