//! Responsible for the files of a channel: its index as one file and in parts (shards). The index
//! is read alone and also used for solving.

use std::{path::Path, time::Duration};

use condense_fuzz::{Error, Target, bytes, text};
use condense_prefix::{
    Architecture, EnvironmentSpec, Network, NetworkSettings, Phase, Progress, Target as Machine,
    Warning, solve,
};
use rattler_conda_types::{
    Channel, MatchSpec, PackageRecord, ParseMatchSpecOptions, Shard, ShardedRepodata,
};
use rattler_repodata_gateway::sparse::{PackageFormatSelection, SparseRepoData};
use serde::{Serialize, de::DeserializeOwned};

use super::seeds;

pub(super) fn targets(dir: &Path) -> Result<Vec<Target>, Error> {
    let indices = seeds(dir, "repodata")?;
    Ok(vec![
        Target {
            name: "repodata",
            seeds: indices.clone(),
            damage: text,
            read: Box::new(|bytes| read_index(bytes).is_none()),
        },
        Target {
            name: "channel",
            seeds: indices,
            damage: text,
            read: Box::new(|bytes| read_channel(bytes).is_none()),
        },
        Target {
            name: "shard-index",
            seeds: packed::<ShardedRepodata>(&seeds(dir, "shard-index")?),
            damage: bytes,
            read: Box::new(|bytes| rmp_serde::from_slice::<ShardedRepodata>(bytes).is_err()),
        },
        Target {
            name: "shard",
            seeds: packed::<Shard>(&seeds(dir, "shard-of-package")?),
            damage: bytes,
            read: Box::new(|bytes| {
                let Ok(shard) = rmp_serde::from_slice::<Shard>(bytes) else {
                    return true;
                };
                let records = shard.packages.values().chain(shard.conda_packages.values());
                records.for_each(look_at);
                false
            }),
        },
    ])
}

/// Converts JSON texts to the binary format (msgpack) that these files have.
fn packed<T: Serialize + DeserializeOwned>(texts: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let values = texts.iter().map(|text| {
        let value: T = serde_json::from_slice(text).expect("a good file is read");
        rmp_serde::to_vec_named(&value).expect("what is read can be written")
    });
    values.collect()
}

fn look_at(record: &PackageRecord) {
    for line in record.depends.iter().chain(&record.constrains) {
        let _ = MatchSpec::from_str(line, ParseMatchSpecOptions::lenient());
    }
}

fn read_index(bytes: &[u8]) -> Option<()> {
    let channel = Channel::from_url("https://host.example/c/".parse::<url::Url>().ok()?);
    let index =
        SparseRepoData::from_bytes(channel, "linux-64", bytes.to_vec().into(), None).ok()?;
    let records = index.load_all_records(PackageFormatSelection::Both).ok()?;
    for record in &records {
        look_at(&record.package_record);
        let _ = record.url.as_str();
    }
    Some(())
}

struct Silent;

impl Progress for Silent {
    fn begin(&self, _: Phase, _: Option<u64>) {}
    fn advance(&self, _: Phase, _: u64) {}
    fn detail(&self, _: Phase, _: &str) {}
    fn output(&self, _: &str) {}
    fn end(&self, _: Phase, _: Duration) {}
    fn cancelled(&self) -> bool {
        false
    }
    fn warn(&self, _: Warning) {}
}

/// Solves with this index, in a temporary directory that is removed afterwards.
fn read_channel(bytes: &[u8]) -> Option<()> {
    let dir = tempfile::tempdir().ok()?;
    let (channel, cache) = (dir.path().join("channel"), dir.path().join("cache"));
    for (subdir, index) in [("linux-64", bytes), ("noarch", b"{\"packages\": {}}")] {
        fs_err::create_dir_all(channel.join(subdir)).ok()?;
        fs_err::write(channel.join(subdir).join("repodata.json"), index).ok()?;
    }
    let asked = format!(
        "channels: ['file://{}']\ndependencies: [tool]\n",
        channel.display()
    );
    let spec = EnvironmentSpec::parse(&asked, Path::new("e.yml"), Path::new("/")).ok()?;
    let machine = Machine {
        architecture: Architecture::X86_64,
        glibc: Some("2.36".to_owned()),
        linux: Some("6.1".to_owned()),
        archspec: None,
        cuda: None,
    };
    let network = Network::open(NetworkSettings::new(&cache)).ok()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .ok()?;
    let solved = runtime.block_on(solve(&spec, &machine, &network, dir.path(), &Silent));
    let solution = solved.ok()?;
    let _ = condense_prefix::mount_point_suffix(&spec, &solution);
    Some(())
}
