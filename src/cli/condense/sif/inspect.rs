//! Responsible for the verb `condense sif inspect`, which shows the origin of a container.
//! Depending on the runtime that made the SIF, the origin is in an object or in the root file
//! system.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use condense_image::sif::DataKind;
use condense_image::{Reader, Sif};
use serde_json::{Map, Value, json};

use super::{Context, list, time};

/// Name of the object in which runtimes since 2021 store the origin, so that it can be read without
/// starting the container.
const METADATA_NAME: &str = "inspect-metadata.json";
/// Directory of the root file system in which older runtimes store the origin.
const DIRECTORY: &str = ".singularity.d";
/// Maximum size in bytes of such an object or file.
const TEXT_MAX: u64 = 16 << 20;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Path of the SIF
    #[arg(value_name = "FILE.sif")]
    path: PathBuf,
    #[command(flatten)]
    part: Part,
    /// Print the whole origin as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct Part {
    /// Show only the definition file from which the SIF was built
    #[arg(long)]
    deffile: bool,
    /// Show only the labels
    #[arg(long)]
    labels: bool,
    /// Show only the script that `run` starts
    #[arg(long)]
    runscript: bool,
    /// Show only the script that an instance starts
    #[arg(long)]
    startscript: bool,
    /// Show only the test script
    #[arg(long)]
    test: bool,
    /// Show only the scripts that set environment variables
    #[arg(long)]
    environment: bool,
}

/// Origin of a container.
#[derive(Debug, Default)]
struct Origin {
    labels: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    deffile: Option<String>,
    runscript: Option<String>,
    startscript: Option<String>,
    test: Option<String>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<()> {
    let sif = Sif::open(context.env_vars.cwd.join(&arguments.path))?;
    let origin = Origin::of(&sif)?;
    let part = &arguments.part;
    if arguments.json {
        context.console.json("sif-inspect", origin.as_json(&sif));
        return Ok(());
    }
    let text = if part.labels {
        labels(&origin.labels)
    } else if part.environment {
        let scripts = origin.environment.iter();
        let scripts = scripts.map(|(name, text)| format!("# {name}\n{}", text.trim_end()));
        scripts.collect::<Vec<_>>().join("\n\n")
    } else if part.deffile {
        origin.deffile.unwrap_or_default()
    } else if part.runscript {
        origin.runscript.unwrap_or_default()
    } else if part.startscript {
        origin.startscript.unwrap_or_default()
    } else if part.test {
        origin.test.unwrap_or_default()
    } else {
        summary(&sif, &origin)
    };
    let text = text.trim_end();
    if !text.is_empty() {
        context.console.data(text);
    }
    Ok(())
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    let lines = labels
        .iter()
        .map(|(name, value)| format!("{name}: {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn summary(sif: &Sif, origin: &Origin) -> String {
    let header = sif.header();
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    format!(
        "architecture: {}\nuuid: {}\ncreated: {}\nmodified: {}\nobjects: {} of {}\n\n{}",
        sif.arch().map_or("unknown", condense_image::Arch::name),
        header.uuid(),
        or_none(time(header.created)),
        or_none(time(header.modified)),
        sif.descriptors().len(),
        header.descriptors_total,
        labels(&origin.labels),
    )
}

impl Origin {
    /// Reads the origin from its object. Without such an object, reads it from the root file
    /// system, if that can be read.
    fn of(sif: &Sif) -> anyhow::Result<Origin> {
        let mut origin = Origin::default();
        let object = |kind: DataKind, name: &str| {
            let mut objects = sif.descriptors().iter();
            objects.find(|object| object.kind == kind && object.name.ends_with(name))
        };
        if let Some(metadata) = object(DataKind::Json, METADATA_NAME) {
            let bytes = sif.read(metadata, TEXT_MAX)?;
            let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
                let path = sif.path().display();
                anyhow::anyhow!("`{path}`: object {} is not JSON: {error}", metadata.id)
            })?;
            origin.add_metadata(&value["data"]["attributes"]);
        } else if let Ok(reader) = sif.reader() {
            origin.add_root(&reader)?;
        }
        if origin.deffile.is_none()
            && let Some(definition) = object(DataKind::DefinitionFile, "")
        {
            origin.deffile = Some(text(&sif.read(definition, TEXT_MAX)?));
        }
        Ok(origin)
    }

    fn add_metadata(&mut self, attributes: &Value) {
        let one = |name: &str| attributes[name].as_str().map(str::to_owned);
        self.labels = strings(attributes["labels"].as_object());
        self.environment = strings(attributes["environment"].as_object());
        self.deffile = one("deffile");
        self.runscript = one("runscript");
        self.startscript = one("startscript");
        self.test = one("test");
    }

    fn add_root(&mut self, reader: &Reader) -> anyhow::Result<()> {
        let read = |path: &str| -> anyhow::Result<Option<String>> {
            let node = reader.resolve(format!("{DIRECTORY}/{path}"))?;
            let Some(node) = node.filter(condense_image::reader::Node::is_file) else {
                return Ok(None);
            };
            Ok(Some(text(&reader.read(&node, TEXT_MAX)?)))
        };
        if let Some(labels) = read("labels.json")?
            && let Ok(labels) = serde_json::from_str::<Map<String, Value>>(&labels)
        {
            self.labels = strings(Some(&labels));
        }
        self.deffile = read("Singularity")?;
        self.runscript = read("runscript")?;
        self.startscript = read("startscript")?;
        self.test = read("test")?;
        if let Some(directory) = reader.resolve(format!("{DIRECTORY}/env"))? {
            for entry in reader.list(&directory)? {
                let name = entry.name.to_string_lossy().into_owned();
                if let Some(script) = read(&format!("env/{name}"))? {
                    let path = format!("/{DIRECTORY}/env/{name}");
                    self.environment.insert(path, script);
                }
            }
        }
        Ok(())
    }

    fn as_json(&self, sif: &Sif) -> Value {
        let mut value = list::as_json(sif);
        let told = json!({
            "labels": self.labels,
            "deffile": self.deffile,
            "runscript": self.runscript,
            "startscript": self.startscript,
            "test": self.test,
            "environment": self.environment,
        });
        if let (Some(all), Value::Object(told)) = (value.as_object_mut(), told) {
            all.remove("objects");
            all.extend(told);
        }
        value
    }
}

fn strings(map: Option<&Map<String, Value>>) -> BTreeMap<String, String> {
    map.into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
