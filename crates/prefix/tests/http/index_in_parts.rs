//! Channels whose index is in parts, one for each package name (CEP 16).

use std::{collections::BTreeMap, path::Path};

use rattler_conda_types::{PackageRecord, Shard, ShardedRepodata};
use rattler_digest::{Sha256, compute_bytes_digest};
use serde_json::Value;

use crate::{
    channel, noisy,
    server::{Act, Door, Request, serve},
    test_dir, write_channel,
};

/// Replaces the index of `dir` by one in parts.
pub(crate) fn split_index(dir: &Path) {
    for subdir in ["linux-64", "noarch"] {
        let folder = dir.join(subdir);
        let index = folder.join("repodata.json");
        let text = std::fs::read_to_string(&index).unwrap();
        std::fs::remove_file(index).unwrap();
        let index: Value = serde_json::from_str(&text).unwrap();
        let mut shards: BTreeMap<String, Shard> = BTreeMap::new();
        for (file, record) in index["packages.conda"].as_object().unwrap() {
            let record: PackageRecord = serde_json::from_value(record.clone()).unwrap();
            let shard = shards
                .entry(record.name.as_normalized().to_owned())
                .or_default();
            shard.conda_packages.insert(file.parse().unwrap(), record);
        }
        let mut names = serde_json::Map::new();
        for (name, shard) in shards {
            let bytes = compressed(&rmp_serde::to_vec_named(&shard).unwrap());
            let digest = hex::encode(compute_bytes_digest::<Sha256>(&bytes));
            std::fs::write(folder.join(format!("{digest}.msgpack.zst")), bytes).unwrap();
            names.insert(name, digest.into());
        }
        let index = serde_json::json!({
            "info": { "subdir": subdir, "base_url": "", "shards_base_url": "" }, "shards": names,
        });
        let index: ShardedRepodata = serde_json::from_value(index).unwrap();
        let bytes = compressed(&rmp_serde::to_vec_named(&index).unwrap());
        std::fs::write(folder.join("repodata_shards.msgpack.zst"), bytes).unwrap();
    }
}

/// Returns a zstd frame of one block that is not compressed (RFC 8878).
pub(crate) fn compressed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    assert!(length < 128 * 1024, "one block has test_dir for so much");
    // The header says: a single segment, with its length in four bytes.
    let mut out = vec![0x28, 0xB5, 0x2F, 0xFD, 0b1010_0000];
    out.extend(length.to_le_bytes());
    // This is the last block, and it is not compressed.
    out.extend(&(length << 3 | 1).to_le_bytes()[..3]);
    out.extend(bytes);
    out
}

#[test]
fn an_index_in_parts_is_enough_and_survives_broken_streams() {
    let (channel, test_dir) = (channel(), test_dir());
    split_index(channel.path());
    let server = serve(
        channel.path(),
        Door::Token,
        |request, earlier| match earlier {
            0 if request.path.ends_with(".msgpack.zst") => Act::Half,
            1 if request.path.ends_with(".msgpack.zst") => Act::Say(503, String::new()),
            _ => Act::Serve,
        },
    );
    let built = test_dir.build(&server.url()).unwrap();
    assert!(built.root.join("env/bin/tool").exists());
    assert_eq!(crate::holds(test_dir.path(), "secret-word"), None);
    let asked = server.requests();
    assert!(
        asked
            .iter()
            .all(|request| request.path != "linux-64/repodata.json"),
        "{asked:?}"
    );
}

#[test]
fn offline_says_which_part_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    write_channel(dir.path(), &[noisy("tool", 0), noisy("other", 1)]);
    split_index(dir.path());
    let mut test_dir = test_dir();
    let server = serve(dir.path(), Door::Open, |_, _| Act::Serve);
    test_dir.build(&server.url()).unwrap();
    let before = server.requests().len();
    test_dir.settings.offline = true;
    test_dir.build(&server.url()).unwrap();
    test_dir.packages = "tool, other".to_owned();
    let error = test_dir.build(&server.url()).unwrap_err();
    assert!(error.to_string().contains("`other`"), "{error}");
    assert_eq!(server.requests().len(), before);
}

/// RFC 9110 requires a 304 answer to repeat the validators, but several servers and proxies leave
/// them out.
#[test]
fn an_answer_without_validators_says_that_nothing_has_changed() {
    for validators in [
        "ETag: \"one\"\r\n",
        "Last-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\n",
        "ETag: W/\"one\"\r\nLast-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\n",
    ] {
        for repeated in ["", "Last-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\n"] {
            let (channel, test_dir) = (channel(), test_dir());
            split_index(channel.path());
            let server = serve(channel.path(), Door::Open, move |request, _| {
                let asks = ["if-none-match", "if-modified-since"];
                if asks.iter().any(|name| request.header(name).is_some()) {
                    Act::Say(304, repeated.to_owned())
                } else {
                    Act::ServeWith(format!("Cache-Control: max-age=0\r\n{validators}"))
                }
            });
            for _ in 0..2 {
                let built = test_dir.build(&server.url()).unwrap();
                assert!(built.root.join("env/bin/tool").exists());
            }
            let asked = server.requests();
            let again = |request: &&Request| request.path.ends_with("repodata_shards.msgpack.zst");
            assert_eq!(asked.iter().filter(again).count(), 4, "{asked:?}");
        }
    }
}
