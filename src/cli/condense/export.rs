//! Responsible for the verb `condense export`, which writes the packages of an installation or an
//! image as a file from which an environment can be built again.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::Args;
use condense_build::{
    check_output,
    contents::{Contents, Package, PackageKind, Subject},
};
use condense_diagnostics::UserError;
use condense_publish::Existing;
use serde_json::json;
use serde_yaml::{Mapping, Value};

use super::{Context, subject};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Installation: a name in TYKKY_PATH or a directory, with `@N` for generation N; a .sif, an
    /// image or a lock file
    #[arg(value_name = "NAME|DIR|SIF|LOCK")]
    subject: PathBuf,
    #[command(flatten)]
    format: Format,
    /// Write the installed versions of the packages instead of the versions that were asked for
    #[arg(long, conflicts_with_all = ["lock", "requirements"])]
    pinned: bool,
    /// File that is written [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print a JSON object with the format and the text
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

/// Format of the file.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Format {
    /// Write an environment file with the channels and the packages that were asked for (the
    /// default)
    #[arg(long)]
    yaml: bool,
    /// Write the lock file that the installation or the image keeps: all packages with digests
    #[arg(long)]
    lock: bool,
    /// Write a requirements file with all packages of pip and their versions
    #[arg(long)]
    requirements: bool,
}

/// Writes the file or prints its text.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let output = arguments.output.as_ref();
    let output = output.map(|file| context.env_vars.cwd.join(file));
    if let Some(file) = &output {
        check_output(file, Existing::Replace, None)?;
    }
    let subject = subject::open(&arguments.subject, context.env_vars)?;
    let (format, text) = if arguments.format.lock {
        ("lock", lock(&subject)?)
    } else {
        let contents = Contents::load(&subject)?;
        let environment = main_environment(&contents);
        let packages: Vec<&Package> = contents
            .packages
            .iter()
            .filter(|package| Some(&package.environment) == environment.as_ref())
            .collect();
        if arguments.format.requirements {
            ("requirements", requirements(&packages, context))
        } else {
            let export = Export {
                subject: &subject,
                contents: &contents,
                packages,
                pinned: arguments.pinned,
            };
            ("yaml", export.yaml(context)?)
        }
    };
    if arguments.json {
        let value = json!({
            "subject": subject::as_json(&subject),
            "format": format,
            "text": text,
        });
        context.console.json("export", value);
        return Ok(ExitCode::SUCCESS);
    }
    match &output {
        Some(file) => {
            condense_publish::write(file, text.as_bytes())
                .map_err(condense_image::Error::from)
                .context("failed to write the file")?;
        }
        None if text.is_empty() => {}
        None => context.console.data(text.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the text of the lock that the subject keeps.
fn lock(subject: &Subject) -> anyhow::Result<String> {
    match subject.lock_text()? {
        Some((_, text)) => Ok(text),
        None => bail!(UserError::new(
            format!("`{}` keeps no lock", subject.path().display()),
            format!(
                "`condense export --pinned {}` writes an environment file with its versions",
                subject.path().display()
            ),
        )),
    }
}

/// Returns the environment that is exported: the one with the most packages that the user asked
/// for, and among those the one with the most packages.
fn main_environment(contents: &Contents) -> Option<PathBuf> {
    let count = |environment: &Path| {
        let packages = contents.packages.iter();
        let own = packages.filter(|package| package.environment == environment);
        let requested = own.clone().filter(|package| package.is_requested());
        (requested.count(), own.count())
    };
    let environments = contents.packages.iter().map(|package| &package.environment);
    environments
        .max_by_key(|environment| count(environment))
        .cloned()
}

/// Returns the lines of a requirements file.
fn requirements(packages: &[&Package], context: &Context) -> String {
    let of_pip = packages
        .iter()
        .filter(|package| package.kind == PackageKind::Pip);
    let lines: Vec<String> = of_pip
        .map(|package| pinned_line(package, context))
        .collect();
    if lines.is_empty() {
        context.report.info("no package was installed by pip");
        return String::new();
    }
    lines.join("\n") + "\n"
}

/// Returns the line for pip that installs this version of a package again.
fn pinned_line(package: &Package, context: &Context) -> String {
    match &package.direct_url {
        Some(url) if url.starts_with("file:") || url.starts_with('/') => {
            context.report.warning(format!(
                "{} was installed from `{url}`; the line has its version only",
                package.name
            ));
            format!("{}=={}", package.name, package.version)
        }
        Some(url) => format!("{} @ {url}", package.name),
        None => format!("{}=={}", package.name, package.version),
    }
}

/// Packages that become an environment file.
struct Export<'a> {
    subject: &'a Subject,
    contents: &'a Contents,
    packages: Vec<&'a Package>,
    pinned: bool,
}

impl Export<'_> {
    fn yaml(&self, context: &Context) -> anyhow::Result<String> {
        let conda = |package: &&&Package| package.kind == PackageKind::Conda;
        if self.packages.iter().filter(conda).count() == 0 {
            let shown = self.subject.path().display();
            bail!(UserError::new(
                format!("`{shown}` has no packages of conda"),
                format!("`condense export --requirements {shown}` writes its packages of pip"),
            ));
        }
        let mut dependencies: Vec<Value> = Vec::new();
        let asked: Vec<&Package> = self.asked(PackageKind::Conda);
        if asked.iter().all(|package| !package.is_requested()) {
            context.report.info(
                "no requests are recorded: the file has the packages that no other package needs",
            );
        }
        for package in &asked {
            if self.pinned || !package.is_requested() {
                let text = format!("{}={}", package.name, package.version);
                dependencies.push(text.into());
            } else {
                let specs = package.requested.iter().cloned();
                dependencies.extend(specs.map(Value::from));
            }
        }
        let of_pip: Vec<Value> = self
            .asked(PackageKind::Pip)
            .into_iter()
            .map(|package| self.pip_line(package, context).into())
            .collect();
        if !of_pip.is_empty() {
            if asked.iter().all(|package| package.name != "pip") {
                dependencies.push("pip".into());
            }
            let pip = Mapping::from_iter([("pip".into(), Value::Sequence(of_pip))]);
            dependencies.push(pip.into());
        }
        let channels = self.channels().into_iter().map(Value::from);
        let mut file = Mapping::new();
        file.insert("channels".into(), Value::Sequence(channels.collect()));
        file.insert("dependencies".into(), Value::Sequence(dependencies));
        if !self.contents.variables.is_empty() {
            let variables = self.contents.variables.iter();
            let variables: Mapping = variables
                .map(|(name, value)| (Value::from(name.clone()), Value::from(value.clone())))
                .collect();
            file.insert("variables".into(), variables.into());
        }
        Ok(serde_yaml::to_string(&file)?)
    }

    /// Returns the packages of one kind that the user asked for. Without any, returns those from
    /// which trees start.
    fn asked(&self, kind: PackageKind) -> Vec<&Package> {
        let of_kind = self.packages.iter().filter(|package| package.kind == kind);
        let requested: Vec<&Package> = of_kind
            .filter(|package| package.is_requested())
            .copied()
            .collect();
        if !requested.is_empty() {
            return requested;
        }
        let roots = self.contents.roots().into_iter();
        let roots = roots.map(|index| &self.contents.packages[index]);
        roots
            .filter(|root| {
                let is_here = self
                    .packages
                    .iter()
                    .any(|package| std::ptr::eq(*package, *root));
                root.kind == kind && is_here
            })
            .collect()
    }

    fn pip_line(&self, package: &Package, context: &Context) -> String {
        if self.pinned || !package.is_requested() || package.direct_url.is_some() {
            return pinned_line(package, context);
        }
        package.name.clone()
    }

    /// Returns the channels of the lock, or else those of the packages, the most used first.
    fn channels(&self) -> Vec<String> {
        if !self.contents.channels.is_empty() {
            return self.contents.channels.clone();
        }
        let mut counts: Vec<(usize, &String)> = Vec::new();
        for channel in self.packages.iter().filter_map(|one| one.channel.as_ref()) {
            match counts.iter_mut().find(|(_, known)| *known == channel) {
                Some((count, _)) => *count += 1,
                None => counts.push((1, channel)),
            }
        }
        counts.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        counts
            .into_iter()
            .map(|(_, channel)| channel.clone())
            .collect()
    }
}
