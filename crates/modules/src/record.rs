//! Responsible for what a module file says about its image, in one line for programs.

use serde::{Deserialize, Serialize};

use crate::{language::Language, name::ModuleName};

/// Start of the line, behind the sign of a comment.
const MARK: &str = "condense: ";
/// Version of the form of the record.
const SCHEMA: &str = "condense.module/1";

/// Facts of a module for programs. The line with them also shows that condense wrote the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    schema: String,
    /// Name of the module.
    pub name: String,
    /// Version of the module.
    pub version: String,
    /// Directory that the module calls `CONTAINERROOT`.
    pub root: String,
    /// Image of the module; a module of an installation has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRecord>,
}

/// Image of a module, and the places in which it may lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Name of the file.
    pub file: String,
    /// Path that is looked at first.
    pub path: String,
    /// Directories with a copy of the same name, in their order.
    pub dirs: Vec<ImageDir>,
    /// Size in bytes when the module was written.
    pub size: u64,
    /// First 16 digits of the SHA-256.
    pub sha256: String,
}

/// Directory of images, which a variable of the environment may move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDir {
    /// Variable that takes the place of `start` unless it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
    /// Start of the path.
    pub start: String,
    /// Rest of the path, with its leading slash.
    #[serde(default)]
    pub rest: String,
}

impl ImageDir {
    /// Parses a path that may begin with `${NAME:-DEFAULT}`.
    pub fn parse(text: &str) -> Self {
        let named = text.strip_prefix("${").and_then(|rest| {
            let (inner, rest) = rest.split_once('}')?;
            let (name, default) = inner.split_once(":-")?;
            Some((name.to_owned(), default.to_owned(), rest.to_owned()))
        });
        match named {
            Some((name, start, rest)) => Self {
                variable: Some(name),
                start,
                rest,
            },
            None => Self {
                variable: None,
                start: text.to_owned(),
                rest: String::new(),
            },
        }
    }

    /// Returns the path with the value that `look` returns for the variable.
    pub fn path(&self, look: impl Fn(&str) -> Option<String>) -> String {
        let value = self.variable.as_deref().and_then(look);
        let start = value.filter(|value| !value.is_empty());
        format!(
            "{}{}",
            start.unwrap_or_else(|| self.start.clone()),
            self.rest
        )
    }
}

impl Record {
    /// Returns the record of a module.
    pub(crate) fn new(module: &ModuleName, root: &str, image: Option<ImageRecord>) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            name: module.name().to_owned(),
            version: module.version().to_owned(),
            root: root.to_owned(),
            image,
        }
    }

    /// Returns the line of the record, as a comment.
    pub(crate) fn render(&self, language: Language) -> String {
        let json = serde_json::to_string(self).expect("a record has only texts and numbers");
        format!("{} {MARK}{json}", language.comment())
    }

    /// Finds the record in the text of a module file. Returns `None` if condense has not written
    /// the file.
    pub fn find(text: &str) -> Option<Self> {
        let json = text.lines().find_map(|line| {
            let comment = [Language::Lua, Language::Tcl]
                .into_iter()
                .find_map(|language| line.strip_prefix(language.comment())?.strip_prefix(' '));
            comment?.strip_prefix(MARK)
        })?;
        let record: Self = serde_json::from_str(json).ok()?;
        (record.schema == SCHEMA).then_some(record)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn directories_may_begin_with_a_variable() {
        let dir = ImageDir::parse("${ROOT:-/appl/images}/sif");
        assert_eq!(dir.path(|_| None), "/appl/images/sif");
        assert_eq!(dir.path(|_| Some(String::new())), "/appl/images/sif");
        assert_eq!(dir.path(|name| Some(format!("/{name}"))), "/ROOT/sif");
        assert_eq!(ImageDir::parse("/a b").path(|_| None), "/a b");
    }

    #[test]
    fn a_record_is_found_in_both_languages() {
        let module = ModuleName::new("a", "1").unwrap();
        let record = Record::new(&module, "/with \"quotes\" and \\", None);
        for language in [Language::Lua, Language::Tcl] {
            let text = format!("first\n{}\nlast", record.render(language));
            assert_eq!(Record::find(&text), Some(record.clone()));
        }
        assert_eq!(Record::find("-- condense: {}"), None);
        assert_eq!(Record::find("setenv(\"SIF\", \"x\")"), None);
    }
}
