//! Responsible for checking origins: channels with licence terms, names that refer to other
//! contents later, links that lead out of the environment.

use crate::context::{Request, RuntimeContext};
use crate::finding::some_of;
use crate::{
    code,
    finding::Finding,
    inventory::{Inventory, tidy},
};

/// System directories of every Linux distribution: a link into them leads into the base.
const SYSTEM: [&str; 12] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/proc", "/sys",
    "/dev", "/run",
];

pub(super) fn check(inventory: &Inventory, context: &RuntimeContext) -> Vec<Finding> {
    let mut findings = Vec::new();
    let with_terms: Vec<&str> = inventory
        .conda
        .iter()
        .filter(|package| has_terms(&package.channel))
        .map(|package| package.name.as_str())
        .collect();
    if !with_terms.is_empty() {
        findings.push(Finding::new(
            &code::CHANNEL_TERMS,
            format!(
                "{} packages are from Anaconda's own channels",
                with_terms.len()
            ),
            some_of(&with_terms),
        ));
    }
    let mut leading_out = Vec::new();
    for (link, target) in &inventory.links {
        if inventory.root.parent().is_none() || !target.is_absolute() {
            continue;
        }
        let target = tidy(target);
        let inside = target.starts_with(&inventory.root);
        let of_system = SYSTEM.iter().any(|dir| target.starts_with(dir))
            || context.system.is_some_and(|system| system.exists(&target));
        if !inside && !of_system {
            leading_out.push(format!(
                "{} -> {}",
                inventory.display_path(link),
                target.display()
            ));
        }
    }
    if !leading_out.is_empty() {
        findings.push(Finding::new(
            &code::MOVING_LINK,
            "links lead out of the environment, to what is not in the base",
            some_of(&leading_out),
        ));
    }
    if let Some(base) = &context.linked_base {
        findings.push(Finding::new(
            &code::MOVING_LINK,
            format!("the base image is a link to `{base}`"),
            "container.sif",
        ));
    }
    findings.extend(moving_base(context));
    findings
}

pub(super) fn check_request(request: &Request, context: &RuntimeContext) -> Vec<Finding> {
    let mut findings = Vec::new();
    let of_packages = request.conda.iter().map(|package| &package.channel);
    let with_terms = request.channels.iter().chain(of_packages);
    let with_terms: Vec<&str> = with_terms
        .filter(|channel| has_terms(channel))
        .map(String::as_str)
        .collect();
    if let Some(channel) = with_terms.first() {
        findings.push(Finding::new(
            &code::CHANNEL_TERMS,
            format!("`{channel}` is one of Anaconda's own channels"),
            &request.file,
        ));
    }
    for line in request.pip.iter().filter(|line| moves(line)) {
        findings.push(Finding::new(
            &code::MOVING_SOURCE,
            format!("`{}` may be something else tomorrow", line.trim()),
            &request.file,
        ));
    }
    findings.extend(moving_base(context));
    findings
}

fn moving_base(context: &RuntimeContext) -> Option<Finding> {
    let name = context.mutable_name.as_ref()?;
    Some(
        Finding::new(
            &code::MOVING_SOURCE,
            format!("the base `{name}` may lead to another image tomorrow"),
            "the base image",
        )
        .with_fix("name the file that it leads to, or a tag and a digest; `condense base show` says where it leads, and a build keeps the digest in its receipt"),
    )
}

/// Returns whether a channel is one of Anaconda's own, by its name or its host.
fn has_terms(channel: &str) -> bool {
    let channel = channel.trim_end_matches('/');
    let name = channel
        .strip_prefix("https://conda.anaconda.org/")
        .unwrap_or(channel);
    matches!(
        name,
        "defaults" | "main" | "anaconda" | "pkgs/main" | "pkgs/r" | "msys2"
    ) || channel.contains("repo.anaconda.com/")
        || channel.contains("repo.continuum.io/")
}

/// Returns whether a source may change: a repository without a commit or a tag, or an archive
/// without a digest whose URL says that it is the newest.
fn moves(line: &str) -> bool {
    let source = line.rsplit(" @ ").next().unwrap_or(line).trim();
    let source = source.trim_start_matches("-e ").trim();
    let is_repository = ["git+", "hg+", "svn+", "bzr+"]
        .iter()
        .any(|start| source.starts_with(start));
    let without_fragment = source.split('#').next().unwrap_or(source);
    if is_repository {
        // Searches behind the host, since a user name is separated from it by an `@`.
        let path = without_fragment
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('/'))
            .map_or("", |(_, path)| path);
        let revision = path.rsplit_once('@').map(|(_, revision)| revision);
        return !revision.is_some_and(stays);
    }
    let is_url = source.starts_with("https://") || source.starts_with("http://");
    let moving_word = |word: &str| {
        without_fragment
            .to_lowercase()
            .split(['/', '-', '_', '.'])
            .any(|part| part == word)
    };
    let hashed = line.contains("sha256=") || line.contains("--hash");
    is_url
        && !hashed
        && ["latest", "main", "master", "head", "nightly"]
            .into_iter()
            .any(moving_word)
}

/// Returns whether a revision is a commit, or a tag that looks like a version. Anything else counts
/// as a branch, which may change.
fn stays(revision: &str) -> bool {
    let commit = revision.len() >= 7 && revision.bytes().all(|b| b.is_ascii_hexdigit());
    let number =
        revision.trim_start_matches(|c: char| c.is_ascii_alphabetic() || "-_/".contains(c));
    let version = number.contains('.') && number.starts_with(|c: char| c.is_ascii_digit());
    commit || version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_that_may_change_and_sources_that_are_fixed() {
        for (line, expected) in [
            ("git+https://host/me/tool.git", true),
            ("git+https://host/me/tool.git@main#egg=tool", true),
            ("tool @ git+ssh://git@host/me/tool.git", true),
            ("tool @ git+https://host/me/tool.git@v1.2.0", false),
            ("-e git+https://host/t.git@0123456789abcdef", false),
            ("https://host/latest/tool.tar.gz", true),
            ("tool @ https://host/archive/main.zip", true),
            ("https://host/latest/tool.tar.gz#sha256=00", false),
            ("https://host/tool-1.0.tar.gz", false),
            ("latest==1.0", false),
        ] {
            assert_eq!(moves(line), expected, "{line}");
        }
    }

    #[test]
    fn channels_with_terms() {
        for (channel, expected) in [
            ("defaults", true),
            ("https://repo.anaconda.com/pkgs/main/", true),
            ("https://conda.anaconda.org/anaconda", true),
            ("https://conda.anaconda.org/conda-forge/", false),
            ("conda-forge", false),
            ("https://mirror.example.org/main-like", false),
        ] {
            assert_eq!(has_terms(channel), expected, "{channel}");
        }
    }
}
