//! Responsible for what a step does to an environment.

use super::{Part, Step, worlds::Environment};

impl Part {
    /// The text that the parts give together.
    pub(super) fn join(parts: &[Self], environment: &Environment) -> String {
        let mut joined = String::new();
        for part in parts {
            match part {
                Self::Literal(text) => joined.push_str(text),
                Self::Variable {
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
    pub(super) fn value(&self, environment: &Environment) -> Option<String> {
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
            Self::Join { parts, .. } => Some(Part::join(parts, environment)),
        }
    }

    pub(super) fn apply(&self, environment: &mut Environment) {
        match self.value(environment) {
            Some(value) => environment.insert(self.name().to_owned(), value),
            None => environment.remove(self.name()),
        };
    }

    /// Other variables that it reads.
    pub(super) fn read(&self) -> impl Iterator<Item = &str> {
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
