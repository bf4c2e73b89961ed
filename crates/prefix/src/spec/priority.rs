//! Responsible for what the order of channels means.

/// What the order of channels means where several have a package of one name, in conda's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelPriority {
    /// A later channel is asked where no package of an earlier one fits: what conda does unless it is told.
    #[default]
    Flexible,
    /// A later channel is not asked for a name that an earlier one has.
    Strict,
    /// The newest version is taken, wherever it is.
    Disabled,
}

impl ChannelPriority {
    /// As `channel_priority:` has it; true and false are what older ones have.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "flexible" | "true" => Some(Self::Flexible),
            "strict" => Some(Self::Strict),
            "disabled" | "false" => Some(Self::Disabled),
            _ => None,
        }
    }

    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flexible => "flexible",
            Self::Strict => "strict",
            Self::Disabled => "disabled",
        }
    }
}
