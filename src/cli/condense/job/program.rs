//! Responsible for what is known of the program of a job: from an image, an installation or a
//! module.

use std::path::{Path, PathBuf};

use condense_base::{BaseImage, BaseKind, MpiAbi};
use condense_build::contents::{Contents, Package, Subject};
use condense_catalogue::{BaseView, Catalogue, Site};
use condense_env_vars::{self as env_vars, EnvVars};
use condense_installation::{Receipt, SiteVariable};
use condense_jobs::{ModuleKind, Program, ProgramVariable, RUN_SCRIPTS_DIR, Start};
use condense_modules::Record;

use super::super::{Context, module};
use crate::cli::build::rules;

/// Run script by which an image with run scripts is known.
const RUN_SCRIPT: &str = "conda-python-distributed";
/// Maximum size of a module file in bytes.
const MODULE_MOST: u64 = 1 << 20;

/// Collects what is known of an image or an installation.
///
/// # Errors
/// Returns an error if there is no such thing, or if it cannot be read.
pub(super) fn of_subject(
    words: &str,
    catalogue: &Catalogue,
    site: &Site,
    context: &Context,
) -> anyhow::Result<Program> {
    match module::Source::open(words, catalogue, site, context)? {
        module::Source::Installation(dir) => of_installation(&dir, words),
        module::Source::Image(image) => of_image(&image, words, site, context),
    }
}

fn unknown(start: Start, subject: &str) -> Program {
    Program {
        start,
        subject: subject.to_owned(),
        command: Vec::new(),
        has_python: None,
        has_run_scripts: None,
        is_for_gpus: false,
        has_mpich: false,
        torch: None,
        binds: Vec::new(),
        flags: Vec::new(),
        variables: Vec::new(),
    }
}

fn of_installation(dir: &Path, words: &str) -> anyhow::Result<Program> {
    let bin = dir.join("bin");
    let mut wrappers = Vec::new();
    for entry in fs_err::read_dir(&bin)? {
        wrappers.extend(entry?.file_name().into_string());
    }
    wrappers.sort();
    let has = |name: &str| wrappers.iter().any(|wrapper| wrapper == name);
    let has_python = has("python") || has("python3");
    let has_run_scripts = has(RUN_SCRIPT);
    let contents = Contents::load(&Subject::open(dir, None)?)?;
    let mut program = unknown(Start::Installation { bin, wrappers }, words);
    program.has_python = Some(has_python);
    program.has_run_scripts = Some(has_run_scripts);
    add_packages(&mut program, &contents.packages);
    let receipt = Receipt::load(dir).ok();
    let launch = receipt.and_then(|receipt| receipt.update_state.launch);
    // The host's library asks Slurm in its own way.
    if launch
        .and_then(|launch| launch.host_mpi)
        .is_some_and(|mpi| mpi.is_default && mpi.refusal.is_none() && !mpi.has_own_network)
    {
        program.has_mpich = false;
    }
    Ok(program)
}

fn of_image(
    image: &BaseImage,
    words: &str,
    site: &Site,
    context: &Context,
) -> anyhow::Result<Program> {
    let facts = image.facts()?;
    let contents = Contents::load(&Subject::open(image.path(), None)?)?;
    let view = BaseView {
        base: image,
        facts: &facts,
    };
    let rules = rules(context.env_vars, site);
    let path = fs_err::canonicalize(image.path())?;
    // A link that moves is taken by its name, as the user has written it.
    let path = if image.reference().is_absolute() {
        image.reference().to_owned()
    } else {
        path
    };
    let mut program = unknown(Start::Image(path), words);
    let script = Path::new(RUN_SCRIPTS_DIR).join(RUN_SCRIPT);
    program.has_python = Some(module::has_python(image, &facts, &contents)?);
    program.has_run_scripts = Some(image.exists(script)?);
    program.is_for_gpus = facts.rocm.is_some() || facts.cuda.is_some();
    program.has_mpich = facts.mpi.iter().any(|mpi| mpi.abi == MpiAbi::Mpich);
    program.flags = rules.flags_for(view)?;
    program.variables = variables(rules.variables_for(view)?);
    for bind in rules.binds_for(view)? {
        let (source, destination) = (bind.source().display(), bind.destination().display());
        program.binds.push(if bind.source() == bind.destination() {
            source.to_string()
        } else {
            format!("{source}:{destination}")
        });
    }
    add_packages(&mut program, &contents.packages);
    Ok(program)
}

fn variables(of_site: Vec<SiteVariable>) -> Vec<ProgramVariable> {
    let variables = of_site.into_iter().map(|variable| ProgramVariable {
        name: variable.name,
        value: variable.value,
        path: variable.path,
    });
    variables.collect()
}

/// Adds what packages say: the version of torch, whether it is built for GPUs, and the MPI library.
fn add_packages(program: &mut Program, packages: &[Package]) {
    for package in packages {
        let build = package.build.as_deref().unwrap_or_default();
        match package.name.as_str() {
            "torch" | "pytorch" => {
                let is_for_gpus = ["+rocm", "+cu"]
                    .iter()
                    .any(|word| package.version.contains(word));
                program.is_for_gpus |= is_for_gpus || build.contains("cuda");
                program.torch = Some(package.version.clone());
            }
            // The build `external` brings no library.
            "mpich" => program.has_mpich |= !build.starts_with("external"),
            _ => {}
        }
    }
}

/// Collects what is known of a module. Of a module that condense has not written, only its name is
/// known, and that its image is in the variable `SIF`.
///
/// # Errors
/// Returns an error if the image of a module of condense cannot be read.
pub(super) fn of_module(name: &str, site: &Site, context: &Context) -> anyhow::Result<Program> {
    let start = |dir: Option<PathBuf>, brings| Start::Module {
        name: name.to_owned(),
        dir,
        brings,
    };
    let Some((dir, record)) = find_module(name, context.env_vars) else {
        context.report.warning(format!(
            "`{name}` is no module of condense that can be seen here: its image is taken from the variable SIF, and is not checked"
        ));
        let (flags, of_site) = rules(context.env_vars, site).of_all_images();
        return Ok(Program {
            flags,
            variables: variables(of_site),
            ..unknown(start(None, ModuleKind::Image), name)
        });
    };
    let look = |name: &str| context.env_vars.get(name).map(str::to_owned);
    let Some(image) = &record.image else {
        let program = of_installation(Path::new(&record.root), name)?;
        return Ok(Program {
            start: start(Some(dir), ModuleKind::Wrappers),
            ..program
        });
    };
    let copies = image.dirs.iter();
    let copies = copies.map(|it| Path::new(&it.path(look)).join(&image.file));
    let mut places = std::iter::once(PathBuf::from(&image.path)).chain(copies);
    let start = start(Some(dir), ModuleKind::Commands);
    let Some(path) = places.find(|path| path.is_file()) else {
        context.report.warning(format!(
            "the image {} of the module `{name}` is not here, and is not checked",
            image.file
        ));
        return Ok(unknown(start, name));
    };
    let image = BaseImage::open(&path)?;
    debug_assert!(image.kind() == BaseKind::Sif);
    let program = of_image(&image, name, site, context)?;
    // The module brings run scripts for its image.
    Ok(Program {
        start,
        has_run_scripts: Some(true),
        ..program
    })
}

/// Finds the file of a module that condense has written, and its directory of modules.
fn find_module(name: &str, env_vars: &EnvVars) -> Option<(PathBuf, Record)> {
    let paths = env_vars.get(env_vars::MODULEPATH).unwrap_or_default();
    let own = module::user_prefix(env_vars).map(|dir| dir.join("modules/container"));
    let dirs = std::env::split_paths(paths).filter(|dir| dir.is_absolute());
    for dir in dirs.chain(own) {
        let place = dir.join(name);
        let mut files =
            vec![place.with_file_name(format!("{}.lua", place.file_name()?.to_string_lossy()))];
        files.push(place.clone());
        // Without a version, the newest one is loaded.
        let versions = std::fs::read_dir(&place).into_iter().flatten().flatten();
        let mut versions: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
        versions.sort();
        files.extend(versions.into_iter().rev());
        for file in files.into_iter().filter(|file| file.is_file()) {
            let text = condense_input::read_to_string(&file, MODULE_MOST).ok()?;
            if let Some(record) = Record::find(&text) {
                return Some((dir, record));
            }
        }
    }
    None
}
