//! Responsible for the verb `condense size`, which shows what takes the space of an installation or
//! an image, and how it can be made smaller.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;
use clap::Args;
use condense_build::contents::{Category, Contents, Space, Subject, SubjectKind};
use condense_diagnostics::UserError;
use condense_installation::History;
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use super::{
    Context,
    packages::space_as_json,
    subject,
    table::{Align, render},
};

/// Share of an image, as a divisor of its size, from which on a kind of files gets a hint.
const WORTH_A_HINT: u64 = 50;
/// Block size from which on larger blocks save little, in bytes.
const LARGE_BLOCK: u32 = 512 << 10;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Installation: a name in TYKKY_PATH or a directory, with `@N` for generation N; a .sif or an
    /// image
    #[arg(value_name = "NAME|DIR|SIF")]
    subject: PathBuf,
    /// Number of packages that are shown, the largest first
    #[arg(long, value_name = "COUNT", default_value_t = 15)]
    top: usize,
    /// Print the result as JSON, with all packages
    #[arg(long)]
    json: bool,
}

/// Part of an installation or an image, with its size.
struct Part {
    /// Name of the package in JSON; empty for files of no package.
    name: String,
    /// Name that is shown to users.
    shown: String,
    space: Space,
}

/// Files of an installation besides its image.
#[derive(Default)]
struct Beside {
    /// Size of the base image's file in bytes; `None` if it is a link to a file elsewhere.
    base: Option<u64>,
    /// Number of generations that are not visible, and the bytes that removing them frees.
    older: (usize, u64),
}

/// Shows what takes the space.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let (subject, contents) = subject::load(&arguments.subject, context)?;
    let Some(image) = &contents.image else {
        bail!(UserError::new(
            format!("`{}` has no image", subject.path().display()),
            "give an installation, a .sif or an image",
        ));
    };
    let beside = beside(&subject)?;
    let hints = hints(&subject, &contents, &beside);
    let parts = parts(&contents);
    if arguments.json {
        let value = json!({
            "subject": subject::as_json(&subject),
            "image": {
                "path": image.path.to_string_lossy(),
                "bytes": image.bytes,
                "codec": image.codec,
                "block_bytes": image.block_bytes,
                "total": space_as_json(image.total),
            },
            "base_bytes": beside.base,
            "older_generations": {"count": beside.older.0, "bytes": beside.older.1},
            "packages": parts.iter().map(part_as_json).collect::<Vec<_>>(),
            "categories": contents.categories.iter().map(|one| json!({
                "name": one.category.as_str(),
                "size": space_as_json(one.space),
            })).collect::<Vec<_>>(),
            "stored_once": {"files": contents.shared.files, "bytes": contents.shared.bytes,
                "bytes_saved": contents.shared.stored},
            "hints": hints,
        });
        context.console.json("size", value);
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = vec![format!(
        "{}: {} in {} files become an image of {} ({}, blocks of {})",
        subject::title(&subject),
        HumanBytes(image.total.bytes),
        HumanCount(image.total.files),
        HumanBytes(image.bytes),
        image.codec,
        HumanBytes(image.block_bytes.into())
    )];
    text.extend(lines_beside(&beside));
    text.push(String::new());
    text.push(table("PACKAGE", &parts, arguments.top));
    let categories: Vec<Part> = contents
        .categories
        .iter()
        .map(|one| Part {
            name: one.category.as_str().to_owned(),
            shown: words(one.category).to_owned(),
            space: one.space,
        })
        .collect();
    if !categories.is_empty() {
        text.push(String::new());
        text.push(table("KIND OF FILES", &categories, usize::MAX));
    }
    if contents.shared.files > 0 {
        text.push(String::new());
        text.push(format!(
            "{} files of {} are equal to others; the image stores them once, which saves {}",
            HumanCount(contents.shared.files),
            HumanBytes(contents.shared.bytes),
            HumanBytes(contents.shared.stored)
        ));
    }
    if !hints.is_empty() {
        text.push(String::new());
        text.push("To make it smaller:".to_owned());
        text.extend(hints.iter().map(|hint| format!("- {hint}")));
    }
    context.console.data(&text.join("\n"));
    Ok(ExitCode::SUCCESS)
}

/// Returns the packages and the files that belong to none, the largest in the image first.
fn parts(contents: &Contents) -> Vec<Part> {
    let packages = contents.packages.iter().map(|package| Part {
        name: package.name.clone(),
        shown: format!("{} {}", package.name, package.version),
        space: package.space.unwrap_or_default(),
    });
    let others = [
        (contents.other, "", "files of no package"),
        (contents.outside, "", "files outside of environments"),
    ];
    let others = others.map(|(space, name, shown)| Part {
        name: name.to_owned(),
        shown: shown.to_owned(),
        space,
    });
    let mut parts: Vec<Part> = packages.chain(others).collect();
    parts.retain(|part| part.space.files > 0);
    parts.sort_by(|one, other| {
        let size = |part: &Part| (part.space.stored, part.space.bytes);
        size(other)
            .cmp(&size(one))
            .then_with(|| one.shown.cmp(&other.shown))
    });
    parts
}

fn part_as_json(part: &Part) -> Value {
    json!({
        "name": (!part.name.is_empty()).then_some(&part.name),
        "title": part.shown,
        "size": space_as_json(part.space),
    })
}

/// Returns a table of the first `most` parts, and a row for the rest.
fn table(title: &str, parts: &[Part], most: usize) -> String {
    let columns = [Align::Left, Align::Right, Align::Right, Align::Right];
    let header = [title, "FILES", "SIZE", "IN IMAGE"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let row = |shown: String, space: Space| {
        vec![
            shown,
            HumanCount(space.files).to_string(),
            HumanBytes(space.bytes).to_string(),
            HumanBytes(space.stored).to_string(),
        ]
    };
    let (first, rest) = parts.split_at(parts.len().min(most));
    rows.extend(first.iter().map(|part| row(part.shown.clone(), part.space)));
    if !rest.is_empty() {
        let sum = rest.iter().fold(Space::default(), |sum, part| Space {
            files: sum.files + part.space.files,
            bytes: sum.bytes + part.space.bytes,
            stored: sum.stored + part.space.stored,
        });
        rows.push(row(format!("({} others)", rest.len()), sum));
    }
    render(&columns, &rows)
}

/// Returns the sizes of an installation's files besides its image.
fn beside(subject: &Subject) -> anyhow::Result<Beside> {
    let Some(dir) = subject.dir() else {
        return Ok(Beside::default());
    };
    let container = std::fs::symlink_metadata(dir.join("container.sif"));
    let base = container
        .ok()
        .filter(std::fs::Metadata::is_file)
        .map(|found| found.len());
    let mut older = (0, 0);
    if subject.generation().is_some() {
        for generation in History::open(subject.path())?.generations()? {
            if !generation.is_current {
                older.0 += 1;
                older.1 += generation.bytes;
            }
        }
    }
    Ok(Beside { base, older })
}

fn lines_beside(beside: &Beside) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(bytes) = beside.base {
        lines.push(format!(
            "the base image beside it has {}",
            HumanBytes(bytes)
        ));
    }
    if beside.older.0 > 0 {
        lines.push(format!(
            "{} older generations have {} of their own",
            beside.older.0,
            HumanBytes(beside.older.1)
        ));
    }
    lines
}

/// Returns what can be done to make the subject smaller.
fn hints(subject: &Subject, contents: &Contents, beside: &Beside) -> Vec<String> {
    let mut hints = Vec::new();
    let Some(image) = &contents.image else {
        return hints;
    };
    let is_sif = subject.kind() == SubjectKind::Sif;
    if beside.older.0 > 0 {
        hints.push(format!(
            "`condense gc --keep 0 {}` removes the older generations: {}",
            subject.path().display(),
            HumanBytes(beside.older.1)
        ));
    }
    for one in &contents.categories {
        let Some(command) = removal(one.category) else {
            continue;
        };
        if one.space.stored < image.bytes / WORTH_A_HINT {
            continue;
        }
        let way = if is_sif {
            "the command of `cotainr build --post`"
        } else {
            "a script of `conda-containerize new --post-install`"
        };
        hints.push(format!(
            "{}, {} in the image: {way} can remove them, if nothing uses them: {command}",
            words(one.category),
            HumanBytes(one.space.stored)
        ));
    }
    if !is_sif && image.codec != "zstd" && image.codec != "xz" {
        hints.push(
            "`--compression zstd:19` of the builders compresses more than this image's codec; the runtime must support zstd"
                .to_owned(),
        );
    }
    if !is_sif && image.block_bytes < LARGE_BLOCK {
        hints.push(
            "`--block-size 1M` of `conda-containerize new` saves space; small reads become slower"
                .to_owned(),
        );
    }
    hints
}

/// Returns the command that removes files of a category from an environment. Byte code has none,
/// because Python would compile at each start without it.
fn removal(category: Category) -> Option<&'static str> {
    match category {
        Category::ByteCode => None,
        Category::Tests => Some(
            "find \"$CONDA_PREFIX\"/lib/python3* -depth -type d \\( -name test -o -name tests \\) -exec rm -r {} +",
        ),
        Category::StaticLibraries => Some("find \"$CONDA_PREFIX\" -name '*.a' -delete"),
        Category::DebugSymbols => Some(
            "find \"$CONDA_PREFIX\" -name '*.debug' -delete; rm -rf \"$CONDA_PREFIX/lib/debug\"",
        ),
        Category::Headers => Some("rm -rf \"$CONDA_PREFIX/include\""),
        Category::Documentation => Some(
            "rm -rf \"$CONDA_PREFIX\"/share/doc \"$CONDA_PREFIX\"/share/man \"$CONDA_PREFIX\"/share/info",
        ),
        Category::Caches => Some("rm -rf \"$CONDA_PREFIX\"/pkgs \"$CONDA_PREFIX\"/.cache"),
    }
}

/// Returns the name of a category for users.
fn words(category: Category) -> &'static str {
    match category {
        Category::ByteCode => "byte code",
        Category::Tests => "tests",
        Category::StaticLibraries => "static libraries",
        Category::DebugSymbols => "debug symbols",
        Category::Headers => "headers",
        Category::Documentation => "documentation",
        Category::Caches => "caches of installers",
    }
}
