//! Responsible for reducing a lock to the packages of one environment on one platform. Other
//! packages may have any form. A needed package that cannot be understood is refused by its name.

use std::collections::{BTreeSet, HashSet};

use serde_yaml::{Mapping, Value};

use super::{entry, requirement::parse_requirement};

/// Keys of the entries in a pixi environment's list of packages. The key is
/// the kind of the package.
const KINDS: [&str; 2] = ["conda", "pypi"];
/// Keys in pixi's packages that have the location of the package, in all versions of the format.
const LOCATIONS: [&str; 5] = ["conda", "pypi", "conda_source", "url", "path"];
/// Keys in pixi's packages with lists of packages for building from source. condense does not build
/// from source.
const FOR_BUILDS: [&str; 2] = ["build_packages", "host_packages"];

/// Keeps the packages of a conda-lock.yml that are for `subdir`, in a form that rattler can read.
pub(super) fn select_conda_lock(document: &mut Value, subdir: &str) -> Result<(), String> {
    let Some(Value::Sequence(packages)) = document.get_mut("package") else {
        return Ok(());
    };
    let mut platforms = BTreeSet::new();
    let mut needed = Vec::new();
    for package in std::mem::take(packages) {
        let platform = package.get("platform").and_then(Value::as_str);
        let platform =
            platform.ok_or_else(|| format!("`{}` has no `platform:`", entry::name(&package)))?;
        platforms.insert(format!("`{platform}`"));
        if platform == subdir {
            needed.extend(entry::to_rattler(&entry::name(&package), package)?);
        }
    }
    *packages = needed;
    if !platforms.is_empty() && !platforms.contains(&format!("`{subdir}`")) {
        return Err(nothing_for(subdir, platforms));
    }
    if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_mapping_mut) {
        metadata.insert("platforms".into(), Value::Sequence(vec![subdir.into()]));
        let channels = metadata.get("channels").and_then(Value::as_sequence);
        let channels: Vec<Value> = channels.into_iter().flatten().filter_map(channel).collect();
        metadata.insert("channels".into(), channels.into());
    }
    Ok(())
}

/// Reduces a channel to its URL.
fn channel(channel: &Value) -> Option<Value> {
    let url = channel.get("url").unwrap_or(channel).as_str()?;
    Some(Mapping::from_iter([("url".into(), url.into())]).into())
}

/// Keeps the packages of a pixi.lock that the environment `wanted` has for `subdir`.
pub(super) fn select_pixi(document: &mut Value, wanted: &str, subdir: &str) -> Result<(), String> {
    let is_ours = our_platforms(document, subdir);
    let Some(environments) = document
        .get_mut("environments")
        .and_then(Value::as_mapping_mut)
    else {
        return Ok(());
    };
    let names: Vec<String> = environments
        .keys()
        .filter_map(Value::as_str)
        .map(|name| format!("`{name}`"))
        .collect();
    environments.retain(|name, _| name.as_str() == Some(wanted));
    let Some(environment) = environments.get_mut(wanted).and_then(Value::as_mapping_mut) else {
        return Err(no_environment(wanted, names));
    };
    // Options of the solver are not needed for an installation.
    environment.remove("options");
    let Some(packages) = environment
        .get_mut("packages")
        .and_then(Value::as_mapping_mut)
    else {
        return Ok(());
    };
    let platforms: BTreeSet<String> = packages
        .keys()
        .filter_map(Value::as_str)
        .map(|name| format!("`{name}`"))
        .collect();
    packages.retain(|platform, _| platform.as_str().is_some_and(&is_ours));
    if packages.is_empty() && platforms.is_empty() {
        return Err(empty(wanted, names));
    }
    if packages.is_empty() {
        return Err(nothing_for(subdir, platforms));
    }
    let mut asked = HashSet::new();
    for selector in packages.values().filter_map(Value::as_sequence).flatten() {
        asked.insert(selected(selector)?);
    }
    if let Some(platforms) = document
        .get_mut("platforms")
        .and_then(Value::as_sequence_mut)
    {
        platforms.retain(|platform| {
            platform
                .get("name")
                .and_then(Value::as_str)
                .is_some_and(&is_ours)
        });
    }
    let packages = document
        .get_mut("packages")
        .and_then(Value::as_sequence_mut);
    if let Some(packages) = packages {
        packages.retain(|package| is_asked(package, &asked));
        for package in packages.iter_mut().filter_map(Value::as_mapping_mut) {
            package.retain(|key, _| !key.as_str().is_some_and(|key| FOR_BUILDS.contains(&key)));
            let notes = package
                .get_mut("requires_dist")
                .and_then(Value::as_sequence_mut);
            if let Some(notes) = notes {
                notes.retain(|line| {
                    line.as_str()
                        .is_some_and(|line| parse_requirement(line).is_some())
                });
            }
        }
    }
    Ok(())
}

/// Returns a function that returns true for the name of a platform that has the conda platform
/// `subdir`. Since version 7 of the format, names of platforms can be chosen freely.
fn our_platforms(document: &Value, subdir: &str) -> impl Fn(&str) -> bool + use<> {
    let listed = document.get("platforms").and_then(Value::as_sequence);
    let named: Option<HashSet<String>> = listed.map(|platforms| {
        let ours = platforms.iter().filter_map(|platform| {
            let name = platform.get("name")?.as_str()?;
            let kind = platform.get("subdir").and_then(Value::as_str);
            (kind.unwrap_or(name) == subdir).then(|| name.to_owned())
        });
        ours.collect()
    });
    let subdir = subdir.to_owned();
    move |name| match &named {
        Some(named) => named.contains(name),
        None => name == subdir,
    }
}

/// Returns the location of a package from an entry in an environment's list.
fn selected(selector: &Value) -> Result<String, String> {
    let location = |kind: &str| selector.get(kind).and_then(Value::as_str);
    if let Some(found) = KINDS.iter().find_map(|kind| location(kind)) {
        return Ok(found.to_owned());
    }
    if let Some(source) = location("conda_source") {
        return Err(from_source(source));
    }
    Err(format!(
        "`{}` is a kind of package that is not known here, expected `conda:` or `pypi:`",
        entry::first_line(selector)
    ))
}

/// Returns true if the environment has the package. A package with a path always counts, because a
/// path can be written in several ways.
fn is_asked(package: &Value, asked: &HashSet<String>) -> bool {
    let mut locations = LOCATIONS
        .iter()
        .filter_map(|key| package.get(*key).and_then(Value::as_str));
    locations.any(|location| !location.contains("://") || asked.contains(location))
}

pub(super) fn from_source(name: &str) -> String {
    format!("`{name}` is built from source by pixi; only packages of channels can be installed")
}

pub(super) fn no_environment(wanted: &str, mut names: Vec<String>) -> String {
    names.sort();
    format!(
        "it has no environment `{wanted}`, only {}; name one with `--lock-environment`",
        names.join(", ")
    )
}

pub(super) fn nothing_for(subdir: &str, platforms: impl IntoIterator<Item = String>) -> String {
    let names: Vec<String> = platforms.into_iter().collect();
    format!(
        "it has nothing for `{subdir}`, only for {}",
        names.join(", ")
    )
}

fn empty(wanted: &str, names: Vec<String>) -> String {
    let others: Vec<String> = names
        .into_iter()
        .filter(|name| *name != format!("`{wanted}`"))
        .collect();
    let way_out = if others.is_empty() {
        String::new()
    } else {
        format!(
            "; name another with `--lock-environment`: {}",
            others.join(", ")
        )
    };
    format!("its environment `{wanted}` is empty, it has packages for no platform{way_out}")
}
