//! Responsible for checking whether containers can be built and run on a machine.
//!
//! Files of the kernel are read below a root directory, so that a tree of files can represent a
//! machine.

mod gpu;
mod kernel;
mod scale;
mod servers;
mod space;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use gpu::cuda_of_driver;
pub use kernel::free_memory;
pub use scale::{StartFile, Starts, judge_files, parse_stripe_count};
pub use servers::{Answer, Server, judge_servers};
pub use space::{BuildDir, Quota, parse_quotas};

use crate::{
    code,
    finding::Finding,
    machine::{Gpu, Machine},
};

/// Container runtime that is installed on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Name and version: `apptainer 1.4.5`.
    pub name: String,
    /// Whether the runtime has a setuid program, which mounts images with the rights of root.
    pub setuid: bool,
    /// Directory above its `bin`, with links resolved.
    pub prefix: Option<PathBuf>,
}

/// Machine to examine: its kernel files, and facts that the caller has found out.
#[derive(Debug, Clone)]
pub struct Host {
    /// Directory that holds `/proc`, `/sys` and `/dev`.
    pub root: PathBuf,
    /// Runtime of the machine, if it has one.
    pub runtime: Option<Runtime>,
    /// Whether the user is root, who needs no further rights.
    pub is_root: bool,
    /// Directories that builds write into.
    pub build_dirs: Vec<BuildDir>,
    /// Quotas that apply to the user.
    pub quotas: Vec<Quota>,
    /// Whether the catalogue has an entry for this machine.
    pub site_is_known: bool,
    /// Directories in which programs are searched.
    pub search_path: Vec<PathBuf>,
    /// Starts of the processes of a job.
    pub starts: Starts,
}

/// State of a machine.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Health {
    /// Facts, each with its name.
    pub facts: Vec<(&'static str, String)>,
    /// Servers that were asked.
    #[serde(skip)]
    pub servers: Vec<Server>,
    /// Problems that were found.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

impl Health {
    fn fact(&mut self, name: &'static str, value: impl Into<String>) {
        self.facts.push((name, value.into()));
    }

    fn finding(&mut self, code: &'static code::Code, what: impl Into<String>, location: &str) {
        self.findings.push(Finding::new(code, what, location));
    }
}

/// Examines a machine and compares it with the catalogue's entry of its site.
pub fn examine(host: &Host, machine: &Machine) -> Health {
    let mut health = Health::default();
    health.fact("site", &machine.site);
    if !host.site_is_known {
        health.finding(
            &code::SITE_UNKNOWN,
            "this machine is no site of the catalogue",
            "its name, its files and its environment",
        );
    }
    kernel::examine(host, &mut health);
    space::examine(host, &mut health);
    gpu::examine(host, machine, &mut health);
    fabric(host, machine, &mut health);
    scale::examine(host, &mut health);
    health
}

/// Detects Slingshot and InfiniBand by the files of their drivers.
fn fabric(host: &Host, machine: &Machine, health: &mut Health) {
    let mut found = names(&host.root.join("sys/class/cxi"));
    let nets = names(&host.root.join("sys/class/net")).into_iter();
    found.extend(nets.filter(|name| name.starts_with("hsn")));
    found.extend(names(&host.root.join("sys/class/infiniband")));
    let shown = if found.is_empty() {
        "none but Ethernet".to_owned()
    } else {
        found.join(", ")
    };
    health.fact("fabric", shown);
    if found.is_empty() && host.site_is_known && machine.mpi.is_some() {
        health.finding(
            &code::NO_FABRIC,
            format!(
                "{} has a fast network, and this node shows none",
                machine.site
            ),
            "/sys/class/cxi, /sys/class/net/hsn*, /sys/class/infiniband",
        );
    }
}

/// Lists the names in a directory, sorted; empty if there is no such directory.
fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Reads a small text file of the kernel and trims it.
fn text(path: &Path) -> Option<String> {
    let text = condense_input::read_to_string(path, condense_input::TEXT_MOST).ok()?;
    Some(text.trim().to_owned())
}

/// Returns whether a file can be opened for reading and writing.
fn opens(path: &Path) -> bool {
    fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .is_ok()
}

/// Writes a number of GPUs: `2 AMD GPUs`.
fn count(number: usize, gpu: Gpu) -> String {
    let vendor = match gpu {
        Gpu::Amd => "AMD",
        _ => "NVIDIA",
    };
    format!(
        "{number} {vendor} GPU{}",
        if number == 1 { "" } else { "s" }
    )
}
