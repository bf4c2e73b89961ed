//! Responsible for parsing a package's lists of its files: `info/paths.json`, the older
//! files that it replaced, and the commands of `info/link.json`. No file is opened: bytes
//! become values or a refusal.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

use rattler_conda_types::package::{EntryPoint, FileMode, HasPrefixEntry};
use serde::{Deserialize, Deserializer, de::Visitor};

use super::path::{judged, judged_json, shown};

/// A file in the package's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) path: PathBuf,
    /// True for an empty directory that must be created. The archive decides whether an entry is a
    /// file or a link.
    pub(crate) is_directory: bool,
    /// Text that is replaced by the environment's path.
    pub(crate) placeholder: Option<(FileMode, String)>,
    pub(crate) no_link: bool,
    pub(crate) sha256: Option<[u8; 32]>,
    pub(crate) bytes: Option<u64>,
}

/// A mistake in a file of `info/`, because of which the file cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Path with the mistake, or `None` if the file itself is wrong.
    pub(super) path: Option<String>,
    pub(super) text: String,
}

impl Problem {
    fn at_path(path: &[u8], text: impl Into<String>) -> Self {
        Self {
            path: Some(shown(path)),
            text: text.into(),
        }
    }

    fn of_file(text: impl std::fmt::Display) -> Self {
        Self {
            path: None,
            text: format!("is not understood: {}", shown(text.to_string().as_bytes())),
        }
    }
}

#[derive(Deserialize)]
struct PathsDocument {
    #[serde(default)]
    paths_version: Option<serde_json::Value>,
    paths: Vec<PathsEntry>,
}

#[derive(Deserialize)]
struct PathsEntry {
    #[serde(rename = "_path")]
    path: Bytes,
    #[serde(default)]
    path_type: Option<String>,
    #[serde(default)]
    prefix_placeholder: Option<String>,
    #[serde(default)]
    file_mode: Option<String>,
    #[serde(default)]
    no_link: Option<bool>,
    #[serde(default)]
    sha256: Option<serde_json::Value>,
    #[serde(default)]
    size_in_bytes: Option<serde_json::Value>,
}

/// A JSON string that need not be valid UTF-8.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a path")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Bytes, E> {
                Ok(Bytes(text.as_bytes().to_vec()))
            }
        }
        deserializer.deserialize_bytes(Reader)
    }
}

/// Reads `info/paths.json`. If a path has several entries, the last one counts.
pub(super) fn paths_json(bytes: &[u8]) -> Result<Vec<Listed>, Problem> {
    let document: PathsDocument = serde_json::from_slice(bytes).map_err(Problem::of_file)?;
    if let Some(version) = document
        .paths_version
        .as_ref()
        .and_then(serde_json::Value::as_i64)
        && version > 1
    {
        return Err(Problem::of_file(format!("it is of version {version}")));
    }
    let mut listed = Vec::with_capacity(document.paths.len());
    for entry in document.paths {
        listed.push(from_json(entry)?);
    }
    Ok(last_of_each(listed))
}

fn from_json(entry: PathsEntry) -> Result<Listed, Problem> {
    let written = &entry.path.0;
    let path = judged_json(written).map_err(|problem| Problem::at_path(written, problem))?;
    let is_directory = match entry.path_type.as_deref() {
        None | Some("hardlink" | "softlink") => false,
        Some("directory") => true,
        Some(other) => {
            let text = format!("is of a type `{}` that is none", shown(other.as_bytes()));
            return Err(Problem::at_path(written, text));
        }
    };
    // conda treats an empty placeholder as none.
    let placeholder = match entry.prefix_placeholder.filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => match entry.file_mode.as_deref() {
            Some("text") => Some((FileMode::Text, text)),
            Some("binary") => Some((FileMode::Binary, text)),
            _ => {
                let text =
                    "has a prefix_placeholder, and a file_mode that is neither text nor binary";
                return Err(Problem::at_path(written, text));
            }
        },
    };
    let sha256 = entry.sha256.as_ref().and_then(serde_json::Value::as_str);
    let mut digest = [0; 32];
    let sha256 = sha256
        .and_then(|text| hex::decode_to_slice(text, &mut digest).ok())
        .map(|()| digest);
    Ok(Listed {
        path,
        is_directory,
        placeholder,
        no_link: entry.no_link.unwrap_or(false),
        sha256,
        bytes: entry.size_in_bytes.and_then(|value| value.as_u64()),
    })
}

/// Combines `info/files`, `info/has_prefix` and the two lists of files that must be copied. Older
/// packages have these files instead of paths.json.
pub(super) fn older_files(
    files: &[u8],
    has_prefix: &HashMap<PathBuf, (FileMode, String)>,
    no_link: &HashSet<PathBuf>,
) -> Result<Vec<Listed>, Problem> {
    let listed = lines(files)?.into_iter().map(|path| Listed {
        is_directory: false,
        placeholder: has_prefix.get(&path).cloned(),
        no_link: no_link.contains(&path),
        sha256: None,
        bytes: None,
        path,
    });
    Ok(last_of_each(listed.collect()))
}

/// Reads a file with one path per line: `info/files`, `info/no_link`, `info/no_softlink`.
pub(super) fn lines(bytes: &[u8]) -> Result<Vec<PathBuf>, Problem> {
    bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
        .map(|line| judged(line).map_err(|problem| Problem::at_path(line, problem)))
        .collect()
}

/// Reads `info/has_prefix`. Each line has either a path, or a placeholder, a mode and a path.
pub(super) fn has_prefix(bytes: &[u8]) -> Result<HashMap<PathBuf, (FileMode, String)>, Problem> {
    let text = std::str::from_utf8(bytes).map_err(Problem::of_file)?;
    let mut found = HashMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let entry: HasPrefixEntry = line
            .parse()
            .map_err(|_| Problem::of_file(format!("`{line}`")))?;
        let written = entry.relative_path.as_os_str().as_bytes();
        let path = judged(written).map_err(|problem| Problem::at_path(written, problem))?;
        if !entry.prefix.is_empty() {
            found.insert(path, (entry.file_mode, entry.prefix.into_owned()));
        }
    }
    Ok(found)
}

/// Fields of `info/index.json` that linking needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) name: Option<String>,
    pub(super) is_noarch_python: bool,
}

/// Reads `info/index.json`. Fields of wrong types are ignored, since the
/// channel's index has priority.
pub(super) fn index_json(bytes: &[u8]) -> Result<Index, Problem> {
    let document: serde_json::Value = serde_json::from_slice(bytes).map_err(Problem::of_file)?;
    let Some(fields) = document.as_object() else {
        return Err(Problem::of_file("it is no object"));
    };
    let text = |key: &str| fields.get(key).and_then(serde_json::Value::as_str);
    Ok(Index {
        name: text("name").map(str::to_owned),
        is_noarch_python: text("noarch") == Some("python"),
    })
}

#[derive(Deserialize)]
struct LinkDocument {
    #[serde(default)]
    noarch: Option<LinkNoarch>,
}

#[derive(Deserialize)]
struct LinkNoarch {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    entry_points: Option<Vec<String>>,
}

/// Fields of `info/link.json` that linking needs.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) is_noarch_python: bool,
    pub(super) entry_points: Vec<EntryPoint>,
}

/// Reads `info/link.json`. Commands must have simple names. Modules and functions must be Python
/// identifiers.
pub(super) fn link_json(bytes: &[u8]) -> Result<Link, Problem> {
    let document: LinkDocument = serde_json::from_slice(bytes).map_err(Problem::of_file)?;
    let Some(noarch) = document.noarch else {
        return Ok(Link::default());
    };
    let mut entry_points = Vec::new();
    for text in noarch.entry_points.unwrap_or_default() {
        let entry: EntryPoint = text.parse().map_err(Problem::of_file)?;
        judged(entry.command.as_bytes())
            .map_err(|problem| Problem::at_path(entry.command.as_bytes(), problem))?;
        if entry.command.chars().any(char::is_control) {
            let text = "is a command with control characters";
            return Err(Problem::at_path(entry.command.as_bytes(), text));
        }
        entry_points.push(entry);
    }
    Ok(Link {
        is_noarch_python: noarch.kind.as_deref() == Some("python"),
        entry_points,
    })
}

fn last_of_each(mut listed: Vec<Listed>) -> Vec<Listed> {
    let mut seen: HashSet<&OsStr> = HashSet::with_capacity(listed.len());
    let mut first: Vec<bool> = listed
        .iter()
        .rev()
        .map(|entry| seen.insert(entry.path.as_os_str()))
        .collect();
    listed.retain(|_| first.pop().unwrap_or(true));
    listed
}
