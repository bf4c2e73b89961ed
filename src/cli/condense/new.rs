//! Responsible for the verb `condense new`, which makes an installation of a file, of packages that
//! are named, or of both.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::Args;
use condense_build::plan::InstallationPlan;
use condense_diagnostics::UserError;
use condense_env_vars::EnvVars;
use condense_installation::{Destination, State};

use super::{
    Context,
    inputs::{Beside, Inputs, RULE, refuse_empty},
    installations::{find, place_of_new},
    misuse,
};
use crate::{
    cli::{
        build::{self, BuildOptions, CommandOptions, PackagesOption, existing},
        build_installation,
        conda_containerize::{CondaOptions, ENVIRONMENT},
        run_settings::default_channels,
    },
    console::Console,
};

#[derive(Debug, Args)]
#[command(after_help = RULE)]
pub(super) struct Arguments {
    /// Name of the installation, which is made in the first directory of TYKKY_PATH, else in
    /// ~/.tykky; or its directory, with `/`
    #[arg(value_name = "NAME|DIR")]
    name: PathBuf,
    /// Environment file, list of packages, lock or requirements file; and packages, such as numpy=2
    /// or bioconda::samtools
    #[arg(value_name = "FILE|SPEC")]
    inputs: Vec<OsString>,
    #[command(flatten)]
    more: MorePackages,
    #[command(flatten)]
    conda: CondaOptions,
    #[command(flatten)]
    options: BuildOptions,
}

/// Options of all commands of condense that install packages.
#[derive(Debug, Args)]
pub(super) struct MorePackages {
    /// channel, which comes before those of FILE; default: conda-forge; may be given several times
    #[arg(short, long, value_name = "CHANNEL")]
    pub(super) channel: Vec<String>,
    /// requirement for pip, such as rich or rich==13; may be given several times
    #[arg(long, value_name = "REQ")]
    pub(super) pip: Vec<String>,
}

/// Builds the installation. The exit status is 2 if nothing is named that could be installed.
pub(super) fn run(
    arguments: Arguments,
    words: &[OsString],
    context: &Context,
) -> anyhow::Result<ExitCode> {
    match plan(arguments, words, context.env_vars, context.console)? {
        Ok(plan) => build_installation(&plan, context),
        Err(refusal) => Ok(misuse(refusal, context)),
    }
}

/// Makes the plan. The inner error is about the command line itself.
fn plan(
    arguments: Arguments,
    words: &[OsString],
    env_vars: &EnvVars,
    console: &Console,
) -> anyhow::Result<Result<InstallationPlan, UserError>> {
    let Arguments {
        name,
        inputs,
        more,
        conda,
        options,
    } = arguments;
    if inputs.is_empty() && is_input(&name) {
        return Ok(Err(without_name(&name)));
    }
    refuse_empty("--pip", &more.pip)?;
    refuse_empty("--channel", &more.channel)?;
    let requirements = match &conda.requirement {
        Some(path) => Some(existing(path, "Requirements file", env_vars)?),
        None => None,
    };
    let beside = Beside {
        channels: more.channel,
        default_channels: default_channels(env_vars),
        requirements,
        lock: conda.lock(),
        has_pip: !more.pip.is_empty(),
    };
    let Some(requested) = Inputs::read(&inputs, env_vars, console)?.request(beside)? else {
        let hint = if options.has_os_packages() {
            "name packages of the environment as well; `condense build OUT.sif --os-packages …` makes an image without one".to_owned()
        } else {
            format!(
                "`condense new {0} environment.yml` or `condense new {0} python=3.12 numpy --pip rich`",
                name.display()
            )
        };
        return Ok(Err(UserError::new(
            "no FILE and no SPEC is named, so there is nothing to install",
            hint,
        )));
    };
    let dir = place_of_new(&name, env_vars)?;
    if !options.force {
        refuse_existing(&name, &dir, env_vars)?;
    }
    let asked = CommandOptions {
        program: "condense",
        dir,
        packages: PackagesOption::Conda(requested.conda),
        keep_editable: conda.keep_editable,
        requirement: requested.requirements,
        pip: more.pip,
        uv: conda.uv,
        environment: ENVIRONMENT,
    };
    Ok(Ok(build::plan(options, asked, words, env_vars, console)?))
}

/// Returns whether the first word was meant for an input, and the name was forgotten.
fn is_input(name: &std::path::Path) -> bool {
    let text = name.to_string_lossy();
    let is_path = text.contains('/');
    let ends = [".yml", ".yaml", ".txt", ".lock"];
    ends.iter().any(|end| text.ends_with(end)) || !is_path && text.contains(['=', '<', '>', ':'])
}

/// Returns the error for a command line without a name.
fn without_name(input: &std::path::Path) -> UserError {
    let stem = input.file_stem().unwrap_or_default().to_string_lossy();
    let name = stem
        .split(['=', '<', '>', ':', '!'])
        .find(|part| !part.is_empty());
    let name = name.unwrap_or("myenv");
    UserError::new(
        format!(
            "`{}` is what to install, and the installation has no name",
            input.display()
        ),
        format!(
            "name it first: `condense new {name} {0}`, or `condense new ./{name} {0}` for a directory here",
            input.display()
        ),
    )
}

/// Refuses the name of an installation that exists.
fn refuse_existing(
    name: &std::path::Path,
    dir: &std::path::Path,
    env_vars: &EnvVars,
) -> anyhow::Result<()> {
    let known = find(name, env_vars);
    for dir in [dir, &known] {
        let found = Destination::inspect(dir)?;
        if matches!(found.state(), State::Condense { .. } | State::Tykky) {
            let name = name.display();
            anyhow::bail!(UserError::new(
                format!(
                    "there is an installation `{name}` already, in `{}`",
                    dir.display()
                ),
                format!(
                    "`condense update {name} …` changes it, `condense remove {name}` removes it, `--force` makes a new generation of it"
                ),
            ));
        }
    }
    Ok(())
}
