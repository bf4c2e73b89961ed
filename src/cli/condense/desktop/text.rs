//! Responsible for the text that says how to connect with a desktop from another machine.

use std::{net::Ipv4Addr, path::Path};

use condense_catalogue::Site;
use condense_desktop::{Desktop, Record};
use condense_env_vars::{self as env_vars, EnvVars};
use serde_json::{Value, json};

/// Word for the login host of a site that is not known.
const UNKNOWN_LOGIN: &str = "LOGIN-NODE";

/// Way from the user's own machine to the desktop.
pub(super) struct Connection {
    user: String,
    /// Name of this machine.
    host: String,
    /// Host by which users enter the site, if this machine is not entered directly.
    login: Option<String>,
    listen: Ipv4Addr,
    is_in_job: bool,
    display: u32,
    vnc_port: u16,
    web_port: Option<u16>,
}

impl Connection {
    /// Returns the way to a desktop from outside of this machine.
    pub(super) fn new(record: &Record, site: &Site, env_vars: &EnvVars) -> Self {
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy().into_owned();
        let is_in_job = [env_vars::SLURM_JOB_ID, env_vars::PBS_JOBID]
            .iter()
            .any(|name| env_vars.get(name).is_some());
        let of_site = site.login_host.clone().filter(|login| *login != host);
        Self {
            user: env_vars.get(env_vars::USER).unwrap_or("USER").to_owned(),
            host,
            login: of_site.or_else(|| is_in_job.then(|| UNKNOWN_LOGIN.to_owned())),
            listen: record.address,
            is_in_job,
            display: record.display,
            vnc_port: record.vnc_port,
            web_port: record.web_port,
        }
    }

    /// Returns the command that brings a port to the user's own machine.
    pub(super) fn ssh(&self, port: u16) -> String {
        let (user, host) = (&self.user, &self.host);
        match &self.login {
            Some(login) if self.listen.is_loopback() => {
                // The name localhost may lead to another user's server on the same port of ::1.
                let listen = self.listen;
                format!("ssh -N -J {user}@{login} -L {port}:{listen}:{port} {user}@{host}")
            }
            None if self.listen.is_loopback() => {
                let listen = self.listen;
                format!("ssh -N -L {port}:{listen}:{port} {user}@{host}")
            }
            login => {
                let entry = login.as_ref().unwrap_or(host);
                let target = if self.listen.is_unspecified() {
                    host.clone()
                } else {
                    self.listen.to_string()
                };
                format!("ssh -N -L {port}:{target}:{port} {user}@{entry}")
            }
        }
    }

    /// Returns the address for a browser. It has no password, which a browser would keep.
    #[allow(clippy::unused_self, reason = "the address is that of the connection")]
    pub(super) fn url(&self, port: u16) -> String {
        format!("http://localhost:{port}/vnc.html")
    }

    /// Returns the blocks for a browser and for a VNC client.
    pub(super) fn blocks(&self) -> String {
        let mut text = String::new();
        if let Some(port) = self.web_port {
            text.push_str(&format!(
                "CONNECT WITH BROWSER\n  {}\n  {}\n\n",
                self.ssh(port),
                self.url(port)
            ));
        }
        let port = self.vnc_port;
        text.push_str(&format!(
            "CONNECT WITH VNC CLIENT\n  {}\n  localhost:{port}\n",
            self.ssh(port)
        ));
        text
    }

    /// Returns the fields of the JSON about the desktop.
    pub(super) fn as_json(&self, record: &Record) -> Value {
        json!({
            "subject": record.subject,
            "process": record.process,
            "display": format!(":{}", record.display),
            "xauthority": record.dir.join("Xauthority"),
            "address": record.address.to_string(),
            "vncPort": record.vnc_port,
            "webPort": record.web_port,
            "vncSsh": self.ssh(record.vnc_port),
            "webSsh": record.web_port.map(|port| self.ssh(port)),
            "url": record.web_port.map(|port| self.url(port)),
        })
    }

    /// Returns the whole text. `password` is the file that has the password, if it was not shown.
    pub(super) fn text(&self, title: &str, desktop: &Desktop, password: Option<&Path>) -> String {
        let display = self.display;
        let manager = match &desktop.facts().manager {
            Some(manager) => format!(" with {manager}"),
            None => String::new(),
        };
        let mut text = format!(
            "desktop :{display} of {title} runs{manager}\n\n{}",
            self.blocks()
        );
        if let Some(file) = password {
            text.push_str(&format!("\npassword: cat {}\n", file.display()));
        }
        if self.is_in_job && self.listen.is_loopback() {
            text.push_str(
                "\nif the site lets nobody in to its nodes by ssh: start it with --listen 0.0.0.0\n",
            );
        }
        text.push_str(&format!(
            "\nfor other programs: export DISPLAY=:{display} XAUTHORITY={}\n\
             the end: Ctrl-C, or from another shell: condense desktop --stop=:{display}",
            desktop.session().xauthority().display()
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(login: Option<&str>, listen: [u8; 4]) -> Connection {
        Connection {
            user: "ada".to_owned(),
            host: "nid001".to_owned(),
            login: login.map(str::to_owned),
            listen: listen.into(),
            is_in_job: false,
            display: 1,
            vnc_port: 5901,
            web_port: None,
        }
    }

    #[test]
    fn ssh_goes_through_the_login_host_to_the_node() {
        for (login, listen, expected) in [
            (None, [127, 0, 0, 1], "ssh -N -L 7:127.0.0.1:7 ada@nid001"),
            (
                Some("x.org"),
                [127, 0, 0, 1],
                "ssh -N -J ada@x.org -L 7:127.0.0.1:7 ada@nid001",
            ),
            (
                Some("x.org"),
                [0, 0, 0, 0],
                "ssh -N -L 7:nid001:7 ada@x.org",
            ),
            (
                Some("x.org"),
                [10, 0, 0, 9],
                "ssh -N -L 7:10.0.0.9:7 ada@x.org",
            ),
            (None, [0, 0, 0, 0], "ssh -N -L 7:nid001:7 ada@nid001"),
        ] {
            assert_eq!(connection(login, listen).ssh(7), expected);
        }
    }

    #[test]
    fn a_browser_s_block_is_there_if_novnc_is() {
        let mut connection = connection(None, [127, 0, 0, 1]);
        assert!(!connection.blocks().contains("BROWSER"));
        connection.web_port = Some(6080);
        let text = connection.blocks();
        assert!(
            text.contains("CONNECT WITH BROWSER\n  ssh -N -L 6080:127.0.0.1:6080 ada@nid001\n")
        );
        assert!(text.contains("  http://localhost:6080/vnc.html\n"));
    }
}
