//! Responsible for the verb `condense image pack`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use condense_image::{
    BlockSize, Compression, Donor, Existing, Image, Modes, Mtime, PackOptions, Progress,
    ReusedFiles, ScanOptions, Tree, pack_at, verify,
};
use condense_publish::{Existing as New, Output};
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use super::{Context, hot, open};
use crate::cli::{
    block_cache,
    site::{SiteArguments, site_path},
};
use crate::console::Console;
use condense_build::{Phase, Report, check_image_output};
use condense_diagnostics::UserError;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Directory that is packed; it is not changed
    #[arg(value_name = "DIR")]
    root: PathBuf,
    /// Image that is created; it must not exist
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Compression: zstd:1..22, gzip:1..12, lz4, lz4:hc, xz:0..9 or none [default: zstd:3, or that
    /// of BASE or OLD]
    #[arg(long, value_name = "CODEC[:LEVEL]")]
    compression: Option<Compression>,
    /// Size of a block: 4K to 1M, a power of two [default: 128K, or that of BASE or OLD]
    #[arg(long, value_name = "SIZE")]
    block_size: Option<BlockSize>,
    /// Add DIR to a copy of this image, or of this SIF's root file system; its compressed blocks
    /// are reused
    #[arg(long, value_name = "BASE", requires = "at", conflicts_with = "donor")]
    onto: Option<PathBuf>,
    /// Path of DIR in BASE; symbolic links in the path are followed inside BASE
    #[arg(long, value_name = "PATH", requires = "onto")]
    at: Option<PathBuf>,
    /// Replace existing files at PATH in BASE
    #[arg(long, requires = "onto")]
    replace: bool,
    /// Older image of DIR; blocks of files with the same content are reused
    #[arg(long, value_name = "OLD")]
    donor: Option<PathBuf>,
    /// Do not compare contents: files with the size and time in OLD that have not changed since OLD
    /// was written count as the same
    #[arg(long, requires = "donor")]
    trust_times: bool,
    /// Compress the blocks of BASE again, with any codec
    #[arg(long, requires = "onto")]
    recompress: bool,
    /// Pack the extended attributes `user.*` and `security.capability` as well
    #[arg(long)]
    xattrs: bool,
    /// Files that are read first, one path a line relative to the root of the image; they come
    /// first in the image, in its hot zone. `-` reads the list from standard input
    #[arg(long, value_name = "FILE")]
    hot: Option<PathBuf>,
    /// Keep the compressed blocks for later builds; without it, the cache is only read
    #[arg(long)]
    keep_blocks: bool,
    /// Number of worker threads, which does not change the image [default: one for each core]
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,
    /// Print a summary as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let report = context.report;
    let cwd = &context.env_vars.cwd;
    let out = cwd.join(&arguments.out);
    refuse_out(&out)?;
    let (tree, kept, mut options) = plan(arguments, context)?;
    let progress: Arc<dyn Progress> = Arc::<Report>::clone(report);
    options.progress = Some(progress);
    use_blocks(context)?;
    let options = report.with_blocks(options);

    let output = Output::create_image(&out, New::Refuse).map_err(condense_image::Error::from)?;
    report.begin(Phase::Pack, Some(tree.summary().bytes));
    let image = pack_at(&tree, output.path(), 0, &options)?;
    report.end(Phase::Pack);
    report.begin(Phase::Check, None);
    let (verified, stored) = std::thread::scope(|scope| {
        // The image is written to disk while it is read back.
        let storing = condense_threads::scoped(scope, || output.file().sync_all())?;
        let verified = verify(&image, &tree, arguments.threads);
        anyhow::Ok((verified, storing.join().expect("nothing there panics")))
    })?;
    verified?;
    if arguments.keep_blocks {
        report.hold_blocks(&image);
    }
    let sha256 = arguments.json.then(|| image.sha256()).transpose()?;
    report.end(Phase::Check);
    stored.with_context(|| format!("failed to create `{}`", out.display()))?;
    // This fails if another process has created a file with this name meanwhile.
    output.publish().map_err(condense_image::Error::from)?;
    report.keep_blocks();
    match sha256 {
        Some(sha256) => {
            let value = describe(&image, &sha256, kept, &out);
            context.console.json("image-pack", value);
        }
        None => tell(arguments, &image, context.console),
    }
    Ok(ExitCode::SUCCESS)
}

/// Sets the caches of blocks as builds do. A catalogue that cannot be read has no site.
fn use_blocks(context: &Context) -> anyhow::Result<()> {
    let env_vars = context.env_vars;
    let site = SiteArguments::default().load(env_vars, context.console);
    let cache_dir = site
        .ok()
        .and_then(|(_, site)| site_path(site.cache_dir.as_ref(), env_vars));
    let settings = block_cache::read(env_vars, env_vars.cache_dir(cache_dir))?;
    context.report.use_blocks(settings.as_ref());
    Ok(())
}

fn refuse_out(out: &Path) -> anyhow::Result<()> {
    check_image_output(out, New::Refuse, None)?;
    if out.extension().is_some_and(|extension| extension == "sif") {
        bail!(UserError::new(
            format!(
                "`{}` would be a bare image with the name of a SIF",
                out.display()
            ),
            "choose another name; `condense sif new` and `condense sif add` put an image into a SIF",
        ));
    }
    Ok(())
}

/// Returns the tree to pack, the counts of its files that are unchanged in the older image, and the
/// options of packing.
fn plan(
    arguments: &Arguments,
    context: &Context,
) -> anyhow::Result<(Tree, ReusedFiles, PackOptions)> {
    let cwd = &context.env_vars.cwd;
    let scan = ScanOptions {
        mtime: match context.env_vars.source_date_epoch()? {
            Some(seconds) => Mtime::Set(seconds),
            None => Mtime::Keep,
        },
        modes: Modes::Keep,
        xattrs: arguments.xattrs,
        ..ScanOptions::default()
    };
    let root = cwd.join(&arguments.root);
    let mut options = PackOptions::default();
    let mut whole = None;
    if let Some(base) = &arguments.onto {
        let reader = open(base, context)?;
        whole = Some(if arguments.recompress {
            options.block_size = reader.superblock().block_size;
            Tree::from_image(&Arc::new(reader))?
        } else {
            let donor = Donor::new(reader)?;
            let whole = donor.tree()?;
            options = PackOptions::onto(donor);
            whole
        });
    } else if let Some(old) = &arguments.donor {
        options = PackOptions::repack(Donor::new(open(old, context)?)?);
        options.trust_times = arguments.trust_times;
    }
    if let Some(compression) = arguments.compression {
        options.compression = compression;
    }
    if let Some(block_size) = arguments.block_size {
        options.block_size = block_size;
    }
    options.threads = arguments.threads;
    options.cancel = Some(context.report.cancel_flag());
    if let Some(list) = &arguments.hot {
        options.hot = hot::read(list, cwd)?;
    }

    let (Some(mut whole), Some(at)) = (whole, &arguments.at) else {
        let (tree, kept) = Tree::scan_changes(&root, &scan, &options)?;
        return Ok((tree, kept, options));
    };
    let mut kept = ReusedFiles::default();
    let tree = Tree::scan(&root, &scan)?;
    if arguments.replace {
        whole.graft(at, tree, Existing::Replace)?;
        kept = whole.keep_unchanged(&options)?;
    } else {
        whole.graft(at, tree, Existing::Refuse)?;
    }
    Ok((whole, kept, options))
}

fn describe(image: &Image, sha256: &[u8; 32], kept: ReusedFiles, out: &Path) -> Value {
    json!({
        "path": out.to_string_lossy(),
        "bytes": image.size_bytes,
        "sha256": hex::encode(sha256),
        "compression": image.compression.to_string(),
        "block_size": image.block_size.bytes(),
        "inodes": image.inodes,
        "files": image.summary.files,
        "file_bytes": image.bytes_in,
        "duplicate_files": image.duplicate_files,
        "unchanged_files": kept.files,
        "taken_bytes": image.taken_bytes,
        "garbage_bytes": image.garbage_bytes,
        "hot_zone": image.hot_zone.map(|zone| json!({ "start": zone.start, "bytes": zone.bytes })),
    })
}

fn tell(arguments: &Arguments, image: &Image, console: &Console) {
    console.info(format!(
        "{} files of {} became one of {} ({})",
        HumanCount(image.summary.files),
        HumanBytes(image.bytes_in),
        HumanBytes(image.size_bytes),
        image.compression
    ));
    match image.hot_zone {
        Some(zone) => console.info(format!("the hot zone has {}", HumanBytes(zone.bytes))),
        None if arguments.hot.is_some() => {
            console.info("no path of the list leads to a file with content: there is no hot zone");
        }
        None => {}
    }
    if image.taken_bytes > 0 {
        console.info(format!(
            "{} of compressed blocks were reused",
            HumanBytes(image.taken_bytes)
        ));
    } else if arguments.donor.is_some() {
        console.info("too little of the older image can be reused: all files were packed again");
    }
}
