//! Responsible for the verb `condense easyconfig`, which writes a recipe with which EasyBuild
//! installs an image or an installation as a module.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use condense_diagnostics::UserError;
use condense_installation::quote_line;
use condense_modules::{ModuleName, Recipe, RecipeArchive, RecipeSources, RootFiles, pack_archive};
use serde_json::json;

use super::{
    Context,
    module::source::{Container, Source, Wishes},
};
use crate::cli::{mpi::MpiArguments, site::SiteArguments};

#[derive(Debug, Args)]
#[command(
    after_help = "EasyBuild finds the image and the archive in the directory of the recipe, or in those of --sourcepath.\n\
    A recipe of an installation refers to where it lies and needs no archive."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    mpi: MpiArguments,
    #[command(flatten)]
    site: SiteArguments,
    /// .sif file, installation, or image of the catalogue
    #[arg(value_name = "SIF|DIR|NAME")]
    subject: String,
    /// File that is written, with the archive NAME-VERSION-condense.tar beside it [default:
    /// standard output, without the archive]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name of the module [default: from the name of the image]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Version of the module [default: the day of the image, as YYYYMMDD]
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Web page of the software, for `module whatis`
    #[arg(
        long,
        value_name = "URL",
        default_value = "",
        hide_default_value = true
    )]
    homepage: String,
    /// Program of the image that becomes a command; may be given several times
    #[arg(short, long, value_name = "NAME")]
    wrapper: Vec<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Archive that a recipe installs beside the image.
struct Archive {
    name: String,
    packed: RecipeArchive,
}

/// Writes the recipe or prints it.
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
    let root = match &source {
        Source::Installation(dir) => dir.as_path(),
        Source::Image(_) => Path::new(Recipe::ROOT),
    };
    let wishes = Wishes {
        module: &module,
        root,
        wrappers: &arguments.wrapper,
        copies: matches!(source, Source::Image(_)),
        mpi: arguments.mpi.source(),
    };
    let mut prepared = source.prepare(&wishes, &site, context)?;
    // The path of the image is where EasyBuild installs it, which is not known yet.
    prepared.file.facts.retain(|fact| fact.name != "file");
    let archive = match &prepared.container {
        Some(container) => Some(archive(&module, container, &prepared.file.commands)?),
        None => None,
    };
    let sources = prepared.container.as_ref().zip(archive.as_ref());
    let recipe = Recipe {
        file: &prepared.file,
        homepage: &arguments.homepage,
        sources: sources.map(|(container, archive)| RecipeSources {
            image_digest: &container.digest,
            archive: &archive.name,
            archive_digest: &archive.packed.digest,
        }),
    };
    let text = recipe.render()?;
    let output = arguments
        .output
        .as_ref()
        .map(|file| env_vars.cwd.join(file));
    if let Some(file) = &output {
        write(file, &text, archive.as_ref())?;
    } else if let Some(archive) = &archive {
        context.report.warning(format!(
            "the recipe needs {}, which `-o FILE.eb` writes beside it",
            archive.name
        ));
    }
    let image = prepared.container.as_ref().map(|it| it.path.as_path());
    tell(
        arguments,
        &module,
        output.as_deref(),
        image,
        archive.as_ref(),
        &text,
        context,
    );
    Ok(ExitCode::SUCCESS)
}

/// Makes the archive of the commands, run scripts and settings.
fn archive(
    module: &ModuleName,
    container: &Container,
    commands: &[String],
) -> anyhow::Result<Archive> {
    let condense = std::env::current_exe().context("failed to find the program itself")?;
    let mut settings = container.settings.clone();
    // Commands find the image beside themselves, or in the site's directories.
    settings.image.path.clear();
    let files = RootFiles {
        module,
        container: &settings,
        variables: &container.variables,
        flags: &container.flags,
        commands,
        host_mpi: container.host_mpi.as_ref(),
        packages: &container.packages,
        venv: container.venv.as_ref(),
        has_bash: container.has_bash,
        runtime: None,
        condense: &condense,
        copied: None,
    };
    let scratch = tempfile::tempdir().context("failed to make a scratch directory")?;
    Ok(Archive {
        name: format!("{}-{}-condense.tar", module.name(), module.version()),
        packed: pack_archive(&files, scratch.path())?,
    })
}

/// Writes the recipe, after the archive that it names.
fn write(file: &Path, text: &str, archive: Option<&Archive>) -> anyhow::Result<()> {
    if file.extension().is_none_or(|end| end != "eb") {
        return Err(UserError::new(
            format!("`{}` does not end in `.eb`", file.display()),
            "EasyBuild reads recipes with this end of their names only",
        )
        .into());
    }
    let write = |path: &Path, bytes: &[u8]| {
        condense_publish::write(path, bytes).map_err(condense_image::Error::from)
    };
    if let Some(archive) = archive {
        write(&file.with_file_name(&archive.name), &archive.packed.bytes)
            .context("failed to write the archive of the recipe")?;
    }
    write(file, text.as_bytes()).context("failed to write the recipe")
}

fn tell(
    arguments: &Arguments,
    module: &ModuleName,
    output: Option<&Path>,
    image: Option<&Path>,
    archive: Option<&Archive>,
    text: &str,
    context: &Context,
) {
    let archive = output.and_then(|file| Some(file.with_file_name(&archive?.name)));
    let command = output.map(|file| {
        let mut words = vec!["eb".into(), file.as_os_str().to_owned()];
        let image_dir = image.and_then(Path::parent);
        if let Some(dir) = image_dir.filter(|dir| Some(*dir) != file.parent()) {
            words.extend(["--sourcepath".into(), dir.as_os_str().to_owned()]);
        }
        let line = quote_line(words.iter().map(std::ffi::OsString::as_os_str));
        line.to_string_lossy().into_owned()
    });
    if arguments.json {
        let value = json!({
            "name": module.name(),
            "version": module.version(),
            "path": output,
            "archive": archive,
            "command": command,
            "text": text,
        });
        context.console.json("easyconfig", value);
        return;
    }
    let Some(command) = command else {
        context.console.data(text.trim_end());
        return;
    };
    for path in archive.iter().map(PathBuf::as_path).chain(output) {
        context.report.info(format!("wrote {}", path.display()));
    }
    context.console.data(&command);
}
