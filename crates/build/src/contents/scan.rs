//! Responsible for one walk through an image: its files with their sizes, its environments, and the
//! texts that describe packages.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use condense_image::{Reader, reader::Node};
use serde::Deserialize;

use super::Space;

/// Maximum size of a text that is read, in bytes.
const TEXT_LEN_MAX: u64 = 64 << 20;
/// Directory of Debian's own Python packages, which are no packages of an environment.
const OF_DEBIAN: &str = "usr/lib/python3/dist-packages";

/// Result of the walk.
#[derive(Default)]
pub(super) struct Scan {
    /// Regular files and links, in the order of the walk.
    pub(super) files: Vec<(PathBuf, Space)>,
    /// Paths of environments: the parents of `conda-meta` and of `pyvenv.cfg`.
    pub(super) environments: BTreeSet<PathBuf>,
    /// conda's records, each with its path.
    pub(super) records: Vec<(PathBuf, Record)>,
    /// Metadata of Python distributions, by the path of their directory.
    pub(super) distributions: BTreeMap<PathBuf, Distribution>,
    /// Versions of Python in `pyvenv.cfg`, by environment.
    pub(super) venvs: BTreeMap<PathBuf, String>,
    /// Environment variables of `conda-meta/state` files.
    pub(super) variables: Vec<(String, String)>,
    /// Content that several files have and that is stored once.
    pub(super) shared: Space,
}

/// conda's record of an installed package, as far as it is used.
#[derive(Deserialize)]
pub(super) struct Record {
    pub(super) name: String,
    #[serde(default)]
    pub(super) version: String,
    #[serde(default)]
    pub(super) build: String,
    #[serde(default)]
    pub(super) channel: Option<String>,
    #[serde(default)]
    pub(super) subdir: Option<String>,
    #[serde(default)]
    pub(super) depends: Vec<String>,
    #[serde(default)]
    pub(super) files: Vec<String>,
    #[serde(default)]
    pub(super) requested_spec: Option<String>,
    #[serde(default)]
    pub(super) requested_specs: Vec<String>,
}

/// Metadata of an installed Python distribution.
#[derive(Debug, Default)]
pub(super) struct Distribution {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) requires_dist: Vec<String>,
    /// Files of `RECORD`, relative to the parent of the directory.
    pub(super) files: Vec<PathBuf>,
    /// Whether the user asked for the distribution.
    pub(super) is_requested: bool,
    pub(super) direct_url: Option<String>,
}

impl Scan {
    /// Walks through the image.
    ///
    /// # Errors
    /// Returns an error if the image is damaged.
    pub(super) fn of(reader: &Reader) -> anyhow::Result<Self> {
        let mut scan = Self::default();
        let mut texts = Vec::new();
        let mut seen = Seen::default();
        for entry in reader.walk()? {
            let (path, node) = entry?;
            if node.is_directory() {
                continue;
            }
            let space = scan.space(reader, &node, &mut seen)?;
            if node.is_file()
                && node.size <= TEXT_LEN_MAX
                && let Some(text) = Text::of(&path)
            {
                texts.push((text, path.clone(), node));
            }
            scan.files.push((path, space));
        }
        for (text, path, node) in texts {
            scan.read(text, &path, &reader.read(&node, TEXT_LEN_MAX)?);
        }
        Ok(scan)
    }

    /// Returns the space of a file. Names after the first one of a hard link take none, and content
    /// that is stored already takes none in the image.
    fn space(&mut self, reader: &Reader, node: &Node, seen: &mut Seen) -> anyhow::Result<Space> {
        let mut space = Space {
            files: 1,
            ..Space::default()
        };
        if !node.is_file() || (node.nlink > 1 && !seen.linked.insert(node.inode)) {
            return Ok(space);
        }
        let stored = reader.stored(node)?;
        space.bytes = node.size;
        space.stored = stored.bytes;
        if let Some(place) = stored.place
            && !seen.places.insert((place, node.size))
        {
            self.shared.add(space);
            space.stored = 0;
        }
        Ok(space)
    }

    fn read(&mut self, text: Text, path: &Path, bytes: &[u8]) {
        let parent = path.parent().unwrap_or(Path::new(""));
        let environment = parent.parent().unwrap_or(Path::new(""));
        let lines = || String::from_utf8_lossy(bytes).into_owned();
        match text {
            Text::Record => {
                if let Ok(record) = serde_json::from_slice::<Record>(bytes) {
                    self.environments.insert(environment.to_owned());
                    self.records.push((path.to_owned(), record));
                }
            }
            Text::State => {
                let state: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
                let variables = state.as_ref().and_then(|state| state.get("env_vars"));
                for (name, value) in variables
                    .and_then(|found| found.as_object())
                    .into_iter()
                    .flatten()
                {
                    let value = value.as_str().unwrap_or_default();
                    self.variables.push((name.clone(), value.to_owned()));
                }
            }
            Text::Venv => {
                self.environments.insert(parent.to_owned());
                let text = lines();
                let version = text.lines().find_map(|line| {
                    let (key, value) = line.split_once('=')?;
                    let is_version = ["version", "version_info"].contains(&key.trim());
                    is_version.then(|| value.trim().to_owned())
                });
                self.venvs
                    .extend(version.map(|version| (parent.to_owned(), version)));
            }
            Text::Metadata => {
                let distribution = self.distributions.entry(parent.to_owned()).or_default();
                distribution.read_metadata(&lines());
            }
            Text::RecordOfWheel => {
                let distribution = self.distributions.entry(parent.to_owned()).or_default();
                distribution.files = lines().lines().filter_map(recorded).collect();
            }
            Text::Requested => {
                let distribution = self.distributions.entry(parent.to_owned()).or_default();
                distribution.is_requested = true;
            }
            Text::DirectUrl => {
                let distribution = self.distributions.entry(parent.to_owned()).or_default();
                distribution.direct_url = direct_url(bytes);
            }
        }
    }

    /// Returns the environment to which a path belongs: the innermost one around it.
    pub(super) fn environment_of(&self, path: &Path) -> Option<PathBuf> {
        let mut around = path.ancestors().skip(1);
        around
            .find(|dir| self.environments.contains(*dir))
            .map(Path::to_owned)
    }
}

/// Position of content in an image.
type Place = (u64, Option<(u32, u32)>);

/// Contents that the walk has seen.
#[derive(Default)]
struct Seen {
    linked: HashSet<u32>,
    places: HashSet<(Place, u64)>,
}

/// Texts that describe packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    /// conda's record of a package.
    Record,
    /// conda's file of environment variables.
    State,
    /// `pyvenv.cfg` of a virtual environment.
    Venv,
    /// `METADATA` of a distribution.
    Metadata,
    /// `RECORD` of a distribution.
    RecordOfWheel,
    /// `REQUESTED`, which marks a distribution that the user asked for.
    Requested,
    /// `direct_url.json` of a distribution that is from no index.
    DirectUrl,
}

impl Text {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        if name == "pyvenv.cfg" {
            return Some(Self::Venv);
        }
        let parent = path.parent()?.file_name()?.to_str()?;
        if parent == "conda-meta" {
            return match name.strip_suffix(".json") {
                Some(_) => Some(Self::Record),
                None => (name == "state").then_some(Self::State),
            };
        }
        if !parent.ends_with(".dist-info") || path.starts_with(OF_DEBIAN) {
            return None;
        }
        match name {
            "METADATA" => Some(Self::Metadata),
            "RECORD" => Some(Self::RecordOfWheel),
            "REQUESTED" => Some(Self::Requested),
            "direct_url.json" => Some(Self::DirectUrl),
            _ => None,
        }
    }
}

impl Distribution {
    /// Reads the header fields of `METADATA`, which end at the first empty line.
    fn read_metadata(&mut self, text: &str) {
        for line in text.lines().take_while(|line| !line.trim().is_empty()) {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match key {
                "Name" => value.clone_into(&mut self.name),
                "Version" => value.clone_into(&mut self.version),
                "Requires-Dist" => self.requires_dist.push(value.to_owned()),
                _ => {}
            }
        }
    }
}

/// Returns the path in a line of `RECORD`: `PATH,DIGEST,SIZE`, with a path that has a comma in
/// quotes.
fn recorded(line: &str) -> Option<PathBuf> {
    let path = match line.strip_prefix('"') {
        Some(rest) => rest.split_once('"')?.0,
        None => line.split(',').next()?,
    };
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// Returns the requirement URL of `direct_url.json`, as pip takes it after `NAME @`.
fn direct_url(bytes: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let url = value.get("url")?.as_str()?;
    let vcs = value.get("vcs_info").and_then(|vcs| {
        let word = |key: &str| vcs.get(key).and_then(|word| word.as_str());
        Some((word("vcs")?, word("commit_id")?))
    });
    let mut text = match vcs {
        Some((vcs, commit)) => format!("{vcs}+{url}@{commit}"),
        None => url.to_owned(),
    };
    if let Some(dir) = value.get("subdirectory").and_then(|dir| dir.as_str()) {
        text.push_str(&format!("#subdirectory={dir}"));
    }
    Some(condense_prefix::without_secrets(&text).into_owned())
}
