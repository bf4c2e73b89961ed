//! Responsible for the command line, for running each target in a process of its own, and for
//! finding the files that were being read when a process died.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use crate::{
    Error, Target,
    error::Finding,
    work::{Run, Seen, work},
};

const USAGE: &str = "usage: fuzz [--target NAME] [--seconds N] [--count N] [--seed N] [--memory MIB] [--number N] [--replay FILE]";
/// The option that marks a child process. Its value is the directory to which the child writes the
/// numbers of the files that it reads.
const CHILD: &str = "--child";
/// The beginning of each line in a child's answer that reports a problem: file number, tab,
/// description.
const WRONG: &str = "wrong\t";

struct Options {
    target: Option<String>,
    run: Run,
    replay: Option<PathBuf>,
    number: Option<u64>,
    child: Option<PathBuf>,
}

impl Options {
    fn parse(words: impl Iterator<Item = String>) -> Result<Self, Error> {
        let mut options = Self {
            target: None,
            run: Run {
                seed: 1,
                seconds: 60,
                count: u64::MAX,
                memory_mib: 1024,
            },
            replay: None,
            number: None,
            child: None,
        };
        let mut words = words;
        while let Some(word) = words.next() {
            let usage = || Error::Usage(USAGE.to_owned());
            let value = words.next().ok_or_else(usage)?;
            let number = || value.parse::<u64>().map_err(|_| usage());
            match word.as_str() {
                "--target" => options.target = Some(value),
                "--seconds" => options.run.seconds = number()?,
                "--count" => options.run.count = number()?,
                "--seed" => options.run.seed = number()?,
                "--memory" => options.run.memory_mib = number()?,
                "--number" => options.number = Some(number()?),
                "--replay" => options.replay = Some(value.into()),
                CHILD => options.child = Some(value.into()),
                _ => return Err(usage()),
            }
        }
        Ok(options)
    }
}

/// Runs the whole program of an example. `words` are the arguments after the program's name.
/// Returns one line for each target.
///
/// # Errors
/// Returns [`Error::Found`] for files at which a reader panics, hangs or takes too much memory;
/// these files are kept in the temporary directory. Returns [`Error::Usage`] for wrong arguments.
pub fn main(
    targets: Vec<Target>,
    words: impl IntoIterator<Item = String>,
) -> Result<String, Error> {
    let words: Vec<String> = words.into_iter().collect();
    let options = Options::parse(words.iter().cloned())?;
    let names: Vec<&str> = targets.iter().map(|target| target.name).collect();
    let known = names.join(", ");
    let mut chosen: Vec<Target> = targets
        .into_iter()
        .filter(|target| {
            options
                .target
                .as_deref()
                .is_none_or(|name| name == target.name)
        })
        .collect();
    if chosen.is_empty() {
        return Err(Error::Usage(format!(
            "there is no such target, only {known}"
        )));
    }
    if let Some(file) = &options.replay {
        let bytes = fs_err::read(file)?;
        let told = chosen.iter().map(|target| read_once(target, &bytes));
        return Ok(told.collect::<Vec<_>>().join("\n"));
    }
    if let Some(number) = options.number {
        let seed = options.run.seed;
        let told = chosen.iter().map(|target| {
            let bytes = target.file(seed, number);
            let file = kept(target, seed, number);
            fs_err::write(&file, &bytes)?;
            Ok(format!("{} {}", read_once(target, &bytes), file.display()))
        });
        return Ok(told.collect::<Result<Vec<_>, Error>>()?.join("\n"));
    }
    if let Some(dir) = &options.child {
        let seen = work(chosen.remove(0), &options.run, dir)?;
        return Ok(render(&seen));
    }
    let mut findings = Vec::new();
    let mut lines = Vec::new();
    for target in &chosen {
        lines.push(in_a_process(target, &words, &options.run, &mut findings)?);
    }
    if findings.is_empty() {
        Ok(lines.join("\n"))
    } else {
        let told = lines.join("\n");
        Err(Error::Found { told, findings })
    }
}

fn read_once(target: &Target, bytes: &[u8]) -> String {
    let start = Instant::now();
    let answer = if (target.read)(bytes) {
        "refused"
    } else {
        "read"
    };
    let took = start.elapsed().as_millis();
    format!("{}: {answer} after {took} ms", target.name)
}

/// Returns the path under which a file is kept for later inspection.
fn kept(target: &Target, seed: u64, number: u64) -> PathBuf {
    std::env::temp_dir().join(format!("fuzz-{}-{seed}-{number}", target.name))
}

/// Renders the results of a child for its parent process to parse.
fn render(seen: &Seen) -> String {
    let mut text = format!(
        "{} files, {} refused, slowest {} ms (file {}), at most {} MiB",
        seen.files,
        seen.refused,
        seen.slowest.as_millis(),
        seen.slowest_number,
        seen.peak_mib
    );
    for (what, number) in &seen.wrong {
        let what = what.replace('\n', " ");
        let _ = write!(text, "\n{WRONG}{number}\t{what}");
    }
    text
}

fn in_a_process(
    target: &Target,
    words: &[String],
    run: &Run,
    findings: &mut Vec<Finding>,
) -> Result<String, Error> {
    let dir = std::env::temp_dir().join(format!("fuzz-{}-{}", target.name, std::process::id()));
    fs_err::create_dir_all(&dir)?;
    let output = Command::new(std::env::current_exe()?)
        .args(words)
        .args(["--target", target.name, CHILD])
        .arg(&dir)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut wrong: Vec<(u64, String)> = said
        .lines()
        .filter_map(|line| {
            let (number, what) = line.strip_prefix(WRONG)?.split_once('\t')?;
            Some((number.parse().ok()?, what.to_owned()))
        })
        .collect();
    if !output.status.success() {
        let numbers = last_numbers(&dir)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<&str> = said.lines().rev().take(3).collect();
        let what = format!("ended with {}: {}", output.status, said.join(" "));
        wrong.extend(numbers.into_iter().map(|number| (number, what.clone())));
    }
    for (number, what) in wrong {
        let file = kept(target, run.seed, number);
        fs_err::write(&file, target.file(run.seed, number))?;
        findings.push(Finding {
            target: target.name.to_owned(),
            what,
            seed: run.seed,
            number,
            file,
        });
    }
    fs_err::remove_dir_all(&dir)?;
    let first = said.lines().next().unwrap_or_default();
    Ok(format!("{}: {first}", target.name))
}

/// Returns the numbers of the files that the threads of a dead process were reading.
fn last_numbers(dir: &Path) -> Result<Vec<u64>, Error> {
    let mut numbers = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let bytes = fs_err::read(entry?.path())?;
        numbers.extend(bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)));
    }
    Ok(numbers)
}
