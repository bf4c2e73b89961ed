//! Responsible for searching the indices of channels for packages.

use std::{collections::BTreeSet, path::Path, time::Instant};

use condense_diagnostics::closest;
use rattler_conda_types::{MatchSpec, Matches, RepoDataRecord, Subdir};
use rattler_repodata_gateway::Gateway;

use crate::{
    error::Error,
    index::{ChannelQuery, usable},
    network::Network,
    progress::{Phase, Progress},
    secrets::without_secrets,
    solve::{gateway, read_indices},
    spec::EnvironmentSpec,
    target::Architecture,
};

/// Number of packages whose entries are read for one pattern of names.
const NAMES_MAX: usize = 200;

/// One file of a package in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPackage {
    /// Name of the package.
    pub name: String,
    /// Version of the package.
    pub version: String,
    /// Build string, which tells builds of one version apart.
    pub build: String,
    /// URL of the channel without credentials.
    pub channel: String,
    /// Platform, such as `linux-64` or `noarch`.
    pub subdir: String,
    /// Size of the archive in bytes.
    pub size_bytes: Option<u64>,
    /// Time of the build, in seconds since 1970.
    pub timestamp: Option<i64>,
    /// Licence as the package states it.
    pub license: Option<String>,
    /// Match specs of the packages that it needs.
    pub depends: Vec<String>,
}

/// Result of a search.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Files that match, by name, the newest version first.
    pub packages: Vec<FoundPackage>,
    /// Number of further packages whose names match the pattern.
    pub names_left_out: usize,
    /// Versions of the package that exist, the newest first, if none of them matches.
    pub other_versions: Vec<String>,
    /// Name of a package that the user may have meant, if none has the name.
    pub similar: Option<String>,
}

/// Searches the channels of `spec` for packages that match `text`: a match spec, in whose name `*`
/// and `?` stand for other letters.
///
/// # Errors
/// Returns [`Error::Spec`] if the text is not a match spec, [`Error::Channel`] if an index cannot
/// be read, and [`Error::Offline`] if it is not in the cache and downloads are forbidden.
pub async fn search(
    spec: &EnvironmentSpec,
    text: &str,
    architecture: Architecture,
    network: &Network,
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<Found, Error> {
    network.prepare()?;
    let channels = spec.channels.iter();
    let channels: Vec<_> = channels
        .map(|channel| network.channel_without_credentials(channel))
        .collect();
    let gateway = gateway(network, scratch);
    let subdirs = [architecture.subdir(), Subdir::NoArch];
    let (name, rest) = split(text);
    let is_pattern = name.contains(['*', '?']);
    let mut found = Found::default();
    let mut names = vec![name.to_owned()];
    if is_pattern {
        let query = ChannelQuery::plain(&gateway, network, &channels, subdirs[0], &[], scratch);
        let known = all_names(&gateway, &query, spec, progress).await?;
        names = known
            .into_iter()
            .filter(|known| matches(&name.to_lowercase(), known))
            .collect();
        found.names_left_out = names.len().saturating_sub(NAMES_MAX);
        names.truncate(NAMES_MAX);
    }
    let mut wanted = Vec::new();
    for name in &names {
        let mut copy = spec.clone();
        let wanted_spec = copy.add_package(&format!("{name}{rest}"));
        wanted.push(wanted_spec.map_err(|message| Error::Spec {
            file: text.into(),
            line: 0,
            column: 0,
            message,
        })?);
    }
    let any_version: Vec<MatchSpec> = wanted
        .iter()
        .map(|spec| MatchSpec {
            name: spec.name.clone(),
            ..MatchSpec::default()
        })
        .collect();
    let query = ChannelQuery::plain(
        &gateway,
        network,
        &channels,
        subdirs[0],
        &any_version,
        scratch,
    );
    let repodata = if any_version.is_empty() {
        Vec::new()
    } else {
        read_indices(&query, spec, progress).await?
    };
    let records = usable(&repodata, subdirs[0], progress, |name| {
        query.is_asked_for(name)
    })?;
    let mut records: Vec<&RepoDataRecord> = records.into_iter().flatten().collect();
    records.sort_by(|one, other| order(one, other));
    let (matching, others): (Vec<_>, Vec<_>) = records
        .into_iter()
        .partition(|record| wanted.iter().any(|spec| spec.matches(*record)));
    if matching.is_empty() {
        let mut seen = BTreeSet::new();
        found.other_versions = others
            .iter()
            .map(|record| record.package_record.version.to_string())
            .filter(|version| seen.insert(version.clone()))
            .collect();
        if found.other_versions.is_empty() {
            let plain = name.rsplit("::").next().unwrap_or(name);
            let plain = plain.replace(['*', '?'], "");
            let known = all_names(&gateway, &query, spec, progress).await?;
            found.similar = closest(&plain, known.iter().map(String::as_str)).map(str::to_owned);
        }
    }
    found.packages = matching.into_iter().map(package).collect();
    Ok(found)
}

/// Splits a match spec into the name, with the channel before it, and everything behind the name.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| c.is_whitespace() || "=<>!~[".contains(c));
    text.split_at(end.unwrap_or(text.len()))
}

/// Returns the names of all packages of the channels.
async fn all_names(
    gateway: &Gateway,
    query: &ChannelQuery<'_>,
    spec: &EnvironmentSpec,
    progress: &dyn Progress,
) -> Result<Vec<String>, Error> {
    let started = Instant::now();
    progress.begin(Phase::Index, None);
    let names = gateway.names(query.channels.to_vec(), [query.subdir, Subdir::NoArch]);
    let answering = async {
        match names.execute().await {
            Ok(names) => Ok(names),
            Err(error) => Err(query.explain(error, spec).await),
        }
    };
    let names = Box::pin(query.network.attended(progress, answering)).await?;
    progress.end(Phase::Index, started.elapsed());
    let names: BTreeSet<String> = names
        .iter()
        .map(|name| name.as_normalized().to_owned())
        .collect();
    Ok(names.into_iter().collect())
}

/// Returns whether a name matches a pattern, in which `*` stands for any letters and `?` for one.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(letter) if *letter == '?' || *letter == name[seen] => {
                at += 1;
                seen += 1;
            }
            _ => match star {
                Some((place, from)) => {
                    star = Some((place, from + 1));
                    at = place + 1;
                    seen = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == '*')
}

fn order(one: &RepoDataRecord, other: &RepoDataRecord) -> std::cmp::Ordering {
    let (one, other) = (&one.package_record, &other.package_record);
    one.name
        .cmp(&other.name)
        .then_with(|| other.version.cmp(&one.version))
        .then_with(|| other.build_number.cmp(&one.build_number))
        .then_with(|| other.timestamp.cmp(&one.timestamp))
        .then_with(|| one.build.cmp(&other.build))
}

fn package(record: &RepoDataRecord) -> FoundPackage {
    let package = &record.package_record;
    let channel = record.channel.as_deref().unwrap_or_default();
    FoundPackage {
        name: package.name.as_normalized().to_owned(),
        version: package.version.to_string(),
        build: package.build.to_string(),
        channel: without_secrets(channel).trim_end_matches('/').to_owned(),
        subdir: package.subdir.clone(),
        size_bytes: package.size,
        timestamp: package
            .timestamp
            .as_ref()
            .map(|time| time.jiff_timestamp().as_second()),
        license: package.license.clone(),
        depends: package.depends.iter().map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{matches, split};

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("*torch*", "pytorch-cpu", true),
            ("*torch", "pytorch-cpu", false),
            ("torch*", "torchvision", true),
            ("nump?", "numpy", true),
            ("nump?", "nump", false),
            ("*", "x", true),
            ("a*b*c", "aXbbYc", true),
            ("a*b*c", "aXbbY", false),
            ("**a", "ba", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn the_name_ends_where_the_version_begins() {
        for (text, expected) in [
            ("numpy", ("numpy", "")),
            (" numpy >=2 ", ("numpy", " >=2")),
            ("numpy=1.26", ("numpy", "=1.26")),
            ("*torch*>=2,<3", ("*torch*", ">=2,<3")),
            ("x::numpy[build=a]", ("x::numpy", "[build=a]")),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }
}
