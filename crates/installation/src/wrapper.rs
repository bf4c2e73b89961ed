//! Responsible for the text of the wrappers: the constant body, and common.sh with the settings of
//! one installation.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bind::{Bind, HostView, check_destination};
use crate::error::{Error, Result};
use crate::host_files;
use crate::quote::quote;
use crate::user_hooks;

mod activation;
mod host_mpi;
mod launcher;
mod site;

use condense_activation::ActivationStep;

pub use activation::conda_activation;
pub use host_mpi::{HostMpi, MpiSource};
pub use launcher::Launcher;
pub use site::{SiteVariable, device_of_flag, render_site_settings};

/// Text of every file in `bin/`. The wrapper runs the program that has the wrapper's own file name.
const BODY: &str = include_str!("launch.sh");

/// Names and texts of the files by which the tasks of a job step share one container on each node.
/// An installation has them in `share`, and a module beside its settings. They are read only in
/// jobs, or if the user asks.
pub const SHARED_CONTAINER: [(&str, &str); 2] = [
    (
        "shared-container.sh",
        include_str!("wrapper/shared_container.sh"),
    ),
    (
        "container-keeper",
        include_str!("wrapper/container_keeper.sh"),
    ),
];

/// Shell code for environments whose interpreter belongs to the host.
const HOST_PYTHON: &str = include_str!("wrapper/host_python.sh");

/// PATH in the container if the base sets none.
const DEFAULT_BASE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Settings of the wrappers of one installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// Mount point of the image in the container.
    pub mount_point: PathBuf,
    /// Whether there is an image. Without an image, an empty directory is mounted at the mount
    /// point.
    pub has_image: bool,
    /// Path that exists only in the container. Its existence tells a wrapper that it runs in the
    /// container.
    #[serde(rename = "inside")]
    pub container_marker: PathBuf,
    /// Absolute path of the environment below the mount point, for example
    /// `/LOCAL_TYKKY_ab12cd3/miniforge/envs/env1`.
    pub env_prefix: PathBuf,
    /// Path of the runtime that was found at build time. If it is missing at start, the wrapper
    /// takes apptainer or singularity from PATH.
    pub runtime: Option<PathBuf>,
    /// Host view: which system directories the programs see.
    pub host_view: HostView,
    /// Bind mounts of the site. Sources that do not exist at start are left out.
    pub binds: Vec<Bind>,
    /// Flags of the runtime. `--rocm` and `--nv` are passed only where the device exists when a
    /// program starts.
    pub flags: Vec<String>,
    /// Variables that the site sets for programs. Receipts of older builds have none.
    #[serde(default)]
    pub variables: Vec<SiteVariable>,
    /// Variables that the base's own start-up scripts set. These scripts replace the host's values,
    /// so the wrapper must pass such variables in another way.
    #[serde(rename = "base_environment")]
    pub base_env_vars: BTreeMap<String, String>,
    /// Interpreter of the host that the environment needs.
    pub interpreter: Option<HostInterpreter>,
    /// Steps that activating the environment consists of.
    pub activation: Vec<ActivationStep>,
    /// Path of a [`Launcher`] in the container, if activation needs a shell at every start.
    pub launcher: Option<PathBuf>,
    /// Text for common.sh from `--environ`, sourced at every start on the host.
    pub extra_text: Option<String>,
    /// Text that the user has added to common.sh by hand after `extra_text`, with the newline of
    /// its last line.
    #[serde(default, rename = "by_hand")]
    pub hand_written: Option<String>,
    /// Shell that runs the wrappers.
    pub shell: Shell,
    /// Whether programs do not see the user's own Python packages in `~/.local`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_user_site: bool,
    /// Settings of the host's MPI, if the image has programs that need an MPI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_mpi: Option<HostMpi>,
    /// Parts of the image that a start reads, each by its first MiB and its length in MiB.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hot_parts: Vec<(u64, u64)>,
}

/// Interpreter of the host that an environment needs. A receipt stores it as a pair of path and
/// version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(PathBuf, String)", into = "(PathBuf, String)")]
pub struct HostInterpreter {
    /// Path of the interpreter on the host and in the container.
    pub path: PathBuf,
    /// Version of the interpreter, such as `3.11.7`.
    pub version: String,
}

impl From<(PathBuf, String)> for HostInterpreter {
    fn from((path, version): (PathBuf, String)) -> Self {
        Self { path, version }
    }
}

impl From<HostInterpreter> for (PathBuf, String) {
    fn from(interpreter: HostInterpreter) -> Self {
        (interpreter.path, interpreter.version)
    }
}

/// Shell that runs the wrappers on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shell {
    /// The fastest shell that exists everywhere.
    #[default]
    Sh,
    /// The shell bash, for text of users in common.sh that only bash understands. It starts one
    /// millisecond slower.
    Bash,
}

/// Digests of the files of a generation in hexadecimal, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests<'a> {
    /// Digest of the image.
    pub image: Option<&'a str>,
    /// Digest of the base.
    pub base: Option<&'a str>,
}

impl Launch {
    /// Returns the text of every file in `bin/`.
    pub fn render_wrapper(&self) -> String {
        match self.shell {
            Shell::Sh => BODY.to_owned(),
            Shell::Bash => BODY.replacen("#!/bin/sh\n", "#!/bin/bash\n", 1),
        }
    }

    /// Returns the text of common.sh for one generation. The digests of the image and of the base
    /// are the names of their copies on nodes.
    ///
    /// # Errors
    /// Returns [`Error::CannotBind`] or [`Error::Value`] for a setting that cannot be written into
    /// common.sh.
    pub fn render_common(&self, generation: u32, digests: Digests<'_>) -> Result<Vec<u8>> {
        check_destination(&self.mount_point)?;
        check_destination(&self.env_prefix)?;
        check_destination(&self.container_marker)?;
        let mut text = Text::default();
        text.line("# Written by condense: what the wrappers in bin/ know about this installation. They read it at every start, on the");
        text.line(
            "# host, with the shell of their first line. Lines of your own may follow at the end; updates keep them.",
        );
        text.values(&[("generation", generation.to_string().as_ref())]);
        text.values(&[
            ("INSTALLATION_PATH", self.mount_point.as_ref()),
            (
                "SQFS_IMAGE",
                if self.has_image { "img.sqfs" } else { "" }.as_ref(),
            ),
            ("CONTAINER_IMAGE", "container.sif".as_ref()),
        ]);
        self.render_hot_parts(&mut text);
        text.values(&[
            ("image_digest", digests.image.unwrap_or_default().as_ref()),
            ("base_digest", digests.base.unwrap_or_default().as_ref()),
        ]);
        text.values(&[
            (
                "runtime",
                self.runtime.as_deref().unwrap_or("".as_ref()).as_ref(),
            ),
            ("flags", self.render_flags()?.as_ref()),
            (
                "launcher",
                self.launcher.as_deref().unwrap_or("".as_ref()).as_ref(),
            ),
        ]);
        let base_path = self
            .base_env_vars
            .get("PATH")
            .map_or(DEFAULT_BASE_PATH, String::as_str);
        text.values(&[
            ("view", self.host_view.word().as_ref()),
            ("base_path", base_path.as_ref()),
        ]);
        text.values(&[
            ("install_root", self.mount_point.as_ref()),
            ("env_root", self.env_prefix.as_ref()),
            ("inside", self.container_marker.as_ref()),
        ]);
        let is_isolated = ["no", "yes"][usize::from(self.host_view == HostView::Base)];
        text.values(&[("_CW_IS_ISOLATED", is_isolated.as_ref())]);
        text.line("export install_root env_root _CW_IS_ISOLATED OLD_PATH");
        let no_user_site = if self.no_user_site { "yes" } else { "" };
        text.values(&[
            ("no_user_site", no_user_site.as_ref()),
            ("host_files", host_files::words().as_ref()),
        ]);
        let variables = site::render_variables(&self.variables)?;
        for line in site::split_flags(&self.flags).1.iter().chain(&variables) {
            text.line(line);
        }
        // Hooks of users in the text below read this variable, as they do in Tykky's common.sh.
        text.line("if [ -e \"$inside\" ]; then export _CW_IN_CONTAINER=Yes; else unset _CW_IN_CONTAINER; fi");
        if let Some(interpreter) = &self.interpreter {
            text.values(&[
                ("interpreter", interpreter.path.as_ref()),
                ("interpreter_version", interpreter.version.as_ref()),
            ]);
            text.push(HOST_PYTHON);
        }
        let host_mpi = self.host_mpi.as_ref().map(HostMpi::render);
        text.push(host_mpi.transpose()?.unwrap_or_default());
        self.render_site_binds(&mut text)?;
        text.line("replay() {");
        text.line("  :");
        for line in activation::render(&self.activation, &self.base_env_vars)? {
            text.line(&format!("  {line}"));
        }
        text.line("}");
        // Hooks of Tykky's users read these variables.
        text.line("_C_DIR=$prefix _O_SOURCE=$me");
        let own = [&self.extra_text, &self.hand_written];
        let own: Vec<&str> = own.into_iter().flatten().map(String::as_str).collect();
        let is_asked_for = |name: &str| own.iter().any(|text| user_hooks::has_word(text, name));
        // DIR is set only if the user's text reads it, because users may have a variable of this
        // name for other purposes.
        if is_asked_for("DIR") {
            text.line("DIR=$prefix/bin");
        }
        if is_asked_for("SINGULARITYENV_PATH") {
            // The variable has a value in Tykky's common.sh, so hooks put text before or after this
            // value.
            let path = match self.host_view {
                HostView::Host => "$PATH",
                HostView::Base => "$base_path",
            };
            text.line(&format!(
                "SINGULARITYENV_PATH=${{SINGULARITYENV_PATH-{path}}}"
            ));
        }
        text.line(user_hooks::MARK);
        for own in own {
            text.line(own.trim_end_matches('\n'));
        }
        Ok(text.bytes)
    }

    /// Writes the parts of the image that are read ahead, if there are any.
    fn render_hot_parts(&self, text: &mut Text) {
        if !self.hot_parts.is_empty() {
            let parts = self.hot_parts.iter();
            let parts: Vec<String> = parts
                .map(|(first, length)| format!("{first} {length}"))
                .collect();
            text.values(&[("hot_parts", parts.join(" ").as_ref())]);
        }
    }

    fn render_flags(&self) -> Result<OsString> {
        let plain = |flag: &&String| {
            flag.starts_with('-')
                && flag
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-=_./:,".contains(c))
        };
        match self.flags.iter().find(|flag| !plain(flag)) {
            // The wrapper splits the flags at blanks.
            Some(flag) => Err(Error::Value {
                value: flag.clone(),
                expected: "a flag of the runtime without blanks",
            }),
            None => Ok(site::split_flags(&self.flags).0.join(" ").into()),
        }
    }

    fn render_site_binds(&self, text: &mut Text) -> Result<()> {
        text.line("site_binds() {");
        text.line("  :");
        let mut seen = BTreeSet::new();
        for bind in self
            .binds
            .iter()
            .filter(|bind| seen.insert(bind.destination()))
        {
            // The wrapper tests whether the source exists, so the source cannot be escaped.
            check_destination(bind.source())?;
            text.push("  show ");
            text.push(quote(bind.source()));
            text.push(" ");
            text.push(quote(bind.destination()));
            if !bind.options().is_empty() {
                text.push(" ");
                text.push(quote(bind.options()));
            }
            text.line("");
        }
        text.line("}");
        Ok(())
    }
}

/// Shell text that is being written.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
}

impl Text {
    fn push(&mut self, words: impl AsRef<OsStr>) {
        self.bytes.extend_from_slice(words.as_ref().as_bytes());
    }

    fn line(&mut self, line: &str) {
        self.push(line);
        self.bytes.push(b'\n');
    }

    /// Appends one line of assignments.
    fn values(&mut self, values: &[(&str, &OsStr)]) {
        let words: Vec<Vec<u8>> = values
            .iter()
            .map(|(name, value)| {
                let mut word = OsString::from(name);
                word.push("=");
                if !value.is_empty() {
                    word.push(quote(value));
                }
                word.into_vec()
            })
            .collect();
        self.bytes.extend_from_slice(&words.join(&b' '));
        self.bytes.push(b'\n');
    }
}

#[cfg(test)]
mod tests;
