//! Responsible for packing a directory that is wrapped, and for the scripts that change it before.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::bail;
use condense_check::{Inventory, MpiUse};
use condense_diagnostics::UserError;
use condense_image::{Mtime, Tree};
use condense_prefix::{BUILD_DIR, StepRunner};
use condense_within::Within;

use super::{Wrap, records::INSIDE};
use crate::{
    compression::ImageCompression,
    container::{Container, Mounted},
    pack::{Packed, observed, scan_options},
    plan::Wrapped,
    report::Phase,
};

/// Script that runs the user's script with the variables that Tykky's users know. Its arguments are
/// the file, the mount point, and the user's current directory.
const RUN_SCRIPT: &str = "set -e; CW_INSTALLATION_PATH=$2 install_root=$2 env_root=$2 CW_WORKDIR=$3 CW_BUILD_TMPDIR=$2/.condense-build
[ ! -d \"$CW_BUILD_TMPDIR/home\" ] || HOME=$CW_BUILD_TMPDIR/home
export CW_INSTALLATION_PATH install_root env_root CW_WORKDIR CW_BUILD_TMPDIR
cd \"$3\" 2>/dev/null || :
. \"$1\"";

impl Wrap<'_> {
    /// Packs the directory, if one is wrapped, and finds the MPI that its programs need. The user's
    /// directory is only read: scripts get a copy of it.
    ///
    /// # Errors
    /// Returns an error if a script fails, if a finding is not allowed, or if a file cannot be read
    /// or written.
    pub(super) fn pack(&self, image: &Path) -> anyhow::Result<Option<(Packed, Option<MpiUse>)>> {
        let Wrapped::Directory { dir, mask } = &self.plan.input.what else {
            return Ok(None);
        };
        let copy = self.prepared.scratch.path().join("root");
        let root = if self.plan.input.scripts.is_empty() {
            dir
        } else {
            self.run_scripts(dir, &copy)?;
            &copy
        };
        let inventory = Inventory::from_dir(root, &self.mount_point, Some(BUILD_DIR))?;
        let context = self.prepared.check_context();
        context.check_inventory(&inventory, &[])?;
        let mpi = context.mpi_use(&inventory)?;
        let generation = &self.plan.output.generation;
        let mtime = generation.source_date_epoch.map_or(Mtime::Keep, Mtime::Set);
        let mut tree = Tree::scan(root, &scan_options(mtime))?;
        if *mask {
            tree.add_bytes(INSIDE, Vec::new(), 0o644)?;
        }
        self.report().begin(Phase::Pack, Some(tree.summary().bytes));
        let runtime = self.prepared.runtime.as_ref();
        let compression = ImageCompression::new(generation.compression, runtime);
        compression.announce(self.report());
        let options = observed(generation.pack_options(&compression), self.report());
        let image = condense_image::pack(&tree, image, &options)?;
        self.report().end(Phase::Pack);
        Ok(Some((Packed { image, tree }, mpi)))
    }

    fn run_scripts(&self, dir: &Path, copy: &Path) -> anyhow::Result<()> {
        let root = Mounted::Directory(copy);
        let build_dir = copy.join(BUILD_DIR);
        let container = self
            .prepared
            .container(root, &self.mount_point, build_dir.clone());
        let Some(mut container) = container else {
            bail!(UserError::new(
                "the scripts must run in a container, and neither apptainer nor singularity is on PATH",
                "load the module of your container runtime",
            ));
        };
        // Scripts start in the user's current directory.
        container.shown.push(self.plan.input.work_dir.clone());
        copy_tree(dir, copy)?;
        fs_err::create_dir(&build_dir)?;
        let build_dir = Within::open(&build_dir)?;
        for (number, script) in self.plan.input.scripts.iter().enumerate() {
            let name = format!("script-{number}.sh");
            build_dir.write(&name, &script.text)?;
            self.run_script(&container, &name, &script.path)?;
        }
        Ok(())
    }

    /// Runs a script in the container. `name` is its name there, and `path` the user's file.
    fn run_script(&self, container: &Container, name: &str, path: &Path) -> anyhow::Result<()> {
        let shown = path.display();
        self.report().info(format!("Build step: {shown}"));
        let shell = self.prepared.base.shell();
        let script: PathBuf = self.mount_point.join(BUILD_DIR).join(name);
        let argv: Vec<OsString> = [shell, "-c", RUN_SCRIPT, shell]
            .iter()
            .map(OsString::from)
            .chain([
                script.into(),
                self.mount_point.clone().into(),
                self.plan.input.work_dir.clone().into(),
            ])
            .collect();
        let status = container
            .run(&argv, &mut |line| self.report().info(line))
            .map_err(|error| anyhow::anyhow!("failed to run the build container: {error}"))?;
        self.prepared.session.refuse_interrupted()?;
        if status != 0 {
            bail!("{shown} failed with exit status {status}");
        }
        Ok(())
    }
}

/// Copies a tree with its links and permissions, for scripts to change.
fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs_err::create_dir(to)?;
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&source, &target)?;
        } else if kind.is_symlink() {
            fs_err::os::unix::fs::symlink(fs_err::read_link(&source)?, &target)?;
        } else {
            fs_err::copy(&source, &target)?;
        }
    }
    let permissions = fs_err::metadata(from)?.permissions();
    fs_err::set_permissions(to, permissions)?;
    Ok(())
}
