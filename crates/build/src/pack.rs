//! Responsible for packing an environment into an image.

use std::{path::Path, sync::Arc};

use condense_image::{Compression, Donor, Image, Mtime, PackOptions, ScanOptions, Tree};
use condense_prefix::BUILD_DIR;

use crate::{
    build::Build,
    damage::without_damaged,
    held,
    prefix::FinishedPrefix,
    report::{Phase, Report},
};

/// Path below the image's root of the program that sources scripts at every start.
pub(crate) const LAUNCHER: &str = ".condense-launcher";
/// Path below the image's root of the run scripts.
pub(crate) const RUN_SCRIPTS: &str = "runscripts";
const MIB: u64 = 1 << 20;
/// Tykky's older name of `miniforge`, which scripts still use.
const OLDER_NAME: (&str, &str) = ("miniconda", "miniforge");

/// An image, and the tree that it was packed from.
#[derive(Clone)]
pub(crate) struct Packed {
    pub(crate) image: Image,
    pub(crate) tree: Tree,
}

impl Packed {
    /// Returns the number of files and links in the image.
    pub(crate) fn file_count(&self) -> u64 {
        self.image.summary.files + self.image.summary.symlinks
    }
}

/// Returns the options of a scan that sets all times and leaves out the directory of build steps.
pub(crate) fn scan_options(mtime: Mtime) -> ScanOptions {
    ScanOptions {
        mtime,
        exclude: vec![BUILD_DIR.into()],
        ..ScanOptions::default()
    }
}

impl Build<'_> {
    /// Packs a prefix into a new file. Unchanged blocks of a donor image are reused. `tree` lists
    /// the prefix, if nothing was written there since.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or written.
    pub(crate) fn pack(
        &self,
        made: &FinishedPrefix,
        tree: Option<Tree>,
        options: PackOptions,
        path: &Path,
    ) -> anyhow::Result<Packed> {
        let mtime = self.mtime(&made.solution);
        let held = made.finished.held.as_ref();
        let scan = || held::scan(&made.place.root, &made.place.environment, held, mtime);
        let mut tree = tree.map_or_else(scan, Ok)?;
        if made.place.environment.starts_with(OLDER_NAME.1) && tree.entry_at(OLDER_NAME.0).is_none()
        {
            tree.add_symlink(OLDER_NAME.0, OLDER_NAME.1)?;
        }
        let listing = made
            .solution
            .listing(&made.finished.pip_packages, &made.finished.replaced_by_pip);
        add_list_packages(&mut tree, &made.place.environment, &listing)?;
        add_run_scripts(&mut tree)?;
        tree.omit(LAUNCHER);
        if let Some(launcher) = self.launcher(made) {
            tree.add_bytes(LAUNCHER, launcher.render(), 0o755)?;
        }
        let options = PackOptions {
            hot: made.hot_paths(),
            ..options
        };
        tree.keep_unchanged(&options)?;
        let image = pack_tree(&tree, path, options, self.report())?;
        Ok(Packed { image, tree })
    }
}

/// Returns the parts of an image that a start reads, each by its first MiB and its length in MiB:
/// the hot zone and the tables.
pub(crate) fn hot_parts(image: &Image) -> Vec<(u64, u64)> {
    let Some(zone) = image.hot_zone else {
        return Vec::new();
    };
    let part = |from: u64, end: u64| {
        let first = from / MIB;
        (first, end.div_ceil(MIB) - first)
    };
    let tables = part(image.tables_start, image.size_bytes);
    vec![part(zone.start, zone.end()), tables]
}

/// Packs a tree into a new file, and shows the progress.
///
/// # Errors
/// Returns an error if a file cannot be read or written.
pub(crate) fn pack_tree(
    tree: &Tree,
    path: &Path,
    options: PackOptions,
    report: &Arc<Report>,
) -> anyhow::Result<Image> {
    report.begin(Phase::Pack, Some(tree.summary().bytes));
    let options = observed(options, report);
    let packed = condense_image::pack(tree, path, &options);
    let image = packed.map_err(|error| without_damaged(error.into(), report))?;
    report.end(Phase::Pack);
    Ok(image)
}

/// Adds the progress, the cancel flag and the caches of blocks of the run to options.
pub(crate) fn observed(options: PackOptions, report: &Arc<Report>) -> PackOptions {
    let progress: Arc<dyn condense_image::Progress> = Arc::<Report>::clone(report);
    PackOptions {
        progress: Some(progress),
        cancel: Some(report.cancel_flag()),
        ..report.with_blocks(options)
    }
}

/// Returns options with the donor's codec. The level that is asked for counts if it is for that
/// codec.
pub(crate) fn repack_options(donor: Donor, asked: Option<Compression>) -> PackOptions {
    let bound = donor.compression();
    let asked = asked.filter(|asked| asked.codec() == bound.codec());
    PackOptions {
        compression: asked.unwrap_or(bound),
        ..PackOptions::repack(donor)
    }
}

/// Adds the run scripts. They replace those of an older version. Other files beside them stay.
pub(crate) fn add_run_scripts(tree: &mut Tree) -> Result<(), condense_image::Error> {
    for script in condense_jobs::run_scripts() {
        let path = Path::new(RUN_SCRIPTS).join(script.name);
        tree.omit(&path);
        tree.add_bytes(path, script.text.into_bytes(), script.mode)?;
    }
    Ok(())
}

/// Adds the program `list-packages`, which prints the output of `conda list` at the time of the
/// build. It replaces a package's program of this name, since Tykky's users expect this one.
pub(crate) fn add_list_packages(
    tree: &mut Tree,
    environment: &Path,
    listing: &str,
) -> anyhow::Result<()> {
    let path = environment.join("bin/list-packages");
    tree.omit(&path);
    let text = format!("#!/bin/sh\ncat <<'END OF PACKAGES'\n{listing}END OF PACKAGES\n");
    Ok(tree.add_bytes(path, text.into_bytes(), 0o755)?)
}
