//! Responsible for the settings by which programs of an image start with the host's MPI.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::bail;
use condense_base::{BaseFacts, BaseImage, MpiAbi};
use condense_catalogue::MpiRules;
use condense_check::{Inventory, MpiUse};
use condense_diagnostics::UserError;
use condense_installation::{HostMpi, HostView, MpiSource};

use crate::{check::base_context::BaseContext, report::Report};

/// Advice if the host's MPI cannot be used.
const ADVICE: &str = "leave out `--mpi host`, or build with an MPICH outside of the environment, such as \
     conda-forge's `mpich=*=external_*`";

/// Returns the settings for an image with these MPI libraries, or `None` if it needs no MPI.
///
/// # Errors
/// Returns an error if the user wants the host's MPI and it cannot take the place of the image's.
pub(crate) fn settings(
    found: Option<&MpiUse>,
    base: Option<&BaseFacts>,
    rules: &MpiRules,
    report: &Report,
) -> anyhow::Result<Option<HostMpi>> {
    let wants_host = rules.source == Some(MpiSource::Host);
    let Some(found) = found else {
        if wants_host {
            bail!(UserError::new(
                "no program of the image needs an MPI library, so there is nothing to replace by the host's",
                "leave out `--mpi host` (or CONDENSE_MPI=host); an MPI that is linked statically cannot be replaced",
            ));
        }
        return Ok(None);
    };
    let has_own_network = base.is_some_and(knows_the_network);
    match &found.refusal {
        Some(refusal) if wants_host && !has_own_network => bail!(UserError::new(
            format!("the host's MPI cannot be used: {refusal}"),
            ADVICE,
        )),
        _ => {}
    }
    if wants_host && has_own_network {
        report.info("the base brings MPICH with libfabric for this network, which programs keep");
    }
    Ok(Some(HostMpi {
        is_default: wants_host,
        needed: found.needed.clone(),
        versions: found.versions.clone(),
        number: found.number.clone(),
        refusal: found.refusal.clone(),
        has_own_network,
        libraries: rules.libraries.clone(),
        search: rules.search.clone(),
        binds: rules.binds.iter().map(PathBuf::from).collect(),
    }))
}

/// Returns the settings for the programs of an image. Those of its environments are read only if
/// the host's MPI is wanted, since there may be gigabytes of them; otherwise the MPI of the image
/// counts.
///
/// # Errors
/// Returns an error if the image cannot be read, or if the user wants the host's MPI and it cannot
/// take the place of the image's.
pub fn host_mpi_of(
    image: &Path,
    rules: &MpiRules,
    is_demanded: bool,
    report: &Report,
) -> anyhow::Result<Option<HostMpi>> {
    let base = Arc::new(BaseImage::open(image)?);
    let facts = base.facts()?;
    let inventory = match base.reader() {
        Some(reader) if rules.source == Some(MpiSource::Host) => {
            Inventory::from_image(reader, Path::new("/"), true)?
        }
        _ => Inventory::default(),
    };
    let libraries = of_base(&facts, HostView::Base);
    let context = BaseContext::new(base, facts.clone())?;
    let found = MpiUse::find(&inventory, &context.runtime_context(), &libraries);
    if found.is_none() && !is_demanded {
        return Ok(None);
    }
    settings(found.as_ref(), Some(&facts), rules, report)
}

/// Returns whether the base has MPICH with libfabric and the library of Slingshot's network cards.
fn knows_the_network(facts: &BaseFacts) -> bool {
    let mut mpi = facts.mpi.iter();
    mpi.any(|mpi| mpi.abi == MpiAbi::Mpich) && facts.libfabric.is_some() && facts.cxi.is_some()
}

/// Returns the paths of the MPI libraries of a base, by the names that programs request.
pub(crate) fn of_base(facts: &BaseFacts, view: HostView) -> Vec<PathBuf> {
    if view == HostView::Host {
        return Vec::new();
    }
    let libraries = facts.mpi.iter();
    libraries
        .map(|mpi| mpi.path.with_file_name(&mpi.soname))
        .collect()
}

/// Returns the paths in the container of the libraries that the host brings.
pub(crate) fn of_host() -> impl Iterator<Item = PathBuf> {
    let names = ["mpi", "mpich", "mpifort", "mpichfort", "mpicxx", "mpichcxx"];
    names
        .into_iter()
        .map(|name| format!("/.condense-mpi/lib{name}.so.12").into())
}

/// Returns what the programs of an image need after an update that has added programs.
pub(crate) fn joined(before: Option<&HostMpi>, added: Option<&MpiUse>) -> Option<MpiUse> {
    let Some(before) = before else {
        return added.cloned();
    };
    let mut joined = MpiUse {
        needed: before.needed.clone(),
        versions: before.versions.clone(),
        number: before.number.clone(),
        refusal: before.refusal.clone(),
    };
    let Some(added) = added else {
        return Some(joined);
    };
    joined.needed.extend(added.needed.iter().cloned());
    joined.needed.sort();
    joined.needed.dedup();
    joined.refusal = joined.refusal.or_else(|| added.refusal.clone());
    Some(joined)
}
