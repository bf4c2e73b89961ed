//! Responsible for everything that a module says about its image or installation: the Python, the
//! packages, the commands, and the rules of the site.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use condense_base::{BaseFacts, BaseImage, BaseKind};
use condense_build::contents::{Contents, PackageKind, Subject, SubjectKind};
use condense_catalogue::{BaseView, Catalogue, ImageName, MpiRules, Site};
use condense_diagnostics::{UserError, closest};
use condense_env_vars as env_vars;
use condense_installation::{HostMpi, MpiSource, Runtime, SiteVariable};
use condense_modules::{
    ContainerModule, Distribution, ImageDir, ImageRecord, ModuleBind, ModuleFile, ModuleName,
    Named, Venv, wanted,
};

use super::super::Context;
use crate::cli::{build::rules, run_settings::runtime};

/// Commands of each module of an image.
const ALWAYS: [&str; 4] = [
    "start-shell",
    "list-packages",
    "make-squashfs",
    "unmake-squashfs",
];
/// Programs that become commands if the image has them.
const USUAL: [&str; 5] = ["accelerate", "hf", "huggingface-cli", "ray", "torchrun"];
/// Directories of virtual environments of images.
const VENV: &str = "opt/venv";
/// Digits of a digest that a module file has.
const DIGITS: usize = 16;

/// Image or installation that becomes a module.
pub(in crate::cli::condense) enum Source {
    /// Installation, a directory with `bin`.
    Installation(PathBuf),
    /// Image in the format SIF.
    Image(Box<BaseImage>),
}

/// Settings of the user for a module.
pub(in crate::cli::condense) struct Wishes<'a> {
    pub module: &'a ModuleName,
    pub root: &'a Path,
    pub wrappers: &'a [String],
    pub copies: bool,
    pub mpi: Option<MpiSource>,
}

/// Module that can be written.
pub(in crate::cli::condense) struct Prepared {
    pub file: ModuleFile,
    pub container: Option<Container>,
}

/// Settings of the commands of a module.
pub(in crate::cli::condense) struct Container {
    pub path: PathBuf,
    /// SHA-256 of the image, in hexadecimal.
    pub digest: String,
    pub settings: ContainerModule,
    pub variables: Vec<SiteVariable>,
    pub flags: Vec<String>,
    pub host_mpi: Option<HostMpi>,
    pub packages: Vec<Distribution>,
    pub venv: Option<Venv>,
    pub has_bash: bool,
    pub runtime: Option<PathBuf>,
}

/// Python of an image.
struct Python {
    /// Directory of the environment in the image, without the leading slash.
    prefix: PathBuf,
    /// Version with two numbers.
    version: String,
    /// Name of the environment in `/user-software/venv`.
    name: String,
    /// Names of all programs of the environment.
    programs: Vec<String>,
    /// Directory of the conda whose environment the image names in `WITH_CONDA`.
    conda: Option<String>,
}

impl Source {
    /// Opens what the user has named: a file or directory, else an image of the catalogue.
    ///
    /// # Errors
    /// Returns an error if there is no such thing, or if it is neither an installation nor a SIF.
    pub(in crate::cli::condense) fn open(
        words: &str,
        catalogue: &Catalogue,
        site: &Site,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let env_vars = context.env_vars;
        let named = super::super::subject::open(Path::new(words), env_vars);
        if let Ok(subject) = &named
            && subject.kind() == SubjectKind::Installation
        {
            let dir = fs_err::canonicalize(subject.path())?;
            return Ok(Self::Installation(dir));
        }
        let (reference, note) = catalogue.resolve_image(words, site, env_vars)?;
        if let Some(note) = note {
            context.report.warning(note);
        }
        if reference.contains("://") {
            bail!(UserError::new(
                format!("`{reference}` is in a registry, and this command needs a file"),
                format!("`condense pull {reference} FILE.sif` makes one"),
            ));
        }
        let path = env_vars.cwd.join(reference);
        if !path.exists() {
            return match named {
                Err(error) => Err(error),
                Ok(_) => bail!("`{}` does not exist", path.display()),
            };
        }
        let image = BaseImage::open(&path)?;
        if image.kind() != BaseKind::Sif {
            bail!(UserError::new(
                format!("`{}` is neither a .sif nor an installation", path.display()),
                "`condense pull` and `condense cotainr build` make a .sif",
            ));
        }
        Ok(Self::Image(Box::new(image)))
    }

    /// Returns a name for the module: the name of the file up to its tag, or of the directory.
    pub(in crate::cli::condense) fn name(&self) -> String {
        let stem = match self {
            Self::Installation(dir) => dir.file_name(),
            Self::Image(image) => image.reference().file_stem(),
        };
        let stem = stem.unwrap_or_default().to_string_lossy().into_owned();
        match stem.split_once("-dockerhash-") {
            Some((name, _)) => name.to_owned(),
            None => stem,
        }
    }

    /// Returns a version for the module: the day on which the file or directory was made.
    ///
    /// # Errors
    /// Returns an error if its time cannot be read.
    pub(in crate::cli::condense) fn version(&self) -> anyhow::Result<String> {
        let path = match self {
            Self::Installation(dir) => dir.join("common.sh"),
            Self::Image(image) => {
                let name = image.reference().file_name().unwrap_or_default();
                let parsed = ImageName::parse(&name.to_string_lossy());
                if let Some(date) = parsed.and_then(|name| name.date) {
                    return Ok(date);
                }
                image.path().to_owned()
            }
        };
        let time = fs_err::metadata(&path)?.modified()?;
        let time = jiff::Timestamp::try_from(time)?;
        Ok(time.strftime("%Y%m%d").to_string())
    }

    /// Collects everything that the module says.
    ///
    /// # Errors
    /// Returns an error if the image cannot be read, if a path is not UTF-8, or if a program that
    /// the user wants is not in the image.
    pub(in crate::cli::condense) fn prepare(
        &self,
        wishes: &Wishes,
        site: &Site,
        context: &Context,
    ) -> anyhow::Result<Prepared> {
        match self {
            Self::Installation(dir) => of_installation(dir, wishes, context),
            Self::Image(image) => of_image(image, wishes, site, context),
        }
    }
}

fn of_installation(dir: &Path, wishes: &Wishes, context: &Context) -> anyhow::Result<Prepared> {
    let subject = Subject::open(dir, None)?;
    let contents = Contents::load(&subject)?;
    if wishes.mpi.is_some() {
        bail!(UserError::new(
            "`--mpi` is for images: the commands of an installation have an MPI already",
            format!("`condense update --mpi host {}` changes it", dir.display()),
        ));
    }
    let mut commands = Vec::new();
    for entry in fs_err::read_dir(dir.join("bin"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('_') {
            commands.push(name);
        }
    }
    commands.sort();
    if !wishes.wrappers.is_empty() || wishes.copies {
        context.report.warning(
            "`--wrapper` and `--copy` are for images: an installation has its own commands",
        );
    }
    let packages = wanted(&distributions(&contents, None));
    let file = ModuleFile {
        module: wishes.module.clone(),
        description: describe(wishes.module, &packages),
        keywords: keywords(&packages),
        root: utf8(wishes.root)?,
        facts: Vec::new(),
        packages,
        commands,
        conflicts: Vec::new(),
        container: None,
    };
    Ok(Prepared {
        file,
        container: None,
    })
}

fn of_image(
    image: &BaseImage,
    wishes: &Wishes,
    site: &Site,
    context: &Context,
) -> anyhow::Result<Prepared> {
    let facts = image.facts()?;
    let contents = Contents::load(&Subject::open(image.path(), None)?)?;
    let python = find_python(image, &facts, &contents)?;
    let packages = distributions(&contents, python.as_ref().map(|it| it.prefix.as_path()));
    let digest = image.digest()?.context("a SIF is a file")?;
    let settings = settings(
        image,
        &facts,
        &digest,
        python.as_ref(),
        wishes,
        site,
        context,
    )?;
    let rules = rules(context.env_vars, site);
    let view = BaseView {
        base: image,
        facts: &facts,
    };
    let mpi = MpiRules {
        source: wishes.mpi,
        ..rules.mpi.clone()
    };
    let host_mpi = condense_build::host_mpi_of(image.path(), &mpi, true, context.report)?;
    let search_path = context.env_vars.get(env_vars::PATH).unwrap_or_default();
    let runtime = runtime(context.env_vars, site);
    let runtime = Runtime::find_optional(runtime.as_deref(), search_path.as_ref())?;
    let has_pip = packages.iter().any(|package| package.name == "pip");
    let shown = wanted(&packages);
    let container = Container {
        path: image.path().to_owned(),
        digest: digest.clone(),
        variables: rules.variables_for(view)?,
        flags: rules.flags_for(view)?,
        host_mpi,
        venv: python.as_ref().map(|python| Venv {
            name: python.name.clone(),
            home: format!("/{}/bin", python.prefix.display()),
            version: python.version.clone(),
            has_pip,
        }),
        packages,
        has_bash: facts.has_bash,
        runtime: runtime.map(|found| found.program().to_owned()),
        settings,
    };
    let file = ModuleFile {
        module: wishes.module.clone(),
        description: describe(wishes.module, &shown),
        keywords: keywords(&shown),
        root: utf8(wishes.root)?,
        facts: facts_for_users(&facts, &container.settings.image, &digest),
        packages: shown,
        commands: commands(
            image,
            environments(&facts, &contents),
            python.as_ref(),
            has_pip,
            wishes,
        )?,
        conflicts: site.module.conflicts.clone(),
        container: Some(container.settings.clone()),
    };
    Ok(Prepared {
        file,
        container: Some(container),
    })
}

/// Returns the image, the binds and the variables of the module.
fn settings(
    image: &BaseImage,
    facts: &BaseFacts,
    digest: &str,
    python: Option<&Python>,
    wishes: &Wishes,
    site: &Site,
    context: &Context,
) -> anyhow::Result<ContainerModule> {
    let view = BaseView { base: image, facts };
    let rules = rules(context.env_vars, site);
    let path = image.reference();
    let file = utf8(path.file_name().unwrap_or_default().as_ref())?;
    let place = if wishes.copies {
        wishes.root.join(&file)
    } else {
        path.to_owned()
    };
    let mut binds = Vec::new();
    for bind in rules.binds_for(view)? {
        binds.push(ModuleBind {
            source: utf8(bind.source())?,
            destination: utf8(bind.destination())?,
        });
    }
    let mut inside_path = vec!["/runscripts".to_owned()];
    let mut variables = Vec::new();
    for variable in rules.variables_for(view)? {
        // Other values are known only when a program starts: its command sets them.
        if !variable.value.contains("${") {
            variables.push(Named::new(variable.name, variable.value));
        }
    }
    let mut inside = |name: &str, value: &str| {
        variables.push(Named::new(format!("SINGULARITYENV_{name}"), value));
    };
    if let Some(python) = python {
        let venv = format!("/user-software/venv/{}", python.name);
        inside_path.push(format!("{venv}/bin"));
        inside_path.push(format!("/{}/bin", python.prefix.display()));
        if let Some(conda) = python.conda.as_deref() {
            inside_path.push(format!("{conda}/condabin"));
            inside("CONDA_DEFAULT_ENV", &python.name);
            inside("CONDA_EXE", &format!("{conda}/bin/conda"));
            inside("CONDA_PREFIX", &format!("/{}", python.prefix.display()));
        }
        inside("VIRTUAL_ENV", &venv);
        inside("PYTHONNOUSERSITE", "1");
    }
    // Words that job scripts run as commands. The environment is active without them.
    if facts.with_conda.is_none() {
        inside("WITH_CONDA", "true");
    }
    for name in ["WITH_VENV", "WITH_CONDA_VENV", "INIT_CONDA_VENV"] {
        inside(name, "true");
    }
    let image_dirs = site.module.image_dirs.iter();
    let look = |name: &str| context.env_vars.get(name).map(str::to_owned);
    let site_dirs = site.image_dirs.iter();
    let site_dirs = site_dirs.map(|dir| condense_catalogue::expand(dir, look));
    let mut dirs: Vec<ImageDir> = Vec::new();
    for dir in image_dirs.cloned().chain(site_dirs) {
        let dir = ImageDir::parse(&dir);
        if !dirs
            .iter()
            .any(|known| known.path(|_| None) == dir.path(|_| None))
        {
            dirs.push(dir);
        }
    }
    Ok(ContainerModule {
        image: ImageRecord {
            file,
            path: utf8(&place)?,
            dirs,
            size: fs_err::metadata(image.path())?.len(),
            sha256: digest[..DIGITS].to_owned(),
        },
        binds,
        keeps_missing_binds: site.module.keeps_missing_binds,
        path: inside_path,
        variables,
    })
}

/// Returns the environments of the image, each with a name: first the one that the image activates,
/// then a virtual environment, those of conda, and the distribution.
fn environments(facts: &BaseFacts, contents: &Contents) -> Vec<(PathBuf, String)> {
    let mut found: Vec<(PathBuf, String)> = Vec::new();
    let named = activated_by_conda(facts);
    found.extend(
        named.map(|(root, name)| (Path::new(root).join("envs").join(name), name.to_owned())),
    );
    found.push((VENV.into(), "venv".to_owned()));
    // Environments without a conda of their own, as condense makes them.
    let packages = contents.packages.iter();
    for package in packages.filter(|package| package.kind == PackageKind::Conda) {
        let prefix = &package.environment;
        if prefix.parent().is_some_and(|dir| dir.ends_with("envs"))
            && !found.iter().any(|(known, _)| known == prefix)
        {
            let name = prefix.file_name().unwrap_or_default().to_string_lossy();
            found.push((prefix.clone(), name.into_owned()));
        }
    }
    if let Some(conda) = &facts.conda {
        let root = conda.prefix.strip_prefix("/").unwrap_or(&conda.prefix);
        let environments = conda.environments.iter().filter(|name| *name != "base");
        found.extend(environments.map(|name| (root.join("envs").join(name), name.clone())));
        found.push((root.to_owned(), "conda".to_owned()));
    }
    if let Some(python) = &facts.python {
        let prefix = python.path.parent().and_then(Path::parent);
        let prefix = prefix.unwrap_or(Path::new("/usr"));
        let prefix = prefix.strip_prefix("/").unwrap_or(prefix);
        found.push((prefix.to_owned(), "python".to_owned()));
    }
    found
}

/// Returns the directory of conda, without the leading slash, and the environment that the image
/// names in `WITH_CONDA`.
fn activated_by_conda(facts: &BaseFacts) -> Option<(&str, &str)> {
    let command = facts.with_conda.as_deref()?.strip_prefix("source ")?;
    let (script, name) = command.rsplit_once(' ')?;
    let root = script.strip_suffix("/bin/activate")?;
    Some((root.trim_start_matches('/'), name))
}

/// Returns the names of the programs in a directory of the image.
fn programs(image: &BaseImage, dir: &Path) -> anyhow::Result<Vec<String>> {
    let programs = image.programs(dir)?.into_iter();
    Ok(programs
        .filter_map(|(name, _)| name.into_string().ok())
        .collect())
}

/// Finds the Python that users of the image mean: that of the first environment which has one.
fn find_python(
    image: &BaseImage,
    facts: &BaseFacts,
    contents: &Contents,
) -> anyhow::Result<Option<Python>> {
    for (prefix, name) in environments(facts, contents) {
        let programs = programs(image, &prefix.join("bin"))?;
        let version = programs.iter().find_map(|name| {
            let version = name.strip_prefix("python3.")?;
            let is_number = version.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| format!("3.{version}"))
        });
        if let Some(version) = version {
            let activated = activated_by_conda(facts);
            let conda =
                activated.filter(|(root, named)| *named == name && prefix.starts_with(root));
            return Ok(Some(Python {
                conda: conda.map(|(root, _)| format!("/{root}")),
                prefix,
                version,
                name,
                programs,
            }));
        }
    }
    Ok(None)
}

/// Returns whether the image has a Python.
///
/// # Errors
/// Returns an error if the image cannot be read.
pub(in crate::cli::condense) fn has_python(
    image: &BaseImage,
    facts: &BaseFacts,
    contents: &Contents,
) -> anyhow::Result<bool> {
    Ok(find_python(image, facts, contents)?.is_some())
}

/// Returns the names in `bin`.
fn commands(
    image: &BaseImage,
    environments: Vec<(PathBuf, String)>,
    python: Option<&Python>,
    has_pip: bool,
    wishes: &Wishes,
) -> anyhow::Result<Vec<String>> {
    let mut names: Vec<String> = ALWAYS.iter().map(|&name| name.to_owned()).collect();
    if let Some(python) = python {
        let version = &python.version;
        names.extend(["python", "python3"].map(str::to_owned));
        names.push(format!("python{version}"));
        if has_pip {
            names.extend(["pip", "pip3"].map(str::to_owned));
            names.push(format!("pip{version}"));
        }
        let usual = USUAL.iter().map(|&name| name.to_owned());
        names.extend(usual.filter(|name| python.programs.contains(name)));
    }
    let mut known = Vec::new();
    let environments = environments.into_iter().map(|(prefix, _)| prefix);
    let prefixes = environments.chain(["usr/local", "usr", ""].map(PathBuf::from));
    for prefix in prefixes.filter(|_| !wishes.wrappers.is_empty()) {
        known.extend(programs(image, &prefix.join("bin"))?);
    }
    for name in wishes.wrappers {
        if !known.contains(name) {
            let similar = closest(name, known.iter().map(String::as_str));
            let hint = match similar {
                Some(similar) => format!("did you mean `{similar}`?"),
                None => "`start-shell` of the module shows what is in the image".to_owned(),
            };
            bail!(UserError::new(
                format!("the image has no program `{name}` on its PATH"),
                hint,
            ));
        }
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    Ok(names)
}

/// Returns the Python packages of one environment of the image, or of all of them.
fn distributions(contents: &Contents, prefix: Option<&Path>) -> Vec<Distribution> {
    let packages = contents.packages.iter();
    let packages = packages.filter(|package| prefix.is_none_or(|it| package.environment == it));
    let mut found = Vec::new();
    for package in packages {
        let names = match package.kind {
            PackageKind::Pip => vec![package.name.clone()],
            PackageKind::Conda => package.provides.clone(),
        };
        found.extend(names.into_iter().map(|name| Distribution {
            name,
            version: package.version.clone(),
        }));
    }
    condense_modules::merge(&found, &[])
}

fn describe(module: &ModuleName, packages: &[Named]) -> String {
    let names: Vec<String> = packages
        .iter()
        .take(3)
        .map(|package| format!("{} {}", package.name, package.value))
        .collect();
    if names.is_empty() {
        return format!("{}, in a container", module.name());
    }
    format!(
        "{} with {}, in a container",
        module.name(),
        names.join(", ")
    )
}

fn keywords(packages: &[Named]) -> Vec<String> {
    packages
        .iter()
        .map(|package| package.name.clone())
        .collect()
}

fn facts_for_users(facts: &BaseFacts, image: &ImageRecord, digest: &str) -> Vec<Named> {
    let distribution = facts.distribution.as_ref();
    let distribution =
        distribution.and_then(|found| found.pretty_name.clone().or_else(|| found.id.clone()));
    let mut rows = vec![Named::new("file", image.path.clone())];
    let optional = [
        ("distribution", distribution),
        ("rocm", facts.rocm.clone()),
        ("cuda", facts.cuda.clone()),
        ("sha256", Some(digest.to_owned())),
    ];
    let known = optional.into_iter();
    rows.extend(known.filter_map(|(name, value)| Some(Named::new(name, value?))));
    rows
}

fn utf8(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str();
    text.map(str::to_owned).with_context(|| {
        format!(
            "`{}` is not UTF-8, so no module file can have it",
            path.display()
        )
    })
}
