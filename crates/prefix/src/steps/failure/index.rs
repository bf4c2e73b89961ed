//! Responsible for requirements that no index meets: missing names and versions, archives for
//! other Pythons and machines, and servers that do not answer.

use std::borrow::Cow;

use super::{PipContext, PipFailure};

/// Number of versions that are named.
const VERSIONS_SHOWN: usize = 5;
/// Reasons why a server does not answer, as libraries write them, and in short.
const REASONS: [(&str, &str); 13] = [
    ("Connection refused", "connection refused"),
    ("Name or service not known", "its name is not known here"),
    ("failed to lookup address", "its name is not known here"),
    ("name resolution", "its name is not known here"),
    ("nodename nor servname", "its name is not known here"),
    ("Network is unreachable", "no network leads there"),
    ("No route to host", "no network leads there"),
    ("Tunnel connection failed", "the proxy refuses"),
    ("Cannot connect to proxy", "the proxy does not answer"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not trusted",
    ),
    ("certificate", "its certificate is not trusted"),
    ("timed out", "no answer in time"),
    ("Connection reset", "it broke the connection"),
];

/// Explains a requirement for which pip found nothing.
pub(super) fn explain(lines: &[&str], context: &PipContext) -> Option<PipFailure> {
    if let Some(failure) = other_python(lines) {
        return Some(failure);
    }
    let Some((requirement, versions)) = wanted(lines) else {
        return broken_download(lines);
    };
    let others = for_other_pythons(lines);
    if versions.is_empty() && others.is_empty() {
        return Some(
            silent_index(lines, context)
                .or_else(|| other_tags(requirement, context))
                .unwrap_or_else(|| unknown_name(requirement, lines, context)),
        );
    }
    let target = context.target();
    let mut problem = format!("no version of `{}` fits `{requirement}`", name(requirement));
    if versions.is_empty() {
        problem = format!("no version of `{}` is for {target}", name(requirement));
    } else {
        problem.push_str(&format!(": for {target} there is {}", newest(&versions)));
    }
    if let Some((version, python)) = others.last() {
        let more = match others.len() {
            1 => String::new(),
            more => format!(" and {} others want another Python", more - 1),
        };
        problem.push_str(&format!("; {version} wants Python {python}{more}"));
    }
    let advice = if others.is_empty() {
        "ask for a version that exists; `--pre` takes pre-releases"
    } else {
        "ask for a version that exists for this Python, or for another Python in the environment"
    };
    Some(PipFailure::new(problem, advice))
}

/// Returns the requirement for which pip found no version at all, if it was that which ended pip.
pub(in crate::steps) fn missing_requirement(lines: &[&str]) -> Option<String> {
    let (requirement, versions) = wanted(lines)?;
    (versions.is_empty() && for_other_pythons(lines).is_empty()).then(|| requirement.to_owned())
}

/// Returns the requirement that pip could not meet, and the versions that it found.
fn wanted<'a>(lines: &[&'a str]) -> Option<(&'a str, Vec<&'a str>)> {
    lines.iter().find_map(|line| {
        let (_, rest) =
            line.split_once("Could not find a version that satisfies the requirement ")?;
        let (requirement, versions) = rest.split_once(" (from versions: ")?;
        let requirement = requirement.split(" (from ").next().unwrap_or(requirement);
        let versions = versions.trim_end().trim_end_matches(')').split(", ");
        let versions = versions.filter(|version| !version.is_empty() && *version != "none");
        Some((requirement, versions.collect()))
    })
}

/// Returns the failure of an index or a file server that does not answer.
pub(super) fn no_answer(url: &str, reason: &str) -> PipFailure {
    PipFailure::new(
        format!("`{url}` does not answer: {reason}"),
        "`condense doctor` asks the servers and shows the proxies; without a network, name a directory of wheels with `--find-links DIR` and `--no-index` in the requirements",
    )
}

/// Returns the URL and the reason if uv did not reach a server.
pub(super) fn unreachable_for_uv(first: &str, causes: &[String]) -> Option<(String, String)> {
    let fetched = [
        "Failed to fetch: ",
        "Failed to download ",
        "Failed to download: ",
    ];
    let url = fetched.iter().find_map(|start| first.strip_prefix(start));
    let of_cause = || {
        let mut causes = causes.iter();
        causes.find_map(|cause| cause.strip_prefix("Failed to fetch: "))
    };
    let url = url.or_else(of_cause)?.trim_matches('`').to_owned();
    let reason = causes.iter().rev().find_map(|cause| reason(cause))?;
    Some((url, reason))
}

/// Explains a package whose metadata asks for another Python.
fn other_python(lines: &[&str]) -> Option<PipFailure> {
    let line = lines
        .iter()
        .find(|line| line.contains("requires a different Python: "))?;
    let (before, after) = line.split_once("requires a different Python: ")?;
    let package = before.split(['\'', '"']).nth(1)?;
    let (has, wants) = after.split_once(" not in ")?;
    Some(PipFailure::new(
        format!(
            "`{package}` wants Python {}, and the environment has {has}",
            wants.trim().trim_matches('\'')
        ),
        format!("ask for that Python, or for an older version of `{package}`"),
    ))
}

/// Returns versions that pip left out because of their `Requires-Python`, the oldest first.
fn for_other_pythons<'a>(lines: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    let ignored = lines.iter().find_map(|line| {
        let (_, rest) = line.split_once("require a different python version: ")?;
        Some(rest)
    });
    let items = ignored.into_iter().flat_map(|rest| rest.split("; "));
    items
        .filter_map(|item| item.trim().split_once(" Requires-Python "))
        .collect()
}

/// Explains an index that pip could not read, which pip treats like an empty one.
fn silent_index(lines: &[&str], context: &PipContext) -> Option<PipFailure> {
    let unread = context.log.lines().find_map(|line| {
        let (_, rest) = line.split_once("Could not fetch URL ")?;
        let (url, reason) = rest.split_once(": ")?;
        // A page that does not exist only means that the index lacks the name.
        (!reason.starts_with("404")).then_some((url, reason))
    });
    if let Some((url, text)) = unread {
        if let Some(status) = ["401", "403", "407"].iter().find(|s| text.starts_with(**s)) {
            return Some(PipFailure::new(
                format!("`{url}` refuses with status {status}"),
                "the server wants credentials: name them in the URL of the index, in netrc or in pip's configuration",
            ));
        }
        let reason = reason(text).unwrap_or_else(|| super::ended(text).to_owned());
        return Some(no_answer(url, &reason));
    }
    let retried = lines.iter().find(|line| is_retry(line))?;
    let path = retried.rsplit(": /").next().unwrap_or_default();
    let index = lines
        .iter()
        .find_map(|line| line.trim().strip_prefix("Looking in indexes: "));
    let url = match index.and_then(|urls| urls.split(", ").next()) {
        Some(url) => url.to_owned(),
        None => format!("/{path}"),
    };
    Some(no_answer(&url, &reason_of_retry(retried)))
}

/// Explains a download that broke off.
fn broken_download(lines: &[&str]) -> Option<PipFailure> {
    let line = lines.iter().find(|line| {
        line.contains("Max retries exceeded")
            || line.contains("ReadTimeoutError")
            || line.contains("IncompleteRead")
            || line.contains("HTTP error ")
    })?;
    let host = line
        .split("host='")
        .nth(1)
        .and_then(|rest| rest.split('\'').next());
    let url = line
        .split_whitespace()
        .find(|word| word.starts_with("http://") || word.starts_with("https://"));
    if let Some((_, rest)) = line.split_once("HTTP error ") {
        let status = rest.split(' ').next().unwrap_or(rest);
        let url = url.unwrap_or("the server");
        return Some(PipFailure::new(
            format!("`{url}` answers with status {status}"),
            "check the address of the requirement and the index",
        ));
    }
    let reason = reason(line).unwrap_or_else(|| "the connection broke".to_owned());
    Some(no_answer(host.or(url).unwrap_or("the index"), &reason))
}

/// Explains a name whose archives are all for other Pythons or machines.
fn other_tags(requirement: &str, context: &PipContext) -> Option<PipFailure> {
    let wanted = crate::normalized_name(name(requirement));
    let mut skipped: Vec<(&str, &str)> = Vec::new();
    for line in context.log.lines() {
        let Some((_, rest)) = line.split_once("Skipping link: none of the wheel's tags (") else {
            continue;
        };
        let Some((tags, url)) = rest.split_once(')') else {
            continue;
        };
        let file = url.rsplit('/').next().unwrap_or(url);
        let mut parts = file.split('-');
        let (Some(project), Some(version)) = (parts.next(), parts.next()) else {
            continue;
        };
        if crate::normalized_name(project) == wanted && !skipped.contains(&(version, tags)) {
            skipped.push((version, tags));
        }
    }
    let (version, _) = skipped.last()?;
    let of_version: Vec<&str> = skipped
        .iter()
        .filter(|(other, _)| other == version)
        .map(|(_, tags)| *tags)
        .collect();
    let target = context.target();
    let glibc = of_version
        .iter()
        .find_map(|tags| newer_glibc(tags, context));
    let problem = format!(
        "no wheel of `{}` is for {target}: {version} has {}",
        name(requirement),
        some(&of_version, ", ")
    );
    Some(match glibc {
        Some(glibc) => PipFailure::new(
            problem,
            format!("take a base image with glibc {glibc} or newer, or an older version"),
        ),
        None => PipFailure::new(
            problem,
            "ask for a version that has one, for another Python, or take the package from conda-forge",
        ),
    })
}

/// Returns the C library that a wheel wants if everything else of it fits.
fn newer_glibc(tags: &str, context: &PipContext) -> Option<String> {
    let python = context.python.as_ref()?.replace('.', "");
    let fits = tags.starts_with(&format!("cp{python}-"))
        || tags.contains("-abi3-")
        || tags.starts_with("py3-");
    let (_, rest) = tags.split_once("manylinux_")?;
    let mut parts = rest.splitn(3, '_');
    let (major, minor, machine) = (parts.next()?, parts.next()?, parts.next()?);
    (fits && machine.starts_with(std::env::consts::ARCH)).then(|| format!("{major}.{minor}"))
}

fn unknown_name(requirement: &str, lines: &[&str], context: &PipContext) -> PipFailure {
    let place = |start: &str| {
        let mut lines = lines.iter();
        lines.find_map(|line| line.trim().strip_prefix(start))
    };
    let places = [place("Looking in indexes: "), place("Looking in links: ")];
    let places: Vec<&str> = places.into_iter().flatten().collect();
    let looked = if places.is_empty() {
        "https://pypi.org/simple".to_owned()
    } else {
        places.join(", ")
    };
    if context.only_wheels {
        return PipFailure::new(
            format!(
                "there is no wheel of `{}` for {} in {looked}",
                name(requirement),
                context.target()
            ),
            "check the spelling, or load the module of a container runtime, in which packages without wheels are built",
        );
    }
    PipFailure::new(
        format!("there is no `{}` in {looked}", name(requirement)),
        "check the spelling, or name the index that has it with a line `--extra-index-url URL`",
    )
}

/// Returns whether pip says in a line that it tries a server again.
pub(in crate::steps) fn is_retry(line: &str) -> bool {
    line.contains("WARNING: Retrying (Retry(total=")
}

/// Returns the reason for which pip tries again, in a few words.
pub(in crate::steps) fn reason_of_retry(line: &str) -> String {
    reason(line).unwrap_or_else(|| "the connection failed".to_owned())
}

/// Returns the reason in an error of a network library, in a few words.
fn reason(text: &str) -> Option<String> {
    let mut reasons = REASONS.iter();
    let (_, short) = reasons.find(|(words, _)| text.contains(words))?;
    Some((*short).to_owned())
}

/// Returns the project's name of a requirement.
fn name(requirement: &str) -> &str {
    let end = requirement.find(|c: char| !(c.is_alphanumeric() || "-_.".contains(c)));
    &requirement[..end.unwrap_or(requirement.len())]
}

/// Returns the newest versions of a list that begins with the oldest.
fn newest(versions: &[&str]) -> String {
    let versions: Vec<&str> = versions.iter().rev().copied().collect();
    some(&versions, ", ")
}

fn some(words: &[&str], between: &str) -> String {
    let shown = words[..words.len().min(VERSIONS_SHOWN)].join(between);
    match words.len().saturating_sub(VERSIONS_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} others"),
    }
}

/// Shortens pip's list of all versions to the newest ones.
pub(super) fn with_few_versions(line: &str) -> Cow<'_, str> {
    let parts = || {
        let (before, rest) = line.split_once("(from versions: ")?;
        let (list, after) = rest.split_once(')')?;
        let versions: Vec<&str> = list.split(", ").collect();
        (versions.len() > VERSIONS_SHOWN).then_some((before, versions, after))
    };
    match parts() {
        Some((before, versions, after)) => {
            format!("{before}(from versions: {}){after}", newest(&versions)).into()
        }
        None => line.into(),
    }
}
