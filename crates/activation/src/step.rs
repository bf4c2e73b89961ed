//! Responsible for applying a step to environment variables.

use super::{ActivationStep, ValuePart, trials::Environment};

impl ValuePart {
    /// Returns the concatenated text of the parts.
    pub(super) fn join(parts: &[Self], environment: &Environment) -> String {
        let mut joined = String::new();
        for part in parts {
            match part {
                Self::Literal(text) => joined.push_str(text),
                Self::Variable {
                    name,
                    before,
                    after,
                } => {
                    if let Some(value) = environment.get(name).filter(|value| !value.is_empty()) {
                        joined.extend([before, value.as_str(), after]);
                    }
                }
                Self::VariableOr { name, otherwise } => joined.push_str(
                    environment
                        .get(name)
                        .filter(|value| !value.is_empty())
                        .unwrap_or(otherwise),
                ),
            }
        }
        joined
    }

    /// Returns the variable that the part reads.
    pub fn variable(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Variable { name, .. } | Self::VariableOr { name, .. } => Some(name),
        }
    }
}

impl ActivationStep {
    /// Name of the variable that the step changes.
    pub fn name(&self) -> &str {
        match self {
            Self::Set { name, .. }
            | Self::Unset { name }
            | Self::Default { name, .. }
            | Self::Join { name, .. } => name,
        }
    }

    /// Returns the value of the variable after the step.
    pub(super) fn value(&self, environment: &Environment) -> Option<String> {
        match self {
            Self::Set { value, .. } => Some(value.clone()),
            Self::Unset { .. } => None,
            Self::Default {
                name,
                value,
                or_empty,
            } => Some(match environment.get(name) {
                Some(own) if !(own.is_empty() && *or_empty) => own.clone(),
                _ => value.clone(),
            }),
            Self::Join { parts, .. } => Some(ValuePart::join(parts, environment)),
        }
    }

    pub(super) fn apply(&self, environment: &mut Environment) {
        match self.value(environment) {
            Some(value) => environment.insert(self.name().to_owned(), value),
            None => environment.remove(self.name()),
        };
    }

    /// Names of other variables that the step reads.
    pub(super) fn read(&self) -> impl Iterator<Item = &str> {
        let parts: &[ValuePart] = if let Self::Join { parts, .. } = self {
            parts
        } else {
            &[]
        };
        parts
            .iter()
            .filter_map(ValuePart::variable)
            .filter(|name| *name != self.name())
    }

    /// Returns the variable that the step changes and those that it reads.
    pub fn names(&self) -> Vec<&str> {
        let mut names = vec![self.name()];
        if let Self::Join { parts, .. } = self {
            names.extend(parts.iter().filter_map(ValuePart::variable));
        }
        names
    }
}
