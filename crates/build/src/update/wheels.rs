//! Responsible for wheels of pip that need conda packages which a change removes or replaces.

use std::collections::BTreeMap;

use anyhow::bail;
use condense_diagnostics::UserError;
use condense_image::Reader;
use condense_prefix::{PipPackage, Planned, Solution, Transaction, normalized_name};

use super::previous::PreviousGeneration;
use crate::{
    contents::{Contents, PackageKind},
    report::Report,
};

/// Refuses the removal of conda packages that wheels need, and warns of packages whose new version
/// a wheel does not allow. Wheels in `removed_pip` go as well and do not count.
///
/// # Errors
/// Returns an error that names the package and the wheel, or an error if the image cannot be read.
pub(super) fn check(
    planned: &Planned,
    before: &PreviousGeneration,
    pip: &[PipPackage],
    removed_pip: &[String],
    report: &Report,
) -> anyhow::Result<()> {
    let transactions = planned.transactions();
    let is_change = |kind: &Transaction| *kind != Transaction::Install;
    if pip.is_empty() || !transactions.values().any(|(kind, _)| is_change(kind)) {
        return Ok(());
    }
    let contents = Contents::of_image(&Reader::open(before.image_path())?)?;
    let new = versions(&planned.solution);
    let wheels = contents.packages.iter();
    let wheels = wheels.filter(|package| {
        package.kind == PackageKind::Pip && !removed_pip.contains(&normalized_name(&package.name))
    });
    for wheel in wheels {
        for needed in &wheel.depends {
            let package = needed.package.map(|index| &contents.packages[index]);
            let Some(package) = package.filter(|found| found.kind == PackageKind::Conda) else {
                continue;
            };
            if !transactions.contains_key(&package.name) {
                continue;
            }
            match new.get(&package.name) {
                None => bail!(UserError::new(
                    format!(
                        "`{}` cannot be removed: `{}`, which pip has installed, needs it",
                        package.name, wheel.name
                    ),
                    format!(
                        "remove both: `--remove {} --remove {}`",
                        wheel.name, package.name
                    ),
                )),
                Some(version) if !condense_prefix::is_allowed(version, &needed.versions) => {
                    report.warning(format!(
                        "`{}` becomes {version}, and `{}`, which pip has installed, needs {}{}",
                        package.name, wheel.name, needed.name, needed.versions
                    ));
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// Returns the names of the conda packages that wheels need, but for wheels in `removed_pip`.
///
/// # Errors
/// Returns an error if the image cannot be read.
pub(super) fn needed(
    before: &PreviousGeneration,
    removed_pip: &[String],
) -> anyhow::Result<Vec<String>> {
    let contents = Contents::of_image(&Reader::open(before.image_path())?)?;
    let packages = &contents.packages;
    let wheels = packages.iter().filter(|package| {
        package.kind == PackageKind::Pip && !removed_pip.contains(&normalized_name(&package.name))
    });
    let needed = wheels.flat_map(|wheel| &wheel.depends);
    let needed = needed.filter_map(|needed| Some(&packages[needed.package?]));
    let of_conda = needed.filter(|package| package.kind == PackageKind::Conda);
    Ok(of_conda.map(|package| package.name.clone()).collect())
}

/// Returns the version of each package by its name.
fn versions(solution: &Solution) -> BTreeMap<String, String> {
    let packages = solution.packages().into_iter();
    packages.map(|one| (one.name, one.version)).collect()
}
