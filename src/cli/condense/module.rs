//! Responsible for the verb `condense module`, which writes a module of an image or of an
//! installation.

pub(super) mod source;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use condense_build::check_output_dir;
use condense_diagnostics::UserError;
use condense_env_vars::{self as env_vars, EnvVars};
use condense_installation::quote_line;
use condense_modules::{Error, Language, ModuleFile, ModuleName, Record, Root, RootFiles};
use serde_json::json;

use super::Context;
use crate::cli::{mpi::MpiArguments, site::SiteArguments};
use source::Wishes;
pub(super) use source::{Source, has_python};

/// Maximum size of a module file in bytes.
const MODULE_MOST: u64 = 1 << 20;

/// Characters by which Environment Modules takes the name of a directory for a pattern or a list.
const SPECIAL_IN_TCL: [char; 8] = ['"', '$', '[', ']', '{', '}', '\\', '*'];

#[derive(Debug, Args)]
#[command(
    after_help = "Without --to, modules go into modules/container below $EBU_USER_PREFIX (~/EasyBuild), \
    if that directory\nexists. CONTAINERROOT is then SW/container/NAME/VERSION below it, \
    and otherwise software/NAME/VERSION\nbeside MODDIR."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    site: SiteArguments,
    /// .sif file, installation, or image of the catalogue
    #[arg(value_name = "SIF|DIR|NAME")]
    subject: String,
    /// Name of the module [default: from the name of the image]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Version of the module [default: the day of the image, as YYYYMMDD]
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Directory of modules, for `module use`
    #[arg(long, value_name = "MODDIR")]
    to: Option<PathBuf>,
    /// Directory of the module's commands and of user-software, CONTAINERROOT
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Language of the module file: lua for Lmod, tcl for Environment Modules
    #[arg(long, value_enum, value_name = "LANGUAGE", default_value = "both")]
    format: Format,
    /// Program of the image that becomes a command; may be given several times
    #[arg(short, long, value_name = "NAME")]
    wrapper: Vec<String>,
    #[command(flatten)]
    mpi: MpiArguments,
    /// Copy the image into CONTAINERROOT; otherwise the module refers to where it lies
    #[arg(long)]
    copy: bool,
    /// Write an existing module anew; user-software stays
    #[arg(short, long)]
    force: bool,
    /// Print the module file, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Lua,
    Tcl,
    Both,
}

impl Format {
    fn languages(self) -> &'static [Language] {
        match self {
            Self::Lua => &[Language::Lua],
            Self::Tcl => &[Language::Tcl],
            Self::Both => &[Language::Lua, Language::Tcl],
        }
    }
}

/// Places of a module.
struct Places {
    module_dir: PathBuf,
    root: PathBuf,
}

/// Writes the module and prints the commands that load it.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let env_vars = context.env_vars;
    let (catalogue, site) = arguments.site.load(env_vars, context.console)?;
    let source = Source::open(&arguments.subject, &catalogue, &site, context)?;
    let name = arguments.name.clone().unwrap_or_else(|| source.name());
    let version = match &arguments.version {
        Some(version) => version.clone(),
        None => source.version()?,
    };
    let module = ModuleName::new(&name, &version)?;
    let places = places(arguments, &module, &source, env_vars)?;
    if !arguments.dry_run {
        check_output_dir(&places.module_dir.join(module.name()))?;
        check_output_dir(&places.root)?;
    }
    if arguments.format != Format::Lua {
        warn_of_tcl(&module, &places.module_dir, context);
    }
    let wishes = Wishes {
        module: &module,
        root: &places.root,
        wrappers: &arguments.wrapper,
        copies: arguments.copy,
        mpi: arguments.mpi.source(),
    };
    let prepared = source.prepare(&wishes, &site, context)?;
    let texts = texts(arguments.format, &prepared.file)?;
    if arguments.dry_run {
        let texts = texts.iter().map(|(_, text)| text.trim_end());
        context
            .console
            .data(&texts.collect::<Vec<_>>().join("\n\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let paths: Vec<PathBuf> = texts
        .iter()
        .map(|(language, _)| language.path(&places.module_dir, &module))
        .collect();
    if !arguments.force {
        refuse_existing(&paths, &texts, prepared.container.is_some(), &places.root)?;
    }
    let dir = places.module_dir.join(module.name());
    fs_err::create_dir_all(&dir).context("modules cannot be written there")?;
    let condense = std::env::current_exe().context("failed to find the program itself")?;
    if let Some(container) = &prepared.container {
        Root::new(&places.root).write(&RootFiles {
            module: &module,
            container: &container.settings,
            variables: &container.variables,
            flags: &container.flags,
            host_mpi: container.host_mpi.as_ref(),
            commands: &prepared.file.commands,
            packages: &container.packages,
            venv: container.venv.as_ref(),
            has_bash: container.has_bash,
            runtime: container.runtime.as_deref(),
            condense: &condense,
            copied: arguments.copy.then_some(container.path.as_path()),
        })?;
    }
    // The module becomes visible last, when its directory is complete.
    for ((_, text), path) in texts.iter().zip(&paths) {
        condense_publish::write(path, text.as_bytes())?;
    }
    tell(arguments, &places, &module, &paths, context);
    Ok(ExitCode::SUCCESS)
}

/// Warns of names that Environment Modules does not find.
fn warn_of_tcl(module: &ModuleName, module_dir: &Path, context: &Context) {
    let dir = module_dir.to_string_lossy();
    if dir.contains(SPECIAL_IN_TCL) {
        context.report.warning(format!(
            "Environment Modules finds no modules in `{dir}`, for signs that are special in Tcl"
        ));
    }
    let words = [module.name(), module.version()];
    let has_variant = |word: &str| word.trim_end_matches('+').contains('+');
    if words.into_iter().any(has_variant) {
        context.report.warning(format!(
            "Environment Modules does not find `{module}`: it takes what follows `+` for a variant"
        ));
    }
}

fn texts(format: Format, file: &ModuleFile) -> anyhow::Result<Vec<(Language, String)>> {
    let texts = format.languages().iter().map(|language| {
        let text = file.render(*language)?;
        anyhow::Ok((*language, text))
    });
    texts.collect()
}

/// Refuses to replace anything without `--force`. A module file with the same text is no hindrance.
fn refuse_existing(
    paths: &[PathBuf],
    texts: &[(Language, String)],
    has_root: bool,
    root: &Path,
) -> anyhow::Result<()> {
    for (path, (_, text)) in paths.iter().zip(texts) {
        if path.symlink_metadata().is_err() {
            continue;
        }
        let old = condense_input::read_to_string(path, MODULE_MOST).unwrap_or_default();
        if old != *text {
            bail!(Error::Taken {
                path: path.clone(),
                is_ours: Record::find(&old).is_some(),
            });
        }
    }
    let found = Root::new(root);
    let is_same = paths.iter().any(|path| path.is_file());
    if has_root && found.exists() && !(found.is_ours() && is_same) {
        bail!(Error::Taken {
            path: root.to_owned(),
            is_ours: found.is_ours(),
        });
    }
    Ok(())
}

/// Returns the directories of the module.
fn places(
    arguments: &Arguments,
    module: &ModuleName,
    source: &Source,
    env_vars: &EnvVars,
) -> anyhow::Result<Places> {
    let prefix = user_prefix(env_vars);
    let module_dir = match (&arguments.to, &prefix) {
        (Some(dir), _) => absolute(dir, env_vars)?,
        (None, Some(prefix)) => prefix.join("modules/container"),
        (None, None) => bail!(UserError::new(
            "there is no directory for modules",
            "name one with `--to MODDIR`; on LUMI, EBU_USER_PREFIX names the usual one",
        )),
    };
    if module_dir.to_string_lossy().contains([':', '\n']) {
        bail!(UserError::new(
            format!(
                "`{}` cannot be a directory of modules",
                module_dir.display()
            ),
            "MODULEPATH is split at `:`: name another directory with `--to MODDIR`",
        ));
    }
    let below = Path::new(module.name()).join(module.version());
    let root = match (source, &arguments.root) {
        (Source::Installation(_), Some(_)) => bail!(UserError::new(
            "`--root` is for images: an installation is a directory of its own",
            "leave it out",
        )),
        (Source::Installation(dir), None) => dir.clone(),
        (Source::Image(_), Some(root)) => absolute(root, env_vars)?,
        (Source::Image(_), None) => match prefix {
            Some(prefix) if module_dir == prefix.join("modules/container") => {
                prefix.join("SW/container").join(below)
            }
            _ => {
                let parent = module_dir.parent().unwrap_or(Path::new("/"));
                parent.join("software").join(below)
            }
        },
    };
    Ok(Places { module_dir, root })
}

/// Returns the directory of the user's own EasyBuild software, if it exists.
pub(super) fn user_prefix(env_vars: &EnvVars) -> Option<PathBuf> {
    let named = env_vars.all().remove(env_vars::EBU_USER_PREFIX);
    let dir = match named {
        Some(text) => PathBuf::from(text),
        None => env_vars.home()?.join("EasyBuild"),
    };
    (dir.is_absolute() && dir.is_dir()).then_some(dir)
}

/// Returns an absolute path without `.`, `..` and symbolic links in those of its parts that exist.
/// Module tools would write it in another way than it is.
fn absolute(path: &Path, env_vars: &EnvVars) -> anyhow::Result<PathBuf> {
    let whole = std::path::absolute(env_vars.cwd.join(path))?;
    let mut rest = PathBuf::new();
    for dir in whole.ancestors() {
        if let Ok(found) = dir.canonicalize() {
            let tail = whole.strip_prefix(dir).unwrap_or(Path::new(""));
            rest = if tail.as_os_str().is_empty() {
                found
            } else {
                found.join(tail)
            };
            break;
        }
    }
    if rest.components().any(|part| part.as_os_str() == "..") {
        bail!(
            "`{}` leads through a directory that does not exist",
            path.display()
        );
    }
    Ok(rest)
}

fn tell(
    arguments: &Arguments,
    places: &Places,
    module: &ModuleName,
    paths: &[PathBuf],
    context: &Context,
) {
    let use_line = quote_line([
        "module".as_ref(),
        "use".as_ref(),
        places.module_dir.as_os_str(),
    ]);
    let lines = [
        use_line.to_string_lossy().into_owned(),
        format!("module load {module}"),
    ];
    if arguments.json {
        let paths: Vec<String> = paths.iter().map(|it| it.display().to_string()).collect();
        let value = json!({
            "name": module.name(),
            "version": module.version(),
            "files": paths,
            "root": places.root.to_string_lossy(),
            "commands": lines,
        });
        context.console.json("module", value);
    } else {
        for path in paths {
            context.report.info(format!("wrote {}", path.display()));
        }
        context
            .report
            .info(format!("CONTAINERROOT is {}", places.root.display()));
        context.console.data(&lines.join("\n"));
    }
}
