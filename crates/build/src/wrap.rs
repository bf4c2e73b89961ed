//! Responsible for wrapping programs that are there already: those of a container, or those of a
//! directory, packed into one file.

mod directory;
mod preview;
mod programs;
mod records;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::bail;
use condense_check::{Inventory, MpiUse};
use condense_installation::{Assembly, Claim, MpiSource, Program, Staged};
use sha2::{Digest, Sha256};

use crate::{
    claim::claim_new,
    installation::{report_image, report_path, stage_and_check},
    interrupt::Interrupt,
    open_base::OpenBase,
    pack::Packed,
    plan::{WrapPlan, Wrapped},
    prepared::Prepared,
    report::{Phase, Report},
    session::Session,
    verify,
};

pub use preview::preview_wrap;

/// A run that wraps programs.
struct Wrap<'a> {
    prepared: Prepared<'a>,
    plan: &'a WrapPlan,
    mount_point: PathBuf,
}

/// Content of a generation of wrappers.
struct Contents {
    programs: Vec<Program>,
    /// Variables that the base sets.
    base_env_vars: BTreeMap<String, String>,
    /// The packed directory, if it is one.
    packed: Option<Packed>,
    /// MPI that the programs need.
    mpi: Option<MpiUse>,
    /// SHA-256 digest of the base.
    base_digest: Option<String>,
}

/// Builds the installation that `plan` describes; `search_path` is the user's PATH.
///
/// # Errors
/// Returns the error that stopped the run. The destination is then as it was.
pub fn wrap(
    plan: &WrapPlan,
    search_path: &OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let session = Session::new(&plan.settings, search_path, report, interrupt);
    let (claim, mount_point) = claim_new(&plan.output, session)?;
    let epoch = plan.output.generation.source_date_epoch;
    let base = OpenBase::open(session, &plan.base, epoch)?;
    let digest = base.start_digest(report)?;
    let wrap = Wrap {
        prepared: Prepared::open(session, base, &[])?,
        plan,
        mount_point: mount_point.path(|| suffix(plan)),
    };
    wrap.check_packages()?;
    let programs = wrap.find_programs()?;
    let base_env_vars = wrap.probe()?;
    let (packed, mpi) = match wrap.pack(&claim.image_path())? {
        Some((packed, mpi)) => (Some(packed), mpi),
        None => (None, wrap.mpi_of_base()?),
    };
    let digest = digest.wait()?;
    let contents = Contents {
        programs,
        base_env_vars,
        packed,
        mpi,
        base_digest: digest.sha256.clone(),
    };

    report.begin(Phase::Publish, None);
    let staged = wrap.stage_checked(claim, &contents)?;
    session.refuse_interrupted()?;
    let installation = staged.publish()?;
    report.end(Phase::Publish);

    if let Some(packed) = &contents.packed {
        report_image(packed, report);
    }
    report.keep_blocks();
    digest.keep_after_link(report);
    report.info(format!(
        "{} programs have been wrapped. Seconds: {}",
        installation.wrappers,
        report.timing()
    ));
    report_path(&installation.dir.display(), report);
    Ok(())
}

/// Returns the suffix of a mount point. It is the same for the same input: installations of one
/// directory can be told apart from others, not from each other.
fn suffix(plan: &WrapPlan) -> String {
    let mut hasher = Sha256::new();
    hasher.update(format!(
        "{:?} {:?} {:?}",
        plan.input.what, plan.base, plan.output.generation.wrapper_paths
    ));
    let digest = hex::encode(hasher.finalize());
    digest[..7].to_owned()
}

impl Wrap<'_> {
    fn report(&self) -> &Arc<Report> {
        self.prepared.session.report
    }

    /// Checks the packages of a container, whose own programs will run.
    fn check_packages(&self) -> anyhow::Result<()> {
        match self.plan.input.what {
            Wrapped::Container => self.prepared.check_context().check_packages_of_base(),
            Wrapped::Directory { .. } => Ok(()),
        }
    }

    /// Finds the MPI of the container's programs. Those of its environments are read only if the
    /// host's MPI is wanted, since there may be gigabytes of them.
    fn mpi_of_base(&self) -> anyhow::Result<Option<MpiUse>> {
        let context = self.prepared.check_context();
        let wants_host = self.plan.settings.rules.mpi.source == Some(MpiSource::Host);
        let inventory = match self.prepared.base.image.reader() {
            Some(reader) if wants_host => Inventory::from_image(reader, Path::new("/"), true)?,
            _ => Inventory::default(),
        };
        context.mpi_use(&inventory)
    }

    /// Starts the runtime with a directory at the mount point, and reads the base's variables.
    fn probe(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let empty = self.prepared.scratch.path().join("empty");
        fs_err::create_dir(&empty)?;
        if !self.prepared.base.facts.has_sh {
            return Ok(BTreeMap::new());
        }
        self.prepared.probe(&empty, &self.mount_point)
    }

    /// Puts the generation together where no other process sees it.
    fn stage(&self, claim: Claim, contents: &Contents) -> anyhow::Result<Staged> {
        let base = &self.prepared.base;
        let image = contents.packed.as_ref().map(|packed| &packed.image);
        let launch = self.launch(contents)?;
        Ok(claim.stage(&Assembly {
            image: image.map(|image| image.path.as_path()),
            base: base.path(),
            base_mode: base.mode(self.plan.output.base_file),
            launch: &launch,
            programs: &contents.programs,
            landmarks: &self.landmarks(&contents.programs)?,
            share: &[],
            receipt: &self.receipt(image, contents.base_digest.clone()),
        })?)
    }

    /// Stages the generation. Reads the image back, and starts one of the wrappers.
    fn stage_checked(&self, claim: Claim, contents: &Contents) -> anyhow::Result<Staged> {
        let stage = || self.stage(claim, contents);
        let start = |staged: &Staged| {
            let bin = staged.generation_dir().join("bin");
            self.start_once(&bin, &contents.programs)
        };
        let Some(packed) = &contents.packed else {
            let staged = stage()?;
            start(&staged)?;
            return Ok(staged);
        };
        let (staged, checked) = stage_and_check(packed, self.report(), stage, start)?;
        checked?;
        Ok(staged)
    }

    fn start_once(&self, bin: &Path, programs: &[Program]) -> anyhow::Result<()> {
        // A container without a shell has nothing that can be started without doing something.
        if self.prepared.runtime.is_none() || !self.prepared.base.facts.has_sh {
            return Ok(());
        }
        let targets: Vec<PathBuf> = programs
            .iter()
            .map(|program| program.target.clone())
            .collect();
        let said = verify::start_once(bin, None, &targets)?;
        let Some(said) = said else { return Ok(()) };
        self.prepared.session.refuse_interrupted()?;
        bail!("the finished installation does not start:\n{said}")
    }
}
