//! Inference on worlds written down by hand: a bare one, one of marks, and some more.

#![allow(clippy::unwrap_used)]

use super::{
    super::{
        Part, Step,
        log::{Event, split_words},
        worlds::{Environment, mark},
    },
    Change, infer,
};

/// What a script makes of a variable's old value.
type Effect<'a> = &'a dyn Fn(&mut Environment);

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Bare, marked, blanks, empty, bare again, and each of A and B without the other.
fn worlds() -> Vec<Environment> {
    let (a, b) = (mark(1), mark(2));
    let path = ("PATH", "/env/bin:/bin");
    vec![
        environment(&[path]),
        environment(&[
            ("PATH", &format!("/env/bin:/{}", mark(0))),
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

fn steps_with(effect: Effect<'_>, log: &str) -> Result<Vec<Step>, String> {
    let log: Vec<Event> = log
        .lines()
        .map(|line| match line.strip_prefix("+ ") {
            Some(line) => Event::Executed(split_words(line)),
            None => Event::Command(line.to_owned()),
        })
        .collect();
    let before = worlds();
    let mut after = worlds();
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

fn steps(effect: Effect<'_>) -> Result<Vec<Step>, String> {
    steps_with(effect, "")
}

fn get(environment: &Environment, name: &str) -> String {
    environment.get(name).cloned().unwrap_or_default()
}

fn set(environment: &mut Environment, name: &str, value: impl Into<String>) {
    environment.insert(name.to_owned(), value.into());
}

fn variable(name: &str, before: &str, after: &str, otherwise: Option<&str>) -> Part {
    Part::Variable {
        name: name.to_owned(),
        before: before.to_owned(),
        after: after.to_owned(),
        otherwise: otherwise.map(str::to_owned),
    }
}

fn literal(text: &str) -> Part {
    Part::Literal(text.to_owned())
}

fn joined(name: &str, parts: Vec<Part>) -> Step {
    Step::Join {
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
        steps(&|world| set(world, "A", "x")).unwrap(),
        [Step::Set {
            name: name(),
            value: value()
        }]
    );
    assert_eq!(
        steps(&|world| drop(world.remove("A"))).unwrap(),
        [Step::Unset { name: name() }]
    );
    for also_if_empty in [false, true] {
        let effect = |world: &mut Environment| {
            if !world.contains_key("A") || also_if_empty && get(world, "A").is_empty() {
                set(world, "A", "x");
            }
        };
        assert_eq!(
            steps(&effect).unwrap(),
            [Step::Default {
                name: name(),
                value: value(),
                also_if_empty
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
    let prepended = |world: &mut Environment| {
        let value = format!("/env/x:{}", get(world, "PATH"));
        set(world, "PATH", value);
    };
    assert_eq!(
        steps(&prepended).unwrap(),
        [joined(
            "PATH",
            vec![literal("/env/x:"), variable("PATH", "", "", None)]
        )]
    );
    let appended = |world: &mut Environment| {
        let value = format!("{}x", surrounded("", &get(world, "A"), " -- "));
        set(world, "A", value);
    };
    assert_eq!(
        steps(&appended).unwrap(),
        [joined(
            "A",
            vec![variable("A", "", " -- ", None), literal("x")]
        )]
    );
    let both = |world: &mut Environment| {
        let value = format!(
            "{}m{}",
            surrounded("", &get(world, "A"), ":"),
            surrounded(":", &get(world, "B"), "")
        );
        set(world, "C", value);
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
    let otherwise = |world: &mut Environment| {
        let value = match get(world, "A") {
            none if none.is_empty() => "p-none-s".to_owned(),
            some => format!("p{some}s"),
        };
        set(world, "C", value);
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
fn who_reads_a_variable_comes_before_who_changes_it() {
    let kept = |world: &mut Environment| {
        let old = get(world, "A");
        set(world, "Z", old);
        set(world, "A", "new");
    };
    let names: Vec<String> = steps(&kept)
        .unwrap()
        .iter()
        .map(|step| step.name().to_owned())
        .collect();
    assert_eq!(names, ["Z", "A"]);
    let exchanged = |world: &mut Environment| {
        let (a, b) = (get(world, "A"), get(world, "B"));
        set(world, "A", b);
        set(world, "B", a);
    };
    assert_eq!(steps(&exchanged).unwrap_err(), "exchanges `A` and `B`");
}

#[test]
fn what_only_deactivation_reads_is_dropped() {
    let kept = |world: &mut Environment| {
        let old = get(world, "A");
        set(world, "CONDA_BACKUP_A", old.clone());
        set(world, "_CONDA_SET_A", "1");
        set(world, "A_PREV", old);
    };
    assert_eq!(steps(&kept).unwrap(), []);
    // Named like a copy, but none.
    assert_eq!(
        steps(&|world| set(world, "A_BACKUP", "/dir"))
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn helpers_of_a_script_are_left_alone() {
    let refused = "sets `A` to what no simple rule gives";
    let assigned = |world: &mut Environment| {
        if world.contains_key("A") {
            set(world, "A", "x");
        }
    };
    assert_eq!(steps_with(&assigned, "+ A=x\n[ \"${A}\" ]").unwrap(), []);
    assert_eq!(
        steps_with(&assigned, "+ for A in x y\necho $A").unwrap(),
        []
    );
    // The same effect where the script never reads it, so that it can only be meant for others;
    assert_eq!(
        steps_with(&assigned, "+ A=x\n[ $AB ]").unwrap_err(),
        refused
    );
    // where the script exports it, or where it is assigned only if it was set.
    assert_eq!(
        steps_with(&assigned, "+ export A=x\n[ $A ]").unwrap_err(),
        refused
    );
    assert_eq!(steps_with(&assigned, "[ $A ]").unwrap_err(), refused);
    let prepended = |world: &mut Environment| {
        if world.contains_key("A") {
            let value = format!("x:{}", get(world, "A"));
            set(world, "A", value);
        }
    };
    assert_eq!(
        steps_with(&prepended, "A=x:$A\n+ A=x:\n[ $A ]").unwrap_err(),
        refused
    );
}

#[test]
fn one_world_that_differs_is_enough_to_refuse() {
    for odd in 0..worlds().len() {
        let before = worlds();
        let mut after = worlds();
        for (number, world) in after.iter_mut().enumerate() {
            set(world, "C", if number == odd { "odd" } else { "x" });
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
        assert!(infer(&changes).is_err(), "world {odd}");
    }
}
