//! Responsible for the verb `condense build`, which makes a SIF of a base image and of a file of
//! packages, of packages that are named, or of both; or of a definition file.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::bail;
use clap::Args;
use condense_build::{
    check_image_output,
    plan::{Lock, SifContent, SifPlan},
};
use condense_diagnostics::UserError;
use condense_env_vars::EnvVars;
use condense_publish::Existing;

use super::{
    Context,
    inputs::{Beside, Inputs, RULE, Requested, refuse_empty},
    misuse,
    new::MorePackages,
};
use crate::{
    cli::{
        base::choose_base,
        build::{clean, existing},
        build_definition, build_sif,
        definition::{AskedDefinition, DefinitionArguments, is_definition},
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
    /// or bioconda::samtools; or a definition file (.def) alone, which may also come first
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
    #[command(flatten)]
    definition: DefinitionArguments,
    /// Replace an existing file; with a definition file, also labels and help of the source
    #[arg(short = 'F', long)]
    force: bool,
}

/// Builds the SIF. The exit status is 2 if nothing is named that could be installed.
pub(super) fn run(
    arguments: Arguments,
    words: &[OsString],
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let (arguments, file) = match find_definition(arguments, &context.env_vars.cwd) {
        Ok(found) => found,
        Err(refusal) => return Ok(misuse(refusal, context)),
    };
    arguments.definition.check()?;
    if let Some(file) = file {
        return match of_definition(arguments, file, context)? {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(refusal) => Ok(misuse(refusal, context)),
        };
    }
    if let Some(option) = arguments.definition.first() {
        return Ok(misuse(
            UserError::new(
                format!("`{option}` is for definition files, and none is named"),
                format!("leave out `{option}`, or name a file that ends in .def"),
            ),
            context,
        ));
    }
    match plan(arguments, words, context.env_vars, context.console)? {
        Ok(plan) => build_sif(&plan, context),
        Err(refusal) => Ok(misuse(refusal, context)),
    }
}

/// Finds the definition file among the words. It may come before or behind the image. The image
/// becomes `out`.
fn find_definition(
    mut arguments: Arguments,
    cwd: &Path,
) -> Result<(Arguments, Option<PathBuf>), UserError> {
    let out = arguments.out.clone();
    if is_definition(&out) {
        if let (Some(image), []) = (&arguments.requirement, arguments.inputs.as_slice()) {
            return Err(UserError::new(
                format!(
                    "`-r {}` names a file of requirements for pip, and a definition file is built alone",
                    image.display()
                ),
                "leave out `-r`: there is no service that builds images, and scripts need no root on this machine either",
            ));
        }
        let [image] = arguments.inputs.as_slice() else {
            return Err(UserError::new(
                format!(
                    "`{}` is a definition file, and one image is made of it",
                    out.display()
                ),
                format!(
                    "`condense build {0} {1}`",
                    out.display(),
                    out.with_extension("sif").display()
                ),
            ));
        };
        let image = PathBuf::from(image);
        if is_definition(&image) {
            return Err(UserError::new(
                format!(
                    "`{}` and `{}` are two definition files",
                    out.display(),
                    image.display()
                ),
                "name the image that is made with an end such as .sif",
            ));
        }
        arguments.out = image;
        arguments.inputs.clear();
        return Ok((arguments, Some(out)));
    }
    let mut files = arguments.inputs.iter().map(Path::new);
    let found = files.find(|file| is_definition(file) || begins_with_bootstrap(file, cwd));
    let Some(file) = found.map(Path::to_owned) else {
        return Ok((arguments, None));
    };
    if arguments.inputs.len() > 1 {
        return Err(UserError::new(
            format!(
                "`{}` is a definition file, which is built alone",
                file.display()
            ),
            format!(
                "build it first; then name the image as base: `--base-image {}`",
                file.with_extension("sif").display()
            ),
        ));
    }
    arguments.inputs.clear();
    Ok((arguments, Some(file)))
}

/// Returns whether a file whose path is named has a definition, whatever its name ends with.
fn begins_with_bootstrap(file: &Path, cwd: &Path) -> bool {
    /// Number of bytes in which the first header is looked for.
    const HEAD: usize = 4096;
    let text = file.to_string_lossy();
    let place = cwd.join(file);
    if !(text.contains('/') && place.is_file()) {
        return false;
    }
    let bytes = condense_input::read(&place, condense_input::TEXT_MOST).unwrap_or_default();
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(HEAD)]);
    let mut lines = head.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    first.is_some_and(|line| line.to_ascii_lowercase().starts_with("bootstrap:"))
}

/// Builds from a definition file, or shows what a build would do. The inner error is about the
/// command line itself.
fn of_definition(
    arguments: Arguments,
    file: PathBuf,
    context: &Context,
) -> anyhow::Result<Result<(), UserError>> {
    let (env_vars, console) = (context.env_vars, context.console);
    let Arguments {
        out,
        more,
        requirement,
        base_image,
        options,
        definition,
        force,
        ..
    } = arguments;
    let given = [
        (!more.channel.is_empty(), "--channel"),
        (!more.pip.is_empty(), "--pip"),
        (requirement.is_some(), "--requirement"),
        (base_image.is_some(), "--base-image"),
    ];
    let given = given.iter().find(|(is_given, _)| *is_given);
    let given = given.map(|(_, name)| *name);
    if let Some(option) = given.or_else(|| options.first_for_packages()) {
        return Ok(Err(UserError::new(
            format!(
                "`{option}` is for environments, and `{}` is a definition file",
                file.display()
            ),
            format!(
                "leave out `{option}`; packages can be added to the image afterwards: `condense build NEW.sif FILE --base-image {}`",
                out.display()
            ),
        )));
    }
    let out = clean(&env_vars.cwd.join(&out));
    let policy = if force {
        Existing::Replace
    } else {
        Existing::Refuse
    };
    let dry_run = options.dry_run.apply(console);
    check_image_output(&out, policy, Some("--force"))?;
    let (_, site) = options.site.load(env_vars, console)?;
    let asked = AskedDefinition {
        file,
        out,
        existing: policy,
        is_forced: force,
        dry_run,
        submission: options.dry_run.submit.submission(&site, env_vars)?,
        settings: options.settings(&site, env_vars, console)?,
    };
    let plan = definition.plan(asked, env_vars, console)?;
    build_definition(&plan, context)?;
    Ok(Ok(()))
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
        ..
    } = arguments;
    refuse_empty("--pip", &more.pip)?;
    refuse_empty("--channel", &more.channel)?;
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
    let has_channel = !beside.channels.is_empty();
    let requested = Inputs::read(&inputs, env_vars, console)?.request(beside)?;
    if requested.is_none()
        && let Err(refusal) = nothing_to_install(&out, has_channel, &options)
    {
        return Ok(Err(refusal));
    }
    let file = clean(&env_vars.cwd.join(&out));
    let policy = if force {
        Existing::Replace
    } else {
        Existing::Refuse
    };
    check_image_output(&file, policy, Some("--force"))?;
    let (content, requirements) = match requested {
        Some(requested) => content(requested, &more.pip, &options)?,
        None => (SifContent::Nothing, None),
    };
    let (catalogue, site) = options.site.load(env_vars, console)?;
    let words = words.iter().map(|word| word.to_string_lossy());
    let words = words.map(|word| condense_prefix::without_secrets(&word).into_owned());
    let words: Vec<String> = std::iter::once("condense".to_owned())
        .chain(words)
        .collect();
    let asked = AskedSif {
        out: file,
        existing: policy,
        base: choose_base(base_image, &catalogue, &site, env_vars, console)?,
        site: &site,
        requirements,
        pip: more.pip,
        content,
        labels: vec![("condense.command".to_owned(), words.join(" "))],
    };
    Ok(Ok(sif::plan(options, asked, env_vars, console)?))
}

/// Refuses a command line that names no packages, unless something else is added to the base.
fn nothing_to_install(
    out: &Path,
    has_channel: bool,
    options: &SifOptions,
) -> Result<(), UserError> {
    let shown = out.display();
    if !options.adds_to_base() {
        return Err(UserError::new(
            "no FILE and no SPEC is named, so there is nothing to install",
            format!(
                "`condense build {shown} environment.yml`, `condense build {shown} python=3.12 numpy --pip rich`, or `--os-packages` for packages of the base's distribution"
            ),
        ));
    }
    let without_meaning = [(has_channel, "--channel"), (options.on_top, "--on-top")];
    match without_meaning.iter().find(|(is_given, _)| *is_given) {
        Some((_, option)) => Err(UserError::new(
            format!("`{option}` is for an environment, and none is named"),
            format!("leave out `{option}`, or name packages"),
        )),
        None => Ok(()),
    }
}

/// Returns the content of the image, and the requirements file.
fn content(
    requested: Requested,
    pip: &[String],
    options: &SifOptions,
) -> anyhow::Result<(SifContent, Option<PathBuf>)> {
    let Requested {
        conda,
        requirements,
    } = requested;
    if !options.on_top {
        return Ok((SifContent::Conda(conda), requirements));
    }
    let has_pip = requirements.is_some() || !pip.is_empty();
    let is_conda = conda
        .request()
        .is_none_or(|request| request.file.is_some() || !request.packages.is_empty());
    if is_conda || !has_pip || !options.post.is_empty() {
        bail!(UserError::new(
            "`--on-top` installs requirements for pip over the image's own Python, and nothing else",
            "name them with `--pip REQ`, `-r FILE` or a requirements file, without SPECs, `--lock` and `--post`",
        ));
    }
    Ok((SifContent::OnTop, requirements))
}
