//! Responsible for the JSON of runs with `--json`: one object on standard output, which is either
//! the result or the error. Each object begins with the name and the number of its schema.

use std::{
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use condense_build::{hint, location};
use condense_prefix::without_secrets;
use serde_json::{Map, Value, json};

/// State of the answer in JSON.
#[derive(Debug, Default)]
pub(super) struct JsonAnswer {
    is_wanted: AtomicBool,
    is_given: AtomicBool,
    /// Last error of the run, without its exit code.
    error: Mutex<Option<Value>>,
}

impl JsonAnswer {
    /// Notes that the user wants JSON.
    pub(super) fn want(&self) {
        self.is_wanted.store(true, Ordering::Relaxed);
    }

    /// Returns whether the user wants JSON.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }

    /// Notes that standard output has a result. No error follows it.
    pub(super) fn give(&self) {
        self.is_given.store(true, Ordering::Relaxed);
    }

    /// Returns whether standard output has a result.
    pub(super) fn is_given(&self) -> bool {
        self.is_given.load(Ordering::Relaxed)
    }

    /// Keeps an error for the end of the run.
    pub(super) fn keep(&self, error: Value) {
        let mut kept = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(error);
    }

    /// Returns the error object of a run that ends with `code`, or `None` if the run has given a
    /// result, has no error, or was not asked for JSON.
    pub(super) fn error(&self, code: ExitCode) -> Option<String> {
        if !self.is_wanted() || self.is_given() {
            return None;
        }
        let mut kept = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        let error = kept.take()?;
        // The status cannot be read from an `ExitCode`, which can only be compared.
        let status = (0..=u8::MAX).find(|status| ExitCode::from(*status) == code);
        let value = json!({"error": error, "exit_code": status});
        Some(with_schema("error", value))
    }
}

/// Returns the text of an object with its schema, which is `condense.NAME/1`. A value that is not
/// an object becomes the field `result`.
pub(super) fn with_schema(name: &str, value: Value) -> String {
    let mut object = Map::new();
    object.insert("schema".to_owned(), format!("condense.{name}/1").into());
    match value {
        Value::Object(fields) => object.extend(fields),
        other => {
            object.insert("result".to_owned(), other);
        }
    }
    format!("{:#}", Value::Object(object))
}

/// Returns the fields of an error: its message, its causes, its hint and its location in a file of
/// the user.
pub(super) fn error_as_json(error: &anyhow::Error, texts: &[String]) -> Value {
    let plain = |text: &String| without_secrets(text).into_owned();
    json!({
        "message": texts.first().map(plain),
        "causes": texts.iter().skip(1).map(plain).collect::<Vec<_>>(),
        "hint": hint(error),
        "location": location(error).map(|location| json!({
            "file": location.file.to_string_lossy(),
            "line": location.line,
            "column": location.column,
        })),
    })
}

/// Returns the fields of an error in the command line from the text that the user sees.
pub(super) fn usage_as_json(text: &str) -> Value {
    let (before, hint) = match text.split_once("\nhint: ") {
        Some((before, rest)) => (before, rest.lines().next()),
        None => (text, None),
    };
    let (_, message) = before.split_once("error: ").unwrap_or(("", before));
    let message = message.split("\n\n").next().unwrap_or(message);
    let words: Vec<&str> = message.split_whitespace().collect();
    json!({
        "message": words.join(" "),
        "causes": [],
        "hint": hint,
        "location": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_comes_first_and_a_list_becomes_a_field() {
        assert_eq!(
            with_schema("x", json!({"b": 1})),
            "{\n  \"schema\": \"condense.x/1\",\n  \"b\": 1\n}"
        );
        let text = with_schema("x", json!([1]));
        assert!(text.contains("\"result\": ["), "{text}");
    }

    #[test]
    fn an_error_is_given_only_without_a_result() {
        let answer = JsonAnswer::default();
        answer.keep(json!({"message": "m"}));
        assert_eq!(answer.error(ExitCode::FAILURE), None);
        answer.want();
        let text = answer.error(ExitCode::from(2)).expect("there is an error");
        assert!(text.contains("\"exit_code\": 2"), "{text}");
        assert_eq!(answer.error(ExitCode::from(2)), None, "it is given once");
        answer.keep(json!({"message": "m"}));
        answer.give();
        assert_eq!(answer.error(ExitCode::FAILURE), None);
    }

    #[test]
    fn a_mistake_in_the_command_line_has_its_message_and_hint() {
        for (text, message, hint) in [
            (
                "error: unexpected argument '--x' found\nhint: did you mean `--y`?\n\nUsage: c",
                "unexpected argument '--x' found",
                Some("did you mean `--y`?"),
            ),
            (
                "error: the following are missing:\n  <A>\n  <B>\n\nUsage: c",
                "the following are missing: <A> <B>",
                None,
            ),
            ("usage: c new\nc new: error: no", "no", None),
        ] {
            let value = usage_as_json(text);
            assert_eq!(value["message"], message);
            assert_eq!(value["hint"], json!(hint));
        }
    }
}
