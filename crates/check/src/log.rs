//! Responsible for reading logs of jobs: the network, the ranks, their cores and GPUs that
//! libraries have named, and known messages of failures.
//!
//! A log is read once, line by line, and takes a few megabytes of memory whatever its size. Lines
//! may carry the labels that `srun --label` and Open MPI put in front of them.

mod facts;
mod known;
mod lines;
#[cfg(test)]
mod tests;

use std::{
    io::{BufRead, Read},
    path::Path,
};

pub use facts::JobFacts;

use crate::{Error, Finding};
use facts::Collected;
use known::Known;

/// Longest part of a line that is looked at, in bytes. Progress bars make longer lines.
const LINE_MOST: u64 = 64 << 10;

/// Result of reading the logs of one job.
#[derive(Debug)]
pub struct JobLog {
    /// Statements of libraries, Slurm and run scripts about the job.
    pub facts: JobFacts,
    /// Problems that the logs tell of.
    pub findings: Vec<Finding>,
}

/// Reads the logs of one job and judges them together.
///
/// # Errors
/// Returns an error if a log cannot be read.
pub fn check_logs<P: AsRef<Path>>(paths: &[P]) -> Result<JobLog, Error> {
    let mut reader = LogReader::new();
    for path in paths {
        let path = path.as_ref();
        let file = condense_input::open(path).map_err(Error::io("read", path))?;
        let file = std::io::BufReader::with_capacity(1 << 18, file);
        reader
            .read(file, &path.display().to_string())
            .map_err(Error::io("read", path))?;
    }
    Ok(reader.finish())
}

/// Reader of several logs of one job.
struct LogReader {
    collected: Collected,
    known: Known,
}

impl LogReader {
    fn new() -> Self {
        Self {
            collected: Collected::default(),
            known: Known::new(),
        }
    }

    /// Reads one log; `name` is the name that findings show.
    fn read(&mut self, mut log: impl BufRead, name: &str) -> std::io::Result<()> {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if log.by_ref().take(LINE_MOST).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.last() != Some(&b'\n') {
                skip_line(&mut log)?;
            }
            self.collected.lines += 1;
            let place = lines::Place { name, number };
            let text = String::from_utf8_lossy(&line);
            // A progress bar returns to the beginning of its line.
            for text in text.split('\r').map(str::trim_end) {
                self.collected.read(text, place);
                self.known.read(text, place);
            }
        }
        Ok(())
    }

    fn finish(self) -> JobLog {
        let mut findings = self.collected.judge();
        let found: Vec<&str> = findings.iter().map(|one| one.code.name).collect();
        let known = self.known.judge(&found);
        findings.extend(known);
        JobLog {
            facts: self.collected.facts(),
            findings,
        }
    }
}

/// Reads up to the end of the line.
fn skip_line(log: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = log.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |end| end + 1);
        log.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}
