//! Responsible for the errors of this crate.

use std::{
    io,
    path::{Path, PathBuf},
};

use condense_diagnostics::Hint;

/// A program that a desktop needs and that an image may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The X server that speaks VNC.
    Server,
    /// The pages of noVNC.
    WebClient,
    /// The program that connects noVNC with the server.
    WebProxy,
}

impl Part {
    /// Returns the part that the script in the container calls by this name.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Server, Self::WebClient, Self::WebProxy]
            .into_iter()
            .find(|part| part.word() == word)
    }

    /// Returns the name of the part.
    pub fn word(self) -> &'static str {
        match self {
            Self::Server => "Xvnc",
            Self::WebClient => "noVNC",
            Self::WebProxy => "websockify",
        }
    }

    /// Returns the packages that bring the part to a Linux distribution. `system` has the words of
    /// `ID` and `ID_LIKE` in its os-release; unknown ones get the names of several distributions.
    pub fn packages(self, system: &str) -> &'static str {
        let is = |names: &[&str]| system.split_whitespace().any(|word| names.contains(&word));
        let family = if is(&["debian", "ubuntu"]) {
            0
        } else if is(&["fedora", "rhel", "centos", "rocky", "almalinux"]) {
            1
        } else if is(&[
            "suse",
            "sles",
            "opensuse",
            "opensuse-leap",
            "opensuse-tumbleweed",
        ]) {
            2
        } else if is(&["alpine"]) {
            3
        } else {
            4
        };
        let names = match self {
            Self::Server => [
                "tigervnc-standalone-server",
                "tigervnc-server-minimal",
                "xorg-x11-Xvnc",
                "tigervnc",
                "tigervnc-standalone-server (Debian), tigervnc-server-minimal (Fedora), xorg-x11-Xvnc (SUSE)",
            ],
            Self::WebClient => ["novnc"; 5],
            Self::WebProxy => [
                "websockify",
                "python3-websockify",
                "python3-websockify",
                "websockify",
                "websockify (Debian, PyPI), python3-websockify (Fedora, SUSE)",
            ],
        };
        names[family]
    }
}

/// An error that kept a desktop from being started or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// The attempted action, as a verb.
        action: &'static str,
        /// The file or directory on which the action failed.
        path: PathBuf,
        /// The error that the operating system returned.
        source: io::Error,
    },
    /// The directory of desktops can be changed by others.
    #[error("`{}` is not a directory of yours alone, so no password is written there", path.display())]
    NotPrivate {
        /// The directory that others can change.
        path: PathBuf,
    },
    /// The container has no VNC server.
    #[error("the container has no VNC server: no Xvnc on its PATH, and no TurboVNC in /opt")]
    NoServer {
        /// Words of `ID` and `ID_LIKE` in the container's os-release.
        system: String,
    },
    /// The VNC server has ended before it was ready.
    #[error("the VNC server ended: {cause}")]
    ServerFailed {
        /// Reason from the server's log.
        cause: String,
    },
    /// The container has ended before its VNC server was started.
    #[error("the container ended: {cause}")]
    ContainerFailed {
        /// Reason from the runtime's messages.
        cause: String,
    },
    /// The VNC server was not ready in time.
    #[error("the VNC server was not ready after {seconds} seconds: {cause}")]
    Slow {
        /// Time that was waited.
        seconds: u64,
        /// Last line of the logs.
        cause: String,
    },
    /// The port that the user has chosen is in use.
    #[error("port {port} of {address} is in use")]
    PortTaken {
        /// The port that the user has chosen.
        port: u16,
        /// The address at which the server would listen.
        address: String,
    },
    /// The process has been asked to stop.
    #[error("interrupted before the desktop was ready")]
    Cancelled,
    /// There is no desktop with this display.
    #[error("no desktop of yours runs on this machine as display {display}")]
    NotRunning {
        /// The display, with its colon.
        display: String,
    },
    /// A desktop does not end.
    #[error("the desktop {display} of process {process} has not ended after {seconds} seconds")]
    DoesNotEnd {
        /// The display, with its colon.
        display: String,
        /// The process that keeps the desktop.
        process: u32,
        /// Time that was waited.
        seconds: u64,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for a password: {cause}")]
    NoRandomness {
        /// Reason that the system gives.
        cause: String,
    },
}

impl Error {
    /// Turns an I/O error into one that says what was tried, and on which file.
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io {
            action,
            path: path.as_ref().to_path_buf(),
            source,
        }
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotPrivate { path } => {
                format!("remove `{}`, or have its owner remove it", path.display())
            }
            Self::NoServer { system } => format!(
                "take a base image with it: {}; for a browser also {} and {}",
                Part::Server.packages(system),
                Part::WebClient.packages(system),
                Part::WebProxy.packages(system)
            ),
            Self::PortTaken { .. } => {
                "choose another port, or leave the option out: a free one is taken then".to_owned()
            }
            Self::NotRunning { .. } => {
                "`condense desktop --list` shows those that run; each node has its own".to_owned()
            }
            Self::DoesNotEnd { process, .. } => format!("`kill -KILL {process}` ends it at once"),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_those_of_the_image_s_distribution() {
        for (system, server, proxy) in [
            ("debian", "tigervnc-standalone-server", "websockify"),
            ("ubuntu debian", "tigervnc-standalone-server", "websockify"),
            (
                "rocky rhel centos fedora",
                "tigervnc-server-minimal",
                "python3-websockify",
            ),
            ("sles suse", "xorg-x11-Xvnc", "python3-websockify"),
            ("alpine", "tigervnc", "websockify"),
        ] {
            assert_eq!(Part::Server.packages(system), server, "{system}");
            assert_eq!(Part::WebProxy.packages(system), proxy, "{system}");
        }
        assert!(Part::Server.packages("").contains("(Fedora)"));
        for part in [Part::Server, Part::WebClient, Part::WebProxy] {
            assert_eq!(Part::from_word(part.word()), Some(part));
        }
    }
}
