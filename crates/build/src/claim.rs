//! Responsible for reserving the directory of an installation, and for installations on the user's
//! PATH.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use anyhow::bail;
use condense_diagnostics::UserError;
use condense_installation::{Claim, Destination, State};

use crate::{
    plan::{Installation, MountPoint},
    report::Report,
    session::Session,
};

/// Inspects the directory of a new installation, and changes nothing. Returns the mount point as
/// well: an installation that is replaced keeps its own.
///
/// # Errors
/// Returns an error if the directory cannot be used, or if its programs are on PATH.
pub(crate) fn inspect_new(
    output: &Installation,
    session: Session,
) -> anyhow::Result<(Destination, MountPoint)> {
    let destination = Destination::inspect(&output.generation.dir)?;
    refuse_active(&destination, session.search_path)?;
    let mount_point = match (&output.mount_point, destination.state()) {
        // A running job of the generation that is replaced must still find its image at its mount
        // point.
        (
            MountPoint::Prefix(_),
            State::Condense {
                receipt: Some(receipt),
                ..
            },
        ) if output.force => MountPoint::Fixed(receipt.mount_point.clone()),
        (mount_point, _) => mount_point.clone(),
    };
    Ok((destination, mount_point))
}

/// Reserves the directory of a new installation. Returns the mount point as well.
///
/// # Errors
/// Returns an error if the directory cannot be used or replaced, or if its programs are on PATH.
pub(crate) fn claim_new(
    output: &Installation,
    session: Session,
) -> anyhow::Result<(Claim, MountPoint)> {
    let dir = &output.generation.dir;
    let (destination, mount_point) = inspect_new(output, session)?;
    let absent = *destination.state() == State::Absent;
    let claim = destination.claim(output.force)?;
    if absent {
        let dir = dir.display();
        session
            .report
            .info(format!("{dir} does not exist, creating it for you"));
    }
    Ok((claim, mount_point))
}

/// Reserves an installation for a change.
///
/// # Errors
/// Returns an error if there is no installation in the directory.
pub(crate) fn claim_existing(
    dir: &Path,
    search_path: &OsStr,
    report: &Report,
) -> anyhow::Result<Claim> {
    Ok(inspect_existing(dir, search_path, report)?.claim_for_update()?)
}

/// Inspects an installation that is to be changed, and changes nothing.
///
/// # Errors
/// Returns an error if there is no installation in the directory.
pub(crate) fn inspect_existing(
    dir: &Path,
    search_path: &OsStr,
    report: &Report,
) -> anyhow::Result<Destination> {
    let destination = Destination::inspect(dir)?;
    let shown = dir.display();
    match destination.state() {
        State::Absent => bail!("{shown} does not exist"),
        State::Empty | State::Foreign => bail!(UserError::new(
            format!("`{shown}` is not an installation"),
            "name the directory that `new --prefix DIR` has made",
        )),
        State::Tykky | State::Condense { .. } => {}
    }
    if let Some(bin) = active_bin(&destination, search_path) {
        report.warning(format!(
            "{} is on PATH, so scripts of the update may start what was installed before: better run it from a shell without it",
            bin.display()
        ));
    }
    Ok(destination)
}

/// Warns of directories on PATH that belong to another installation. Steps may start programs on
/// PATH, and those of another installation do not run inside of this build's container.
pub(crate) fn warn_of_other_installations(search_path: &OsStr, report: &Report) {
    for dir in std::env::split_paths(search_path) {
        let Some(root) = dir.parent().filter(|_| dir.is_absolute()) else {
            continue;
        };
        if dir.ends_with("bin") && root.join("common.sh").is_file() && root.join("_bin").is_dir() {
            report.warning(format!(
                "Remove {} from PATH: it is another installation's, and steps of this build that start its programs fail",
                dir.display()
            ));
        }
    }
}

/// Refuses to replace an installation on PATH: the user's own commands would change while this one
/// runs.
fn refuse_active(destination: &Destination, search_path: &OsStr) -> anyhow::Result<()> {
    if let Some(bin) = active_bin(destination, search_path) {
        bail!(UserError::new(
            format!(
                "Remove {} from PATH: an installation cannot be replaced while it is in use",
                bin.display()
            ),
            "run the command again from a shell without it",
        ));
    }
    Ok(())
}

/// Returns the directory of an installation's programs if it is on PATH.
fn active_bin(destination: &Destination, search_path: &OsStr) -> Option<PathBuf> {
    let bin = destination.dir().join("bin");
    let mut dirs = std::env::split_paths(search_path);
    (dirs.any(|dir| dir == bin) && bin.exists()).then_some(bin)
}
