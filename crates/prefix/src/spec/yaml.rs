//! Responsible for reading YAML without losing where each value stood.
//!
//! serde_yaml forgets positions, and an error in line 40 of a user's file must say so. Scalars keep their text as
//! written (`3.10` stays `3.10`), aliases are resolved, merge keys are not.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::problem::Problem;

/// One value with the place where it begins.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// From 1.
    pub(super) line: usize,
    /// From 1.
    pub(super) column: usize,
    /// Line and column right behind a scalar; of other values where they begin.
    pub(super) end: (usize, usize),
    pub(super) value: Value,
}

/// What stands there.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Text as written, without quotes.
    Scalar(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Pairs in the order of the file.
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(self.line, self.column, message)
    }

    /// What stands behind a scalar in its last line.
    pub(super) fn rest_of_line<'a>(&self, text: &'a str) -> &'a str {
        let line = text.lines().nth(self.end.0.saturating_sub(1));
        let line = line.unwrap_or_default();
        let behind = line.char_indices().nth(self.end.1.saturating_sub(1));
        behind.map_or("", |(at, _)| &line[at..])
    }

    /// How many values this one holds, itself included.
    fn weight(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Scalar(_) => 0,
            Value::Sequence(items) => items.iter().map(Self::weight).sum(),
            Value::Mapping(pairs) => pairs
                .iter()
                .map(|(key, value)| key.weight() + value.weight())
                .sum(),
        }
    }

    /// Names the kind of value for error messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

/// Deeper nesting than this has no meaning in any file we read and would only exhaust the stack.
const MAX_DEPTH: usize = 64;
/// Aliases may multiply; no real file comes near.
const MAX_NODES: usize = 100_000;

/// Line and column, from 1, of where something begins and of what is right behind it.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: (usize, usize),
    end: (usize, usize),
}

struct Builder<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

/// Parses one document; an empty text is `Null`.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
    };
    loop {
        let (event, _) = builder.next()?;
        match event {
            Event::DocumentStart(_) => {
                let (event, span) = builder.next()?;
                let node = builder.node(event, span, 0)?;
                builder.refuse_more()?;
                return Ok(node);
            }
            Event::StreamEnd => {
                return Ok(Node {
                    line: 1,
                    column: 1,
                    end: (1, 1),
                    value: Value::Null,
                });
            }
            _ => {}
        }
    }
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.parser.next() {
            Some(Ok((event, span))) => {
                let at = |marker: &Marker| (marker.line(), marker.col() + 1);
                let (start, end) = (at(&span.start), at(&span.end));
                Ok((event, Span { start, end }))
            }
            Some(Err(error)) => Err(Problem::new(
                error.marker().line(),
                error.marker().col() + 1,
                format!("not valid YAML: {}", error.info()),
            )),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// A second document would be ignored silently.
    fn refuse_more(&mut self) -> Result<(), Problem> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::DocumentStart(_) => {
                    return Err(Problem::new(
                        span.start.0,
                        span.start.1,
                        "a second YAML document begins here, expected the end of the file",
                    ));
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Problem> {
        let (line, column) = span.start;
        let too_much =
            |what: &str| Problem::new(line, column, format!("not a file for us: {what}"));
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(too_much("nested too deeply"));
        }
        if self.nodes > MAX_NODES {
            return Err(too_much("too many values"));
        }
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let null = style == ScalarStyle::Plain
                    && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL");
                (
                    anchor,
                    if null {
                        Value::Null
                    } else {
                        Value::Scalar(text.into_owned())
                    },
                )
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if event == Event::SequenceEnd {
                        break;
                    }
                    items.push(self.node(event, span, depth + 1)?);
                }
                (anchor, Value::Sequence(items))
            }
            Event::MappingStart(anchor, _) => {
                let mut pairs: Vec<(Node, Node)> = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if event == Event::MappingEnd {
                        break;
                    }
                    let key = self.node(event, span, depth + 1)?;
                    if let Value::Scalar(name) = &key.value
                        && pairs.iter().any(|(other, _)| matches!(&other.value, Value::Scalar(text) if text == name))
                    {
                        return Err(key.problem(format!("`{name}` stands here a second time")));
                    }
                    let (event, span) = self.next()?;
                    let value = self.node(event, span, depth + 1)?;
                    pairs.push((key, value));
                }
                (anchor, Value::Mapping(pairs))
            }
            Event::Alias(anchor) => {
                let node = self
                    .anchors
                    .get(&anchor)
                    .ok_or_else(|| too_much("an alias without its anchor"))?;
                self.nodes += node.weight();
                if self.nodes > MAX_NODES {
                    return Err(too_much("too many values"));
                }
                return Ok(node.clone());
            }
            _ => {
                return Ok(Node {
                    line,
                    column,
                    end: span.end,
                    value: Value::Null,
                });
            }
        };
        let node = Node {
            line,
            column,
            end: if matches!(value, Value::Scalar(_)) {
                span.end
            } else {
                span.start
            },
            value,
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }
}
