//! Responsible for inferring values that are composed of the values of other variables: lists,
//! prefixes, references with a replacement for an empty variable.

use std::collections::BTreeSet;

use super::{
    super::{
        ActivationStep, ValuePart,
        trials::{Environment, TAINTED, is_tainted},
        variables::{is_backup, is_name, may_be_backup},
    },
    Change, reproduces,
};

/// Maximum number of combinations of separators that are tried for one value with several
/// variables. Real lists have one or two variables and need 16 or 256 combinations.
const MOST_COMBINATIONS: usize = 4096;

/// Maximum length of the text before or behind a single variable that is tried as part of its
/// reference, in bytes.
const LONGEST_SEPARATOR_BYTES: usize = 48;

/// Piece of a value in the trial with sentinels.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    Text(&'a str),
    Variable(&'a str),
}

/// Finds the join that gives the value of a variable in all trials.
pub(super) fn infer_join(
    name: &str,
    touched: &BTreeSet<&str>,
    changes: &[Change<'_>],
) -> Option<ActivationStep> {
    let tainted = changes.get(TAINTED - 1)?;
    let tokens = tokenise(tainted.after.get(name)?, name, touched, tainted.before);
    let variables: Vec<usize> = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| matches!(token, Token::Variable(_)))
        .map(|(at, _)| at)
        .collect();
    if variables.is_empty() {
        return None;
    }
    let inference = JoinInference {
        name,
        changes,
        tokens,
        variables,
    };
    let plain = inference.without_separators();
    inference
        .accept(parts_of(&inference.tokens, &plain))
        .or_else(|| inference.separate_one_variable())
        .or_else(|| inference.separate_all_variables())
        .or_else(|| inference.replace_empty_variable())
}

/// Bytes of the text before and behind each token that belong to the token's variable.
type Separators = Vec<(usize, usize)>;

/// Search for the parts of one value.
struct JoinInference<'a> {
    name: &'a str,
    changes: &'a [Change<'a>],
    tokens: Vec<Token<'a>>,
    /// Indices of the variables among the tokens.
    variables: Vec<usize>,
}

impl JoinInference<'_> {
    fn without_separators(&self) -> Separators {
        vec![(0, 0); self.tokens.len()]
    }

    /// Returns the texts before and behind a token.
    fn texts_around(&self, at: usize) -> (&str, &str) {
        (
            text_at(&self.tokens, at.checked_sub(1)),
            text_at(&self.tokens, Some(at + 1)),
        )
    }

    /// Returns the step with these parts if it gives the value in all trials.
    fn accept(&self, parts: Vec<ValuePart>) -> Option<ActivationStep> {
        let step = ActivationStep::Join {
            name: self.name.to_owned(),
            parts,
        };
        reproduces(&step, self.changes).then_some(step)
    }

    /// Tries, for each variable alone, every split of the texts around it.
    fn separate_one_variable(&self) -> Option<ActivationStep> {
        for &at in &self.variables {
            let (before, behind) = self.texts_around(at);
            for taken_before in suffix_lengths(before) {
                for taken_behind in prefix_lengths(behind) {
                    let mut taken = self.without_separators();
                    taken[at] = (taken_before, taken_behind);
                    if let Some(step) = self.accept(parts_of(&self.tokens, &taken)) {
                        return Some(step);
                    }
                }
            }
        }
        None
    }

    /// Tries all variables at once, each with one character before or behind it as its separator,
    /// or with the text up to the next blank or colon.
    fn separate_all_variables(&self) -> Option<ActivationStep> {
        let choices: Vec<Separators> = self
            .variables
            .iter()
            .map(|&at| self.separator_choices(at))
            .collect();
        let combinations = choices
            .iter()
            .map(Vec::len)
            .try_fold(1_usize, usize::checked_mul)
            .unwrap_or(usize::MAX);
        for number in 0..combinations.min(MOST_COMBINATIONS) {
            let (mut taken, mut rest) = (self.without_separators(), number);
            for (&at, choices) in self.variables.iter().zip(&choices) {
                taken[at] = choices[rest % choices.len()];
                rest /= choices.len();
            }
            if !fits(&self.tokens, &taken) {
                continue;
            }
            if let Some(step) = self.accept(parts_of(&self.tokens, &taken)) {
                return Some(step);
            }
        }
        None
    }

    /// Lists the likely separators before and behind a variable.
    fn separator_choices(&self, at: usize) -> Separators {
        let (before, behind) = self.texts_around(at);
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
    }

    /// Tries a replacement text for one variable where it is empty.
    fn replace_empty_variable(&self) -> Option<ActivationStep> {
        let parts = parts_of(&self.tokens, &self.without_separators());
        self.variables.iter().find_map(|&at| {
            let Token::Variable(variable) = self.tokens[at] else {
                return None;
            };
            let place = parts.iter().position(
                |part| matches!(part, ValuePart::Variable { name, .. } if name == variable),
            )?;
            let lacking = self
                .changes
                .iter()
                .find(|change| change.before.get(variable).is_none_or(String::is_empty))?;
            let before = ValuePart::join(&parts[..place], lacking.before);
            let behind = ValuePart::join(&parts[place + 1..], lacking.before);
            let value = lacking.after.get(self.name)?;
            let text = value.strip_prefix(&*before)?.strip_suffix(&*behind)?;
            let mut parts = parts.clone();
            parts[place] = ValuePart::VariableOr {
                name: variable.to_owned(),
                otherwise: text.to_owned(),
            };
            self.accept(parts)
        })
    }
}

/// Returns the text of a token, or nothing if the token is no text.
fn text_at<'a>(tokens: &[Token<'a>], at: Option<usize>) -> &'a str {
    match at.and_then(|at| tokens.get(at)) {
        Some(Token::Text(text)) => text,
        _ => "",
    }
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

/// Splits a value at the places that repeat the value of a variable from before the script.
fn tokenise<'a>(
    value: &'a str,
    own: &str,
    touched: &BTreeSet<&str>,
    before: &'a Environment,
) -> Vec<Token<'a>> {
    let mut known: Vec<(&str, &str)> = before
        .iter()
        .filter(|(name, value)| {
            is_tainted(value) && is_name(name) && !is_backup(name) && !may_be_backup(name)
        })
        .map(|(name, value)| (value.as_str(), name.as_str()))
        .collect();
    // The longest value comes first. Among variables of the same value, the variable itself comes
    // first, then a variable that the script does not change.
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

/// Returns whether no text is taken by two variables.
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

/// Composes the parts. `taken` holds, per token, how many bytes of the text before and behind it
/// belong to the variable.
fn parts_of(tokens: &[Token<'_>], taken: &[(usize, usize)]) -> Vec<ValuePart> {
    let mut parts = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Text(text) => {
                let by_former = if at > 0 { taken[at - 1].1 } else { 0 };
                let by_next = taken.get(at + 1).map_or(0, |next| next.0);
                let own = &text[by_former..text.len() - by_next];
                if !own.is_empty() {
                    parts.push(ValuePart::Literal(own.to_owned()));
                }
            }
            Token::Variable(name) => {
                let (before, behind) = (
                    text_at(tokens, at.checked_sub(1)),
                    text_at(tokens, Some(at + 1)),
                );
                parts.push(ValuePart::Variable {
                    name: (*name).to_owned(),
                    before: before[before.len() - taken[at].0..].to_owned(),
                    after: behind[..taken[at].1].to_owned(),
                });
            }
        }
    }
    parts
}
