//! Responsible for the verb `condense sif verify`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use condense_image::Sif;
use condense_image::sif::signature::{Keyring, Signature, verify};
use serde_json::{Value, json};

use super::{Context, key_files, time};

/// Name of the runtimes' file of public keys.
const PUBLIC_KEYS: &str = "pgp-public";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Path of the SIF
    #[arg(value_name = "FILE.sif")]
    path: PathBuf,
    /// File with trusted public keys; may be given several times [default: apptainer's public keys]
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Print the signatures as JSON
    #[arg(long)]
    json: bool,
}

/// Prints each signature on a line. The exit status is 1 unless all of them are valid.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let cwd = &context.env_vars.cwd;
    let mut keyring = Keyring::default();
    for path in &arguments.key {
        keyring.add_file(cwd.join(path))?;
    }
    if arguments.key.is_empty() {
        for path in key_files(PUBLIC_KEYS, context) {
            // Runtimes create the file, which is empty then, before they have a key.
            if fs_err::metadata(&path).is_ok_and(|metadata| metadata.len() > 0) {
                keyring.add_file(path)?;
            }
        }
    }
    let sif = Sif::open(cwd.join(&arguments.path))?;
    // The check uses the clock even if `SOURCE_DATE_EPOCH` is set.
    let now = u32::try_from(jiff::Timestamp::now().as_second())?;
    let signatures = verify(&sif, &keyring, now)?;
    if arguments.json {
        let values: Vec<Value> = signatures.iter().map(as_json).collect();
        let value = json!({"signatures": values});
        context.console.json("sif-verify", value);
    } else {
        let lines: Vec<String> = signatures.iter().map(as_line).collect();
        context.console.data(&lines.join("\n"));
    }
    let hold = signatures.iter().all(|it| it.problem.is_none());
    Ok(if hold {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn as_line(signature: &Signature) -> String {
    let (id, group) = (signature.id, signature.group);
    let signer = match (&signature.signer, &signature.fingerprint) {
        (Some(signer), Some(fingerprint)) => format!("{signer} ({fingerprint})"),
        (None, Some(fingerprint)) => fingerprint.clone(),
        _ => "an unknown signer".to_owned(),
    };
    match &signature.problem {
        None => {
            let made = signature.created.and_then(|it| time(it.into()));
            let made = made.unwrap_or_default();
            format!("group {group}: signature {id} by {signer} holds, made {made}")
        }
        Some(problem) => {
            format!("group {group}: signature {id} by {signer} does not hold: {problem}")
        }
    }
}

fn as_json(signature: &Signature) -> Value {
    json!({
        "id": signature.id,
        "group": signature.group,
        "holds": signature.problem.is_none(),
        "problem": signature.problem,
        "fingerprint": signature.fingerprint,
        "signer": signature.signer,
        "made": signature.created.and_then(|it| time(it.into())),
    })
}
