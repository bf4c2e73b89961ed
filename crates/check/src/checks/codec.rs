//! Responsible for finding images whose compression the runtime of the site cannot read.

use crate::context::RuntimeContext;
use crate::{code, finding::Finding, machine::Machine};

/// Codecs that the entry of a site can name.
const NAMED: [&str; 4] = ["gzip", "lz4", "xz", "zstd"];

pub(super) fn check(context: &RuntimeContext, machine: &Machine) -> Vec<Finding> {
    let is_read = |codec: &String| {
        machine.codecs.is_empty()
            || machine.codecs.contains(codec)
            || !NAMED.contains(&codec.as_str())
    };
    let refused = context.images.iter().filter(|image| !is_read(&image.codec));
    refused
        .map(|image| {
            let message = format!(
                "it is compressed with {}, and {} reads {}",
                image.codec,
                machine.site,
                machine.codecs.join(", ")
            );
            Finding::new(&code::IMAGE_CODEC, message, &image.name)
        })
        .collect()
}
