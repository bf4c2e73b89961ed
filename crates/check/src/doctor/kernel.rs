//! Responsible for checking the kernel features that a runtime needs, and the available memory.

use std::path::Path;

use super::{Health, Host, opens, text};
use crate::code;

/// Memory in bytes below which builds may be killed: solving alone takes about 1 GB.
const MEMORY_ENOUGH: u64 = 4 << 30;

pub(super) fn examine(host: &Host, health: &mut Health) {
    let root = &host.root;
    let namespaces = has_namespaces(root);
    let fuse = opens(&root.join("dev/fuse"));
    let loops = root.join("dev/loop-control").exists() || root.join("dev/loop0").exists();
    let systems = text(&root.join("proc/filesystems")).unwrap_or_default();
    let has_system = |name: &str| {
        systems
            .lines()
            .any(|line| line.split_whitespace().last() == Some(name))
    };
    if let Some(runtime) = &host.runtime {
        let mode = match (runtime.setuid, host.is_root) {
            (true, _) => "setuid: mounts images by itself",
            (false, true) => "no setuid, but you are root",
            (false, false) => "no setuid: user namespaces and FUSE",
        };
        health.fact("runtime", &runtime.name);
        health.fact("mode", mode);
        if !runtime.setuid && !host.is_root {
            if !namespaces {
                health.finding(
                    &code::NO_NAMESPACES,
                    format!("{} is not setuid, and user namespaces are off", runtime.name),
                    "/proc/sys/user/max_user_namespaces, /proc/sys/kernel/unprivileged_userns_clone",
                );
            }
            if !fuse {
                health.finding(
                    &code::NO_FUSE,
                    format!(
                        "{} is not setuid, and /dev/fuse cannot be opened",
                        runtime.name
                    ),
                    "/dev/fuse",
                );
            }
        } else if !loops {
            health.finding(
                &code::NO_LOOP,
                "there is neither /dev/loop-control nor /dev/loop0",
                "/dev",
            );
        }
    } else {
        health.fact("runtime", "none");
        health.finding(
            &code::NO_RUNTIME,
            "neither apptainer nor singularity is on PATH",
            "PATH",
        );
    }
    let yes = |found: bool| if found { "yes" } else { "no" };
    health.fact("user namespaces", yes(namespaces));
    health.fact("loop devices", yes(loops));
    health.fact("fuse", yes(fuse));
    health.fact("squashfs", yes(has_system("squashfs")));
    health.fact("overlay", yes(has_system("overlay")));
    // The kernel may load the module at its first use, which only a mount would show.
    if !systems.is_empty() && !has_system("overlay") && !has_module(root, "overlay") {
        health.finding(
            &code::NO_OVERLAY,
            "the kernel does not know `overlay`",
            "/proc/filesystems",
        );
    }
    memory(root, health);
}

fn has_namespaces(root: &Path) -> bool {
    let is_zero = |path: &str| text(&root.join(path)).as_deref() == Some("0");
    root.join("proc/self/ns/user").symlink_metadata().is_ok()
        && !is_zero("proc/sys/kernel/unprivileged_userns_clone")
        && !is_zero("proc/sys/user/max_user_namespaces")
}

/// Returns whether the kernel has a module, loaded or not.
fn has_module(root: &Path, name: &str) -> bool {
    let release = text(&root.join("proc/sys/kernel/osrelease")).unwrap_or_default();
    let list = root.join("lib/modules").join(release).join("modules.dep");
    let file = format!("/{name}.ko");
    text(&list).is_some_and(|list| list.contains(&file))
}

fn memory(root: &Path, health: &mut Health) {
    let total = text(&root.join("proc/meminfo")).and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kibibytes << 10)
    });
    let limit = cgroup_limit(root).filter(|limit| total.is_none_or(|total| *limit < total));
    if let Some(total) = total {
        let limited = limit.map_or(String::new(), |limit| {
            format!(", {} for this session", gib(limit))
        });
        health.fact("memory", format!("{}{limited}", gib(total)));
    }
    if let Some(there) = limit.or(total).filter(|there| *there < MEMORY_ENOUGH) {
        let seen = if limit.is_some() {
            "the control group's limit"
        } else {
            "/proc/meminfo"
        };
        health.finding(
            &code::MEMORY_LIMIT,
            format!("this session may use {}", gib(there)),
            seen,
        );
    }
}

/// Returns the memory in bytes that this session may still take, by `/proc` and `/sys` below a root
/// directory. Returns `None` if the kernel does not tell.
pub fn free_memory(root: &Path) -> Option<u64> {
    let available = text(&root.join("proc/meminfo")).and_then(|text| {
        let line = text
            .lines()
            .find(|line| line.starts_with("MemAvailable:"))?;
        let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kibibytes << 10)
    });
    let free = smallest_in_groups(root, |limit, used| Some(limit?.saturating_sub(used?)));
    [available, free].into_iter().flatten().min()
}

/// Returns the smallest memory limit in bytes among this process's control group and its ancestors,
/// for version 2 or 1 of control groups.
fn cgroup_limit(root: &Path) -> Option<u64> {
    smallest_in_groups(root, |limit, _| limit)
}

/// Returns the smallest value of this process's control group and its ancestors. `value` gets the
/// limit and the use of each group.
fn smallest_in_groups(
    root: &Path,
    value: impl Fn(Option<u64>, Option<u64>) -> Option<u64>,
) -> Option<u64> {
    let groups = text(&root.join("proc/self/cgroup"))?;
    let mut smallest = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, kinds, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (top, limit, used) = match kinds {
            "" => ("sys/fs/cgroup", "memory.max", "memory.current"),
            kinds if kinds.split(',').any(|kind| kind == "memory") => (
                "sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            ),
            _ => continue,
        };
        for dir in Path::new(path.trim_start_matches('/')).ancestors() {
            let number = |file: &str| {
                let text = text(&root.join(top).join(dir).join(file))?;
                text.parse::<u64>().ok()
            };
            // `max` means no limit. Version 1 writes no limit as a number that is larger than any
            // memory.
            let limit = number(limit).filter(|limit| *limit < 1 << 60);
            let found = value(limit, number(used));
            smallest = [smallest, found].into_iter().flatten().min();
        }
    }
    smallest
}

pub(super) fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
