//! Responsible for the errors about packages that the channels do not have: names that were
//! probably meant, and versions that exist.

use std::collections::BTreeSet;

use condense_diagnostics::closest;
use rattler_conda_types::{
    MatchSpec, PackageName, PackageNameMatcher, PackageRecord, RepoDataRecord, Subdir, Version,
};

use crate::{
    error::{Error, MissingPackage},
    index::ChannelQuery,
    spec::{EnvironmentSpec, Requested},
};

/// Number of versions or builds that a message lists before it gives the range only.
const LISTED: usize = 3;

/// Refuses requests for which no channel has a package. The check comes before solving, because the
/// solver's own message for an unknown name is hard to read.
pub(super) async fn refuse(
    query: &ChannelQuery<'_>,
    spec: &EnvironmentSpec,
    usable: &[Vec<&RepoDataRecord>],
) -> Result<(), Error> {
    let known: BTreeSet<&str> = usable
        .iter()
        .flatten()
        .map(|record| record.package_record.name.as_normalized())
        .collect();
    let missing: Vec<(&Requested, &PackageName)> = spec
        .specs
        .iter()
        .filter_map(|requested| Some((requested, exact_name(&requested.spec)?)))
        .filter(|(_, name)| {
            let name = name.as_normalized();
            !name.starts_with("__") && !known.contains(name)
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = names(query).await;
    let names: BTreeSet<&str> = names.iter().map(PackageName::as_normalized).collect();
    let mut packages = Vec::new();
    for (requested, name) in missing {
        let word = name.as_normalized();
        let mut package = MissingPackage {
            written: requested.written.clone(),
            ..MissingPackage::default()
        };
        if names.contains(word) {
            let records = records(query, name).await;
            let records: Vec<&PackageRecord> = records.iter().collect();
            package.available = available(&requested.spec, &records);
        } else {
            package.similar = closest(word, names.iter().copied()).map(str::to_owned);
        }
        packages.push(package);
    }
    Err(Error::PackagesNotFound {
        packages,
        platform: query.subdir.to_string(),
        channels: spec.channels(),
    })
}

fn exact_name(spec: &MatchSpec) -> Option<&PackageName> {
    match &spec.name {
        PackageNameMatcher::Exact(name) => Some(name),
        _ => None,
    }
}

/// Returns the names of all packages in the channels, or none if they cannot be read: a suggestion
/// is no reason for another error.
async fn names(query: &ChannelQuery<'_>) -> Vec<PackageName> {
    let channels = query.channels.iter().cloned();
    let names = query
        .gateway
        .names(channels, [query.subdir, Subdir::NoArch]);
    let names = names.execute().await;
    names.map_or_else(|_| Vec::new(), |names| names.into_iter().collect())
}

/// Returns the entries of all packages of this name.
async fn records(query: &ChannelQuery<'_>, name: &PackageName) -> Vec<PackageRecord> {
    let any = MatchSpec {
        name: PackageNameMatcher::Exact(name.clone()),
        ..MatchSpec::default()
    };
    let channels = query.channels.iter().cloned();
    let found = query
        .gateway
        .query(channels, [query.subdir, Subdir::NoArch], [any])
        .recursive(false);
    let found = found.execute().await;
    let Ok(found) = found else {
        return Vec::new();
    };
    let records = found.repodata.iter().flat_map(|part| part.iter());
    records
        .map(|record| record.package_record.clone())
        .collect()
}

/// Returns what the channels have of a package instead of what was requested: its versions, or the
/// builds of the requested version if there are any.
fn available(spec: &MatchSpec, records: &[&PackageRecord]) -> Option<String> {
    let name = records.first()?.name.as_normalized();
    let of_version = records.iter().filter(|record| {
        let version = spec.version.as_ref();
        version.is_some_and(|version| version.matches(&record.version))
    });
    let of_version: Vec<&&PackageRecord> = of_version.collect();
    if let Some(newest) = of_version.iter().max_by_key(|record| &record.version) {
        let version = newest.version.to_string();
        let mut builds: Vec<&str> = of_version
            .iter()
            .filter(|record| record.version == newest.version)
            .map(|record| record.build.as_str())
            .collect();
        builds.sort_unstable();
        builds.dedup();
        let more = builds.len().saturating_sub(LISTED);
        builds.truncate(LISTED);
        let mut text = format!("{name} {version} with build {}", builds.join(", "));
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
        return Some(text);
    }
    let versions = records
        .iter()
        .map(|record| record.version.version().clone());
    Some(format!("{name} {}", range(&versions.collect())))
}

/// Returns the versions in a few words: all of them if they are few, else the range and the newest
/// ones: `1.0 ... 2.4, newest 2.4, 2.3, 2.2`.
fn range(versions: &BTreeSet<Version>) -> String {
    let newest: Vec<String> = versions.iter().rev().map(ToString::to_string).collect();
    match (newest.first(), newest.last()) {
        (Some(first), Some(last)) if newest.len() > LISTED => {
            format!(
                "{last} ... {first} (newest: {})",
                newest[..LISTED].join(", ")
            )
        }
        _ => newest.join(", "),
    }
}

/// Returns lines about the versions that exist of packages for which the solver has found no
/// candidates. `explanation` is the solver's text.
pub(super) fn existing_versions(explanation: &str, usable: &[Vec<&RepoDataRecord>]) -> String {
    /// Words of the solver before which the name and the versions are.
    const NO_CANDIDATES: &str = ", for which no candidates were found";
    let mut text = String::new();
    let mut said: BTreeSet<&str> = BTreeSet::new();
    for line in explanation.lines() {
        let Some((before, _)) = line.split_once(NO_CANDIDATES) else {
            continue;
        };
        let wish = before.trim_start_matches(['├', '└', '─', '│', ' ']);
        let Some(name) = wish.split_whitespace().next() else {
            continue;
        };
        let versions: BTreeSet<Version> = usable
            .iter()
            .flatten()
            .filter(|record| record.package_record.name.as_normalized() == name)
            .map(|record| record.package_record.version.version().clone())
            .collect();
        if !versions.is_empty() && said.insert(name) {
            text.push_str(&format!("\nthe channels have {name} {}", range(&versions)));
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[test]
    fn many_versions_are_a_range_with_the_newest() {
        let versions = |words: &str| {
            let versions = words
                .split(' ')
                .map(|word| Version::from_str(word).unwrap());
            range(&versions.collect())
        };
        assert_eq!(versions("1.9 1.10"), "1.10, 1.9");
        assert_eq!(
            versions("1.26.4 2.0 2.4.6 2.1 2.10"),
            "1.26.4 ... 2.10 (newest: 2.10, 2.4.6, 2.1)"
        );
    }
}
