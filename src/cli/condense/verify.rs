//! Responsible for the verb `condense verify`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use condense_build::plan::RunSettings;
use condense_build::{
    RebuildPlan, Rebuilt,
    contents::{Subject, SubjectKind},
};
use condense_diagnostics::UserError;
use condense_env_vars as env_vars;
use serde_json::{Value, json};

use super::{
    Context,
    image::diff,
    subject::{self, existing},
};
use crate::cli::{
    base::choose_base,
    network::NetworkArguments,
    run_settings::{run_settings, runtime},
    site::SiteArguments,
};

/// Number of differences that are shown without `--json`.
const SHOWN: usize = 20;

#[derive(Debug, Args)]
#[command(
    after_help = "--rebuild fetches packages as a build does: from the cache and, without --offline, the network."
)]
pub(super) struct Arguments {
    /// Installation: a name in TYKKY_PATH or a directory; or a .sif
    #[arg(value_name = "NAME|DIR|SIF")]
    subject: PathBuf,
    /// Check the files only, and start no program
    #[arg(long)]
    no_start: bool,
    /// Build the image again from its lock, in scratch, and compare the two
    #[arg(long)]
    rebuild: bool,
    /// Base image of a .sif that is built again [default: the one that its lock names]
    #[arg(long, value_name = "REF", requires = "rebuild")]
    base_image: Option<String>,
    /// Parent of the scratch directory
    #[arg(long, value_name = "DIR", requires = "rebuild")]
    tmpdir: Option<PathBuf>,
    #[command(flatten)]
    site: SiteArguments,
    #[command(flatten)]
    network: NetworkArguments,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Checks an installation or a SIF. The first difference from the receipt is an error, with exit
/// status 1.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let path = existing(&arguments.subject, "installation or .sif", context.env_vars)?;
    let is_file = path.is_file();
    if is_file {
        let subject = subject::open(&arguments.subject, context.env_vars)?;
        if subject.kind() != SubjectKind::Sif {
            subject::refuse_kind(&subject, "an installation or a .sif")?;
        }
        verify_sif(&subject, arguments, context)?;
    } else {
        condense_build::verify(&path, !arguments.no_start, context.report)?;
    }
    let mut value = json!({"subject": {
        "path": path.to_string_lossy(),
        "kind": if is_file { "sif" } else { "installation" },
    }, "whole": true, "started": !arguments.no_start});
    if !arguments.rebuild {
        if arguments.json {
            context.console.json("verify", value);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let subject = subject::open(&arguments.subject, context.env_vars)?;
    let rebuilt = rebuild(&subject, arguments, context)?;
    if arguments.json {
        value["rebuild"] = as_json(&rebuilt);
        context.console.json("verify", value);
        return Ok(ExitCode::from(u8::from(!rebuilt.is_as_promised())));
    }
    report(&rebuilt, context)?;
    Ok(ExitCode::SUCCESS)
}

fn verify_sif(subject: &Subject, arguments: &Arguments, context: &Context) -> anyhow::Result<()> {
    let env_vars = context.env_vars;
    let (_, site) = arguments.site.load(env_vars, context.console)?;
    let runtime = runtime(env_vars, &site);
    let search_path = env_vars.get(env_vars::PATH).unwrap_or_default();
    let start = (!arguments.no_start).then(|| (runtime.as_deref(), search_path.as_ref()));
    condense_build::verify_sif(subject, start, context.report)
}

fn rebuild(subject: &Subject, arguments: &Arguments, context: &Context) -> anyhow::Result<Rebuilt> {
    let (env_vars, console) = (context.env_vars, context.console);
    let (catalogue, site) = arguments.site.load(env_vars, console)?;
    let named = arguments.base_image.clone();
    let base = named
        .map(|named| choose_base(Some(named), &catalogue, &site, env_vars, console))
        .transpose()?;
    let (settings, packages) = run_settings(
        &arguments.network,
        arguments.tmpdir.clone(),
        env_vars,
        &site,
        console,
    )?;
    let plan = RebuildPlan {
        base,
        work_dir: env_vars.cwd.clone(),
        packages,
        // The image is made again from the packages alone, so that nothing of it is believed.
        settings: RunSettings {
            blocks: None,
            ..settings
        },
    };
    let search_path = env_vars.get(env_vars::PATH).unwrap_or_default();
    condense_build::rebuild(
        subject,
        &plan,
        search_path.as_ref(),
        context.report,
        context.interrupt,
    )
}

/// Reports the result in words.
fn report(rebuilt: &Rebuilt, context: &Context) -> anyhow::Result<()> {
    if rebuilt.has_same_bytes() {
        let digest = &rebuilt.sha256;
        context.report.info(format!(
            "built again from its lock: the same bytes, sha256 {digest}"
        ));
        return Ok(());
    }
    if rebuilt.is_as_promised() {
        context.report.info(
            "built again from its lock: the same files; the blocks have another order, since an update has reused those of the image before",
        );
        return Ok(());
    }
    let lines: Vec<String> = rebuilt.differences.iter().map(diff::as_line).collect();
    let mut shown: Vec<String> = lines.iter().take(SHOWN).cloned().collect();
    if lines.len() > SHOWN {
        shown.push(format!("… and {} more", lines.len() - SHOWN));
    }
    if !shown.is_empty() {
        context.console.data(&shown.join("\n"));
    }
    Err(refused(rebuilt, lines.len()).into())
}

fn refused(rebuilt: &Rebuilt, count: usize) -> UserError {
    let digests = format!("{} and {}", rebuilt.sha256, rebuilt.sha256_again);
    let made_by = rebuilt.made_by.as_deref().unwrap_or("unknown");
    let here = env!("CARGO_PKG_VERSION");
    let hint = if made_by == here {
        "scripts, packages that pip builds and another base image may give other bytes: see `docs/locks.md`".to_owned()
    } else {
        format!("the image was made by condense {made_by}, this is {here}")
    };
    let what = match count {
        0 => "the bytes differ although all files are the same".to_owned(),
        1 => "1 file differs".to_owned(),
        _ => format!("{count} files differ"),
    };
    UserError::new(
        format!("the lock does not build this image again: {what} (sha256 {digests})"),
        hint,
    )
}

fn as_json(rebuilt: &Rebuilt) -> Value {
    json!({
        "same_bytes": rebuilt.has_same_bytes(),
        "same_files": rebuilt.differences.is_empty(),
        "updated": rebuilt.is_updated,
        "as_promised": rebuilt.is_as_promised(),
        "sha256": rebuilt.sha256,
        "sha256_again": rebuilt.sha256_again,
        "made_by": rebuilt.made_by,
        "differences": rebuilt.differences.iter().map(diff::as_json).collect::<Vec<_>>(),
    })
}
