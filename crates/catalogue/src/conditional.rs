//! Responsible for values that a catalogue gives either as a text, or as a table with the text and
//! the images that it is for.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess},
    ser::SerializeMap,
};

use super::rules::ImageCondition;

/// Kind of a conditional value, which decides the key of its text in a table.
pub trait RuleKind {
    /// Key of the text in a table.
    const NAME: &str;
    /// Description of the expected value, for error messages.
    const EXPECTED: &str;
}

/// Text, and the images that it is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditional<K> {
    /// The bind or the flag itself.
    pub text: String,
    /// Condition on the images that the text is for.
    pub images: ImageCondition,
    key: PhantomData<K>,
}

impl<K> Conditional<K> {
    /// Returns a copy with another text.
    pub fn with_text(&self, text: String) -> Self {
        Self {
            text,
            images: self.images.clone(),
            key: PhantomData,
        }
    }
}

impl<K> From<String> for Conditional<K> {
    fn from(text: String) -> Self {
        Self {
            text,
            images: ImageCondition::default(),
            key: PhantomData,
        }
    }
}

impl<'de, K: RuleKind> Deserialize<'de> for Conditional<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<K>(PhantomData<K>);
        impl<'de, K: RuleKind> de::Visitor<'de> for Visitor<K> {
            type Value = Conditional<K>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str(K::EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Conditional<K>, E> {
                Ok(text.to_owned().into())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Conditional<K>, A::Error> {
                let (mut text, mut images) = (None, None);
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "images" => images = Some(map.next_value()?),
                        name if name == K::NAME => text = Some(map.next_value()?),
                        name => {
                            let why = format!("unknown field `{name}`, expected {}", K::EXPECTED);
                            return Err(de::Error::custom(why));
                        }
                    }
                }
                Ok(Conditional {
                    text: text.ok_or_else(|| de::Error::missing_field(K::NAME))?,
                    images: images.ok_or_else(|| de::Error::missing_field("images"))?,
                    key: PhantomData,
                })
            }
        }
        deserializer.deserialize_any(Visitor(PhantomData))
    }
}

impl<K: RuleKind> Serialize for Conditional<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.images.is_all() {
            return self.text.serialize(serializer);
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(K::NAME, &self.text)?;
        map.serialize_entry("images", &self.images)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::rules::{BindRule, FlagRule};

    #[derive(Deserialize, Serialize, Debug, PartialEq)]
    struct Both {
        binds: Vec<BindRule>,
        flags: Vec<FlagRule>,
    }

    #[test]
    fn texts_and_tables_are_written_as_they_are_read() {
        let text = r#"{"binds":["/a",{"bind":"/b:/c","images":{"rocm":"..6.2"}}],"flags":["--nv",{"flag":"--rocm","images":{"glibc":"2.31.."}}]}"#;
        let both: Both = serde_json::from_str(text).unwrap();
        assert_eq!(both.binds[1].text, "/b:/c");
        assert_eq!(both.flags[1].images.glibc.as_deref(), Some("2.31.."));
        assert_eq!(serde_json::to_string(&both).unwrap(), text);
    }

    #[test]
    fn what_is_neither_is_refused() {
        for (flag, why) in [
            ("7", "expected a flag, or a table with `flag` and `images`"),
            ("{ flag = \"--nv\" }", "missing field `images`"),
            ("{ images = {} }", "missing field `flag`"),
            ("{ bind = \"--nv\", images = {} }", "unknown field `bind`"),
            ("{ flag = \"--nv\", images = { rcm = \"..6\" } }", "`rcm`"),
        ] {
            let text = format!("binds = []\nflags = [{flag}]\n");
            let error = toml::from_str::<Both>(&text).unwrap_err().to_string();
            assert!(error.contains(why), "{flag}: {error}");
        }
    }
}
