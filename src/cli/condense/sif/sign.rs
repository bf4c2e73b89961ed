//! Responsible for the verb `condense sif sign`.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use condense_image::sif::signature::{SecretKey, SignTimes, sign};

use super::{Context, key_files, now};
use condense_diagnostics::UserError;

/// Name of the runtimes' file of secret keys.
const SECRET_KEYS: &str = "pgp-secret";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Path of the SIF
    #[arg(value_name = "FILE.sif")]
    path: PathBuf,
    /// File with the secret key, as written by gpg --export-secret-keys or apptainer key export
    /// --secret [default: apptainer's secret keys]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Key of the file to sign with: the end of its fingerprint, or a part of its user ID
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// File whose first line is the passphrase of the key; `-` is standard input
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Sign only this group; may be given several times [default: all groups]
    #[arg(long, value_name = "NUMBER")]
    group: Vec<u32>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<()> {
    let cwd = &context.env_vars.cwd;
    let key_path = match &arguments.key {
        Some(path) => cwd.join(path),
        None => key_files(SECRET_KEYS, context)
            .into_iter()
            .find(|path| path.exists())
            .ok_or_else(|| UserError::new("there is no key to sign with", "give --key FILE"))?,
    };
    let passphrase = match &arguments.passphrase_file {
        Some(path) => passphrase(path, cwd)?,
        None => String::new(),
    };
    let now = now(context)?;
    let key = SecretKey::load(&key_path, arguments.user.as_deref(), &passphrase, now)?;
    let times = SignTimes {
        signature: now,
        table: context.env_vars.source_date_epoch()?.map(i64::from),
    };
    let path = cwd.join(&arguments.path);
    let ids = sign(&path, &key, &arguments.group, times)?;
    if arguments.json {
        let value = serde_json::json!({
            "path": path.to_string_lossy(),
            "ids": ids,
            "fingerprint": key.fingerprint(),
        });
        context.console.json("sif-sign", value);
    } else {
        for id in ids {
            context.console.data(&id.to_string());
        }
    }
    context
        .report
        .info(format!("signed with {}", key.fingerprint()));
    Ok(())
}

fn passphrase(path: &Path, cwd: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin()
            .take(condense_input::TEXT_MOST)
            .read_to_string(&mut text)
            .context("failed to read the passphrase from standard input")?;
    } else {
        text = condense_input::read_named_to_string(cwd.join(path), condense_input::TEXT_MOST)?;
    }
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
