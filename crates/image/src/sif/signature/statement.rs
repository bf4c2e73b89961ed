//! Responsible for the text that is signed, which describes the objects of a group by digests.

use serde::{Deserialize, Serialize};

use super::super::{Descriptor, Sif};
use super::digest::Digest;
use crate::Error;

/// Version of statements. No other version exists.
const VERSION: u32 = 1;

/// Content of a signature of a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Statement {
    version: u32,
    header: Header,
    objects: Vec<Object>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Header {
    digest: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Object {
    /// Number of the object relative to the first object of the group, so that the group may be
    /// copied into another file.
    #[serde(rename = "relativeId")]
    relative_id: u32,
    #[serde(rename = "descriptorDigest")]
    entry: String,
    #[serde(rename = "objectDigest")]
    contents: String,
}

impl Statement {
    /// Creates the statement of a group that has objects.
    pub(super) fn for_group(sif: &Sif, group: u32) -> Result<Statement, Error> {
        let read = Error::io("read", sif.path());
        let members = members(sif, group);
        let start = members.first().map_or(0, |object| object.id);
        let made = || -> std::io::Result<Statement> {
            let mut objects = Vec::new();
            for object in members {
                let descriptor = object.signed_bytes(start);
                objects.push(Object {
                    relative_id: object.id - start,
                    entry: Digest::compute(&descriptor[..])?.as_str().to_owned(),
                    contents: Digest::compute(sif.bytes_of(object))?.as_str().to_owned(),
                });
            }
            let header = Digest::compute(&sif.header().signed_bytes()[..])?;
            Ok(Statement {
                version: VERSION,
                header: Header {
                    digest: header.as_str().to_owned(),
                },
                objects,
            })
        };
        made().map_err(read)
    }

    pub(super) fn render(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings are JSON")
    }

    /// Reads a statement from the text that was signed.
    pub(super) fn parse(text: &str) -> Result<Statement, String> {
        let statement: Statement = serde_json::from_str(text)
            .map_err(|error| format!("what was signed is no statement about a SIF: {error}"))?;
        if statement.version != VERSION {
            return Err(format!(
                "what was signed is of the unknown version {}",
                statement.version
            ));
        }
        Ok(statement)
    }

    /// Returns a description of the first difference from what was signed, if there is one.
    pub(super) fn difference(&self, sif: &Sif, group: u32) -> Result<Option<String>, Error> {
        let members = members(sif, group);
        let start = members.first().map_or(0, |object| object.id);
        let signed: Vec<u32> = self.objects.iter().map(|it| it.relative_id).collect();
        let found: Vec<u32> = members.iter().map(|object| object.id - start).collect();
        let mut sorted = signed.clone();
        sorted.sort_unstable();
        if sorted != found {
            return Ok(Some(format!(
                "group {group} has other objects than those that were signed"
            )));
        }
        let read = |error| Error::io("read", sif.path())(error);
        let header = Digest::parse(&self.header.digest);
        if !header
            .matches(&sif.header().signed_bytes()[..])
            .map_err(read)?
        {
            return Ok(Some(
                "the header was changed after it was signed".to_owned(),
            ));
        }
        for object in members {
            let signed = self
                .objects
                .iter()
                .find(|it| it.relative_id == object.id - start)
                .expect("the same numbers");
            let descriptor = Digest::parse(&signed.entry);
            if !descriptor
                .matches(&object.signed_bytes(start)[..])
                .map_err(read)?
            {
                return Ok(Some(format!(
                    "the entry of object {} was changed after it was signed",
                    object.id
                )));
            }
            let contents = Digest::parse(&signed.contents);
            if !contents.matches(sif.bytes_of(object)).map_err(read)? {
                return Ok(Some(format!(
                    "object {} was changed after it was signed",
                    object.id
                )));
            }
        }
        Ok(None)
    }
}

/// Returns the objects of a group, in the order of their numbers.
fn members(sif: &Sif, group: u32) -> Vec<&Descriptor> {
    let objects = sif.descriptors().iter();
    let mut members: Vec<&Descriptor> = objects
        .filter(|object| object.group == Some(group))
        .collect();
    members.sort_by_key(|object| object.id);
    members
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::sif::{DataKind, NewObject, SifOptions, SifWriter};

    #[test]
    fn a_statement_tells_digests_of_the_group_it_is_about() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a.sif");
        let mut writer = SifWriter::create(&path, &SifOptions::default()).unwrap();
        let object = NewObject::new(DataKind::Generic);
        writer
            .add(&object.clone().in_group(Some(7)), b"alone")
            .unwrap();
        writer.add(&object, b"first").unwrap();
        writer.add(&object, b"second").unwrap();
        writer.finish().unwrap();
        let sif = Sif::open(&path).unwrap();
        let digest = |bytes: &[u8]| format!("sha256:{}", hex::encode(Sha256::digest(bytes)));

        for (group, contents) in [(7, &[&b"alone"[..]][..]), (1, &[b"first", b"second"])] {
            let statement = Statement::for_group(&sif, group).unwrap();
            assert_eq!(statement.difference(&sif, group).unwrap(), None);
            let json: serde_json::Value = serde_json::from_str(&statement.render()).unwrap();
            assert_eq!(json["version"], 1);
            assert_eq!(
                json["header"]["digest"],
                digest(&sif.header().signed_bytes())
            );
            let objects = json["objects"].as_array().unwrap();
            assert_eq!(objects.len(), contents.len());
            for (number, (object, bytes)) in objects.iter().zip(contents).enumerate() {
                assert_eq!(object["relativeId"], number);
                assert_eq!(object["objectDigest"], digest(bytes));
            }
            // The statement does not fit the other group, which has another number of objects.
            let difference = statement.difference(&sif, 8 - group).unwrap().unwrap();
            assert!(difference.contains("other objects"), "{difference}");
        }
    }

    #[test]
    fn only_statements_of_the_known_version_are_read() {
        let text = |version: u32| {
            format!(
                "{{\"version\":{version},\"header\":{{\"digest\":\"sha256:00\"}},\"objects\":[]}}"
            )
        };
        assert_eq!(Statement::parse(&text(1)).unwrap().render(), text(1));
        for version in [0, 2] {
            let error = Statement::parse(&text(version)).unwrap_err();
            assert!(
                error.contains(&format!("unknown version {version}")),
                "{error}"
            );
        }
        let error = Statement::parse("hello").unwrap_err();
        assert!(error.contains("no statement about a SIF"), "{error}");
    }
}
