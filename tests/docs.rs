//! Keeps the pages true: links lead somewhere, commands are those of the program, and the page of
//! environment variables is the one that the source gives.
//!
//! `CONDENSE_BLESS=1 cargo test --locked --workspace --test docs` writes the generated page.
#![allow(clippy::unwrap_used)]

#[path = "docs/commands.rs"]
mod commands;
#[path = "docs/markdown.rs"]
mod markdown;
#[path = "docs/variables.rs"]
mod variables;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use commands::{Program, builder_runs_dry, foreign_option, is_local};
use markdown::{Page, anchors};
use variables::{environment_page, parse};

/// Source of the page of environment variables.
const NAMES: &str = "crates/env-vars/src/names.rs";
const ENVIRONMENT_PAGE: &str = "docs/environment-variables.md";
/// Pages whose lines are as long as the program writes them.
const GENERATED: [&str; 2] = [ENVIRONMENT_PAGE, "docs/codes.md"];
/// Most lines of the README.
const README_LINES: usize = 120;
/// Most columns of a line of prose.
const COLUMNS: usize = 100;
/// Info strings of fenced blocks.
const BLOCKS: [&str; 6] = ["console", "console,site", "text", "yaml", "toml", "sh"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    fs_err::read_to_string(root().join(path)).unwrap()
}

/// Returns all files below a directory, relative to the root of the repository.
fn files(dir: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs_err::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Returns the README and the pages of the book.
fn pages() -> Vec<Page> {
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    [PathBuf::from("README.md")]
        .into_iter()
        .chain(files("docs").into_iter().filter(is_page))
        .map(|path| Page::read(&path.to_string_lossy(), &read(&path)))
        .collect()
}

/// Resolves a link of a page, without following links of the file system.
fn resolve(page: &str, target: &str) -> PathBuf {
    let mut resolved = Path::new(page).parent().unwrap().to_owned();
    for part in Path::new(target) {
        if part == ".." {
            assert!(
                resolved.pop(),
                "{page}: {target} leads out of the repository"
            );
        } else if part != "." {
            resolved.push(part);
        }
    }
    resolved
}

#[test]
fn the_page_of_environment_variables_is_generated() {
    let page = environment_page(&read(NAMES));
    let path = root().join(ENVIRONMENT_PAGE);
    if std::env::var_os("CONDENSE_BLESS").is_some() {
        fs_err::write(path, page).unwrap();
        return;
    }
    let committed = fs_err::read_to_string(path).unwrap_or_default();
    assert!(
        page == committed,
        "run `CONDENSE_BLESS=1 cargo test --locked --workspace --test docs`"
    );
}

#[test]
fn every_environment_variable_is_documented() {
    let source = read(NAMES);
    let constants = source
        .lines()
        .filter(|line| line.starts_with("pub") && line.contains(" const "))
        .count();
    let variables = parse(&source);
    assert_eq!(variables.len(), constants, "a constant was not understood");
    let page = read(ENVIRONMENT_PAGE);
    let mut own = 0;
    for variable in &variables {
        for name in &variable.names {
            assert!(
                page.contains(&format!("`{name}`")),
                "{name} is not in the page"
            );
            own += usize::from(name.starts_with("CONDENSE_"));
        }
        assert!(
            !variable.text.is_empty(),
            "{:?} has no text",
            variable.names
        );
    }
    assert!(own > 1, "no variables of condense were found in {NAMES}");
}

#[test]
fn variables_of_wrappers_are_read_by_wrappers() {
    let sources: String = files("crates/installation/src").iter().map(read).collect();
    for name in variables::WRAPPERS.iter().flat_map(|(names, _)| *names) {
        if name.starts_with("CW_") {
            assert!(sources.contains(name), "no wrapper reads {name}");
        }
    }
}

#[test]
fn links_and_anchors_lead_somewhere() {
    let mut seen = 0;
    for page in pages() {
        for link in &page.links {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (target, anchor) = match link.split_once('#') {
                Some((target, anchor)) => (target, Some(anchor)),
                None => (link.as_str(), None),
            };
            let path = if target.is_empty() {
                PathBuf::from(&page.path)
            } else {
                resolve(&page.path, target)
            };
            assert!(root().join(&path).is_file(), "{}: no {link}", page.path);
            if let Some(anchor) = anchor {
                let known = anchors(&read(&path));
                assert!(
                    known.contains(anchor),
                    "{}: no {link} in {known:?}",
                    page.path
                );
            }
            // The book has the pages only; what is elsewhere is named, not linked.
            assert!(
                page.path == "README.md" || path.starts_with("docs"),
                "{}: {link} is not in the book",
                page.path
            );
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} links were found");
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = Page::read("docs/SUMMARY.md", &read("docs/SUMMARY.md"));
    let listed: Vec<PathBuf> = summary
        .links
        .iter()
        .map(|link| resolve(&summary.path, link))
        .collect();
    let unique: BTreeSet<&PathBuf> = listed.iter().collect();
    assert_eq!(listed.len(), unique.len(), "a page is listed twice");
    for page in pages() {
        let path = PathBuf::from(&page.path);
        if page.path != "README.md" && page.path != summary.path {
            assert!(listed.contains(&path), "{} is not in SUMMARY.md", page.path);
        }
    }
}

#[test]
fn the_readme_is_short_and_lines_are_narrow() {
    let lines = read("README.md").lines().count();
    assert!(lines <= README_LINES, "README.md has {lines} lines");
    for page in pages() {
        if GENERATED.contains(&page.path.as_str()) {
            continue;
        }
        for (number, line) in &page.prose {
            let columns = line.chars().count();
            assert!(
                columns <= COLUMNS || line.starts_with('|'),
                "{}:{number} has {columns} columns",
                page.path
            );
        }
    }
}

#[test]
fn blocks_say_what_they_are() {
    for page in pages() {
        for block in &page.blocks {
            assert!(
                BLOCKS.contains(&block.info.as_str()),
                "{}:{}: a block is `{}`, expected one of {BLOCKS:?}",
                page.path,
                block.line,
                block.info
            );
            let has_commands = block.text.lines().any(|line| line.starts_with("$ "));
            assert_eq!(
                has_commands,
                block.info.starts_with("console"),
                "{}:{}: commands are in `console` blocks, and nothing else is",
                page.path,
                block.line
            );
        }
    }
}

/// Every command of the program that a page shows is one that the program understands. Commands
/// that build are also run with `--dry-run`, except in blocks that need a site.
#[test]
fn commands_of_the_pages_are_understood() {
    let program = Program::default();
    let mut understood = 0;
    let mut builds = Vec::new();
    for page in pages() {
        for block in page.blocks.iter().filter(|block| block.is_console()) {
            for line in block.commands() {
                for words in commands::of_line(&line) {
                    let place = format!("{}:{}: `{line}`", page.path, block.line);
                    let leaf = program.check(&words).unwrap_or_else(|problem| {
                        panic!("{place}: {problem}");
                    });
                    Program::parse(&words, &place);
                    if is_local(&leaf) {
                        Program::run_without_files(&words, &place);
                    }
                    understood += 1;
                    if !block.needs_site() && builder_runs_dry(&leaf) {
                        builds.push((words, place));
                    }
                }
            }
        }
    }
    assert!(understood > 60, "only {understood} commands were found");
    let dry = builds.len();
    assert!(dry > 15, "only {dry} builds were tried");
    // Without a network each build waits for its channels, so that all are tried at the same time.
    std::thread::scope(|threads| {
        for (words, place) in &builds {
            threads.spawn(move || Program::run_dry(words, place));
        }
    });
}

#[test]
fn configurations_of_the_pages_are_understood() {
    let mut seen = 0;
    for page in pages() {
        for block in page.blocks.iter().filter(|block| block.info == "toml") {
            let place = format!("{}:{}", page.path, block.line);
            Program::read_configuration(&block.text, &place);
            seen += 1;
        }
    }
    assert!(seen > 2, "only {seen} configurations were found");
}

/// Commands and options in running text and in tables are those of some command.
#[test]
fn commands_and_options_in_the_text_exist() {
    let program = Program::default();
    let all = program.all_options();
    for page in pages() {
        let path = page.path.as_str();
        if GENERATED.contains(&path) || path.starts_with("docs/conformance") {
            continue;
        }
        for (number, span) in &page.spans {
            let place = format!("{}:{number}: `{span}`", page.path);
            for words in commands::of_line(span) {
                if let Err(problem) = program.check(&words) {
                    panic!("{place}: {problem}");
                }
            }
            if span.starts_with("--") {
                let option = span.split([' ', '=', '[']).next().unwrap();
                assert!(
                    all.contains(option) || foreign_option(option),
                    "{place}: no command has this option"
                );
            }
        }
    }
}

#[test]
fn the_readme_shows_every_command() {
    let program = Program::default();
    let readme = read("README.md");
    let rows: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with('|'))
        .collect();
    for leaf in program.leaves() {
        let (name, parents) = leaf.split_last().unwrap();
        let found = rows.iter().any(|row| {
            let ends = row.contains(&format!(" {name}`")) || row.contains(&format!("`{name}`"));
            ends && parents.iter().all(|parent| row.contains(parent.as_str()))
        });
        assert!(found, "README.md has no row for `{}`", leaf.join(" "));
    }
    let shown = Page::read("README.md", &readme);
    let builds = shown.blocks.iter().any(|block| {
        let mut commands = block.commands().into_iter();
        commands.any(|line| line.contains("condense new "))
    });
    assert!(builds, "the README shows no build");
}

#[test]
fn files_that_the_pages_name_exist() {
    let known: BTreeSet<PathBuf> = ["src", "crates", "tests", "scripts", "docs", "fixtures"]
        .into_iter()
        .flat_map(files)
        .collect();
    for page in pages() {
        for (number, span) in &page.spans {
            let extension = Path::new(span).extension().and_then(OsStr::to_str);
            let is_source = match extension {
                Some("rs") => true,
                Some("py") => span.contains('/'),
                _ => span.starts_with("scripts/") && !span.contains(' '),
            };
            if is_source {
                let found = known.iter().any(|path| path.ends_with(span.as_str()));
                assert!(found, "{}:{number}: there is no {span}", page.path);
            }
        }
    }
}
