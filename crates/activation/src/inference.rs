//! Responsible for inferring the steps that have the effects of a script in all trials at once.

mod join;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ActivationStep,
    log::{Event, assignment},
    trials::Environment,
    variables::{is_backup, is_name, is_the_shells, is_the_wrappers, may_be_backup},
};
use join::infer_join;

/// Effect of one script in one trial.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) before: &'a Environment,
    pub(super) after: &'a Environment,
    pub(super) log: &'a [Event],
}
/// Infers the steps of a script.
///
/// `changes` holds one entry per trial, in the order of the trials without the real activation: the
/// entry of the trial with sentinels is at `TAINTED - 1`.
///
/// # Errors
/// Returns the reason why no steps reproduce the script.
pub(super) fn infer(changes: &[Change<'_>]) -> Result<Vec<ActivationStep>, String> {
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
        for name in steps.iter().map(ActivationStep::name) {
            if environment.get(name) != change.after.get(name) {
                return Err(format!("sets `{name}` to what no simple rule gives"));
            }
        }
    }
    Ok(steps)
}

/// Returns whether the variable holds, in every trial, the old value of some variable or nothing.
fn holds_an_old_value(name: &str, changes: &[Change<'_>]) -> bool {
    changes.iter().all(|change| match change.after.get(name) {
        None => true,
        Some(value) => value.is_empty() || change.before.values().any(|old| old == value),
    })
}

/// Returns whether the script uses the variable only for itself. Such a variable is never exported,
/// is assigned before it is read or unset, although it was not set, and either is named like a
/// helper or is read later. A user's exported variable of the same name is then left alone, whereas
/// conda's shell would overwrite it.
fn is_helper(name: &str, changes: &[Change<'_>]) -> bool {
    if changes
        .iter()
        .all(|change| !change.after.contains_key(name))
    {
        return false; // Unset in every trial: a step describes that exactly.
    }
    let inner_name = name.starts_with('_') || name.bytes().any(|byte| byte.is_ascii_lowercase());
    let mut used = inner_name && !name.ends_with("_proxy");
    let mut assigned_anew = false;
    for change in changes {
        let (before, after) = (change.before.get(name), change.after.get(name));
        let (mut assigned, mut read_first) = (false, false);
        for event in change.log {
            match event {
                Event::Executed(words) => {
                    let (assigns, exports) = mentions(words, name);
                    assigned |= assigns;
                    if exports {
                        return false;
                    }
                }
                Event::Command(text) if reads(text, name) => {
                    used |= assigned;
                    read_first |= !assigned;
                }
                Event::Command(_) | Event::Condition(_) | Event::CaseWord(_) => {}
            }
        }
        let appears = before.is_none() && after.is_some();
        if appears || (before != after && (read_first || !assigned)) {
            return false;
        }
        assigned_anew |= before.is_none() && assigned;
    }
    assigned_anew && used
}

/// Returns whether a command, as written, expands a variable.
fn reads(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].trim_end_matches(['{', '#', '!']);
        let goes_on = |next: char| next.is_ascii_alphanumeric() || next == '_';
        before.ends_with('$') && !text[at + name.len()..].starts_with(goes_on)
    })
}

/// Returns whether a command assigns, and whether it exports, a variable.
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

fn infer_step(
    name: &str,
    touched: &BTreeSet<&str>,
    changes: &[Change<'_>],
) -> Option<ActivationStep> {
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
            None => ActivationStep::Unset { name: own() },
            Some(value) => ActivationStep::Set {
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
        let or_empty = where_empty.is_some_and(|value| !value.is_empty());
        let step = ActivationStep::Default {
            name: own(),
            value: value.to_owned(),
            or_empty,
        };
        if reproduces(&step, changes) {
            return Some(step);
        }
    }
    infer_join(name, touched, changes)
}

fn reproduces(step: &ActivationStep, changes: &[Change<'_>]) -> bool {
    changes.iter().all(|change| {
        step.value(change.before).as_deref() == change.after.get(step.name()).map(String::as_str)
    })
}

/// Orders steps that all read the values from before the script: a step that reads a variable comes
/// before the step that changes it.
fn in_order(mut steps: BTreeMap<&str, ActivationStep>) -> Result<Vec<ActivationStep>, String> {
    let mut ordered = Vec::with_capacity(steps.len());
    while !steps.is_empty() {
        let still_read: BTreeSet<String> = steps
            .values()
            .flat_map(ActivationStep::read)
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
