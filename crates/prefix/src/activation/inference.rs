//! Responsible for finding the steps that do what a script did, in all worlds at once.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Part, Step,
    log::{Event, assignment},
    variables::{is_backup, is_name, is_the_shells, is_the_wrappers, may_be_backup},
    worlds::{Environment, MARKED, is_marked},
};

/// What one script did in one world.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) before: &'a Environment,
    pub(super) after: &'a Environment,
    pub(super) log: &'a [Event],
}

/// Combinations of separators that are tried for one value with several variables. Real lists have one or two variables
/// and need 16 or 256.
const MOST_COMBINATIONS: usize = 4096;

/// Longest text in front of or behind a single variable that is tried as part of its reference.
const LONGEST_SEPARATOR_BYTES: usize = 48;

/// Finds the steps of a script.
///
/// `changes` are those of the worlds in their order, but for the real activation: the one of [`MARKED`] is at
/// `MARKED - 1`.
///
/// # Errors
/// Why no steps do what the script did.
pub(super) fn infer(changes: &[Change<'_>]) -> Result<Vec<Step>, String> {
    let names: BTreeSet<&str> = changes
        .iter()
        .flat_map(|change| change.before.keys().chain(change.after.keys()))
        .map(String::as_str)
        .collect();
    let touched: BTreeSet<&str> = names
        .into_iter()
        .filter(|name| !is_the_shells(name) && !is_backup(name))
        .filter(|name| {
            changes
                .iter()
                .any(|change| change.before.get(*name) != change.after.get(*name))
        })
        .filter(|name| !(may_be_backup(name) && holds_an_old_value(name, changes)))
        .collect();
    let mut steps = BTreeMap::new();
    for name in &touched {
        if is_helper(name, changes) {
            continue;
        }
        if is_the_wrappers(name) {
            return Err(format!("changes `{name}`"));
        }
        if !is_name(name) {
            return Err(format!("exports `{name}`, which is not a variable"));
        }
        let step = infer_step(name, &touched, changes)
            .ok_or_else(|| format!("sets `{name}` to what no simple rule gives"))?;
        steps.insert(*name, step);
    }
    let steps = in_order(steps)?;
    for change in changes {
        let mut environment = change.before.clone();
        for step in &steps {
            step.apply(&mut environment);
        }
        for name in steps.iter().map(Step::name) {
            if environment.get(name) != change.after.get(name) {
                return Err(format!("sets `{name}` to what no simple rule gives"));
            }
        }
    }
    Ok(steps)
}

/// Whether it keeps, in every world, what another variable was, or nothing.
fn holds_an_old_value(name: &str, changes: &[Change<'_>]) -> bool {
    changes.iter().all(|change| match change.after.get(name) {
        None => true,
        Some(value) => value.is_empty() || change.before.values().any(|old| old == value),
    })
}

/// Whether the script uses it for itself only: never exported by it, always assigned, and not built from its old value. A
/// user's exported variable of that name is then left alone, where conda's shell would overwrite it.
fn is_helper(name: &str, changes: &[Change<'_>]) -> bool {
    let mut left_unset = false;
    for change in changes {
        let (before, after) = (change.before.get(name), change.after.get(name));
        if before.is_none() && after.is_some() {
            return false;
        }
        left_unset |= before.is_none();
        let (mut assigned, mut exported) = (false, false);
        for event in change.log {
            if let Event::Executed(words) = event {
                let (sets, exports) = mentions(words, name);
                assigned |= sets;
                exported |= exports;
            }
        }
        let built_from_itself = before.zip(after).is_some_and(|(before, after)| {
            before != after && is_marked(before) && after.contains(before.as_str())
        });
        if exported || !assigned || built_from_itself || (before.is_some() && after.is_none()) {
            return false;
        }
    }
    left_unset
}

/// Whether a command assigns or exports a variable.
fn mentions(words: &[String], name: &str) -> (bool, bool) {
    let named =
        |word: &String| assignment(word).map_or(word == name, |(assigned, _)| assigned == name);
    let assigned = words
        .iter()
        .take_while(|word| assignment(word).is_some())
        .any(named);
    let rest: Vec<&String> = words
        .iter()
        .skip_while(|word| assignment(word).is_some())
        .collect();
    let Some((command, arguments)) = rest.split_first() else {
        return (assigned, false);
    };
    let mentioned = arguments.iter().any(|word| named(word));
    match command.as_str() {
        "export" => (mentioned, mentioned),
        "declare" | "typeset" => (
            mentioned,
            mentioned
                && arguments
                    .iter()
                    .any(|word| word.starts_with('-') && word.contains('x')),
        ),
        "for" | "select" => (
            assigned || arguments.first().is_some_and(|first| *first == name),
            false,
        ),
        "read" | "mapfile" | "readarray" | "readonly" | "printf" | "getopts" | "local" | "let" => {
            (assigned || mentioned, false)
        }
        _ => (assigned, false),
    }
}

fn infer_step(name: &str, touched: &BTreeSet<&str>, changes: &[Change<'_>]) -> Option<Step> {
    let own = || name.to_owned();
    let before: Vec<Option<&str>> = changes
        .iter()
        .map(|change| change.before.get(name).map(String::as_str))
        .collect();
    let after: Vec<Option<&str>> = changes
        .iter()
        .map(|change| change.after.get(name).map(String::as_str))
        .collect();
    let first = after.first().copied()?;
    if after.iter().all(|value| *value == first) {
        return Some(match first {
            None => Step::Unset { name: own() },
            Some(value) => Step::Set {
                name: own(),
                value: value.to_owned(),
            },
        });
    }
    let where_unset = before
        .iter()
        .zip(&after)
        .find(|(before, _)| before.is_none())
        .and_then(|(_, after)| *after);
    let where_empty = before
        .iter()
        .zip(&after)
        .find(|(before, _)| **before == Some(""))
        .and_then(|(_, after)| *after);
    if let Some(value) = where_unset {
        let also_if_empty = where_empty.is_some_and(|value| !value.is_empty());
        let step = Step::Default {
            name: own(),
            value: value.to_owned(),
            also_if_empty,
        };
        if reproduces(&step, changes) {
            return Some(step);
        }
    }
    infer_join(name, touched, changes)
}

fn reproduces(step: &Step, changes: &[Change<'_>]) -> bool {
    changes.iter().all(|change| {
        step.value(change.before).as_deref() == change.after.get(step.name()).map(String::as_str)
    })
}

/// A piece of a value in the world of marks.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    Text(&'a str),
    Variable(&'a str),
}

fn infer_join(name: &str, touched: &BTreeSet<&str>, changes: &[Change<'_>]) -> Option<Step> {
    let marked = changes.get(MARKED - 1)?;
    let tokens = tokenise(marked.after.get(name)?, name, touched, marked.before);
    let variables: Vec<usize> = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| matches!(token, Token::Variable(_)))
        .map(|(at, _)| at)
        .collect();
    if variables.is_empty() {
        return None;
    }
    let try_parts = |parts: Vec<Part>| {
        let step = Step::Join {
            name: name.to_owned(),
            parts,
        };
        reproduces(&step, changes).then_some(step)
    };
    let plain = vec![(0, 0); tokens.len()];
    if let Some(step) = try_parts(parts_of(&tokens, &plain)) {
        return Some(step);
    }
    // One variable: every split of its surroundings.
    let text_at = |at: Option<usize>| match at.and_then(|at| tokens.get(at)) {
        Some(Token::Text(text)) => *text,
        _ => "",
    };
    for &at in &variables {
        let (before, behind) = (text_at(at.checked_sub(1)), text_at(Some(at + 1)));
        for taken_before in suffix_lengths(before) {
            for taken_behind in prefix_lengths(behind) {
                let mut taken = plain.clone();
                taken[at] = (taken_before, taken_behind);
                if let Some(step) = try_parts(parts_of(&tokens, &taken)) {
                    return Some(step);
                }
            }
        }
    }
    // Several: a separator before or behind each, or up to the next blank or colon.
    let choices: Vec<Vec<(usize, usize)>> = variables
        .iter()
        .map(|&at| {
            let (before, behind) = (text_at(at.checked_sub(1)), text_at(Some(at + 1)));
            let word = |character: char| character == ' ' || character == ':';
            let mut befores = vec![
                0,
                last_length(before),
                before.len() - before.trim_end_matches(word).rfind(word).unwrap_or(0),
            ];
            let mut behinds = vec![
                0,
                behind.chars().next().map_or(0, char::len_utf8),
                behind.find(word).map_or(behind.len(), |end| end + 1),
            ];
            befores.dedup();
            behinds.dedup();
            befores
                .iter()
                .flat_map(|&before| behinds.iter().map(move |&behind| (before, behind)))
                .collect()
        })
        .collect();
    let combinations = choices
        .iter()
        .map(Vec::len)
        .try_fold(1_usize, usize::checked_mul)
        .unwrap_or(usize::MAX);
    for number in 0..combinations.min(MOST_COMBINATIONS) {
        let (mut taken, mut rest) = (plain.clone(), number);
        for (&at, choices) in variables.iter().zip(&choices) {
            taken[at] = choices[rest % choices.len()];
            rest /= choices.len();
        }
        if !fits(&tokens, &taken) {
            continue;
        }
        if let Some(step) = try_parts(parts_of(&tokens, &taken)) {
            return Some(step);
        }
    }
    // One variable with something else where it is empty.
    for &at in &variables {
        let parts = parts_of(&tokens, &plain);
        let Some(place) = parts.iter().position(|part| matches!(part, Part::Variable { name, .. } if Token::Variable(name) == tokens[at])) else { continue };
        let Token::Variable(variable) = tokens[at] else {
            continue;
        };
        let Some(lacking) = changes
            .iter()
            .find(|change| change.before.get(variable).is_none_or(String::is_empty))
        else {
            continue;
        };
        let (before, behind) = (
            join(&parts[..place], lacking.before),
            join(&parts[place + 1..], lacking.before),
        );
        let middle = lacking
            .after
            .get(name)
            .and_then(|value| value.strip_prefix(&*before)?.strip_suffix(&*behind));
        if let Some(text) = middle {
            let mut parts = parts.clone();
            parts[place] = Part::Variable {
                name: variable.to_owned(),
                before: String::new(),
                after: String::new(),
                otherwise: Some(text.to_owned()),
            };
            if let Some(step) = try_parts(parts) {
                return Some(step);
            }
        }
    }
    None
}

fn last_length(text: &str) -> usize {
    text.chars().next_back().map_or(0, char::len_utf8)
}

fn suffix_lengths(text: &str) -> impl Iterator<Item = usize> {
    (0..=text.len().min(LONGEST_SEPARATOR_BYTES))
        .filter(|length| text.is_char_boundary(text.len() - length))
}

fn prefix_lengths(text: &str) -> impl Iterator<Item = usize> {
    (0..=text.len().min(LONGEST_SEPARATOR_BYTES)).filter(|length| text.is_char_boundary(*length))
}

/// Splits a value where it repeats what a variable was before the script.
fn tokenise<'a>(
    value: &'a str,
    own: &str,
    touched: &BTreeSet<&str>,
    before: &'a Environment,
) -> Vec<Token<'a>> {
    let mut known: Vec<(&str, &str)> = before
        .iter()
        .filter(|(name, value)| {
            is_marked(value) && is_name(name) && !is_backup(name) && !may_be_backup(name)
        })
        .map(|(name, value)| (value.as_str(), name.as_str()))
        .collect();
    // The longest first; of several that were the same, the variable itself, then one that the script leaves alone.
    known.sort_by_key(|(value, name)| {
        (
            std::cmp::Reverse(value.len()),
            *name != own,
            touched.contains(name),
            *name,
        )
    });
    let mut tokens = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < value.len() {
        let rest = &value[at..];
        if let Some((text, name)) = known.iter().find(|(text, _)| rest.starts_with(text)) {
            if start < at {
                tokens.push(Token::Text(&value[start..at]));
            }
            tokens.push(Token::Variable(name));
            at += text.len();
            start = at;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    if start < value.len() {
        tokens.push(Token::Text(&value[start..]));
    }
    tokens
}

/// Whether no text is taken twice.
fn fits(tokens: &[Token<'_>], taken: &[(usize, usize)]) -> bool {
    tokens.iter().enumerate().all(|(at, token)| match token {
        Token::Text(text) => {
            let by_former = if at > 0 { taken[at - 1].1 } else { 0 };
            let by_next = taken.get(at + 1).map_or(0, |next| next.0);
            by_former + by_next <= text.len()
                && text.is_char_boundary(by_former)
                && text.is_char_boundary(text.len() - by_next)
        }
        Token::Variable(_) => true,
    })
}

/// Parts with, per variable, so many bytes of the text before and behind it taken along.
fn parts_of(tokens: &[Token<'_>], taken: &[(usize, usize)]) -> Vec<Part> {
    let text_at = |at: Option<usize>| match at.and_then(|at| tokens.get(at)) {
        Some(Token::Text(text)) => *text,
        _ => "",
    };
    let mut parts = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Text(text) => {
                let by_former = if at > 0 { taken[at - 1].1 } else { 0 };
                let by_next = taken.get(at + 1).map_or(0, |next| next.0);
                let own = &text[by_former..text.len() - by_next];
                if !own.is_empty() {
                    parts.push(Part::Literal(own.to_owned()));
                }
            }
            Token::Variable(name) => {
                let (before, behind) = (text_at(at.checked_sub(1)), text_at(Some(at + 1)));
                parts.push(Part::Variable {
                    name: (*name).to_owned(),
                    before: before[before.len() - taken[at].0..].to_owned(),
                    after: behind[..taken[at].1].to_owned(),
                    otherwise: None,
                });
            }
        }
    }
    parts
}

fn join(parts: &[Part], environment: &Environment) -> String {
    let mut joined = String::new();
    for part in parts {
        match part {
            Part::Literal(text) => joined.push_str(text),
            Part::Variable {
                name,
                before,
                after,
                otherwise,
            } => match environment.get(name).filter(|value| !value.is_empty()) {
                Some(value) => joined.extend([before, value.as_str(), after]),
                None => joined.push_str(otherwise.as_deref().unwrap_or_default()),
            },
        }
    }
    joined
}

impl Step {
    /// The variable that it changes.
    pub fn name(&self) -> &str {
        match self {
            Self::Set { name, .. }
            | Self::Unset { name }
            | Self::Default { name, .. }
            | Self::Join { name, .. } => name,
        }
    }

    /// What the variable is afterwards.
    fn value(&self, environment: &Environment) -> Option<String> {
        match self {
            Self::Set { value, .. } => Some(value.clone()),
            Self::Unset { .. } => None,
            Self::Default {
                name,
                value,
                also_if_empty,
            } => Some(match environment.get(name) {
                Some(own) if !(own.is_empty() && *also_if_empty) => own.clone(),
                _ => value.clone(),
            }),
            Self::Join { parts, .. } => Some(join(parts, environment)),
        }
    }

    fn apply(&self, environment: &mut Environment) {
        match self.value(environment) {
            Some(value) => environment.insert(self.name().to_owned(), value),
            None => environment.remove(self.name()),
        };
    }

    /// Other variables that it reads.
    fn read(&self) -> impl Iterator<Item = &str> {
        let parts: &[Part] = if let Self::Join { parts, .. } = self {
            parts
        } else {
            &[]
        };
        parts.iter().filter_map(|part| match part {
            Part::Variable { name, .. } if name != self.name() => Some(name.as_str()),
            _ => None,
        })
    }
}

/// Orders steps that all speak of the variables before the script: who reads a variable comes before who changes it.
fn in_order(mut steps: BTreeMap<&str, Step>) -> Result<Vec<Step>, String> {
    let mut ordered = Vec::with_capacity(steps.len());
    while !steps.is_empty() {
        let still_read: BTreeSet<String> = steps
            .values()
            .flat_map(Step::read)
            .map(str::to_owned)
            .collect();
        let ready: Vec<&str> = steps
            .keys()
            .copied()
            .filter(|name| !still_read.contains(*name))
            .collect();
        if ready.is_empty() {
            let names: Vec<String> = steps.keys().map(|name| format!("`{name}`")).collect();
            return Err(format!("exchanges {}", names.join(" and ")));
        }
        for name in ready {
            ordered.extend(steps.remove(name));
        }
    }
    Ok(ordered)
}
