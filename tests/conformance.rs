//! Checks the lists of statements in `docs/conformance`: users of Tykky, of cotainr and of LUMI's
//! modules rely on these statements, and each of them names the tests that show it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Column of a statement that no test shows, before the reason.
const NOT_SHOWN: &str = "not shown: ";

/// Directories with the tests whose names have the numbers of cotainr's statements.
const NUMBERED_TESTS: &[&str] = &["src", "tests", "crates"];

/// A test, by its file and its function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    file: String,
    function: String,
}

/// Number of a statement. Those of modules have a letter in front.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number {
    letter: Option<char>,
    number: u32,
}

impl Number {
    fn parse(text: &str) -> Option<Self> {
        let letter = text.chars().next().filter(char::is_ascii_uppercase);
        let number = text.trim_start_matches(|c: char| Some(c) == letter);
        Some(Self {
            letter,
            number: number.parse().ok()?,
        })
    }
}

/// A row of a list.
#[derive(Debug)]
struct Statement {
    number: Number,
    tests: Vec<Test>,
    /// The last column of the row.
    shown_by: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Names of the files with statements.
const LISTS: [&str; 3] = ["tykky", "cotainr", "modules"];

/// Reads the statements of one list.
fn statements(list: &str) -> Vec<Statement> {
    let path = root().join(format!("docs/conformance/{list}.md"));
    let text = fs_err::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let statements = rows.filter_map(|row| {
        let columns: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, statement, shown_by] = columns[..] else {
            panic!("{list}: a row without three columns: {row}");
        };
        if number == "no." {
            return None;
        }
        assert!(!statement.is_empty(), "{list}: {row}");
        Some(Statement {
            number: Number::parse(number).unwrap_or_else(|| panic!("{list}: {row}")),
            tests: tests_in(shown_by),
            shown_by: shown_by.to_owned(),
        })
    });
    statements.collect()
}

/// Returns the tests that a text names in the form `` `FILE.rs::FUNCTION` ``.
fn tests_in(text: &str) -> Vec<Test> {
    let quoted = text.split('`').skip(1).step_by(2);
    let tests = quoted.filter_map(|word| {
        let (file, function) = word.split_once(".rs::")?;
        Some(Test {
            file: format!("{file}.rs"),
            function: function.to_owned(),
        })
    });
    tests.collect()
}

/// Returns the functions with the attribute `#[test]` in a source file.
fn functions_of(source: &str) -> BTreeSet<String> {
    let mut functions = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line == "#[test]" {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ").filter(|_| is_test) {
            functions.insert(rest.split('(').next().unwrap().to_owned());
            is_test = false;
        }
    }
    functions
}

/// Returns the `.rs` files below a directory.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Returns the numbers in the name of a test: `b18_to_b20_and_b92_…` has 18, 19, 20 and 92.
fn numbers_in(function: &str) -> BTreeSet<u32> {
    let mut numbers = BTreeSet::new();
    let mut from = None;
    for word in function.split('_') {
        let number = word
            .strip_prefix('b')
            .and_then(|digits| digits.parse().ok());
        match (number, word) {
            (Some(number), _) => {
                numbers.extend(from.take().unwrap_or(number)..=number);
            }
            (None, "to") => from = numbers.last().copied(),
            (None, "and") => {}
            (None, _) => break,
        }
    }
    numbers
}

#[test]
fn every_number_occurs_once_and_in_order() {
    for list in ["tykky", "cotainr"] {
        let found: Vec<u32> = statements(list)
            .iter()
            .map(|row| row.number.number)
            .collect();
        let expected: Vec<u32> = (1..).take(found.len()).collect();
        assert!(found.len() > 100, "{list} has {} statements", found.len());
        assert_eq!(found, expected, "{list}");
    }
}

#[test]
fn every_number_of_a_letter_occurs_once_and_in_order() {
    let mut last: BTreeMap<char, u32> = BTreeMap::new();
    for Statement { number, .. } in statements("modules") {
        let letter = number.letter.expect("a letter");
        let before = last.insert(letter, number.number).unwrap_or(0);
        assert!(before < number.number, "{number:?} follows {before}");
    }
    for letter in ['B', 'E', 'M'] {
        assert!(last.contains_key(&letter), "no statement {letter}");
    }
}

#[test]
fn every_statement_has_a_test_or_a_reason() {
    for list in LISTS {
        for Statement {
            number,
            tests,
            shown_by,
        } in statements(list)
        {
            let reason = shown_by.strip_prefix(NOT_SHOWN);
            assert!(
                reason.map_or(!tests.is_empty(), |reason| reason.len() > 10),
                "{list}, statement {number:?}: neither a test nor a reason: {shown_by}"
            );
        }
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let mut functions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut missing = Vec::new();
    for list in LISTS {
        for Statement { number, tests, .. } in statements(list) {
            for test in tests {
                let of_file = functions.entry(test.file.clone()).or_insert_with(|| {
                    let source = std::fs::read_to_string(root().join(&test.file));
                    functions_of(&source.unwrap_or_default())
                });
                if !of_file.contains(&test.function) {
                    missing.push(format!("{list}, statement {number:?}: {test:?}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn tests_with_numbers_are_named_at_their_statements() {
    let statements: BTreeMap<u32, Statement> = statements("cotainr")
        .into_iter()
        .map(|row| (row.number.number, row))
        .collect();
    let mut count = 0;
    for path in NUMBERED_TESTS
        .iter()
        .flat_map(|dir| sources(&root().join(dir)))
    {
        let file = path.strip_prefix(root()).unwrap().display().to_string();
        for function in functions_of(&fs_err::read_to_string(&path).unwrap()) {
            for number in numbers_in(&function) {
                let test = Test {
                    file: file.clone(),
                    function: function.clone(),
                };
                let row = &statements[&number];
                // A statement about a procedure that condense does not have stays without a test.
                let is_named = row.tests.contains(&test) || row.shown_by.starts_with(NOT_SHOWN);
                assert!(
                    is_named,
                    "cotainr, statement {number} does not name {test:?}"
                );
                count += 1;
            }
        }
    }
    assert!(count > 50, "only {count} numbers in names of tests");
}

#[test]
fn numbers_of_names_are_read() {
    let numbers = |function| numbers_in(function).into_iter().collect::<Vec<_>>();
    assert_eq!(numbers("b18_to_b20_and_b92_the_question"), [18, 19, 20, 92]);
    assert_eq!(numbers("b87_and_b103_the_same_image"), [87, 103]);
    assert_eq!(numbers("a_base_that_has_a_conda"), [0; 0]);
}

/// Statements about jobs and definition files have a letter and a number. Each occurs once, and has
/// tests that exist or a reason.
#[test]
fn statements_with_letters_have_tests_or_reasons() {
    check_letters("jobs", &['R', 'J', 'S'], 20);
    check_letters("definitions", &['D'], 16);
}

fn check_letters(list: &str, letters: &[char], least: usize) {
    let path = root().join(format!("docs/conformance/{list}.md"));
    let text = fs_err::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut seen = BTreeSet::new();
    for row in rows {
        let columns: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, statement, shown_by] = columns[..] else {
            panic!("a row without three columns: {row}");
        };
        assert!(seen.insert(number), "{number} occurs twice");
        assert!(number.starts_with(letters), "{row}");
        assert!(!statement.is_empty(), "{row}");
        let tests = tests_in(shown_by);
        let is_reasoned = shown_by
            .strip_prefix(NOT_SHOWN)
            .is_some_and(|it| it.len() > 10);
        assert!(is_reasoned || !tests.is_empty(), "{row}");
        for test in tests {
            let source = fs_err::read_to_string(root().join(&test.file)).unwrap();
            let functions = functions_of(&source);
            assert!(functions.contains(&test.function), "{number}: {test:?}");
        }
    }
    assert!(seen.len() > least, "{} statements", seen.len());
}
