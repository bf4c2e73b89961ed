//! Responsible for what a site's rules come to at every start, on the node where it starts: flags
//! of the runtime for GPUs that are there, variables that nobody has set.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Part, check_name};
use crate::error::Result;
use crate::quote::{escape_in_expansion, quote};

/// A variable of the site's, set for programs unless the user has set it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteVariable {
    /// Its name.
    pub name: String,
    /// Its value; `${NAME}` stands for another variable as it is at the start, nothing where that
    /// is not set.
    pub value: String,
    /// It is set only where this exists.
    pub path: Option<PathBuf>,
}

/// Flags by which a runtime shows GPUs, each with the device without which it would only warn.
const GPU_FLAGS: [(&str, &str); 2] = [("--rocm", "/dev/kfd"), ("--nv", "/dev/nvidiactl")];

/// The flags that always count, and lines of shell for those that count where their device is.
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

/// One line of shell for each variable; no process is started.
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
    /// Its value, literal text and other variables one behind the other.
    pub(crate) fn parts(&self) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        let mut rest = self.value.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, behind)) = after.split_once('}') else {
                break;
            };
            check_name(name)?;
            parts.push(Part::Literal(before.to_owned()));
            parts.push(Part::Variable {
                name: name.to_owned(),
                before: String::new(),
                after: String::new(),
            });
            rest = behind;
        }
        parts.push(Part::Literal(rest.to_owned()));
        Ok(parts)
    }

    /// Text for the inside of double quotes.
    fn render_value(&self) -> Result<String> {
        let parts = self.parts()?.into_iter();
        let texts = parts.map(|part| match part {
            // Outside of an expansion a closing brace means nothing, and a backslash before it
            // would stay.
            Part::Literal(text) => escape_in_expansion(&text).replace("\\}", "}"),
            Part::Variable { name, .. } | Part::VariableOr { name, .. } => format!("${{{name}-}}"),
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
    fn variables_are_set_where_their_path_is_and_nobody_has_set_them() {
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
