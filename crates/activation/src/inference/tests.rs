//! Tests of the inference with hand-written trials: an empty one, one with sentinels, and some
//! more.

#![allow(clippy::unwrap_used)]

use super::{
    super::{
        ActivationStep, ValuePart,
        log::{Event, split_words},
        trials::{Environment, sentinel},
    },
    Change, infer,
};

/// Change that a script makes to the variables.
type Effect<'a> = &'a dyn Fn(&mut Environment);

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Returns the trials: empty, sentinels, blanks, empty values, empty again, and each of A and B
/// without the other.
fn trials() -> Vec<Environment> {
    let (a, b) = (sentinel(1), sentinel(2));
    let path = ("PATH", "/env/bin:/bin");
    vec![
        environment(&[path]),
        environment(&[
            ("PATH", &format!("/env/bin:/{}", sentinel(0))),
            ("A", &a),
            ("B", &b),
        ]),
        environment(&[
            ("PATH", "/env/bin:.:/a b:"),
            ("A", "/%A%/a b:c"),
            ("B", ":+B+:"),
        ]),
        environment(&[path, ("A", ""), ("B", "")]),
        environment(&[path]),
        environment(&[path, ("A", &a)]),
        environment(&[path, ("B", &b)]),
    ]
}

fn steps_with(effect: Effect<'_>, log: &str) -> Result<Vec<ActivationStep>, String> {
    let log: Vec<Event> = log
        .lines()
        .map(|line| match line.strip_prefix("+ ") {
            Some(line) => Event::Executed(split_words(line)),
            None => Event::Command(line.to_owned()),
        })
        .collect();
    let before = trials();
    let mut after = trials();
    after.iter_mut().for_each(effect);
    let changes: Vec<Change<'_>> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| Change {
            before,
            after,
            log: &log,
        })
        .collect();
    infer(&changes)
}

fn steps(effect: Effect<'_>) -> Result<Vec<ActivationStep>, String> {
    steps_with(effect, "")
}

fn get(environment: &Environment, name: &str) -> String {
    environment.get(name).cloned().unwrap_or_default()
}

fn set(environment: &mut Environment, name: &str, value: impl Into<String>) {
    environment.insert(name.to_owned(), value.into());
}

fn variable(name: &str, before: &str, after: &str, otherwise: Option<&str>) -> ValuePart {
    let name = name.to_owned();
    match otherwise {
        None => ValuePart::Variable {
            name,
            before: before.to_owned(),
            after: after.to_owned(),
        },
        Some(otherwise) => {
            assert_eq!((before, after), ("", ""));
            ValuePart::VariableOr {
                name,
                otherwise: otherwise.to_owned(),
            }
        }
    }
}

fn literal(text: &str) -> ValuePart {
    ValuePart::Literal(text.to_owned())
}

fn joined(name: &str, parts: Vec<ValuePart>) -> ActivationStep {
    ActivationStep::Join {
        name: name.to_owned(),
        parts,
    }
}

#[test]
fn constants_and_defaults() {
    let name = || "A".to_owned();
    let value = || "x".to_owned();
    assert_eq!(steps(&|_| {}).unwrap(), []);
    assert_eq!(
        steps(&|trial| set(trial, "A", "x")).unwrap(),
        [ActivationStep::Set {
            name: name(),
            value: value()
        }]
    );
    assert_eq!(
        steps(&|trial| drop(trial.remove("A"))).unwrap(),
        [ActivationStep::Unset { name: name() }]
    );
    for or_empty in [false, true] {
        let effect = |trial: &mut Environment| {
            if !trial.contains_key("A") || or_empty && get(trial, "A").is_empty() {
                set(trial, "A", "x");
            }
        };
        assert_eq!(
            steps(&effect).unwrap(),
            [ActivationStep::Default {
                name: name(),
                value: value(),
                or_empty
            }]
        );
    }
}

#[test]
fn joins() {
    let surrounded = |before: &str, value: &str, after: &str| {
        if value.is_empty() {
            String::new()
        } else {
            format!("{before}{value}{after}")
        }
    };
    let prepended = |trial: &mut Environment| {
        let value = format!("/env/x:{}", get(trial, "PATH"));
        set(trial, "PATH", value);
    };
    assert_eq!(
        steps(&prepended).unwrap(),
        [joined(
            "PATH",
            vec![literal("/env/x:"), variable("PATH", "", "", None)]
        )]
    );
    let appended = |trial: &mut Environment| {
        let value = format!("{}x", surrounded("", &get(trial, "A"), " -- "));
        set(trial, "A", value);
    };
    assert_eq!(
        steps(&appended).unwrap(),
        [joined(
            "A",
            vec![variable("A", "", " -- ", None), literal("x")]
        )]
    );
    let both = |trial: &mut Environment| {
        let value = format!(
            "{}m{}",
            surrounded("", &get(trial, "A"), ":"),
            surrounded(":", &get(trial, "B"), "")
        );
        set(trial, "C", value);
    };
    assert_eq!(
        steps(&both).unwrap(),
        [joined(
            "C",
            vec![
                variable("A", "", ":", None),
                literal("m"),
                variable("B", ":", "", None)
            ]
        )]
    );
    let otherwise = |trial: &mut Environment| {
        let value = match get(trial, "A") {
            none if none.is_empty() => "p-none-s".to_owned(),
            some => format!("p{some}s"),
        };
        set(trial, "C", value);
    };
    assert_eq!(
        steps(&otherwise).unwrap(),
        [joined(
            "C",
            vec![
                literal("p"),
                variable("A", "", "", Some("-none-")),
                literal("s")
            ]
        )]
    );
}

#[test]
fn steps_that_read_a_variable_come_before_the_step_that_changes_it() {
    let kept = |trial: &mut Environment| {
        let old = get(trial, "A");
        set(trial, "Z", old);
        set(trial, "A", "new");
    };
    let names: Vec<String> = steps(&kept)
        .unwrap()
        .iter()
        .map(|step| step.name().to_owned())
        .collect();
    assert_eq!(names, ["Z", "A"]);
    let exchanged = |trial: &mut Environment| {
        let (a, b) = (get(trial, "A"), get(trial, "B"));
        set(trial, "A", b);
        set(trial, "B", a);
    };
    assert_eq!(steps(&exchanged).unwrap_err(), "exchanges `A` and `B`");
}

#[test]
fn variables_that_only_deactivation_reads_are_dropped() {
    let kept = |trial: &mut Environment| {
        let old = get(trial, "A");
        set(trial, "CONDA_BACKUP_A", old.clone());
        set(trial, "_CONDA_SET_A", "1");
        set(trial, "A_PREV", old);
    };
    assert_eq!(steps(&kept).unwrap(), []);
    // This variable is named like a backup copy, but is none.
    assert_eq!(
        steps(&|trial| set(trial, "A_BACKUP", "/dir"))
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn helpers_of_a_script_are_left_alone() {
    let refused = "sets `A` to what no simple rule gives";
    let assigned = |trial: &mut Environment| {
        if trial.contains_key("A") {
            set(trial, "A", "x");
        }
    };
    assert_eq!(steps_with(&assigned, "+ A=x\n[ \"${A}\" ]").unwrap(), []);
    assert_eq!(
        steps_with(&assigned, "+ for A in x y\necho $A").unwrap(),
        []
    );
    // The effect is the same but the script never reads the variable, so the variable is meant for
    // other programs.
    assert_eq!(
        steps_with(&assigned, "+ A=x\n[ $AB ]").unwrap_err(),
        refused
    );
    // Here the script exports the variable, or assigns it only if it was set.
    assert_eq!(
        steps_with(&assigned, "+ export A=x\n[ $A ]").unwrap_err(),
        refused
    );
    assert_eq!(steps_with(&assigned, "[ $A ]").unwrap_err(), refused);
    let prepended = |trial: &mut Environment| {
        if trial.contains_key("A") {
            let value = format!("x:{}", get(trial, "A"));
            set(trial, "A", value);
        }
    };
    assert_eq!(
        steps_with(&prepended, "A=x:$A\n+ A=x:\n[ $A ]").unwrap_err(),
        refused
    );
}

#[test]
fn one_trial_that_differs_is_enough_to_refuse() {
    for odd in 0..trials().len() {
        let before = trials();
        let mut after = trials();
        for (number, trial) in after.iter_mut().enumerate() {
            set(trial, "C", if number == odd { "odd" } else { "x" });
        }
        let changes: Vec<Change<'_>> = before
            .iter()
            .zip(&after)
            .map(|(before, after)| Change {
                before,
                after,
                log: &[],
            })
            .collect();
        assert!(infer(&changes).is_err(), "trial {odd}");
    }
}
