//! Responsible for what a file cannot say about itself: the machine it is read for and the
//! variables it may use.

use std::collections::BTreeMap;

use crate::target::Architecture;

/// What a file is read in. The reading depends on nothing else but the file and those that it
/// includes.
#[derive(Clone)]
pub struct Surroundings {
    /// Selectors in comments are answered for Linux on this.
    pub architecture: Architecture,
    /// What `$NAME` and `${NAME}` in a channel's URL may stand for. Values may be secret and are
    /// never shown.
    pub variables: BTreeMap<String, String>,
}

impl Default for Surroundings {
    /// This machine's kind of processor and no variables.
    fn default() -> Self {
        let architecture = Architecture::from_machine(std::env::consts::ARCH);
        Self {
            architecture: architecture.unwrap_or(Architecture::X86_64),
            variables: BTreeMap::new(),
        }
    }
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings")
            .field("architecture", &self.architecture)
            .finish_non_exhaustive()
    }
}

impl Surroundings {
    /// Replaces `$NAME` and `${NAME}`; any other `$` stays, as it does in conda.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let behind = &rest[at + 1..];
            let (name, after) = match behind.strip_prefix('{') {
                Some(braced) => match braced.split_once('}') {
                    Some((name, after)) => (name, after),
                    None => return Err(format!("`${{` in `{text}` has no `}}`")),
                },
                None => behind.split_at(
                    behind
                        .find(|c: char| c != '_' && !c.is_ascii_alphanumeric())
                        .unwrap_or(behind.len()),
                ),
            };
            if name.is_empty() {
                out.push('$');
                rest = behind;
                continue;
            }
            let value = self.variables.get(name).ok_or_else(|| {
                format!("the environment variable `{name}` of `{text}` is not set")
            })?;
            out.push_str(value);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}
