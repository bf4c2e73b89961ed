//! Responsible for the verb `condense build`, which makes a SIF of a base image and of a file of
//! packages, of packages that are named, or of both.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::bail;
use clap::Args;
use condense_build::{
    check_output,
    plan::{Lock, SifContent, SifPlan},
};
use condense_diagnostics::UserError;
use condense_env_vars::EnvVars;
use condense_publish::Existing;

use super::{
    Context,
    inputs::{Beside, Inputs, RULE},
    misuse,
    new::MorePackages,
};
use crate::{
    cli::{
        base::choose_base,
        build::{clean, existing},
        build_sif,
        run_settings::default_channels,
        sif::{self, AskedSif, SifOptions},
    },
    console::Console,
};

#[derive(Debug, Args)]
#[command(after_help = RULE)]
pub(super) struct Arguments {
    /// SIF that is made
    #[arg(value_name = "OUT.sif")]
    out: PathBuf,
    /// Environment file, list of packages, lock or requirements file; and packages, such as numpy=2
    /// or bioconda::samtools
    #[arg(value_name = "FILE|SPEC")]
    inputs: Vec<OsString>,
    #[command(flatten)]
    more: MorePackages,
    /// Requirements file for pip, installed together with the requirements of FILE
    #[arg(short = 'r', long, value_name = "FILE")]
    requirement: Option<PathBuf>,
    /// Base image: a .sif, a sandbox directory, docker://NAME, oras://NAME, oci:DIR, an archive, or
    /// an image of the catalogue (`condense base ls`); default: the site's, else one like this
    /// machine
    #[arg(long, value_name = "REF")]
    base_image: Option<String>,
    #[command(flatten)]
    options: SifOptions,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

/// Builds the SIF. The exit status is 2 if nothing is named that could be installed.
pub(super) fn run(
    arguments: Arguments,
    words: &[OsString],
    context: &Context,
) -> anyhow::Result<ExitCode> {
    match plan(arguments, words, context.env_vars, context.console)? {
        Ok(plan) => build_sif(&plan, context),
        Err(refusal) => Ok(misuse(refusal, context)),
    }
}

/// Makes the plan. The inner error is about the command line itself.
fn plan(
    arguments: Arguments,
    words: &[OsString],
    env_vars: &EnvVars,
    console: &Console,
) -> anyhow::Result<Result<SifPlan, UserError>> {
    let Arguments {
        out,
        inputs,
        more,
        requirement,
        base_image,
        options,
        force,
    } = arguments;
    let beside = Beside {
        channels: more.channel,
        default_channels: default_channels(env_vars),
        requirements: match &requirement {
            Some(path) => Some(existing(path, "Requirements file", env_vars)?),
            None => None,
        },
        lock: options.lock.clone().map(|path| Lock {
            path,
            environment: options.lock_environment.clone(),
        }),
        has_pip: !more.pip.is_empty(),
    };
    let Some(requested) = Inputs::read(&inputs, env_vars, console)?.request(beside)? else {
        let shown = out.display();
        return Ok(Err(UserError::new(
            "no FILE and no SPEC is named, so there is nothing to install",
            format!(
                "`condense build {shown} environment.yml` or `condense build {shown} python=3.12 numpy --pip rich`"
            ),
        )));
    };
    let file = clean(&env_vars.cwd.join(&out));
    let policy = if force {
        Existing::Replace
    } else {
        Existing::Refuse
    };
    check_output(&file, policy, Some("--force"))?;
    let has_pip = requested.requirements.is_some() || !more.pip.is_empty();
    let content = if options.on_top {
        let is_conda = requested
            .conda
            .request()
            .is_none_or(|request| request.file.is_some() || !request.packages.is_empty());
        if is_conda || !has_pip || !options.post.is_empty() {
            bail!(UserError::new(
                "`--on-top` installs requirements for pip over the image's own Python, and nothing else",
                "name them with `--pip REQ`, `-r FILE` or a requirements file, without SPECs, `--lock` and `--post`",
            ));
        }
        SifContent::OnTop
    } else {
        SifContent::Conda(requested.conda)
    };
    let (catalogue, site) = options.site.load(env_vars, console)?;
    let words = words.iter().map(|word| word.to_string_lossy());
    let words = words.map(|word| condense_prefix::without_secrets(&word).into_owned());
    let words: Vec<String> = std::iter::once("condense".to_owned())
        .chain(words)
        .collect();
    let asked = AskedSif {
        out: file,
        base: choose_base(base_image, &catalogue, &site, env_vars, console)?,
        site: &site,
        requirements: requested.requirements,
        pip: more.pip,
        content,
        labels: vec![("condense.command".to_owned(), words.join(" "))],
    };
    Ok(Ok(sif::plan(options, asked, env_vars, console)?))
}
