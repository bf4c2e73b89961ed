//! Responsible for the verb `condense pull`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;
use clap::Args;
use condense_image::Compression;
use condense_oci::{Platform, Reference, Source};

use super::Context;
use crate::cli::registries::RegistryOptions;
use condense_build::{Pull, check_image_output};
use condense_diagnostics::UserError;
use condense_env_vars as env_vars;
use condense_publish::Existing;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Image: docker://NAME, oras://NAME, oci:DIR, oci-archive:FILE or docker-archive:FILE; the
    /// last three may end in :TAG
    #[arg(value_name = "REF")]
    reference: String,
    /// SIF that is written
    #[arg(value_name = "OUT.sif")]
    out: PathBuf,
    /// Replace an existing file
    #[arg(short, long)]
    force: bool,
    /// Architecture, such as amd64, aarch64 or arm64/v8 [default: this machine's]
    #[arg(long, value_name = "ARCH[/VARIANT]", value_parser = parse_platform)]
    arch: Option<Platform>,
    /// Use plain HTTP with the registry; anyone on the network can then read and change the data
    #[arg(long, visible_alias = "nohttps")]
    no_https: bool,
    /// File with credentials, in the format of docker's config.json
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Do not use the cache of images
    #[arg(long, visible_alias = "disable-cache")]
    no_cache: bool,
    /// Parent of the scratch directory, in which layers are decompressed
    #[arg(long, value_name = "DIR")]
    tmpdir: Option<PathBuf>,
    /// Compression of the root file system: zstd:1..22, gzip:1..12, lz4, lz4:hc, xz:0..9 or none
    #[arg(long, value_name = "CODEC[:LEVEL]", default_value_t = Pull::COMPRESSION)]
    compression: Compression,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn parse_platform(text: &str) -> Result<Platform, String> {
    Platform::parse(text).ok_or_else(|| "not an architecture".to_owned())
}

pub(super) fn run(arguments: Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let env_vars = context.env_vars;
    let source = source(&arguments.reference, context)?;
    let out = env_vars.cwd.join(&arguments.out);
    let existing = if arguments.force {
        Existing::Replace
    } else {
        Existing::Refuse
    };
    check_image_output(&out, existing, Some("--force"))?;
    let wishes = RegistryOptions {
        no_https: arguments.no_https,
        auth_file: arguments.authfile,
        no_cache: arguments.no_cache,
    };
    let pull = Pull {
        registries: crate::cli::registries::read(wishes, None, env_vars)?,
        platform: arguments.arch,
        compression: arguments.compression,
        scratch_parent: scratch_parent(arguments.tmpdir, context),
        epoch: env_vars.source_date_epoch()?,
    };
    let pulled = pull.run(&source, &out, arguments.force, context.report)?;
    let path = pulled.path.display();
    if arguments.json {
        let result = serde_json::json!({
            "path": path.to_string(),
            "reference": source.to_string(),
            "manifest_digest": pulled.digest,
        });
        context.console.json("pull", result);
    } else {
        context.console.data(&path.to_string());
    }
    Ok(ExitCode::SUCCESS)
}

fn source(reference: &str, context: &Context) -> anyhow::Result<Source> {
    match Reference::parse(reference)?.absolute(&context.env_vars.cwd) {
        Reference::Image(source) => Ok(source),
        Reference::File(path) => {
            let named = condense_oci::suggest_scheme(reference);
            let way_out = if path.is_dir() {
                format!("an OCI layout is named `oci:{}`", path.display())
            } else if let Some(named) = named.filter(|_| !path.exists()) {
                format!("`{named}` names an image in a registry")
            } else {
                format!(
                    "an archive is named `docker-archive:{0}` or `oci-archive:{0}`, an image in a registry `docker://NAME`",
                    path.display()
                )
            };
            bail!(UserError::new(
                format!("cannot pull `{reference}`: its kind is not given"),
                way_out,
            ))
        }
    }
}

/// Returns the parent of the scratch directory: `--tmpdir`, else the variables of the runtimes,
/// else `CW_BUILD_TMPDIR`, else `TMPDIR` if it is an existing absolute directory, else `/tmp`.
fn scratch_parent(flag: Option<PathBuf>, context: &Context) -> PathBuf {
    let env_vars = context.env_vars;
    let named = [
        env_vars::APPTAINER_TMPDIR,
        env_vars::SINGULARITY_TMPDIR,
        env_vars::CW_BUILD_TMPDIR,
    ];
    if let Some(dir) = flag {
        return env_vars.cwd.join(dir);
    }
    if let Some(dir) = named.iter().find_map(|name| env_vars.get(name)) {
        return env_vars.cwd.join(dir);
    }
    env_vars
        .get(env_vars::TMPDIR)
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute() && dir.is_dir())
        .unwrap_or_else(|| "/tmp".into())
}
