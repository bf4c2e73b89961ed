//! Responsible for one run that makes a SIF of a base and an environment.

use std::{fmt, path::PathBuf};

use super::Plan;

/// One validated run that makes a SIF.
#[derive(Debug, Clone)]
pub struct SifPlan {
    /// What every build needs; its destination is the new file.
    pub build: Plan,
    /// What the environment is made of.
    pub request: Request,
    /// What the environment lies below in the container, absolute; the build says where below it.
    pub mount_point: PathBuf,
    /// Commands that change the environment when it is installed, run in the container in their
    /// order.
    pub post: Vec<String>,
    /// Files and directories, and where they go in the container.
    pub copies: Vec<Copy>,
    /// pip's requirements are installed over the base's own Python, without conda.
    pub on_top: bool,
    /// Where in the file all of it goes.
    pub layout: Layout,
    /// Labels that say who made the image.
    pub labels: Vec<(String, String)>,
}

/// How an image is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// One root file system with everything in it.
    #[default]
    Flat,
    /// The base's root file system as it is, and an overlay.
    Overlay,
}

/// What an environment is made of. With nothing there is no environment, unless a lock says what is
/// in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// A file that conda understands, absolute.
    pub file: Option<PathBuf>,
    /// Further conda packages.
    pub packages: Vec<String>,
    /// Channels where no file names any.
    pub channels: Vec<String>,
}

/// A file or directory of this machine that goes into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Here, absolute.
    pub source: PathBuf,
    /// There, absolute.
    pub destination: PathBuf,
}

impl SifPlan {
    /// Whether anything is asked for besides what a lock says.
    pub fn is_asked(&self) -> bool {
        self.request != Request::default() || self.build.inputs.requirements.is_some()
    }

    /// Whether there is an environment to install.
    pub fn has_environment(&self) -> bool {
        self.is_asked() || self.build.lock.is_some()
    }
}

impl fmt::Display for SifPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            build,
            request,
            mount_point,
            post,
            copies,
            on_top,
            layout,
            labels: _,
        } = self;
        writeln!(f, "image         {}", build.prefix_dir.display())?;
        writeln!(f, "base image    {}", build.base.reference())?;
        if *layout == Layout::Overlay {
            writeln!(f, "layout        overlay")?;
        }
        if self.has_environment() {
            let path = mount_point.join(&build.env_path);
            let how = if *on_top {
                ", over the image's Python"
            } else {
                ""
            };
            writeln!(f, "environment   {}{how}", path.display())?;
        }
        for (word, path) in [
            ("conda         ", &request.file),
            ("requirements  ", &build.inputs.requirements),
            (
                "lock          ",
                &build.lock.as_ref().map(|lock| lock.path.clone()),
            ),
        ] {
            if let Some(path) = path {
                writeln!(f, "{word}{}", path.display())?;
            }
        }
        for (word, list) in [
            ("packages      ", &request.packages),
            ("channels      ", &request.channels),
        ] {
            if !list.is_empty() {
                writeln!(f, "{word}{}", list.join(", "))?;
            }
        }
        for command in post {
            writeln!(f, "post          {command}")?;
        }
        for copy in copies {
            writeln!(
                f,
                "copy          {} to {}",
                copy.source.display(),
                copy.destination.display()
            )?;
        }
        write!(
            f,
            "scratch       {}",
            build.settings.scratch_parent.display()
        )?;
        if build.settings.network.offline {
            write!(f, "\nnetwork       offline")?;
        }
        Ok(())
    }
}
