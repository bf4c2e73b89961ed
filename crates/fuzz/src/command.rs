//! Responsible for the command line, for a process of its own for each target, and for what stays of one that died.

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
/// Says to a process that it is the one that reads, and where it writes what it reads.
const CHILD: &str = "--child";
/// Lines of a child's answer that tell what went wrong: number, tab, words.
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

/// The whole of an example: reads the words behind the program's name, and gives one line for each target.
///
/// # Errors
/// [`Error::Found`] for files that a reader did not stand, which are kept in the temporary directory; [`Error::Usage`].
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

/// Where a file is kept for whoever looks at it.
fn kept(target: &Target, seed: u64, number: u64) -> PathBuf {
    std::env::temp_dir().join(format!("fuzz-{}-{seed}-{number}", target.name))
}

/// For the process above.
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

/// What the threads of a dead process were reading.
fn last_numbers(dir: &Path) -> Result<Vec<u64>, Error> {
    let mut numbers = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let bytes = fs_err::read(entry?.path())?;
        numbers.extend(bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)));
    }
    Ok(numbers)
}
