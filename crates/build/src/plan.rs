//! Responsible for everything one run needs, validated; after it nothing knows which dialect was
//! spoken.

mod build_env;
mod run_settings;
mod sif;
mod update;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use condense_image::{BlockSize, Compression};

pub use build_env::BuildEnv;
use condense_catalogue::SiteRules;
use condense_installation::FileAlias;
pub use run_settings::RunSettings;
pub use sif::{Copy, Layout, Request, SifPlan};
pub use update::UpdatePlan;

/// The form in which an installation has its base.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BaseFile {
    /// The same blocks or the same file if that is possible, else a link or a copy.
    #[default]
    Usual,
    /// A file of its own.
    Copied,
    /// A link to the place of the base, as with Tykky's `share_container`.
    Linked,
}

/// One validated run of a build.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The environment file, as the user named it; the lock where there is no other.
    pub spec_path: PathBuf,
    /// The lock that says exactly what is installed.
    pub lock: Option<Lock>,
    /// Editable requirements stay links to the user's directories.
    pub keep_editable: bool,
    /// What is done besides installing what the file says.
    pub inputs: ExtraInputs,
    /// The file is for pip, and what is installed is a virtual environment.
    pub venv: Option<VenvPlan>,
    /// Where the installation will be, absolute.
    pub prefix_dir: PathBuf,
    /// The base image and who chose it.
    pub base: BaseChoice,
    /// Replaces an installation that is already there.
    pub force: bool,
    /// The form in which the installation has the base.
    pub base_file: BaseFile,
    /// Start of the mount point; `_` and seven characters follow.
    pub installation_path: String,
    /// The site's own names of files beside `bin`, and the usual ones.
    pub other_names: Vec<FileAlias>,
    /// The environment's path below the mount point.
    pub env_path: PathBuf,
    /// What the site wants where programs start.
    pub rules: SiteRules,
    /// Files or directories of further programs: absolute in the container, or below the mount
    /// point.
    pub wrapper_paths: Vec<PathBuf>,
    /// The user's own text for common.sh.
    pub extra_text: Option<String>,
    /// How the image is compressed; none: as the runtime can read it.
    pub compression: Option<Compression>,
    /// Bytes of the image that are compressed together.
    pub block_size: BlockSize,
    /// Seconds since 1970 on everything in the image, instead of the newest package's.
    pub source_date_epoch: Option<u32>,
    /// Shows the plan and does nothing.
    pub dry_run: bool,
    /// The command as typed, for the receipt.
    pub command_line: Vec<String>,
    /// What it works with.
    pub settings: RunSettings,
}

/// What the findings of a build are judged by.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    /// The machine that jobs will run on.
    pub machine: condense_check::Machine,
    /// Findings that do not end the build.
    pub allowed: Vec<&'static condense_check::Code>,
}

/// One validated run that wraps what is there already: a container, or a directory.
#[derive(Debug, Clone)]
pub struct WrapPlan {
    /// What is wrapped.
    pub what: Wrapped,
    /// Files or directories of programs: absolute in the container, or below the mount point.
    pub wrapper_paths: Vec<PathBuf>,
    /// Scripts that are run on the directory in the container before it is packed, in their order.
    pub scripts: Vec<GivenText>,
    /// The user's own text for common.sh.
    pub extra_text: Option<String>,
    /// Where the installation will be, absolute.
    pub prefix_dir: PathBuf,
    /// The base image and who chose it.
    pub base: BaseChoice,
    /// Replaces an installation that is already there.
    pub force: bool,
    /// The form in which the installation has the base.
    pub base_file: BaseFile,
    /// Parent of the scratch directory, absolute.
    pub scratch_parent: PathBuf,
    /// Scratch stays after the build.
    pub keep_scratch: bool,
    /// How a base that is elsewhere is brought here.
    pub registries: Registries,
    /// Start of the mount point; `_` and seven characters follow.
    pub installation_path: String,
    /// The site's own names of files beside `bin`, and the usual ones.
    pub other_names: Vec<FileAlias>,
    /// The runtime, when the site names one.
    pub runtime: Option<PathBuf>,
    /// The user's variables and files that the scripts see.
    pub build_env: BuildEnv,
    /// What the site wants where programs start.
    pub rules: SiteRules,
    /// What findings are judged by.
    pub checks: Checks,
    /// How the image is compressed; none: as the runtime can read it.
    pub compression: Option<Compression>,
    /// Seconds since 1970 on everything in the image, instead of the files' own.
    pub source_date_epoch: Option<u32>,
    /// Shows the plan and does nothing.
    pub dry_run: bool,
    /// The command as typed, for the receipt.
    pub command_line: Vec<String>,
    /// Working directory of the user, in which the scripts run.
    pub work_dir: PathBuf,
}

/// What a [`WrapPlan`] wraps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrapped {
    /// The base itself.
    Container,
    /// A directory on disk.
    Directory {
        /// Absolute, without links.
        dir: PathBuf,
        /// Mounted over the directory itself.
        mask: bool,
    },
}

/// Every runtime, every kernel and every squashfuse reads this one.
pub const GZIP: Compression = Compression::Gzip { level: 6 };

/// How an image will be compressed, in words.
fn compressed(asked: Option<Compression>) -> String {
    match asked {
        Some(compression) => compression.to_string(),
        None => format!(
            "{}, or {GZIP} where the runtime is not seen to read that",
            Compression::default()
        ),
    }
}

impl fmt::Display for WrapPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Wrapped::Container => writeln!(f, "wraps         {}", self.base.reference())?,
            Wrapped::Directory { dir, mask } => {
                writeln!(f, "wraps         {}", dir.display())?;
                if *mask {
                    writeln!(f, "mount point   {}", dir.display())?;
                } else {
                    writeln!(f, "mount point   {}_…", self.installation_path)?;
                }
                writeln!(f, "base image    {}", self.base.reference())?;
                writeln!(
                    f,
                    "image         SquashFS, {}",
                    compressed(self.compression)
                )?;
            }
        }
        let paths = self.wrapper_paths.iter().map(|path| path.display());
        let paths: Vec<String> = paths.map(|path| path.to_string()).collect();
        writeln!(f, "programs of   {}", paths.join(", "))?;
        write!(f, "installation  {}", self.prefix_dir.display())
    }
}

/// How registries are reached, and what is kept of them.
#[derive(Debug, Clone)]
pub struct Registries {
    /// Credentials, certificates, plain HTTP.
    pub access: condense_oci::Access,
    /// Nothing is kept without it.
    pub cache: Option<CacheLimit>,
    /// No registry is asked.
    pub offline: bool,
}

/// Where images are kept, and how much of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheLimit {
    /// For images alone.
    pub dir: PathBuf,
    /// The user's own directory, for the case that `dir` belongs to others as well.
    pub own: PathBuf,
    /// In bytes.
    pub size_max: u64,
}

/// A virtual environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VenvPlan {
    /// Whose packages it extends.
    pub python: PythonChoice,
    /// What is installed beside the interpreter is seen, too.
    pub system_site_packages: bool,
}

/// The interpreter of a virtual environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PythonChoice {
    /// This program of the host, or the first `python3` on PATH.
    Host(Option<PathBuf>),
    /// A program of the base.
    OfBase(String),
    /// One that uv fetches, of this version if any.
    Managed(Option<String>),
}

impl fmt::Display for PythonChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(Some(program)) => write!(f, "{} of the host", program.display()),
            Self::Host(None) => write!(f, "the first python3 on PATH"),
            Self::OfBase(name) => write!(f, "{name} of the base"),
            Self::Managed(version) => {
                write!(f, "uv's own, version {}", version.as_deref().unwrap_or("3"))
            }
        }
    }
}

/// What the user wants besides the environment file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtraInputs {
    /// A requirements file for pip.
    pub requirements: Option<PathBuf>,
    /// Script that is run in the container before anything is installed.
    pub pre_install: Option<GivenText>,
    /// Script that is run there when everything is.
    pub post_install: Option<GivenText>,
    /// The file of [`Plan::extra_text`].
    pub environ: Option<GivenText>,
    /// uv installs what pip would have.
    pub uv: bool,
    /// The one on the user's PATH.
    pub uv_program: Option<PathBuf>,
    /// pip and uv have no cache.
    pub no_cache: bool,
    /// Where the user stands.
    pub work_dir: PathBuf,
}

impl ExtraInputs {
    /// What they are and where they are from, for showing a plan.
    fn named(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        fn path(given: Option<&GivenText>) -> Option<&Path> {
            Some(&given?.path)
        }
        [
            ("requirements  ", self.requirements.as_deref()),
            ("pre-install   ", path(self.pre_install.as_ref())),
            ("post-install  ", path(self.post_install.as_ref())),
            ("environ       ", path(self.environ.as_ref())),
        ]
        .into_iter()
        .filter_map(|(what, path)| Some((what, path?)))
    }
}

/// Text that the user has given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenText {
    /// The file that it is from, or what stands for one.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
}

/// A lock file, and what of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// As the user named it.
    pub path: PathBuf,
    /// One of its environments, or a category of a conda-lock.yml.
    pub environment: Option<String>,
    /// There is no environment file beside it.
    pub alone: bool,
}

/// What `condense lock` needs, validated.
#[derive(Debug, Clone)]
pub struct LockPlan {
    /// The environment file, as the user named it.
    pub spec_path: PathBuf,
    /// What it is solved for, and where pip can be asked; none: conda packages for any machine.
    pub base: Option<BaseChoice>,
    /// conda's name of a platform that is not this machine's.
    pub platform: Option<String>,
    /// Start of the mount point.
    pub installation_path: String,
    /// The environment's path below the mount point.
    pub env_path: PathBuf,
    /// What it works with.
    pub settings: RunSettings,
}

/// Which base, and so whose `/usr` the programs see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseChoice {
    /// The user named it: programs see its system directories.
    Named(String),
    /// The site's default: programs see the host's.
    Site(String),
}

impl BaseChoice {
    /// The reference, whoever chose it.
    pub fn reference(&self) -> &str {
        let (Self::Named(reference) | Self::Site(reference)) = self;
        reference
    }
}

/// conda's CONDA_OVERRIDE_* variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Version of the C library.
    pub glibc: Option<String>,
    /// Version of CUDA.
    pub cuda: Option<String>,
    /// Version of the kernel.
    pub linux: Option<String>,
    /// Level or name of the processor.
    pub archspec: Option<String>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = match self.base {
            BaseChoice::Named(_) => "its own system directories are seen",
            BaseChoice::Site(_) => "the host's system directories are seen",
        };
        writeln!(f, "environment   {}", self.spec_path.display())?;
        if let Some(venv) = &self.venv {
            let site = if venv.system_site_packages {
                ", with its packages"
            } else {
                ""
            };
            writeln!(f, "python        {}{site}", venv.python)?;
        }
        if let Some(lock) = &self.lock {
            write!(f, "lock          {}", lock.path.display())?;
            if let Some(name) = &lock.environment {
                write!(f, " ({name})")?;
            }
            writeln!(f)?;
        }
        for (what, path) in self.inputs.named() {
            writeln!(f, "{what}{}", path.display())?;
        }
        if self.inputs.uv {
            writeln!(f, "for pip       uv")?;
        }
        if self.inputs.no_cache {
            writeln!(f, "pip's cache   none")?;
        }
        for path in &self.wrapper_paths {
            writeln!(f, "programs of   {}", path.display())?;
        }
        writeln!(
            f,
            "installation  {}{}",
            self.prefix_dir.display(),
            if self.force {
                " (replaced if there)"
            } else {
                ""
            }
        )?;
        writeln!(
            f,
            "base image    {} ({view}{})",
            self.base.reference(),
            match self.base_file {
                BaseFile::Usual => "",
                BaseFile::Copied => ", copied",
                BaseFile::Linked => ", linked to",
            }
        )?;
        writeln!(
            f,
            "mount point   {}_…/{}",
            self.installation_path,
            self.env_path.display()
        )?;
        write!(
            f,
            "image         SquashFS, {}",
            compressed(self.compression)
        )?;
        if self.block_size != BlockSize::default() {
            write!(f, " in blocks of {}", self.block_size)?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "scratch       {}",
            self.settings.scratch_parent.display()
        )?;
        write!(
            f,
            "cache         {}",
            self.settings.network.cache_dir.display()
        )?;
        if self.settings.network.offline {
            write!(f, "\nnetwork       offline")?;
        }
        if self.settings.condarc.is_some() {
            write!(f, "\ncondarc       followed")?;
        }
        for mirror in self.settings.network.mirrors.describe() {
            write!(f, "\nmirror        {mirror}")?;
        }
        Ok(())
    }
}
