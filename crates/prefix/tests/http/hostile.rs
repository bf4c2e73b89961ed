//! Tests of channels whose index does not end, points elsewhere, or has entries that cannot be
//! read.

use std::{
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use condense_prefix::Error;
use serde_json::{Value, json};

use crate::{
    TestDir, channel,
    index_in_parts::{compressed, split_index},
    noisy,
    server::{Act, Door, Server, serve},
    test_dir, whole, write_channel,
};

const INDEX: &str = "linux-64/repodata.json";
const PARTS: &str = "linux-64/repodata_shards.msgpack.zst";

/// Starts a server that answers GET requests for `path` with `act`, and all others from the
/// channel.
fn with(
    channel: &tempfile::TempDir,
    path: &'static str,
    act: impl Fn() -> Act + Send + Sync + 'static,
) -> Server {
    serve(channel.path(), Door::Open, move |request, _| {
        if request.path == path && request.method == "GET" {
            act()
        } else {
            Act::Serve
        }
    })
}

/// Returns the size in bytes of all files in the cache.
fn cached_bytes(test_dir: &TestDir) -> u64 {
    let mut dirs = vec![test_dir.settings.cache_dir.clone()];
    let mut bytes = 0;
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                dirs.push(entry.path());
            } else {
                bytes += metadata.len();
            }
        }
    }
    bytes
}

/// Changes the index of a channel in its file.
fn change(dir: &Path, with: impl Fn(&mut Value)) {
    let path = dir.join(INDEX);
    let mut index: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    with(&mut index);
    std::fs::write(path, index.to_string()).unwrap();
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn an_index_in_parts_that_becomes_too_long_is_refused() {
    let (channel, mut test_dir) = (channel(), test_dir());
    test_dir.settings.part_bytes_max = 1 << 20;
    let bomb = zstd::encode_all(&*vec![0; 100 << 20], 1).unwrap();
    assert!(bomb.len() < 100 << 10, "{}", bomb.len());
    let server = with(&channel, PARTS, move || Act::Send(bomb.clone()));
    let error = test_dir.build(&server.url()).unwrap_err();
    let text = whole(&error);
    assert!(matches!(error, Error::Channel { .. }), "{text}");
    assert!(
        text.contains(PARTS) && text.contains("more than 1048576 bytes"),
        "{text}"
    );
    assert!(cached_bytes(&test_dir) < 100 << 10);
}

#[test]
fn an_index_that_becomes_too_long_is_refused_and_leaves_nothing() {
    type Encode = fn(&[u8]) -> Vec<u8>;
    let forms: [(&str, Encode); 3] = [
        ("linux-64/repodata.json", |bytes| bytes.to_vec()),
        ("linux-64/repodata.json.zst", |bytes| {
            zstd::encode_all(bytes, 1).unwrap()
        }),
        ("linux-64/repodata.json.bz2", bzip2),
    ];
    for (path, encode) in forms {
        let (channel, mut test_dir) = (channel(), test_dir());
        test_dir.settings.index_bytes_max = 1 << 20;
        let bomb = encode(&vec![b' '; 8 << 20]);
        let file = channel.path().join(path);
        std::fs::write(&file, &bomb).unwrap();
        let server = serve(channel.path(), Door::Open, |_, _| Act::Serve);
        let error = test_dir.build(&server.url()).unwrap_err();
        let text = whole(&error);
        assert!(
            text.contains(path) && text.contains("more than 1048576 bytes"),
            "{text}"
        );
        assert!(cached_bytes(&test_dir) < 100 << 10, "{path}");
    }
}

#[test]
fn an_index_without_an_end_is_cut_off_and_leaves_nothing() {
    for path in [INDEX, PARTS] {
        let (channel, mut test_dir) = (channel(), test_dir());
        test_dir.settings.index_bytes_max = 1 << 20;
        test_dir.settings.part_bytes_max = 1 << 20;
        let server = with(&channel, path, || Act::Endless);
        let text = whole(&test_dir.build(&server.url()).unwrap_err());
        assert!(
            text.contains(path) && text.contains("more than 1048576 bytes"),
            "{text}"
        );
        assert!(cached_bytes(&test_dir) < 100 << 10, "{path}");
    }
}

#[test]
fn a_transfer_below_the_minimum_rate_is_given_up() {
    for path in [PARTS, "linux-64/tool-1.0-0.conda"] {
        let (channel, mut test_dir) = (channel(), test_dir());
        test_dir.settings.read_timeout = Duration::from_millis(300);
        test_dir.settings.retries = 1;
        let server = with(&channel, path, || Act::Drip);
        let began = Instant::now();
        let text = whole(&test_dir.build(&server.url()).unwrap_err());
        assert!(text.contains("it sends less than"), "{text}");
        assert!(began.elapsed() < Duration::from_secs(30));
        let asked = server.requests();
        assert!(
            asked.iter().filter(|request| request.path == path).count() <= 3,
            "{asked:?}"
        );
    }
}

#[test]
fn a_server_that_breaks_off_after_each_byte_is_given_up() {
    let (channel, mut test_dir) = (channel(), test_dir());
    test_dir.settings.retries = 2;
    let archive = std::fs::read(channel.path().join("linux-64/tool-1.0-0.conda")).unwrap();
    let server = serve(channel.path(), Door::Open, move |request, _| {
        if !request.is_archive() {
            return Act::Serve;
        }
        let start = request.start().unwrap_or(0);
        Act::SendPart(start, archive[start..=start].to_vec(), archive.len())
    });
    let text = whole(&test_dir.build(&server.url()).unwrap_err());
    assert!(text.contains("tool-1.0-0.conda"), "{text}");
    assert!(server.archive_requests().len() < 10);
}

#[test]
fn a_retry_time_of_years_is_not_waited_for() {
    let (channel, test_dir) = (channel(), test_dir());
    let server = with(&channel, "linux-64/tool-1.0-0.conda", || {
        Act::Say(503, "Retry-After: 100000000\r\n".to_owned())
    });
    let text = whole(&test_dir.build(&server.url()).unwrap_err());
    assert!(text.contains("503"), "{text}");
    assert_eq!(server.archive_requests().len(), 1);
    let said = test_dir.said().concat();
    assert!(said.contains("left alone for 100000000 s"), "{said}");
}

#[test]
fn a_channel_of_the_network_may_not_name_files() {
    let (channel, test_dir) = (channel(), test_dir());
    let files = format!("file://{}/linux-64/", channel.path().display());
    change(channel.path(), |index| {
        index["info"]["base_url"] = files.clone().into();
    });
    let server = serve(channel.path(), Door::Open, |_, _| Act::Serve);
    let text = whole(&test_dir.build(&server.url()).unwrap_err());
    assert!(
        text.contains("may name files") && text.contains(&files),
        "{text}"
    );
    // A channel of local files may name other local files, because its own files are on this
    // machine as well.
    test_dir
        .build(&format!("file://{}", channel.path().display()))
        .unwrap();
}

#[test]
fn an_index_in_parts_may_not_name_files_either() {
    for field in ["base_url", "shards_base_url"] {
        let (channel, test_dir) = (channel(), test_dir());
        split_index(channel.path());
        let path = channel.path().join(PARTS);
        let bytes = zstd::decode_all(&*std::fs::read(&path).unwrap()).unwrap();
        let mut index: rattler_conda_types::ShardedRepodata =
            rmp_serde::from_slice(&bytes).unwrap();
        let files = format!("file://{}/linux-64/", channel.path().display());
        match field {
            "base_url" => index.info.base_url = files,
            _ => index.info.shards_base_url = files,
        }
        std::fs::write(path, compressed(&rmp_serde::to_vec_named(&index).unwrap())).unwrap();
        let server = serve(channel.path(), Door::Open, |_, _| Act::Serve);
        let text = whole(&test_dir.build(&server.url()).unwrap_err());
        assert!(text.contains("may name files"), "{field}: {text}");
    }
}

/// Returns entries that cannot be used, each with its file name. They are changed copies of `good`.
fn odd_entries(good: &Value) -> Vec<(&'static str, Value)> {
    let with = |field: &str, value: Value| {
        let mut record = good.clone();
        record[field] = value;
        record
    };
    let other = |name: &str, version: &str| {
        let mut record = with("name", name.into());
        record["version"] = version.into();
        record
    };
    vec![
        ("tool-9.0-0.conda", with("version", json!("9..!!"))),
        ("tool-9.1-0.conda", with("depends", json!({"x": 1}))),
        ("tool-9.2-0.conda", with("name", json!(7))),
        ("tool-9.3-0.conda", with("size", json!("big"))),
        ("tool.conda", other("tool", "9.4")),
        // In this entry and the next one, the file name and the record disagree.
        ("tool-9.5-0.conda", other("other", "9.5")),
        ("tool-9.6-0.conda", other("tool", "9.7")),
        ("tool-9.8-../../0.conda", other("tool", "9.8")),
        ("tool-9.9-0.conda", {
            let mut record = other("tool", "9.9");
            record["subdir"] = "osx-64".into();
            record
        }),
        ("tool-10.0-0.conda", {
            let mut record = other("tool", "10.0");
            record["depends"] = json!([format!("python {}3.9", "!=3.8,".repeat(200_000))]);
            record
        }),
    ]
}

/// Adds these entries to the index of a channel. Their file names say `tool`, so a request for
/// `tool` reads them.
fn spoil(dir: &Path, entries: &[(&str, Value)]) {
    change(dir, |index| {
        for (file, record) in entries {
            index["packages.conda"][file] = record.clone();
        }
    });
}

fn good(dir: &Path) -> Value {
    let index: Value = serde_json::from_slice(&std::fs::read(dir.join(INDEX)).unwrap()).unwrap();
    index["packages.conda"]["tool-1.0-0.conda"].clone()
}

#[test]
fn one_odd_entry_does_not_spoil_a_channel() {
    type Encode = fn(&[u8]) -> Vec<u8>;
    let forms: [(&str, Option<Encode>); 3] = [
        ("", None),
        (".zst", Some(|bytes| zstd::encode_all(bytes, 1).unwrap())),
        (".bz2", Some(bzip2)),
    ];
    for (ending, encode) in forms {
        let (channel, test_dir) = (channel(), test_dir());
        let entries = odd_entries(&good(channel.path()));
        spoil(channel.path(), &entries);
        let path = channel.path().join(INDEX);
        if let Some(encode) = encode {
            let bytes = encode(&std::fs::read(&path).unwrap());
            std::fs::write(format!("{}{ending}", path.display()), bytes).unwrap();
            std::fs::remove_file(path).unwrap();
        }
        let server = serve(channel.path(), Door::Open, |_, _| Act::Serve);
        let built = test_dir.build(&server.url()).unwrap();
        assert!(built.lock.contains("tool-1.0-0.conda"), "{}", built.lock);
        let said = test_dir.said().concat();
        assert!(said.contains("`tool-9.0-0.conda`"), "{said}");
        assert!(
            said.contains("`tool-9.9-0.conda`") && said.contains("osx-64"),
            "{said}"
        );
        assert!(said.contains("`tool-10.0-0.conda`"), "{said}");
    }
}

#[test]
fn one_odd_entry_does_not_spoil_a_channel_of_files() {
    for (file, record) in odd_entries(&good(channel().path())) {
        let (channel, test_dir) = (channel(), test_dir());
        spoil(channel.path(), &[(file, record)]);
        let built = test_dir
            .build(&format!("file://{}", channel.path().display()))
            .unwrap();
        assert!(
            built.lock.contains("tool-1.0-0.conda"),
            "{file}: {}",
            built.lock
        );
    }
}

#[test]
fn escapes_in_the_keys_of_an_index_are_read() {
    let (channel, test_dir) = (channel(), test_dir());
    let path = channel.path().join(INDEX);
    let text = std::fs::read_to_string(&path).unwrap();
    let escaped = text.replace("\"tool-1.0-0.conda\"", "\"tool\\u002d1.0-0.conda\"");
    assert_ne!(text, escaped);
    std::fs::write(&path, escaped).unwrap();
    test_dir
        .build(&format!("file://{}", channel.path().display()))
        .unwrap();
    let server = serve(channel.path(), Door::Open, |_, _| Act::Serve);
    crate::test_dir().build(&server.url()).unwrap();
}

#[test]
fn what_is_no_index_is_refused_by_name() {
    for text in ["", "[]", "{\"packages\": ", "<html>"] {
        let (channel, test_dir) = (channel(), test_dir());
        std::fs::write(channel.path().join(INDEX), text).unwrap();
        let url = format!("file://{}", channel.path().display());
        let text = whole(&test_dir.build(&url).unwrap_err());
        assert!(text.contains("linux-64/repodata.json"), "{text}");
    }
}

#[test]
fn a_pipe_in_the_place_of_an_index_is_not_waited_for() {
    let (channel, test_dir) = (channel(), test_dir());
    let path = channel.path().join(INDEX);
    std::fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    let url = format!("file://{}", channel.path().display());
    let text = whole(&test_dir.build(&url).unwrap_err());
    assert!(text.contains("is a pipe"), "{text}");
}

#[test]
fn one_odd_entry_of_a_part_is_left_out_by_name() {
    let dir = tempfile::tempdir().unwrap();
    write_channel(dir.path(), &[noisy("tool", 0)]);
    split_index(dir.path());
    // The part is written again, with an additional entry that cannot be read.
    let linux = dir.path().join("linux-64");
    let index = zstd::decode_all(&*std::fs::read(dir.path().join(PARTS)).unwrap()).unwrap();
    let mut index: rattler_conda_types::ShardedRepodata = rmp_serde::from_slice(&index).unwrap();
    let old = hex::encode(index.shards["tool"]);
    let part = std::fs::read(linux.join(format!("{old}.msgpack.zst"))).unwrap();
    let part = zstd::decode_all(&*part).unwrap();
    let mut part: Part = rmp_serde::from_slice(&part).unwrap();
    let mut odd = part.new["tool-1.0-0.conda"].clone();
    odd.version = "9..!!".to_owned();
    part.new.insert("tool-9.0-0.conda".to_owned(), odd);
    let part = compressed(&rmp_serde::to_vec_named(&part).unwrap());
    let digest = rattler_digest::compute_bytes_digest::<rattler_digest::Sha256>(&part);
    std::fs::write(
        linux.join(format!("{}.msgpack.zst", hex::encode(digest))),
        part,
    )
    .unwrap();
    index.shards.insert("tool".to_owned(), digest);
    std::fs::write(
        dir.path().join(PARTS),
        compressed(&rmp_serde::to_vec_named(&index).unwrap()),
    )
    .unwrap();

    let test_dir = test_dir();
    let server = serve(dir.path(), Door::Open, |_, _| Act::Serve);
    let built = test_dir.build(&server.url()).unwrap();
    assert!(built.lock.contains("tool-1.0-0.conda"), "{}", built.lock);
    let said = test_dir.said().concat();
    assert!(said.contains("`tool-9.0-0.conda`"), "{said}");
    // The second build reads the part from the cache.
    test_dir.build(&server.url()).unwrap();
}

/// The fields of an index part that this test needs. Versions are plain text, so that invalid ones
/// can be written.
#[derive(serde::Serialize, serde::Deserialize)]
struct Part {
    packages: std::collections::BTreeMap<String, Record>,
    #[serde(rename = "packages.conda")]
    new: std::collections::BTreeMap<String, Record>,
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Record {
    name: String,
    version: String,
    build: String,
    build_number: u64,
    subdir: String,
    depends: Vec<String>,
    size: u64,
}
