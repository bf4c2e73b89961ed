//! Counts comments that a stranger does not understand at first reading. The counts may only fall:
//! docs/contributing/writing.md has the rules.

use super::{files, read, root};

/// Words that a comment must not begin with, since they make the reader look for the subject.
const OPENERS: [&str; 8] = ["What", "Where", "Whose", "Whom", "Of", "As", "How", "Why"];
/// Columns of a line.
const COLUMNS: usize = 100;
/// Words of a comment that says too little.
const FEW_WORDS: usize = 3;

/// Most comments with such an opener, in the whole tree.
const OPENERS_MOST: usize = 0;
/// Most comments of few words.
const SHORT_MOST: usize = 2;
/// Most lines of a file.
const LINES_MOST: usize = 600;
/// Most files that are longer.
const LONG_FILES_MOST: usize = 0;
/// Most comment lines that are wider.
const WIDE_MOST: usize = 0;

/// A block of documentation comments.
struct Comment {
    place: String,
    text: String,
}

fn sources() -> Vec<std::path::PathBuf> {
    ["src", "crates", "scripts", "tests"]
        .into_iter()
        .flat_map(|dir| files(dir, "rs"))
        .collect()
}

/// Returns the documentation comments of all sources.
fn comments() -> Vec<Comment> {
    let mut found = Vec::new();
    for path in sources() {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let mut open: Option<(&str, Comment)> = None;
        for (number, line) in read(&path).lines().enumerate() {
            let line = line.trim_start();
            let marker = ["///", "//!"]
                .into_iter()
                .find(|marker| line.starts_with(marker) && !line.starts_with("////"));
            if open.as_ref().map(|(kind, _)| *kind) != marker {
                found.extend(open.take().map(|(_, comment)| comment));
            }
            let Some(marker) = marker else { continue };
            let text = line[3..].trim();
            if let Some((_, comment)) = &mut open {
                comment.text.push(' ');
                comment.text.push_str(text);
            } else {
                let place = format!("{name}:{}", number + 1);
                let text = text.to_owned();
                open = Some((marker, Comment { place, text }));
            }
        }
        found.extend(open.map(|(_, comment)| comment));
    }
    found
}

fn assert_at_most(most: usize, what: &str, found: &[String]) {
    assert!(
        found.len() <= most,
        "{} {what}, {most} are allowed:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn comments_begin_with_a_noun_or_a_verb() {
    let comments = comments();
    assert!(comments.len() > 5_000, "only {} comments", comments.len());
    let found: Vec<String> = comments
        .iter()
        .filter(|comment| {
            let first = comment.text.split_whitespace().next().unwrap_or_default();
            OPENERS.contains(&first)
        })
        .map(|comment| format!("{}: {}", comment.place, comment.text))
        .collect();
    assert_at_most(OPENERS_MOST, "comments begin with a pronoun", &found);
}

#[test]
fn comments_have_more_than_three_words() {
    let found: Vec<String> = comments()
        .iter()
        .filter(|comment| {
            let is_code = comment.text.starts_with(['`', '#', '[']);
            !is_code && comment.text.split_whitespace().count() <= FEW_WORDS
        })
        .map(|comment| format!("{}: {}", comment.place, comment.text))
        .collect();
    assert_at_most(SHORT_MOST, "comments have three words or fewer", &found);
}

#[test]
fn comments_fit_into_100_columns() {
    let mut found = Vec::new();
    for path in sources() {
        for (number, line) in read(&path).lines().enumerate() {
            if line.trim_start().starts_with("//") && line.chars().count() > COLUMNS {
                found.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert_at_most(WIDE_MOST, "comment lines are too wide", &found);
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let mut found = Vec::new();
    for path in sources() {
        let lines = read(&path).lines().count();
        if lines > LINES_MOST {
            found.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert_at_most(LONG_FILES_MOST, "files are too long", &found);
}
