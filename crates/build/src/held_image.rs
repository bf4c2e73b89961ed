//! Responsible for the container with an image of an environment whose files are held back. Nothing
//! is copied or compressed for the image: it is made around the files where they are.

use std::{cell::Cell, ffi::OsString, io::Read, os::unix::fs::MetadataExt, path::PathBuf};

use condense_image::Tree;
use condense_prefix::{BuildSteps, Held, Place, Refusal, Start, StartFiles, StepRunner};
use sha2::{Digest as _, Sha256};

use crate::{build::Build, container::Mounted, held, report::Phase, start::StartContainer};

/// Directory in scratch of the image, and of the steps that run on it.
const DIR: &str = "held";
/// Name in this directory of the file with what is held back, which becomes an image.
const IMAGE: &str = "held.sqfs";

/// Number of bytes at the beginning of a base that tell it from others: those of a SIF have its
/// identifier and the times of its parts.
const HEAD_BYTES: u64 = 64 << 10;

type StepError = Box<dyn std::error::Error + Send + Sync>;

/// Image of an environment whose files are held back, and the container that mounts it.
pub(crate) struct HeldImage<'b> {
    build: &'b Build<'b>,
    place: Place,
    /// Place whose root has nothing but the directory of build steps.
    beside: Place,
    /// Time of everything in the image, in seconds since 1970.
    mtime: u32,
    /// Files and directories of the user that pip reads.
    shown_to_pip: Vec<PathBuf>,
    is_refused: Cell<bool>,
}

impl<'b> HeldImage<'b> {
    /// Prepares the image if files are held back and there is a runtime. The file with their
    /// contents then keeps a name.
    ///
    /// # Errors
    /// Returns an error if scratch cannot be written.
    pub(crate) fn prepare(
        build: &'b Build<'b>,
        place: &Place,
        steps: &BuildSteps,
        mtime: u32,
    ) -> anyhow::Result<Option<Self>> {
        if !steps.holds_back() || build.prepared.runtime.is_none() {
            return Ok(None);
        }
        let dir = build.scratch().join(DIR);
        fs_err::create_dir(&dir)?;
        steps.name_held(&dir.join(IMAGE))?;
        Ok(Some(Self {
            build,
            place: place.clone(),
            beside: Place {
                root: dir,
                ..place.clone()
            },
            mtime,
            shown_to_pip: steps.local_paths(),
            is_refused: Cell::new(false),
        }))
    }

    /// Returns the files of a start if an earlier build of this environment has recorded them.
    /// `environment` is a digest of the environment, or `None` if nothing tells all of its
    /// packages.
    pub(crate) fn known_start(
        &self,
        start: &Start,
        environment: Option<[u8; 32]>,
    ) -> Option<StartFiles> {
        let report = self.build.report();
        let found = report.known_start(&self.key_of(start, environment?)?)?;
        report.debug("an earlier build has recorded the files of a start");
        Some(found)
    }

    /// Makes the start that shows which files come first in the image. If the runtime cannot mount
    /// the image, the files are copied into the prefix. `environment` is a digest of the
    /// environment, or `None` if nothing tells all of its packages.
    ///
    /// # Errors
    /// Returns an error if scratch cannot be written.
    pub(crate) fn record(
        &self,
        start: &Start,
        environment: Option<[u8; 32]>,
        tree: &Tree,
        held: &mut Held,
    ) -> anyhow::Result<StartFiles> {
        let report = self.build.report();
        let phase = Phase::Prefix(condense_prefix::Phase::Start);
        report.begin(phase, None);
        let mut recorded = Err(String::new());
        if !self.is_refused.get() {
            self.frame(tree, held)?;
            recorded = start.record(&self.beside, self, &**report)?;
            if let Err(reason) = &recorded {
                let refusal = Refusal::Mount(reason.clone());
                condense_prefix::HeldImage::refuse(self, &refusal);
            }
        }
        if recorded.is_err() {
            held.copy_all(&self.place)?;
            let files = self.container(Mounted::ReadOnlyDirectory(&self.place.root));
            recorded = start.record(&self.beside, &files, &**report)?;
        }
        report.end(phase);
        let recorded = recorded.unwrap_or_else(StartFiles::failed);
        // A start that has failed may succeed the next time.
        let is_good = recorded.failed.is_empty() && !recorded.files.is_empty();
        let key = environment.and_then(|environment| self.key_of(start, environment));
        if let (true, Some(key)) = (is_good, key) {
            report.keep_start(&key, &recorded);
        }
        Ok(recorded)
    }

    /// Makes an image around what is held back. `tree` has everything that is in it.
    fn frame(&self, tree: &Tree, held: &mut Held) -> anyhow::Result<()> {
        if !held.is_elsewhere() {
            condense_image::frame(tree, held.spool(), held.end_bytes())?;
            return Ok(());
        }
        held.gather(&**self.build.report())?;
        condense_prefix::HeldImage::make(self, held).map_err(anyhow::Error::from_boxed)
    }

    /// Returns a digest of everything that the files of a start depend on, in hexadecimal, or
    /// `None` if nothing says whether it has changed: for a base that is a directory, and for the
    /// user's code, which may read anything.
    fn key_of(&self, start: &Start, environment: [u8; 32]) -> Option<String> {
        if start.runs_code() {
            return None;
        }
        let prepared = &self.build.prepared;
        let mut base = std::fs::File::open(prepared.base.path()).ok()?;
        let found = base.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let mut head = Vec::new();
        base.by_ref().take(HEAD_BYTES).read_to_end(&mut head).ok()?;
        let mut digest = Sha256::new();
        digest.update(start.digest());
        digest.update(environment);
        let facts = format!(
            "{} {} {} {:?}",
            found.len(),
            found.mtime(),
            found.mtime_nsec(),
            prepared.runtime
        );
        for text in [
            facts.as_bytes(),
            self.place.mounted_env().as_os_str().as_encoded_bytes(),
        ] {
            digest.update(Sha256::digest(text));
        }
        digest.update(head);
        Some(hex::encode(digest.finalize()))
    }

    fn container<'a>(&'a self, mounted: Mounted<'a>) -> StartContainer<'a> {
        StartContainer {
            build: self.build,
            place: &self.place,
            beside: &self.beside,
            mounted,
        }
    }

    fn path(&self) -> PathBuf {
        self.beside.root.join(IMAGE)
    }

    fn remove_name(&self) {
        // It may have been removed together with scratch.
        let _ = fs_err::remove_file(self.path());
    }
}

impl Drop for HeldImage<'_> {
    /// Takes the name of the file, which is only read from now on.
    fn drop(&mut self) {
        self.remove_name();
    }
}

impl StepRunner for HeldImage<'_> {
    fn run(&self, argv: &[OsString], line: &mut dyn FnMut(&str)) -> Result<i32, StepError> {
        let image = self.path();
        self.container(Mounted::Image(&image)).run(argv, line)
    }
}

/// Container with the image in which pip runs.
struct PipContainer<'a>(&'a HeldImage<'a>);

impl StepRunner for PipContainer<'_> {
    fn run(&self, argv: &[OsString], line: &mut dyn FnMut(&str)) -> Result<i32, StepError> {
        let (build, image, place) = (self.0.build, self.0.path(), &self.0.beside);
        let shown = [self.0.shown_to_pip.clone(), build.shown_to_steps()].concat();
        let container = build.container_beside(&image, place, shown);
        let container = container.ok_or("there is no container runtime")?;
        container.run(argv, line)
    }
}

impl condense_prefix::HeldImage for HeldImage<'_> {
    fn make(&self, held: &Held) -> Result<(), StepError> {
        let (root, environment) = (&self.place.root, &self.place.environment);
        let tree = held::scan(root, environment, Some(held), self.mtime)?;
        Ok(condense_image::frame(
            &tree,
            held.spool(),
            held.end_bytes(),
        )?)
    }

    fn place_of_steps(&self) -> &Place {
        &self.beside
    }

    fn for_pip(&self) -> Box<dyn StepRunner + '_> {
        Box::new(PipContainer(self))
    }

    fn refuse(&self, refusal: &Refusal) {
        self.is_refused.set(true);
        let report = self.build.report();
        report.debug(format!("packages are unpacked, since {refusal}"));
        // The space is free once nothing is held back any more.
        self.remove_name();
    }
}
