//! Responsible for the verb `condense tree`, which shows packages below the packages that need
//! them.

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode};

use clap::Args;
use condense_build::contents::Contents;
use serde_json::{Value, json};

use super::{Context, subject, why::label};

/// Maximum number of levels of a drawing. No environment has deeper dependencies.
const LEVELS_MOST: usize = 100;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Installation: a name in TYKKY_PATH or a directory, with `@N` for generation N; a .sif, an
    /// image or a lock file
    #[arg(value_name = "NAME|DIR|SIF|LOCK")]
    subject: PathBuf,
    /// Package from which the tree starts [default: all packages that the user asked for]
    #[arg(value_name = "PACKAGE")]
    package: Option<String>,
    /// Number of levels that are shown below the first
    #[arg(long, value_name = "LEVELS")]
    depth: Option<usize>,
    /// Show below each package those that need it
    #[arg(long, requires = "package")]
    invert: bool,
    /// Print the result as JSON: all packages once, with the names of their dependencies
    #[arg(long)]
    json: bool,
}

/// Drawing of a tree.
struct Drawing<'a> {
    contents: &'a Contents,
    depth: usize,
    invert: bool,
    lines: Vec<String>,
    /// Packages whose dependencies are drawn already.
    drawn: BTreeSet<usize>,
    has_repeats: bool,
}

/// Prints the tree as a drawing or as JSON.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let (subject, contents) = subject::load(&arguments.subject, context)?;
    let roots = match &arguments.package {
        Some(name) => vec![subject::package(name, &subject, &contents)?],
        None => contents.roots(),
    };
    if arguments.json {
        let value = json!({
            "subject": subject::as_json(&subject),
            "inverted": arguments.invert,
            "roots": roots.iter().map(|index| &contents.packages[*index].name).collect::<Vec<_>>(),
            "packages": nodes(&contents, &roots, arguments),
        });
        context.console.json("tree", value);
        return Ok(ExitCode::SUCCESS);
    }
    let mut drawing = Drawing {
        contents: &contents,
        depth: arguments.depth.unwrap_or(LEVELS_MOST).min(LEVELS_MOST),
        invert: arguments.invert,
        lines: Vec::new(),
        drawn: BTreeSet::new(),
        has_repeats: false,
    };
    for root in roots {
        drawing.lines.push(label(&contents.packages[root]));
        drawing.draw_below(root, "", 0);
    }
    if drawing.has_repeats {
        drawing
            .lines
            .push("(*) the packages below it are shown above".to_owned());
    }
    if drawing.lines.is_empty() {
        context
            .report
            .info(format!("{} has no packages", subject::title(&subject)));
    } else {
        context.console.data(&drawing.lines.join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the packages next to a package in the tree: the index, if the environment has the
/// package, and the words to show.
fn next(contents: &Contents, index: usize, invert: bool) -> Vec<(Option<usize>, String)> {
    if invert {
        let dependents = contents.dependents(index).into_iter();
        return dependents
            .map(|(other, needed)| {
                let other_label = label(&contents.packages[other]);
                let versions = with_versions(&needed.versions);
                (Some(other), format!("{other_label}{versions}"))
            })
            .collect();
    }
    let depends = contents.packages[index].depends.iter();
    depends
        .map(|needed| {
            let versions = with_versions(&needed.versions);
            match needed.package {
                Some(found) => {
                    let found_label = label(&contents.packages[found]);
                    (Some(found), format!("{found_label}{versions}"))
                }
                None => (None, format!("{}{versions} (missing)", needed.name)),
            }
        })
        .collect()
}

fn with_versions(versions: &str) -> String {
    if versions.is_empty() {
        String::new()
    } else {
        format!(" [{versions}]")
    }
}

impl Drawing<'_> {
    fn draw_below(&mut self, index: usize, indent: &str, level: usize) {
        if level >= self.depth {
            return;
        }
        self.drawn.insert(index);
        let next = next(self.contents, index, self.invert);
        let count = next.len();
        for (number, (found, text)) in next.into_iter().enumerate() {
            let is_last = number + 1 == count;
            let (branch, below) = if is_last {
                ("└── ", "    ")
            } else {
                ("├── ", "│   ")
            };
            let is_drawn = found.is_some_and(|found| self.drawn.contains(&found));
            let is_repeat = is_drawn
                && level + 1 < self.depth
                && found
                    .is_some_and(|found| !self::next(self.contents, found, self.invert).is_empty());
            self.has_repeats |= is_repeat;
            let mark = if is_repeat { " (*)" } else { "" };
            self.lines.push(format!("{indent}{branch}{text}{mark}"));
            if let Some(found) = found.filter(|_| !is_drawn) {
                self.draw_below(found, &format!("{indent}{below}"), level + 1);
            }
        }
    }
}

/// Returns the JSON objects of the packages that the roots lead to, each once.
fn nodes(contents: &Contents, roots: &[usize], arguments: &Arguments) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let mut ahead: Vec<(usize, usize)> = roots.iter().map(|root| (*root, 0)).collect();
    let mut found = Vec::new();
    let mut number = 0;
    while let Some((index, level)) = ahead.get(number).copied() {
        number += 1;
        if !seen.insert(index) {
            continue;
        }
        let package = &contents.packages[index];
        let next = next(contents, index, arguments.invert);
        let names: Vec<&str> = next
            .iter()
            .filter_map(|(found, _)| found.map(|found| contents.packages[found].name.as_str()))
            .collect();
        found.push(json!({
            "name": package.name,
            "version": package.version,
            "kind": package.kind.as_str(),
            "requested": package.is_requested(),
            "next": names,
        }));
        if arguments.depth.is_none_or(|depth| level < depth) {
            let further = next.iter().filter_map(|(found, _)| *found);
            ahead.extend(further.map(|further| (further, level + 1)));
        }
    }
    found
}
