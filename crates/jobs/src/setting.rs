//! Responsible for what a script of a job sets, each with its value, its reason and its source.

use serde::Serialize;

/// Kind of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingKind {
    /// Option for the scheduler.
    Directive,
    /// Module that is loaded.
    Module,
    /// Environment variable of the program.
    Variable,
    /// Option of the launcher.
    Launcher,
    /// Option of the container runtime.
    Runtime,
}

impl SettingKind {
    /// Returns the name of the kind.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Directive => "directive",
            Self::Module => "module",
            Self::Variable => "variable",
            Self::Launcher => "launcher",
            Self::Runtime => "runtime",
        }
    }
}

/// Value that a script sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Kind of the value.
    pub kind: SettingKind,
    /// Name of the option or the variable.
    pub name: String,
    /// Value; an option without one has none.
    pub value: Option<String>,
    /// Reason for the value.
    pub reason: String,
    /// Place that the value comes from: an option, a variable, the site, the image.
    pub source: String,
}

impl std::fmt::Display for Setting {
    /// Writes the name and the value as the script has them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(value) = &self.value else {
            return f.write_str(&self.name);
        };
        let is_short = self.name.starts_with('-') && !self.name.starts_with("--");
        let is_separate = self.kind == SettingKind::Module || is_short && !self.name.contains(' ');
        let sign = if is_separate { ' ' } else { '=' };
        write!(f, "{}{sign}{value}", self.name)
    }
}

/// Settings in the order in which a script has them.
#[derive(Debug, Default)]
pub(crate) struct Settings(pub(crate) Vec<Setting>);

impl Settings {
    pub(crate) fn add(
        &mut self,
        kind: SettingKind,
        name: impl Into<String>,
        value: Option<String>,
        reason: impl Into<String>,
        source: impl Into<String>,
    ) {
        self.0.push(Setting {
            kind,
            name: name.into(),
            value,
            reason: reason.into(),
            source: source.into(),
        });
    }
}
