//! Responsible for counting the requests of each node and file.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

/// Size of the pieces that are told apart.
pub(crate) const PIECE: u64 = 1 << 20;
/// Distance to the end of the last read within which a read counts as the next one.
const NEAR: u64 = 128 << 10;

/// Reads of one file.
#[derive(Debug, Default)]
struct Reads {
    size: u64,
    requests: u64,
    bytes: u64,
    pieces: BTreeSet<u64>,
    jumps: u64,
    end: u64,
}

/// Requests of one node.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    metadata: u64,
    files: BTreeMap<PathBuf, Reads>,
}

impl Counts {
    /// Counts a request for something else than contents.
    pub(crate) fn add_metadata(&mut self) {
        self.metadata += 1;
    }

    /// Counts a read that was answered with `bytes` bytes of a file of `size` bytes.
    pub(crate) fn add_read(&mut self, path: &Path, size: u64, offset: u64, bytes: u64) {
        if !self.files.contains_key(path) {
            self.files.insert(path.to_owned(), Reads::default());
        }
        let Some(reads) = self.files.get_mut(path) else {
            return;
        };
        reads.size = size;
        reads.requests += 1;
        reads.bytes += bytes;
        if bytes > 0 {
            reads
                .pieces
                .extend(offset / PIECE..=(offset + bytes - 1) / PIECE);
        }
        let is_next = offset >= reads.end && offset - reads.end <= NEAR;
        reads.jumps += u64::from(!is_next);
        reads.end = offset + bytes;
    }

    /// Returns the counts as JSON, with a row for each file.
    pub(crate) fn to_json(&self, mount_point: &Path) -> Value {
        let files: Vec<Value> = self
            .files
            .iter()
            .map(|(path, reads)| {
                json!({
                    "path": path,
                    "size": reads.size,
                    "requests": reads.requests,
                    "bytes": reads.bytes,
                    "pieces": reads.pieces.len(),
                    "jumps": reads.jumps,
                })
            })
            .collect();
        let mut node = json!({ "mount_point": mount_point, "metadata": self.metadata });
        for key in ["requests", "bytes", "pieces", "jumps"] {
            node[key] = sum(&files, key);
        }
        node["files"] = files.into();
        node
    }
}

fn sum(rows: &[Value], key: &str) -> Value {
    rows.iter()
        .filter_map(|row| row[key].as_u64())
        .sum::<u64>()
        .into()
}

/// Returns the report of all nodes.
pub(crate) fn report(nodes: Vec<Value>) -> Value {
    let mut report = json!({ "schema": 1 });
    for key in ["metadata", "requests", "bytes", "pieces", "jumps"] {
        report[key] = sum(&nodes, key);
    }
    report["nodes"] = nodes.into();
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_distinct_and_jumps_are_not_forward() {
        let mut counts = Counts::default();
        let image = Path::new("img.sqfs");
        counts.add_metadata();
        for (offset, bytes) in [
            (0, 4096),            // the first read, at the beginning
            (4096, 131_072),      // the next one
            (200_000, 4096),      // a gap of less than 128 KiB
            (5 * PIECE - 10, 20), // a jump, and two pieces
            (0, 4096),            // back again, in a piece that is known
            (9 * PIECE, 0),       // behind the end: a request without bytes
        ] {
            counts.add_read(image, 9 * PIECE, offset, bytes);
        }
        counts.add_read(Path::new("base.sif"), 100, 64, 36);
        let node = counts.to_json(Path::new("/mnt"));
        assert_eq!(node["metadata"], 1);
        assert_eq!(node["requests"], 7);
        assert_eq!(node["bytes"], 4096 + 131_072 + 4096 + 20 + 4096 + 36);
        assert_eq!(node["pieces"], 3 + 1);
        assert_eq!(node["jumps"], 3);
        assert_eq!(node["files"][0]["path"], "base.sif");
        assert_eq!(node["files"][0]["jumps"], 0);
        assert_eq!(node["files"][1]["size"], 9 * PIECE);
        let report = report(vec![node.clone(), node]);
        assert_eq!(report["requests"], 14);
        assert_eq!(report["pieces"], 8);
        assert_eq!(report["nodes"].as_array().map(Vec::len), Some(2));
    }
}
