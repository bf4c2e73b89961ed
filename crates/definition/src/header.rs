//! Responsible for the headers of a stage.

use condense_diagnostics::{Location, closest};

use crate::{
    Problem, Result,
    text::{Line, Text},
};

/// Names of all headers that a definition file may have. A number may follow `otherurl`.
const NAMES: [&str; 25] = [
    "bootstrap",
    "from",
    "stage",
    "registry",
    "namespace",
    "fingerprints",
    "library",
    "includecmd",
    "mirrorurl",
    "updateurl",
    "osversion",
    "include",
    "product",
    "user",
    "regcode",
    "productpgp",
    "registerurl",
    "modules",
    "otherurl",
    "confurl",
    "setopt",
    "target",
    "frontend",
    "filename",
    "buildargs",
];

/// Header of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name in lower case.
    pub name: String,
    /// Value without the spaces around it.
    pub value: String,
    /// Place of the name.
    pub location: Location,
    /// Place of the value.
    pub value_location: Location,
}

/// Header whose value goes on in the next line.
struct Open {
    name: String,
    value: String,
    begin: usize,
    value_begin: usize,
    /// Offset of the backslash.
    end: usize,
}

/// Reads the headers from the lines before the first section. The last of two headers with one name
/// counts.
///
/// # Errors
/// Returns an error for a line that is no header.
pub(crate) fn read<'t>(lines: impl Iterator<Item = Line<'t>>, text: &Text) -> Result<Vec<Header>> {
    let mut headers: Vec<Header> = Vec::new();
    let mut open: Option<Open> = None;
    for line in lines {
        let trimmed = line.text.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            if let Some(open) = open {
                return Err(text.error(open.end, Problem::OpenContinuation));
            }
            continue;
        }
        let content = line.text.split('#').next().unwrap_or_default();
        let mut header = match open.take() {
            Some(before) => Open {
                value: before.value + content.trim(),
                ..before
            },
            None => begin(line, content, text)?,
        };
        let end = line.offset + content.trim_end().len();
        header.end = end.saturating_sub(1);
        if let Some(value) = header.value.strip_suffix('\\') {
            header.value = match value.strip_suffix("\\n") {
                Some(value) => format!("{value}\n"),
                None => value.to_owned(),
            };
            open = Some(header);
            continue;
        }
        check_name(&header, text)?;
        headers.retain(|other| other.name != header.name);
        headers.push(Header {
            location: text.location(header.begin),
            value_location: text.location(header.value_begin),
            name: header.name,
            value: header.value,
        });
    }
    match open {
        Some(open) => Err(text.error(open.end, Problem::OpenContinuation)),
        None => Ok(headers),
    }
}

fn begin(line: Line, content: &str, text: &Text) -> Result<Open> {
    let Some((name, value)) = content.split_once(':') else {
        let problem = Problem::NoValue(content.trim().to_owned());
        return Err(text.error(line.first(), problem));
    };
    let spaces = value.len() - value.trim_start().len();
    Ok(Open {
        begin: line.first(),
        value_begin: line.offset + name.len() + 1 + spaces,
        end: line.offset,
        name: name.trim().to_ascii_lowercase(),
        value: value.trim().to_owned(),
    })
}

fn check_name(header: &Open, text: &Text) -> Result<()> {
    let plain = header.name.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_numbered = plain == "otherurl" && plain != header.name;
    let is_plain = header.name != "otherurl" && NAMES.contains(&header.name.as_str());
    if is_numbered || is_plain {
        return Ok(());
    }
    let problem = Problem::UnknownHeader {
        similar: closest(&header.name, NAMES),
        name: header.name.clone(),
    };
    Err(text.error(header.begin, problem))
}
