//! Responsible for the packages of a dry run: they are solved or read from the lock, listed with
//! their sizes, and checked.

use std::path::Path;

use condense_prefix::{Archive, Network, Solution};

use super::PreviewedPackage;
use crate::{
    build::ImageDestination, check::check_solution, environment::Environment,
    plan::PackageSettings, report::Report, session::Session, space,
};

/// A solved environment whose archives are listed.
pub(crate) struct Solved {
    pub(crate) solution: Solution,
    pub(crate) packages: Vec<PreviewedPackage>,
}

impl Solved {
    /// Returns the packages of an installation, of which none is fetched.
    pub(crate) fn installed(solution: Solution) -> Self {
        let of = |package: condense_prefix::NamedPackage| PreviewedPackage {
            name: package.name,
            version: package.version,
            build: package.build,
            channel: package.channel,
            size: None,
            cached: true,
        };
        Self {
            packages: solution.packages().into_iter().map(of).collect(),
            solution,
        }
    }

    /// Returns the number of bytes of all archives, and of those that are not on this machine.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let sum = |is_counted: fn(&&PreviewedPackage) -> bool| {
            let packages = self.packages.iter().filter(is_counted);
            packages.filter_map(|package| package.size).sum()
        };
        (sum(|_| true), sum(|package| !package.cached))
    }
}

/// Solves the environment unless it is locked, and checks everything that a build checks before it
/// fetches packages. `notes` is the scratch directory of the dry run.
///
/// # Errors
/// Returns an error if the environment cannot be solved, if a finding is not allowed, if archives
/// are missing offline, or if there is not enough space.
pub(crate) fn solve(
    environment: &Environment,
    settings: &PackageSettings,
    session: Session,
    notes: &Path,
    destination: ImageDestination,
) -> anyhow::Result<Solved> {
    let report = session.report;
    let progress: &Report = report;
    let Environment {
        spec,
        target,
        locked,
        of_lock: _,
    } = environment;
    let runtime = condense_threads::network()?;
    let network = Network::open(settings.trusted_network(notes, report))?;
    let solution = match locked {
        Some(solution) => solution.clone(),
        None => runtime.block_on(condense_prefix::solve(
            spec, target, &network, notes, progress,
        ))?,
    };
    check_solution(&solution, &session.settings.checks, report)?;
    // Notes are in another place than scratch if the parent of scratch does not exist yet.
    let scratch = &session.settings.scratch_parent;
    space::check_packages(&solution, &network, scratch, destination)?;
    let archives = condense_prefix::archives(&solution, &network)?;
    Ok(Solved {
        solution,
        packages: archives.into_iter().map(PreviewedPackage::from).collect(),
    })
}

impl From<Archive> for PreviewedPackage {
    fn from(archive: Archive) -> Self {
        Self {
            name: archive.package.name,
            version: archive.package.version,
            build: archive.package.build,
            channel: archive.package.channel,
            size: archive.size_bytes,
            cached: archive.is_here,
        }
    }
}
