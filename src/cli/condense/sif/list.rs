//! Responsible for the verb `condense sif list`.

use std::path::PathBuf;

use clap::Args;
use condense_image::Sif;
use condense_image::sif::{Descriptor, Link};
use serde_json::{Value, json};

use super::{Context, time};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Path of the SIF
    #[arg(value_name = "FILE.sif")]
    path: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<()> {
    let sif = Sif::open(context.env_vars.cwd.join(&arguments.path))?;
    if arguments.json {
        context.console.json("sif-list", as_json(&sif));
    } else {
        context.console.data(&as_text(&sif));
    }
    Ok(())
}

fn as_text(sif: &Sif) -> String {
    let mut text = format!(
        "{:>4} {:>5} {:>7} {:>14} {:>14}  TYPE",
        "ID", "GROUP", "LINK", "OFFSET", "SIZE"
    );
    for object in sif.descriptors() {
        let link = match object.link {
            Link::None => "-".to_owned(),
            Link::Object(id) => id.to_string(),
            Link::Group(group) => format!("group {group}"),
        };
        let group = object
            .group
            .map_or("-".to_owned(), |group| group.to_string());
        text.push_str(&format!(
            "\n{:>4} {group:>5} {link:>7} {:>14} {:>14}  {}",
            object.id,
            object.offset,
            object.size,
            description(object)
        ));
    }
    text
}

/// Returns type, details and name of an object.
fn description(object: &Descriptor) -> String {
    let mut words = vec![object.kind.name().to_owned()];
    if let Some(partition) = object.partition() {
        words.push(partition.file_system.name().to_owned());
        words.push(partition.role.name().to_owned());
        words.extend(partition.arch.map(|arch| arch.name().to_owned()));
    }
    if !object.name.is_empty() {
        words.push(format!("`{}`", object.name.escape_debug()));
    }
    words.join(" ")
}

pub(super) fn as_json(sif: &Sif) -> Value {
    let header = sif.header();
    let objects: Vec<Value> = sif.descriptors().iter().map(object_as_json).collect();
    json!({
        "path": sif.path(),
        "arch": sif.arch().map(condense_image::Arch::name),
        "uuid": header.uuid(),
        "created": time(header.created),
        "modified": time(header.modified),
        "slots": header.descriptors_total,
        "objects": objects,
    })
}

fn object_as_json(object: &Descriptor) -> Value {
    let (link, link_group) = match object.link {
        Link::None => (None, None),
        Link::Object(id) => (Some(id), None),
        Link::Group(group) => (None, Some(group)),
    };
    let partition = object.partition().map(|partition| {
        json!({
            "file_system": partition.file_system.name(),
            "role": partition.role.name(),
            "arch": partition.arch.map(condense_image::Arch::name),
        })
    });
    json!({
        "id": object.id,
        "type": object.kind.name(),
        "name": object.name,
        "group": object.group,
        "link": link,
        "link_group": link_group,
        "offset": object.offset,
        "size": object.size,
        "created": time(object.created),
        "modified": time(object.modified),
        "partition": partition,
    })
}
