//! Responsible for removing unreadable entries from a `repodata.json`, which rattler would refuse
//! as a whole. The file is rewritten with the entries that can be read.

use std::{collections::HashSet, fmt, str::FromStr};

use rattler_conda_types::{
    ChannelInfo, PackageRecord, WhlPackageRecord,
    package::{ArchiveIdentifier, DistArchiveIdentifier},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::UnreadableEntry;

/// A JSON object in its original order, with the unparsed text of its values.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// Returns the index without its unreadable entries, and the list of these entries.
///
/// # Errors
/// Returns a [`serde_json::Error`] if the text is not a JSON object.
pub(crate) fn drop_unreadable(
    bytes: &[u8],
) -> Result<(Vec<u8>, Vec<UnreadableEntry>), serde_json::Error> {
    let Entries(top) = serde_json::from_slice(bytes)?;
    let mut repaired = Repaired {
        out: Vec::with_capacity(bytes.len()),
        unreadable: Vec::new(),
    };
    repaired.out.push(b'{');
    for (key, value) in top {
        match &*key {
            "info" => repaired.info(value),
            "packages" | "packages.conda" => {
                repaired.records::<DistArchiveIdentifier, PackageRecord>(&key, value);
            }
            "v3" => repaired.third_version(value),
            "removed" => repaired.removed(value),
            _ => {}
        }
    }
    repaired.close(b'}');
    Ok((repaired.out, repaired.unreadable))
}

struct Repaired {
    out: Vec<u8>,
    unreadable: Vec<UnreadableEntry>,
}

impl Repaired {
    fn leave_out(&mut self, entry: &str, problem: impl fmt::Display) {
        self.unreadable.push(UnreadableEntry {
            entry: entry.to_owned(),
            problem: problem.to_string(),
        });
    }

    /// Writes the key of an entry. `key` must not need escapes.
    fn key(&mut self, key: &str) {
        self.out.extend(format!("\"{key}\":").bytes());
    }

    fn value(&mut self, value: &str) {
        self.out.extend(value.bytes());
        self.out.push(b',');
    }

    /// Writes the end of an object or a list.
    fn close(&mut self, with: u8) {
        if self.out.last() == Some(&b',') {
            self.out.pop();
        }
        self.out.push(with);
    }

    fn info(&mut self, value: &RawValue) {
        match serde_json::from_str::<ChannelInfo>(value.get()) {
            Ok(_) => {
                self.key("info");
                self.value(value.get());
            }
            Err(error) => {
                self.leave_out("info", error);
                // Readable fields of `info` are kept, since the location of the packages is
                // indispensable.
                let Ok(Entries(entries)) = serde_json::from_str(value.get()) else {
                    return;
                };
                self.key("info");
                self.out.push(b'{');
                for (key, value) in entries {
                    let is_text = serde_json::from_str::<String>(value.get()).is_ok();
                    if is_text && ["subdir", "base_url"].contains(&&*key) {
                        self.key(&key);
                        self.value(value.get());
                    }
                }
                self.close(b'}');
                self.out.push(b',');
            }
        }
    }

    fn records<I, R>(&mut self, name: &str, value: &RawValue)
    where
        I: FromStr<Err: fmt::Display>,
        R: DeserializeOwned,
    {
        let Entries(entries) = match serde_json::from_str(value.get()) {
            Ok(entries) => entries,
            Err(error) => return self.leave_out(name, error),
        };
        self.key(name);
        self.out.push(b'{');
        let mut seen = HashSet::new();
        for (key, value) in entries {
            let problem = if needs_escapes(&key) {
                Some("no file has such a name".to_owned())
            } else if let Err(error) = key.parse::<I>() {
                Some(error.to_string())
            } else if let Err(error) = serde_json::from_str::<R>(value.get()) {
                Some(error.to_string())
            } else if seen.insert(key.clone()) {
                None
            } else {
                Some("it is there twice".to_owned())
            };
            if let Some(problem) = problem {
                self.leave_out(&key, problem);
            } else {
                self.key(&key);
                self.value(value.get());
            }
        }
        self.close(b'}');
        self.out.push(b',');
    }

    fn third_version(&mut self, value: &RawValue) {
        let Entries(entries) = match serde_json::from_str(value.get()) {
            Ok(entries) => entries,
            Err(error) => return self.leave_out("v3", error),
        };
        self.key("v3");
        self.out.push(b'{');
        for (key, value) in entries {
            match &*key {
                "conda" | "tar.bz2" => {
                    self.records::<ArchiveIdentifier, PackageRecord>(&key, value);
                }
                "whl" => self.records::<ArchiveIdentifier, WhlPackageRecord>(&key, value),
                _ => {}
            }
        }
        self.close(b'}');
        self.out.push(b',');
    }

    fn removed(&mut self, value: &RawValue) {
        let entries: Vec<&RawValue> = match serde_json::from_str(value.get()) {
            Ok(entries) => entries,
            Err(error) => return self.leave_out("removed", error),
        };
        self.key("removed");
        self.out.push(b'[');
        for value in entries {
            match serde_json::from_str::<String>(value.get()) {
                Ok(name)
                    if !needs_escapes(&name) && name.parse::<DistArchiveIdentifier>().is_ok() =>
                {
                    self.value(&format!("\"{name}\""));
                }
                _ => self.leave_out(value.get(), "it is not the name of a package"),
            }
        }
        self.close(b']');
        self.out.push(b',');
    }
}

/// Returns true for names that JSON can represent only with escapes. rattler borrows names from the
/// text, so they must not have escapes.
fn needs_escapes(name: &str) -> bool {
    name.contains(['"', '\\']) || name.contains(char::is_control)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::drop_unreadable;
    use serde_json::{Value, json};

    const GOOD: &str = r#"{"name":"a","version":"1.0","build":"0","build_number":0,"depends":[]}"#;

    fn check(index: &str, kept: &[&str], unreadable: &[&str]) {
        let (bytes, found) = drop_unreadable(index.as_bytes()).unwrap();
        let repaired: Value = serde_json::from_slice(&bytes).unwrap();
        let keys = |name: &str| {
            let map = repaired[name].as_object().cloned().unwrap_or_default();
            map.keys().cloned().collect::<Vec<_>>()
        };
        let mut names = keys("packages");
        names.extend(keys("packages.conda"));
        assert_eq!(names, kept, "{index}");
        let found: Vec<&str> = found.iter().map(|unreadable| &*unreadable.entry).collect();
        assert_eq!(found, unreadable, "{index}");
    }

    #[test]
    fn escapes_in_keys_are_undone() {
        check(
            &format!(r#"{{"packages":{{"a\u002d1.0-0.tar.bz2":{GOOD}}},"packages.conda":{{}}}}"#),
            &["a-1.0-0.tar.bz2"],
            &[],
        );
        check(
            &format!(r#"{{"packages.conda":{{"a\n-1.0-0.conda":{GOOD},"a\"-1-0.conda":{GOOD}}}}}"#),
            &[],
            &["a\n-1.0-0.conda", "a\"-1-0.conda"],
        );
    }

    #[test]
    fn one_odd_entry_does_not_spoil_the_others() {
        for (file, field, value) in [
            ("a-2.0-0.conda", "name", json!(7)),
            ("a-2.0-0.conda", "version", json!("1..!!")),
            ("a-2.0-0.conda", "version", json!(null)),
            ("a-2.0-0.conda", "depends", json!("python")),
            ("a-2.0-0.conda", "size", json!("big")),
            ("a-2.0-0.conda", "sha256", json!("short")),
            ("nodash.conda", "version", json!("1.0")),
            ("a-2.0-0.exe", "version", json!("1.0")),
        ] {
            let mut record: Value = serde_json::from_str(GOOD).unwrap();
            record[field] = value;
            let index =
                format!(r#"{{"packages.conda":{{"{file}":{record},"a-1.0-0.conda":{GOOD}}}}}"#);
            check(&index, &["a-1.0-0.conda"], &[file]);
        }
    }

    #[test]
    fn unreadable_fields_beside_the_entries_are_left_out() {
        let good = format!(r#""packages.conda":{{"a-1.0-0.conda":{GOOD}}}"#);
        for (unreadable, named) in [
            (r#""info":7"#, "info"),
            (r#""info":{"subdir":7,"base_url":"x"}"#, "info"),
            (r#""packages":[]"#, "packages"),
            (r#""removed":{}"#, "removed"),
            (r#""removed":["nodash"]"#, "\"nodash\""),
            (r#""v3":7"#, "v3"),
        ] {
            check(
                &format!("{{{unreadable},{good}}}"),
                &["a-1.0-0.conda"],
                &[named],
            );
        }
        check(
            &format!(r#"{{"other":[{{}}],{good}}}"#),
            &["a-1.0-0.conda"],
            &[],
        );
        for none in ["", "[]", "{\"packages\":", &"[".repeat(100_000)] {
            assert!(drop_unreadable(none.as_bytes()).is_err());
        }
    }
}
