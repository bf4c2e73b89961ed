//! Responsible for the root of a script: `/proc`, `/sys`, a small `/dev`, and the binds of the
//! build. No symbolic link of the root is followed.

use std::{
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::symlink,
    },
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, bail};
use rustix::{
    fs::{Mode, OFlags},
    mount::{
        MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_remount, unmount,
    },
};

use super::{APT_CONFIG, Request};

/// Devices that a script sees.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Links in `/dev`, each with its target first.
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];
/// Directories of `/proc` through which root can change the machine.
const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Mounts everything, and makes the directory of the request the root.
pub(super) fn enter(request: &Request) -> anyhow::Result<()> {
    let root = &request.root;
    mount_bind(root, root).context("cannot mount the new root")?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty()).context("cannot open the new root")?;
    for (source, inside) in &request.binds {
        let target = open(&root, inside)?;
        mount_bind(source, path_of(&target)).with_context(|| {
            format!(
                "cannot show `{}` at `{}`",
                source.display(),
                inside.display()
            )
        })?;
    }
    mount_dev(&root, request).context("cannot make `/dev`")?;
    mount_proc(&root)?;
    mount_sys(&root);
    // A script in a directory of its own finds the rest of the machine nowhere.
    rustix::process::fchdir(&root).context("cannot enter the new root")?;
    rustix::process::pivot_root(".", ".").context("cannot change the root")?;
    unmount(".", UnmountFlags::DETACH).context("cannot leave the old root")?;
    rustix::process::chdir("/").context("cannot enter the new root")
}

/// Opens a path below a directory. No symbolic link is followed.
fn open(root: &OwnedFd, path: &Path) -> anyhow::Result<OwnedFd> {
    let mut found = rustix::fs::openat(root, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    for part in path.components() {
        let Component::Normal(name) = part else {
            continue;
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        found = rustix::fs::openat(&found, name, flags, Mode::empty())
            .with_context(|| format!("there is no `{}` in the image", path.display()))?;
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
        if kind.is_symlink() {
            bail!(
                "`{}` in the image is a link, and nothing can be mounted there",
                path.display()
            );
        }
    }
    Ok(found)
}

fn path_of(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn mount_dev(root: &OwnedFd, request: &Request) -> anyhow::Result<()> {
    let covered = open(root, Path::new("dev"))?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("condense", path_of(&covered), "tmpfs", flags, c"mode=755")
        .context("cannot mount a file system in memory")?;
    // The path leads to the new file system only from above it.
    let mounted = open(root, Path::new("dev"))?;
    let dev = path_of(&mounted);
    for name in DEVICES {
        let target = dev.join(name);
        std::fs::write(&target, "")?;
        // A batch job may have no terminal, and thus no such device.
        let _ = mount_bind(Path::new("/dev").join(name), &target);
    }
    for (target, name) in LINKS {
        symlink(target, dev.join(name))?;
    }
    for name in ["shm", "pts"] {
        std::fs::create_dir(dev.join(name))?;
    }
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    // Programs that need a pseudo-terminal say so themselves.
    let _ = mount(
        "devpts",
        dev.join("pts"),
        "devpts",
        flags,
        c"newinstance,ptmxmode=0666,mode=0620",
    );
    if let Some(text) = &request.apt_config {
        let name = Path::new(APT_CONFIG).file_name().unwrap_or_default();
        std::fs::write(dev.join(name), text)?;
    }
    Ok(())
}

fn mount_proc(root: &OwnedFd) -> anyhow::Result<()> {
    let target = open(root, Path::new("proc"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // A container may hide a part of its own `/proc`; the kernel then refuses a new one.
    if mount("proc", path_of(&target), "proc", flags, None).is_err() {
        mount_bind_recursive("/proc", path_of(&target)).context("cannot show `/proc`")?;
    }
    for name in READ_ONLY {
        let Ok(part) = open(root, &Path::new("proc").join(name)) else {
            continue;
        };
        mount_bind(path_of(&part), path_of(&part))
            .and_then(|()| {
                let part = open(root, &Path::new("proc").join(name))
                    .map_err(|_| rustix::io::Errno::NOENT)?;
                let flags = MountFlags::BIND | MountFlags::RDONLY | flags;
                mount_remount(path_of(&part), flags, "")
            })
            .with_context(|| format!("cannot protect `/proc/{name}`"))?;
    }
    Ok(())
}

/// Shows `/sys` for reading. A script that needs it is rare, so without the permission there is
/// none.
fn mount_sys(root: &OwnedFd) {
    let Ok(target) = open(root, Path::new("sys")) else {
        return;
    };
    if mount_bind_recursive("/sys", path_of(&target)).is_err() {
        return;
    }
    let Ok(mounted) = open(root, Path::new("sys")) else {
        return;
    };
    if protect_below(&mounted).is_err() {
        let _ = unmount(path_of(&mounted), UnmountFlags::DETACH);
    }
}

/// Makes a mount and all mounts below it read-only.
fn protect_below(mounted: &OwnedFd) -> anyhow::Result<()> {
    let top = std::fs::read_link(path_of(mounted))?;
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    for line in table.lines() {
        let mut words = line.split(' ');
        let (Some(path), Some(options)) = (words.nth(4), words.next()) else {
            continue;
        };
        let path = Path::new(path);
        if !path.starts_with(&top) {
            continue;
        }
        let mut flags = MountFlags::BIND | MountFlags::RDONLY;
        for option in options.split(',') {
            flags |= match option {
                "nosuid" => MountFlags::NOSUID,
                "nodev" => MountFlags::NODEV,
                "noexec" => MountFlags::NOEXEC,
                "noatime" => MountFlags::NOATIME,
                "nodiratime" => MountFlags::NODIRATIME,
                "relatime" => MountFlags::RELATIME,
                _ => MountFlags::empty(),
            };
        }
        mount_remount(path, flags, "")?;
    }
    Ok(())
}
