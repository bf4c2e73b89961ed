//! Responsible for leaving out records that can be read but have
//! contradictory or dangerous contents.

use std::collections::BTreeSet;

use rattler_conda_types::{RepoDataRecord, Subdir, Version, package::DistArchiveType};
use rattler_repodata_gateway::RepoData;
use url::Url;

use crate::{
    error::Error,
    index_repair::{UnreadableEntry, leads_from},
    progress::{Progress, Warning},
    secrets::url_without_secrets,
    solution::is_safely_named,
    spec::refuse_long,
};

/// Selects the records for the solver, and warns about the others: by name if they were requested,
/// else with a number.
///
/// # Errors
/// Returns [`Error::Channel`] if the index of a channel on the network refers
/// to files of this machine.
pub(crate) fn usable<'a>(
    repodata: &'a [RepoData],
    subdir: Subdir,
    progress: &dyn Progress,
    is_asked_for: impl Fn(&str) -> bool,
) -> Result<Vec<Vec<&'a RepoDataRecord>>, Error> {
    let mut found = Vec::new();
    let mut unencrypted = BTreeSet::new();
    let mut others = 0_u64;
    for repodata in repodata {
        let mut kept = Vec::with_capacity(repodata.len());
        for record in repodata {
            refuse_leading_away(record, &mut unencrypted)?;
            match problem(record, subdir) {
                None => kept.push(record),
                Some(UnreadableEntry { entry, problem }) => {
                    if is_asked_for(record.package_record.name.as_normalized()) {
                        progress.warn(Warning::Index(format!(
                            "`{entry}` of `{}` is left out: {problem}",
                            record.channel.as_deref().unwrap_or_default()
                        )));
                    } else {
                        others += 1;
                    }
                }
            }
        }
        found.push(kept);
    }
    if others > 0 {
        progress.warn(Warning::Notice(format!(
            "{others} entries of channels are left out, since they contradict themselves"
        )));
    }
    for (channel, place) in unencrypted {
        progress.warn(Warning::Index(format!(
            "the channel `{channel}` sends its readers from HTTPS to `{place}`, which anybody on the way can change"
        )));
    }
    Ok(found)
}

/// Refuses a record in a channel on the network that has the URL of a local file. Collects records
/// that lead from HTTPS to HTTP, so that the user can be warned.
fn refuse_leading_away(
    record: &RepoDataRecord,
    unencrypted: &mut BTreeSet<(String, String)>,
) -> Result<(), Error> {
    let Some(channel) = record.channel.as_deref() else {
        return Ok(());
    };
    let from = channel.split(':').next().unwrap_or_default();
    let to = record.url.scheme();
    if leads_from(from, to) {
        let place = url_without_secrets(&record.url);
        return Err(Error::Channel {
            channel: channel.to_owned(),
            source: format!(
                "its index says that packages lie at `{place}`: no channel of the network may name files"
            )
            .into(),
        });
    }
    if (from, to) == ("https", "http") {
        let place = directory(&record.url);
        unencrypted.insert((channel.to_owned(), place));
    }
    Ok(())
}

fn directory(url: &Url) -> String {
    let text = url_without_secrets(url);
    text.rsplit_once('/')
        .map_or(text.clone(), |(dir, _)| dir.to_owned())
}

fn problem(record: &RepoDataRecord, subdir: Subdir) -> Option<UnreadableEntry> {
    let package = &record.package_record;
    let entry = record.identifier.to_file_name();
    let said = |problem: String| {
        Some(UnreadableEntry {
            entry: entry.replace(['/', '\0'], "?"),
            problem,
        })
    };
    if !is_safely_named(record) {
        return said("its name would leave its place".to_owned());
    }
    let file = &record.identifier.identifier;
    let is_wheel = matches!(record.identifier.archive_type, DistArchiveType::Wheel(_));
    let version = package.version.as_str();
    let has_version = file.version == version
        || file
            .version
            .parse::<Version>()
            .is_ok_and(|found| package.version == found);
    let fits = file.name.eq_ignore_ascii_case(package.name.as_normalized())
        && has_version
        && file.build_string == package.build.as_str();
    if !is_wheel && !fits {
        return said(format!(
            "its record is one of {}-{version}-{}",
            package.name.as_normalized(),
            package.build
        ));
    }
    if package.subdir != subdir.as_str() && package.subdir != Subdir::NoArch.as_str() {
        return said(format!("its record is one of {}", package.subdir));
    }
    let needs = package.depends.iter().chain(&package.constrains);
    let needs = needs.chain(package.extra_depends.values().flatten());
    for text in needs {
        if let Err(problem) = refuse_long(text) {
            return said(format!("what it needs cannot be understood: {problem}"));
        }
    }
    None
}
