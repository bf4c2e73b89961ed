//! Responsible for finding images whose compression the runtime of the site cannot read.

use super::Surroundings;
use crate::{code, finding::Finding, machine::Machine};

/// Codecs that the entry of a site can name.
const NAMED: [&str; 4] = ["gzip", "lz4", "xz", "zstd"];

pub(super) fn check(around: &Surroundings, machine: &Machine) -> Vec<Finding> {
    let is_read = |codec: &String| {
        machine.codecs.is_empty()
            || machine.codecs.contains(codec)
            || !NAMED.contains(&codec.as_str())
    };
    let refused = around.images.iter().filter(|(_, codec)| !is_read(codec));
    refused
        .map(|(image, codec)| {
            let message = format!(
                "it is compressed with {codec}, and {} reads {}",
                machine.site,
                machine.codecs.join(", ")
            );
            Finding::new(&code::IMAGE_CODEC, message, image)
        })
        .collect()
}
