//! Responsible for the verb `condense info`, which shows an installation or a SIF: its inputs, its
//! base, its packages and its generations.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use condense_build::{
    SifFacts,
    contents::{Contents, Package, Subject, SubjectKind},
};
use condense_installation::{
    Destination, Generation, History, Receipt, State, Tykky, quote_line, render_time,
};
use condense_prefix::Lock;
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::{
    Context,
    generations::line,
    subject::{self, as_json, existing},
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Installation: a name in TYKKY_PATH or a directory; or a .sif
    #[arg(value_name = "NAME|DIR|SIF")]
    subject: PathBuf,
    /// Print the result as JSON, with all packages
    #[arg(long)]
    json: bool,
}

/// Prints what is known of an installation or a SIF.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let path = existing(&arguments.subject, "installation or .sif", context.env_vars)?;
    if path.is_dir() {
        return of_installation(&path, arguments, context);
    }
    let subject = subject::open(&arguments.subject, context.env_vars)?;
    if subject.kind() != SubjectKind::Sif {
        subject::refuse_kind(&subject, "an installation or a .sif")?;
    }
    let facts = SifFacts::load(&subject)?;
    if arguments.json {
        let mut value = sif_as_json(&facts);
        add_packages(&mut value, &subject)?;
        context.console.json("info", value);
    } else {
        context
            .console
            .data(&describe_sif(&facts, &subject)?.join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}

fn of_installation(
    dir: &Path,
    arguments: &Arguments,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let destination = Destination::inspect(dir)?;
    let of_tykky = *destination.state() == State::Tykky;
    let generations = if of_tykky {
        Vec::new()
    } else {
        History::open(dir)?.generations()?
    };
    let current = generations
        .iter()
        .find(|generation| generation.is_current)
        .and_then(|generation| generation.receipt.as_deref());
    if arguments.json {
        let subject = Subject::open(dir, None)?;
        let mut value = installation_as_json(&subject, current, &generations);
        if current.is_none()
            && let Ok(found) = Tykky::read(dir)
        {
            add(&mut value, tykky_as_json(&found));
        }
        add_packages(&mut value, &subject)?;
        context.console.json("info", value);
    } else {
        let mut lines = vec![format!("installation: {}", dir.display())];
        lines.extend(match (current, Tykky::read(dir)) {
            (Some(receipt), _) => describe(receipt, dir),
            // An installation of Tykky is visible again after a rollback of its first update.
            (None, Ok(found)) => describe_tykky(&found),
            (None, Err(error)) if of_tykky => return Err(error.into()),
            (None, Err(_)) => {
                vec!["the receipt of the visible generation cannot be read".to_owned()]
            }
        });
        if !of_tykky {
            lines.push("generations:".to_owned());
            let shown = generations.iter().map(line);
            lines.extend(shown.map(|line| format!("  {line}")));
        }
        context.console.data(&lines.join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the object about a generation. It has no settings from which updates go on.
fn installation_as_json(
    subject: &Subject,
    receipt: Option<&Receipt>,
    generations: &[Generation],
) -> Value {
    let mut value = json!({
        "subject": as_json(subject),
        "generations": generations.iter().map(|generation| json!({
            "number": generation.number,
            "visible": generation.is_current,
            "created": generation.receipt.as_ref().map(|receipt| receipt.created),
            "bytes": generation.bytes,
        })).collect::<Vec<_>>(),
    });
    let Some(receipt) = receipt else {
        return value;
    };
    let base = &receipt.base;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    add(
        &mut value,
        json!({
            "made_by": format!("condense {}", receipt.tool_version),
            "created": receipt.created,
            "mode": receipt.mode,
            "command": receipt.arguments,
            "base": {
                "reference": base.reference,
                "path": text(&base.path),
                "sha256": base.sha256,
                "placement": base.placement,
            },
            "image": receipt.image,
            "mount_point": text(&receipt.mount_point),
            "environment": text(&receipt.env_prefix),
            "host_view": receipt.host_view,
            "interpreter": receipt.interpreter,
            "inputs": receipt.inputs,
            "lock": receipt.lock,
        }),
    );
    value
}

fn tykky_as_json(found: &Tykky) -> Value {
    json!({
        "made_by": format!("Tykky {}", found.version.as_deref().unwrap_or("?")),
        "mode": found.mode,
        "base": {"reference": found.base},
        "mount_point": found.mount_point.to_string_lossy(),
        "environment": found.env_name,
        "inputs": found.inputs.iter().map(|path| json!({"path": path})).collect::<Vec<_>>(),
    })
}

fn sif_as_json(facts: &SifFacts) -> Value {
    json!({
        "subject": {"path": facts.path.to_string_lossy(), "kind": "sif", "generation": null},
        "made_by": facts.label("condense.version").map(|version| format!("condense {version}")),
        "created": facts.created,
        "command": facts.label("cotainr.command"),
        "base": {
            "reference": facts.label("condense.base"),
            "digest": facts.label("condense.base.digest"),
        },
        "size_bytes": facts.size_bytes,
        "architecture": facts.architecture,
        "lock": facts.lock.as_ref().map(|path| json!({
            "path": path.to_string_lossy(),
            "digest": facts.label("condense.lock.digest"),
        })),
        "labels": facts.labels,
        "objects": facts.objects.iter().map(|object| json!({
            "id": object.id,
            "kind": object.kind,
            "name": object.name,
            "bytes": object.size_bytes,
        })).collect::<Vec<_>>(),
    })
}

/// Adds the members of an object to another one.
fn add(value: &mut Value, more: Value) {
    if let (Some(all), Value::Object(more)) = (value.as_object_mut(), more) {
        all.extend(more);
    }
}

fn add_packages(value: &mut Value, subject: &Subject) -> anyhow::Result<()> {
    let contents = Contents::load(subject)?;
    let packages: Vec<Value> = contents.packages.iter().map(package_as_json).collect();
    add(value, json!({"packages": packages}));
    Ok(())
}

fn package_as_json(package: &Package) -> Value {
    json!({
        "name": package.name,
        "version": package.version,
        "build": package.build,
        "kind": package.kind.as_str(),
        "requested": package.is_requested(),
    })
}

fn describe_sif(facts: &SifFacts, subject: &Subject) -> anyhow::Result<Vec<String>> {
    let mut lines = vec![format!("container image: {}", facts.path.display())];
    lines.push(format!(
        "file: {}, {}",
        HumanBytes(facts.size_bytes),
        facts.architecture.unwrap_or("for an unknown architecture")
    ));
    let made_by = facts.label("condense.version");
    let made_by = made_by.map(|version| format!("by condense {version}"));
    let created = facts.created.map(render_time);
    let made: Vec<String> = created.into_iter().chain(made_by).collect();
    if !made.is_empty() {
        lines.push(format!("made: {}", made.join(" ")));
    }
    for (title, label) in [
        ("command", "cotainr.command"),
        ("base", "condense.base"),
        ("base digest", "condense.base.digest"),
    ] {
        lines.extend(facts.label(label).map(|value| format!("{title}: {value}")));
    }
    lines.extend(packages(subject)?);
    if let Some(lock) = &facts.lock {
        lines.push(format!("lock: {} in the image", lock.display()));
    }
    lines.push("objects:".to_owned());
    lines.extend(facts.objects.iter().map(|object| {
        let name = if object.name.is_empty() {
            String::new()
        } else {
            format!(" {}", object.name)
        };
        let bytes = HumanBytes(object.size_bytes);
        format!("  {} {}{name}, {bytes}", object.id, object.kind)
    }));
    lines.push("labels:".to_owned());
    let labels = facts.labels.iter();
    lines.extend(labels.map(|(name, value)| format!("  {name}: {value}")));
    Ok(lines)
}

/// Returns the line with the numbers of packages, from the lock.
fn packages(subject: &Subject) -> anyhow::Result<Option<String>> {
    let Some((path, text)) = subject.lock_text()? else {
        return Ok(None);
    };
    let packages = Lock::of_text(&text, &path)?.packages();
    let conda = packages.iter().filter(|package| package.build.is_some());
    let conda = conda.count();
    let pip = packages.len() - conda;
    Ok(Some(format!(
        "packages: {conda} of conda, {pip} of pip (`condense packages {}` lists them)",
        subject.path().display()
    )))
}

fn describe_tykky(found: &Tykky) -> Vec<String> {
    let mut lines = vec![
        format!("mode: {}", found.mode),
        format!(
            "built: {} by Tykky {}",
            found.built.as_deref().unwrap_or("?"),
            found.version.as_deref().unwrap_or("?")
        ),
        format!("base: {}", found.base),
        format!("mounted at: {}", found.mount_point.display()),
        format!("environment: {}", found.env_name),
    ];
    let inputs = found.inputs.iter();
    lines.extend(inputs.map(|path| format!("input: share/{}", path.display())));
    lines
}

fn describe(receipt: &Receipt, dir: &Path) -> Vec<String> {
    let words: Vec<OsString> = receipt.arguments.iter().map(OsString::from).collect();
    let mut lines = vec![
        format!("mode: {}", receipt.mode),
        format!(
            "built: {} by condense {}",
            render_time(receipt.created),
            receipt.tool_version
        ),
        format!("command: {}", quote_line(&words).display()),
        format!("base: {}", receipt.base.reference),
    ];
    if receipt.base.path.as_os_str() != receipt.base.reference.as_str() {
        lines.push(format!("base file: {}", receipt.base.path.display()));
    }
    if let Some(digest) = &receipt.base.sha256 {
        lines.push(format!("base sha256: {digest}"));
    }
    if let Some(image) = &receipt.image {
        lines.push(format!(
            "image: {} files and directories in {} ({}), mounted at {}",
            image.entries,
            HumanBytes(image.size_bytes),
            image.compression,
            receipt.mount_point.display()
        ));
        lines.push(format!("image sha256: {}", image.sha256));
    }
    lines.push(format!("environment: {}", receipt.env_prefix.display()));
    // A damaged lock is an error of `condense verify`.
    let subject = Subject::open(dir, None).ok();
    lines.extend(subject.and_then(|subject| packages(&subject).ok().flatten()));
    for input in &receipt.inputs {
        lines.push(format!("input: share/{}", input.path.display()));
    }
    if let Some(lock) = &receipt.lock {
        lines.push(format!("lock: share/{}", lock.path.display()));
    }
    lines
}
