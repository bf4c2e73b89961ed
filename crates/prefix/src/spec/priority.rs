//! Responsible for the meaning of the order of channels.

/// The meaning of the order of channels when several have a package of the same name, in conda's
/// terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelPriority {
    /// A later channel is used only when no package of an earlier one fits. This is conda's
    /// default.
    #[default]
    Flexible,
    /// A later channel is not used for a name that an earlier one has.
    Strict,
    /// The newest version is taken from any channel.
    Disabled,
}

impl ChannelPriority {
    /// Parses a value of `channel_priority:`. Older configurations have true and false.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "flexible" | "true" => Some(Self::Flexible),
            "strict" => Some(Self::Strict),
            "disabled" | "false" => Some(Self::Disabled),
            _ => None,
        }
    }

    /// Returns the word for `channel_priority:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flexible => "flexible",
            Self::Strict => "strict",
            Self::Disabled => "disabled",
        }
    }
}
