//! Responsible for handing what the environment's activation does from the crate that found out to
//! the crate that replays it.

use condense_installation::{ActivationStep, Part, conda_activation};
use condense_prefix::activation::{self, Activation};

use std::path::Path;

/// conda's own variables first, then what the environment's scripts do.
pub(super) fn steps(
    activation: &Activation,
    env_prefix: &Path,
    env_name: &str,
) -> Vec<ActivationStep> {
    let mut steps = conda_activation(env_prefix, env_name);
    if let Some(root) = env_prefix
        .parent()
        .filter(|envs| envs.ends_with("miniforge/envs"))
        .and_then(Path::parent)
    {
        // Behind everything else: what the environment and the user have of this name is meant.
        steps.push(ActivationStep::Join {
            name: "PATH".to_owned(),
            parts: vec![
                Part::Variable {
                    name: "PATH".to_owned(),
                    before: String::new(),
                    after: ":".to_owned(),
                },
                Part::Literal(root.join("condabin").display().to_string()),
            ],
        });
    }
    steps.extend(scripts(activation));
    steps
}

/// What the environment's scripts do, alone.
pub(super) fn scripts(activation: &Activation) -> Vec<ActivationStep> {
    activation.steps.iter().map(step).collect()
}

fn step(step: &activation::Step) -> ActivationStep {
    use activation::Step;
    match step.clone() {
        Step::Set { name, value } => ActivationStep::Set { name, value },
        Step::Unset { name } => ActivationStep::Unset { name },
        Step::Default {
            name,
            value,
            also_if_empty,
        } => ActivationStep::Default {
            name,
            value,
            or_empty: also_if_empty,
        },
        Step::Join { name, parts } => ActivationStep::Join {
            name,
            parts: parts.into_iter().map(part).collect(),
        },
    }
}

fn part(part: activation::Part) -> Part {
    match part {
        activation::Part::Literal(text) => Part::Literal(text),
        activation::Part::Variable {
            name,
            otherwise: Some(otherwise),
            ..
        } => Part::VariableOr { name, otherwise },
        activation::Part::Variable {
            name,
            before,
            after,
            otherwise: None,
        } => Part::Variable {
            name,
            before,
            after,
        },
    }
}
