//! Responsible for the settings by which programs start with the host's MPI in place of the
//! image's. The image's part is known when it is built; the host's is found where a program starts.

use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bind::check_destination;
use crate::error::{Error, Result};
use crate::quote::quote;

/// Shell code that finds the host's MPI.
const BODY: &str = include_str!("host_mpi.sh");

/// Shell code that starts the runtime by itself, for an image without wrappers.
const COMMAND: &str = include_str!("host_mpi_command.sh");

/// MPI with which programs start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MpiSource {
    /// The newest fitting MPI of the host on which a program starts.
    Host,
    /// The MPI of the image.
    Image,
}

/// Settings of the host's MPI for the programs of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMpi {
    /// Whether programs start with the host's MPI if CONDENSE_MPI does not say otherwise.
    pub is_default: bool,
    /// Names of the MPI libraries that programs of the image need, such as `libmpi.so.12`.
    pub needed: Vec<String>,
    /// Highest versions that the libraries of C, C++ and Fortran in the image define, such as
    /// `GLIBC_2.36`.
    pub versions: Vec<String>,
    /// Number in the name of the image's own library, such as `12.2.2`.
    pub number: Option<String>,
    /// Reason why no library of the host can take the place of the image's.
    pub refusal: Option<String>,
    /// Whether the image brings an MPI that knows the host's network, and so keeps it.
    pub has_own_network: bool,
    /// Patterns of the host's libraries; the newest match is used.
    pub libraries: Vec<String>,
    /// Patterns of directories in which the host's dynamic linker searches as well; the newest
    /// match of each is used.
    pub search: Vec<String>,
    /// Sockets and devices that the host's MPI needs.
    pub binds: Vec<PathBuf>,
}

impl HostMpi {
    /// Returns shell code that defines `host_mpi`, and its settings.
    ///
    /// # Errors
    /// Returns [`Error::Value`] for a pattern with characters that a shell would evaluate, and
    /// [`Error::CannotBind`] for a path that cannot be bound.
    pub fn render(&self) -> Result<String> {
        let word = |text: &str| quote(text).to_string_lossy().into_owned();
        let refusal = self.refusal.as_deref().unwrap_or("");
        let mut text = format!(
            "mpi_from={} mpi_left={} mpi_refused={}\n",
            if self.is_default { "host" } else { "image" },
            if self.has_own_network { "yes" } else { "''" },
            word(refusal),
        );
        text.push_str(&format!(
            "mpi_needs={} mpi_number={}\nmpi_versions={}\n",
            word(&self.needed.join(" ")),
            word(self.number.as_deref().unwrap_or("")),
            word(&self.versions.join(" ")),
        ));
        let mut settings = String::from("mpi_libraries() {\n  :\n");
        for pattern in &self.libraries {
            let pattern = checked(pattern)?;
            settings.push_str(&format!(
                "  mpi_patterns=\"$mpi_patterns {pattern}\"\n  for mpi_each in {pattern}; do [ ! -f \"$mpi_each\" ] || mpi_found=$mpi_found${{mpi_found:+$nl}}$mpi_each; done\n"
            ));
        }
        settings.push_str("}\nmpi_search() {\n  :\n");
        for pattern in &self.search {
            settings.push_str(&format!("  mpi_newest {}\n", checked(pattern)?));
        }
        settings.push_str("}\nmpi_sockets() {\n  :\n");
        for path in &self.binds {
            check_destination(path)?;
            let path = quote(path).to_string_lossy().into_owned();
            settings.push_str(&format!("  show {path} {path}\n"));
        }
        settings.push_str("}\n");
        text.push_str(&settings);
        // Links are made for one image and one set of rules.
        let digest = hex::encode(Sha256::digest(&text));
        text.push_str(&format!("mpi_id={}\n", &digest[..16]));
        text.push_str(BODY);
        Ok(text)
    }
}

impl HostMpi {
    /// Returns the command that starts the same container with the host's MPI in front. `command`
    /// must be one of the runtime, with the words `-s exec` in front of all others.
    ///
    /// # Errors
    /// Returns an error for a pattern or a path that cannot be written into the command.
    pub fn command(&self, command: &Command) -> Result<Command> {
        let script = format!("{}{COMMAND}", self.render()?);
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &script, "sh"]);
        shell.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        Ok(shell)
    }
}

/// Returns a pattern that a shell expands as a pattern and not as anything else.
fn checked(pattern: &str) -> Result<&str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+*?[]".contains(c);
    if pattern.starts_with('/') && pattern.chars().all(is_plain) {
        return Ok(pattern);
    }
    Err(Error::Value {
        value: pattern.to_owned(),
        expected: "an absolute path with letters, digits, `/._-+` and the patterns `*?[]`",
    })
}
