//! Responsible for checking the space that builds need: bytes, inodes, quotas.

use std::path::PathBuf;

use super::{Health, Host, kernel::gib};
use crate::code;

/// Number of bytes that an environment with PyTorch needs while it is built.
const BYTES_ENOUGH: u64 = 10 << 30;
/// Approximate number of files in an environment with PyTorch.
const INODES_ENOUGH: u64 = 100_000;
/// A quota counts as nearly used up if less than one part in this number is left.
const LEFT_PART: u64 = 10;

/// Directory that builds write into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildDir {
    /// Purpose of the directory: `scratch`, `cache`.
    pub name: &'static str,
    /// Path of the directory.
    pub path: PathBuf,
    /// Bytes that are free for this user.
    pub free_bytes: u64,
    /// Number of files that can still be created; `None` if the file system has no limit of its
    /// own.
    pub free_inodes: Option<u64>,
    /// Whether a whole environment is unpacked in the directory.
    pub is_scratch: bool,
    /// Whether the directory is on a file system in memory.
    pub in_memory: bool,
}

/// A quota of a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// File system, as the quota program names it.
    pub name: String,
    /// Number of bytes in use and their limit.
    pub bytes: (u64, u64),
    /// Number of files in use and their limit.
    pub files: (u64, u64),
}

/// Parses the output of `quota -wp` and `lfs quota -q`: file system, KiB, soft and hard limit,
/// grace, files, soft and hard limit, grace. A limit of 0 means no limit.
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
        // An asterisk marks a value over its limit.
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
    for dir in &host.build_dirs {
        let inodes = dir
            .free_inodes
            .map_or(String::new(), |inodes| format!(", {inodes} inodes"));
        let memory = if dir.in_memory { ", in memory" } else { "" };
        let shown = dir.path.display();
        health.fact(
            dir.name,
            format!("{shown}: {} free{inodes}{memory}", gib(dir.free_bytes)),
        );
        if !dir.is_scratch {
            continue;
        }
        if dir.free_bytes < BYTES_ENOUGH {
            health.finding(
                &code::LITTLE_SPACE,
                format!("{} has {} left", dir.name, gib(dir.free_bytes)),
                &shown.to_string(),
            );
        }
        if let Some(inodes) = dir.free_inodes.filter(|inodes| *inodes < INODES_ENOUGH) {
            health.finding(
                &code::FEW_INODES,
                format!("{} has {inodes} inodes left", dir.name),
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
