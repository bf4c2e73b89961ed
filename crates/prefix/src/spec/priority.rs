//! Responsible for the priority of channels.

/// Priority of channels that have packages of the same name, in conda's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelPriority {
    /// A package of a later channel is used only if no package of that name in an earlier channel
    /// fits. This is conda's default.
    #[default]
    Flexible,
    /// A package of a later channel is never used if an earlier channel has a package of that name.
    Strict,
    /// The newest version is used, whichever channel has it.
    Disabled,
}

impl ChannelPriority {
    /// Parses a value of `channel_priority:`. Older configurations have `true` and `false`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "flexible" | "true" => Some(Self::Flexible),
            "strict" => Some(Self::Strict),
            "disabled" | "false" => Some(Self::Disabled),
            _ => None,
        }
    }

    /// Returns the value for `channel_priority:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flexible => "flexible",
            Self::Strict => "strict",
            Self::Disabled => "disabled",
        }
    }
}
