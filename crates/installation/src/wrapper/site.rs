//! Responsible for the settings of a site that are evaluated at every start, on the node where the
//! program starts: flags of the runtime for GPUs that exist there, and variables that the user has
//! not set.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use condense_activation::ValuePart;

use crate::error::Result;
use crate::quote::{check_name, escape_in_expansion, quote};

/// A variable of the site, set for programs unless the user has set it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteVariable {
    /// Name of the variable.
    pub name: String,
    /// Value of the variable. `${NAME}` stands for the value of another variable at the start, or
    /// for nothing if that variable is not set.
    pub value: String,
    /// Path that must exist on the host, or else the variable is not set.
    pub path: Option<PathBuf>,
}

/// Flags by which a runtime mounts the devices and libraries of GPUs, each with the device without
/// which the flag would only print a warning.
const GPU_FLAGS: [(&str, &str); 2] = [("--rocm", "/dev/kfd"), ("--nv", "/dev/nvidiactl")];

/// Returns the device without which a flag of the runtime would only print a warning. Other flags
/// have none.
pub fn device_of_flag(flag: &str) -> Option<&'static Path> {
    let found = GPU_FLAGS.iter().find(|(name, _)| *name == flag);
    found.map(|(_, device)| Path::new(*device))
}

/// Returns the flags that are always passed, and lines of shell code for those that are passed only
/// where their device exists.
pub(super) fn split_flags(flags: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut always, mut lines) = (Vec::new(), Vec::new());
    for flag in flags {
        match GPU_FLAGS.iter().find(|(name, _)| name == flag) {
            Some((name, device)) => {
                lines.push(format!("[ ! -e {device} ] || flags=\"$flags {name}\""));
            }
            None => always.push(flag.clone()),
        }
    }
    (always, lines)
}

/// Returns shell code that sets `flags` to the flags of the runtime and exports the variables, on
/// the node where it runs.
///
/// # Errors
/// Returns an error for a name that is no name of a variable.
pub fn render_site_settings(flags: &[String], variables: &[SiteVariable]) -> Result<String> {
    let (always, lines) = split_flags(flags);
    let always = quote(always.join(" "));
    let mut text = format!("flags={}\n", always.to_string_lossy());
    for line in lines.into_iter().chain(render_variables(variables)?) {
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

/// Returns one line of shell code for each variable. The lines start no process.
pub(super) fn render_variables(variables: &[SiteVariable]) -> Result<Vec<String>> {
    variables
        .iter()
        .map(|variable| {
            let SiteVariable { name, path, .. } = variable;
            check_name(name)?;
            let there = path.as_ref().map_or(String::new(), |path| {
                format!("[ ! -e {} ] || ", quote(path).to_string_lossy())
            });
            let value = variable.render_value()?;
            Ok(format!(
                "{there}[ \"${{{name}+x}}\" ] || export {name}=\"{value}\""
            ))
        })
        .collect()
}

impl SiteVariable {
    /// Splits the value into constant text and other variables, in their order.
    pub(crate) fn parts(&self) -> Result<Vec<ValuePart>> {
        let mut parts = Vec::new();
        let mut rest = self.value.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, behind)) = after.split_once('}') else {
                break;
            };
            check_name(name)?;
            parts.push(ValuePart::Literal(before.to_owned()));
            parts.push(ValuePart::Variable {
                name: name.to_owned(),
                before: String::new(),
                after: String::new(),
            });
            rest = behind;
        }
        parts.push(ValuePart::Literal(rest.to_owned()));
        Ok(parts)
    }

    /// Returns the value as text for the inside of double quotes.
    fn render_value(&self) -> Result<String> {
        let parts = self.parts()?.into_iter();
        let texts = parts.map(|part| match part {
            // Outside of an expansion a closing brace is not special, and a backslash before it
            // would be kept.
            ValuePart::Literal(text) => escape_in_expansion(&text).replace("\\}", "}"),
            ValuePart::Variable { name, .. } | ValuePart::VariableOr { name, .. } => {
                format!("${{{name}-}}")
            }
        });
        Ok(texts.collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

    use super::*;

    fn said(lines: &[String], variables: &[(&str, &str)]) -> String {
        let script = format!(
            "set -u\nflags=''\n{}\nprintf '%s|%s\\n' \"$flags\" \"${{X-none}}\"",
            lines.join("\n")
        );
        let output = Command::new("/bin/sh")
            .args(["-c", &script])
            .env_clear()
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn variable(value: &str, path: Option<&str>) -> Vec<String> {
        let variable = SiteVariable {
            name: "X".to_owned(),
            value: value.to_owned(),
            path: path.map(PathBuf::from),
        };
        render_variables(&[variable]).unwrap()
    }

    #[test]
    fn variables_are_set_if_their_path_exists_and_the_user_has_not_set_them() {
        let check = |value: &str, path: Option<&str>, user: &[(&str, &str)], expected: &str| {
            assert_eq!(
                said(&variable(value, path), user),
                format!("|{expected}"),
                "{value}"
            );
        };
        check("hsn", None, &[], "hsn");
        check("hsn", Some("/"), &[], "hsn");
        check("hsn", Some("/no/such place"), &[], "none");
        check("hsn", Some("/"), &[("X", "eth0")], "eth0");
        check("hsn", None, &[("X", "")], "");
        let cache = "/tmp/${USER}-${SLURM_JOB_ID}.x";
        check(
            cache,
            None,
            &[("USER", "$(me)"), ("SLURM_JOB_ID", "7")],
            "/tmp/$(me)-7.x",
        );
        check(cache, None, &[], "/tmp/-.x");
        check("a\"b\\c$d`e`}f{", None, &[], "a\"b\\c$d`e`}f{");
        check("${", None, &[], "${");
    }

    #[test]
    fn names_that_no_shell_knows_are_refused() {
        for (name, value) in [("A B", "x"), ("A", "${B;rm}")] {
            let variable = SiteVariable {
                name: name.to_owned(),
                value: value.to_owned(),
                path: None,
            };
            assert!(render_variables(&[variable]).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn flags_for_gpus_count_where_the_gpus_are() {
        let flags = ["--rocm", "--cleanenv", "--nv"].map(str::to_owned);
        let (always, lines) = split_flags(&flags);
        assert_eq!(always, ["--cleanenv"]);
        let by_hand = |path: &str, flag: &str| {
            if std::path::Path::new(path).exists() {
                format!(" {flag}")
            } else {
                String::new()
            }
        };
        let expected = by_hand("/dev/kfd", "--rocm") + &by_hand("/dev/nvidiactl", "--nv");
        assert_eq!(said(&lines, &[]), format!("{expected}|none").trim());
        let lines: Vec<String> = lines
            .iter()
            .map(|line| line.replace("/dev/kfd", "/"))
            .collect();
        assert!(said(&lines, &[]).starts_with("--rocm"), "{lines:?}");
    }
}
