//! Responsible for the packages of a new environment, and for the files that a user adds to them.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::PackageSettings;

/// Name of requirements that the command line has, without a file.
pub(crate) const INLINE: &str = "--pip";
/// Name of an environment file where the user named none.
const UNNAMED: &str = "environment.yml";

/// An environment that is installed from nothing.
#[derive(Debug, Clone)]
pub struct EnvironmentInput {
    /// Packages that are installed first.
    pub packages: Packages,
    /// Further requirements, scripts and options.
    pub extra: ExtraInputs,
    /// Path of the environment below the mount point.
    pub env_path: PathBuf,
    /// Settings for solving and installing packages.
    pub settings: PackageSettings,
}

/// Packages of a new environment, and the kind of environment that they need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packages {
    /// A conda environment with its packages.
    Conda(CondaInput),
    /// A virtual environment with the packages of a requirements file.
    Requirements(VenvInput),
}

impl Packages {
    /// Returns the path by which messages and the receipt name the packages: an environment file,
    /// a requirements file, or the lock if there is no other file.
    pub fn source(&self) -> &Path {
        match self {
            Self::Conda(conda) => conda.source().unwrap_or(Path::new(UNNAMED)),
            Self::Requirements(venv) => &venv.requirements,
        }
    }

    /// Returns whether the packages come from a file.
    pub(super) fn is_named(&self) -> bool {
        match self {
            Self::Conda(conda) => conda.source().is_some(),
            Self::Requirements(_) => true,
        }
    }

    /// Returns the request for conda packages, if there is one.
    pub(super) fn request(&self) -> Option<&PackageRequest> {
        match self {
            Self::Conda(conda) => conda.request(),
            Self::Requirements(_) => None,
        }
    }

    /// Returns the lock, if there is one.
    pub fn lock(&self) -> Option<&Lock> {
        match self {
            Self::Conda(conda) => conda.lock(),
            Self::Requirements(_) => None,
        }
    }

    /// Returns the virtual environment, if the packages are pip's.
    pub fn venv(&self) -> Option<&VenvInput> {
        match self {
            Self::Conda(_) => None,
            Self::Requirements(venv) => Some(venv),
        }
    }
}

/// Packages of a conda environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CondaInput {
    /// The solver chooses packages that fit the request.
    Spec(PackageRequest),
    /// The packages of a lock.
    Lock(Lock),
    /// The packages of a lock, which must fit the request.
    SpecAndLock(PackageRequest, Lock),
}

impl CondaInput {
    /// Returns the variant for a request and a lock, or `None` if there is neither.
    pub fn new(request: Option<PackageRequest>, lock: Option<Lock>) -> Option<Self> {
        match (request, lock) {
            (Some(request), Some(lock)) => Some(Self::SpecAndLock(request, lock)),
            (Some(request), None) => Some(Self::Spec(request)),
            (None, Some(lock)) => Some(Self::Lock(lock)),
            (None, None) => None,
        }
    }

    /// Returns the request, if there is more than a lock.
    pub fn request(&self) -> Option<&PackageRequest> {
        match self {
            Self::Spec(request) | Self::SpecAndLock(request, _) => Some(request),
            Self::Lock(_) => None,
        }
    }

    /// Returns the lock, if there is one.
    pub fn lock(&self) -> Option<&Lock> {
        match self {
            Self::Spec(_) => None,
            Self::Lock(lock) | Self::SpecAndLock(_, lock) => Some(lock),
        }
    }

    /// Returns the environment file of the request, if it has one.
    pub fn file(&self) -> Option<&Path> {
        self.request()?.file.as_deref()
    }

    /// Returns the environment file, or the lock if there is no such file.
    pub fn source(&self) -> Option<&Path> {
        self.file().or_else(|| Some(&self.lock()?.path))
    }
}

/// Packages that are asked for by name, in a file or without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageRequest {
    /// Environment file, `@EXPLICIT` file or list of packages.
    pub file: Option<PathBuf>,
    /// Conda packages besides those of the file.
    pub packages: Vec<String>,
    /// Channels of `packages` if there is no file.
    pub channels: Vec<String>,
}

impl PackageRequest {
    /// Returns the request for the packages of a file.
    pub fn from_file(file: PathBuf) -> Self {
        Self {
            file: Some(file),
            ..Self::default()
        }
    }

    /// Writes the lines of a plan about packages that are named without a file.
    pub(super) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, list) in [
            ("packages      ", &self.packages),
            ("channels      ", &self.channels),
        ] {
            if !list.is_empty() {
                let list = list.join(", ");
                writeln!(f, "{title}{}", condense_prefix::without_secrets(&list))?;
            }
        }
        Ok(())
    }

    /// Returns whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A lock file and the environment selected from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Path of the lock file as the user named it.
    pub path: PathBuf,
    /// One of its environments, or a category of a conda-lock.yml.
    pub environment: Option<String>,
}

/// A virtual environment and the packages that pip installs into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VenvInput {
    /// The requirements file as the user named it.
    pub requirements: PathBuf,
    /// The interpreter that the environment extends.
    pub python: PythonChoice,
    /// Whether packages that are installed beside the interpreter can be imported.
    pub system_site_packages: bool,
}

/// Interpreter of a virtual environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PythonChoice {
    /// This program of the host, or the first `python3` on PATH.
    Host(Option<PathBuf>),
    /// A program of the base.
    OfBase(String),
    /// An interpreter that uv fetches, of this version if one is given.
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

/// Requirements, scripts and options besides the packages themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtraInputs {
    /// A requirements file for pip.
    pub requirements: Option<PathBuf>,
    /// Requirements for pip that the command line has, without a file.
    pub pip: Vec<String>,
    /// Script that is run in the container before anything is installed.
    pub pre_install: Option<GivenText>,
    /// Script that is run in the container after everything is installed.
    pub post_install: Option<GivenText>,
    /// File with the user's own text for common.sh.
    pub environ: Option<GivenText>,
    /// Whether uv installs the packages instead of pip.
    pub uv: bool,
    /// Path of the uv on the user's PATH.
    pub uv_program: Option<PathBuf>,
    /// Whether pip and uv use no cache.
    pub no_cache: bool,
    /// Whether editable requirements stay links to the user's directories.
    pub keep_editable: bool,
    /// Start by which the build finds out which files come first in the image.
    pub warm: WarmStart,
    /// Packages of the base's own distribution that are added to the base.
    pub os_packages: Vec<String>,
    /// The user's current directory.
    pub work_dir: PathBuf,
}

impl ExtraInputs {
    /// Returns whether pip has something to install besides what an environment file lists.
    pub(crate) fn has_requirements(&self) -> bool {
        self.requirements.is_some() || !self.pip.is_empty()
    }

    /// Returns the requirements of the command line, without credentials.
    pub(super) fn shown_pip(&self) -> String {
        let lines = self.pip.iter();
        let lines = lines.map(|line| condense_prefix::without_secrets(line));
        lines.collect::<Vec<_>>().join(", ")
    }

    /// Writes the line about packages of the distribution, if there are any.
    pub(super) fn show_os_packages(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.os_packages.is_empty() {
            return Ok(());
        }
        writeln!(f, "os packages   {}", self.os_packages.join(" "))
    }

    /// Returns the path by which findings name the requirements, if there are any.
    pub(crate) fn requirements_path(&self) -> Option<&Path> {
        let inline = (!self.pip.is_empty()).then_some(Path::new(INLINE));
        self.requirements.as_deref().or(inline)
    }

    /// Returns the files with the titles under which a plan shows them.
    pub(super) fn titled_files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
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
        .filter_map(|(title, path)| Some((title, path?)))
    }
}

/// Start that a build makes to find out which files a start reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WarmStart {
    /// Python code that is run after the imports of the packages that are asked for.
    pub code: Vec<String>,
    /// Whether no start is made, so that the image has no hot zone.
    pub is_off: bool,
}

/// Text that the user has given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenText {
    /// File from which the text was read, or a name that stands for a file.
    pub path: PathBuf,
    /// Contents of the file.
    pub text: String,
}
