//! Responsible for the facts that the script in the container writes down while it starts.

use std::path::Path;

use crate::Part;

/// Facts about a running desktop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Number of the display.
    pub display: u32,
    /// Port at which the VNC server listens.
    pub vnc_port: u16,
    /// Port at which noVNC is served, if it is.
    pub web_port: Option<u16>,
    /// Name of the window manager, if the image has one.
    pub manager: Option<String>,
    /// Parts that the image lacks.
    pub lacks: Vec<Part>,
    /// Words of `ID` and `ID_LIKE` in the container's os-release.
    pub system: String,
    /// Whether everything was started.
    pub(crate) is_ready: bool,
    /// Whether noVNC could not be served at any port.
    pub(crate) has_web_failed: bool,
}

impl Facts {
    /// Reads the file of events, which may still grow.
    pub(crate) fn read(dir: &Path) -> Self {
        let text = fs_err::read_to_string(dir.join("events")).unwrap_or_default();
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let mut facts = Self::default();
        // A line without an end is still being written.
        for line in text
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
        {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "system" => rest.trim().clone_into(&mut facts.system),
                "lacks" => facts.lacks.extend(Part::from_word(rest)),
                "display" => {
                    let mut numbers = rest.split(' ');
                    facts.display = number(numbers.next()).unwrap_or_default();
                    facts.vnc_port = number(numbers.next()).unwrap_or_default();
                }
                "web" => facts.web_port = rest.parse().ok(),
                "web-failed" => (facts.web_port, facts.has_web_failed) = (None, true),
                "manager" => facts.manager = Some(rest.to_owned()),
                "ready" => facts.is_ready = true,
                _ => {}
            }
        }
        facts
    }
}

fn number<T: std::str::FromStr>(word: Option<&str>) -> Option<T> {
    word?.parse().ok()
}

/// Returns the reason for which a program has ended, from its messages: the fatal one of an X
/// server or of a runtime, else the last line.
pub(crate) fn cause(log: &str) -> Option<String> {
    let lines: Vec<&str> = log
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let after_heading = lines
        .iter()
        .position(|line| line.starts_with("Fatal server error"))
        .and_then(|heading| lines.get(heading + 1));
    let of_runtime = || lines.iter().find(|line| line.contains("FATAL:"));
    let line = after_heading.or_else(of_runtime).or(lines.last())?;
    let line = line.split("FATAL:").last().unwrap_or(line);
    // A runtime colours its messages.
    let line = line.trim_start_matches("\u{1b}[0m").trim();
    let line = line.strip_prefix("(EE)").unwrap_or(line).trim();
    Some(line.trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_whole_lines() {
        let text = "system debian \nlacks noVNC\nlacks websockify\ndisplay 3 5903\n\
                    manager fluxbox\nready\nweb 60";
        let facts = Facts::parse(text);
        assert_eq!((facts.display, facts.vnc_port), (3, 5903));
        assert_eq!(facts.lacks, [Part::WebClient, Part::WebProxy]);
        assert_eq!(facts.manager.as_deref(), Some("fluxbox"));
        assert_eq!((facts.system.as_str(), facts.is_ready), ("debian", true));
        assert_eq!(facts.web_port, None);
        let facts = Facts::parse("web 6080\nweb 6081\n");
        assert_eq!(facts.web_port, Some(6081));
        let facts = Facts::parse("web 6080\nweb-failed\n");
        assert!(facts.web_port.is_none() && facts.has_web_failed);
    }

    #[test]
    fn the_cause_is_the_fatal_line() {
        let server = "Xvnc TigerVNC 1.12.0\n(EE) \nFatal server error:\n(EE) vncExtInit: failed to \
                      bind socket: Address already in use (98)\n(EE) \n";
        let cause_of = |log| cause(log).unwrap_or_default();
        assert!(cause_of(server).starts_with("vncExtInit: failed to bind"));
        let runtime = "INFO: x\n\u{1b}[31mFATAL:  \u{1b}[0m no such image\nhelp\n";
        assert_eq!(cause_of("FATAL:   no such image\nhelp\n"), "no such image");
        assert!(cause_of(runtime).ends_with("no such image"));
        assert_eq!(cause_of("one\nsh: not found.\n\n"), "sh: not found");
        assert_eq!(cause(""), None);
    }
}
