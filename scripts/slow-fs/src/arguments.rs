//! Responsible for parsing the command line.

use std::{ffi::OsString, path::PathBuf, str::FromStr, time::Duration};

use lexopt::prelude::*;

use crate::queue::Limits;

/// Text that `--help` prints.
pub(crate) const USAGE: &str = "\
usage: slow-fs [OPTION]... DIR MOUNTPOINT...
       slow-fs [OPTION]... DIR --run COMMAND [ARGUMENT]...

Serves DIR, read-only, at each MOUNTPOINT as one node would see it, until SIGTERM or SIGINT. All
requests go through one queue. The counts of requests are printed as one line of JSON at the end and
at SIGUSR1. The first line says that everything is mounted.

With --run, DIR is mounted at a temporary place while COMMAND runs; {} in its words stands for this
place. The counts follow on standard output, the output of COMMAND goes to standard error, and the
exit status is that of COMMAND.

  --latency MS      time that each request waits (default 0)
  --at-once N       requests in work at the same time, of all nodes together (default 16)
  --bandwidth MB    megabytes per second of all nodes together (default: no limit)
  --readahead KIB   readahead of a node (default 1024 as root, else 128, which is the most)
  --owner-only      only the user that starts it may use the mounts; else every user may, for which
                    an ordinary user needs `user_allow_other` in /etc/fuse.conf";

/// Place at which the directory is served.
#[derive(Debug)]
pub(crate) enum Target {
    /// Mount points, one for each node.
    MountPoints(Vec<PathBuf>),
    /// A command that runs while the directory is mounted at a temporary place.
    Command(Vec<OsString>),
}

/// Options and arguments of the command line.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// Directory that is served.
    pub(crate) directory: PathBuf,
    /// Place at which it is served.
    pub(crate) target: Target,
    /// Limits of the queue.
    pub(crate) limits: Limits,
    /// Readahead of each node in bytes.
    pub(crate) readahead: u32,
    /// Whether other users are kept out.
    pub(crate) is_for_owner_only: bool,
}

fn number<T: FromStr + PartialOrd + Default>(
    name: &str,
    parser: &mut lexopt::Parser,
) -> Result<T, lexopt::Error> {
    let text = parser.value()?;
    text.to_str()
        .and_then(|text| text.parse().ok())
        .filter(|number| *number >= T::default())
        .ok_or_else(|| format!("{name}: `{}` is not a number from 0", text.display()).into())
}

/// Parses the words after the program's name; `None` asks for help.
pub(crate) fn parse(
    words: impl IntoIterator<Item = OsString>,
) -> Result<Option<Arguments>, lexopt::Error> {
    let mut limits = Limits {
        latency: Duration::ZERO,
        at_once: 16,
        bandwidth: None,
    };
    let mut readahead = if nix::unistd::geteuid().is_root() {
        1024_u32
    } else {
        128
    };
    let mut is_for_owner_only = false;
    let (mut places, mut command) = (Vec::<PathBuf>::new(), None);
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("latency") => {
                let ms: f64 = number("--latency", &mut parser)?;
                limits.latency = Duration::try_from_secs_f64(ms / 1e3)
                    .map_err(|error| format!("--latency: {error}"))?;
            }
            Long("at-once") => limits.at_once = number("--at-once", &mut parser)?,
            Long("bandwidth") => {
                let bandwidth: u64 = number("--bandwidth", &mut parser)?;
                limits.bandwidth = Some(bandwidth.saturating_mul(1_000_000));
            }
            Long("readahead") => readahead = number("--readahead", &mut parser)?,
            Long("owner-only") => is_for_owner_only = true,
            Long("run") => command = Some(parser.raw_args()?.collect::<Vec<_>>()),
            Value(place) => places.push(place.into()),
            other => return Err(other.unexpected()),
        }
    }
    if limits.at_once == 0 || limits.bandwidth == Some(0) {
        return Err("--at-once and --bandwidth must not be 0".into());
    }
    let mut places = places.into_iter();
    let directory = places.next().ok_or("DIR is missing")?;
    let points: Vec<PathBuf> = places.collect();
    let target = match command {
        Some(words) if points.is_empty() && !words.is_empty() => Target::Command(words),
        Some(_) => return Err("--run takes a DIR before it and a COMMAND behind it".into()),
        None if points.is_empty() => return Err("MOUNTPOINT is missing".into()),
        None => Target::MountPoints(points),
    };
    Ok(Some(Arguments {
        directory,
        target,
        limits,
        readahead: readahead.saturating_mul(1024),
        is_for_owner_only,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parsed(words: &[&str]) -> Result<Option<Arguments>, lexopt::Error> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn limits_and_mount_points_are_read() {
        let words = "--latency 0.5 --at-once=4 --bandwidth 100 --readahead 64 d n1 n2";
        let words: Vec<&str> = words.split(' ').collect();
        let arguments = parsed(&words).unwrap().unwrap();
        assert_eq!(arguments.limits.latency, Duration::from_micros(500));
        assert_eq!(arguments.limits.at_once, 4);
        assert_eq!(arguments.limits.bandwidth, Some(100_000_000));
        assert_eq!(arguments.readahead, 64 << 10);
        assert!(matches!(arguments.target, Target::MountPoints(points) if points.len() == 2));
    }

    #[test]
    fn words_behind_run_are_the_commands_own() {
        let arguments = parsed(&["d", "--run", "ls", "--latency", "{}"])
            .unwrap()
            .unwrap();
        assert_eq!(arguments.limits.latency, Duration::ZERO);
        assert!(matches!(arguments.target, Target::Command(words) if words.len() == 3));
    }

    #[test]
    fn senseless_lines_are_refused() {
        for words in [
            &[][..],
            &["d"],
            &["d", "n", "--run", "ls"],
            &["d", "--run"],
            &["--latency", "-1", "d", "n"],
            &["--latency", "inf", "d", "n"],
            &["--at-once", "0", "d", "n"],
            &["--bandwidth", "0", "d", "n"],
            &["--bandwidth", "x", "d", "n"],
            &["--other", "d", "n"],
        ] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
        assert!(parsed(&["--help"]).unwrap().is_none());
    }
}
