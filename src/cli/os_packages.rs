//! Responsible for the option that names packages of the base's own distribution.

use anyhow::bail;
use clap::{ArgAction, Args};
use condense_diagnostics::UserError;

/// Characters in names of packages besides letters and digits. A version follows `=`, an
/// architecture `:`, and rpm has `~` and `^` in versions.
const SIGNS: &str = "+-._:=~^";

/// Packages of the base's own distribution.
#[derive(Debug, Args)]
pub(super) struct OsPackagesArguments {
    /// packages of the base's distribution (apt, zypper, dnf, microdnf, yum or apk) that are added
    /// to the base, separated by spaces; may be given several times
    #[arg(long, value_name = "LIST", action = ArgAction::Append)]
    os_packages: Vec<String>,
}

impl OsPackagesArguments {
    /// Returns whether the option is given.
    pub(super) fn is_given(&self) -> bool {
        !self.os_packages.is_empty()
    }

    /// Returns the names, each once.
    ///
    /// # Errors
    /// Returns an error for a name that no distribution has.
    pub(super) fn names(&self) -> anyhow::Result<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        for list in &self.os_packages {
            for name in list
                .split([' ', '\t', '\n', ','])
                .filter(|name| !name.is_empty())
            {
                let is_plain = |c: char| c.is_ascii_alphanumeric() || SIGNS.contains(c);
                // A sign at the end would ask apt to remove a package.
                if !name.starts_with(|c: char| c.is_ascii_alphanumeric())
                    || name.ends_with('-')
                    || !name.chars().all(is_plain)
                {
                    let error = UserError::new(
                        format!("`--os-packages`: `{name}` is not the name of a package"),
                        "name packages as the distribution of the base names them, separated by spaces",
                    );
                    bail!(error.of_usage());
                }
                if !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
        }
        if names.is_empty() && !self.os_packages.is_empty() {
            let error = UserError::new(
                "`--os-packages` names no package",
                "write, for example, `--os-packages \"mesa-utils hostname\"`",
            );
            bail!(error.of_usage());
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(lists: &[&str]) -> String {
        let os_packages = lists.iter().map(|&list| list.to_owned()).collect();
        match (OsPackagesArguments { os_packages }).names() {
            Ok(names) => names.join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn names_are_split_and_options_and_shell_text_are_refused() {
        for (lists, expected) in [
            (
                &["mesa-utils hostname", "hostname,g++"][..],
                "mesa-utils hostname g++",
            ),
            (&["hello=2.10-3", "libc6:i386"], "hello=2.10-3 libc6:i386"),
            (&[], ""),
            (&[" "], "`--os-packages` names no package"),
            (
                &["a -oX"],
                "`--os-packages`: `-oX` is not the name of a package",
            ),
            (
                &["libc6-"],
                "`--os-packages`: `libc6-` is not the name of a package",
            ),
            (
                &["a;b"],
                "`--os-packages`: `a;b` is not the name of a package",
            ),
            (
                &["../a.deb"],
                "`--os-packages`: `../a.deb` is not the name of a package",
            ),
        ] {
            assert_eq!(names(lists), expected);
        }
    }
}
