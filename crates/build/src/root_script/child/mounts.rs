//! Responsible for the root of a script: `/proc`, `/sys`, a small `/dev`, and the binds of the
//! build. No symbolic link of the root is followed.

use std::{
    ffi::OsString,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStringExt, fs::symlink},
    },
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, bail};
use rustix::{
    fs::{Mode, OFlags, StatVfsMountFlags},
    mount::{
        MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_remount, unmount,
    },
};

use super::{APT_CONFIG, Request};

/// Devices that a script sees.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
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
/// Files and directories of `/proc` with what root alone may see of the machine.
const MASKED: [&str; 5] = ["acpi", "kcore", "keys", "scsi", "timer_list"];

/// Mounts everything, and makes the directory of the request the root.
pub(super) fn enter(request: &Request) -> anyhow::Result<()> {
    let root = &request.root;
    mount_bind(root, root).context("cannot mount the new root")?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty()).context("cannot open the new root")?;
    for (source, inside) in &request.binds {
        let target = open(&root, inside)?;
        // The source may have mounts below it, which a user namespace does not show separately.
        mount_bind_recursive(source, path_of(&target)).with_context(|| {
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
        let here = Path::new("/dev").join(name);
        if !here.exists() {
            continue;
        }
        mount_bind(&here, &target)
            .and_then(|()| protect(&target))
            .with_context(|| format!("cannot show `{}`", here.display()))?;
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
                protect(&path_of(&part))
            })
            .with_context(|| format!("cannot protect `/proc/{name}`"))?;
    }
    for name in MASKED {
        let Ok(part) = open(root, &Path::new("proc").join(name)) else {
            continue;
        };
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&part)?.st_mode);
        let masked = if kind.is_dir() {
            let flags = flags | MountFlags::RDONLY;
            mount("condense", path_of(&part), "tmpfs", flags, None)
        } else {
            mount_bind("/dev/null", path_of(&part))
        };
        masked.with_context(|| format!("cannot hide `/proc/{name}`"))?;
    }
    Ok(())
}

/// Makes one mount read-only, and keeps its other options. Devices on it stay writable, and their
/// modes and owners do not change any more.
fn protect(mounted: &Path) -> rustix::io::Result<()> {
    let found = rustix::fs::statvfs(mounted)?.f_flag;
    // Without an option about times of access, the kernel keeps those that there are.
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (is_set, flag) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ] {
        if found.contains(is_set) {
            flags |= flag;
        }
    }
    mount_remount(mounted, flags, "")
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
    let table = std::fs::read("/proc/self/mountinfo")?;
    let found = mounts_below(&table, &top);
    if found.is_empty() {
        bail!("`{}` is not in the table of mounts", top.display());
    }
    for path in found {
        protect(&path)?;
    }
    Ok(())
}

/// Returns the mount points at a path and below it, in the order of `/proc/self/mountinfo`.
fn mounts_below(table: &[u8], top: &Path) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    let points = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points
        .map(|point| PathBuf::from(OsString::from_vec(without_escapes(point))))
        .filter(|point| point.starts_with(top))
        .collect()
}

/// Returns a path of the table of mounts, in which `\040` is a space.
fn without_escapes(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        let digits = behind.get(..3).filter(|_| *first == b'\\');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = byte {
            plain.push(byte);
            rest = &behind[3..];
        } else {
            plain.push(*first);
            rest = behind;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_below_a_path_with_spaces() {
        let table = b"29 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
50 29 0:20 / /tmp/a\\040b\\134c/root/sys rw,nosuid - sysfs sysfs rw
51 50 0:21 / /tmp/a\\040b\\134c/root/sys/fs/cgroup rw - cgroup2 cgroup rw
52 29 0:22 / /tmp/a rw - tmpfs tmpfs rw
";
        let found = mounts_below(table, Path::new("/tmp/a b\\c/root/sys"));
        let expected = ["/tmp/a b\\c/root/sys", "/tmp/a b\\c/root/sys/fs/cgroup"];
        assert_eq!(found, expected.map(PathBuf::from));
        assert!(mounts_below(table, Path::new("/nowhere")).is_empty());
    }
}
