//! Responsible for the facts that reading a file depends on in addition to its text: the
//! architecture of the target and the environment variables that the file may use.

use std::collections::BTreeMap;

use crate::target::Architecture;

/// Architecture and environment variables for reading a file. The result depends on nothing else
/// but the file and the files that it includes.
#[derive(Clone)]
pub struct SpecContext {
    /// Architecture for which selectors in comments are evaluated; the system is Linux.
    pub architecture: Architecture,
    /// Environment variables that replace `$NAME` and `${NAME}`, in URLs of channels for example.
    /// Values may be secret and are never shown.
    pub variables: BTreeMap<String, String>,
}

impl Default for SpecContext {
    /// Returns the architecture of this machine and no variables.
    fn default() -> Self {
        let architecture = Architecture::from_machine(std::env::consts::ARCH);
        Self {
            architecture: architecture.unwrap_or(Architecture::X86_64),
            variables: BTreeMap::new(),
        }
    }
}

impl std::fmt::Debug for SpecContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpecContext")
            .field("architecture", &self.architecture)
            .finish_non_exhaustive()
    }
}

impl SpecContext {
    /// Replaces `$NAME` and `${NAME}` by the variable's value. Any other `$` stays, as in conda.
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
