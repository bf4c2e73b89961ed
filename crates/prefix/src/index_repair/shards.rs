//! Responsible for removing unreadable entries from sharded indices, which rattler would
//! refuse otherwise. Every value that rattler cannot read is cut out of the bytes. The
//! other bytes stay the same.

use rattler_conda_types::{
    PackageRecord, Shard, ShardedRepodata, V3Packages, package::DistArchiveIdentifier,
};
use serde::de::DeserializeOwned;

use super::UnreadableEntry;

/// Returns a shard without its unreadable entries, and the list of these entries. Returns `None` if
/// the shard has other faults, too.
pub(crate) fn drop_unreadable_records(bytes: &[u8]) -> Option<(Vec<u8>, Vec<UnreadableEntry>)> {
    let mut unreadable = Vec::new();
    let mut kept: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (key, value) in entries(bytes)? {
        let name = rmp_serde::from_slice::<String>(key).unwrap_or_default();
        let value = match &*name {
            "packages" | "packages.conda" => match entries(value) {
                Some(records) => map(&records
                    .into_iter()
                    .filter(|(key, value)| {
                        let problem = problem::<DistArchiveIdentifier>(key)
                            .or_else(|| problem::<PackageRecord>(value));
                        keep(key, problem, &mut unreadable)
                    })
                    .collect::<Vec<_>>()),
                None => leave_out(&name, "it is not a map", &mut unreadable)
                    .unwrap_or(map::<&[u8]>(&[])),
            },
            "v3" => match problem::<V3Packages>(value) {
                None => value.to_vec(),
                Some(problem) => match leave_out(&name, &problem, &mut unreadable) {
                    Some(value) => value,
                    None => continue,
                },
            },
            "removed" => match problem::<Vec<DistArchiveIdentifier>>(value) {
                None => value.to_vec(),
                Some(problem) => match leave_out(&name, &problem, &mut unreadable) {
                    Some(value) => value,
                    None => continue,
                },
            },
            _ => value.to_vec(),
        };
        kept.push((key.to_vec(), value));
    }
    let has = |name: &str| {
        let is = |(key, _): &(Vec<u8>, Vec<u8>)| {
            rmp_serde::from_slice::<String>(key).is_ok_and(|key| key == name)
        };
        kept.iter().any(is)
    };
    if !has("packages") {
        kept.push((rmp_serde::to_vec("packages").ok()?, map::<&[u8]>(&[])));
    }
    let bytes = map(&kept);
    rmp_serde::from_slice::<Shard>(&bytes)
        .is_ok()
        .then_some((bytes, unreadable))
}

/// Returns the index of shards without its unreadable entries, and the list of these entries.
/// Returns `None` if the index has other faults, too.
pub(crate) fn drop_unreadable_shards(bytes: &[u8]) -> Option<(Vec<u8>, Vec<UnreadableEntry>)> {
    let mut unreadable = Vec::new();
    let top = entries(bytes)?;
    let named = |name: &str| {
        let is = |(key, _): &&(&[u8], &[u8])| {
            rmp_serde::from_slice::<String>(key).is_ok_and(|key| key == name)
        };
        top.iter().find(is).copied()
    };
    let (info, shards) = (named("info")?, named("shards")?);
    let with = |shards: &[(&[u8], &[u8])], key: &[u8]| {
        map(&[
            (info.0.to_vec(), info.1.to_vec()),
            (key.to_vec(), map(shards)),
        ])
    };
    let kept: Vec<(&[u8], &[u8])> = entries(shards.1)?
        .into_iter()
        .filter(|(key, value)| {
            let alone = with(&[(key, value)], shards.0);
            keep(key, problem::<ShardedRepodata>(&alone), &mut unreadable)
        })
        .collect();
    let bytes = with(&kept, shards.0);
    rmp_serde::from_slice::<ShardedRepodata>(&bytes)
        .is_ok()
        .then_some((bytes, unreadable))
}

fn problem<T: DeserializeOwned>(bytes: &[u8]) -> Option<String> {
    rmp_serde::from_slice::<T>(bytes)
        .err()
        .map(|error| error.to_string())
}

fn keep(key: &[u8], problem: Option<String>, unreadable: &mut Vec<UnreadableEntry>) -> bool {
    let Some(problem) = problem else { return true };
    let entry = rmp_serde::from_slice::<String>(key)
        .unwrap_or_else(|_| String::from_utf8_lossy(key).into_owned());
    unreadable.push(UnreadableEntry { entry, problem });
    false
}

fn leave_out(name: &str, problem: &str, unreadable: &mut Vec<UnreadableEntry>) -> Option<Vec<u8>> {
    unreadable.push(UnreadableEntry {
        entry: name.to_owned(),
        problem: problem.to_owned(),
    });
    None
}

/// Encodes a MessagePack map. Its length always takes four bytes.
fn map<B: AsRef<[u8]>>(entries: &[(B, B)]) -> Vec<u8> {
    let mut bytes = vec![0xdf];
    bytes.extend((entries.len() as u32).to_be_bytes());
    for (key, value) in entries {
        bytes.extend(key.as_ref());
        bytes.extend(value.as_ref());
    }
    bytes
}

/// Splits a MessagePack map into its encoded keys and values. Returns `None` for bytes that are not
/// a map or are cut off.
fn entries(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let head = read_head(bytes)?;
    if !head.is_map {
        return None;
    }
    let mut rest = bytes.get(head.len..)?;
    let mut found = Vec::new();
    for _ in 0..head.values / 2 {
        let (key, behind) = rest.split_at_checked(length(rest)?)?;
        let (value, behind) = behind.split_at_checked(length(behind)?)?;
        found.push((key, value));
        rest = behind;
    }
    rest.is_empty().then_some(found)
}

/// Returns the length in bytes of the first value, including all values inside of it.
fn length(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut left) = (0_usize, 1_u64);
    while left > 0 {
        let head = read_head(bytes.get(at..)?)?;
        at = at.checked_add(head.len)?;
        left = left - 1 + head.values;
    }
    (at <= bytes.len()).then_some(at)
}

/// Header of a MessagePack value.
struct Head {
    /// Number of bytes up to the next value.
    len: usize,
    /// Number of values inside of the value.
    values: u64,
    is_map: bool,
}

fn read_head(bytes: &[u8]) -> Option<Head> {
    let (first, rest) = bytes.split_first()?;
    let number = |len: usize| {
        let digits = rest.get(..len)?;
        Some(
            digits
                .iter()
                .fold(0_usize, |n, byte| n << 8 | usize::from(*byte)),
        )
    };
    // A length in `len` bytes, followed by that number of bytes and `more` bytes.
    let sized = |len: usize, more: usize| Some((1 + len + more + number(len)?, 0, false));
    let low = |mask: u8| usize::from(first & mask);
    let (len, values, is_map) = match *first {
        0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (1, 0, false),
        0x80..=0x8f => (1, 2 * low(0x0f), true),
        0x90..=0x9f => (1, low(0x0f), false),
        0xa0..=0xbf => (1 + low(0x1f), 0, false),
        0xc1 => return None,
        0xc4 | 0xd9 => sized(1, 0)?,
        0xc5 | 0xda => sized(2, 0)?,
        0xc6 | 0xdb => sized(4, 0)?,
        0xc7 => sized(1, 1)?,
        0xc8 => sized(2, 1)?,
        0xc9 => sized(4, 1)?,
        0xcc | 0xd0 => (2, 0, false),
        0xcd | 0xd1 => (3, 0, false),
        0xca | 0xce | 0xd2 => (5, 0, false),
        0xcb | 0xcf | 0xd3 => (9, 0, false),
        0xd4..=0xd8 => (2 + (1 << (first - 0xd4)), 0, false),
        0xdc => (3, number(2)?, false),
        0xdd => (5, number(4)?, false),
        0xde => (3, 2 * number(2)?, true),
        0xdf => (5, 2 * number(4)?, true),
    };
    Some(Head {
        len,
        values: values as u64,
        is_map,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_of_every_kind_are_measured() {
        for value in [
            json!(null),
            json!([
                1,
                -1,
                200,
                -200,
                70_000,
                -70_000,
                1_u64 << 40,
                -(1_i64 << 40),
                1.5
            ]),
            json!({"a": "b".repeat(40), "c": "d".repeat(400), "e": "f".repeat(70_000)}),
            json!((0..20).collect::<Vec<_>>()),
            json!((0..70_000).collect::<Vec<_>>()),
            json!({"x": {"y": {"z": [[[[]]]]}}}),
        ] {
            let mut bytes = rmp_serde::to_vec(&value).unwrap();
            let whole = bytes.len();
            bytes.extend(b"more");
            assert_eq!(length(&bytes), Some(whole), "{value:.60}");
            for cut in [0, whole / 2, whole - 1] {
                assert_eq!(length(&bytes[..cut]), None, "{value:.60} {cut}");
            }
        }
        // The first input is a list that claims four billion values. The second has a type that
        // does not exist.
        assert_eq!(length(&[0xdd, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(length(&[0xc1]), None);
    }

    #[test]
    fn one_odd_entry_is_cut_out_of_a_part() {
        let good = json!({"name": "a", "version": "1.0", "build": "0", "build_number": 0, "subdir": "linux-64", "depends": []});
        let mut records = serde_json::Map::new();
        for (file, field, value) in [
            ("a-1.0-0.conda", "version", json!("1.0")),
            ("a-2.0-0.conda", "version", json!("1..!!")),
            ("a-3.0-0.conda", "depends", json!({"x": 1})),
            ("a-4.0-0.conda", "build_number", json!("many")),
            ("nodash", "version", json!("1.0")),
        ] {
            let mut record = good.clone();
            record[field] = value;
            records.insert(file.to_owned(), record);
        }
        let part = json!({"packages": {}, "packages.conda": records, "removed": [7]});
        let (bytes, unreadable) =
            drop_unreadable_records(&rmp_serde::to_vec_named(&part).unwrap()).unwrap();
        let part: Shard = rmp_serde::from_slice(&bytes).unwrap();
        let kept: Vec<String> = part
            .conda_packages
            .keys()
            .map(ToString::to_string)
            .collect();
        assert_eq!(kept, ["a-1.0-0.conda"]);
        let names: Vec<&str> = unreadable
            .iter()
            .map(|unreadable| &*unreadable.entry)
            .collect();
        assert_eq!(
            names,
            [
                "a-2.0-0.conda",
                "a-3.0-0.conda",
                "a-4.0-0.conda",
                "nodash",
                "removed"
            ]
        );
        assert!(drop_unreadable_records(b"\xc1").is_none());
    }

    #[test]
    fn one_odd_entry_is_cut_out_of_an_index_of_parts() {
        let info = json!({"subdir": "linux-64", "base_url": "", "shards_base_url": ""});
        let index = json!({"info": info, "shards": {"a": "0".repeat(64), "b": 7, "c": "00"}});
        let index = rmp_serde::to_vec_named(&index).unwrap();
        if rmp_serde::from_slice::<ShardedRepodata>(&index).is_ok() {
            return;
        }
        let (bytes, unreadable) = drop_unreadable_shards(&index).unwrap();
        let index: ShardedRepodata = rmp_serde::from_slice(&bytes).unwrap();
        assert!(
            index.shards.len() + unreadable.len() == 3 && unreadable.len() >= 2,
            "{unreadable:?}"
        );
    }
}
