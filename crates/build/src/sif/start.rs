//! Responsible for starting a new image once, as its users will.

use std::{ffi::OsString, path::Path};

use anyhow::{Context, bail};
use condense_installation::{Exec, Isolation, Runtime};

use super::install::Installed;
use crate::build::Build;

/// Script that checks a variable and starts a program. Its first two arguments are the name of the
/// variable and its expected value; the others are the program and its arguments.
const START: &str = "eval \"found=\\${$1-}\"
[ \"$found\" = \"$2\" ] || { echo \"$1 is '$found', not '$2'\"; exit 1; }
shift 2; exec \"$@\"";

impl Build<'_> {
    /// Runs a program in the new image, if there is a runtime and a shell in the base.
    ///
    /// # Errors
    /// Returns an error if the program fails.
    pub(super) fn start_sif(
        &self,
        sif: &Path,
        installed: Option<&Installed>,
    ) -> anyhow::Result<()> {
        let Some(runtime) = &self.prepared.runtime else {
            return Ok(());
        };
        if !self.prepared.base.facts.has_sh {
            return Ok(());
        }
        let argv: Vec<OsString> = match installed {
            None => ["/bin/sh", "-c", ":"].map(OsString::from).into(),
            Some(Installed { environment, .. }) => {
                let mut argv = ["/bin/sh", "-c", START, "sh"].map(OsString::from).to_vec();
                argv.push(environment.kind.variable().into());
                argv.push(environment.prefix.clone().into());
                let program: &[&str] = if environment.has_python {
                    &["python", "-c", "import sys"]
                } else {
                    &["/bin/sh", "-c", ":"]
                };
                argv.extend(program.iter().map(OsString::from));
                argv
            }
        };
        start(runtime, sif, argv)
    }
}

fn start(runtime: &Runtime, sif: &Path, argv: Vec<OsString>) -> anyhow::Result<()> {
    let exec = Exec {
        base: sif.to_owned(),
        isolation: Isolation {
            clean_env: true,
            ..Isolation::default()
        },
        argv,
        ..Exec::default()
    };
    let mut command = runtime.exec(&exec);
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .with_context(|| format!("failed to start `{}`", runtime.program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    bail!(
        "the finished image does not start ({}):\n{}",
        output.status,
        String::from_utf8_lossy(&said).trim()
    )
}
