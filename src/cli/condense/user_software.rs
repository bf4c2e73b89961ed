//! Responsible for the verbs of `condense user-software`, which the commands of a module call.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::bail;
use clap::{Args, Subcommand};
use condense_build::{
    Phase, Report,
    contents::{Contents, PackageKind, Subject},
};
use condense_diagnostics::UserError;
use condense_image::{ExtractOptions, PackOptions, Progress};
use condense_modules::{
    Distribution, Root, distributions_below, merge, pack, render_table, unpack,
};
use indicatif::HumanBytes;
use serde_json::json;

use super::Context;
use crate::cli::site::SiteArguments;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Pack user-software of a module into one file, as `make-squashfs` does
    Pack {
        #[command(flatten)]
        site: SiteArguments,
        /// Directory of the module, CONTAINERROOT
        #[arg(value_name = "DIR")]
        root: PathBuf,
        /// Remove the directory after it was compared with the file
        #[arg(long)]
        remove: bool,
    },
    /// Unpack user-software of a module, as `unmake-squashfs` does
    Unpack {
        /// Directory of the module, CONTAINERROOT
        #[arg(value_name = "DIR")]
        root: PathBuf,
        /// Set the file aside afterwards, so that containers see the directory
        #[arg(long)]
        edit: bool,
    },
    /// List the Python packages of a module and of its user-software, as `list-packages` does
    List {
        /// Directory of the module, CONTAINERROOT
        #[arg(value_name = "DIR")]
        root: PathBuf,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    match &arguments.verb {
        Verb::Pack { site, root, remove } => pack_one(site, root, *remove, context)?,
        Verb::Unpack { root, edit } => unpack_one(root, *edit, context)?,
        Verb::List { root, json } => list(root, *json, context)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the directory of a module.
///
/// # Errors
/// Returns an error if condense has not written the directory.
fn open(path: &Path, context: &Context) -> anyhow::Result<Root> {
    let root = Root::new(context.env_vars.cwd.join(path));
    if !root.is_ours() {
        bail!(UserError::new(
            format!("`{}` is not the directory of a module", path.display()),
            "`condense module` makes it; a loaded module has its path in CONTAINERROOT",
        ));
    }
    Ok(root)
}

fn pack_one(
    site: &SiteArguments,
    path: &Path,
    removes: bool,
    context: &Context,
) -> anyhow::Result<()> {
    let root = open(path, context)?;
    let (_, site) = site.load(context.env_vars, context.console)?;
    let report = context.report;
    let progress: Arc<dyn Progress> = Arc::<Report>::clone(report);
    let mut options = PackOptions {
        progress: Some(progress),
        cancel: Some(report.cancel_flag()),
        ..PackOptions::default()
    };
    if let Some(compression) = site.compressions().next() {
        options.compression = compression;
    }
    let software = root.user_software();
    report.begin(Phase::Pack, None);
    let bytes = pack(&software, &options, removes)?;
    report.end(Phase::Pack);
    report.info(format!(
        "Created {} from {} ({})",
        software.packed.display(),
        software.dir.display(),
        HumanBytes(bytes)
    ));
    report.info(
        "commands of the module use the file from now on, and /user-software is read-only then",
    );
    report.info(
        "shells in which the module is loaded bind the directory until you load the module again",
    );
    Ok(())
}

fn unpack_one(path: &Path, edits: bool, context: &Context) -> anyhow::Result<()> {
    let root = open(path, context)?;
    let report = Arc::clone(context.report);
    let software = root.user_software();
    report.begin(Phase::Unpack, None);
    let options = ExtractOptions {
        progress: Some(Arc::new({
            let report = Arc::clone(&report);
            move |bytes| report.advance(Phase::Unpack, bytes)
        })),
        cancel: Some(report.cancel_flag()),
        ..ExtractOptions::default()
    };
    unpack(&software, &options, edits)?;
    report.end(Phase::Unpack);
    report.info(format!(
        "Created {} from {}",
        software.dir.display(),
        software.packed.display()
    ));
    if edits {
        report.info(format!(
            "the file is {} now; load the module again to write to /user-software",
            software.set_aside().display()
        ));
    } else {
        report.warning(format!(
            "containers see {} until you remove it: the file comes before the directory",
            software.packed.display()
        ));
    }
    Ok(())
}

fn list(path: &Path, is_json: bool, context: &Context) -> anyhow::Result<()> {
    let root = open(path, context)?;
    let software = root.user_software();
    let of_user = if software.packed.is_file() {
        let contents = Contents::load(&Subject::open(&software.packed, None)?)?;
        let packages = contents.packages.into_iter();
        let packages = packages.filter(|package| package.kind == PackageKind::Pip);
        packages
            .map(|package| Distribution {
                name: package.name,
                version: package.version,
            })
            .collect()
    } else {
        distributions_below(&software.dir)?
    };
    let all = merge(&root.packages()?, &of_user);
    if is_json {
        let value = json!({"packages": all});
        context.console.json("user-software", value);
    } else {
        context.console.data(&render_table(&all));
    }
    Ok(())
}
