//! Responsible for handing what the environment's activation does from the crate that found out to
//! the crate that replays it.

use condense_activation::{Activation, ActivationStep, ValuePart};
use condense_installation::conda_activation;

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
                ValuePart::Variable {
                    name: "PATH".to_owned(),
                    before: String::new(),
                    after: ":".to_owned(),
                },
                ValuePart::Literal(root.join("condabin").display().to_string()),
            ],
        });
    }
    steps.extend(activation.steps.iter().cloned());
    steps
}
