//! Responsible for the room that builds have: bytes, inodes, quotas.

use std::path::PathBuf;

use super::{Health, Host, kernel::gib};
use crate::code;

/// An environment with PyTorch takes this much while it is built.
const BYTES_ENOUGH: u64 = 10 << 30;
/// And has about this many files.
const INODES_ENOUGH: u64 = 100_000;
/// A quota is nearly used up when less than this part of it is left.
const LEFT_PART: u64 = 10;

/// A directory that builds write into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What for: `scratch`, `cache`.
    pub name: &'static str,
    /// Where.
    pub path: PathBuf,
    /// Bytes that are free for this user.
    pub free_bytes: u64,
    /// Files that can still be made; none where the file system does not count them.
    pub free_inodes: Option<u64>,
    /// Whether a whole environment is unpacked there.
    pub is_scratch: bool,
    /// Whether it lies in memory.
    pub in_memory: bool,
}

/// A quota of a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// The file system, as the quota's program names it.
    pub name: String,
    /// Bytes in use, and how many there may be.
    pub bytes: (u64, u64),
    /// Files in use, and how many there may be.
    pub files: (u64, u64),
}

/// Reads what `quota -wp` and `lfs quota -q` print: file system, KiB, soft and hard limit, grace,
/// files, soft and hard limit, grace. Limits of 0 are none.
pub fn parse_quotas(text: &str) -> Vec<Quota> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [
            name,
            bytes,
            soft,
            hard,
            _,
            files,
            files_soft,
            files_hard,
            ..,
        ] = words[..]
        else {
            return None;
        };
        // A star marks what is over its limit.
        let number = |word: &str| word.trim_end_matches('*').parse::<u64>().ok();
        let limit = |soft: &str, hard: &str| {
            let limits = [number(soft)?, number(hard)?].into_iter();
            Some(limits.filter(|limit| *limit > 0).min().unwrap_or(0))
        };
        Some(Quota {
            name: name.to_owned(),
            bytes: (number(bytes)? << 10, limit(soft, hard)? << 10),
            files: (number(files)?, limit(files_soft, files_hard)?),
        })
    };
    text.lines().filter_map(row).collect()
}

pub(super) fn examine(host: &Host, health: &mut Health) {
    for place in &host.places {
        let inodes = place
            .free_inodes
            .map_or(String::new(), |inodes| format!(", {inodes} inodes"));
        let memory = if place.in_memory { ", in memory" } else { "" };
        let shown = place.path.display();
        health.fact(
            place.name,
            format!("{shown}: {} free{inodes}{memory}", gib(place.free_bytes)),
        );
        if !place.is_scratch {
            continue;
        }
        if place.free_bytes < BYTES_ENOUGH {
            health.finding(
                &code::LITTLE_SPACE,
                format!("{} has {} left", place.name, gib(place.free_bytes)),
                &shown.to_string(),
            );
        }
        if let Some(inodes) = place.free_inodes.filter(|inodes| *inodes < INODES_ENOUGH) {
            health.finding(
                &code::FEW_INODES,
                format!("{} has {inodes} inodes left", place.name),
                &shown.to_string(),
            );
        }
    }
    for quota in &host.quotas {
        let nearly =
            |(used, limit): (u64, u64)| limit > 0 && limit.saturating_sub(used) < limit / LEFT_PART;
        if nearly(quota.bytes) {
            health.finding(
                &code::QUOTA,
                format!("{} of {} are used", gib(quota.bytes.0), gib(quota.bytes.1)),
                &quota.name,
            );
        }
        if nearly(quota.files) {
            health.finding(
                &code::QUOTA,
                format!("{} of {} files are used", quota.files.0, quota.files.1),
                &quota.name,
            );
        }
    }
}
