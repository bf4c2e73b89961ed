//! Responsible for reading YAML with the position of each value.
//!
//! serde_yaml does not keep positions, but an error in line 40 of the user's file must name that
//! line. Scalars keep their text as written (`3.10` stays `3.10`). Aliases and merge keys (`<<:`)
//! are resolved.

mod merge;

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::problem::Problem;

/// A value and its position in the file.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Line number, from 1.
    pub(super) line: usize,
    /// Column number, from 1.
    pub(super) column: usize,
    /// Byte offset just behind a scalar. For other values, the byte offset at which they begin.
    end: usize,
    /// True for a block text (`|`), which keeps its line breaks. The position of the node is that
    /// of the text's first line.
    pub(super) is_block: bool,
    pub(super) value: Value,
}

/// Value of a node.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Missing value, `~` or `null`.
    Null,
    /// Text as written, without quotes.
    Scalar(String),
    /// Entries of a list.
    Sequence(Vec<Node>),
    /// Keys and values of a mapping, in the order of the file.
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(self.line, self.column, message)
    }

    /// Returns the text that follows a scalar, to the end of the file.
    pub(super) fn rest<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.end..).unwrap_or_default()
    }

    fn as_scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the number of values in this one, itself included.
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

    /// Returns the name of the value's kind for error messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

/// Largest depth of nested values. Deeper nesting has no meaning in any file that is read with this
/// module, and would exhaust the stack.
const MAX_DEPTH: usize = 64;
/// Largest number of values. Aliases repeat values and could make the number grow exponentially;
/// real files have far fewer.
const MAX_NODES: usize = 100_000;

/// Number of characters between two stored byte offsets.
const STRIDE: usize = 256;

/// Byte offsets of characters, needed because the parser counts characters instead of bytes.
struct Offsets<'a> {
    text: &'a str,
    every: Vec<usize>,
}

impl<'a> Offsets<'a> {
    fn new(text: &'a str) -> Self {
        let places = text.char_indices().map(|(at, _)| at);
        Self {
            text,
            every: places.step_by(STRIDE).collect(),
        }
    }

    fn byte(&self, character: usize) -> usize {
        let Some(from) = self.every.get(character / STRIDE) else {
            return self.text.len();
        };
        let behind = self.text[*from..].char_indices().nth(character % STRIDE);
        behind.map_or(self.text.len(), |(at, _)| from + at)
    }
}

/// Line and column, from 1, at which a value begins, and the character positions of its beginning
/// and its end.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: (usize, usize),
    from: usize,
    to: usize,
}

struct Builder<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    offsets: Offsets<'a>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

/// Parses a text with one YAML document. An empty text gives `Null`.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        offsets: Offsets::new(text),
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
                    end: 0,
                    is_block: false,
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
                let span = Span {
                    start: (span.start.line(), span.start.col() + 1),
                    from: span.start.index(),
                    to: span.end.index(),
                };
                Ok((event, span))
            }
            Some(Err(error)) => Err(Problem::new(
                error.marker().line(),
                error.marker().col() + 1,
                format!("not valid YAML: {}", error.info()),
            )),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// Refuses a second document in the text, which would be ignored otherwise.
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
        let mut is_block = false;
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, _) => {
                is_block = style == ScalarStyle::Literal;
                let null = style == ScalarStyle::Plain
                    && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL");
                let text = || Value::Scalar(text.into_owned());
                (anchor, if null { Value::Null } else { text() })
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
            Event::MappingStart(anchor, _) => (anchor, Value::Mapping(self.pairs(depth)?)),
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
            _ => (0, Value::Null),
        };
        let is_scalar = matches!(value, Value::Scalar(_));
        let node = Node {
            line,
            column,
            end: self
                .offsets
                .byte(if is_scalar { span.to } else { span.from }),
            is_block,
            value,
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// Reads the pairs of a mapping, including those that it merges.
    fn pairs(&mut self, depth: usize) -> Result<Vec<(Node, Node)>, Problem> {
        let mut pairs: Vec<(Node, Node)> = Vec::new();
        let mut merged = None;
        let mut names = HashSet::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let is_merge_key = merge::is_key(&event);
            let key = self.node(event, span, depth + 1)?;
            if let Some(name) = key.as_scalar()
                && !names.insert((is_merge_key, name.to_owned()))
            {
                return Err(key.problem(format!("`{name}` stands here a second time")));
            }
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if is_merge_key {
                merged = Some(value);
            } else {
                pairs.push((key, value));
            }
        }
        match merged {
            Some(value) => merge::into(pairs, value),
            None => Ok(pairs),
        }
    }
}
