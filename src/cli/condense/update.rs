//! Responsible for the verb `condense update`, which adds packages to an installation and removes
//! packages from it.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::bail;
use clap::Args;
use condense_build::plan::{PackageChange, UpdatePlan, UpdatedKind};
use condense_env_vars::EnvVars;

use super::{
    Context,
    inputs::{Inputs, RULE, refuse_empty},
    installations::find,
    subject,
};
use crate::{
    cli::{
        update::{self, Asked, UpdateOptions},
        update_installation,
    },
    console::Console,
};

#[derive(Debug, Args)]
#[command(after_help = RULE)]
pub(super) struct Arguments {
    /// Installation: a name in TYKKY_PATH or a directory; options of the previous build that are
    /// not given again stay in effect
    #[arg(value_name = "NAME|DIR")]
    name: PathBuf,
    /// Environment file or requirements file whose packages are added; and packages that are added
    /// or get another version, such as numpy=2
    #[arg(value_name = "FILE|SPEC")]
    inputs: Vec<OsString>,
    /// Package that is removed: one of conda, with what only it needed, or one of pip; may be given
    /// several times
    #[arg(long, value_name = "PKG")]
    remove: Vec<String>,
    /// Let every conda package move to the newest version that the requests allow; without it,
    /// installed packages stay as they are where the change allows it
    #[arg(long)]
    update_all: bool,
    /// Channel, which comes after those of the environment; may be given several times
    #[arg(short, long, value_name = "CHANNEL")]
    channel: Vec<String>,
    /// Requirement for pip, such as rich or rich==13; may be given several times
    #[arg(long, value_name = "REQ")]
    pip: Vec<String>,
    /// Requirements file for pip
    #[arg(short = 'r', long, value_name = "FILE")]
    requirement: Option<PathBuf>,
    #[command(flatten)]
    options: UpdateOptions,
}

/// Makes the next generation of the installation, unless nothing changes.
pub(super) fn run(
    arguments: Arguments,
    words: &[OsString],
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let plan = plan(arguments, words, context.env_vars, context.console)?;
    update_installation(&plan, context)
}

fn plan(
    arguments: Arguments,
    words: &[OsString],
    env_vars: &EnvVars,
    console: &Console,
) -> anyhow::Result<UpdatePlan> {
    let Arguments {
        name,
        inputs,
        remove,
        update_all,
        channel,
        pip,
        requirement,
        options,
    } = arguments;
    for (option, values) in [
        ("--remove", &remove),
        ("--pip", &pip),
        ("--channel", &channel),
    ] {
        refuse_empty(option, values)?;
    }
    let added = Inputs::read(&inputs, env_vars, console)?.additions(requirement)?;
    let dir = find(&name, env_vars);
    if !dir.exists() {
        bail!(subject::missing(&name, "installation", &dir, env_vars));
    }
    let asked = Asked {
        program: "condense",
        kind: UpdatedKind::Any,
        dir,
        requirements: added.requirements,
        pip,
        change: PackageChange {
            file: added.file,
            add: added.packages,
            channels: channel,
            remove,
            update_all,
        },
    };
    update::plan(options, asked, words, env_vars, console)
}
