//! Responsible for files that several packages have.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use rattler::install::InstallDriver;
use rattler_conda_types::{PackageName, PackageRecord, PrefixRecord};

use super::{LinkJob, Linked, record_path, workers::panic_message};
use crate::{
    error::Error,
    package,
    progress::{Progress, Warning},
    records::forget_files,
};
use condense_within::Within;

/// File that several packages have.
pub(super) struct Clobbered {
    path: PathBuf,
    /// Package that provides the file.
    winner: String,
    /// The other packages that have the file.
    losers: Vec<String>,
}

/// Lets rattler choose the package that provides each file that several packages have.
pub(super) fn unclobber(
    job: &LinkJob<'_>,
    linked: &[Linked],
    driver: &InstallDriver,
) -> Result<Vec<Clobbered>, Error> {
    let records = linked.iter().map(|linked| &linked.record);
    let records: Vec<&PrefixRecord> = records.chain(job.installed).collect();
    let sorted = PackageRecord::sort_topologically(records);
    let several = |source: Box<dyn std::error::Error + Send + Sync>| Error::Install {
        package: "several packages".to_owned(),
        source,
    };
    let clobbered = catch_unwind(AssertUnwindSafe(|| {
        driver
            .clobber_registry()
            .unclobber(&sorted, job.target.path())
            .map_err(|error| several(error.into()))
    }))
    .unwrap_or_else(|panic| Err(several(panic_message(&*panic).into())))?;
    let name = |name: &PackageName| name.as_normalized().to_owned();
    let clobbered = clobbered.into_iter().map(|(path, clobber)| Clobbered {
        path,
        winner: name(&clobber.package),
        losers: clobber.other_packages.iter().map(name).collect(),
    });
    Ok(clobbered.collect())
}

/// Warns about files that several packages have, and removes the files of the packages that do not
/// provide them.
pub(super) fn settle_clobbered(
    clobbered: Vec<Clobbered>,
    linked: &[Linked],
    installed: &[PrefixRecord],
    env: &Within,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let mut reports: Vec<Warning> = Vec::new();
    let mut touched: HashSet<String> = HashSet::new();
    for Clobbered {
        path,
        winner,
        losers,
    } in clobbered
    {
        touched.extend(losers.iter().cloned());
        touched.insert(winner.clone());
        reports.push(Warning::Clobbered {
            path: package::shown_path(&path),
            winner,
            losers,
        });
    }
    reports.sort_by_key(ToString::to_string);
    for report in reports {
        progress.warn(report);
    }
    let losers_dir = env.path("__clobbers__");
    if losers_dir.exists() {
        fs_err::remove_dir_all(&losers_dir).map_err(Error::io("remove", &losers_dir))?;
        let records = linked.iter().map(|linked| &linked.record).chain(installed);
        for record in records.filter(|record| touched.contains(record.name().as_normalized())) {
            forget_files(env, &record_path(record), &|file| {
                file.starts_with("__clobbers__/")
            })?;
        }
    }
    Ok(())
}
