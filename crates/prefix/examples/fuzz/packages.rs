//! Responsible for files of packages: what an archive says about itself.

use std::path::Path;

use condense_fuzz::{Error, Target, text};
use rattler_conda_types::{
    MatchSpec, PackageRecord, ParseMatchSpecOptions,
    package::{Files, HasPrefix, IndexJson, LinkJson, PackageFile, PathsJson},
};

use super::seeds;

pub(super) fn targets(dir: &Path) -> Result<Vec<Target>, Error> {
    let target = |name: &'static str, read: fn(&str) -> Option<()>| -> Result<Target, Error> {
        Ok(Target {
            name,
            seeds: seeds(dir, name)?,
            damage: text,
            read: Box::new(move |bytes| read(&String::from_utf8_lossy(bytes)).is_none()),
        })
    };
    Ok(vec![
        target("paths-json", |text| {
            let paths = PathsJson::from_str(text).ok()?;
            serde_json::to_string(&paths).ok().map(drop)
        })?,
        target("index-json", |text| {
            let index = IndexJson::from_str(text).ok()?;
            let record = PackageRecord::from_index_json(index, None, None, None).ok()?;
            for line in record.depends.iter().chain(&record.constrains) {
                let _ = MatchSpec::from_str(line, ParseMatchSpecOptions::lenient());
            }
            serde_json::to_string(&record).ok().map(drop)
        })?,
        target("lists", |text| {
            let read = [
                Files::from_str(text).is_ok(),
                HasPrefix::from_str(text).is_ok(),
                LinkJson::from_str(text).is_ok(),
            ];
            read.contains(&true).then_some(())
        })?,
    ])
}
