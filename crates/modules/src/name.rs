//! Responsible for names and versions of modules, and for the names of variables made from them.

use std::fmt;

use crate::error::{Error, Result};

/// Name and version of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleName {
    name: String,
    version: String,
}

/// Words that have a meaning of their own in directories of modules.
const RESERVED: [&str; 2] = ["default", "modulefile"];

impl ModuleName {
    /// Checks a name and a version.
    ///
    /// # Errors
    /// Returns [`Error::Name`] for words that Lmod or Environment Modules would not find.
    pub fn new(name: &str, version: &str) -> Result<Self> {
        check(name, "name")?;
        check(version, "version")?;
        if has_ending_of_lmod(version) {
            return Err(Error::Name {
                word: version.to_owned(),
                what: "version",
                problem: "Lmod takes `.lua` for the end of the file's name",
            });
        }
        Ok(Self {
            name: name.to_owned(),
            version: version.to_owned(),
        })
    }

    /// Returns the name without the version.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the version without the name.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the end of the variables of this module, such as `PYTORCH`.
    pub fn suffix(&self) -> String {
        variable_suffix(&self.name)
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

fn has_ending_of_lmod(version: &str) -> bool {
    version
        .rsplit_once('.')
        .is_some_and(|(_, end)| end == "lua")
}

fn check(word: &str, what: &'static str) -> Result<()> {
    let refuse = |problem| {
        Err(Error::Name {
            word: word.to_owned(),
            what,
            problem,
        })
    };
    let Some(first) = word.chars().next() else {
        return refuse("it is empty");
    };
    if word.contains('/') {
        return refuse("a `/` would make a directory of it");
    }
    if word.contains(char::is_whitespace) {
        return refuse("it has a blank");
    }
    if first == '.' {
        return refuse("modules that begin with a dot are hidden");
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
    if let Some(odd) = word.chars().find(|c| !is_plain(*c)) {
        return refuse(match odd {
            ':' | ',' | '@' | '~' | '=' => {
                "Environment Modules reads this sign as part of a version"
            }
            _ => "a shell or a module tool would read a sign in it differently",
        });
    }
    if !(first.is_ascii_alphanumeric() || first == '_') {
        return refuse("it begins like an option");
    }
    if RESERVED.contains(&word) {
        return refuse("module tools have a meaning of their own for it");
    }
    Ok(())
}

/// Returns the end of the variables of a module by EasyBuild's rule: `+` becomes `PLUS`, `-`
/// becomes `MIN`, dots are left out, and the rest is in capitals.
pub fn variable_suffix(name: &str) -> String {
    let spelled = name.replace('+', "PLUS").replace('-', "MIN");
    spelled.replace('.', "").to_uppercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// M2: one function for SIF… and EBROOT…, by EasyBuild's rule.
    #[test]
    fn variables_are_named_by_the_rule_of_easybuild() {
        for (name, expected) in [
            ("PyTorch", "PYTORCH"),
            ("mpi4py", "MPI4PY"),
            ("aws-ofi-rccl", "AWSMINOFIMINRCCL"),
            ("T-x+y.z", "TMINXPLUSYZ"),
            ("7zip", "7ZIP"),
        ] {
            assert_eq!(variable_suffix(name), expected);
        }
    }

    #[test]
    fn names_that_no_tool_finds_are_refused() {
        let check = |name: &str, version: &str, why: &str| match ModuleName::new(name, version) {
            Ok(module) => assert_eq!(module.to_string(), why),
            Err(error) => assert!(error.to_string().contains(why), "{error}"),
        };
        check("PyTorch", "2.7.1-rocm-6.2.4", "PyTorch/2.7.1-rocm-6.2.4");
        check("a+b", "1_2", "a+b/1_2");
        check("", "1", "`` cannot be the name of a module: it is empty");
        check("a/b", "1", "would make a directory");
        check("a b", "1", "has a blank");
        check(".a", "1", "are hidden");
        check("-a", "1", "begins like an option");
        check("a$b", "1", "read a sign in it differently");
        check("a", "1@2", "part of a version");
        check("a", "default", "a meaning of their own");
        check("a", "1.lua", "for the end of the file's name");
        check("ä", "1", "differently");
    }
}
