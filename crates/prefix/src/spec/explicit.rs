//! Responsible for `@EXPLICIT` files. They list packages by URL or path, in any order, each with
//! its digest behind a `#`.

use std::path::Path;

use rattler_conda_types::package::{CondaArchiveType, DistArchiveIdentifier};
use rattler_digest::{Md5Hash, Sha256Hash};
use url::Url;

use super::{lines::Line, problem::Problem};
use crate::secrets::without_secrets;

/// Line that marks a file as an explicit list.
pub(super) const MARK: &str = "@EXPLICIT";

/// A package that is requested by its archive.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    pub(crate) url: Url,
    pub(crate) identifier: DistArchiveIdentifier,
    pub(crate) md5: Option<Md5Hash>,
    pub(crate) sha256: Option<Sha256Hash>,
    /// Text of the line in the file, without credentials.
    pub(crate) written: String,
    pub(crate) line: usize,
}

/// Digest behind the `#` of an archive's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Digest {
    Md5(Md5Hash),
    Sha256(Sha256Hash),
}

impl Digest {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let expected = || {
            format!(
                "`#{text}` is no digest: expected 32 hexadecimal digits (md5), or 64 (sha256) that may have `sha256:` before them"
            )
        };
        let (hex_digits, wanted) = match text.split_once(':') {
            Some(("md5", digits)) => (digits, Some(32)),
            Some(("sha256", digits)) => (digits, Some(64)),
            Some(_) => return Err(expected()),
            None => (text, None),
        };
        if wanted.is_some_and(|wanted| wanted != hex_digits.len()) {
            return Err(expected());
        }
        let mut md5 = Md5Hash::default();
        let mut sha256 = Sha256Hash::default();
        if hex::decode_to_slice(hex_digits, &mut md5).is_ok() {
            return Ok(Self::Md5(md5));
        }
        hex::decode_to_slice(hex_digits, &mut sha256).map_err(|_| expected())?;
        Ok(Self::Sha256(sha256))
    }
}

/// Returns the URL of a package that is given by URL or by path.
pub(super) fn url(location: &str, folder: &Path) -> Result<Url, String> {
    if !location.contains("://") {
        let path = folder.join(location);
        let not_a_path = || format!("`{location}` is not a path");
        let url = Url::from_file_path(&path).map_err(|()| not_a_path())?;
        // Only parsing resolves `..` in the path.
        return Url::parse(url.as_str()).map_err(|_| not_a_path());
    }
    if location.contains(char::is_whitespace) {
        return Err(format!("`{location}`: a URL has no blanks"));
    }
    let url = Url::parse(location).map_err(|error| format!("`{location}`: {error}"))?;
    if matches!(url.scheme(), "http" | "https" | "file") {
        Ok(url)
    } else {
        Err(format!(
            "packages are reached by http, https or file, not by `{}`",
            url.scheme()
        ))
    }
}

/// Reads the lines of an `@EXPLICIT` file.
pub(super) fn archives(lines: &[Line], folder: &Path) -> Result<Vec<Archive>, Problem> {
    let mut archives: Vec<Archive> = Vec::new();
    for line in lines.iter().filter(|line| line.text != MARK) {
        let archive = archive(line, folder).map_err(|message| line.problem(message))?;
        let name = &archive.identifier.identifier.name;
        let other = archives
            .iter()
            .find(|other| other.identifier.identifier.name == *name);
        if let Some(other) = other {
            return Err(line.problem(format!(
                "`{name}` stands in line {} already, an environment has each package once",
                other.line
            )));
        }
        archives.push(archive);
    }
    Ok(archives)
}

fn archive(line: &Line, folder: &Path) -> Result<Archive, String> {
    let text = &line.text;
    let (location, fragment) = match text.split_once('#') {
        Some((location, fragment)) => (location.trim_end(), Some(fragment)),
        None => (text.as_str(), None),
    };
    let expected = || {
        format!(
            "`{text}`: below `{MARK}`, expected the URL or path of a `.conda` or `.tar.bz2` package, and `#` with its md5 or sha256 behind it"
        )
    };
    if CondaArchiveType::try_from(Path::new(location)).is_none() {
        return Err(expected());
    }
    let url = url(location, folder)?;
    let name = url
        .path_segments()
        .and_then(|mut segments| segments.next_back());
    // Some characters are percent-encoded in URLs (`%2B`): versions may contain `+`, and epochs
    // contain `!`.
    let name = percent_decoded(name.ok_or_else(expected)?).ok_or_else(expected)?;
    let identifier = DistArchiveIdentifier::try_from_filename(&name).ok_or_else(|| {
        format!("`{name}` is not the name of a package: expected NAME-VERSION-BUILD.conda")
    })?;
    let digest = fragment.map(Digest::parse).transpose()?;
    Ok(Archive {
        url,
        identifier,
        md5: match &digest {
            Some(Digest::Md5(md5)) => Some(*md5),
            _ => None,
        },
        sha256: match &digest {
            Some(Digest::Sha256(sha256)) => Some(*sha256),
            _ => None,
        },
        written: without_secrets(text).into_owned(),
        line: line.number,
    })
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' && after.len() >= 2 {
            let mut byte = [0];
            hex::decode_to_slice(&after[..2], &mut byte).ok()?;
            bytes.push(byte[0]);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}
