//! Responsible for the files that describe a stage to runtimes: help, labels, the definition, the
//! environment, scripts, and what `inspect` prints.

use std::collections::BTreeMap;

use condense_definition::Stage;
use condense_image::{Arch, Tree};
use serde_json::{Map, Value, json};

use super::root::{find, list, put, resolve, text};
use crate::{plan::DefinitionPlan, report::Report};

const DIRECTORY: &str = ".singularity.d";
const ENVIRONMENT: &str = ".singularity.d/env/90-environment.sh";
const HELP: &str = ".singularity.d/runscript.help";
const LABELS: &str = ".singularity.d/labels.json";
const DEFINITION: &str = ".singularity.d/Singularity";
const HISTORY: &str = ".singularity.d/bootstrap_history";
/// File to which a script writes labels, one on each line.
pub(super) const BUILD_LABELS: &str = ".build.labels";
/// Prefix of labels whose meaning several programs agree on.
const SCHEMA: &str = "org.label-schema";
/// Scripts that are executable files of the image.
const SCRIPTS: [&str; 3] = ["startscript", "runscript", "test"];

/// Facts about a stage that become labels.
pub(super) struct Facts<'a> {
    /// Labels of the source.
    pub(super) labels: BTreeMap<String, String>,
    /// Labels about the source, such as its digest.
    pub(super) own: BTreeMap<String, String>,
    pub(super) arch: Arch,
    /// Time of the build in seconds since 1970.
    pub(super) now: u32,
    pub(super) plan: &'a DefinitionPlan,
    pub(super) report: &'a Report,
}

impl Facts<'_> {
    /// Writes all files of a stage.
    ///
    /// # Errors
    /// Returns an error if something else is in the way.
    pub(super) fn write(self, tree: &mut Tree, stage: &Stage) -> anyhow::Result<()> {
        let options = &self.plan.options;
        self.add_help(tree, stage)?;
        let labels = self.labels(tree, stage)?;
        put(tree, LABELS, with_tabs(&labels), 0o644)?;
        self.add_definition(tree, stage)?;
        if let Some(script) = stage
            .script("environment")
            .filter(|_| options.uses("environment"))
        {
            let before = text(tree, ENVIRONMENT)?;
            let before = before.unwrap_or_else(|| "#!/bin/sh\n".to_owned());
            put(
                tree,
                ENVIRONMENT,
                format!("{before}\n{}\n", script.text).into_bytes(),
                0o755,
            )?;
        }
        for name in SCRIPTS {
            if let Some(script) = stage.script(name).filter(|_| options.uses(name)) {
                let path = format!("{DIRECTORY}/{name}");
                put(tree, path, script.executable().into_bytes(), 0o755)?;
            }
        }
        Ok(())
    }

    fn add_help(&self, tree: &mut Tree, stage: &Stage) -> anyhow::Result<()> {
        let options = &self.plan.options;
        let Some(script) = stage.script("help").filter(|_| options.uses("help")) else {
            return Ok(());
        };
        let place = resolve(tree, HELP.as_ref())?;
        if find(tree, &place).is_some() && !options.replaces_labels {
            self.report.warning(format!(
                "{}: the help of the source stays; `--force` replaces it",
                script.location
            ));
            return Ok(());
        }
        put(tree, HELP, format!("{}\n", script.text).into_bytes(), 0o644)
    }

    /// Returns all labels. Those of the source win, unless the user replaces them.
    fn labels(&self, tree: &mut Tree, stage: &Stage) -> anyhow::Result<BTreeMap<String, String>> {
        let options = &self.plan.options;
        let mut labels = self.labels.clone();
        labels.extend(self.own.clone());
        if let Some(written) = text(tree, BUILD_LABELS)? {
            tree.remove(BUILD_LABELS)?;
            let lines = written.lines().map(str::trim);
            for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let (name, value) = line.split_once(' ').unwrap_or((line, ""));
                labels.insert(name.to_owned(), value.trim().to_owned());
            }
        }
        let mut put = |name: &str, value: String| labels.insert(format!("{SCHEMA}.{name}"), value);
        put("schema-version", "1.0".to_owned());
        put("build-date", build_date(self.now)?);
        put("build-arch", name_of(self.arch).to_owned());
        if stage.script("help").is_some() && options.uses("help") {
            put("usage", format!("/{HELP}"));
            put("usage.apptainer.runscript.help", format!("/{HELP}"));
        }
        for header in &stage.headers {
            let name = format!("usage.singularity.deffile.{}", header.name);
            put(&name, header.value.clone());
        }
        if options.uses("labels") {
            for (name, value) in &stage.labels {
                if !labels.contains_key(name) || options.replaces_labels {
                    labels.insert(name.clone(), value.clone());
                } else if labels.get(name) != Some(value) {
                    self.report.warning(format!(
                        "the label `{name}` of the source stays; `--force` replaces it"
                    ));
                }
            }
        }
        Ok(labels)
    }

    /// Writes the definition. That of the source becomes a part of the history.
    fn add_definition(&self, tree: &mut Tree, stage: &Stage) -> anyhow::Result<()> {
        if stage.agent.has_definition()
            && let Some(before) = text(tree, DEFINITION)?
        {
            let history = resolve(tree, HISTORY.as_ref())?;
            let number = list(tree, &history).len();
            let path = history.join(format!("Apptainer{number}"));
            put(tree, path, before.into_bytes(), 0o644)?;
        }
        let definition = &self.plan.definition.text;
        let place = resolve(tree, DEFINITION.as_ref())?;
        super::root::take_place(tree, &place)?;
        put(tree, place, definition.as_bytes(), 0o644)
    }
}

/// Returns the metadata that `inspect` prints without starting the image.
///
/// # Errors
/// Returns an error if a file of the image cannot be read.
pub(super) fn inspect_metadata(tree: &Tree) -> anyhow::Result<Vec<u8>> {
    let mut attributes = describe(tree, DIRECTORY)?;
    let definition = text(tree, DEFINITION)?.unwrap_or_default();
    attributes.insert("deffile".into(), definition.trim_end_matches('\n').into());
    let apps = resolve(tree, "scif/apps".as_ref())?;
    let mut described = Map::new();
    for name in list(tree, &apps) {
        let name = name.to_string_lossy().into_owned();
        let app = describe(tree, &format!("scif/apps/{name}/scif"))?;
        described.insert(name, app.into());
    }
    if !described.is_empty() {
        attributes.insert("apps".into(), described.into());
    }
    let metadata = json!({"data": {"attributes": attributes}, "type": "container"});
    Ok(metadata.to_string().into_bytes())
}

/// Returns the attributes of an image or of an app from their directory.
fn describe(tree: &Tree, directory: &str) -> anyhow::Result<Map<String, Value>> {
    let mut attributes = Map::new();
    let mut environment = Map::new();
    let scripts = resolve(tree, format!("{directory}/env").as_ref())?;
    for name in list(tree, &scripts) {
        let name = name.to_string_lossy().into_owned();
        let is_shown = name.starts_with("10-docker") && name.strip_suffix(".sh").is_some()
            || name.starts_with('9') && name.ends_with("-environment.sh");
        if let Some(text) = text(tree, scripts.join(&name))?.filter(|_| is_shown) {
            let path = format!("/{directory}/env/{name}");
            environment.insert(path, text.trim_end_matches('\n').into());
        }
    }
    if !environment.is_empty() {
        attributes.insert("environment".into(), environment.into());
    }
    if let Some(text) = text(tree, format!("{directory}/labels.json"))? {
        let labels: Option<Value> = serde_json::from_str(&text).ok();
        attributes.insert("labels".into(), labels.unwrap_or_else(|| json!({})));
    }
    for (attribute, name) in [
        ("runscript", "runscript"),
        ("test", "test"),
        ("helpfile", "runscript.help"),
        ("startscript", "startscript"),
    ] {
        if let Some(text) = text(tree, format!("{directory}/{name}"))? {
            attributes.insert(attribute.into(), text.trim_end_matches('\n').into());
        }
    }
    Ok(attributes)
}

pub(super) fn with_tabs(labels: &BTreeMap<String, String>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let style = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, style);
    serde::Serialize::serialize(labels, &mut serializer).expect("text in memory is always JSON");
    bytes
}

/// Returns a time as apptainer writes it: `Sunday_29_November_2026_2:40:47_UTC`.
fn build_date(seconds: u32) -> anyhow::Result<String> {
    let time = jiff::Timestamp::from_second(seconds.into())?;
    let time = time.to_zoned(jiff::tz::TimeZone::UTC);
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    Ok(format!(
        "{}_{}_{}_{}_{hour}:{minute}:{second}_UTC",
        time.strftime("%A"),
        time.day(),
        time.strftime("%B"),
        time.year(),
    ))
}

/// Returns the name of an architecture in labels.
fn name_of(arch: Arch) -> &'static str {
    match arch {
        Arch::I386 => "386",
        Arch::X86_64 => "amd64",
        Arch::Aarch64 => "arm64",
        Arch::Loongarch64 => "loong64",
        other => other.name(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn dates_have_the_form_of_runtimes() {
        assert_eq!(
            build_date(1_764_383_647).unwrap(),
            "Saturday_29_November_2025_2:34:7_UTC"
        );
    }
}
