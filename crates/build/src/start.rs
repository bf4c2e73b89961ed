//! Responsible for the start that shows which files come first in the image, if these files are held
//! back: an image is made around them where they are, and the start runs on it.

use std::path::PathBuf;

use condense_image::Tree;
use condense_prefix::{BuildSteps, Finished, Held, Place, Recorded, Start, StartFiles};

use crate::{
    build::Build,
    container::{Container, Mounted},
    report::Phase,
};

/// Directory of the start in scratch.
const DIR: &str = "start";
/// Name in this directory of the file with what is held back, which becomes an image.
const IMAGE: &str = "held.sqfs";

/// Start that is made after all build steps.
pub(crate) struct StartOfImage {
    start: Start,
    dir: PathBuf,
}

impl StartOfImage {
    /// Decides how a start is made that is wanted: as one of the build steps if all files are in the
    /// prefix, or later. Returns the later start. The file of what is held back then keeps a name.
    ///
    /// # Errors
    /// Returns an error if scratch cannot be written.
    pub(crate) fn plan(
        build: &Build,
        steps: &mut BuildSteps,
        wanted: Option<Start>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(start) = wanted else {
            return Ok(None);
        };
        if !steps.holds_back() {
            steps.record_start(start);
            return Ok(None);
        }
        if !steps.has_python() {
            return Ok(None);
        }
        let dir = build.scratch().join(DIR);
        fs_err::create_dir(&dir)?;
        steps.name_held(&dir.join(IMAGE))?;
        Ok(Some(Self { start, dir }))
    }

    /// Makes the start with an image of `tree`, which is the finished environment. If the runtime
    /// cannot mount the image, the files are copied into the prefix. The result is in `finished`.
    ///
    /// # Errors
    /// Returns an error if scratch cannot be written.
    pub(crate) fn make(
        self,
        build: &Build,
        place: &Place,
        tree: &Tree,
        finished: &mut Finished,
    ) -> anyhow::Result<()> {
        let Some(held) = &mut finished.held else {
            return Ok(());
        };
        let phase = Phase::Prefix(condense_prefix::Phase::Start);
        build.report().begin(phase, None);
        let image = self.dir.join(IMAGE);
        condense_image::frame(tree, held.spool(), held.end_bytes())?;
        let mut recorded = self.record(build, place, Mounted::Image(&image))?;
        // Nothing but the image is made of the file from now on.
        fs_err::remove_file(&image)?;
        if let Recorded::NotBegun(reason) = &recorded {
            build.report().debug(format!(
                "the start needs files, since the runtime cannot mount an image of them: {reason}"
            ));
            recorded = self.record_with_files(build, place, held)?;
        }
        build.report().end(phase);
        match recorded {
            Recorded::Files(files) => finished.start_files = Some(files),
            Recorded::NotBegun(reason) => {
                finished.start_files = Some(StartFiles {
                    failed: vec![reason],
                    ..StartFiles::default()
                })
            }
        }
        Ok(())
    }

    fn record_with_files(
        &self,
        build: &Build,
        place: &Place,
        held: &mut Held,
    ) -> anyhow::Result<Recorded> {
        held.copy_all(place)?;
        self.record(build, place, Mounted::Directory(&place.root))
    }

    /// Runs the start in a container that shows nothing of scratch but what the start needs.
    fn record(&self, build: &Build, place: &Place, mounted: Mounted) -> anyhow::Result<Recorded> {
        let beside = Place {
            root: self.dir.clone(),
            ..place.clone()
        };
        let build_dir = beside.build_dir();
        let container = build
            .prepared
            .container(mounted, &place.mount_point, build_dir.clone());
        let Some(container) = container else {
            return Ok(Recorded::NotBegun("there is no runtime".to_owned()));
        };
        let container = Container {
            shown: vec![build_dir],
            ..container
        };
        Ok(self.start.record(&beside, &container, &**build.report())?)
    }
}
