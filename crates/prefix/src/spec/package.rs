//! Responsible for parsing one match spec, in all spellings that conda reads.

use std::{borrow::Cow, path::Path, sync::Arc};

use rattler_conda_types::{
    MatchSpec, PackageNameMatcher, ParseMatchSpecOptions, StringMatcher, package::CondaArchiveType,
};
use url::Url;

use super::{channel, explicit::Digest};

/// Parses one match spec. A relative path of a package's archive starts at `folder`.
pub(super) fn match_spec(text: &str, folder: &Path) -> Result<MatchSpec, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    refuse_long(text)?;
    if text.starts_with('-') {
        return Err("a package's name does not begin with `-`".to_owned());
    }
    let (bare, brackets) = match text.find('[') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let (location, fragment) = match bare.split_once('#') {
        Some((location, fragment)) if !location.ends_with([' ', '\t']) => {
            (location, Some(fragment))
        }
        _ => (bare, None),
    };
    if CondaArchiveType::try_from(Path::new(location.trim())).is_some() && !location.contains("::")
    {
        return archive(location.trim(), fragment, brackets, folder);
    }
    by_name(text, folder)
}

/// Parses a spec that names a package by the URL or path of its archive.
fn archive(
    location: &str,
    fragment: Option<&str>,
    brackets: &str,
    folder: &Path,
) -> Result<MatchSpec, String> {
    let url = super::explicit::url(location, folder)?;
    let mut spec = parse(url.as_str())?;
    // rattler ignores a digest behind a URL in both spellings, `#…` and `[md5=…]`.
    let in_brackets = brackets
        .trim_start_matches('[')
        .trim_end_matches(']')
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let named = in_brackets.map(|part| match part.split_once('=') {
        Some((name @ ("md5" | "sha256"), value)) => {
            Ok(format!("{name}:{}", value.trim_matches(['"', '\''])))
        }
        _ => Err(format!(
            "`{part}`: behind a package's URL, expected `[md5=…]` or `[sha256=…]`"
        )),
    });
    for digest in fragment
        .map(|text| Ok(text.to_owned()))
        .into_iter()
        .chain(named)
    {
        match Digest::parse(&digest?)? {
            Digest::Md5(md5) => spec.md5 = Some(md5),
            Digest::Sha256(sha256) => spec.sha256 = Some(sha256),
        }
    }
    Ok(spec)
}

fn by_name(text: &str, folder: &Path) -> Result<MatchSpec, String> {
    let mut spec = parse(text)?;
    if spec.namespace.is_some() || text.starts_with(':') {
        return Err(
            "expected `channel::package`, or an operator between name and version".to_owned(),
        );
    }
    if spec
        .url
        .as_ref()
        .is_some_and(|url| !is_archive(url.as_str()))
    {
        return Err("only `.conda` and `.tar.bz2` packages can be named by URL".to_owned());
    }
    if let Some(build) = &spec.build {
        let text = match build {
            StringMatcher::Regex(_) => String::new(),
            other => other.to_string(),
        };
        let odd = |c: char| !(c.is_ascii_alphanumeric() || "_.+-*|!".contains(c));
        if let Some(found) = text.chars().find(|c| odd(*c)) {
            let hint = match found {
                '<' | '>' | '=' => "; between two versions stands a comma",
                ' ' => "; expected at most name, version and build",
                _ => "",
            };
            return Err(format!(
                "`{found}` cannot stand in the build string `{text}`{hint}"
            ));
        }
    }
    // rattler knows neither the URLs of Anaconda's channels nor the directory of this file.
    if let (Some(_), Some((name, _))) = (&spec.channel, text.split_once("::")) {
        let r_package = matches!(&spec.name, PackageNameMatcher::Exact(exact) if exact.as_normalized().starts_with("r-"));
        let name = match (name, r_package) {
            ("defaults", true) => "pkgs/r",
            (name, _) => name,
        };
        spec.channel = Some(Arc::new(channel::channel(name, folder)?));
    }
    Ok(spec)
}

/// Largest length of a match spec in bytes. Real ones have some hundred bytes. Each comparison of
/// versions in a spec costs time, and each parenthesis costs room on the stack.
const SPEC_MOST: usize = 4096;
/// Largest number of parentheses in a match spec, since they may be nested.
const DEPTH_MOST: usize = 32;

/// Refuses match specs that are too long for a real package, because the parser
/// would take minutes for them.
pub(crate) fn refuse_long(text: &str) -> Result<(), String> {
    if text.len() > SPEC_MOST {
        let length = text.len();
        return Err(format!(
            "it has {length} bytes, and what is asked of a package at most {SPEC_MOST}"
        ));
    }
    if text.matches('(').count() > DEPTH_MOST {
        return Err(format!(
            "there are more than {DEPTH_MOST} parentheses in it"
        ));
    }
    Ok(())
}

/// Returns a text for a message, shortened to its beginning if it has more than 200 bytes.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    if text.len() <= 200 {
        return text.into();
    }
    let start: String = text.chars().take(80).collect();
    format!("{start}…").into()
}

/// Parses a dependency from the metadata of a package.
pub(crate) fn needed(text: &str) -> Result<MatchSpec, String> {
    refuse_long(text)?;
    MatchSpec::from_str(text, ParseMatchSpecOptions::lenient()).map_err(|error| error.to_string())
}

fn parse(text: &str) -> Result<MatchSpec, String> {
    refuse_long(text)?;
    // Parsing is lenient like conda's (`numpy=1.26`, `python 3.11.*`). `by_name` refuses specs that
    // lenient parsing accepts and conda does not.
    MatchSpec::from_str(text, ParseMatchSpecOptions::lenient()).map_err(|error| describe(&error))
}

fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Returns true if the spec requests the package of this name.
pub(super) fn is_named(spec: &MatchSpec, name: &str) -> bool {
    matches!(&spec.name, PackageNameMatcher::Exact(exact) if exact.as_normalized() == name)
}

/// Returns true if the text is the URL of a conda package, with `.conda` or `.tar.bz2` at its end.
pub(super) fn is_archive(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| CondaArchiveType::try_from(Path::new(url.path())).is_some())
}
