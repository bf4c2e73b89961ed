//! Responsible for `share/`: the receipt that `info` and `update` read, and the two files that
//! Tykky's users read.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bind::HostView;
use crate::error::{Error, Result};
use crate::mode::InstallationMode;
use crate::update_state::{AliasedFile, UpdateState};

/// Format number of the receipts that are written here. Raise it when an older condense would
/// misread a receipt.
const FORMAT: u64 = 1;

/// File name of the receipt in `share/`.
pub const RECEIPT_NAME: &str = "receipt.json";

/// Receipt of a generation: its parts and the options of its build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Version of the condense that built the generation.
    pub tool_version: String,
    /// Time of the build in seconds since 1970.
    pub created: u64,
    /// Kind of the installation, in Tykky's words.
    pub mode: InstallationMode,
    /// Command line of the build, without credentials.
    pub arguments: Vec<String>,
    /// Files that the user gave to the build. Copies of them are in `share/`.
    pub inputs: Vec<FileRecord>,
    /// Lock file in `share/`, if there is one.
    pub lock: Option<FileRecord>,
    /// Record of the base.
    pub base: BaseRecord,
    /// Record of the image. An installation that only wraps a container has none.
    pub image: Option<ImageRecord>,
    /// Mount point of the image in the container.
    #[serde(serialize_with = "as_text")]
    pub mount_point: PathBuf,
    /// Absolute path of the environment below the mount point.
    #[serde(serialize_with = "as_text")]
    pub env_prefix: PathBuf,
    /// Name of the environment; `env1` for Tykky's users.
    pub env_name: String,
    /// Interpreter of a virtual environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<InterpreterRecord>,
    /// Host view: which system directories the programs see.
    pub host_view: HostView,
    /// Settings that the next update starts from.
    #[serde(default, rename = "remembered")]
    pub update_state: UpdateState,
    /// Number of this generation; set when the generation is staged.
    #[serde(default)]
    pub generation: u32,
}

/// Record of a file in `share/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Path of the file below `share/`.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// SHA-256 digest of the file in hexadecimal.
    pub sha256: String,
    /// Purpose of an input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<FileRole>,
}

/// Purpose of a file that the user gave to a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileRole {
    /// The environment file, such as `environment.yml`.
    Environment,
    /// A requirements file of pip.
    Requirements,
    /// A script that runs before the environment is installed.
    PreInstall,
    /// A script that runs after the environment is installed.
    PostInstall,
    /// Text for common.sh, given with `--environ`.
    Environ,
}

impl fmt::Display for FileRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "environment",
            Self::Requirements => "requirements",
            Self::PreInstall => "pre-install",
            Self::PostInstall => "post-install",
            Self::Environ => "environ",
        })
    }
}

/// Record of the interpreter that an environment was built on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterpreterRecord {
    /// Path of the interpreter in the container. An interpreter of the host has the same path
    /// there.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// Version of the interpreter, such as `3.11.7`.
    pub version: String,
    /// Place to which the interpreter belongs.
    #[serde(rename = "of")]
    pub origin: InterpreterOrigin,
}

/// Place to which an interpreter belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterpreterOrigin {
    /// The host, which must have the interpreter at every start.
    Host,
    /// The base, in which a Python is installed.
    Base,
    /// The image, in which the build has installed a Python.
    Image,
}

/// Record of the base: its origin and its placement in the installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseRecord {
    /// Name of the base as the user gave it.
    pub reference: String,
    /// Path of the file that was found: absolute, links resolved.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// SHA-256 digest of the .sif file in hexadecimal, if it is known.
    pub sha256: Option<String>,
    /// Placement of `container.sif`; set when the generation is staged.
    #[serde(default)]
    pub placement: Placement,
    /// Packages of the distribution that builds have added to the base, as `NAME=VERSION`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub os_packages: Vec<String>,
}

/// Way in which the base was placed as `container.sif`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// A file of its own that shares its blocks with the base.
    Reflink,
    /// A hard link to the base.
    HardLink,
    /// A symbolic link to the base, which must stay where it is.
    Symlink,
    /// A copy of the base.
    #[default]
    Copy,
}

/// Record of the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Size of the image in bytes.
    pub size_bytes: u64,
    /// SHA-256 digest of the image in hexadecimal.
    pub sha256: String,
    /// Codec and level of the image, for example `zstd:3`.
    pub compression: String,
    /// Number of files and directories in the image.
    pub entries: u64,
}

/// JSON form of a receipt. The format number is its first field and is read first.
#[derive(Serialize)]
struct Versioned<'a> {
    format: u64,
    #[serde(flatten)]
    receipt: &'a Receipt,
}

/// Serializes a path as text. Serde refuses paths that are not UTF-8, and a receipt must never fail
/// a build.
fn as_text<S: serde::Serializer>(
    path: &Path,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
}

impl Receipt {
    /// Returns the receipt as JSON.
    ///
    /// # Panics
    /// Never: every field has a JSON form.
    pub fn render(&self) -> String {
        let versioned = Versioned {
            format: FORMAT,
            receipt: self,
        };
        let mut text = serde_json::to_string_pretty(&versioned).expect("a receipt has a JSON form");
        text.push('\n');
        text
    }

    /// Parses a receipt; `path` is used only in error messages.
    ///
    /// # Errors
    /// Returns [`Error::ReceiptTooNew`] if the format number is higher than this condense knows,
    /// and [`Error::Receipt`] if the receipt is damaged.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let damaged = |source| Error::Receipt {
            path: path.to_owned(),
            source,
        };
        let FormatOnly { format } = serde_json::from_str(text).map_err(damaged)?;
        if format > FORMAT {
            return Err(Error::ReceiptTooNew {
                path: path.to_owned(),
                found: format,
                known: FORMAT,
            });
        }
        serde_json::from_str(text).map_err(damaged)
    }

    /// Reads the receipt of a generation or of an installation's directory.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the receipt does not exist or cannot be read, and any error of
    /// [`Receipt::parse`].
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("share").join(RECEIPT_NAME);
        let text = condense_input::read_to_string(&path, condense_input::RECORD_MOST)
            .map_err(Error::Io)?;
        Self::parse(&text, &path)
    }

    /// Returns the text of `share/conf.yaml` with Tykky's keys, for tools that read this file.
    ///
    /// # Panics
    /// Never: a mapping of strings has a YAML form.
    pub fn render_conf(&self, dir: &Path) -> String {
        let yes_or_no = |value: bool| if value { "yes" } else { "no" };
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut conf = serde_yaml::Mapping::new();
        for (key, value) in [
            ("container_image", self.name_of(AliasedFile::Base)),
            ("container_src", self.base.reference.clone()),
            ("env_name", self.env_name.clone()),
            ("installation_path", text(&self.mount_point)),
            ("installation_prefix", text(dir)),
            (
                "isolate",
                yes_or_no(self.host_view == HostView::Base).to_owned(),
            ),
            ("mode", self.mode.to_string()),
            (
                "share_container",
                yes_or_no(self.base.placement == Placement::Symlink).to_owned(),
            ),
        ] {
            conf.insert(key.into(), value.into());
        }
        if self.image.is_some() {
            conf.insert("sqfs_image".into(), self.name_of(AliasedFile::Image).into());
        }
        serde_yaml::to_string(&conf).expect("a mapping of strings has a YAML form")
    }

    /// Returns the site's own name of a file of the installation, or else the usual name.
    fn name_of(&self, file: AliasedFile) -> String {
        let mut aliases = self.update_state.file_aliases.iter();
        let alias = aliases.find(|alias| alias.file == file);
        alias
            .map_or(file.as_str(), |alias| alias.name.as_str())
            .to_owned()
    }

    /// Returns the text of `share/VERSION.yml`: the version of condense and the time of the build.
    pub fn render_version(&self) -> String {
        let mut text = String::new();
        // The keys are Tykky's. A release has no commit, so the version stands for both.
        let _ = writeln!(text, "tag: v{}", self.tool_version);
        let _ = writeln!(text, "commit: condense-{}", self.tool_version);
        let _ = writeln!(text, "build-time: {}", render_time(self.created));
        text
    }
}

/// Formats seconds since 1970 as `2026-11-21T10:20:30Z`.
pub fn render_time(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // This is Howard Hinnant's days-to-civil algorithm, for dates from 1970 on.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub(crate) fn example() -> Receipt {
        Receipt {
            tool_version: "0.1.0".to_owned(),
            created: 1_795_256_430,
            mode: InstallationMode::Conda,
            arguments: vec!["conda-containerize".to_owned(), "new".to_owned()],
            inputs: vec![FileRecord {
                path: "inputs/env.yml".into(),
                sha256: "aa".to_owned(),
                role: None,
            }],
            lock: None,
            base: BaseRecord {
                reference: "base.sif".to_owned(),
                path: "/data/base.sif".into(),
                sha256: None,
                placement: Placement::Reflink,
                os_packages: Vec::new(),
            },
            image: Some(ImageRecord {
                size_bytes: 4096,
                sha256: "bb".to_owned(),
                compression: "zstd:3".to_owned(),
                entries: 7,
            }),
            mount_point: "/LOCAL_TYKKY_ab12cd3".into(),
            env_prefix: "/LOCAL_TYKKY_ab12cd3/miniforge/envs/env1".into(),
            env_name: "env1".to_owned(),
            interpreter: None,
            host_view: HostView::Host,
            update_state: UpdateState::default(),
            generation: 3,
        }
    }

    #[test]
    fn a_receipt_is_read_back_as_it_was_written() {
        let text = example().render();
        assert!(text.starts_with("{\n  \"format\": 1,"), "{text}");
        assert_eq!(Receipt::parse(&text, Path::new("r")).unwrap(), example());
    }

    #[test]
    fn a_newer_receipt_is_refused_with_its_number() {
        let error = Receipt::parse(
            r#"{"format": 7, "whatever": {}}"#,
            Path::new("/d/receipt.json"),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the receipt `/d/receipt.json` has format 7, this condense reads up to 1"
        );
    }

    /// Receipt with every field, in the form that every version has written.
    const COMPLETE: &str = r#"{
        "format": 1, "tool_version": "0.1.0", "created": 7, "mode": "venv", "arguments": ["a"],
        "inputs": [
            {"path": "a", "sha256": "1", "role": "environment"},
            {"path": "b", "sha256": "2", "role": "requirements"},
            {"path": "c", "sha256": "3", "role": "pre-install"},
            {"path": "d", "sha256": "4", "role": "post-install"},
            {"path": "e", "sha256": "5", "role": "environ"},
            {"path": "f", "sha256": "6"}
        ],
        "lock": {"path": "condense.lock", "sha256": "7"},
        "base": {"reference": "b.sif", "path": "/b.sif", "sha256": "8", "placement": "hard-link"},
        "image": {"size_bytes": 9, "sha256": "10", "compression": "zstd:3", "entries": 11},
        "mount_point": "/M", "env_prefix": "/M/env1", "env_name": "env1",
        "interpreter": {"path": "/usr/bin/python3", "version": "3.11.7", "of": "host"},
        "host_view": "base",
        "remembered": {
            "launch": {
                "mount_point": "/M", "has_image": true, "inside": "/M/env1",
                "env_prefix": "/M/env1", "runtime": "/usr/bin/apptainer", "host_view": "base",
                "binds": [
                    {"source": "/a", "destination": "/b", "what": "path", "read_only": true},
                    {"source": "/i", "destination": "/m", "what": "image", "read_only": true}
                ],
                "flags": ["--rocm"],
                "variables": [{"name": "X", "value": "1", "path": null}],
                "base_environment": {"LANG": "C"},
                "interpreter": ["/usr/bin/python3", "3.11.7"],
                "activation": [], "launcher": null, "extra_text": "a\n", "by_hand": "b\n",
                "shell": "bash"
            },
            "wrapper-paths": ["p"], "uv": true, "no-cache": true, "build-env": ["TOKEN"],
            "keep-editable": true,
            "other-names": [["my.sif", "container.sif"], ["my.sqfs", "img.sqfs"]],
            "compression": "zstd:3", "pip-packages": [["six", "1.16"]],
            "replaced-by-pip": ["numpy"]
        },
        "generation": 2
    }"#;

    #[test]
    fn receipts_keep_their_json_form() {
        let receipt = Receipt::parse(COMPLETE, Path::new("r")).unwrap();
        let written: serde_json::Value = serde_json::from_str(&receipt.render()).unwrap();
        let expected: serde_json::Value = serde_json::from_str(COMPLETE).unwrap();
        assert_eq!(written, expected);
        let launch = receipt.update_state.launch.unwrap();
        assert_eq!(launch.hand_written.as_deref(), Some("b\n"));
        assert_eq!(launch.container_marker, Path::new("/M/env1"));
    }

    #[test]
    fn tykkys_files() {
        assert_eq!(
            example().render_conf(Path::new("/appl/my env")),
            "container_image: container.sif\ncontainer_src: base.sif\nenv_name: env1\n\
             installation_path: /LOCAL_TYKKY_ab12cd3\ninstallation_prefix: /appl/my env\nisolate: no\n\
             mode: conda\nshare_container: no\nsqfs_image: img.sqfs\n"
        );
        assert_eq!(
            example().render_version(),
            "tag: v0.1.0\ncommit: condense-0.1.0\nbuild-time: 2026-11-21T10:20:30Z\n"
        );
    }

    #[test]
    fn times_of_leap_years_and_centuries() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(render_time(seconds), expected);
        }
    }
}
