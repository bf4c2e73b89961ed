//! Responsible for the files in a package that describe it, as condense checks them and as rattler
//! reads them.

use std::path::Path;

use condense_fuzz::{Error, Target, text};
use condense_prefix::package_readers as judge;
use rattler_conda_types::{
    MatchSpec, PackageRecord, ParseMatchSpecOptions,
    package::{Files, HasPrefix, IndexJson, LinkJson, PackageFile, PathsJson},
};

use super::seeds;

pub(super) fn targets(dir: &Path) -> Result<Vec<Target>, Error> {
    let target = |name: &'static str, read: fn(&[u8], &str) -> bool| -> Result<Target, Error> {
        Ok(Target {
            name,
            seeds: seeds(dir, name)?,
            damage: text,
            read: Box::new(move |bytes| !read(bytes, &String::from_utf8_lossy(bytes))),
        })
    };
    Ok(vec![
        target("paths-json", |bytes, text| {
            let _ = PathsJson::from_str(text);
            judge::paths_json(bytes)
        })?,
        target("index-json", |bytes, text| {
            let index = IndexJson::from_str(text).ok();
            let record = index.map(|index| PackageRecord::from_index_json(index, None, None, None));
            if let Some(Ok(record)) = record {
                for line in record.depends.iter().chain(&record.constrains) {
                    let _ = MatchSpec::from_str(line, ParseMatchSpecOptions::lenient());
                }
            }
            judge::index_json(bytes)
        })?,
        target("has-prefix", |bytes, text| {
            let _ = HasPrefix::from_str(text);
            judge::has_prefix(bytes)
        })?,
        target("files", |bytes, text| {
            let _ = Files::from_str(text);
            judge::lines(bytes)
        })?,
        target("link-json", |bytes, text| {
            let _ = LinkJson::from_str(text);
            judge::link_json(bytes)
        })?,
    ])
}
