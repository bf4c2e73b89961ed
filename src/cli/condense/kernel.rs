//! Responsible for the verb `condense kernel`, which registers the Python of an installation or of
//! a SIF as a kernel of Jupyter.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::Args;
use condense_build::{
    check_output, check_output_dir,
    contents::{Contents, Subject, SubjectKind},
};
use condense_diagnostics::UserError;
use condense_env_vars::{self as env_vars, EnvVars};
use condense_installation::Runtime;
use condense_publish::Existing;
use serde_json::{Value, json};

use super::{Context, run::bin_dir, subject};
use crate::cli::{run_settings::runtime, site::SiteArguments};

/// Package that runs code for Jupyter.
const IPYKERNEL: &str = "ipykernel";
/// File of a kernel in its directory.
const FILE: &str = "kernel.json";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Installation: a name in TYKKY_PATH or a directory, with `@N` for generation N; or a .sif
    #[arg(value_name = "NAME|DIR|SIF")]
    subject: PathBuf,
    /// Name of the kernel [default: the name of the installation]
    #[arg(long, value_name = "NAME", value_parser = kernel_name)]
    name: Option<String>,
    /// Name that users of Jupyter see [default: `Python (NAME)`]
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Directory of a Jupyter, below whose share/jupyter the kernel is written
    #[arg(long, value_name = "DIR", conflicts_with = "user")]
    prefix: Option<PathBuf>,
    /// Write the kernel for this user; this is the default
    #[arg(long)]
    user: bool,
    /// Remove the kernel of this name instead of writing it
    #[arg(long)]
    remove: bool,
    /// Replace or remove a kernel that is not of this installation
    #[arg(long)]
    force: bool,
    /// Print the file instead of writing it
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteArguments,
}

/// Checks the name of a kernel by Jupyter's rule, for clap.
fn kernel_name(text: &str) -> Result<String, String> {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.is_empty() || text.starts_with('.') || !text.chars().all(is_valid) {
        return Err("Jupyter takes letters, digits, `.`, `_` and `-`".to_owned());
    }
    Ok(text.to_lowercase())
}

/// Writes, removes or prints the kernel.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let env_vars = context.env_vars;
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => usual_name(&arguments.subject)?,
    };
    let dir = kernels_dir(arguments, env_vars)?.join(&name);
    let file = dir.join(FILE);
    if arguments.remove {
        remove(&file, arguments.force, context)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.dry_run {
        check_output_dir(&dir)?;
        // The directory of a new kernel is made.
        if dir.is_dir() {
            check_output(&file, Existing::Replace, None)?;
        }
    }
    let subject = subject::open(&arguments.subject, env_vars)?;
    refuse_without_ipykernel(&subject, &arguments.subject)?;
    let argv = command(&subject, arguments, context)?;
    let shown = arguments.display_name.clone();
    let kernel = json!({
        "argv": argv,
        "display_name": shown.unwrap_or_else(|| format!("Python ({name})")),
        "language": "python",
        // A signal would reach the container's runtime, not always the kernel.
        "interrupt_mode": "message",
        // Jupyter may run in a Python of its own, whose settings are not for this one.
        "env": { "PYTHONHOME": "", "PYTHONPATH": "" },
        "metadata": {
            "debugger": true,
            "condense": { "environment": subject.path() },
        },
    });
    let text = serde_json::to_string_pretty(&kernel)? + "\n";
    if !arguments.dry_run {
        refuse_foreign(&file, subject.path(), arguments.force)?;
        fs_err::create_dir_all(&dir)?;
        condense_publish::write(&file, text.as_bytes()).map_err(condense_image::Error::from)?;
    }
    if arguments.json {
        let value = json!({
            "name": name,
            "file": file,
            "written": !arguments.dry_run,
            "kernel": kernel,
        });
        context.console.json("kernel", value);
    } else if arguments.dry_run {
        context.console.data(text.trim_end());
    }
    let verb = if arguments.dry_run {
        "would be written to"
    } else {
        "was written to"
    };
    let file = file.display();
    context
        .report
        .info(format!("the kernel `{name}` {verb} {file}"));
    Ok(ExitCode::SUCCESS)
}

/// Returns the name of the kernel for an installation or a SIF.
fn usual_name(subject: &Path) -> anyhow::Result<String> {
    let stem = match subject.extension() {
        Some(end) if end == "sif" => subject.file_stem(),
        _ => subject.file_name(),
    };
    let stem = stem.unwrap_or_default().to_string_lossy();
    let plain: String = stem
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    kernel_name(plain.trim_start_matches('.')).map_err(|_| {
        let problem = format!("`{}` gives no name for a kernel", subject.display());
        UserError::new(problem, "name the kernel with `--name NAME`").into()
    })
}

/// Returns the directory of kernels by Jupyter's rules.
fn kernels_dir(arguments: &Arguments, env_vars: &EnvVars) -> anyhow::Result<PathBuf> {
    if let Some(prefix) = &arguments.prefix {
        return Ok(env_vars.cwd.join(prefix).join("share/jupyter/kernels"));
    }
    let data = env_vars
        .get(env_vars::JUPYTER_DATA_DIR)
        .map(|dir| env_vars.cwd.join(dir));
    let xdg = || env_vars.get(env_vars::XDG_DATA_HOME).map(PathBuf::from);
    let usual = || Some(env_vars.home()?.join(".local/share"));
    let data = data.or_else(|| Some(xdg().or_else(usual)?.join("jupyter")));
    let data = data.ok_or_else(|| {
        UserError::new(
            "there is no home directory for the kernel",
            "name a directory with `--prefix DIR` or JUPYTER_DATA_DIR",
        )
    })?;
    Ok(data.join("kernels"))
}

fn refuse_without_ipykernel(subject: &Subject, named: &Path) -> anyhow::Result<()> {
    let contents = Contents::load(subject)?;
    if contents.find(IPYKERNEL).is_empty() {
        let named = named.display();
        let hint = match subject.kind() {
            SubjectKind::Installation => format!("`condense update {named} {IPYKERNEL}` adds it"),
            _ => format!("build the image with {IPYKERNEL} among its packages"),
        };
        bail!(UserError::new(
            format!("there is no {IPYKERNEL} in `{named}`, so Jupyter cannot start it"),
            hint,
        ));
    }
    Ok(())
}

/// Returns the command line that starts the kernel.
fn command(
    subject: &Subject,
    arguments: &Arguments,
    context: &Context,
) -> anyhow::Result<Vec<String>> {
    let mut words: Vec<PathBuf> = Vec::new();
    if subject.kind() == SubjectKind::Sif {
        let env_vars = context.env_vars;
        let (_, site) = arguments.site.load(env_vars, context.console)?;
        let search_path = env_vars.get(env_vars::PATH).unwrap_or_default();
        let named = runtime(env_vars, &site);
        let runtime = Runtime::find(named.as_deref(), search_path.as_ref())?;
        words.push(runtime.program().to_owned());
        words.extend(["-s", "exec"].map(PathBuf::from));
        words.push(subject.path().to_owned());
        words.push("python".into());
    } else {
        let bin = bin_dir(subject)
            .with_context(|| format!("`{}` has no programs", subject.path().display()))?;
        let names = ["python", "python3"].map(|name| bin.join(name));
        let found = names.into_iter().find(|program| program.is_file());
        words.push(found.ok_or_else(|| {
            let problem = format!("`{}` has no Python", bin.display());
            UserError::new(problem, "`condense update NAME python` adds one")
        })?);
    }
    let mut texts = Vec::new();
    for word in words {
        let text = word.into_os_string().into_string();
        texts.push(text.map_err(|word| {
            let problem = format!("kernel.json cannot have the path `{}`", word.display());
            UserError::new(problem, "move the environment to a path in UTF-8")
        })?);
    }
    texts.extend(["-m", "ipykernel_launcher", "-f", "{connection_file}"].map(str::to_owned));
    Ok(texts)
}

/// Returns the environment for which condense has written a kernel, if it has written it.
fn environment_of(file: &Path) -> Option<PathBuf> {
    let bytes = condense_input::read(file, condense_input::TEXT_MOST).ok()?;
    let kernel: Value = serde_json::from_slice(&bytes).ok()?;
    let path = kernel.pointer("/metadata/condense/environment")?.as_str()?;
    Some(path.into())
}

fn refuse_foreign(file: &Path, environment: &Path, force: bool) -> anyhow::Result<()> {
    if force || !file.exists() {
        return Ok(());
    }
    let file_name = file.display();
    let problem = match environment_of(file) {
        Some(known) if known == environment => return Ok(()),
        Some(known) => format!("`{file_name}` is the kernel of `{}`", known.display()),
        None => format!("`{file_name}` was not written by condense"),
    };
    bail!(UserError::new(
        problem,
        "choose another name with `--name NAME`, or replace it with `--force`",
    ))
}

fn remove(file: &Path, force: bool, context: &Context) -> anyhow::Result<()> {
    if !file.exists() {
        bail!(UserError::new(
            format!("there is no kernel `{}`", file.display()),
            "`--name NAME` names it; `jupyter kernelspec list` shows all",
        ));
    }
    if !force && environment_of(file).is_none() {
        bail!(UserError::new(
            format!("`{}` was not written by condense", file.display()),
            "`--force` removes it",
        ));
    }
    fs_err::remove_file(file)?;
    if let Some(dir) = file.parent() {
        // The directory stays if it has other files, such as a logo of the user's.
        let _ = std::fs::remove_dir(dir);
    }
    let file = file.display();
    context
        .report
        .info(format!("the kernel {file} was removed"));
    Ok(())
}
