//! Responsible for what ends or slows starts when many processes of a node, or many nodes, start at
//! once.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Health, Host, text};
use crate::{code, finding::Finding};

/// Number of loop devices that runtimes use at most, unless their configuration says another.
const LOOPS: u64 = 256;
/// Size in bytes from which on a file is large: below it, one server sends it in well under a
/// second.
const LARGE: u64 = 256 << 20;
/// Number of bytes of a kernel's configuration that are read. Real ones have 300 KB.
const CONFIG_MOST: u64 = 4 << 20;
/// Directories of helpers below the prefix of a runtime.
const HELPERS: [&str; 2] = ["libexec/apptainer/bin", "libexec/singularity/bin"];
/// Programs with which a runtime mounts SquashFS.
const SQUASHFUSE: [&str; 2] = ["squashfuse_ll", "squashfuse"];

/// Programs that wrappers need besides a shell to start the tasks of a job step in one container.
const SHARING: [&str; 7] = [
    "flock",
    "mkfifo",
    "nsenter",
    "setpriv",
    "setsid",
    "sha256sum",
    "stat",
];

/// Starts of the processes of a job on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Starts {
    /// Number of processes that start at once. Without it, that of the node's processors counts.
    pub ranks: Option<u32>,
    /// Number of images that each process mounts: its base and its environment.
    pub images: u32,
    /// Files that each start reads.
    pub files: Vec<StartFile>,
    /// Directory in HOME in which each start makes a record, if it does.
    pub records: Option<PathBuf>,
}

/// File that each start reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartFile {
    /// Path of the file, with links resolved.
    pub path: PathBuf,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Number of servers over which Lustre spreads the file, if it is there.
    pub stripes: Option<u32>,
    /// Whether the file is in the user's home directory, and that on a file system which nodes
    /// share.
    pub in_shared_home: bool,
}

/// Returns the findings about the files of starts, on any machine.
pub fn judge_files(starts: &Starts) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in &starts.files {
        let shown = file.path.display().to_string();
        if file.stripes == Some(1) && file.bytes >= LARGE {
            let size = super::kernel::gib(file.bytes);
            let what = format!("{size} lie on one server of Lustre, which all nodes ask");
            found.push(Finding::new(&code::ONE_STRIPE, what, &shown));
        }
        if file.in_shared_home {
            let what = "each start reads a file in the home directory";
            found.push(Finding::new(&code::HOME_AT_START, what, &shown));
        }
    }
    if let Some(records) = &starts.records {
        let what = "each start makes a file in the home directory";
        let shown = records.display().to_string();
        found.push(Finding::new(&code::HOME_AT_START, what, shown));
    }
    found
}

/// Returns the largest number in the output of `lfs getstripe -c`, which has one for each part of a
/// layout, or -1 for all servers.
pub fn parse_stripe_count(text: &str) -> Option<u32> {
    let words = text.split_whitespace();
    let numbers = words.filter_map(|word| word.parse::<i64>().ok());
    let counts = numbers.map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    counts.max()
}

pub(super) fn examine(host: &Host, health: &mut Health) {
    health.findings.extend(judge_files(&host.starts));
    let Some(runtime) = &host.runtime else {
        return;
    };
    let sharing = match reason_for_own_containers(host, runtime.setuid) {
        None => "the tasks of a job step share one container".to_owned(),
        Some(reason) => format!("each task has a container of its own: {reason}"),
    };
    health.fact("sharing", sharing);
    if runtime.setuid || host.is_root {
        loops(host, &runtime.name, runtime.prefix.as_deref(), health);
        decompressor(&host.root, health);
    } else if !has_squashfuse(host, runtime.prefix.as_deref()) {
        health.finding(
            &code::NO_SQUASHFUSE,
            format!(
                "{} is not setuid, and squashfuse is not there",
                runtime.name
            ),
            "PATH, and libexec of the runtime",
        );
    }
}

/// Returns why the tasks of a job step share no container on this node, in the words of wrappers.
fn reason_for_own_containers(host: &Host, is_setuid: bool) -> Option<String> {
    if host.is_root {
        return Some("root has other capabilities in a container".to_owned());
    }
    if is_setuid {
        return Some("only the runtime can enter it, because it is installed setuid".to_owned());
    }
    if !below(&host.root, Path::new("/bin/bash")).exists() {
        return Some("there is no /bin/bash on this node".to_owned());
    }
    let has = |name: &str| {
        let standard = ["/usr/bin", "/bin"].map(PathBuf::from);
        let mut dirs = standard.iter().chain(&host.search_path);
        dirs.any(|dir| below(&host.root, dir).join(name).is_file())
    };
    let missing = SHARING.iter().find(|name| !has(name))?;
    Some(format!("there is no {missing} on this node"))
}

/// Compares the loop devices that the processes of a node need with those that the runtime uses at
/// most. A start that finds none fails.
fn loops(host: &Host, name: &str, prefix: Option<&Path>, health: &mut Health) {
    let Some(ranks) = host.starts.ranks.or_else(|| processors(&host.root)) else {
        return;
    };
    let images = if host.starts.images == 0 {
        2
    } else {
        host.starts.images
    };
    let (path, config) = configuration(host, name, prefix).unwrap_or_default();
    let value = |key: &str| {
        let lines = config.lines().filter_map(|line| line.split_once('='));
        let found = lines.rev().find(|(name, _)| name.trim() == key);
        found.map(|(_, value)| value.trim())
    };
    let most = value("max loop devices").and_then(|text| text.parse().ok());
    let most: u64 = most.unwrap_or(LOOPS);
    let shared = value("shared loop devices") == Some("yes");
    let needed = u64::from(ranks) * u64::from(images);
    let used = used_loops(&host.root);
    let sharing = if shared { "shared" } else { "not shared" };
    health.fact(
        "starts",
        format!("{ranks} ranks with {images} images: {needed} of {most} loop devices, {sharing}"),
    );
    if !shared && needed + used >= most {
        let taken = if used > 0 {
            format!(" beside {used} in use")
        } else {
            String::new()
        };
        let shown = if path.is_empty() {
            "the runtime's default".to_owned()
        } else {
            path
        };
        health.finding(
            &code::LOOP_LIMIT,
            format!("{ranks} ranks with {images} images each take {needed} loop devices{taken}, and the runtime uses at most {most}"),
            &shown,
        );
    }
}

/// Returns the path and the text of the runtime's configuration.
fn configuration(host: &Host, name: &str, prefix: Option<&Path>) -> Option<(String, String)> {
    let kind = if name.starts_with("apptainer") {
        "apptainer"
    } else {
        "singularity"
    };
    // The configuration of a runtime below /usr is in /etc.
    let prefix = prefix.filter(|prefix| *prefix != Path::new("/usr"));
    let places = prefix.into_iter().chain([Path::new("/")]);
    places
        .map(|place| place.join("etc").join(kind).join(format!("{kind}.conf")))
        .find_map(|path| Some((path.display().to_string(), text(&below(&host.root, &path))?)))
}

/// Returns an absolute path below a root directory.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Counts the processors of the node.
fn processors(root: &Path) -> Option<u32> {
    let text = text(&root.join("proc/cpuinfo"))?;
    let lines = text.lines().filter(|line| line.starts_with("processor"));
    u32::try_from(lines.count()).ok().filter(|count| *count > 0)
}

/// Counts the loop devices that are in use.
fn used_loops(root: &Path) -> u64 {
    let devices = root.join("sys/block");
    let in_use = super::names(&devices)
        .into_iter()
        .filter(|name| devices.join(name).join("loop/backing_file").exists());
    in_use.count() as u64
}

/// Looks whether the kernel decompresses SquashFS with one processor at a time for each mount.
fn decompressor(root: &Path, health: &mut Health) {
    let release = text(&root.join("proc/sys/kernel/osrelease")).unwrap_or_default();
    let file = format!("boot/config-{release}");
    let packed = "proc/config.gz";
    let found = read(&root.join(&file), false)
        .map(|text| (text, file))
        .or_else(|| Some((read(&root.join(packed), true)?, packed.to_owned())));
    let Some((config, seen)) = found else {
        return;
    };
    let is_single = config
        .lines()
        .any(|line| line.trim() == "CONFIG_SQUASHFS_DECOMP_SINGLE=y");
    let word = if is_single { "one" } else { "many" };
    health.fact("decompressors", word);
    if is_single {
        health.finding(
            &code::SINGLE_DECOMPRESSOR,
            "the kernel decompresses each image with one processor at a time",
            &format!("/{seen}: CONFIG_SQUASHFS_DECOMP_SINGLE"),
        );
    }
}

/// Reads a kernel's configuration, which may be compressed.
fn read(path: &Path, is_packed: bool) -> Option<String> {
    let file = fs_err::File::open(path).ok()?;
    let mut bytes = Vec::new();
    if is_packed {
        let unpacked = flate2::read::GzDecoder::new(file);
        unpacked.take(CONFIG_MOST).read_to_end(&mut bytes).ok()?;
    } else {
        file.take(CONFIG_MOST).read_to_end(&mut bytes).ok()?;
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn has_squashfuse(host: &Host, prefix: Option<&Path>) -> bool {
    let prefix = prefix.unwrap_or(Path::new("/usr"));
    let helpers = HELPERS.iter().map(|dir| prefix.join(dir));
    let mut dirs = helpers.chain(host.search_path.iter().cloned());
    dirs.any(|dir| {
        let dir = below(&host.root, &dir);
        SQUASHFUSE.iter().any(|name| dir.join(name).is_file())
    })
}
