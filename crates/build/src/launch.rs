//! Responsible for the activation that wrappers replay: conda's own variables, and the changes of
//! the environment's scripts.

use condense_activation::{Activation, ActivationStep, ValuePart};
use condense_installation::conda_activation;

use std::path::Path;

/// Returns the steps of conda's own variables, then those of the environment's scripts.
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
        // It comes last, so that a `conda` of the environment or of the user is found first.
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
